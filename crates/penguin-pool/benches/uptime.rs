//! Uptime: a year of ten services at a word a minute: how long a summary of it takes, and how long after a start the first
//! one comes.
//!
//! `cargo bench -p penguin-pool --bench uptime`, and with `UPTIME_DAYS=3` before it three days instead of a year. The events
//! of a year take about 3 GB in the directory for temporary files.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints, and what fails is to stop it"
)]

#[path = "uptime/start.rs"]
mod start;

use event_store::{Clock, SystemClock};
use models::ServiceState;
use penguin_pool::uptime::history::{History, Sight, Window, Word};
use std::{hint::black_box, time::Duration};
use uuid::Uuid;

const SERVICES: u64 = 10;
const MINUTE: i64 = 60_000;
const ROUNDS: u32 = 1_000;
/// The summary's limit.
const LIMIT: Duration = Duration::from_millis(5);

/// How many words there are of a service.
fn words() -> u64 {
    std::env::var("UPTIME_DAYS").map_or(365, |days| days.parse().unwrap()) * 24 * 60
}

fn history(service: u64, words: u64, status: impl Fn(u64) -> ServiceState) -> History {
    let mut history = History::new(150_000);
    for minute in 0..words {
        let at = i64::try_from(minute).unwrap_or(0) * MINUTE;
        history.apply(&Word {
            id: Uuid::from_u64_pair(service, minute),
            status: Some(status(minute)),
            since: at,
            seen: at,
            sight: Sight::default(),
        });
    }
    history
}

/// What a summary asks of each history.
fn summarize(history: &History, window: Window) -> (f64, f64, Option<i64>) {
    let totals = history.totals(window);
    black_box(history.at(window.end));
    (totals.percentage(), totals.coverage(), history.last_change())
}

fn main() {
    let words = words();
    let end = i64::try_from(words).unwrap_or(0) * MINUTE;
    println!("{SERVICES} services, {words} words each\n");
    println!("{:<34} {:>14} {:>14} {:>12}", "history", "words/s painted", "memory/service", "summary");
    type Pattern = fn(u64) -> ServiceState;
    let patterns: [(&str, Pattern); 3] = [
        ("always up", |_| ServiceState::Up),
        (
            "an outage of 5 minutes each day",
            |m| if m % 1440 < 5 { ServiceState::Down } else { ServiceState::Up },
        ),
        ("another state every minute", |m| if m % 2 == 0 { ServiceState::Up } else { ServiceState::Down }),
    ];
    for (name, status) in patterns {
        let began = SystemClock.monotonic();
        let histories: Vec<History> = (0..SERVICES).map(|service| history(service, words, status)).collect();
        let painting = SystemClock.monotonic() - began;
        let memory: u64 = histories.iter().map(History::memory).sum();
        let began = SystemClock.monotonic();
        for round in 0..ROUNDS {
            let start = Some(i64::from(round) * MINUTE);
            for history in &histories {
                black_box(summarize(history, Window { start, end }));
            }
        }
        let summary = (SystemClock.monotonic() - began) / ROUNDS;
        #[expect(clippy::cast_precision_loss, reason = "a rate to be read by people")]
        let rate = (SERVICES * words) as f64 / painting.as_secs_f64();
        println!(
            "{name:<34} {rate:>14.0} {:>11} kB {summary:>12.2?}   {} of the limit of {LIMIT:?}",
            memory / SERVICES / 1024,
            if summary < LIMIT { "within" } else { "BEYOND" },
        );
    }
    start::measure(words);
}
