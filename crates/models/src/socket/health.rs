//! The messages of the namespace `/ws/health`.

use crate::{DateTime, HealthStatus, ServiceState, ServiceStatusMetadata};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// A tag that is always the same text: the `type` of a message.
macro_rules! tag {
    ($name:ident = $text:literal) => {
        #[doc = concat!("Always `", $text, "`.")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
        pub enum $name {
            #[doc = concat!("`", $text, "`.")]
            #[default]
            #[serde(rename = $text)]
            Is,
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "const": $text })
            }
        }
    };
}

tag!(ConnectionTag = "connection");
tag!(HealthStatusTag = "health_status");
tag!(ServiceStatusChangeTag = "service_status_change");

/// The greeting: the first message of every connection to `/ws/health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConnectionMessage {
    /// Which message this is.
    #[serde(rename = "type")]
    pub kind: ConnectionTag,
    /// A sentence for people.
    #[schemars(example = &"Connected to health and uptime monitoring service")]
    pub message: String,
    /// When it was sent.
    pub timestamp: DateTime,
}

/// How a part of the service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PartHealth {
    /// It does what it should.
    Healthy,
    /// It works, slowly or in part.
    Degraded,
    /// It does not work.
    Unhealthy,
    /// It was not looked at yet.
    Unknown,
}

impl From<HealthStatus> for PartHealth {
    fn from(status: HealthStatus) -> Self {
        match status {
            HealthStatus::Healthy => Self::Healthy,
            HealthStatus::Degraded => Self::Degraded,
            HealthStatus::Unhealthy => Self::Unhealthy,
        }
    }
}

/// How the parts of the service are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "HealthStatusServices")]
pub struct HealthServices {
    /// This service.
    pub proxy: PartHealth,
    /// The event store, whichever it is.
    pub kurrentdb: PartHealth,
}

/// How the service is: sent at connect, every 30 s and at each change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HealthStatusMessage {
    /// Which message this is.
    #[serde(rename = "type")]
    pub kind: HealthStatusTag,
    /// When it was found to be so.
    pub timestamp: DateTime,
    /// How each part is.
    pub services: HealthServices,
}

/// A watched service went up or down: sent within a second of the change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatusChangeMessage {
    /// Which message this is.
    #[serde(rename = "type")]
    pub kind: ServiceStatusChangeTag,
    /// When it changed.
    pub timestamp: DateTime,
    /// Which service.
    #[schemars(example = &"database")]
    pub service_name: String,
    /// What it is now.
    pub status: ServiceState,
    /// What the check saw.
    pub metadata: ServiceStatusMetadata,
}
