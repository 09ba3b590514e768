//! What the protocol costs: the official client over loopback, beside the port called in the same process, on stores of
//! the same kind. `cargo bench -p kurrentdb-protocol --bench client` (about a minute)

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a benchmark measures, and prints")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on is to stop")]

use event_store::{
    EventStore, ExpectedState, IdSource as _, NewEvent, RandomIds, ReadFrom, ReadStream as Page, StreamName,
    SubscribeStream, SubscriptionMessage, SystemClock,
};
use event_store_embedded::{Engine, Options};
use futures::{StreamExt as _, future::join_all};
use kurrentdb::{
    Client, EventData, ReadStreamOptions, StreamPosition, StreamState, SubscribeToStreamOptions,
};
use kurrentdb_protocol::{Face, FaceOptions, OpenGate, serve};
use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::net::TcpListener;

const DATA: usize = 300;
const CALLERS: usize = 32;
const SINGLES: usize = 300;
const BATCH: usize = 1_000;
const EVENTS: usize = 100_000;
/// How many events the port is asked for at one time: what the face asks for.
const PAGE: usize = 256;
/// The machine is not the same from one second to the next: both take turns, and the middle one counts.
const ROUNDS: usize = 3;

#[tokio::main]
async fn main() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store: Arc<dyn EventStore> = Arc::new(Engine::open(Options::at(directory.path())).unwrap());
    let gate = Arc::new(OpenGate(Arc::clone(&store)));
    let face = Face::new(FaceOptions {
        own: Some(Arc::clone(&store)),
        ..FaceOptions::new(gate, Arc::new(SystemClock), Arc::new(RandomIds))
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, face, axum::Router::new(), Duration::ZERO, std::future::pending()));
    let client = Client::new(format!("kurrentdb://{address}?tls=false").parse().unwrap()).unwrap();

    println!("{:<44} {:>12} {:>12} {:>8}", "events a second, of 300 bytes", "client", "port", "ratio");
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        ours.push(rate(CALLERS * SINGLES, port_singles(&store, round)).await);
        theirs.push(rate(CALLERS * SINGLES, client_singles(&client, round)).await);
    }
    line("append, 32 callers, one event a call", theirs, ours);
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        ours.push(rate(EVENTS, port_batches(&store, round)).await);
        theirs.push(rate(EVENTS, client_batches(&client, round)).await);
    }
    line("batch append, 1000 events a batch", theirs, ours);
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(rate(EVENTS, port_reads(&store)).await);
        theirs.push(rate(EVENTS, client_reads(&client)).await);
    }
    line("read 100,000 events of a stream", theirs, ours);
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(rate(EVENTS, port_follows(&store)).await);
        theirs.push(rate(EVENTS, client_follows(&client)).await);
    }
    line("catch-up subscription over them", theirs, ours);
}

async fn rate(events: usize, work: impl Future<Output = ()>) -> f64 {
    let begun = Instant::now();
    work.await;
    events as f64 / begun.elapsed().as_secs_f64()
}

fn line(what: &str, mut theirs: Vec<f64>, mut ours: Vec<f64>) {
    let middle = |rates: &mut Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let (theirs, ours) = (middle(&mut theirs), middle(&mut ours));
    println!("{what:<44} {theirs:>12.0} {ours:>12.0} {:>7.1}%", theirs / ours * 100.0);
}

fn data() -> String {
    format!(r#"{{"note":"{}"}}"#, "x".repeat(DATA - 11))
}

fn new_event() -> NewEvent {
    NewEvent::json(RandomIds.next_id(), "Benched", data())
}

fn proposed() -> EventData {
    EventData::binary("Benched", data().into()).id(RandomIds.next_id())
}

async fn port_singles(store: &Arc<dyn EventStore>, round: usize) {
    let caller = async |number: usize| {
        let stream = StreamName::new(format!("port-{round}-{number}")).unwrap();
        for _ in 0..SINGLES {
            store.append(&stream, ExpectedState::Any, vec![new_event()]).await.unwrap();
        }
    };
    join_all((0..CALLERS).map(caller)).await;
}

async fn client_singles(client: &Client, round: usize) {
    let caller = async |number: usize| {
        let stream = format!("client-{round}-{number}");
        for _ in 0..SINGLES {
            client.append_to_stream(stream.as_str(), &Default::default(), proposed()).await.unwrap();
        }
    };
    join_all((0..CALLERS).map(caller)).await;
}

async fn port_batches(store: &Arc<dyn EventStore>, round: usize) {
    let stream = StreamName::new(format!("batches-port-{round}")).unwrap();
    for _ in 0..EVENTS / BATCH {
        let batch = (0..BATCH).map(|_| new_event()).collect();
        store.append(&stream, ExpectedState::Any, batch).await.unwrap();
    }
}

async fn client_batches(client: &Client, round: usize) {
    let batches = client.batch_append(&Default::default()).await.unwrap();
    let stream = format!("batches-client-{round}");
    for _ in 0..EVENTS / BATCH {
        let batch: Vec<_> = (0..BATCH).map(|_| proposed()).collect();
        batches.append_to_stream(stream.as_str(), StreamState::Any, batch).await.unwrap();
    }
}

async fn port_reads(store: &Arc<dyn EventStore>) {
    let stream = StreamName::new("batches-port-0").unwrap();
    let (mut from, mut seen) = (ReadFrom::Start, 0);
    loop {
        let read = Page { from, ..Page::forwards(PAGE) };
        let page = store.read_stream(&stream, read).await.unwrap();
        seen += page.events.len();
        match page.next {
            Some(next) => from = ReadFrom::At(next),
            None => break,
        }
    }
    assert_eq!(seen, EVENTS);
}

async fn client_reads(client: &Client) {
    let options = ReadStreamOptions::default().position(StreamPosition::Start).forwards();
    let mut events = client.read_stream("batches-port-0", &options).await.unwrap();
    let mut seen = 0;
    while events.next().await.unwrap().is_some() {
        seen += 1;
    }
    assert_eq!(seen, EVENTS);
}

async fn port_follows(store: &Arc<dyn EventStore>) {
    let stream = StreamName::new("batches-port-0").unwrap();
    let options = SubscribeStream { from: ReadFrom::Start, ..SubscribeStream::default() };
    let mut messages = store.subscribe_stream(&stream, options).await.unwrap();
    let mut seen = 0;
    while seen < EVENTS {
        let message = messages.next().await.unwrap().unwrap();
        seen += usize::from(matches!(message, SubscriptionMessage::Event(_)));
    }
}

async fn client_follows(client: &Client) {
    let options = SubscribeToStreamOptions::default().start_from(StreamPosition::Start);
    let mut events = client.subscribe_to_stream("batches-port-0", &options).await;
    for _ in 0..EVENTS {
        events.next().await.unwrap();
    }
}
