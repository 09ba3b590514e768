//! Changing, archiving and deleting streams, and their metadata.

use crate::support::{Service, numbers};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn a_change_touches_what_is_given_and_counts() {
    let service = Service::start().await;
    let mut stream = service.create("a").await["stream"].take();
    let patch = json!({ "description": "A loan", "tags": ["x", "y"], "data": { "k": 1 }, "permissions": { "read": ["*"] } });
    let changed = service.patch("/api/streams/a", patch).await.data(200);
    stream["description"] = json!("A loan");
    stream["data"] = json!({ "k": 1 });
    stream["metadata"]["tags"] = json!(["x", "y"]);
    stream["metadata"]["version"] = json!(2);
    stream["permissions"]["read"] = json!(["*"]);
    assert_eq!(changed, stream);
    assert_eq!(service.patch("/api/streams/a", json!({})).await.data(200), stream);

    service.clock.advance(Duration::from_secs(1));
    let later = service.patch("/api/streams/a", json!({ "description": "" })).await;
    let later = &later.json()["data"];
    assert_eq!(later["metadata"]["updatedAt"], "2024-01-15T10:30:01.000Z");
    assert_eq!(later["metadata"]["createdAt"], "2024-01-15T10:30:00.000Z");
    assert_eq!(later["metadata"]["version"], 3);
}

#[tokio::test]
async fn changes_at_once_are_all_counted() {
    let service = Service::start().await;
    service.create("a").await;
    let one = |tag: &'static str| service.patch("/api/streams/a", json!({ "tags": [tag] }));
    let (a, b, c) = tokio::join!(one("a"), one("b"), one("c"));
    let mut versions = [a, b, c].map(|answer| answer.data(200)["metadata"]["version"].as_u64().unwrap());
    versions.sort_unstable();
    assert_eq!(versions, [2, 3, 4]);
}

#[tokio::test]
async fn a_stream_made_elsewhere_can_be_described() {
    let service = Service::start().await;
    service.append("a", 1).await;
    let stream = service.patch("/api/streams/a", json!({ "description": "Found" })).await.data(200);
    assert_eq!((&stream["description"], &stream["metadata"]["version"]), (&json!("Found"), &json!(1)));
    assert_eq!(stream["metadata"]["createdAt"], "2024-01-15T10:30:00.000Z");
    assert_eq!(stream["permissions"], json!({ "read": ["*"], "write": ["*"], "admin": ["*"] }));
}

#[tokio::test]
async fn an_archived_stream_is_read_only_until_it_is_active_again() {
    let service = Service::start().await;
    service.create("a").await;
    let event = json!({ "eventType": "Added", "eventData": { "n": 1 } });
    let many = json!({ "streams": [{ "streamName": "a", "events": [event] }] });
    assert_eq!(
        service.patch("/api/streams/a", json!({ "status": "archived" })).await.data(200)["status"],
        "archived"
    );
    for (path, body) in [
        ("/api/streams/a/events", &event),
        ("/api/streams/a/events/batch", &json!({ "events": [event] })),
        ("/api/streams/append", &many),
    ] {
        let failure = service.post(path, body.clone()).await.failure(409, "stream-archived");
        assert_eq!(failure["streamName"], "a");
    }
    assert_eq!(numbers(&service.get("/api/streams/a/events").await.data(200)), [0]);
    service.patch("/api/streams/a", json!({ "status": "active" })).await.data(200);
    service.post("/api/streams/a/events", event).await.data(201);
}

#[tokio::test]
async fn what_cannot_be_changed_is_refused() {
    let service = Service::start().await;
    service.patch("/api/streams/a", json!({ "description": "x" })).await.failure(404, "stream-not-found");
    service.create("a").await;
    for (body, path) in [
        (json!({ "status": "deleted" }), "status"),
        (json!({ "owner": "me" }), "owner"),
        (json!({ "tags": "x" }), "tags"),
        (json!({ "description": "x".repeat(2001) }), "description"),
    ] {
        let failure = service.patch("/api/streams/a", body).await.failure(400, "validation-failed");
        assert_eq!(failure["details"][0]["path"], path);
    }
    service.patch("/api/streams/$x", json!({})).await.failure(400, "validation-failed");
}

