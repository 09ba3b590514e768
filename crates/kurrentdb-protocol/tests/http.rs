//! The node's HTTP interface over the plain store.

#![expect(clippy::unwrap_used, reason = "a test's helpers may panic")]

use axum::{
    Router,
    body::Body,
    http::{Request, Response, StatusCode},
};
use event_store::{
    Clock as _, EventStore, ExpectedState, NewEvent, StreamMetadata, StreamName, contract::Model,
};
use http_body_util::BodyExt as _;
use kurrentdb_protocol::http::{Node, router};
use serde_json::{Value, json};
use std::sync::Arc;
use test_support::{MockClock, SeededIds};
use tower::ServiceExt as _;
use uuid::Uuid;

struct Tried {
    store: Arc<Model>,
    router: Router,
}

fn node() -> Tried {
    node_with(false)
}

fn node_with(accounts: bool) -> Tried {
    let clock = Arc::new(MockClock::new());
    let store = Arc::new(Model::new(clock.clone(), Arc::new(SeededIds::new(7))));
    let started = clock.now();
    let node =
        Node { store: store.clone(), clock, host: "127.0.0.1".to_owned(), port: 2113, started, accounts };
    Tried { store, router: router(node) }
}

fn stream(name: &str) -> StreamName {
    StreamName::new(name).unwrap()
}

impl Tried {
    async fn append(&self, name: &str, events: impl IntoIterator<Item = u64>) {
        let event = |i: u64| NewEvent {
            metadata: "{\"by\":\"me\"}".into(),
            ..NewEvent::json(Uuid::from_u128(i.into()), "Counted", format!("{{\"n\":{i}}}"))
        };
        let events = events.into_iter().map(event).collect();
        self.store.append(&stream(name), ExpectedState::Any, events).await.unwrap();
    }

    async fn ask(&self, path: &str, headers: &[(&str, &str)]) -> Response<Body> {
        let mut request = Request::get(path).header("host", "node:2113");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    async fn json(&self, path: &str) -> Value {
        let response = self.ask(path, &[]).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }

    async fn status(&self, path: &str) -> u16 {
        self.ask(path, &[]).await.status().as_u16()
    }
}

fn link<'a>(page: &'a Value, relation: &str) -> Option<&'a str> {
    let links = page["links"].as_array().unwrap();
    links.iter().find(|l| l["relation"] == relation).map(|l| l["uri"].as_str().unwrap())
}

fn path(uri: &str) -> &str {
    uri.strip_prefix("http://node:2113").unwrap()
}

