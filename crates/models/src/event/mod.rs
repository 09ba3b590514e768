//! The events that the service itself writes. Their types' names are the events' types.
//!
//! What is read from the store tolerates fields that are not known: newer versions may have written it.

mod uptime;

pub use uptime::{MonitorStopped, ServiceState, ServiceStatusChanged, ServiceStatusMetadata};

use crate::{DateTime, JsonObject};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A stream was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamCreated {
    /// The stream.
    #[schemars(example = &"service-uptime-http")]
    pub stream_name: String,
    /// What it is for.
    pub description: String,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Whose it is.
    pub owner: String,
    /// When it was made.
    pub created_at: DateTime,
    /// Free descriptive data.
    pub data: Map<String, Value>,
}

impl StreamCreated {
    /// The event's type.
    pub const TYPE: &'static str = "StreamCreated";
}

/// A user's data changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserDataUpdated {
    /// The user.
    #[schemars(example = &"bob")]
    pub user_id: String,
    /// What kind of data it is.
    #[serde(rename = "type")]
    pub data_type: UserDataType,
    /// A part of that kind; empty for all of it.
    pub category: String,
    /// The data, all of it, as it was written.
    pub data: JsonObject,
    /// Whether everybody may read it.
    pub is_public: bool,
    /// When it changed.
    pub timestamp: DateTime,
    /// The event's own id (a UUID).
    #[schemars(extend("format" = "uuid"))]
    pub event_id: String,
}

impl UserDataUpdated {
    /// The event's type.
    pub const TYPE: &'static str = "UserDataUpdated";
}

/// The kinds of data that a user has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UserDataType {
    /// Who the user is.
    Profile,
    /// What the user likes.
    Preferences,
    /// What the user did.
    Activity,
    /// What the user borrowed.
    Loans,
    /// What the user lends.
    Offers,
}

impl UserDataType {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Profile, Self::Preferences, Self::Activity, Self::Loans, Self::Offers];

    /// Its name, as in events and in the names of streams.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Profile => "profile",
            Self::Preferences => "preferences",
            Self::Activity => "activity",
            Self::Loans => "loans",
            Self::Offers => "offers",
        }
    }

    /// The type of this name, if there is one.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }
}

impl std::fmt::Display for UserDataType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Reads and writes again; fields that are not known are let go.
    fn round_trip<T: Serialize + for<'de> Deserialize<'de>>(written: &Value) {
        let mut newer = written.clone();
        newer["fromTheFuture"] = json!([1]);
        let read: T = serde_json::from_value(newer).unwrap();
        assert_eq!(&serde_json::to_value(read).unwrap(), written);
    }

    #[test]
    fn events_are_written_as_they_were_first_and_read_with_fields_that_are_not_known() {
        round_trip::<StreamCreated>(&json!({
            "streamName": "service-uptime-http", "description": "", "tags": ["uptime"], "owner": "system",
            "createdAt": "2024-01-15T10:30:00.000Z", "data": {},
        }));
        round_trip::<ServiceStatusChanged>(&json!({
            "serviceName": "http", "status": "degraded", "timestamp": "2024-01-15T10:30:00.000Z", "duration": 5,
            "metadata": { "responseTime": 1.5, "performanceGrade": "slow" }, "eventId": "3f2a9c1e-6b7d-4e2f-9a41-0c5d8e7b1a23",
        }));
        round_trip::<UserDataUpdated>(&json!({
            "userId": "bob", "type": "profile", "category": "", "data": { "name": "Bob" }, "isPublic": true,
            "timestamp": "2024-01-15T10:30:00.000Z", "eventId": "3f2a9c1e-6b7d-4e2f-9a41-0c5d8e7b1a23",
        }));
    }
}
