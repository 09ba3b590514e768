//! Events: as they are read, as they are written, and what an append came to.

use super::{
    EventId, EventTypeName, JsonObject, Mark, NewStreamName, PageLimit, ReadDirection, StreamState,
    json::{all_required, blank_is_none},
};
use crate::DateTime;
use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// An event that the store holds.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// The writer's id (a UUID).
    #[schemars(extend("format" = "uuid"), example = &"3f2a9c1e-6b7d-4e2f-9a41-0c5d8e7b1a23")]
    pub id: String,
    /// What happened, by name.
    #[serde(rename = "type")]
    #[schemars(example = &"LoanRequested")]
    pub event_type: String,
    /// The event itself: JSON, or base64 where `contentType` is given. The service's own events are described by the
    /// component of their type's name.
    pub data: Box<RawValue>,
    /// What is said about it: `{}` for nothing, base64 if it is not JSON.
    pub metadata: Box<RawValue>,
    /// The stream that it stands in.
    #[schemars(example = &"loans-42")]
    pub stream_id: String,
    /// Its number in that stream, from 0.
    pub revision: u64,
    /// Its place in the order of everything. Opaque: only to be compared and handed back.
    pub position: u64,
    /// When the store took it.
    pub timestamp: DateTime,
    /// The media type of data that is not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Where the link stands that led here, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<EventLink>,
}

/// Where a link stands.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventLink {
    /// The stream that was read.
    pub stream_id: String,
    /// The link's number in it.
    pub revision: u64,
    /// The link's place in the order of everything.
    pub position: u64,
}

/// A page of a stream.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = all_required)]
pub struct EventPage {
    /// The events, in the order of reading. A page of large events may hold fewer than `limit` and not be the last.
    pub events: Vec<Event>,
    /// How many events the stream has now.
    pub total: u64,
    /// Whether there are more in this direction.
    pub has_more: bool,
    /// What to give as `from` for the next page; null at the end.
    pub next_revision: Option<u64>,
}

/// A page of everything.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = all_required)]
pub struct AllEventPage {
    /// The events, in the order of reading. A page may hold fewer than `limit`, or none, and not be the last.
    pub events: Vec<Event>,
    /// How many events the store has taken since it was made; the system's only with `system=true`. While the service
    /// catches up with a large store, some of the system's can be counted all the same. To whom not everything may be
    /// shown: how many there are now that may be, never the system's.
    pub total: u64,
    /// Whether there are more in this direction.
    pub has_more: bool,
    /// What to give as `from` for the next page; null at the end.
    pub next_position: Option<u64>,
}

/// Which events of a stream to read.
#[derive(Debug, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EventsQuery {
    /// At most so many events.
    #[serde(default = "hundred")]
    #[garde(dive)]
    pub limit: PageLimit,
    /// Oldest or newest first.
    #[serde(default)]
    #[garde(skip)]
    pub direction: ReadDirection,
    /// The first revision to read, inclusive (`fromRevision` means the same).
    #[serde(alias = "fromRevision")]
    #[garde(dive)]
    pub from: Option<Mark>,
    /// Leave out so many events first, in the direction of reading. The next page has `offset` and the number of events
    /// given, which can be fewer than `limit`; `from` is quicker.
    #[serde(default)]
    #[garde(skip)]
    pub offset: u64,
}

/// Which events of all to read.
#[derive(Debug, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AllEventsQuery {
    /// At most so many events.
    #[serde(default = "hundred")]
    #[garde(dive)]
    pub limit: PageLimit,
    /// Oldest or newest first.
    #[serde(default)]
    #[garde(skip)]
    pub direction: ReadDirection,
    /// The first position to read, inclusive (`fromPosition` means the same).
    #[serde(alias = "fromPosition")]
    #[garde(dive)]
    pub from: Option<Mark>,
    /// The system's events (`$`) too.
    #[serde(default)]
    #[garde(skip)]
    pub system: bool,
}

fn hundred() -> PageLimit {
    PageLimit::new(100)
}

/// An event to be appended.
#[derive(Debug, Clone, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StreamEventDto {
    #[garde(dive)]
    #[expect(missing_docs, reason = "the type says it")]
    pub event_type: EventTypeName,
    /// The event itself, at most 1 MiB. Kept as it is written.
    #[garde(skip)]
    #[schemars(example = serde_json::json!({ "loanId": "42", "amount": 7 }))]
    pub event_data: JsonObject,
    /// What is said about it. Kept as it is written.
    #[garde(skip)]
    pub metadata: Option<JsonObject>,
    /// The event's id; a new one unless given.
    #[garde(dive)]
    pub event_id: Option<EventId>,
}

