//! A service's history: its intervals, and their sums.

use super::CurrentStatus;
use crate::{DateTime, ServiceState, ServiceStatusMetadata, stream::all_required};
use schemars::JsonSchema;
use serde::Serialize;

/// An interval in which a service was in one state. Time that lies in none is unknown: nobody watched.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceUptimeRecord {
    /// The id of the event that began it.
    #[schemars(example = &"0191e7a4-5c1e-7000-8000-000000000001")]
    pub id: String,
    /// The service.
    #[schemars(example = &"http")]
    pub service_name: String,
    /// Its state.
    pub status: ServiceState,
    /// When the interval began, or the window did.
    pub timestamp: DateTime,
    /// How long it lasted within the window, in milliseconds.
    #[schemars(example = 60_000)]
    pub duration: u64,
    /// What the check saw that began it.
    pub metadata: ServiceStatusMetadata,
}

/// A service's uptime in a window, weighted by time.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = all_required)]
pub struct ServiceUptimeSummary {
    /// The service.
    #[schemars(example = &"http")]
    pub service_name: String,
    /// How it is now.
    pub current_status: CurrentStatus,
    /// The share of the watched time in which the service was up or degraded, in percent; rounded down, so that only a
    /// window without any downtime shows 100. 0 where nothing was watched (see `coverage`).
    #[schemars(range(min = 0, max = 100), example = 99.95)]
    pub uptime_percentage: f64,
    /// How long it was up or degraded.
    #[schemars(example = &"1d 2h 3m")]
    pub total_uptime: String,
    /// How long it was down.
    #[schemars(example = &"0m")]
    pub total_downtime: String,
    /// How long it was degraded, in milliseconds; part of `totalUptime`.
    #[schemars(example = 0)]
    pub degraded_duration: u64,
    /// When its state last changed. Time in which nobody watched is no change. Null if it was never watched.
    pub last_status_change: Option<DateTime>,
    /// Whether it is up or degraded now.
    pub is_currently_up: bool,
    /// The share of the window in which the service was watched, from 0 to 1; rounded down.
    #[schemars(range(min = 0, max = 1), example = 0.998)]
    pub coverage: f64,
}

/// A service's intervals in a window, oldest first, and their sums.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = all_required)]
pub struct ServiceUptimeTimeline {
    /// The service.
    #[schemars(example = &"http")]
    pub service_name: String,
    /// How long it was up or degraded, in milliseconds.
    #[schemars(example = 86_340_000)]
    pub total_uptime: u64,
    /// How long it was down, in milliseconds.
    #[schemars(example = 60_000)]
    pub total_downtime: u64,
    /// See `ServiceUptimeSummary`.
    #[schemars(range(min = 0, max = 100), example = 99.93)]
    pub uptime_percentage: f64,
    /// How it is now.
    pub current_status: CurrentStatus,
    /// When its state last changed. Null if it was never watched.
    pub last_status_change: Option<DateTime>,
    /// The intervals. Time that lies in none is unknown.
    pub timeline: Vec<ServiceUptimeRecord>,
    /// The window's start; for all time, when the service was first watched.
    pub start_time: DateTime,
    /// The window's end: now.
    pub end_time: DateTime,
    /// The share of the window in which the service was watched, from 0 to 1; rounded down.
    #[schemars(range(min = 0, max = 1), example = 0.998)]
    pub coverage: f64,
}

/// An interval in which a service was not up.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = all_required)]
pub struct ServiceUptimeIncident {
    /// The id of the event that began it.
    #[schemars(example = &"0191e7a4-5c1e-7000-8000-000000000001")]
    pub id: String,
    /// The service.
    #[schemars(example = &"database")]
    pub service_name: String,
    /// `degraded` or `down`.
    pub status: ServiceState,
    /// When it began, before the window too.
    pub start: DateTime,
    /// When it ended, or was last known to last; null while it lasts.
    pub end: Option<DateTime>,
    /// How long it lasted, or has lasted so far, in milliseconds.
    #[schemars(example = 60_000)]
    pub duration: u64,
    /// What the check said that began it.
    #[schemars(example = &"connection refused")]
    pub cause: String,
}
