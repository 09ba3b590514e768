//! What the benchmarks share: events, a place on the disk, the time, and a table of results beside their limits.

#![allow(
    dead_code,
    clippy::print_stdout,
    reason = "each benchmark uses a part of it, and prints its results"
)]

use bytes::Bytes;
use event_store::{Clock, ContentType, EventType, NewEvent, SystemClock};
use std::time::Duration;
use tempfile::TempDir;
use uuid::Uuid;

/// Bytes of an event's data.
pub(crate) const EVENT_BYTES: usize = 300;

/// A directory on the disk that the build is on (a temporary directory may be in memory).
pub(crate) fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Events whose ids say their number.
pub(crate) fn events(first: u64, count: u64) -> Vec<NewEvent> {
    let data = Bytes::from(vec![b'x'; EVENT_BYTES]);
    let event_type = EventType::from("Happened");
    (first..first + count)
        .map(|number| NewEvent {
            id: Uuid::from_u64_pair(number.wrapping_mul(0x9E37_79B9_7F4A_7C15), number),
            event_type: event_type.clone(),
            content_type: ContentType::Json,
            data: data.clone(),
            metadata: Bytes::new(),
        })
        .collect()
}

/// How long something takes.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let before = SystemClock.monotonic();
    let result = work();
    (result, SystemClock.monotonic() - before)
}

pub(crate) fn head() {
    println!("{:<44} {:>14} {:>14} {:>7} {:>9}", "", "engine", "limit", "share", "aim");
}

/// A line of the table: what was reached, of what can be reached.
pub(crate) fn rate(what: &str, unit: &str, engine: f64, limit: f64, aim: &str) {
    let share = engine / limit * 100.0;
    println!("{what:<44} {engine:>10.0} {unit:<3} {limit:>10.0} {unit:<3} {share:>6.1}% {aim:>9}");
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
