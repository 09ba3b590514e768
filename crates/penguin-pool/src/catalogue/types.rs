//! What the catalogue is asked and what it answers: plain types, nothing of HTTP.

use event_store::{Position, Revision, StreamMetadata, StreamName, Timestamp};
use models::{ListedUser, StreamDescription, StreamStatus};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// The most streams or events that one page holds.
pub const MAX_PAGE: usize = 1000;

/// Which streams to list, and which part of the list. Filters that are given must all hold.
///
/// Streams are listed by name, in the order of its bytes. Deleted streams are listed only with
/// `status: Some(StreamStatus::Deleted)`, and then alone. System streams (`$…`) are listed only where `prefix` or the
/// fixed beginning of `name_pattern` starts with `$`, and then alone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BrowseFilter {
    /// A regular expression of the `regex` crate that matches somewhere in the name. One that begins with `^` and
    /// fixed text is as fast as a prefix; any other looks at every name.
    pub name_pattern: Option<String>,
    /// What the name begins with.
    pub prefix: Option<String>,
    /// A type that at least one event of the stream has.
    pub event_type: Option<String>,
    /// Created at this moment or later.
    pub date_from: Option<Timestamp>,
    /// Created at this moment or earlier.
    pub date_to: Option<Timestamp>,
    /// One of the stream's tags.
    pub tag: Option<String>,
    /// The stream's owner.
    pub owner: Option<String>,
    /// The stream's status; nothing means active or archived.
    pub status: Option<StreamStatus>,
    /// At most so many streams, 1 to [`MAX_PAGE`].
    pub limit: usize,
    /// Leave out so many first. With a cursor: counted from there. A page can be cut short (see
    /// [`BrowsePage::streams`]): the next one is `offset` and the number of streams given, not `offset` and `limit`.
    pub offset: u64,
    /// Go on from [`BrowsePage::next_cursor`] of the page before.
    pub cursor: Option<String>,
}

/// A part of the list of streams.
#[derive(Debug, Clone, PartialEq)]
pub struct BrowsePage {
    /// The streams, by name. Fewer than `limit` where their metadata would be larger than a page may be.
    pub streams: Vec<CatalogueStream>,
    /// How many streams pass the filter, on all pages.
    pub total: u64,
    /// Whether there are more after this page.
    pub has_more: bool,
    /// Where the next page begins, whatever is created or deleted meanwhile; nothing at the end.
    pub next_cursor: Option<String>,
}

/// A stream as the catalogue knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct CatalogueStream {
    /// The stream.
    pub name: StreamName,
    /// What its metadata says of it.
    pub description: StreamDescription,
    /// Its metadata, as the store obeys it and whole.
    pub metadata: StreamMetadata,
    /// The revision of its metadata; nothing if none was ever set.
    pub metadata_revision: Option<Revision>,
    /// Active, archived, or deleted (softly or for good).
    pub status: StreamStatus,
    /// Deleted for good: the name can never be used again.
    pub tombstoned: bool,
    /// When it was made: as its description says, else its first event's time (of all that were ever written).
    pub created_at: Timestamp,
    /// When its description last changed: as that says, else when the metadata was written, else `created_at`.
    pub updated_at: Timestamp,
    /// Events that can be read now.
    pub event_count: u64,
    /// Their bytes, as limits count them.
    pub size_bytes: u64,
    /// The oldest event that can be read now.
    pub first_revision: Option<Revision>,
    /// When that was written.
    pub first_event_at: Option<Timestamp>,
    /// The newest event that can be read now.
    pub last_revision: Option<Revision>,
    /// When that was written.
    pub last_event_at: Option<Timestamp>,
}

