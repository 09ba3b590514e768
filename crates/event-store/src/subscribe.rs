//! Following what is written: first what is there (catch-up), then what comes (live), without a gap or a double.

use crate::{EventFilter, Position, ReadFrom, ResolvedEvent, Result, Revision};
use futures::stream::BoxStream;
use std::num::NonZeroU32;

/// How to follow a stream. The stream need not exist yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SubscribeStream {
    /// Where to begin. [`ReadFrom::End`] means live only; a subscription always goes forwards.
    pub from: ReadFrom<Revision>,
    /// Follow links to what they point to.
    pub resolve_links: bool,
}

/// How to follow `$all`.
#[derive(Debug, Clone, Default)]
pub struct SubscribeAll {
    /// Where to begin. [`ReadFrom::End`] means live only; a subscription always goes forwards.
    pub from: ReadFrom<Position>,
    /// Follow links to what they point to.
    pub resolve_links: bool,
    /// Only events that this one lets through.
    pub filter: Option<EventFilter>,
    /// With a filter: a [`SubscriptionMessage::Checkpoint`] after so many events looked at (1,000 unless said).
    pub checkpoint_interval: Option<NonZeroU32>,
}

/// What a subscription brings.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every message is an event: a box would cost an allocation each"
)]
pub enum SubscriptionMessage {
    /// An event.
    Event(ResolvedEvent),
    /// With a filter alone: everything up to and including this position was looked at. Never older than, or the same
    /// as, the one before.
    Checkpoint(Position),
    /// All that was there has been brought; what follows is brought as it is written. Comes each time that happens.
    CaughtUp {
        /// Following a stream: its last revision, if it has events.
        revision: Option<Revision>,
        /// Following `$all`: the last position, if there is one.
        position: Option<Position>,
    },
    /// The reader was too slow to be kept live, and catch-up began again. Nothing is lost.
    FellBehind,
}

/// A running subscription. It is pulled: a reader that stops holds at most one small page of events that it has not
/// taken, however much is written meanwhile, and dropping it ends it.
///
/// It ends only with an error: [`crate::Error::StreamDeleted`] when the stream it follows is tombstoned (after the
/// `$streamDeleted` event, if that came while it ran), [`crate::Error::Closed`] when the store is closed.
pub type Subscription = BoxStream<'static, Result<SubscriptionMessage>>;
