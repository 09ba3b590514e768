//! What a group is: what it follows, from where, and how its events are dealt out.

use super::{GroupError, Place};
use event_store::{EventFilter, MAX_NAME_BYTES, StreamName};
use std::{fmt, time::Duration};

/// How many events are read at a time if the settings do not say (KurrentDB's).
const DEFAULT_BATCH: u32 = 20;

/// What a group follows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Source {
    /// A stream.
    Stream(StreamName),
    /// Everything, or what of it a filter lets through.
    All(Option<EventFilter>),
}

impl Source {
    pub(crate) const fn is_all(&self) -> bool {
        matches!(self, Self::All(_))
    }

    /// The stream's name, or `$all`.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Stream(name) => name.as_str(),
            Self::All(_) => "$all",
        }
    }
}

/// By what a group is known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupKey {
    /// The stream's name, or `$all`.
    pub(crate) source: String,
    /// The group's own name.
    pub(crate) group: String,
}

impl fmt::Display for GroupKey {
    /// KurrentDB's id of a subscription.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}", self.source, self.group)
    }
}

impl GroupKey {
    /// The stream of the group's checkpoints.
    pub(crate) fn checkpoints(&self) -> Result<StreamName, GroupError> {
        self.stream("checkpoint")
    }

    /// The stream of the group's parked messages.
    pub(crate) fn parked(&self) -> Result<StreamName, GroupError> {
        self.stream("parked")
    }

    fn stream(&self, what: &str) -> Result<StreamName, GroupError> {
        StreamName::new(format!("$persistentsubscription-{self}-{what}")).map_err(|_| {
            GroupError::Failed(format!(
                "the names of stream and group are too long: the group's own streams would need more than {MAX_NAME_BYTES} bytes"
            ))
        })
    }
}

/// Where a group begins that has no checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// With the oldest event.
    Beginning,
    /// With what is written after the group was made.
    End,
    /// At this one, inclusive.
    At(Place),
}

impl Start {
    /// KurrentDB's text for it.
    pub(crate) fn text(self, in_all: bool) -> String {
        match (self, in_all) {
            (Self::Beginning, false) => "0".into(),
            (Self::Beginning, true) => "C:0/P:0".into(),
            (Self::End, false) => "-1".into(),
            (Self::End, true) => "C:-1/P:-1".into(),
            (Self::At(place), _) => place.to_string(),
        }
    }

    /// From that text. Nothing for what is no start.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "0" | "C:0/P:0" => Some(Self::Beginning),
            "-1" | "C:-1/P:-1" => Some(Self::End),
            other => Place::parse(other).map(Self::At),
        }
    }
}

/// To whom of the consumers an event goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// To one until it can take no more, then to the next.
    DispatchToSingle,
    /// To each in turn.
    RoundRobin,
    /// All events of one stream to the same one.
    Pinned,
    /// All events with one `$correlationId` in their metadata to the same one; those without, by stream.
    PinnedByCorrelation,
}

impl Strategy {
    const ALL: [Self; 4] =
        [Self::DispatchToSingle, Self::RoundRobin, Self::Pinned, Self::PinnedByCorrelation];

    /// KurrentDB's name for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::DispatchToSingle => "DispatchToSingle",
            Self::RoundRobin => "RoundRobin",
            Self::Pinned => "Pinned",
            Self::PinnedByCorrelation => "PinnedByCorrelation",
        }
    }

    /// The one with this name.
    ///
    /// # Errors
    /// [`GroupError::Failed`] if there is none.
    pub(crate) fn named(name: &str) -> Result<Self, GroupError> {
        let found = Self::ALL.into_iter().find(|s| s.name() == name);
        found.ok_or_else(|| {
            let name: String = name.chars().take(100).collect();
            GroupError::Failed(format!("Consumer strategy {name} does not exist."))
        })
    }
}

/// How a group works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Follow links to what they point to.
    pub(crate) resolve_links: bool,
    /// Measure how long each consumer takes.
    pub(crate) extra_statistics: bool,
    /// After so long an event that was not acknowledged is sent again; rounded up to whole seconds, and one at least.
    pub(crate) message_timeout: Duration,
    /// An event that would be sent again more often is parked.
    pub(crate) max_retry_count: u32,
    /// A checkpoint is written after this time at the earliest, unless by `max_checkpoint_count`; nothing for never.
    pub(crate) checkpoint_after: Option<Duration>,
    /// How many events a checkpoint by time is worth at least.
    pub(crate) min_checkpoint_count: u32,
    /// After so many events a checkpoint is written in any case.
    pub(crate) max_checkpoint_count: u32,
    /// How many consumers it may have; 0 for any number.
    pub(crate) max_subscriber_count: u32,
    /// How many events wait at most while the group is live.
    pub(crate) live_buffer_size: u32,
    /// How many events are read at a time while it catches up.
    pub(crate) read_batch_size: u32,
    /// How many events wait at most while it catches up.
    pub(crate) history_buffer_size: u32,
    /// To whom an event goes.
    pub(crate) strategy: Strategy,
}

impl Settings {
    /// How many events are read at a time.
    pub(crate) fn batch(&self) -> usize {
        if self.read_batch_size == 0 { DEFAULT_BATCH as usize } else { self.read_batch_size as usize }
    }

    fn check(&self) -> Result<(), GroupError> {
        if self.batch() >= self.history_buffer_size as usize {
            return Err(GroupError::Failed(
                "ReadBatchSize may not be greater than or equal to BufferSize".into(),
            ));
        }
        Ok(())
    }
}

/// A group as it was asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Definition {
    /// What it follows.
    pub(crate) source: Source,
    /// Its name.
    pub(crate) group: String,
    /// Where it begins.
    pub(crate) start: Start,
    /// How it works.
    pub(crate) settings: Settings,
}

impl Definition {
    /// By what it is known.
    pub(crate) fn key(&self) -> GroupKey {
        GroupKey { source: self.source.name().to_owned(), group: self.group.clone() }
    }

    /// Whether it can be.
    ///
    /// # Errors
    /// [`GroupError::Failed`] with the reason if it cannot.
    pub(crate) fn check(&self) -> Result<(), GroupError> {
        if self.group.is_empty() {
            return Err(GroupError::Failed("a group needs a name".into()));
        }
        let key = self.key();
        key.checkpoints()?;
        key.parked()?;
        self.settings.check()
    }
}
