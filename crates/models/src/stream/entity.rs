//! A stream as the API shows it, and what is asked to make and change one.

use super::{
    AppendResult, EventTypeName, JsonObject, NewStreamName, Principal, StreamNameParam, StreamState,
    StreamStatus, Tag,
};
use crate::DateTime;
use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A stream.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stream {
    /// The same as its name.
    #[schemars(example = &"loans-42")]
    pub id: String,
    /// Its name.
    #[schemars(example = &"loans-42")]
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Free descriptive data.
    pub data: Map<String, Value>,
    /// What is known about it.
    pub metadata: StreamMetadata,
    /// Whether it is in use.
    pub status: StreamStatus,
    /// Who may do what.
    pub permissions: StreamPermissions,
}

/// What is known about a stream.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamMetadata {
    /// When it was made.
    pub created_at: DateTime,
    /// When its description last changed.
    pub updated_at: DateTime,
    /// How often its description was set, from 1.
    pub version: u64,
    /// The semantic version of its schema.
    #[schemars(example = &"1.0.0")]
    pub schema_version: String,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Whose it is.
    pub owner: String,
}

/// Who may do what with a stream: user ids, roles (`role:librarian`), `*` for everybody, `system` for the administrators.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[schemars(example = serde_json::json!({ "read": ["*"], "write": ["user-7"], "admin": ["user-7", "system"] }))]
pub struct StreamPermissions {
    /// May read events.
    pub read: Vec<String>,
    /// May append.
    pub write: Vec<String>,
    /// May change and delete it.
    pub admin: Vec<String>,
}

/// Who may do what with a stream, as far as it is to be said.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StreamPermissionsDto {
    /// May read events.
    #[garde(length(max = 100), dive)]
    pub read: Option<Vec<Principal>>,
    /// May append.
    #[garde(length(max = 100), dive)]
    pub write: Option<Vec<Principal>>,
    /// May change and delete it.
    #[garde(length(max = 100), dive)]
    pub admin: Option<Vec<Principal>>,
}

/// A stream to be made, and its first event.
#[derive(Debug, Clone, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StreamCreateRequestDto {
    #[garde(dive)]
    #[expect(missing_docs, reason = "the type says it")]
    pub stream_name: NewStreamName,
    #[garde(dive)]
    #[expect(missing_docs, reason = "the type says it")]
    pub event_type: EventTypeName,
    /// The first event, at most 1 MiB. Kept as it is written.
    #[garde(skip)]
    #[schemars(example = serde_json::json!({ "loanId": "42", "amount": 7 }))]
    pub event_data: JsonObject,
    /// What is said about the event. Kept as it is written.
    #[garde(skip)]
    pub metadata: Option<JsonObject>,
    /// What the stream is for.
    #[garde(length(chars, max = 2000))]
    pub description: Option<String>,
    /// Free descriptive data.
    #[garde(custom(shallow))]
    pub data: Option<Map<String, Value>>,
    /// Words to find it by.
    #[garde(length(max = 100), dive)]
    #[serde(default)]
    pub tags: Vec<Tag>,
    /// Whose it is; the caller's unless said.
    #[garde(dive)]
    pub owner: Option<Principal>,
    /// Who may do what; the owner and the administrators unless said.
    #[garde(dive)]
    pub permissions: Option<StreamPermissionsDto>,
}

/// What is to change of a stream. What is left out stays.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StreamUpdateRequestDto {
    /// What the stream is for.
    #[garde(length(chars, max = 2000))]
    pub description: Option<String>,
    /// Free descriptive data, all of it.
    #[garde(custom(shallow))]
    pub data: Option<Map<String, Value>>,
    /// Words to find it by, all of them.
    #[garde(length(max = 100), dive)]
    pub tags: Option<Vec<Tag>>,
    /// Who may do what.
    #[garde(dive)]
    pub permissions: Option<StreamPermissionsDto>,
    /// `archived` makes it read-only, `active` takes that back.
    #[garde(skip)]
    pub status: Option<SettableStatus>,
}

impl StreamUpdateRequestDto {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { description, data, tags, permissions, status } = self;
        description.is_none() && data.is_none() && tags.is_none() && permissions.is_none() && status.is_none()
    }
}

/// A status that can be set. A stream is deleted in another way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum SettableStatus {
    /// It can be read and written.
    Active,
    /// It can be read.
    Archived,
}

