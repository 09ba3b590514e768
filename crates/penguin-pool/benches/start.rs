//! How soon the service is ready on a store of 2 million events after a clean stop (aim: 300 ms), and how much memory it
//! holds then while nobody asks (aim: 60 MB). The limit beside the time is the same binary on an empty store.
//!
//! `cargo bench -p penguin-pool --bench start` (about a minute, most of it to write the store)

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a benchmark measures, and prints")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that cannot go on is to stop")]

mod support;

use event_store::{EventStore as _, ExpectedState, IdSource as _, NewEvent, RandomIds, StreamName};
use event_store_embedded::{Engine, Options};
use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use support::{Connection, line, request};

const EVENTS: usize = 2_000_000;
const STREAMS: usize = 1_000;

#[tokio::main]
async fn main() {
    let directory = tempfile::tempdir().unwrap();
    let (empty, full) = (directory.path().join("empty"), directory.path().join("full"));
    fill(&full).await;
    // Once on each, so that read models are built; then the starts that count.
    stop(start(&empty).await);
    let mut first = start(&full).await;
    caught_up(&mut first).await;
    stop(first);
    let limit = start(&empty).await;
    let running = start(&full).await;
    println!("{EVENTS} events in {STREAMS} streams, after a clean stop\n");
    println!("{:<44} {:>11.0} ms        aim 300", "ready", running.ready.as_secs_f64() * 1e3);
    line(
        "ready, over an empty store",
        running.ready.as_secs_f64() * 1e3,
        limit.ready.as_secs_f64() * 1e3,
        "ms",
    );
    println!("{:<44} {:>11.1} MB        aim 60", "resident, idle", resident(&running.child));
    println!("{:<44} {:>11.1} MB", "resident, idle, over an empty store", resident(&limit.child));
    stop(running);
    stop(limit);
}

async fn fill(data: &Path) {
    let engine = Engine::open(Options::at(data)).unwrap();
    for n in 0..EVENTS / 1000 {
        let name = StreamName::new(format!("bench-{}", n % STREAMS)).unwrap();
        let event = |i: usize| {
            let text = format!(r#"{{"n":{},"note":"{}"}}"#, n * 1000 + i, "x".repeat(280));
            NewEvent::json(RandomIds.next_id(), "Benched", text)
        };
        engine.append(&name, ExpectedState::Any, (0..1000).map(event).collect()).await.unwrap();
    }
    engine.close().await.unwrap();
}

struct Running {
    child: Child,
    address: SocketAddr,
    ready: Duration,
}

async fn start(data: &Path) -> Running {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let begun = Instant::now();
    let child = Command::new(env!("CARGO_BIN_EXE_penguin-pool"))
        .env_clear()
        .envs([("NODE_ENV", "test"), ("LOG_LEVEL", "warn"), ("KURRENTDB_PORT", "off")])
        .env("HTTP_PORT", port.to_string())
        .env("WS_PORT", "0")
        .env("DATA_DIR", data)
        .current_dir(data.parent().unwrap())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while tokio::net::TcpStream::connect(address).await.is_err() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut connection = Connection::open(address).await;
    while connection.ask(&request("GET", "/health/ready", "")).await.0 != 200 {}
    Running { child, address, ready: begun.elapsed() }
}

/// Waits until the read models have all events.
async fn caught_up(running: &mut Running) {
    let mut connection = Connection::open(running.address).await;
    let ask = request("GET", "/api/streams/statistics", "");
    loop {
        let answer: serde_json::Value = serde_json::from_slice(connection.ask(&ask).await.1).unwrap();
        // The service adds events of its own: it watches itself.
        if answer["data"]["totalEvents"].as_u64().unwrap() >= EVENTS as u64 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn stop(mut running: Running) {
    let pid = running.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(running.child.wait().unwrap().success(), "the service did not stop cleanly");
}

/// Resident memory in MB, as Linux tells it.
fn resident(child: &Child) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    line.and_then(|l| l.trim().split(' ').next()?.parse::<f64>().ok()).map_or(f64::NAN, |kb| kb / 1024.0)
}
