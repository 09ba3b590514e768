//! Sockets in numbers: 5,000 clients told of changes of health, 1,000 subscribers of streams, and readers that stop.
//!
//! `cargo bench -p penguin-pool --bench sockets`, and with `SOCKETS_SCALE=0.01` before it a hundredth of the clients, to see
//! that it works. It raises its soft limit of open files to the hard one, and says so if that is not enough. The clients are a process of their own (this program again), so that
//! the server's CPU time and memory are the server's alone; they share the machine's cores all the same.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "a benchmark speaks, and may panic"
)]

#[path = "sockets/clients.rs"]
mod clients;
#[path = "sockets/process.rs"]
mod process;

use clients::{Load, Report};
use event_store::{
    Clock as _, EventStore, ExpectedState, IdSource as _, NewEvent, RandomIds, StreamName, SystemClock,
};
use event_store_embedded::{Engine, Options as EngineOptions};
use futures::future::join_all;
use models::{DateTime, ServiceState, ServiceStatusMetadata};
use penguin_pool::{
    catalogue::{self, Catalogue, Place},
    security::{Caller, Gate},
    streams::Streams,
    websocket::{HealthFeed, Heartbeat, Options, Sockets},
};
use process::{cpu, resident};
use serde_json::{Value, json};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{io::AsyncWriteExt as _, net::TcpListener, sync::broadcast, time};

const CHANGES: usize = 40;
const SECONDS: usize = 5;

/// How many clients there are.
#[derive(Debug, Clone, Copy)]
struct Scale {
    clients: usize,
    subscribers: usize,
    stopped: usize,
}

impl Scale {
    fn wanted() -> Self {
        let scale: f64 =
            std::env::var("SOCKETS_SCALE").map_or(1.0, |s| s.parse().expect("SOCKETS_SCALE is a number"));
        let scaled = |full: f64| ((full * scale) as usize).max(1);
        Self { clients: scaled(5000.0), subscribers: scaled(1000.0), stopped: scaled(200.0) }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|a| a == "clients") {
        return clients::run(&serde_json::from_str(&arguments[2]).unwrap());
    }
    let scale = Scale::wanted();
    process::allow_open_files(scale.clients + 100);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let bare = bare(scale).await;
        health(scale, bare).await;
        streams(scale).await;
        stopped(scale).await;
    });
}

struct Server {
    address: SocketAddr,
    health: HealthFeed,
    store: Arc<dyn EventStore>,
    sockets: Sockets,
    _directory: tempfile::TempDir,
}

