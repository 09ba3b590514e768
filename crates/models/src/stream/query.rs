//! Finding streams and events: what is asked, and what is answered.

use super::{
    Event, PageLimit, Stream, StreamNameParam, StreamStatus,
    json::{all_required, blank_is_none},
};
use crate::{ConnectionStatus, DateTime, HealthStatus};
use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};
use std::collections::BTreeMap;

/// Which streams to list. Filters that are given must all hold; one that is left blank is not given.
#[derive(Debug, Clone, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BrowseQuery {
    /// At most so many streams.
    #[serde(default = "fifty")]
    #[garde(dive)]
    pub limit: PageLimit,
    /// Leave out so many first. The next page has `nextOffset` of the page before: large streams can make a page
    /// shorter than `limit`.
    #[serde(default)]
    #[garde(skip)]
    pub offset: u64,
    /// Go on from `nextCursor` of the page before: quicker than an offset.
    #[serde(default, deserialize_with = "blank_is_none")]
    #[garde(length(bytes, max = 4096))]
    pub cursor: Option<String>,
    /// A regular expression that matches somewhere in the name (linear time, no look-around).
    #[serde(default, deserialize_with = "blank_is_none")]
    #[garde(length(chars, max = 1000))]
    pub name_pattern: Option<String>,
    /// What the name begins with.
    #[serde(default, deserialize_with = "blank_is_none")]
    #[garde(length(bytes, max = 1024))]
    pub prefix: Option<String>,
    /// A type that at least one of the stream's events has.
    #[serde(default, deserialize_with = "blank_is_none")]
    #[garde(length(bytes, max = 1024))]
    pub event_type: Option<String>,
    /// Created at this moment or later.
    #[serde(default, deserialize_with = "blank_is_none")]
    #[garde(skip)]
    pub date_from: Option<DateTime>,
    /// Created at this moment or earlier.
    #[serde(default, deserialize_with = "blank_is_none")]
    #[garde(skip)]
    pub date_to: Option<DateTime>,
    /// One of the stream's tags.
    #[serde(default, deserialize_with = "blank_is_none")]
    #[garde(length(chars, max = 100))]
    pub tag: Option<String>,
    /// Whose it is.
    #[serde(default, deserialize_with = "blank_is_none")]
    #[garde(length(chars, max = 200))]
    pub owner: Option<String>,
    /// Its status; active and archived streams unless said. Deleted ones are listed only by `deleted`.
    #[serde(default, deserialize_with = "blank_is_none")]
    #[garde(skip)]
    pub status: Option<StreamStatus>,
}

fn fifty() -> PageLimit {
    PageLimit::new(50)
}

impl std::str::FromStr for StreamStatus {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "active" => Ok(Self::Active),
            "archived" => Ok(Self::Archived),
            "deleted" => Ok(Self::Deleted),
            _ => Err(format!("'{text}' is not active, archived or deleted")),
        }
    }
}

/// A part of the list of streams.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamPage {
    /// The streams, by name. A page of large streams may hold fewer than `limit` and not be the last.
    pub streams: Vec<ListedStream>,
    /// How many streams pass the filter, on all pages.
    pub total: u64,
    /// Whether there are more after this page.
    pub has_more: bool,
    /// What to give as `cursor` for the next page; left out at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// What to give as `offset` for the next page; left out at the end, and where a `cursor` was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_offset: Option<u64>,
    /// True if the newest writes may be missing.
    #[serde(skip_serializing_if = "is_false", default)]
    pub stale: bool,
}

/// A stream in a list.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListedStream {
    #[serde(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub stream: Stream,
    /// How many events it has now.
    pub event_count: u64,
    /// Their bytes: data, metadata, and twice the type.
    pub size_bytes: u64,
    /// When the newest was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_event_at: Option<DateTime>,
}

/// A stream and what is in it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamDetails {
    #[expect(missing_docs, reason = "the type says it")]
    pub stream: Stream,
    /// How many events it has now.
    pub event_count: u64,
    /// The newest; left out if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_event: Option<Event>,
    /// The oldest; left out if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_event: Option<Event>,
    /// Their bytes: data, metadata, and twice the type.
    pub size_bytes: u64,
    /// Its metadata as the store keeps it.
    pub metadata: Map<String, Value>,
    /// True if `sizeBytes` may lack the newest writes.
    #[serde(skip_serializing_if = "is_false", default)]
    pub stale: bool,
}

