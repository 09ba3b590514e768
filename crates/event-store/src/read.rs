//! Reading, by pages. A page is bounded in events and in bytes, so that no read can grow without limit.

use crate::{EventFilter, Position, ResolvedEvent, Revision};

/// How many bytes of events a page holds at most unless told otherwise (one event always fits).
pub const DEFAULT_PAGE_BYTES: usize = 16 << 20;

/// Which way to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Direction {
    /// Oldest first.
    #[default]
    Forwards,
    /// Newest first.
    Backwards,
}

/// Where to begin, in either direction. `T` is a [`Revision`] or a [`Position`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ReadFrom<T> {
    /// The oldest event. Backwards from here gives at most that one.
    #[default]
    Start,
    /// Forwards: after the newest event (nothing, or for a subscription: only what comes). Backwards: the newest event.
    End,
    /// At this one, inclusive; if it is not readable, at the next one in the direction of reading.
    At(T),
    /// Past this one, exclusive, in the direction of reading.
    Past(T),
}

/// How to read a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadStream {
    /// Where to begin.
    pub from: ReadFrom<Revision>,
    /// Which way.
    pub direction: Direction,
    /// At most so many events.
    pub limit: usize,
    /// Stop before the page's events are larger than this, but never before the first.
    pub max_bytes: usize,
    /// Follow links to what they point to.
    pub resolve_links: bool,
}

impl ReadStream {
    /// Oldest first from the start, at most `limit` events, links left as they are.
    #[must_use]
    pub const fn forwards(limit: usize) -> Self {
        Self {
            from: ReadFrom::Start,
            direction: Direction::Forwards,
            limit,
            max_bytes: DEFAULT_PAGE_BYTES,
            resolve_links: false,
        }
    }

    /// Newest first from the end, at most `limit` events, links left as they are.
    #[must_use]
    pub const fn backwards(limit: usize) -> Self {
        Self { from: ReadFrom::End, direction: Direction::Backwards, ..Self::forwards(limit) }
    }

    /// The same from elsewhere.
    #[must_use]
    pub const fn from(self, from: ReadFrom<Revision>) -> Self {
        Self { from, ..self }
    }
}

/// A page of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamPage {
    /// The events, in the order of reading.
    pub events: Vec<ResolvedEvent>,
    /// Where the next page begins ([`ReadFrom::At`], same direction); nothing when no more events can be read now.
    pub next: Option<Revision>,
    /// The revision of the stream's last event now.
    pub last_revision: Revision,
}

/// How to read `$all`.
#[derive(Debug, Clone)]
pub struct ReadAll {
    /// Where to begin.
    pub from: ReadFrom<Position>,
    /// Which way.
    pub direction: Direction,
    /// At most so many events.
    pub limit: usize,
    /// Stop before the page's events are larger than this, but never before the first.
    pub max_bytes: usize,
    /// Follow links to what they point to.
    pub resolve_links: bool,
    /// Only events that this one lets through. A filtered page may hold few events, or none, and still have a `next`:
    /// the store looks at a bounded number of events for one page.
    pub filter: Option<EventFilter>,
}

impl ReadAll {
    /// Oldest first from the start, at most `limit` events, unfiltered, links left as they are.
    #[must_use]
    pub const fn forwards(limit: usize) -> Self {
        Self {
            from: ReadFrom::Start,
            direction: Direction::Forwards,
            limit,
            max_bytes: DEFAULT_PAGE_BYTES,
            resolve_links: false,
            filter: None,
        }
    }

    /// Newest first from the end, at most `limit` events, unfiltered, links left as they are.
    #[must_use]
    pub fn backwards(limit: usize) -> Self {
        Self { from: ReadFrom::End, direction: Direction::Backwards, ..Self::forwards(limit) }
    }

    /// The same from elsewhere.
    #[must_use]
    pub fn from(self, from: ReadFrom<Position>) -> Self {
        Self { from, ..self }
    }

    /// The same, filtered.
    #[must_use]
    pub fn filter(self, filter: EventFilter) -> Self {
        Self { filter: Some(filter), ..self }
    }
}

/// A page of `$all`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllPage {
    /// The events, in the order of reading.
    pub events: Vec<ResolvedEvent>,
    /// Where the next page begins ([`ReadFrom::At`], same direction); nothing when no more events can be read now.
    pub next: Option<Position>,
}

/// What can be read of a stream now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamInfo {
    /// The oldest readable revision; nothing if all events were truncated or have aged away.
    pub first_revision: Option<Revision>,
    /// The revision of the last event ever written.
    pub last_revision: Revision,
    /// How many events can be read.
    pub events: u64,
}
