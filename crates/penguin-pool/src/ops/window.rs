//! How the store did in the last five minutes: the share of failures and the latency's quantiles, in bounded memory.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// How far back the window looks.
pub const SPAN: Duration = Duration::from_secs(300);
/// Old operations leave the window by slices of this length.
const SLICE: Duration = Duration::from_secs(10);
const SLICES: u64 = SPAN.as_secs() / SLICE.as_secs();

/// How far back failures say how the store is now.
pub const RECENT: Duration = Duration::from_secs(30);
const RECENT_SLICES: u64 = RECENT.as_secs() / SLICE.as_secs();
/// After so many successes in a row what failed before says nothing of now: were one in twenty still to fail, so long a row
/// would come once in twenty times.
const RECOVERED_AFTER: u64 = 60;

/// Each power of two of microseconds is split into so many steps: a quantile is exact to one part in sixteen.
const STEPS: u64 = 16;
/// The last step takes everything from 2^32 µs (71 minutes).
const BUCKETS: usize = 33 * STEPS as usize;

/// The operations of the last five minutes.
#[derive(Debug, Default)]
pub struct Window(Mutex<Slices>);

#[derive(Debug, Default)]
struct Slices {
    slices: VecDeque<Slice>,
    /// How many operations succeeded since one failed.
    successes: u64,
}

#[derive(Debug)]
struct Slice {
    /// Which slice of time since the clock began.
    number: u64,
    operations: u64,
    failures: u64,
    /// The same of what came after the store had last recovered.
    since_recovery: (u64, u64),
    latencies: Box<[u32; BUCKETS]>,
}

/// What the window holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// How many operations there were.
    pub operations: u64,
    /// The share of them that failed, from 0 to 1; 0 if there were none.
    pub error_rate: f64,
    /// The share that failed of those of the last thirty seconds, or of those since sixty in a row succeeded if that is
    /// later: how the store is now, where the error rate says how it was.
    pub failing: f64,
    /// Half of them took at most this long; zero if there were none.
    pub p50: Duration,
    /// 99 of 100 took at most this long; zero if there were none.
    pub p99: Duration,
}

impl Window {
    /// Adds an operation that ended at `now` (monotonic).
    pub fn record(&self, now: Duration, latency: Duration, failed: bool) {
        let number = now.as_secs() / SLICE.as_secs();
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Slices { slices, successes } = &mut *window;
        if slices.back().is_none_or(|last| last.number < number) {
            forget(slices, number);
            let latencies = Box::new([0; BUCKETS]);
            slices.push_back(Slice { number, operations: 0, failures: 0, since_recovery: (0, 0), latencies });
        }
        if let Some(slice) = slices.back_mut() {
            slice.operations += 1;
            slice.failures += u64::from(failed);
            slice.since_recovery.0 += 1;
            slice.since_recovery.1 += u64::from(failed);
            let count = &mut slice.latencies[bucket(latency)];
            *count = count.saturating_add(1);
        }
        *successes = if failed { 0 } else { *successes + 1 };
        if *successes == RECOVERED_AFTER {
            slices.iter_mut().for_each(|slice| slice.since_recovery = (0, 0));
        }
    }