/// Which events to find. Filters that are given must all hold; only events that can be read now are found.
///
/// Events of system streams (`$…`) are found only where `stream_name` names one.
#[derive(Debug, Clone, Default)]
pub struct SearchFilter {
    /// Words that must all stand in the text and number values of the data. A word with punctuation in it is a
    /// phrase; case and accents make no difference.
    pub text: Option<String>,
    /// The event's type.
    pub event_type: Option<String>,
    /// The event's stream.
    pub stream_name: Option<StreamName>,
    /// Written at this moment or later.
    pub date_from: Option<Timestamp>,
    /// Written at this moment or earlier.
    pub date_to: Option<Timestamp>,
    /// Conditions on the data.
    pub conditions: Vec<Condition>,
    /// At most so many events, 1 to [`MAX_PAGE`].
    pub limit: usize,
    /// Go on from [`SearchPage::cursor`] of the page before.
    pub cursor: Option<String>,
}

/// A condition on an event's JSON data (`where` in the API).
#[derive(Debug, Clone)]
pub struct Condition {
    /// A JSON Pointer (RFC 6901); empty for the whole data.
    pub path: String,
    /// What is asked of the value there.
    pub op: Operator,
    /// What it is held against. Needed by all but [`Operator::Exists`], where `false` asks that there be none.
    pub value: Option<Box<RawValue>>,
}

/// What a [`Condition`] asks. Where the path leads nowhere only [`Operator::Ne`] and `exists: false` hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operator {
    /// The same JSON value. Numbers are the same if their value is, to the last digit.
    Eq,
    /// Not the same, or not there.
    Ne,
    /// Less: numbers by value, texts by their characters; values of other or different kinds are never less.
    Lt,
    /// Less or the same.
    Lte,
    /// Greater.
    Gt,
    /// Greater or the same.
    Gte,
    /// There is a value (null is one).
    Exists,
    /// A text that has this text in it, or an array that has this value in it.
    Contains,
}

/// A part of the events found, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SearchPage {
    /// The events.
    pub hits: Vec<Hit>,
    /// How many there are on all pages.
    pub total: u64,
    /// Whether there are more than `total`: it is exact up to 10,000.
    pub total_is_lower_bound: bool,
    /// Whether there are more after this page.
    pub has_more: bool,
    /// Where the next page begins, whatever is written meanwhile; nothing at the end.
    pub cursor: Option<String>,
    /// The newest event of the first page: what was written since is on no later page.
    pub(super) newest: i64,
}

/// An event that was found. Its data is the store's to give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Its place in the order of everything.
    pub position: Position,
    /// Its stream.
    pub stream: StreamName,
    /// Its number there.
    pub revision: Revision,
    /// Its type.
    pub event_type: String,
    /// When it was written.
    pub created: Timestamp,
}

/// How much there is. Events are those that can be read now, of streams that are neither deleted nor the system's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Streams, active and archived.
    pub total_streams: u64,
    /// Of them, the active ones.
    pub active_streams: u64,
    /// Events.
    pub total_events: u64,
    /// Users that have a stream `user-{userId}-{type}…`.
    pub total_users: u64,
    /// Bytes: what the store takes on its disk, or, where it has none, what the events have.
    pub storage_used: u64,
    /// When the newest event was written to a stream that is not the system's.
    pub last_activity: Option<Timestamp>,
    /// Events by type: the 1,000 types with the most.
    pub events_per_type: BTreeMap<String, u64>,
    /// Events by category: what stands in the stream's name before the first `-`. Names without one have none. The 1,000
    /// categories with the most.
    pub events_per_category: BTreeMap<String, u64>,
}

/// A part of the list of users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserList {
    /// The users, by id.
    pub users: Vec<ListedUser>,
    /// How many there are on all pages.
    pub total: u64,
    /// Whether there are more after this page.
    pub has_more: bool,
}

/// Whether the catalogue had reached the position it was to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Freshness {
    /// It had: what is asked now includes it.
    Fresh,
    /// It had not within the time: answers may lack it.
    Stale,
}

/// How far the catalogue is behind its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    /// Events written and not yet taken in.
    pub events: u64,
    /// Up to where it has come; nothing before the first event.
    pub position: Option<Position>,
}

/// How far a rebuild has come, or what it came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Events taken in.
    pub events: u64,
    /// Events that the store held when it began.
    pub of: u64,
}
