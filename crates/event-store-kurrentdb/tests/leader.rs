//! Another node becomes the leader in the middle of appends, reads and subscriptions. The official client follows it where
//! it is told, and is made anew where it is not: nothing is lost, and nothing doubled.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what fails here fails the test")]

mod support;

use event_store::{
    Error, EventFilter, EventStore, ExpectedState, IdSource as _, NewEvent, RandomIds, ReadAll, ReadFrom,
    ReadStream, StreamName, SubscribeAll, SubscribeStream, Subscription, SubscriptionMessage, SystemClock,
};
use event_store_embedded::Engine;
use event_store_kurrentdb::{KurrentDb, Options};
use futures::StreamExt as _;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use support::PATIENCE;
use test_support::{Change, Nodes};

/// So many events are appended, with a change of the leader after each so many.
const EVENTS: u64 = 90;
const BETWEEN: u64 = 15;

fn stream() -> StreamName {
    StreamName::new("loan-1").unwrap()
}

/// What a call may fail with while there is no leader that it reached.
fn is_passing(error: &Error) -> bool {
    matches!(error, Error::Unavailable(_) | Error::Timeout(_))
}

/// Appends one event after the other, each with the revision that it is to get, and as often as it takes.
async fn append(store: &dyn EventStore, written: &AtomicU64) {
    for n in 0..EVENTS {
        let event = NewEvent::json(RandomIds.next_id(), "Added", format!("{{\"n\":{n}}}"));
        // Every third says nothing of the revision, and is told apart by its id alone.
        let expected = match n {
            0 => ExpectedState::NoStream,
            n if n % 3 == 0 => ExpectedState::Any,
            n => ExpectedState::Exact(n - 1),
        };
        loop {
            match store.append(&stream(), expected, vec![event.clone()]).await {
                Ok(appended) => {
                    assert_eq!(appended.last_revision, Some(n));
                    break;
                }
                Err(error) => assert!(is_passing(&error), "{error:?}"),
            }
        }
        written.store(n + 1, Ordering::Relaxed);
    }
}

/// Reads until all was written: what was acknowledged before a read is in it, whoever leads.
async fn read(store: &dyn EventStore, written: &AtomicU64) {
    loop {
        let before = written.load(Ordering::Relaxed);
        match store.read_stream(&stream(), ReadStream::backwards(1)).await {
            Ok(page) => assert!(page.last_revision + 1 >= before, "{} {before}", page.last_revision),
            Err(Error::StreamNotFound(_)) => assert_eq!(before, 0),
            Err(error) => assert!(is_passing(&error), "{error:?}"),
        }
        match store.read_all(ReadAll::forwards(10)).await {
            Ok(page) => assert!(page.events.len() as u64 >= before.min(10)),
            Err(error) => assert!(is_passing(&error), "{error:?}"),
        }
        if before == EVENTS {
            return;
        }
        // The appends are to have the most of it.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn follow(mut subscription: Subscription) {
    let mut next = 0;
    while next < EVENTS {
        if let SubscriptionMessage::Event(event) = subscription.next().await.expect("no end").unwrap() {
            let event = event.event.unwrap();
            assert_eq!((&event.stream, event.revision), (&stream(), next), "one after the other");
            next += 1;
        }
    }
}

async fn change(nodes: &Nodes, written: &AtomicU64) {
    let changes = [Change::HandsOver, Change::IsGone, Change::HandsOver, Change::IsSilent, Change::IsGone];
    for (i, change) in (1..).zip(changes) {
        while written.load(Ordering::Relaxed) < i * BETWEEN {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        nodes.change(change).await.unwrap();
    }
}

async fn start() -> (Arc<dyn EventStore>, Nodes) {
    let engine: Arc<dyn EventStore> =
        Arc::new(Engine::open(event_store_embedded::Options::in_memory()).unwrap());
    let nodes = Nodes::over(Arc::clone(&engine), Arc::new(SystemClock)).await.unwrap();
    (engine, nodes)
}

async fn survive(engine: &dyn EventStore, nodes: &Nodes, connection: &str) {
    // A second is long for a call here, and a silent leader costs one.
    let options = Options::connect(connection).unwrap().call_time(Duration::from_secs(2));
    let options = options.backoff(Duration::from_millis(1), Duration::from_millis(50));
    let store = KurrentDb::new(options).unwrap();
    let filter = Some(EventFilter::stream_prefix(["loan-"]));
    let of_stream = store.subscribe_stream(&stream(), SubscribeStream::default()).await.unwrap();
    let all = SubscribeAll { filter, ..SubscribeAll::default() };
    let of_all = store.subscribe_all(all.clone()).await.unwrap();
    let live = store.subscribe_all(SubscribeAll { from: ReadFrom::End, ..all }).await.unwrap();
    let written = AtomicU64::new(0);
    let all_of_it = async {
        tokio::join!(
            change(nodes, &written),
            append(&store, &written),
            read(&store, &written),
            follow(of_stream),
            follow(of_all),
            follow(live)
        )
    };
    tokio::time::timeout(4 * PATIENCE, all_of_it).await.expect("an end");
    let held = engine.stream_info(&stream()).await.unwrap();
    assert_eq!((held.events, held.last_revision), (EVENTS, EVENTS - 1), "nothing was written twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_knows_the_nodes_follows_the_leader() {
    let (engine, nodes) = start().await;
    survive(&*engine, &nodes, &nodes.seeds()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_discovers_the_nodes_follows_the_leader() {
    let (engine, nodes) = start().await;
    survive(&*engine, &nodes, &nodes.name()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_asked_a_follower_is_led_to_the_leader() {
    let (engine, nodes) = start().await;
    let options = Options::connect(&nodes.seeds()).unwrap();
    let store = KurrentDb::new(options.call_time(PATIENCE)).unwrap();
    store.last_position().await.unwrap();
    for _ in 0..4 {
        // One call is enough: it is sent again where the leader is.
        nodes.change(Change::HandsOver).await.unwrap();
        let event = NewEvent::json(RandomIds.next_id(), "Added", "{}");
        store.append(&stream(), ExpectedState::Any, vec![event]).await.unwrap();
    }
    assert_eq!(engine.stream_info(&stream()).await.unwrap().events, 4);
}
