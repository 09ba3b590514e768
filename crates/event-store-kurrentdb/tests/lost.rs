//! The connection is lost: calls say so, subscriptions go on where they were.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what fails here fails the test")]

mod support;

use event_store::{
    Error, EventFilter, EventStore, ExpectedState, IdSource, NewEvent, RandomIds, ReadFrom, StoreState,
    StreamName, SubscribeAll, SubscribeStream, Subscription, SubscriptionMessage, SystemClock,
};
use event_store_kurrentdb::{KurrentDb, Options};
use futures::StreamExt;
use std::{sync::Arc, time::Duration};
use support::{Node, PATIENCE};
use test_support::Proxy;

fn adapter(address: std::net::SocketAddr) -> KurrentDb {
    KurrentDb::new(options(address)).unwrap()
}

fn options(address: std::net::SocketAddr) -> Options {
    let options = Options::connect(&format!("kurrentdb://{address}?tls=false")).unwrap();
    options.backoff(Duration::from_millis(1), Duration::from_millis(20))
}

async fn put(store: &dyn EventStore, stream: &str, count: usize) {
    let events = (0..count).map(|_| NewEvent::json(RandomIds.next_id(), "t", "{}")).collect();
    store.append(&StreamName::new(stream).unwrap(), ExpectedState::Any, events).await.unwrap();
}