    /// Sums up what the window holds at `now`.
    #[must_use]
    pub fn summary(&self, now: Duration) -> Summary {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (slices, now) = (&mut window.slices, now.as_secs() / SLICE.as_secs());
        forget(slices, now);
        let operations: u64 = slices.iter().map(|s| s.operations).sum();
        let failures: u64 = slices.iter().map(|s| s.failures).sum();
        let quantile = |hundredths: u64| {
            let rank = (operations * hundredths).div_ceil(100);
            let mut seen = 0;
            (0..BUCKETS).find(|&i| {
                seen += slices.iter().map(|s| u64::from(s.latencies[i])).sum::<u64>();
                rank > 0 && seen >= rank
            })
        };
        let latency = |hundredths| quantile(hundredths).map_or(Duration::ZERO, upper_end);
        let recent = slices.iter().filter(|slice| slice.number + RECENT_SLICES >= now);
        let recent = recent.fold((0, 0), |(of, failed), slice| {
            (of + slice.since_recovery.0, failed + slice.since_recovery.1)
        });
        let (error_rate, failing) = (share(failures, operations), share(recent.1, recent.0));
        Summary { operations, error_rate, failing, p50: latency(50), p99: latency(99) }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share, for people")]
fn share(part: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { part as f64 / of as f64 }
}

fn forget(slices: &mut VecDeque<Slice>, now: u64) {
    while slices.front().is_some_and(|slice| slice.number + SLICES < now + 1) {
        slices.pop_front();
    }
}

/// The bucket of a latency: its highest bit, and the four bits after that.
fn bucket(latency: Duration) -> usize {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1);
    let exponent = u64::from(micros.ilog2());
    let step =
        if exponent >= 4 { (micros >> (exponent - 4)) - STEPS } else { (micros << (4 - exponent)) - STEPS };
    usize::try_from(exponent * STEPS + step).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

/// The longest latency of a bucket.
fn upper_end(bucket: usize) -> Duration {
    let (exponent, step) = (bucket as u64 / STEPS, bucket as u64 % STEPS);
    Duration::from_micros(((STEPS + step + 1) << exponent).div_ceil(STEPS) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_bucket_is_exact_to_one_part_in_sixteen(micros in 1_u64..1 << 32) {
            let upper = upper_end(bucket(Duration::from_micros(micros))).as_micros() as u64;
            prop_assert!(upper >= micros && upper - micros <= micros / 16 + 1, "{micros} -> {upper}");
        }
    }

    #[test]
    fn quantiles_and_the_error_rate_are_those_of_the_last_five_minutes() {
        let window = Window::default();
        let minute = Duration::from_secs(60);
        assert_eq!(window.summary(minute).p99, Duration::ZERO);
        for i in 1..=100_u64 {
            window.record(minute, Duration::from_millis(i), i > 90);
        }
        let summary = window.summary(minute * 5);
        assert_eq!(summary.operations, 100);
        assert!((summary.error_rate - 0.1).abs() < 1e-9);
        assert!((50..=54).contains(&summary.p50.as_millis()), "{summary:?}");
        assert!((99..=106).contains(&summary.p99.as_millis()), "{summary:?}");
        window.record(minute * 6, Duration::from_millis(1), false);
        assert_eq!(
            window.summary(minute * 6 + SLICE).operations,
            1,
            "the first hundred are older than five minutes"
        );
    }

    #[test]
    fn an_outage_says_nothing_of_now_once_it_is_over() {
        let second = Duration::from_secs;
        let window = Window::default();
        let record = |at, failed| window.record(second(at), Duration::from_millis(1), failed);
        (0..40).for_each(|_| record(100, true));
        assert!((window.summary(second(100)).failing - 1.0).abs() < 1e-9);
        // Much is asked: what is answered in a row says that it is over.
        (1..RECOVERED_AFTER).for_each(|_| record(101, false));
        assert!(window.summary(second(101)).failing > 0.3);
        record(101, false);
        let after = window.summary(second(101));
        assert!(after.failing < 1e-9 && (after.error_rate - 0.4).abs() < 1e-9, "{after:?}");
        // What fails from then on counts from then on.
        record(102, true);
        assert!(window.summary(second(102)).failing > 0.99);
        // Little is asked: time says it.
        record(110, false);
        assert!(window.summary(second(129)).failing > 0.3);
        assert!(window.summary(second(140)).failing < 1e-9);
    }

    #[test]
    fn a_store_that_fails_now_and_then_is_failing_all_the_time() {
        let window = Window::default();
        for operation in 0..2_000_u64 {
            window.record(Duration::from_millis(operation * 10), Duration::ZERO, operation % 15 == 0);
            assert!(window.summary(Duration::from_millis(operation * 10)).failing >= 0.05, "{operation}");
        }
    }

    #[test]
    fn a_window_holds_no_more_slices_than_its_span_has() {
        let window = Window::default();
        for second in 0..10_000 {
            window.record(Duration::from_secs(second), Duration::from_millis(1), false);
        }
        assert!(window.0.lock().unwrap().slices.len() as u64 <= SLICES);
    }
}
