//! A clock whose hands the test holds, and ids that come out the same each time.

use event_store::{Clock, IdSource, Timestamp};
use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::Duration,
};
use uuid::Uuid;

/// A clock that stands still until it is moved. Cloning is by `Arc`.
#[derive(Debug)]
pub struct MockClock {
    now: AtomicI64,
    monotonic: AtomicU64,
}

impl MockClock {
    /// Stands at 2024-01-15T10:30:00Z.
    #[must_use]
    pub fn new() -> Self {
        Self { now: AtomicI64::new(17_053_146_000_000_000), monotonic: AtomicU64::new(0) }
    }

    /// Moves both hands on.
    pub fn advance(&self, by: Duration) {
        self.now.fetch_add(i64::try_from(by.as_nanos() / 100).unwrap_or(i64::MAX), Ordering::SeqCst);
        self.monotonic.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// Sets the time of day, backwards too; the monotonic hand stays.
    pub fn set(&self, now: Timestamp) {
        self.now.store(now.ticks(), Ordering::SeqCst);
    }
}

impl Default for MockClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for MockClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_ticks(self.now.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.monotonic.load(Ordering::SeqCst))
    }
}

/// Ids 1, 2, 3, … from a seed.
#[derive(Debug)]
pub struct SeededIds {
    seed: u64,
    next: AtomicU64,
}

impl SeededIds {
    /// Sources with different seeds never give the same id.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, next: AtomicU64::new(1) }
    }
}

impl IdSource for SeededIds {
    fn next_id(&self) -> Uuid {
        Uuid::from_u64_pair(self.seed, self.next.fetch_add(1, Ordering::Relaxed))
    }
}
