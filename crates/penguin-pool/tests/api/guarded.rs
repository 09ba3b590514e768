//! What a stream's metadata has to say to appends: archived streams, and those that an append brings into being.

use crate::support::{Answer, Service, numbers};
use event_store::{ReadStream, StreamName};
use serde_json::{Value, json};

fn event(n: u64) -> Value {
    json!({ "eventType": "Added", "eventData": { "n": n }, "eventId": format!("3f2a9c1e-6b7d-4e2f-9a41-{n:012}") })
}

/// The ways to append events to one stream.
const WAYS: [&str; 3] = ["events", "batch", "many"];

async fn append(service: &Service, way: &str, name: &str, n: u64, state: &Value) -> Answer {
    match way {
        "events" => {
            let mut body = event(n);
            body["streamState"] = state.clone();
            service.post(&format!("/api/streams/{name}/events"), body).await
        }
        "batch" => {
            let body = json!({ "events": [event(n)], "streamState": state });
            service.post(&format!("/api/streams/{name}/events/batch"), body).await
        }
        _ => {
            let write = json!({ "streamName": name, "events": [event(n)], "streamState": state });
            service.post("/api/streams/append", json!({ "streams": [write] })).await
        }
    }
}

async fn set(service: &Service, name: &str, status: &str) {
    service.patch(&format!("/api/streams/{name}"), json!({ "status": status })).await.data(200);
}

#[tokio::test]
async fn what_was_answered_before_archiving_is_answered_again_after_it() {
    let service = Service::start().await;
    for way in WAYS {
        for (name, state) in [("any", json!("any")), ("exact", json!(0)), ("first", json!("no-stream"))] {
            let name = format!("{way}-{name}");
            if state == 0 {
                append(&service, way, &name, 7, &json!("any")).await.data(201);
            }
            let first = append(&service, way, &name, 1, &state).await.data(201);
            set(&service, &name, "archived").await;
            assert_eq!(append(&service, way, &name, 1, &state).await.data(201), first, "{name}");
            let failure = append(&service, way, &name, 2, &state).await.failure(409, "stream-archived");
            assert_eq!(failure["streamName"], name.as_str());
            // Nobody had appended here since the status was seen to be another.
            append(&service, way, &name, 3, &json!("any")).await.failure(409, "stream-archived");
            set(&service, &name, "active").await;
            append(&service, way, &name, 3, &json!("any")).await.data(201);
        }
    }
}

#[tokio::test]
async fn a_batch_of_which_a_part_was_written_is_refused_by_an_archived_stream() {
    let service = Service::start().await;
    append(&service, "events", "a", 1, &json!("any")).await.data(201);
    set(&service, "a", "archived").await;
    let both = json!({ "events": [event(1), event(2)] });
    service.post("/api/streams/a/events/batch", both).await.failure(409, "stream-archived");
    let many = json!({ "streams": [
        { "streamName": "b", "events": [event(3)] },
        { "streamName": "a", "events": [event(4)] },
    ] });
    let failure = service.post("/api/streams/append", many).await.failure(409, "stream-archived");
    assert_eq!(failure["streamName"], "a");
    service.get("/api/streams/b/details").await.failure(404, "stream-not-found");
    assert_eq!(numbers(&service.get("/api/streams/a/events").await.data(200)), [1]);
    // A check alone may be made of an archived stream.
    let checked = json!({ "streams": [
        { "streamName": "b", "events": [event(3)] },
        { "streamName": "a", "events": [], "streamState": 0 },
    ] });
    service.post("/api/streams/append", checked).await.data(201);
}

#[tokio::test]
async fn a_stream_that_an_append_brings_into_being_is_its_writers() {
    let service = Service::start().await;
    for way in WAYS {
        for state in ["any", "no-stream"] {
            let name = format!("{way}-{state}");
            append(&service, way, &name, 1, &json!(state)).await.data(201);
            append(&service, way, &name, 2, &json!("any")).await.data(201);
            let stream =
                service.get(&format!("/api/streams/{name}/details")).await.data(200)["stream"].take();
            let expected = json!({
                "id": name, "name": name, "description": "", "data": {}, "status": "active",
                "metadata": {
                    "createdAt": "2024-01-15T10:30:00.000Z", "updatedAt": "2024-01-15T10:30:00.000Z", "version": 1,
                    "schemaVersion": "1.0.0", "tags": [], "owner": "system",
                },
                "permissions": { "read": ["system"], "write": ["system"], "admin": ["system"] },
            });
            assert_eq!(stream, expected);
        }
    }
    let owned = service.get("/api/streams/browse?owner=system").await.data(200);
    assert_eq!(owned["total"], 6);
}

