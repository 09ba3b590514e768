//! The server goes away while it is used, and comes back: what was acknowledged is there once, and feeds miss nothing.

use crate::support::{Feed, Node, PATIENCE, event, eventually, get, post, service};
use event_store::{EventStore, StreamName, SystemClock};
use event_store_embedded::{Engine, Options};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use test_support::{Change, Nodes, Proxy, TestService};

/// Appends events 0, 1, 2, … to a stream, each as often as it takes until it is acknowledged. What a client would do.
async fn append_until(
    service: &TestService,
    stream: &str,
    done: &AtomicBool,
    acknowledged: &AtomicU64,
) -> u64 {
    let mut n = 0;
    while !done.load(Ordering::Relaxed) {
        let mut body = event(n);
        body["streamState"] = n.checked_sub(1).map_or(json!("no-stream"), Value::from);
        loop {
            let (status, answer) =
                post(service, &format!("/api/streams/{stream}/events"), body.clone()).await;
            match status {
                201 => {
                    assert_eq!(answer["data"]["revision"], n, "{answer}");
                    break;
                }
                503 | 504 => tokio::time::sleep(Duration::from_millis(20)).await,
                _ => panic!("{status} {answer}"),
            }
        }
        n += 1;
        acknowledged.store(n, Ordering::Relaxed);
    }
    n
}

async fn reach(acknowledged: &AtomicU64, n: u64) {
    let there = async {
        while acknowledged.load(Ordering::Relaxed) < n {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, there).await.expect("appends that go on");
}

async fn all_numbers(service: &TestService, stream: &str) -> Vec<u64> {
    let mut numbers = Vec::new();
    let mut from = json!(0);
    while !from.is_null() {
        let (status, page) =
            get(service, &format!("/api/streams/{stream}/events?limit=1000&from={from}")).await;
        assert_eq!(status, 200, "{page}");
        numbers.extend(
            page["data"]["events"].as_array().unwrap().iter().filter_map(|e| e["data"]["n"].as_u64()),
        );
        from = page["data"]["nextRevision"].clone();
    }
    numbers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_killed_and_restarted_under_load_loses_and_doubles_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::start(directory.path()).await;
    let wire = Proxy::to(node.address).await.unwrap();
    let service = service(&wire).await;
    let (done, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    let killing = async {
        for round in 1..=3 {
            reach(&acknowledged, round * 15).await;
            node.kill().await;
            node = Node::start(directory.path()).await;
            wire.lead_to(node.address);
        }
        reach(&acknowledged, 60).await;
        done.store(true, Ordering::Relaxed);
        // What is appended last still needs it.
        node
    };
    let (mut of_stream, mut of_all) = (
        Feed::new(&service, "/api/streams/loan-1/subscribe?from=0"),
        Feed::new(&service, "/api/streams/all/subscribe?from=0&prefix=loan-"),
    );
    let following = async |feed: &mut Feed<'_>| {
        for n in 0..60_u64 {
            assert_eq!(feed.next().await["data"]["n"], n, "nothing lost, nothing doubled, in order");
        }
    };
    let (_node, n, (), ()) = tokio::join!(
        killing,
        append_until(&service, "loan-1", &done, &acknowledged),
        following(&mut of_stream),
        following(&mut of_all)
    );
    assert_eq!(all_numbers(&service, "loan-1").await, (0..n).collect::<Vec<_>>());
    eventually(&service, "/api/streams/browse?prefix=loan-", |_, body| {
        body["data"]["streams"][0]["eventCount"] == n && body["data"]["stale"].is_null()
    })
    .await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wire_that_cuts_resets_and_stalls_loses_and_doubles_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path()).await;
    let wire = Proxy::to(node.address).await.unwrap();
    let service = service(&wire).await;
    let (done, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    let failing = async {
        for round in 1..=12 {
            reach(&acknowledged, round * 5).await;
            match round % 3 {
                0 => wire.cut(),
                1 => wire.reset(),
                _ => {
                    wire.stall();
                    // For as long as a wire is quiet now and then: nobody gives up yet, and everything waits.
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    wire.flow();
                }
            }
        }
        reach(&acknowledged, 80).await;
        done.store(true, Ordering::Relaxed);
    };
    let mut feed = Feed::new(&service, "/api/streams/loan-1/subscribe?from=0");
    let following = async {
        for n in 0..80_u64 {
            assert_eq!(feed.next().await["data"]["n"], n);
        }
    };
    let ((), n, ()) =
        tokio::join!(failing, append_until(&service, "loan-1", &done, &acknowledged), following);
    assert_eq!(all_numbers(&service, "loan-1").await, (0..n).collect::<Vec<_>>());
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_store_in_the_servers_place_means_a_catalogue_made_anew() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let node = Node::start(first.path()).await;
    let wire = Proxy::to(node.address).await.unwrap();
    let service = service(&wire).await;
    for n in 0..20 {
        assert_eq!(post(&service, "/api/streams/old-1/events", event(n)).await.0, 201);
    }
    eventually(&service, "/api/streams/browse?prefix=old-", |_, body| body["data"]["total"] == 1).await;
    node.kill().await;
    let node = Node::start(second.path()).await;
    wire.lead_to(node.address);
    let appended = async {
        while post(&service, "/api/streams/new-1/events", event(1)).await.0 != 201 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, appended).await.expect("the other store");
    eventually(&service, "/api/streams/browse?prefix=new-", |_, body| body["data"]["total"] == 1).await;
    eventually(&service, "/api/streams/browse?prefix=old-", |_, body| body["data"]["total"] == 0).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_leader_is_followed_and_nothing_lost_or_doubled() {
    let clock = Arc::new(SystemClock);
    let engine: Arc<dyn EventStore> = Arc::new(Engine::open(Options::in_memory()).unwrap());
    let nodes = Nodes::over(Arc::clone(&engine), clock).await.unwrap();
    let service = TestService::builder()
        .set("EVENT_STORE", "kurrentdb")
        .set("KURRENTDB_URL", nodes.seeds())
        .set("RATE_LIMIT_MAX_REQUESTS", 0)
        .start()
        .await;
    let (done, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    let changing = async {
        for (round, change) in
            (1..).zip([Change::HandsOver, Change::IsGone, Change::HandsOver, Change::IsGone])
        {
            reach(&acknowledged, round * 10).await;
            nodes.change(change).await.unwrap();
        }
        reach(&acknowledged, 60).await;
        done.store(true, Ordering::Relaxed);
    };
    let mut feed = Feed::new(&service, "/api/streams/all/subscribe?from=0&prefix=loan-");
    let following = async {
        for n in 0..60_u64 {
            assert_eq!(feed.next().await["data"]["n"], n);
        }
    };
    let ((), n, ()) =
        tokio::join!(changing, append_until(&service, "loan-1", &done, &acknowledged), following);
    let stream = StreamName::new("loan-1").unwrap();
    assert_eq!(engine.stream_info(&stream).await.unwrap().events, n);
    eventually(&service, "/api/streams/browse?prefix=loan-", |_, body| {
        body["data"]["streams"][0]["eventCount"] == n && body["data"]["stale"].is_null()
    })
    .await;
    service.stop().await;
}