/// Which events to find. Filters that are given must all hold.
#[derive(Debug, Clone, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "StreamSearchDto")]
pub struct SearchDto {
    /// Words that must all stand in the data.
    #[garde(length(chars, max = 1000))]
    pub text: Option<String>,
    /// The event's type.
    #[garde(length(bytes, max = 1024))]
    pub event_type: Option<String>,
    /// The event's stream.
    #[garde(dive)]
    pub stream_name: Option<StreamNameParam>,
    /// Written at this moment or later.
    #[garde(skip)]
    pub date_from: Option<DateTime>,
    /// Written at this moment or earlier.
    #[garde(skip)]
    pub date_to: Option<DateTime>,
    /// Conditions on the data.
    #[serde(default)]
    #[garde(length(max = 20), dive)]
    pub r#where: Vec<ConditionDto>,
    /// At most so many events.
    #[serde(default = "fifty")]
    #[garde(dive)]
    pub limit: PageLimit,
    /// Go on from `cursor` of the page before.
    #[garde(length(bytes, max = 4096))]
    pub cursor: Option<String>,
}

/// A condition on an event's data.
#[derive(Debug, Clone, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "SearchCondition", example = serde_json::json!({ "path": "/amount", "op": "gte", "value": 5 }))]
pub struct ConditionDto {
    /// A JSON Pointer into the data; empty for the whole.
    #[garde(length(bytes, max = 1024))]
    #[schemars(example = &"/loanId")]
    pub path: String,
    /// What is asked of the value there.
    #[garde(skip)]
    pub op: SearchOperator,
    /// What it is held against. Needed by all but `exists`, where `false` asks that there be none.
    #[serde(default, deserialize_with = "given")]
    #[garde(skip)]
    #[schemars(with = "Value")]
    pub value: Option<Box<RawValue>>,
}

/// A value that is given is one, and `null` is a value.
fn given<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// What a condition asks of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SearchOperator {
    /// The same value.
    Eq,
    /// Not the same, or not there.
    Ne,
    /// Less.
    Lt,
    /// Less or the same.
    Lte,
    /// Greater.
    Gt,
    /// Greater or the same.
    Gte,
    /// There is a value.
    Exists,
    /// A text with this text in it, or an array with this value in it.
    Contains,
}

/// A part of the events found, newest first.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SearchResult {
    /// The events. A page of large events may hold fewer than `limit` and not be the last.
    pub events: Vec<Event>,
    /// How many there are on all pages, counted to 10,000.
    pub total: u64,
    /// Whether there are more than `total`.
    pub total_is_lower_bound: bool,
    /// Whether there are more after this page.
    pub has_more: bool,
    /// What to give as `cursor` for the next page; left out at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// True if the newest writes may be missing.
    #[serde(skip_serializing_if = "is_false", default)]
    pub stale: bool,
}

/// How much there is, the system's own streams left out.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamStatistics {
    /// Streams, active and archived.
    pub total_streams: u64,
    /// Active streams.
    pub active_streams: u64,
    /// Events that can be read.
    pub total_events: u64,
    /// Users that have a stream.
    pub total_users: u64,
    /// Bytes that the store takes.
    pub storage_used: u64,
    /// When the newest event was written; left out before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_activity: Option<DateTime>,
    /// Events by type, of the 1,000 types with the most.
    pub events_per_type: BTreeMap<String, u64>,
    /// Events by category: what stands in the stream's name before the first `-`; the 1,000 with the most.
    pub events_per_category: BTreeMap<String, u64>,
    /// True if the newest writes may be missing.
    #[serde(skip_serializing_if = "is_false", default)]
    pub stale: bool,
}

/// How the store of the streams is.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = all_required)]
pub struct StreamsHealth {
    /// How it is on the whole.
    pub health: HealthStatus,
    /// Whether the store was reached.
    pub connection: bool,
    /// Whether streams can be read and written.
    pub is_ready: bool,
    /// How the connection to the store is.
    pub connection_status: ConnectionStatus,
    /// For each of the service's own streams whether it could be read just now.
    pub availability: BTreeMap<String, bool>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_can_ask_for_null() {
        let condition: ConditionDto =
            serde_json::from_str(r#"{"path":"/a","op":"eq","value":null}"#).unwrap();
        assert_eq!(condition.value.unwrap().get(), "null");
        let condition: ConditionDto = serde_json::from_str(r#"{"path":"/a","op":"exists"}"#).unwrap();
        assert!(condition.value.is_none());
    }
}