async fn next(subscription: &mut Subscription) -> Option<(String, u64)> {
    let message = tokio::time::timeout(PATIENCE, subscription.next()).await.expect("it never came");
    match message.expect("it ended").unwrap() {
        SubscriptionMessage::Event(event) => {
            let event = event.original().unwrap();
            Some((event.stream.to_string(), event.revision))
        }
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_go_on_without_a_gap_or_a_double() {
    let node = Node::start(event_store_embedded::Options::in_memory(), Arc::new(SystemClock)).await;
    let wire = Proxy::to(node.address).await.unwrap();
    let store = KurrentDb::new(options(wire.address()).call_time(Duration::from_secs(2))).unwrap();
    let stream = StreamName::new("s").unwrap();
    let filter = Some(EventFilter::stream_prefix(["s"]));
    let mut followed = [
        store.subscribe_stream(&stream, SubscribeStream::default()).await.unwrap(),
        store
            .subscribe_stream(&stream, SubscribeStream { from: ReadFrom::End, ..Default::default() })
            .await
            .unwrap(),
        store.subscribe_all(SubscribeAll { filter: filter.clone(), ..Default::default() }).await.unwrap(),
        store
            .subscribe_all(SubscribeAll { from: ReadFrom::End, filter, ..Default::default() })
            .await
            .unwrap(),
    ];
    let mut seen: [Vec<u64>; 4] = Default::default();
    for round in 1..=12 {
        put(&*node.engine, "s", 20).await;
        put(&*node.engine, "noise", 20).await;
        for (i, (subscription, seen)) in followed.iter_mut().zip(&mut seen).enumerate() {
            // Some are cut while much is still to come, some when they wait.
            let upto = if i % 2 == 0 { round * 20 - 7 } else { round * 20 };
            while seen.len() < upto {
                if let Some((stream, revision)) = next(subscription).await {
                    assert_eq!(stream, "s");
                    seen.push(revision);
                }
            }
        }
        match round % 3 {
            0 => wire.cut(),
            1 => wire.reset(),
            // Those that run are silent for ever, and nobody tells their clients but a call that gets no answer. A
            // connection that was only being made when the others fell silent still answers: it is next.
            _ => loop {
                wire.freeze();
                if store.last_position().await.is_err() {
                    break;
                }
            },
        }
    }
    for (subscription, mut seen) in followed.iter_mut().zip(seen) {
        while seen.len() < 240 {
            seen.extend(next(subscription).await.map(|(_, revision)| revision));
        }
        assert_eq!(seen, (0..240).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_over_a_silent_wire_ends_in_time_and_the_next_finds_another_way() {
    let node = Node::start(event_store_embedded::Options::in_memory(), Arc::new(SystemClock)).await;
    let wire = Proxy::to(node.address).await.unwrap();
    let store = KurrentDb::new(options(wire.address()).call_time(Duration::from_secs(1))).unwrap();
    let stream = StreamName::new("s").unwrap();
    for round in 0..3_u64 {
        let event = NewEvent::json(RandomIds.next_id(), "t", vec![b'1'; 1_000_000]);
        let expected = round.checked_sub(1).map_or(ExpectedState::NoStream, ExpectedState::Exact);
        // The answer or the request is under way for ever; whether it was written nobody knows.
        wire.freeze();
        let lost = store.append(&stream, expected, vec![event.clone()]).await;
        if round > 0 {
            assert!(matches!(lost, Err(Error::Timeout(_))), "{lost:?}");
        }
        let appended = async {
            loop {
                if let Ok(appended) = store.append(&stream, expected, vec![event.clone()]).await {
                    break appended;
                }
            }
        };
        let appended = tokio::time::timeout(PATIENCE, appended).await.unwrap();
        assert_eq!(appended.last_revision, Some(round));
    }
    assert_eq!(node.engine.stream_info(&stream).await.unwrap().events, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_does_not_go_on_in_another_store() {
    let node = Node::start(event_store_embedded::Options::in_memory(), Arc::new(SystemClock)).await;
    let other = Node::start(event_store_embedded::Options::in_memory(), Arc::new(SystemClock)).await;
    let wire = Proxy::to(node.address).await.unwrap();
    let store = adapter(wire.address());
    let first = store.id().await.unwrap();
    let mut all = store.subscribe_all(SubscribeAll::default()).await.unwrap();
    put(&store, "s", 1).await;
    while next(&mut all).await.is_none_or(|(stream, _)| stream != "s") {}
    put(&*other.engine, "elsewhere", 5).await;
    wire.lead_to(other.address);
    wire.cut();
    let ended = async {
        loop {
            match all.next().await.expect("an error before the end") {
                Ok(SubscriptionMessage::Event(event)) => panic!("{event:?}"),
                Ok(_) => {}
                Err(error) => break error,
            }
        }
    };
    // The other store has no id yet, or one of its own.
    assert!(matches!(tokio::time::timeout(PATIENCE, ended).await.unwrap(), Error::Internal(_)));
    assert_ne!(store.id().await.unwrap(), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_told_and_found_again() {
    let node = Node::start(event_store_embedded::Options::in_memory(), Arc::new(SystemClock)).await;
    let wire = Proxy::to(node.address).await.unwrap();
    let store = adapter(wire.address());
    assert_eq!(store.state(), StoreState::Connecting);
    put(&store, "s", 1).await;
    assert_eq!(store.state(), StoreState::Ready);

    let away = adapter("127.0.0.1:9".parse().unwrap());
    let refused = away.last_position().await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    assert!(matches!(away.state(), StoreState::Reconnecting(_)));

    wire.cut();
    // The first call after the cut may find out about it; one after that succeeds.
    let found = async {
        while store.last_position().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, found).await.unwrap();
    assert_eq!(store.state(), StoreState::Ready);
    store.close().await.unwrap();
    assert_eq!((store.state(), store.last_position().await), (StoreState::Closed, Err(Error::Closed)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_cut_in_the_middle_and_sent_again_is_written_once() {
    let node = Node::start(event_store_embedded::Options::in_memory(), Arc::new(SystemClock)).await;
    let wire = Proxy::to(node.address).await.unwrap();
    let store = adapter(wire.address());
    let stream = StreamName::new("s").unwrap();
    for round in 0..30_u64 {
        let event = NewEvent::json(RandomIds.next_id(), "t", vec![b'1'; 10_000]);
        let expected = round.checked_sub(1).map_or(ExpectedState::NoStream, ExpectedState::Exact);
        let append = async {
            loop {
                match store.append(&stream, expected, vec![event.clone()]).await {
                    Ok(appended) => break appended,
                    Err(error) => {
                        assert!(matches!(error, Error::Unavailable(_) | Error::Timeout(_)), "{error:?}")
                    }
                }
            }
        };
        let cutting = async {
            tokio::task::yield_now().await;
            wire.cut();
        };
        let (appended, ()) =
            tokio::time::timeout(PATIENCE, futures::future::join(append, cutting)).await.unwrap();
        assert_eq!(appended.last_revision, Some(round));
    }
    assert_eq!(node.engine.stream_info(&stream).await.unwrap().events, 30);
}
