//! The clock and the ids, injected: the one place that asks the system for either.

use std::time::Duration;
use uuid::Uuid;

/// A moment, in ticks of 100 ns since the Unix epoch (KurrentDB's resolution), UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From ticks of 100 ns since the Unix epoch.
    #[must_use]
    pub const fn from_ticks(ticks: i64) -> Self {
        Self(ticks)
    }

    /// From milliseconds since the Unix epoch; saturates at the ends of what ticks can say.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(10_000))
    }

    /// Ticks of 100 ns since the Unix epoch.
    #[must_use]
    pub const fn ticks(self) -> i64 {
        self.0
    }

    /// Whole milliseconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(10_000)
    }

    /// This moment less a duration; saturates.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        let ticks = i64::try_from(duration.as_nanos() / 100).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(ticks))
    }

    /// This moment and a duration; saturates.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let ticks = i64::try_from(duration.as_nanos() / 100).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(ticks))
    }

    /// How long from `earlier` to this moment; zero if it lies after.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        let ticks = u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0);
        Duration::from_nanos(ticks.saturating_mul(100))
    }
}

/// Tells the time. Everything that needs it takes one of these, so that tests hold the hands.
pub trait Clock: Send + Sync + std::fmt::Debug + 'static {
    /// The time of day. It may jump, backwards too.
    fn now(&self) -> Timestamp;

    /// Time since some fixed moment of this process; never goes backwards. For measuring, not for dating.
    fn monotonic(&self) -> Duration;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock's own module")]
    fn now(&self) -> Timestamp {
        let ticks = match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_nanos() / 100).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_nanos() / 100).unwrap_or(i64::MAX),
        };
        Timestamp(ticks)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock's own module")]
    fn monotonic(&self) -> Duration {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        START.get_or_init(std::time::Instant::now).elapsed()
    }
}

/// Makes ids for events and requests.
pub trait IdSource: Send + Sync + std::fmt::Debug + 'static {
    /// An id that was never given before.
    fn next_id(&self) -> Uuid;
}

/// Random ids (UUID version 4).
#[derive(Debug, Clone, Copy, Default)]
pub struct RandomIds;

impl IdSource for RandomIds {
    #[expect(clippy::disallowed_methods, reason = "this is the ids' own module")]
    fn next_id(&self) -> Uuid {
        Uuid::new_v4()
    }
}
