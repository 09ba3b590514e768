//! What a group tells of itself.

use super::{Settings, Source, Start};
use std::{collections::VecDeque, sync::Arc, time::Duration};

/// How many of the newest measurements are kept for each consumer.
const WINDOW: usize = 1000;

/// A group at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Info {
    /// What it follows.
    pub(crate) source: Source,
    /// Its name.
    pub(crate) group: String,
    /// Where it began.
    pub(crate) start: Start,
    /// How it works.
    pub(crate) settings: Arc<Settings>,
    /// KurrentDB's words for its state.
    pub(crate) status: String,
    /// Its consumers.
    pub(crate) consumers: Vec<ConsumerInfo>,
    /// Events sent, in all, since the last time this was asked, and a second since then.
    pub(crate) rate: Rate,
    /// Its newest checkpoint; empty if it has none.
    pub(crate) checkpoint: String,
    /// The newest place of one of its events; empty if it had none.
    pub(crate) last_known: String,
    /// How many events wait that were read, and that came live.
    pub(crate) read_buffer: usize,
    /// As above.
    pub(crate) live_buffer: usize,
    /// How many wait to be sent again.
    pub(crate) retry_buffer: usize,
    /// How many are sent and not acknowledged.
    pub(crate) under_way: usize,
    /// How many are parked.
    pub(crate) parked: u64,
}

/// One of a group's consumers.
#[derive(Debug, Clone)]
pub(crate) struct ConsumerInfo {
    /// Whose credentials it came with.
    pub(crate) user: String,
    /// The name of its connection.
    pub(crate) connection: String,
    /// Events sent to it.
    pub(crate) rate: Rate,
    /// How many more may be under way to it.
    pub(crate) free: usize,
    /// How many are.
    pub(crate) under_way: usize,
    /// How long it took, in milliseconds, by KurrentDB's names.
    pub(crate) measurements: Vec<(&'static str, u64)>,
}

/// A count, and how it grew since it was last asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Rate {
    /// In all.
    pub(crate) total: u64,
    /// Since the last time.
    pub(crate) recent: u64,
    /// A second, since the last time.
    pub(crate) per_second: u64,
}

impl Rate {
    /// The rate now, if it was `before` so long ago.
    pub(crate) fn since(before: u64, total: u64, elapsed: Duration) -> Self {
        let recent = total.saturating_sub(before);
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let per_second = recent.saturating_mul(1000).checked_div(millis).unwrap_or_default();
        Self { total, recent, per_second }
    }
}

/// How long a consumer took for its newest events.
#[derive(Debug, Clone, Default)]
pub(crate) struct Latencies(VecDeque<u64>);

impl Latencies {
    /// It took so long for one.
    pub(crate) fn took(&mut self, time: Duration) {
        if self.0.len() == WINDOW {
            self.0.pop_front();
        }
        self.0.push_back(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    }

    /// Mean, median and percentiles in milliseconds, by KurrentDB's names. Nothing if nothing was measured.
    pub(crate) fn summary(&self) -> Vec<(&'static str, u64)> {
        let mut sorted: Vec<u64> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        let (Some(fastest), Some(highest)) = (sorted.first(), sorted.last()) else { return Vec::new() };
        let sum = sorted.iter().fold(0_u64, |sum, time| sum.saturating_add(*time));
        let at = |per_mille: usize| sorted[(per_mille * sorted.len() / 1000).min(sorted.len() - 1)];
        vec![
            ("Mean", sum / sorted.len() as u64),
            ("Median", sorted[sorted.len() / 2]),
            ("Fastest", *fastest),
            ("Quintile 1", at(0)),
            ("Quintile 2", at(200)),
            ("Quintile 3", at(400)),
            ("Quintile 4", at(600)),
            ("Quintile 5", at(800)),
            ("90%", at(900)),
            ("95%", at(950)),
            ("99%", at(990)),
            ("99.5%", at(995)),
            ("99.9%", at(999)),
            ("Highest", *highest),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_summed_up_over_the_newest() {
        let mut latencies = Latencies::default();
        assert!(latencies.summary().is_empty());
        for millis in (0..1100).rev() {
            latencies.took(Duration::from_millis(millis));
        }
        let summary = latencies.summary();
        let value = |name| summary.iter().find(|(n, _)| *n == name).unwrap().1;
        assert_eq!((value("Fastest"), value("Median"), value("Highest"), value("Mean")), (0, 500, 999, 499));
        assert_eq!((value("Quintile 2"), value("99.9%")), (200, 999));
    }

    #[test]
    fn a_rate_is_what_came_since() {
        assert_eq!(
            Rate::since(10, 30, Duration::from_secs(2)),
            Rate { total: 30, recent: 20, per_second: 10 }
        );
        assert_eq!(Rate::since(10, 30, Duration::ZERO).per_second, 0);
    }
}