fn titles(page: &Value) -> Vec<&str> {
    page["entries"].as_array().unwrap().iter().map(|e| e["title"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_node_lives_until_its_store_is_closed() {
    let node = node();
    assert_eq!(node.status("/health/live").await, 204);
    assert_eq!(node.status("/health/live?liveCode=200").await, 200);
    assert_eq!(node.status("/health/live?liveCode=500").await, 204, "no failure can be asked for");
    node.store.close().await.unwrap();
    assert_eq!(node.status("/health/live").await, 503);
    assert_eq!(node.json("/info").await["state"], "unknown");
}

#[tokio::test]
async fn a_node_says_what_it_is() {
    let node = node();
    node.append("counters", 0..3).await;
    let info = node.json("/info").await;
    assert_eq!(info["state"], "leader");
    assert_eq!(info["features"], json!({"projections": false, "userManagement": false, "atomPub": true}));
    assert_eq!(info["authentication"]["type"], "insecure");
    let guarded = node_with(true).json("/info").await;
    assert_eq!(guarded["features"]["userManagement"], true);
    assert_eq!(guarded["authentication"]["type"], "internal");
    assert_eq!(node.json("/ping").await["text"], "Ping request successfully handled");
    assert_eq!(node.json("/stats").await["es"]["events"], 3);
    let gossip = node.json("/gossip").await;
    let member = &gossip["members"][0];
    assert_eq!(gossip["members"].as_array().unwrap().len(), 1);
    assert_eq!((&member["state"], &member["isAlive"]), (&json!("Leader"), &json!(true)));
    assert_eq!((&member["httpEndPointIp"], &member["httpEndPointPort"]), (&json!("127.0.0.1"), &json!(2113)));
    assert_eq!(member["instanceId"], node.store.id().await.unwrap().to_string());
    assert_eq!(member["timeStamp"], "2024-01-15T10:30:00Z");
}

#[tokio::test]
async fn the_newest_page_of_a_stream_is_as_kurrentdb_writes_it() {
    let node = node();
    node.append("one two", [0]).await;
    assert_eq!(
        node.json("/streams/one%20two").await,
        json!({
            "title": "Event stream 'one two'",
            "id": "http://node:2113/streams/one%20two",
            "updated": "2024-01-15T10:30:00Z",
            "streamId": "one two",
            "author": {"name": "EventStore"},
            "headOfStream": true,
            "selfUrl": "http://node:2113/streams/one%20two",
            "eTag": "0;248368668",
            "links": [
                {"uri": "http://node:2113/streams/one%20two", "relation": "self"},
                {"uri": "http://node:2113/streams/one%20two/head/backward/20", "relation": "first"},
                {"uri": "http://node:2113/streams/one%20two/1/forward/20", "relation": "previous"},
                {"uri": "http://node:2113/streams/one%20two/metadata", "relation": "metadata"},
            ],
            "entries": [{
                "title": "0@one two",
                "id": "http://node:2113/streams/one%20two/0",
                "updated": "2024-01-15T10:30:00Z",
                "author": {"name": "EventStore"},
                "summary": "Counted",
                "links": [
                    {"uri": "http://node:2113/streams/one%20two/0", "relation": "edit"},
                    {"uri": "http://node:2113/streams/one%20two/0", "relation": "alternate"},
                ],
            }],
        })
    );
}

#[tokio::test]
async fn links_lead_through_a_whole_stream_and_back() {
    let node = node();
    node.append("counters", 0..50).await;
    let mut page = node.json("/streams/counters").await;
    let mut seen: Vec<String> = Vec::new();
    loop {
        seen.extend(titles(&page).into_iter().map(str::to_owned));
        let Some(next) = link(&page, "next").map(str::to_owned) else { break };
        page = node.json(path(&next)).await;
    }
    assert_eq!(seen, (0..50).rev().map(|n| format!("{n}@counters")).collect::<Vec<_>>());
    let mut page = node.json("/streams/counters/0/forward/20").await;
    let mut back: Vec<String> = Vec::new();
    while !titles(&page).is_empty() {
        back.extend(titles(&page).into_iter().rev().map(str::to_owned));
        page = node.json(path(link(&page, "previous").unwrap())).await;
    }
    seen.reverse();
    assert_eq!(back, seen);
    assert_eq!(page["headOfStream"], true);
    assert_eq!(link(&page, "previous"), None, "nothing newer: ask this page again");
}

#[tokio::test]
async fn links_lead_through_everything_and_back() {
    let node = node();
    node.append("a", 0..30).await;
    node.append("b", 30..45).await;
    let mut page = node.json("/streams/$all").await;
    let mut seen: Vec<String> = Vec::new();
    loop {
        seen.extend(titles(&page).into_iter().map(str::to_owned));
        let Some(next) = link(&page, "next").map(str::to_owned) else { break };
        page = node.json(path(&next)).await;
    }
    assert_eq!(seen.len(), 45);
    assert_eq!((seen[0].as_str(), seen[44].as_str()), ("14@b", "0@a"));
    let mut page = node.json(&format!("/streams/%24all/{}/forward/20", "0".repeat(32))).await;
    let mut back: Vec<String> = Vec::new();
    while !titles(&page).is_empty() {
        back.extend(titles(&page).into_iter().rev().map(str::to_owned));
        page = node.json(path(link(&page, "previous").unwrap())).await;
    }
    seen.reverse();
    assert_eq!(back, seen);
}

#[tokio::test]
async fn as_much_is_embedded_as_is_asked_for() {
    let node = node();
    node.append("counters", [5]).await;
    let plain = node.json("/streams/counters").await;
    assert!(plain["entries"][0].get("eventId").is_none());
    let rich = node.json("/streams/counters?embed=rich").await;
    assert_eq!(rich["entries"][0]["eventType"], "Counted");
    assert!(rich["entries"][0].get("data").is_none());
    let body = node.json("/streams/counters?embed=body").await;
    let entry = &body["entries"][0];
    assert_eq!((&entry["data"], &entry["metaData"]), (&json!("{\"n\":5}"), &json!("{\"by\":\"me\"}")));
    assert_eq!(entry["eventId"], Uuid::from_u128(5).to_string());
    assert_eq!((&entry["positionEventNumber"], &entry["positionStreamId"]), (&json!(0), &json!("counters")));
}

#[tokio::test]
async fn one_event_comes_with_its_entry_or_alone() {
    let node = node();
    node.append("counters", 0..3).await;
    let entry = node.json("/streams/counters/1").await;
    assert_eq!(entry["content"]["data"], json!({"n": 1}));
    assert_eq!(entry["content"]["metadata"], json!({"by": "me"}));
    assert_eq!(node.json("/streams/counters/head").await["content"]["eventNumber"], 2);
    let alone = node.ask("/streams/counters/1", &[("accept", "application/json")]).await;
    assert_eq!(alone.into_body().collect().await.unwrap().to_bytes(), "{\"n\":1}");
    assert_eq!(node.status("/streams/counters/3").await, 404);
}

#[tokio::test]
async fn metadata_truncation_and_deletes_show() {
    let node = node();
    node.append("counters", 0..5).await;
    let metadata = StreamMetadata { truncate_before: Some(3), ..StreamMetadata::default() };
    let id = Uuid::from_u128(100);
    node.store.set_metadata(&stream("counters"), ExpectedState::Any, &metadata, id).await.unwrap();
    assert_eq!(node.json("/streams/counters/metadata").await, json!({"$tb": 3}));
    assert_eq!(titles(&node.json("/streams/counters").await), ["4@counters", "3@counters"]);
    assert_eq!(node.status("/streams/counters/1").await, 404);
    assert_eq!(node.status("/streams/nobody").await, 404);
    node.store.tombstone(&stream("counters"), ExpectedState::Any).await.unwrap();
    assert_eq!(node.status("/streams/counters").await, 410);
}

#[tokio::test]
async fn a_page_that_did_not_change_is_not_sent_again() {
    let node = node();
    node.append("counters", [0]).await;
    let first = node.ask("/streams/counters", &[]).await;
    let etag = first.headers()["etag"].to_str().unwrap().to_owned();
    let again = node.ask("/streams/counters", &[("if-none-match", &etag)]).await;
    assert_eq!(again.status(), 304);
    node.append("counters", [1]).await;
    let changed = node.ask("/streams/counters", &[("if-none-match", &etag)]).await;
    assert_eq!(changed.status(), 200);
}

#[tokio::test]
async fn links_name_the_proxy_in_front() {
    let node = node();
    node.append("counters", [0]).await;
    let headers = [
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "pool.example.org"),
        ("x-forwarded-prefix", "/kurrentdb"),
    ];
    let response = node.ask("/streams/counters", &headers).await;
    let page: Value =
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(page["id"], "https://pool.example.org/kurrentdb/streams/counters");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let node = node();
    node.append("counters", 0..3).await;
    for (path, status) in [
        ("/streams/counters/x", 400),
        ("/streams/counters/0/forward/0", 400),
        ("/streams/counters/0/forward/x", 400),
        ("/streams/counters/0/sideways/1", 404),
        ("/streams/$all/zz/backward/1", 400),
        ("/streams/counters/18446744073709551615/forward/20", 200),
        ("/streams/counters/18446744073709551616/forward/20", 400),
        ("/streams/%ff", 400),
        ("/streams/counters/-1", 400),
        ("/streams/counters/0/forward/-1", 400),
        ("/nowhere", 404),
    ] {
        let answer = node.ask(path, &[]).await;
        assert_eq!(answer.status(), status, "{path}");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.is_empty(), status != 200, "{path}");
    }
    assert_eq!(node.ask("/streams/counters", &[("accept", "text/xml")]).await.status(), 406);
    let write = Request::post("/streams/counters").body(Body::from("[]")).unwrap();
    assert_eq!(node.router.clone().oneshot(write).await.unwrap().status(), 405);
}