async fn serve() -> Server {
    let directory = tempfile::tempdir().unwrap();
    let (clock, ids) = (Arc::new(SystemClock), Arc::new(RandomIds));
    let engine = Engine::open(EngineOptions::at(directory.path())).unwrap();
    let store: Arc<dyn EventStore> = Arc::new(engine);
    let options = catalogue::Options::new(Place::Memory);
    let catalogue = Catalogue::open(options, Arc::clone(&store), clock.clone()).await.unwrap();
    let health = HealthFeed::new(clock.clone());
    let sockets = Sockets::new(Options {
        allowed_origins: Vec::new(),
        max_sockets: 10_000,
        repeat: Duration::from_secs(3600),
        heartbeat: Heartbeat::default(),
        health: health.clone(),
        streams: Streams::new(Gate::new(Arc::clone(&store)), catalogue, clock.clone(), ids),
        max_subscriptions: 10_000,
        patience: Duration::from_secs(60),
        clock,
        identity: None,
        limiter: None,
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = sockets.router().layer(axum::Extension(Caller::system()));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Server { address, health, store, sockets, _directory: directory }
}

fn now() -> i64 {
    SystemClock.now().ticks()
}

/// The limit: the same bytes, written to as many connections by tasks that do nothing else.
async fn bare(Scale { clients, .. }: Scale) -> Report {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let told = broadcast::Sender::<Arc<[u8]>>::new(64);
    let source = told.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let mut told = source.subscribe();
            tokio::spawn(async move {
                while let Ok(bytes) = told.recv().await {
                    if stream.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let mut load = Load { kind: "bare".into(), address, clients, messages: CHANGES }.begin().await;
    let began = cpu();
    for _ in 0..CHANGES {
        let body = change().to_string();
        let text = format!("42/ws/health,[\"service_status_change\",{body}]");
        let mut frame = vec![0x81, 126, (text.len() >> 8) as u8, (text.len() & 255) as u8];
        frame.extend(text.bytes());
        told.send(frame.into()).unwrap();
        time::sleep(Duration::from_millis(250)).await;
    }
    let mut report = load.end().await;
    report.cpu_us = (cpu() - began).as_secs_f64() * 1e6 / (clients * CHANGES) as f64;
    report
}

fn change() -> Value {
    json!({
        "type": "service_status_change",
        "timestamp": "2024-01-15T10:30:00.000Z",
        "serviceName": "database",
        "status": "down",
        "metadata": { "error": format!("at={}", now()) },
    })
}

async fn health(Scale { clients, .. }: Scale, bare: Report) {
    let server = serve().await;
    let before = resident();
    let load = Load { kind: "health".into(), address: server.address, clients, messages: CHANGES };
    let mut load = load.begin().await;
    let memory = (resident() - before) / clients as f64 / 1024.0;
    let began = cpu();
    for _ in 0..CHANGES {
        let error = Some(format!("at={}", now()));
        let metadata = ServiceStatusMetadata { error, ..ServiceStatusMetadata::default() };
        server.health.changed("database", ServiceState::Down, DateTime::from_millis(0), metadata);
        time::sleep(Duration::from_millis(250)).await;
    }
    let report = load.end().await;
    let each = (cpu() - began).as_secs_f64() * 1e6 / (clients * CHANGES) as f64;
    println!(
        "/ws/health, {clients} clients, {CHANGES} changes, {} of {} messages",
        report.received,
        clients * CHANGES
    );
    println!(
        "  server's CPU time a message    {each:>9.2} µs      limit {:>9.2} µs (bare writes)",
        bare.cpu_us
    );
    println!("  server's memory a client       {memory:>9.1} KiB");
    println!(
        "  until a change reached all p50 {:>9.1} ms      limit {:>9.1} ms",
        report.all_p50, bare.all_p50
    );
    println!(
        "  until a change reached all p99 {:>9.1} ms      limit {:>9.1} ms  (aim 250 ms)",
        report.all_p99, bare.all_p99
    );
    server.sockets.close().await;
}

async fn append(server: &Server, stream: &str, filler: &str, count: usize) {
    let events = (0..count).map(|_| {
        let body = format!("{{\"at\":{},\"filler\":\"{filler}\"}}", now());
        NewEvent::json(RandomIds.next_id(), "Measured", body)
    });
    let name = StreamName::new(stream).unwrap();
    server.store.append(&name, ExpectedState::Any, events.collect()).await.unwrap();
}

async fn streams(Scale { subscribers, .. }: Scale) {
    for (kind, per_second, fan_out) in [("streams", 1000, 1), ("one-stream", 20, subscribers)] {
        let server = serve().await;
        let before = resident();
        let messages = per_second * SECONDS * fan_out / subscribers;
        let load = Load { kind: kind.into(), address: server.address, clients: subscribers, messages };
        let mut load = load.begin().await;
        let idle = (resident() - before) / subscribers as f64 / 1024.0;
        let began = cpu();
        let mut tick = time::interval(Duration::from_millis(50));
        let filler = "x".repeat(250);
        for round in 0..SECONDS * 20 {
            tick.tick().await;
            let at_once = per_second / 20;
            join_all((0..at_once).map(|n| {
                let (server, filler) = (&server, &filler);
                async move {
                    let stream = if kind == "streams" { (round * at_once + n) % subscribers } else { 0 };
                    append(server, &format!("s-{stream}"), filler, 1).await;
                }
            }))
            .await;
        }
        let report = load.end().await;
        let used = (cpu() - began).as_secs_f64();
        let memory = (resident() - before) / subscribers as f64 / 1024.0;
        let delivered = subscribers * messages;
        println!(
            "/ws/streams, {subscribers} subscribers of {}, {per_second} events/s for {SECONDS} s, {} of {delivered} messages",
            if kind == "streams" { "a stream each" } else { "one stream" },
            report.received
        );
        println!(
            "  server's CPU time a message    {:>9.2} µs      ({:.0} % of one core)",
            used * 1e6 / delivered as f64,
            used / SECONDS as f64 * 100.0
        );
        println!("  server's memory a subscriber   {idle:>9.1} KiB idle {memory:>9.1} KiB after");
        println!("  from append to reader          {:>9.1} ms p50 {:>9.1} ms p99", report.p50, report.p99);
        server.sockets.close().await;
    }
}

/// Readers that subscribe to 40 MB and read nothing of it.
async fn stopped(Scale { stopped, .. }: Scale) {
    let server = serve().await;
    for _ in 0..100 {
        append(&server, "large", &"x".repeat(4000), 100).await;
    }
    let before = resident();
    let load = Load { kind: "stopped".into(), address: server.address, clients: stopped, messages: 0 };
    let mut load = load.begin().await;
    // Long enough for a server without bounds to push everything.
    time::sleep(Duration::from_secs(5)).await;
    let memory = (resident() - before) / stopped as f64 / 1024.0;
    println!("/ws/streams, {stopped} subscribers that read nothing of 40 MB each");
    println!("  server's memory a subscriber   {memory:>9.1} KiB");
    load.end().await;
}
