//! Merged intervals, with running sums.

mod kept;

pub use kept::Kept;

use super::Totals;
use models::{PerformanceGrade, ServiceState};
use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};
use uuid::Uuid;

/// How many intervals of a service are kept. What is older than them counts as not watched.
const MAX_INTERVALS: usize = 20_000;

/// How many words back one that comes a second time is known again.
const REMEMBERED: usize = 1_024;

/// What was said of a service, once.
#[derive(Debug, Clone, PartialEq)]
pub struct Word {
    /// The event's id: a word that comes a second time says nothing.
    pub id: Uuid,
    /// The state; nothing if the watcher stopped at `since`.
    pub status: Option<ServiceState>,
    /// Since when, in milliseconds since the Unix epoch.
    pub since: i64,
    /// When it was seen last, in milliseconds since the Unix epoch; `since` if that is later.
    pub seen: i64,
    /// What the check saw.
    pub sight: Sight,
}

/// What a check saw. Cloning is cheap.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sight {
    /// How long the service took to answer, in milliseconds.
    pub response_time: Option<f64>,
    /// What was wrong.
    pub error: Option<Arc<str>>,
    /// How quickly it answered.
    pub grade: Option<PerformanceGrade>,
}

/// A stretch of time in one state.
#[derive(Debug, Clone, PartialEq)]
pub struct Interval {
    /// The id of the event that began it.
    pub id: Uuid,
    /// The state.
    pub status: ServiceState,
    /// Its first millisecond.
    pub start: i64,
    /// The millisecond after its last.
    pub end: i64,
    /// What the check saw that began it.
    pub sight: Sight,
    /// When the service came into this state, unknown time between counted as no change.
    same_since: i64,
    /// The sums of everything before `start`.
    before: Sums,
}

/// An interval that was not up.
#[derive(Debug, Clone, PartialEq)]
pub struct Incident {
    /// The interval, the part before the window too, up to now.
    pub interval: Interval,
    /// Whether it lasts.
    pub ongoing: bool,
}

/// Running sums by state, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Sums {
    up: u64,
    degraded: u64,
    down: u64,
}

impl Sums {
    fn plus(mut self, status: ServiceState, millis: u64) -> Self {
        match status {
            ServiceState::Up => self.up += millis,
            ServiceState::Degraded => self.degraded += millis,
            ServiceState::Down => self.down += millis,
        }
        self
    }
}

/// A stretch of time that is asked about: from `start` up to and without `end`, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its first millisecond; nothing for all time.
    pub start: Option<i64>,
    /// The millisecond after its last: now.
    pub end: i64,
}

/// What a word changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// Nothing: it was known.
    Known,
    /// The service is in the state that it was last known to be in, or the watcher stopped.
    Same,
    /// The service is in another state than it was last known to be in, or its first.
    Changed,
}

/// A service's history.
#[derive(Debug, Clone)]
pub struct History {
    grace: i64,
    intervals: VecDeque<Interval>,
    recent: VecDeque<Uuid>,
    known: HashSet<Uuid>,
    words: u64,
}

impl History {
    /// Nothing known yet. `grace` is for how long a word holds if no other follows, in milliseconds.
    #[must_use]
    pub fn new(grace: i64) -> Self {
        let (recent, known) = Default::default();
        Self { grace: grace.max(0), intervals: VecDeque::new(), recent, known, words: 0 }
    }

    /// Paints a word.
    pub fn apply(&mut self, word: &Word) -> Applied {
        if !self.remember(word.id) {
            return Applied::Known;
        }
        let last_known = self.intervals.back().map(|i| (i.status, i.same_since));
        while self.intervals.back().is_some_and(|i| i.start >= word.since) {
            self.intervals.pop_back();
        }
        if let Some(last) = self.intervals.back_mut() {
            last.end = last.end.min(word.since);
        }
        let Some(status) = word.status else { return Applied::Same };
        self.words += 1;
        let end = word.seen.max(word.since).saturating_add(self.grace);
        match self.intervals.back_mut() {
            Some(last) if last.status == status && last.end == word.since => last.end = end,
            _ => self.begin(word, status, end, last_known),
        }
        if last_known.is_some_and(|(known, _)| known == status) { Applied::Same } else { Applied::Changed }
    }

