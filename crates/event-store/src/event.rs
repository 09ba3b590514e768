//! Events, before and after they are written.

use crate::{Position, Revision, StreamName, Timestamp};
use bytes::Bytes;
use std::sync::Arc;
use uuid::Uuid;

/// An event's type: non-empty UTF-8 of at most 1,024 bytes. Cloning is cheap.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventType(Arc<str>);

impl EventType {
    /// The type of an event that is a link to another one: its data is `revision@stream`.
    pub const LINK: &'static str = "$>";
    /// The type of the event that tombstones a stream.
    pub const STREAM_DELETED: &'static str = "$streamDeleted";
    /// The longest type, in bytes of UTF-8.
    pub const MAX_BYTES: usize = 1024;

    /// Wraps a type's name. Whether it is empty or too long is the store's to refuse ([`crate::Error::InvalidArgument`]).
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The type as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it starts with `$`: the system's own types.
    #[must_use]
    pub fn is_system(&self) -> bool {
        self.0.starts_with('$')
    }
}

impl From<&str> for EventType {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl std::fmt::Display for EventType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an event's data is said to be. The store does not look inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ContentType {
    /// `application/json`.
    #[default]
    Json,
    /// Anything else: `application/octet-stream`.
    Binary,
}

impl ContentType {
    /// The media type.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Binary => "application/octet-stream",
        }
    }
}

/// An event to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// The writer's own id: writing it again does nothing twice (see [`crate::EventStore::append`]).
    pub id: Uuid,
    /// What happened, by name.
    pub event_type: EventType,
    /// What `data` is.
    pub content_type: ContentType,
    /// The event itself.
    pub data: Bytes,
    /// What is said about it; empty for nothing. JSON by custom, but bytes to the store.
    pub metadata: Bytes,
}

impl NewEvent {
    /// A JSON event without metadata.
    pub fn json(id: Uuid, event_type: &str, data: impl Into<Bytes>) -> Self {
        Self {
            id,
            event_type: event_type.into(),
            content_type: ContentType::Json,
            data: data.into(),
            metadata: Bytes::new(),
        }
    }

    /// A link to the event at `revision` of `target`.
    #[must_use]
    pub fn link(id: Uuid, target: &StreamName, revision: Revision) -> Self {
        Self {
            content_type: ContentType::Binary,
            ..Self::json(id, EventType::LINK, format!("{revision}@{target}"))
        }
    }

    /// Its size as limits count it: data, metadata, and twice the type's length (KurrentDB's rule).
    #[must_use]
    pub fn size(&self) -> usize {
        self.data.len() + self.metadata.len() + 2 * self.event_type.as_str().len()
    }
}

/// An event that the store holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedEvent {
    /// The stream it was written to.
    pub stream: StreamName,
    /// Its number in that stream.
    pub revision: Revision,
    /// Its place in the order of everything.
    pub position: Position,
    /// The writer's id.
    pub id: Uuid,
    /// What happened, by name.
    pub event_type: EventType,
    /// What `data` is.
    pub content_type: ContentType,
    /// When the store took it. Never goes backwards in the order of `$all`.
    pub created: Timestamp,
    /// The event itself.
    pub data: Bytes,
    /// What is said about it; empty for nothing.
    pub metadata: Bytes,
}

impl RecordedEvent {
    /// For a link, the event it points to.
    #[must_use]
    pub fn link_target(&self) -> Option<(Revision, StreamName)> {
        if self.event_type.as_str() != EventType::LINK {
            return None;
        }
        let (revision, stream) = std::str::from_utf8(&self.data).ok()?.split_once('@')?;
        Some((revision.parse().ok()?, StreamName::new(stream).ok()?))
    }

    /// Its size as limits count it (see [`NewEvent::size`]).
    #[must_use]
    pub fn size(&self) -> usize {
        self.data.len() + self.metadata.len() + 2 * self.event_type.as_str().len()
    }
}

/// What a read gives: an event, and the link that led to it where links were resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedEvent {
    /// The event; nothing where a link's target does not exist (any more).
    pub event: Option<RecordedEvent>,
    /// The link that stands in the stream that was read, if it was one and links were to be resolved.
    pub link: Option<RecordedEvent>,
}

impl ResolvedEvent {
    /// The record that stands in what was read: the link if there is one, else the event.
    #[must_use]
    pub fn original(&self) -> Option<&RecordedEvent> {
        self.link.as_ref().or(self.event.as_ref())
    }

    /// Its size as pages count it: that of the event and of the link that led to it.
    #[must_use]
    pub fn size(&self) -> usize {
        self.event.iter().chain(&self.link).map(RecordedEvent::size).sum()
    }
}

impl From<RecordedEvent> for ResolvedEvent {
    fn from(event: RecordedEvent) -> Self {
        Self { event: Some(event), link: None }
    }
}
