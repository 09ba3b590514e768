//! The events of a stream `service-uptime-{serviceName}`.

use crate::{DateTime, PerformanceGrade};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// A service is in a state: it came into it, or is still in it (an unchanged state is said again every minute, so that
/// time in which nobody watched can be told from time in which nothing changed).
///
/// The service was in this state from `timestamp` to `observedAt`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatusChanged {
    /// The service.
    #[schemars(example = &"http")]
    pub service_name: String,
    /// Its state.
    pub status: ServiceState,
    /// Since when: the first of the checks that showed it. For a state that is said again, when it was seen last.
    pub timestamp: DateTime,
    /// When it was seen last, where that is later than `timestamp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<DateTime>,
    /// For a change: how long the state that ended had lasted, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<u64>,
    /// What the check saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<ServiceStatusMetadata>,
    /// The event's id.
    #[schemars(example = &"0191e7a4-5c1e-7000-8000-000000000001")]
    pub event_id: String,
}

impl ServiceStatusChanged {
    /// The event's type.
    pub const TYPE: &'static str = "ServiceStatusChanged";
}

/// How a service was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServiceState {
    /// It answers as it should, and in time.
    Up,
    /// It answers as it should, and slowly. Counts as up.
    Degraded,
    /// It does not answer, or not as it should.
    Down,
}

impl ServiceState {
    /// Whether the service can be used: up or degraded.
    #[must_use]
    pub const fn is_up(self) -> bool {
        !matches!(self, Self::Down)
    }

    /// Its name, as in events and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }
}

/// What a check saw.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceStatusMetadata {
    /// How long the service took to answer, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_time: Option<f64>,
    /// What was wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"connection refused")]
    pub error: Option<String>,
    /// How quickly it answered.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "known")]
    pub performance_grade: Option<PerformanceGrade>,
}

/// A grade, if it is one that is known: a newer version may have written another.
fn known<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PerformanceGrade>, D::Error> {
    Value::deserialize(deserializer).map(|value| serde_json::from_value(value).ok())
}

/// The service's watcher stopped on purpose (a shutdown, a deploy): from here on nothing is known, and nothing counts
/// as an outage, until somebody watches again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MonitorStopped {
    /// The service that was watched.
    #[schemars(example = &"http")]
    pub service_name: String,
    /// When.
    pub timestamp: DateTime,
    /// Why, for people.
    #[schemars(example = &"shutdown")]
    pub reason: String,
    /// The event's id.
    #[schemars(example = &"0191e7a4-5c1e-7000-8000-000000000002")]
    pub event_id: String,
}

impl MonitorStopped {
    /// The event's type.
    pub const TYPE: &'static str = "MonitorStopped";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_reads_and_writes_as_its_contract_says_and_unknown_fields_are_tolerated() {
        let text = r#"{"serviceName":"http","status":"down","timestamp":"2024-01-15T10:30:00.000Z","duration":60000,
            "metadata":{"error":"refused","performanceGrade":"disconnected","later":1},"eventId":"e1","later":[]}"#;
        let event: ServiceStatusChanged = serde_json::from_str(text).unwrap();
        assert_eq!(event.status, ServiceState::Down);
        assert_eq!(event.duration, Some(60_000));
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"serviceName":"http","status":"down","timestamp":"2024-01-15T10:30:00.000Z","duration":60000,"metadata":{"error":"refused","performanceGrade":"disconnected"},"eventId":"e1"}"#
        );
        let newer = text.replace("disconnected", "wonderful");
        let newer: ServiceStatusChanged = serde_json::from_str(&newer).unwrap();
        assert_eq!(newer.metadata.unwrap().performance_grade, None);
        let least = r#"{"serviceName":"http","status":"up","timestamp":"2024-01-15T10:30:00Z","eventId":""}"#;
        assert_eq!(serde_json::from_str::<ServiceStatusChanged>(least).unwrap().metadata, None);
    }
}