#[tokio::test]
async fn many_who_write_a_stream_first_bring_it_into_being_once() {
    let service = Service::start().await;
    let any = json!("any");
    let all = (0..8).map(|n| append(&service, WAYS[n % 3], "a", n as u64, &any));
    for answer in futures::future::join_all(all).await {
        answer.data(201);
    }
    let mut seen = numbers(&service.get("/api/streams/a/events").await.data(200));
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6, 7]);
    let metastream = StreamName::new("$$a").unwrap();
    let info = service.store.stream_info(&metastream).await.unwrap();
    assert_eq!(info.last_revision, 0, "its metadata was written once");
    // Of those who want to be the first only one is.
    let first = json!("no-stream");
    let all = (0..4).map(|n| append(&service, "events", "b", n, &first));
    let mut statuses: Vec<_> = futures::future::join_all(all).await.iter().map(|a| a.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409]);
}

#[tokio::test]
async fn an_append_that_fails_brings_nothing_into_being() {
    let service = Service::start().await;
    for state in [json!("stream-exists"), json!(3)] {
        for way in WAYS {
            let failure = append(&service, way, "a", 1, &state).await.failure(409, "wrong-expected-revision");
            assert_eq!((&failure["streamName"], &failure["actualRevision"]), (&json!("a"), &json!(null)));
        }
    }
    let many = json!({ "streams": [
        { "streamName": "a", "events": [event(1)] },
        { "streamName": "b", "events": [], "streamState": 7 },
    ] });
    let failure = service.post("/api/streams/append", many).await.failure(409, "wrong-expected-revision");
    assert_eq!(failure["streamName"], "b");
    let metastream = StreamName::new("$$a").unwrap();
    assert!(service.store.read_stream(&metastream, ReadStream::forwards(1)).await.is_err());
}

#[tokio::test]
async fn a_stream_made_elsewhere_is_appended_to_as_it_is() {
    let service = Service::start().await;
    service.append_elsewhere("a", 1).await;
    append(&service, "events", "a", 2, &json!(0)).await.data(201);
    append(&service, "batch", "a", 3, &json!("stream-exists")).await.data(201);
    assert_eq!(service.get("/api/streams/a/metadata").await.data(200), json!({}));
    // Its metadata is set by others while it is remembered to have none.
    service.put("/api/streams/a/metadata", json!({ "status": "archived" })).await.data(200);
    append(&service, "many", "a", 4, &json!("any")).await.failure(409, "stream-archived");
}

#[tokio::test]
async fn a_stream_that_is_deleted_and_written_again_keeps_its_owner() {
    let service = Service::start().await;
    for way in WAYS {
        append(&service, way, way, 1, &json!("any")).await.data(201);
        service.patch(&format!("/api/streams/{way}"), json!({ "description": "Mine" })).await.data(200);
        service.delete(&format!("/api/streams/{way}")).await.data(200);
        assert_eq!(
            append(&service, way, way, 2, &json!("no-stream")).await.status,
            201,
            "a deleted name can be used again"
        );
        append(&service, way, way, 3, &json!("any")).await.data(201);
        let page = service.get(&format!("/api/streams/{way}/events")).await.data(200);
        assert_eq!(numbers(&page), [2, 3]);
        let stream = service.get(&format!("/api/streams/{way}/details")).await.data(200)["stream"].take();
        assert_eq!(
            (&stream["description"], &stream["metadata"]["owner"]),
            (&json!("Mine"), &json!("system"))
        );
        service.delete(&format!("/api/streams/{way}?mode=tombstone")).await.data(200);
        let failure = append(&service, way, way, 4, &json!("any")).await.failure(410, "stream-deleted");
        assert_eq!(failure["streamName"], way);
    }
}