#[tokio::test]
async fn a_stream_is_deleted_softly_or_for_good() {
    let service = Service::start().await;
    service.delete("/api/streams/a").await.failure(404, "stream-not-found");
    service.create("a").await;
    let failure =
        service.delete("/api/streams/a?expectedRevision=7").await.failure(409, "wrong-expected-revision");
    assert_eq!((&failure["expectedRevision"], &failure["actualRevision"]), (&json!(7), &json!(0)));
    let deleted = service.delete("/api/streams/a?expectedRevision=0").await.data(200);
    assert_eq!(
        (&deleted["deleted"], &deleted["mode"], deleted["position"].is_u64()),
        (&json!(true), &json!("soft"), true)
    );
    service.get("/api/streams/a/events").await.failure(404, "stream-not-found");
    service.delete("/api/streams/a").await.failure(404, "stream-not-found");
    assert_eq!(service.delete("/api/streams/a?mode=tombstone").await.data(200)["mode"], "tombstone");
    service.get("/api/streams/a/events").await.failure(410, "stream-deleted");
    service.delete("/api/streams/a").await.failure(410, "stream-deleted");
    for query in ["mode=hard", "expectedRevision=x", "mode=soft&mode=soft", "x=1"] {
        service.delete(&format!("/api/streams/a?{query}")).await.failure(400, "validation-failed");
    }
    service.delete("/api/streams/$x").await.failure(400, "validation-failed");
}

#[tokio::test]
async fn metadata_is_obeyed_and_shown_as_it_stands() {
    let service = Service::start().await;
    service.get("/api/streams/a/metadata").await.failure(404, "stream-not-found");
    for n in 0..4 {
        service.append("a", n).await;
    }
    assert_eq!(service.get("/api/streams/a/metadata").await.data(200), json!({}));
    let metadata = json!({ "$maxCount": 2, "$acl": { "$r": ["bob"] }, "team": "lending" });
    assert_eq!(service.put("/api/streams/a/metadata", metadata.clone()).await.data(200), metadata);
    assert_eq!(service.get("/api/streams/a/metadata").await.data(200), metadata);
    let page = service.get("/api/streams/a/events").await.data(200);
    assert_eq!((numbers(&page), &page["total"]), (vec![2, 3], &json!(2)));
}

#[tokio::test]
async fn metadata_that_the_store_could_not_obey_is_refused() {
    let service = Service::start().await;
    service.create("a").await;
    let cases: [(Value, &str); 9] = [
        (json!({ "$maxCount": 0 }), "$maxCount"),
        (json!({ "$maxAge": "1d" }), "$maxAge"),
        (json!({ "$tb": -1 }), "$tb"),
        (json!({ "$tb": i64::MAX }), "$tb"),
        (json!({ "$acl": [] }), "$acl"),
        (json!({ "$acl": { "$r": 1 } }), "$acl"),
        (json!({ "$acl": { "$x": "a" } }), "$acl"),
        (json!({ "$maxcount": 1 }), "$maxcount"),
        (json!([]), ""),
    ];
    for (metadata, path) in cases {
        let failure =
            service.put("/api/streams/a/metadata", metadata).await.failure(400, "validation-failed");
        assert_eq!(failure["details"][0]["path"], path, "{failure}");
    }
    service.delete("/api/streams/a").await.data(200);
    service.put("/api/streams/a/metadata", json!({})).await.failure(404, "stream-not-found");
    service.get("/api/streams/a/metadata").await.failure(404, "stream-not-found");
}

#[tokio::test]
async fn a_description_is_as_large_as_an_event_at_most() {
    let service = Service::start().await;
    service.create("a").await;
    let data = json!({ "k": "x".repeat(1 << 20) });
    service.patch("/api/streams/a", json!({ "data": data })).await.failure(413, "event-too-large");
    let create = json!({ "streamName": "b", "eventType": "Made", "eventData": {}, "data": data });
    service.post("/api/streams/create", create).await.failure(413, "event-too-large");
}

#[tokio::test]
async fn the_services_own_streams_are_not_for_writing() {
    let service = Service::start().await;
    for stream in ["connection-test", "system-health-check", "service-uptime-http"] {
        let path = format!("/api/streams/{stream}");
        let event = json!({ "eventType": "Added", "eventData": {} });
        service.post(&format!("{path}/events"), event).await.failure(403, "permission-denied");
        service.delete(&format!("{path}?mode=tombstone")).await.failure(403, "permission-denied");
        service.put(&format!("{path}/metadata"), json!({})).await.failure(403, "permission-denied");
    }
}
