//! How far a group has come: which events are open, and when that is worth a checkpoint.

use super::{Place, Settings};
use std::{collections::BTreeMap, time::Duration};

/// KurrentDB looks at its groups once a second: checkpoints by time are not written more often.
pub(crate) const TICK: Duration = Duration::from_secs(1);

/// A place, and how many events were seen up to and including it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    place: Option<Place>,
    count: u64,
}

/// Events from the source between their arrival and their settlement. They settle in any order; what may be written down
/// is what lies before the first that is open.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// What came last, settled or not.
    last: Mark,
    /// For each open event, by its number, what came before it.
    open: BTreeMap<u64, Mark>,
    /// The newest checkpoint that is written, and the one being written.
    written: Mark,
    writing: Option<Mark>,
    /// Before this moment none is written by time; after a failure none at all.
    not_before: Option<Duration>,
    failed: bool,
}

impl Ledger {
    /// From the checkpoint that was found, if there was one.
    pub(crate) fn new(checkpoint: Option<Place>) -> Self {
        let mark = Mark { place: checkpoint, count: 0 };
        Self {
            last: mark,
            open: BTreeMap::new(),
            written: mark,
            writing: None,
            not_before: None,
            failed: false,
        }
    }

    /// An event came.
    pub(crate) fn arrived(&mut self, number: u64, place: Place) {
        self.open.insert(number, self.last);
        self.last = Mark { place: Some(place), count: self.last.count + 1 };
    }

    /// So many events were looked at up to this place, and are none of the group's.
    pub(crate) fn skipped(&mut self, place: Place, count: u64) {
        if self.last.place.is_none_or(|last| last < place) {
            self.last = Mark { place: Some(place), count: self.last.count + count };
        }
    }

    /// An event was acknowledged, skipped or parked.
    pub(crate) fn settled(&mut self, number: u64) {
        self.open.remove(&number);
    }

    /// The newest place up to which everything is settled, if there is something to write.
    fn candidate(&self) -> Option<Mark> {
        let mark = self.open.first_key_value().map_or(self.last, |(_, before)| *before);
        let newer =
            mark.place.is_some() && mark.place > self.written.place && mark.count > self.written.count;
        newer.then_some(mark)
    }

    /// When a checkpoint is due by time, if one will be.
    pub(crate) fn due(&self, settings: &Settings) -> Option<Duration> {
        let mark = self.candidate().filter(|_| self.writing.is_none())?;
        let worth = mark.count - self.written.count;
        let by_count = self.failed && worth >= u64::from(settings.max_checkpoint_count.max(1));
        let by_time =
            settings.checkpoint_after.is_some() && worth >= u64::from(settings.min_checkpoint_count.max(1));
        (by_count || by_time).then(|| self.not_before.unwrap_or_default())
    }

    /// The place to write down now, if it is worth it. It counts as being written until [`Ledger::wrote`].
    pub(crate) fn checkpoint(&mut self, settings: &Settings, now: Duration) -> Option<Place> {
        let mark = self.candidate().filter(|_| self.writing.is_none())?;
        let full = mark.count - self.written.count >= u64::from(settings.max_checkpoint_count.max(1));
        let due = self.due(settings).is_some_and(|due| due <= now);
        if !(due || full && !self.failed) {
            return None;
        }
        self.not_before = Some(now + settings.checkpoint_after.unwrap_or(TICK).max(TICK));
        self.failed = false;
        self.writing = Some(mark);
        mark.place
    }

    /// The place to write down when the group stops, whether it is worth it or not.
    pub(crate) fn rest(&self) -> Option<Place> {
        self.candidate().and_then(|mark| mark.place)
    }

    /// What became of the writing. A failed one is tried again later.
    pub(crate) fn wrote(&mut self, safe: bool) {
        if let Some(mark) = self.writing.take() {
            if safe {
                self.written = mark;
            } else {
                self.failed = true;
            }
        }
    }

    /// The newest checkpoint.
    pub(crate) const fn written(&self) -> Option<Place> {
        self.written.place
    }
}