    fn begin(
        &mut self,
        word: &Word,
        status: ServiceState,
        end: i64,
        last_known: Option<(ServiceState, i64)>,
    ) {
        if end <= word.since {
            return;
        }
        let last = self.intervals.back();
        let before = last.map_or_else(Sums::default, |i| i.before.plus(i.status, length(i.start, i.end)));
        // What this word wiped out may have begun in the same state: a clock that was set back changes no state.
        let same_since = match (last, last_known) {
            (Some(last), _) if last.status == status => last.same_since,
            (None, Some((known, since))) if known == status => since.min(word.since),
            _ => word.since,
        };
        let (id, start, sight) = (word.id, word.since, word.sight.clone());
        self.intervals.push_back(Interval { id, status, start, end, sight, same_since, before });
        if self.intervals.len() > MAX_INTERVALS {
            self.intervals.pop_front();
        }
    }

    /// Whether this word is new.
    fn remember(&mut self, id: Uuid) -> bool {
        if !self.known.insert(id) {
            return false;
        }
        self.recent.push_back(id);
        if self.recent.len() > REMEMBERED
            && let Some(oldest) = self.recent.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }

    /// Whether this word was painted lately.
    #[must_use]
    pub fn knows(&self, id: Uuid) -> bool {
        self.known.contains(&id)
    }

    /// The interval that holds a moment.
    #[must_use]
    pub fn at(&self, moment: i64) -> Option<&Interval> {
        let after = self.intervals.partition_point(|i| i.start <= moment);
        self.intervals.get(after.checked_sub(1)?).filter(|i| moment < i.end)
    }

    /// When the service came into the state that it was last known to be in. Time in which nobody watched is no change.
    #[must_use]
    pub fn last_change(&self) -> Option<i64> {
        self.intervals.back().map(|i| i.same_since)
    }

    /// The window's first and last millisecond: all time begins when the service was first watched.
    #[must_use]
    pub fn bounds(&self, window: Window) -> (i64, i64) {
        let first = || self.intervals.front().map_or(window.end, |i| i.start);
        (window.start.unwrap_or_else(first).min(window.end), window.end)
    }

    /// The time in each state within a window.
    #[must_use]
    pub fn totals(&self, window: Window) -> Totals {
        let (start, end) = self.bounds(window);
        let (from, to) = (self.until(start), self.until(end));
        Totals {
            up: to.up - from.up,
            degraded: to.degraded - from.degraded,
            down: to.down - from.down,
            window: length(start, end),
        }
    }

    /// The sums of everything before a moment.
    fn until(&self, moment: i64) -> Sums {
        let after = self.intervals.partition_point(|i| i.start < moment);
        match after.checked_sub(1).and_then(|index| self.intervals.get(index)) {
            Some(i) => i.before.plus(i.status, length(i.start, i.end.min(moment))),
            // What was dropped to stay within bounds is in the first one's sums, on both sides of a difference.
            None => self.intervals.front().map_or_else(Sums::default, |i| i.before),
        }
    }

    /// The intervals within a window, clipped to it, oldest first.
    pub fn timeline(&self, window: Window) -> impl Iterator<Item = Interval> + '_ {
        let (start, end) = self.bounds(window);
        self.touching(start, end).map(move |interval| {
            let (first, last) = (interval.start.max(start), interval.end.min(end));
            Interval { start: first, end: last, ..interval.clone() }
        })
    }

    /// The intervals within a window that were not up, newest first, each whole as far as it lies before the window's
    /// end.
    pub fn incidents(&self, window: Window) -> impl Iterator<Item = Incident> + '_ {
        let (start, end) = self.bounds(window);
        let not_up = self.touching(start, end).rev().filter(|i| i.status != ServiceState::Up);
        not_up.map(move |i| {
            let interval = Interval { end: i.end.min(end), ..i.clone() };
            Incident { interval, ongoing: i.end > end }
        })
    }

    fn touching(&self, start: i64, end: i64) -> impl DoubleEndedIterator<Item = &Interval> {
        let first = self.intervals.partition_point(|i| i.end <= start);
        let after = self.intervals.partition_point(|i| i.start < end);
        // A window without length touches nothing.
        self.intervals.range(first.min(after)..if start < end { after } else { first.min(after) })
    }

    /// How many words with a state were painted.
    #[must_use]
    pub fn words(&self) -> u64 {
        self.words
    }

    /// What the history takes of memory, in bytes; about.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let texts: usize =
            self.intervals.iter().filter_map(|i| i.sight.error.as_ref()).map(|e| e.len() + 16).sum();
        let intervals = self.intervals.capacity() * size_of::<Interval>();
        let ids = (self.recent.capacity() + self.known.capacity()) * size_of::<Uuid>();
        (texts + intervals + ids + size_of::<Self>()) as u64
    }
}

/// From one moment to a later one, in milliseconds; 0 if it is earlier.
fn length(from: i64, to: i64) -> u64 {
    u64::try_from(to.saturating_sub(from)).unwrap_or(0)
}