impl From<SettableStatus> for StreamStatus {
    fn from(status: SettableStatus) -> Self {
        match status {
            SettableStatus::Active => Self::Active,
            SettableStatus::Archived => Self::Archived,
        }
    }
}

/// The deepest that descriptive data may nest: it is kept inside other JSON, which has a limit of its own.
pub const DATA_DEPTH: usize = 64;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is garde's")]
#[expect(clippy::ref_option, reason = "the signature is garde's")]
fn shallow(data: &Option<Map<String, Value>>, (): &()) -> garde::Result {
    data.as_ref().map_or(Ok(()), |map| shallow_map(map, &()))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is garde's")]
pub(super) fn shallow_map(data: &Map<String, Value>, (): &()) -> garde::Result {
    if data.values().any(|value| deeper(value, DATA_DEPTH - 1)) {
        return Err(garde::Error::new(format!("nests deeper than {DATA_DEPTH}")));
    }
    Ok(())
}

/// Whether a value nests deeper than `limit` levels.
#[must_use]
pub fn deeper(value: &Value, limit: usize) -> bool {
    match value {
        Value::Array(values) => limit == 0 || values.iter().any(|v| deeper(v, limit - 1)),
        Value::Object(map) => limit == 0 || map.values().any(|v| deeper(v, limit - 1)),
        _ => false,
    }
}

/// A stream that was made.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct StreamCreateResult {
    /// The stream.
    pub stream: Stream,
    /// Where its first event was written.
    pub event: AppendResult,
}

/// A stream, by any name that the store may hold.
#[derive(Debug, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase")]
pub struct StreamPath {
    #[garde(dive)]
    #[expect(missing_docs, reason = "the type says it")]
    pub stream_name: StreamNameParam,
}

/// A stream to be written.
#[derive(Debug, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase")]
pub struct NewStreamPath {
    #[garde(dive)]
    #[expect(missing_docs, reason = "the type says it")]
    pub stream_name: NewStreamName,
}

/// How to delete a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum DeleteMode {
    /// It can come back: its name can be used again.
    #[default]
    Soft,
    /// For good: its name can never be used again.
    Tombstone,
}

/// How to delete a stream.
#[derive(Debug, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeleteQuery {
    /// Whether it can come back.
    #[serde(default)]
    #[garde(skip)]
    pub mode: DeleteMode,
    /// Delete only if this is so of the stream: the revision of its last event, or `any`.
    #[serde(default)]
    #[garde(skip)]
    #[schemars(with = "String")]
    pub expected_revision: StreamState,
}

/// A stream that was deleted.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct DeleteResult {
    /// Always true.
    #[schemars(extend("const" = true))]
    pub deleted: bool,
    /// Whether it can come back.
    pub mode: DeleteMode,
    /// Where the delete stands in the order of everything.
    pub position: u64,
}

/// A stream's metadata as the store keeps it: what the store obeys (`$maxAge`, `$maxCount`, `$tb`, `$acl`), the stream's
/// description (`description`, `data`, `tags`, `owner`, `status`, `schemaVersion`, `version`, `createdAt`, `updatedAt`),
/// and free keys.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(transparent)]
#[schemars(transform = metadata_keys)]
pub struct StreamMetadataDto(#[garde(skip)] pub Map<String, Value>);

fn metadata_keys(schema: &mut schemars::Schema) {
    let names = serde_json::json!({
        "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }]
    });
    let rights: Map<_, _> =
        ["$r", "$w", "$d", "$mr", "$mw"].map(|key| (key.to_owned(), names.clone())).into_iter().collect();
    schema.insert(
        "properties".into(),
        serde_json::json!({
            "$maxAge": { "type": "integer", "minimum": 1, "description": "Older events cannot be read (seconds)." },
            "$maxCount": { "type": "integer", "minimum": 1, "description": "Only so many of the newest events can be read." },
            "$tb": { "type": "integer", "minimum": 0, "description": "Events before this revision cannot be read." },
            "$cacheControl": { "type": "integer", "minimum": 1, "description": "How long a reader may keep a page (seconds)." },
            "$acl": { "type": "object", "properties": rights, "additionalProperties": false, "description": "Who may do what." },
        }),
    );
    schema.insert("examples".into(), serde_json::json!([{ "$maxCount": 1000, "team": "lending" }]));
}

/// For operations that take no query: any key is refused.
#[derive(Debug, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct NoQuery {}
