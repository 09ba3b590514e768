//! Writing: what the writer believes of the stream, and what became of it.

use crate::{NewEvent, Position, Revision, StreamName};

/// What the writer says of the stream before it appends. If it is not so, nothing is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ExpectedState {
    /// Anything goes (KurrentDB's −2).
    #[default]
    Any,
    /// The stream has no events yet, or was softly deleted (−1).
    NoStream,
    /// The stream has an event, or metadata (−4).
    StreamExists,
    /// The stream's last event has this revision.
    Exact(Revision),
}

impl std::fmt::Display for ExpectedState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::NoStream => f.write_str("no-stream"),
            Self::StreamExists => f.write_str("stream-exists"),
            Self::Exact(revision) => revision.fmt(f),
        }
    }
}

/// What is to be appended to one stream, as part of an atomic append to several.
///
/// Without events it is a check alone: the others are written only if `expected` holds here too.
#[derive(Debug, Clone)]
pub struct StreamWrite {
    /// The stream; each stream stands at most once in one append.
    pub stream: StreamName,
    /// What must be so.
    pub expected: ExpectedState,
    /// The events, in order.
    pub events: Vec<NewEvent>,
}

/// What an append came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The revision of the last event written (or found, for one written before); for an empty append the stream's
    /// last revision, and nothing where the stream has no events.
    pub last_revision: Option<Revision>,
    /// The position of that last event; nothing for an empty append.
    pub position: Option<Position>,
}

/// What an append to several streams came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendedMany {
    /// One for each write, in the order given.
    pub streams: Vec<Appended>,
    /// The position of the last event of all; nothing if no event was to be written.
    pub position: Option<Position>,
}

/// What a delete or a tombstone came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deleted {
    /// Where the delete stands in the order of everything.
    pub position: Position,
}
