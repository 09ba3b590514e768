//! What a stream's own metadata (`$$name`) says of it, beside what the store obeys (`$maxAge`, `$acl`, …).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Whether a stream is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StreamStatus {
    /// It can be read and written.
    #[default]
    Active,
    /// It can be read.
    Archived,
    /// It was deleted.
    Deleted,
}

/// The description of a stream as persisted in the free keys of its metadata. Keys that are not known are left alone.
///
/// Every key may be missing: streams that were not made by this API have none of them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StreamDescription {
    /// What the stream is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Free descriptive data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Map<String, Value>>,
    /// Words to find it by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// When it was made (RFC 3339); the first event's time where it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// When the description last changed (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<String>,
    /// How often the description was set, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The semantic version of the stream's schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<String>,
    /// `active` or `archived`. A deleted stream is told by the store itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<StreamStatus>,
}
