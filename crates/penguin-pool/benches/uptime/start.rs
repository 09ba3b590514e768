//! How long after a start the first summary comes: with nothing but the events, and from the snapshots kept since.

use crate::{MINUTE, SERVICES};
use event_store::{
    Clock, EventStore, ExpectedState, IdSource as _, NewEvent, RandomIds, ReadStream, StreamName, SystemClock,
};
use event_store_embedded::{Engine, Options as EngineOptions};
use models::{DateTime, Hours, ServiceState, ServiceStatusChanged};
use penguin_pool::{
    security::Gate,
    uptime::{
        Options, Parts, Uptime,
        target::{Kind, Target},
        watch::{Pace, Patience},
    },
};
use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

/// How many words are written at once.
const BATCH: u64 = 1_000;

pub(crate) fn measure(words: u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let began = SystemClock.monotonic();
        fill(directory.path(), words).await;
        let filled = (SystemClock.monotonic() - began).as_secs_f64();
        println!("\n{} events written in {filled:.1} s", SERVICES * words);
        println!("{:<34} {:>14} {:>26}", "a start on them", "store opened", "first summary after that");
        for name in ["the events alone", "from snapshots"] {
            let began = SystemClock.monotonic();
            let store = open(directory.path());
            let opened = SystemClock.monotonic() - began;
            let uptime = uptime(&store);
            let began = SystemClock.monotonic();
            let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
            uptime.start(nowhere, nowhere, None).unwrap();
            // Refused for as long as the streams are read.
            let summary = loop {
                if let Ok(summary) = uptime.summary(Hours::ALL).await {
                    break summary;
                }
            };
            let first = SystemClock.monotonic() - began;
            println!("{name:<34} {opened:>14.2?} {first:>26.2?}");
            assert!(summary.services.iter().all(|service| service.coverage > 0.9), "{summary:?}");
            kept(&store, words).await;
            uptime.stop().await;
            store.close().await.unwrap();
        }
    });
}

fn open(directory: &Path) -> Arc<dyn EventStore> {
    Arc::new(Engine::open(EngineOptions::at(directory)).unwrap())
}

/// Uptime of services that nobody is to reach: only what was recorded is of interest.
fn uptime(store: &Arc<dyn EventStore>) -> Uptime {
    let target = |n| Target { name: format!("s{n}").into(), kind: Kind::Tcp("127.0.0.1:9".to_owned()) };
    let patience = Patience { failures: 100, successes: 100 };
    let options = Options {
        targets: (0..SERVICES).map(target).collect(),
        pace: Pace { interval: Duration::from_secs(60), timeout: Duration::from_secs(5), patience },
        watch: true,
        max_age: Duration::from_secs(400 * 86_400),
        lease_time: Duration::from_secs(30),
        exclusive: true,
    };
    let gate = Gate::new(Arc::clone(store));
    Uptime::new(Parts { gate, clock: Arc::new(SystemClock), ids: Arc::new(RandomIds), options }).unwrap()
}

/// A word a minute up to now, with an outage of five minutes each day.
async fn fill(directory: &Path, words: u64) {
    let store = open(directory);
    let minutes = |n: u64| i64::try_from(n).unwrap() * MINUTE;
    let first = SystemClock.now().millis() - minutes(words);
    for batch in 0..words.div_ceil(BATCH) {
        for service in 0..SERVICES {
            let events = (batch * BATCH..words.min((batch + 1) * BATCH)).map(|minute| {
                let id = RandomIds.next_id();
                let down = minute % 1440 < 5;
                let changed = ServiceStatusChanged {
                    service_name: format!("s{service}"),
                    status: if down { ServiceState::Down } else { ServiceState::Up },
                    timestamp: DateTime::from_millis(first + minutes(minute)),
                    observed_at: None,
                    duration: None,
                    metadata: None,
                    event_id: id.to_string(),
                };
                let metadata = r#"{"schemaVersion":"1.0.0","source":"penguin-pool/uptime"}"#;
                let data = serde_json::to_string(&changed).unwrap();
                NewEvent { metadata: metadata.into(), ..NewEvent::json(id, ServiceStatusChanged::TYPE, data) }
            });
            let stream = StreamName::new(format!("service-uptime-s{service}")).unwrap();
            store.append(&stream, ExpectedState::Any, events.collect()).await.unwrap();
        }
    }
    store.close().await.unwrap();
}

/// Waits until a snapshot of every service is kept, if there are words enough for one.
async fn kept(store: &Arc<dyn EventStore>, words: u64) {
    if words < 2_000 {
        return;
    }
    for service in 0..SERVICES {
        let stream = StreamName::new(format!("system-uptime-history-s{service}")).unwrap();
        while store.read_stream(&stream, ReadStream::backwards(1)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
