//! The arithmetic of uptime: words in, intervals and sums out. No I/O and no clock.
//!
//! A [`Word`] says that a service was in a state from `since` to `seen`. A history is painted by words, in the order in
//! which they were written, on an axis of milliseconds that is unknown throughout at first:
//!
//! 1. each word wipes out what was painted at and after its `since`, and
//! 2. paints its state from `since` to `seen` and [`History::new`]'s *grace* beyond.
//!
//! That is all, and everything else follows. A state that is said again in time has no gap; a longer silence is unknown
//! from the last word and its grace on. A watcher that stops paints nothing, so what follows is unknown at once. A
//! change that was found late, and is dated from its first sign, wipes out the word said in between. After the clock
//! was set back, the later words stand, so a clock that once ran far ahead leaves nothing behind in the future.
//!
//! What was painted is kept as merged intervals with running sums: a word costs a constant time, and the sums of any
//! window two binary searches, however much history there is.

mod intervals;
#[cfg(test)]
mod tests;

pub use intervals::{Applied, History, Incident, Interval, Kept, Sight, Window, Word};

/// Time in each state within a window, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Answering in time.
    pub up: u64,
    /// Answering slowly. Counts as up.
    pub degraded: u64,
    /// Not answering.
    pub down: u64,
    /// The window itself: what is missing to it from the other three is unknown.
    pub window: u64,
}

impl Totals {
    /// Up and degraded together.
    #[must_use]
    pub const fn usable(&self) -> u64 {
        self.up + self.degraded
    }

    /// Time in which the state was known.
    #[must_use]
    pub const fn watched(&self) -> u64 {
        self.usable() + self.down
    }

    /// The share of the watched time in which the service could be used, in percent with three decimals. Rounded down:
    /// 100 means without any downtime. 0 if nothing was watched.
    #[must_use]
    pub fn percentage(&self) -> f64 {
        share(self.usable(), self.watched(), 100_000) / 1_000.0
    }

    /// The share of the window that was watched, 0 to 1 with six decimals. Rounded down: 1 means all of it.
    #[must_use]
    pub fn coverage(&self) -> f64 {
        share(self.watched(), self.window, 1_000_000) / 1_000_000.0
    }
}

/// `scale` × part ÷ whole, rounded down.
#[expect(clippy::cast_precision_loss, reason = "at most a million, which an f64 holds exactly")]
fn share(part: u64, whole: u64, scale: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    (u128::from(part) * u128::from(scale) / u128::from(whole)) as f64
}
