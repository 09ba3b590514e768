//! What others see of a user's data that was private and became public: what was written from then on.

use crate::support::{Answer, Service};
use event_store::{ExpectedState, StreamMetadata, StreamName};
use penguin_pool::security::Caller;
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

const PATH: &str = "/api/users/bob/preferences";
const STREAM: &str = "user-bob-preferences";

#[track_caller]
fn data(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["data"].take()
}

async fn alice(service: &Service) -> Service {
    service.seen_by(Caller::user("alice", &[])).await
}

/// What a feed brings up to the event that holds a word.
async fn followed(service: &Service, path: &str, until: &str) -> String {
    let mut response = service.request("GET", path).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let mut text = String::new();
    while !text.contains(until) {
        let chunk = tokio::time::timeout(Duration::from_secs(30), response.chunk()).await;
        let chunk = chunk.expect("an event within the time").unwrap().expect("the feed goes on");
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    text
}

/// All that somebody is told of a user's data and its stream: by reading, by pages of everything, by finding and by
/// following. `shown` stands in what is written last.
async fn told(service: &Service, path: &str, stream: &str, shown: &str) -> Vec<(String, String)> {
    let mut told = Vec::new();
    for path in [
        path,
        &format!("{path}/history"),
        &format!("{path}/history?direction=forwards&limit=1"),
        &format!("{path}/history?from=1"),
        "/api/users/bob",
        &format!("/api/streams/{stream}/events"),
        &format!("/api/streams/{stream}/events?direction=backwards"),
        &format!("/api/streams/{stream}/events?from=1&limit=1"),
        &format!("/api/streams/{stream}/details"),
        &format!("/api/streams/{stream}/metadata"),
        &format!("/api/streams/$${stream}/events"),
        "/api/streams/all/events?limit=1000&system=true",
        "/api/streams/all/events?limit=1000&direction=backwards",
    ] {
        told.push((path.to_owned(), service.get(path).await.text));
    }
    for body in [
        json!({ "text": "hidden" }),
        json!({ "streamName": stream }),
        json!({ "eventType": "UserDataUpdated" }),
    ] {
        told.push((format!("search {body}"), service.post("/api/streams/search", body).await.text));
    }
    for path in
        [format!("/api/streams/{stream}/subscribe?from=0"), "/api/streams/all/subscribe?from=0".to_owned()]
    {
        told.push((path.clone(), followed(service, &path, shown).await));
    }
    told
}

#[tokio::test]
async fn what_was_written_while_it_was_private_stays_private_when_it_becomes_public() {
    let service = Service::start_on(super::STORE).await;
    let alice = alice(&service).await;
    data(&service.put(PATH, json!({ "data": { "note": "hidden" }, "isPublic": false })).await);
    alice.get(PATH).await.failure(404, "stream-not-found");
    service.patch(&format!("/api/streams/{STREAM}"), json!({ "description": "hidden too" })).await.data(200);
    service.patch(&format!("/api/streams/{STREAM}"), json!({ "description": "Plain" })).await.data(200);
    let public = data(&service.put(PATH, json!({ "data": { "note": "shown" }, "isPublic": true })).await);
    assert_eq!((&public["isPublic"], &public["revision"]), (&json!(true), &json!(2)));
    assert_eq!(data(&alice.get(PATH).await)["data"], json!({ "note": "shown" }));

    for (asked, text) in told(&alice, PATH, STREAM, "shown").await {
        assert!(!text.contains("hidden"), "{asked}: {text}");
    }
    let history = alice.get(&format!("{PATH}/history")).await.data(200);
    assert_eq!((history["entries"].as_array().unwrap().len(), &history["nextRevision"]), (1, &Value::Null));
    let details = alice.get(&format!("/api/streams/{STREAM}/details")).await.data(200);
    assert_eq!((&details["eventCount"], &details["firstEvent"]["revision"]), (&json!(1), &json!(2)));

    // Bob himself, and whoever he names, see it whole.
    let bob = service.seen_by(Caller::user("bob", &[])).await;
    let history = bob.get(&format!("{PATH}/history")).await.data(200);
    assert_eq!(history["entries"].as_array().unwrap().len(), 2);
    let named = json!({ "permissions": { "read": ["*", "dora"] } });
    service.patch(&format!("/api/streams/{STREAM}"), named).await.data(200);
    let dora = service.seen_by(Caller::user("dora", &[])).await;
    assert_eq!(dora.get(&format!("/api/streams/{STREAM}/details")).await.data(200)["eventCount"], 3);
    for (asked, text) in told(&alice, PATH, STREAM, "shown").await {
        assert!(!text.contains("hidden"), "after other permissions, {asked}: {text}");
    }

    // Private and public again: what was written in between is hidden, and so is what was public before.
    data(&service.put(PATH, json!({ "data": { "note": "hidden again" }, "isPublic": false })).await);
    alice.get(PATH).await.failure(404, "stream-not-found");
    let metadata = service.get(&format!("/api/streams/{STREAM}/metadata")).await.data(200);
    assert_eq!(metadata.get("publicFrom"), None, "{metadata}");
    data(&service.patch(PATH, json!({ "data": { "note": "seen" }, "isPublic": true })).await);
    for (asked, text) in told(&alice, PATH, STREAM, "seen").await {
        assert!(!text.contains("hidden"), "{asked}: {text}");
    }
}

#[tokio::test]
async fn a_private_loan_that_was_deleted_stays_private_when_its_id_is_used_again() {
    let service = Service::start_on(super::STORE).await;
    let alice = alice(&service).await;
    let loan = |purpose: &str, public: bool| {
        let data = json!({ "amount": 1, "currency": "EUR", "status": "active", "purpose": purpose });
        json!({ "data": data, "isPublic": public })
    };
    let path = "/api/users/bob/loans/7";
    data(&service.put(path, loan("hidden", false)).await);
    data(&service.put(path, loan("hidden as well", false)).await);
    service.delete(path).await.data(200);
    data(&service.put(path, loan("shown", true)).await);
    for (asked, text) in told(&alice, path, "user-bob-loans-7", "shown").await {
        assert!(!text.contains("hidden"), "{asked}: {text}");
    }
    assert_eq!(data(&alice.get(path).await)["data"]["purpose"], "shown");
    // What was born public is shown from the first event on.
    data(&service.put("/api/users/bob/loans/8", loan("open", true)).await);
    let events = alice.get("/api/streams/user-bob-loans-8/events").await.data(200);
    assert_eq!(events["events"][0]["type"], "StreamCreated");
    assert_eq!(alice.get("/api/users/bob/loans").await.data(200)["total"], 2);
}

#[tokio::test]
async fn what_was_opened_by_hand_is_closed_when_it_is_made_private() {
    let service = Service::start_on(super::STORE).await;
    let alice = alice(&service).await;
    data(&service.put(PATH, json!({ "data": { "note": "old" }, "isPublic": false })).await);
    let opened = json!({ "permissions": { "read": ["*"], "write": ["bob"], "admin": ["bob"] } });
    service.patch(&format!("/api/streams/{STREAM}"), opened).await.data(200);
    // By hand it is opened whole, and stays so while nobody says anything else.
    assert_eq!(data(&service.put(PATH, json!({ "data": { "note": "new" } })).await)["isPublic"], true);
    let history = alice.get(&format!("{PATH}/history")).await.data(200);
    assert_eq!(history["entries"].as_array().unwrap().len(), 2);
    let closed = data(&service.put(PATH, json!({ "data": { "note": "closed" }, "isPublic": false })).await);
    assert_eq!(closed["isPublic"], false);
    alice.get(PATH).await.failure(404, "stream-not-found");
    alice.get(&format!("/api/streams/{STREAM}/events")).await.failure(404, "stream-not-found");
    let stream = service.get(&format!("/api/streams/{STREAM}/details")).await.data(200)["stream"].take();
    assert_eq!(stream["permissions"]["read"], json!(["bob"]));
    assert_eq!(stream["metadata"]["tags"], json!(["user", "preferences", "private"]));
}

#[tokio::test]
async fn what_was_left_half_open_by_a_crash_shows_nothing_and_is_opened_or_closed_by_the_next_writer() {
    let service = Service::start_on(super::STORE).await;
    let alice = alice(&service).await;
    for (id, public) in [(1, true), (2, false)] {
        data(&service.put(PATH, json!({ "data": { "note": "hidden" }, "isPublic": false })).await);
        // What a store that cannot write to two streams at once is left with after the first of them.
        let stream = StreamName::new(STREAM).unwrap();
        let mut metadata: StreamMetadata = service.store.metadata(&stream).await.unwrap().metadata;
        let acl = metadata.acl.as_mut().unwrap();
        acl.read = Some(vec!["$all".to_owned()]);
        acl.meta_read = acl.read.clone();
        metadata.custom.insert("publicFrom".to_owned(), i64::MAX.into());
        service
            .store
            .set_metadata(&stream, ExpectedState::Any, &metadata, Uuid::from_u128(id))
            .await
            .unwrap();
        alice.get(PATH).await.failure(404, "stream-not-found");
        let found = alice.get(&format!("/api/streams/browse?prefix={STREAM}")).await.data(200);
        assert_eq!((&found["total"], &found["streams"]), (&json!(0), &json!([])));
        // Who says nothing leaves it private, as the last event has it.
        let mut body = json!({ "data": { "note": "next" } });
        if public {
            body["isPublic"] = json!(true);
        }
        let put = data(&service.put(PATH, body).await);
        assert_eq!(put["isPublic"], public);
        let seen = alice.get(&format!("{PATH}/history")).await;
        match public {
            true => assert_eq!(seen.data(200)["entries"].as_array().unwrap().len(), 1),
            false => _ = seen.failure(404, "stream-not-found"),
        }
    }
}
