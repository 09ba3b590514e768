//! How fast events are read, and how fast a store with two million of them is open again.
//! `cargo bench -p event-store-embedded --bench read`

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints its results, and fails where it cannot go on"
)]

mod common;

use common::{directory, events, head, median, rate, timed};
use event_store::{EventStore, ExpectedState, ReadAll, ReadFrom, ReadStream, StreamName};
use event_store_embedded::{Engine, Options};
use std::{fs::File, io::Read, path::Path, process::Command};
use tokio::runtime::Runtime;

const EVENTS: u64 = 2_000_000;
const STREAMS: u64 = 20_000;
const COMMIT: u64 = 4000;
const ROUNDS: usize = 3;

fn main() {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("--reopen"), Some(directory)) => return reopen("open again after a clean stop", &directory),
        (Some("--recover"), Some(directory)) => return reopen("open again after a kill", &directory),
        (Some("--die"), Some(directory)) => {
            let _store = fill(&Runtime::new().unwrap(), Path::new(&directory));
            std::process::abort();
        }
        _ => {}
    }
    let directory = directory();
    let runtime = Runtime::new().unwrap();
    let (store, took) = timed(|| fill(&runtime, directory.path()));
    println!("{EVENTS} events in {STREAMS} streams, written in {:.1} s", took.as_secs_f64());
    head();

    let (mut engine, mut limit) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        limit.push(EVENTS as f64 / timed(|| read_files(directory.path())).1.as_secs_f64());
        engine.push(EVENTS as f64 / timed(|| runtime.block_on(read_all(&store))).1.as_secs_f64());
    }
    rate("read $all, pages of 1000 (limit: the files)", "e/s", median(engine), median(limit), ">= 1M e/s");

    let pages = 2000;
    let ((), took) = timed(|| runtime.block_on(read_streams(&store, pages)));
    println!(
        "{:<44} {:>10.0} us a page",
        "read a stream, 100 events a page",
        took.as_secs_f64() / pages as f64 * 1e6
    );

    let ((), took) = timed(|| runtime.block_on(store.close()).unwrap());
    println!("{:<44} {:>10.0} ms", "clean stop", took.as_secs_f64() * 1e3);
    drop(store);
    for _ in 0..ROUNDS {
        print!("{}", child("--reopen", directory.path()));
    }
    let directory = common::directory();
    child("--die", directory.path());
    print!("{}", child("--recover", directory.path()));
}

/// Another process, so that its memory is its own, and so that it can die.
fn child(what: &str, directory: &Path) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.arg(what).arg(directory).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn fill(runtime: &Runtime, directory: &Path) -> Engine {
    let store = Engine::open(Options::at(directory)).unwrap();
    runtime.block_on(async {
        let per_stream = EVENTS / STREAMS;
        let streams_per_commit = COMMIT / per_stream;
        for first in (0..STREAMS).step_by(streams_per_commit as usize) {
            let writes = (first..first + streams_per_commit).map(|number| event_store::StreamWrite {
                stream: StreamName::new(format!("stream-{number}")).unwrap(),
                expected: ExpectedState::NoStream,
                events: events(number * per_stream, per_stream),
            });
            store.append_many(writes.collect()).await.unwrap();
        }
    });
    store
}

fn read_files(directory: &Path) {
    let mut buffer = vec![0; 256 << 10];
    for entry in std::fs::read_dir(directory.join("log")).unwrap() {
        let mut file = File::open(entry.unwrap().path()).unwrap();
        while file.read(&mut buffer).unwrap() > 0 {}
    }
}

async fn read_all(store: &Engine) {
    let mut from = ReadFrom::Start;
    let mut count = 0;
    loop {
        let page = store.read_all(ReadAll::forwards(1000).from(from)).await.unwrap();
        count += page.events.len() as u64;
        match page.next {
            Some(next) => from = ReadFrom::At(next),
            None => break,
        }
    }
    assert_eq!(count, EVENTS);
}

async fn read_streams(store: &Engine, pages: u64) {
    for number in 0..pages {
        let stream = StreamName::new(format!("stream-{}", number * 7919 % STREAMS)).unwrap();
        let page = store.read_stream(&stream, ReadStream::forwards(100)).await.unwrap();
        assert_eq!(page.events.len() as u64, EVENTS / STREAMS);
    }
}

fn reopen(what: &str, directory: &str) {
    let (store, took) = timed(|| Engine::open(Options::at(directory)).unwrap());
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("?").trim();
    println!(
        "{what:<44} {:>10.0} ms (aim 300 after a clean stop), resident {resident} (aim 60 MB)",
        took.as_secs_f64() * 1e3
    );
    Runtime::new().unwrap().block_on(store.close()).unwrap();
}
