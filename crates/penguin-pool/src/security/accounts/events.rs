//! What happens to accounts and keys, as events. They are persisted: fields that are not known are let go, and none
//! ever changes its meaning.

use crate::security::{accounts::Phc, api_key::KeyHash};
use bytes::Bytes;
use event_store::{NewEvent, RecordedEvent};
use models::DateTime;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

/// Something that happened.
#[derive(Debug, Clone)]
pub(super) enum AccountEvent {
    Created(AccountCreated),
    Updated(AccountUpdated),
    PasswordChanged(AccountPasswordChanged),
    Enabled(AccountNamed),
    Disabled(AccountNamed),
    Deleted(AccountNamed),
    KeyCreated(ApiKeyCreated),
    KeyRevoked(ApiKeyNamed),
}

/// An account was made.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AccountCreated {
    pub(super) login_name: String,
    pub(super) full_name: String,
    pub(super) roles: Vec<String>,
    pub(super) password_hash: Phc,
    /// Who did it.
    pub(super) by: String,
}

/// Its name for people or its roles changed; each stands whole.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AccountUpdated {
    pub(super) login_name: String,
    pub(super) full_name: String,
    pub(super) roles: Vec<String>,
    pub(super) by: String,
}

/// It has a new password.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AccountPasswordChanged {
    pub(super) login_name: String,
    pub(super) password_hash: Phc,
    pub(super) by: String,
}

/// It was enabled, disabled, or deleted.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AccountNamed {
    pub(super) login_name: String,
    pub(super) by: String,
}

/// An API key was made for an account.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApiKeyCreated {
    pub(super) key_id: String,
    /// The account that it acts for.
    pub(super) login_name: String,
    /// What it is for.
    pub(super) label: String,
    pub(super) scope: super::Scope,
    #[serde(with = "hash_text")]
    pub(super) secret_hash: KeyHash,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires_at: Option<DateTime>,
    pub(super) by: String,
}

/// An API key was revoked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApiKeyNamed {
    pub(super) key_id: String,
    pub(super) by: String,
}

mod hash_text {
    use crate::security::api_key::KeyHash;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(hash: &KeyHash, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hash.text())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<KeyHash, D::Error> {
        let text = String::deserialize(deserializer)?;
        KeyHash::parse(&text).ok_or_else(|| D::Error::custom("no hash of a key"))
    }
}

impl AccountEvent {
    /// The event to be appended.
    pub(super) fn to_event(&self, id: Uuid) -> NewEvent {
        let (event_type, data) = match self {
            Self::Created(event) => ("AccountCreated", json!(event)),
            Self::Updated(event) => ("AccountUpdated", json!(event)),
            Self::PasswordChanged(event) => ("AccountPasswordChanged", json!(event)),
            Self::Enabled(event) => ("AccountEnabled", json!(event)),
            Self::Disabled(event) => ("AccountDisabled", json!(event)),
            Self::Deleted(event) => ("AccountDeleted", json!(event)),
            Self::KeyCreated(event) => ("ApiKeyCreated", json!(event)),
            Self::KeyRevoked(event) => ("ApiKeyRevoked", json!(event)),
        };
        let metadata = json!({ "schemaVersion": "1.0.0", "source": crate::status::SERVICE });
        NewEvent { metadata: metadata.to_string().into(), ..NewEvent::json(id, event_type, data.to_string()) }
    }

    /// What an event says; nothing if it says nothing of accounts.
    ///
    /// # Errors
    /// Why it cannot be read, though its type is one of these.
    pub(super) fn read(event: &RecordedEvent) -> Result<Option<Self>, serde_json::Error> {
        Self::parse(event.event_type.as_str(), &event.data)
    }

    fn parse(event_type: &str, data: &Bytes) -> Result<Option<Self>, serde_json::Error> {
        Ok(Some(match event_type {
            "AccountCreated" => Self::Created(serde_json::from_slice(data)?),
            "AccountUpdated" => Self::Updated(serde_json::from_slice(data)?),
            "AccountPasswordChanged" => Self::PasswordChanged(serde_json::from_slice(data)?),
            "AccountEnabled" => Self::Enabled(serde_json::from_slice(data)?),
            "AccountDisabled" => Self::Disabled(serde_json::from_slice(data)?),
            "AccountDeleted" => Self::Deleted(serde_json::from_slice(data)?),
            "ApiKeyCreated" => Self::KeyCreated(serde_json::from_slice(data)?),
            "ApiKeyRevoked" => Self::KeyRevoked(serde_json::from_slice(data)?),
            _ => return Ok(None),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn events_are_written_as_they_were_first_and_read_with_fields_that_are_not_known() {
        let phc = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA";
        let fixtures = [
            (
                "AccountCreated",
                json!({ "loginName": "bob", "fullName": "Bob", "roles": ["admin"], "passwordHash": phc, "by": "system" }),
            ),
            ("AccountUpdated", json!({ "loginName": "bob", "fullName": "Bob", "roles": [], "by": "admin" })),
            ("AccountPasswordChanged", json!({ "loginName": "bob", "passwordHash": phc, "by": "bob" })),
            ("AccountEnabled", json!({ "loginName": "bob", "by": "admin" })),
            ("AccountDisabled", json!({ "loginName": "bob", "by": "admin" })),
            ("AccountDeleted", json!({ "loginName": "bob", "by": "admin" })),
            (
                "ApiKeyCreated",
                json!({
                    "keyId": "00ff", "loginName": "bob", "label": "nightly", "scope": "read",
                    "secretHash": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "expiresAt": "2030-01-01T00:00:00.000Z", "by": "admin",
                }),
            ),
            ("ApiKeyRevoked", json!({ "keyId": "00ff", "by": "admin" })),
        ];
        for (event_type, written) in fixtures {
            let mut newer = written.clone();
            newer["fromTheFuture"] = json!([1]);
            let read = AccountEvent::parse(event_type, &newer.to_string().into()).unwrap().unwrap();
            let again = read.to_event(Uuid::nil());
            assert_eq!(again.event_type.as_str(), event_type);
            assert_eq!(serde_json::from_slice::<Value>(&again.data).unwrap(), written);
            assert!(!format!("{read:?}").contains("aGFzaA"), "a hash must not be printed");
        }
        assert!(AccountEvent::parse("SomethingElse", &"{}".into()).unwrap().is_none());
    }
}
