//! The answers of `/api/uptime`.

use super::{CurrentStatus, ServiceUptimeIncident, ServiceUptimeSummary, ServiceUptimeTimeline};
use crate::{DateTime, ServiceState, ServiceStatusMetadata};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// Every service's uptime in a window.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct UptimeSummary {
    /// When the answer was given: the window's end.
    pub timestamp: DateTime,
    /// The window in words.
    #[schemars(example = &"1 day")]
    pub period: String,
    /// One for each service.
    pub services: Vec<ServiceUptimeSummary>,
}

/// A service's uptime in a window.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ServiceUptime {
    /// When the answer was given: the window's end.
    pub timestamp: DateTime,
    /// The window in words.
    #[schemars(example = &"1 day")]
    pub period: String,
    /// The service.
    pub service: ServiceUptimeSummary,
}

/// A service's intervals in a window.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ServiceTimeline {
    /// When the answer was given: the window's end.
    pub timestamp: DateTime,
    /// The window in words.
    #[schemars(example = &"1 day")]
    pub period: String,
    /// The intervals and their sums.
    pub timeline: ServiceUptimeTimeline,
}

/// The intervals in which a service was not up, of all services, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceIncidents {
    /// When the answer was given: the window's end.
    pub timestamp: DateTime,
    /// The window in words.
    #[schemars(example = &"1 day")]
    pub period: String,
    /// The newest thousand at most.
    pub incidents: Vec<ServiceUptimeIncident>,
    /// Whether there were more.
    pub has_more: bool,
}

/// How every service is now.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct CurrentStatuses {
    /// When the answer was given.
    pub timestamp: DateTime,
    /// By the services' names.
    pub services: BTreeMap<String, CurrentStatus>,
}

/// How much history is kept.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct UptimeStatistics {
    /// When the answer was given.
    pub timestamp: DateTime,
    /// How much.
    pub stats: UptimeStats,
}

/// How much history is kept.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UptimeStats {
    /// How many status events were read from the streams since the start or written since.
    #[schemars(example = 2880)]
    pub total_records: u64,
    /// The same by service.
    pub records_per_service: BTreeMap<String, u64>,
    /// What the merged intervals take of memory, in bytes.
    #[schemars(example = 4096)]
    pub memory_estimate: u64,
}

/// What a check of every service saw.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct StatusCheck {
    /// When the answer was given.
    pub timestamp: DateTime,
    /// What was done.
    #[schemars(example = &"Manual status check completed")]
    pub message: String,
    /// One for each service.
    pub results: Vec<ServiceCheckResult>,
}

/// What a check of one service saw.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ServiceCheckResult {
    /// The service.
    #[schemars(example = &"http")]
    pub service: String,
    /// How this one check found it. Its recorded state changes after several of the same kind.
    pub status: ServiceState,
    /// When.
    pub timestamp: DateTime,
    /// What was seen.
    pub metadata: ServiceStatusMetadata,
    /// Whether it was recorded. Not where another instance keeps the record, or the store cannot be written.
    pub recorded: bool,
}

/// The services' streams, made where they were missing.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct UptimeStreams {
    /// When the answer was given.
    pub timestamp: DateTime,
    /// What was done.
    #[schemars(example = &"Stream creation completed")]
    pub message: String,
    /// One for each service.
    pub results: Vec<UptimeStreamResult>,
}

/// What became of a service's stream.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UptimeStreamResult {
    /// The service.
    #[schemars(example = &"http")]
    pub service: String,
    /// Its stream.
    #[schemars(example = &"service-uptime-http")]
    pub stream_name: String,
    /// Whether the stream is there now.
    pub success: bool,
    /// The stream's id (its name), if it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"service-uptime-http")]
    pub stream_id: Option<String>,
    /// Why it could not be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Whether the event store answers.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct StoreTest {
    /// When the answer was given.
    pub timestamp: DateTime,
    /// What was done.
    #[schemars(example = &"KurrentDB connection test completed")]
    pub message: String,
    /// What was found.
    pub results: StoreTestResults,
}

/// What a write and a read of the event store came to.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoreTestResults {
    /// `success` or `failed`.
    #[schemars(extend("enum" = ["success", "failed"]))]
    pub connection: String,
    /// `healthy`, `degraded` (slow) or `unhealthy`.
    #[schemars(extend("enum" = ["healthy", "degraded", "unhealthy"]))]
    pub health: String,
    /// How long the write and the read took, in milliseconds.
    #[schemars(example = 1.5)]
    pub response_time: f64,
    /// What was wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