/// An event to be appended to one stream.
#[derive(Debug, Clone, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StreamAppendEventDto {
    #[garde(dive)]
    #[expect(missing_docs, reason = "the type says it")]
    pub event_type: EventTypeName,
    /// The event itself, at most 1 MiB. Kept as it is written.
    #[garde(skip)]
    #[schemars(example = serde_json::json!({ "loanId": "42", "amount": 7 }))]
    pub event_data: JsonObject,
    /// What is said about it. Kept as it is written.
    #[garde(skip)]
    pub metadata: Option<JsonObject>,
    /// The event's id; a new one unless given.
    #[garde(dive)]
    pub event_id: Option<EventId>,
    /// What must be so of the stream; `any` unless given.
    #[serde(default)]
    #[garde(skip)]
    pub stream_state: StreamState,
}

impl StreamAppendEventDto {
    /// The event, and what must be so for it to be written.
    #[must_use]
    pub fn into_parts(self) -> (StreamEventDto, StreamState) {
        let Self { event_type, event_data, metadata, event_id, stream_state } = self;
        (StreamEventDto { event_type, event_data, metadata, event_id }, stream_state)
    }
}

/// Events to be appended to one stream, all or none.
#[derive(Debug, Clone, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StreamAppendBatchDto {
    /// The events, in order.
    #[garde(length(min = 1, max = 1000), dive)]
    pub events: Vec<StreamEventDto>,
    /// What must be so of the stream; `any` unless given.
    #[serde(default)]
    #[garde(skip)]
    pub stream_state: StreamState,
}

/// Events to be appended to several streams, all or none.
#[derive(Debug, Clone, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StreamAppendManyDto {
    /// The streams, each once.
    #[garde(length(min = 1, max = 100), dive)]
    pub streams: Vec<StreamWriteDto>,
}

/// What is to be appended to one of several streams.
#[derive(Debug, Clone, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StreamWriteDto {
    #[garde(dive)]
    #[expect(missing_docs, reason = "the type says it")]
    pub stream_name: NewStreamName,
    /// What must be so of the stream; `any` unless given.
    #[serde(default)]
    #[garde(skip)]
    pub stream_state: StreamState,
    /// The events, in order. Without events it is a check alone.
    #[garde(length(max = 1000), dive)]
    pub events: Vec<StreamEventDto>,
}

/// Where an event was written.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppendResult {
    /// The event's id.
    #[schemars(extend("format" = "uuid"))]
    pub event_id: String,
    /// Its place in the order of everything.
    pub position: u64,
    /// Its number in the stream.
    pub revision: u64,
}

/// Where a batch was written.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppendBatchResult {
    /// The events' ids, in order.
    pub event_ids: Vec<String>,
    /// The last event's place in the order of everything.
    pub position: u64,
    /// The last event's number in the stream.
    pub revision: u64,
}

/// Where an append to several streams was written.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = all_required)]
pub struct AppendManyResult {
    /// One for each stream, in the order given.
    pub streams: Vec<StreamWriteResult>,
    /// The last event's place in the order of everything; null if there were only checks.
    pub position: Option<u64>,
}

/// Where the events of one of several streams were written.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = all_required)]
pub struct StreamWriteResult {
    /// The stream.
    pub stream_name: String,
    /// The events' ids, in order.
    pub event_ids: Vec<String>,
    /// The stream's last revision; null if it has no events.
    pub revision: Option<u64>,
}

/// Where to begin following a stream.
#[derive(Debug, Clone, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubscribeQuery {
    /// The first revision to bring, inclusive. Without it, and without `Last-Event-ID`, only what comes is brought.
    #[garde(dive)]
    pub from: Option<Mark>,
}

/// Where to begin following everything, and what to bring of it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubscribeAllQuery {
    /// The first position to bring, inclusive. Without it, and without `Last-Event-ID`, only what comes is brought.
    #[garde(dive)]
    pub from: Option<Mark>,
    /// Only streams whose name begins so.
    #[serde(default, deserialize_with = "blank_is_none")]
    #[garde(length(bytes, max = 1024))]
    pub prefix: Option<String>,
    /// Only events of this type.
    #[serde(default, deserialize_with = "blank_is_none")]
    #[garde(length(bytes, max = 1024))]
    pub event_type: Option<String>,
    /// The system's events (`$`) too.
    #[serde(default)]
    #[garde(skip)]
    pub system: bool,
}
