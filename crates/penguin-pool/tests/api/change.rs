//! Changing, archiving and deleting streams, and their metadata.

use crate::support::{Service, numbers};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn a_change_touches_what_is_given_and_counts() {
    let service = Service::start_on(super::STORE).await;
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
    let service = Service::start_on(super::STORE).await;
    service.create("a").await;
    let one = |tag: &'static str| service.patch("/api/streams/a", json!({ "tags": [tag] }));
    let (a, b, c) = tokio::join!(one("a"), one("b"), one("c"));
    let mut versions = [a, b, c].map(|answer| answer.data(200)["metadata"]["version"].as_u64().unwrap());
    versions.sort_unstable();
    assert_eq!(versions, [2, 3, 4]);
}

#[tokio::test]
async fn a_stream_made_elsewhere_can_be_described() {
    let service = Service::start_on(super::STORE).await;
    service.append_elsewhere("a", 1).await;
    let everybodys = json!({ "read": ["*"], "write": ["*"], "admin": ["*"] });
    let stream = service.get("/api/streams/a/details").await.data(200)["stream"].take();
    assert_eq!((&stream["metadata"]["version"], &stream["permissions"]), (&json!(1), &everybodys));
    let stream = service.patch("/api/streams/a", json!({ "description": "Found" })).await.data(200);
    assert_eq!((&stream["description"], &stream["metadata"]["version"]), (&json!("Found"), &json!(2)));
    assert_eq!(stream["metadata"]["createdAt"], "2024-01-15T10:30:00.000Z");
    assert_eq!(stream["permissions"], everybodys);
}

#[tokio::test]
async fn an_archived_stream_is_read_only_until_it_is_active_again() {
    let service = Service::start_on(super::STORE).await;
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
    let service = Service::start_on(super::STORE).await;
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
    let service = Service::start_on(super::STORE).await;
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
    let service = Service::start_on(super::STORE).await;
    service.get("/api/streams/a/metadata").await.failure(404, "stream-not-found");
    for n in 0..4 {
        service.append_elsewhere("a", n).await;
    }
    assert_eq!(service.get("/api/streams/a/metadata").await.data(200), json!({}));
    let metadata = json!({ "$maxCount": 2, "$acl": { "$r": ["bob"] }, "team": "lending" });
    let set = service.put("/api/streams/a/metadata", metadata).await.data(200);
    let expected = json!({
        "$maxCount": 2, "$acl": { "$r": ["bob"] }, "team": "lending", "version": 2, "schemaVersion": "1.0.0",
        "createdAt": "2024-01-15T10:30:00.000Z", "updatedAt": "2024-01-15T10:30:00.000Z",
    });
    assert_eq!(set, expected);
    assert_eq!(service.get("/api/streams/a/metadata").await.data(200), expected);
    let page = service.get("/api/streams/a/events").await.data(200);
    assert_eq!((numbers(&page), &page["total"]), (vec![2, 3], &json!(2)));
}

#[tokio::test]
async fn setting_metadata_takes_nothing_away_in_silence() {
    let service = Service::start_on(super::STORE).await;
    let made = json!({
        "streamName": "a", "eventType": "Made", "eventData": { "n": 0 }, "description": "A loan", "tags": ["loan"],
        "data": { "k": 1 }, "owner": "bob", "permissions": { "read": ["*"] },
    });
    service.post("/api/streams/create", made).await.data(201);
    service.append("a", 1).await;
    let first = json!({ "$tb": 1, "$maxCount": 9, "team": "lending", "colour": "blue" });
    service.put("/api/streams/a/metadata", first).await.data(200);
    service.patch("/api/streams/a", json!({ "status": "archived" })).await.data(200);
    let before = service.get("/api/streams/a/details").await.data(200)["stream"].take();
    assert_eq!(before["metadata"]["version"], 3);

    service.clock.advance(Duration::from_secs(1));
    let set = service.put("/api/streams/a/metadata", json!({ "team": "returns" })).await;
    let set = &set.json()["data"];
    // What the store obeys and the free keys are as they were given; whose the stream is, and what it hides, stays.
    assert_eq!((&set["team"], set.get("colour"), set.get("$maxCount")), (&json!("returns"), None, None));
    assert_eq!((&set["$tb"], &set["$acl"]["$r"]), (&json!(1), &json!(["$all"])));
    let mut expected = before;
    expected["metadata"]["version"] = json!(4);
    expected["metadata"]["updatedAt"] = json!("2024-01-15T10:30:01.000Z");
    let details = service.get("/api/streams/a/details").await;
    assert_eq!(details.json()["data"]["stream"], expected);
    assert_eq!(details.json()["data"]["eventCount"], 1);

    // What is given holds, `version` aside, and what was read can be set again.
    let given = json!({
        "description": "", "tags": [], "data": {}, "owner": "ann", "status": "active", "version": 77,
        "schemaVersion": "2.0.0", "createdAt": "2020-01-01T00:00:00Z", "$acl": {},
    });
    let set = service.put("/api/streams/a/metadata", given).await.json()["data"].take();
    service.put("/api/streams/a/metadata", set).await;
    let stream = service.get("/api/streams/a/details").await.json()["data"]["stream"].take();
    let expected = json!({
        "id": "a", "name": "a", "description": "", "data": {}, "status": "active",
        "metadata": {
            "createdAt": "2020-01-01T00:00:00.000Z", "updatedAt": "2024-01-15T10:30:01.000Z", "version": 6,
            "schemaVersion": "2.0.0", "tags": [], "owner": "ann",
        },
        "permissions": { "read": ["*"], "write": ["*"], "admin": ["*"] },
    });
    assert_eq!(stream, expected);
}

#[tokio::test]
async fn metadata_can_come_before_its_stream_and_is_then_its_owners() {
    let service = Service::start_on(super::STORE).await;
    let set = service.put("/api/streams/a/metadata", json!({ "$maxCount": 2 })).await.data(200);
    assert_eq!(
        (&set["version"], &set["owner"], &set["$acl"]["$w"]),
        (&json!(1), &json!("system"), &json!(["$admins"]))
    );
    service.get("/api/streams/a/details").await.failure(404, "stream-not-found");
    service.append("a", 1).await;
    assert_eq!(service.get("/api/streams/a/metadata").await.data(200), set);
    for name in ["browse", "all", "-a", "%C3%A9"] {
        let failure = service.put(&format!("/api/streams/{name}/metadata"), json!({})).await;
        let failure = failure.failure(400, "validation-failed");
        assert_eq!(failure["details"][0]["path"], "streamName", "{name}");
    }
    // A stream with such a name that is there can be described.
    service.append_elsewhere("-a", 1).await;
    service.put("/api/streams/-a/metadata", json!({ "team": "x" })).await.data(200);
}

#[tokio::test]
async fn metadata_that_the_store_could_not_obey_is_refused() {
    let service = Service::start_on(super::STORE).await;
    service.create("a").await;
    let cases: [(Value, &str); 16] = [
        (json!({ "$maxCount": 0 }), "$maxCount"),
        (json!({ "$maxAge": "1d" }), "$maxAge"),
        (json!({ "$tb": -1 }), "$tb"),
        (json!({ "$tb": i64::MAX }), "$tb"),
        (json!({ "$acl": [] }), "$acl"),
        (json!({ "$acl": { "$r": 1 } }), "$acl"),
        (json!({ "$acl": { "$x": "a" } }), "$acl"),
        (json!({ "$maxcount": 1 }), "$maxcount"),
        (json!([]), ""),
        (json!({ "version": "two" }), "version"),
        (json!({ "tags": ["a", 5] }), "tags"),
        (json!({ "tags": ["a", ""] }), "tags[1]"),
        (json!({ "owner": null }), "owner"),
        (json!({ "status": "deleted" }), "status"),
        (json!({ "createdAt": "yesterday" }), "createdAt"),
        (json!({ "schemaVersion": 1 }), "schemaVersion"),
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
async fn metadata_has_64_kib_at_most() {
    let service = Service::start_on(super::STORE).await;
    service.create("a").await;
    let data = json!({ "k": "x".repeat(60 << 10) });
    service.patch("/api/streams/a", json!({ "data": data })).await.data(200);
    let data = json!({ "k": "x".repeat(64 << 10) });
    service.put("/api/streams/a/metadata", json!({ "free": data })).await.failure(413, "event-too-large");
    service.patch("/api/streams/a", json!({ "data": data })).await.failure(413, "event-too-large");
    let create = json!({ "streamName": "b", "eventType": "Made", "eventData": {}, "data": data });
    service.post("/api/streams/create", create).await.failure(413, "event-too-large");
}

#[tokio::test]
async fn the_services_own_streams_are_not_for_writing() {
    let service = Service::start_on(super::STORE).await;
    for stream in ["connection-test", "system-health-check", "service-uptime-http"] {
        let path = format!("/api/streams/{stream}");
        let event = json!({ "eventType": "Added", "eventData": {} });
        service.post(&format!("{path}/events"), event).await.failure(403, "permission-denied");
        service.delete(&format!("{path}?mode=tombstone")).await.failure(403, "permission-denied");
        service.put(&format!("{path}/metadata"), json!({})).await.failure(403, "permission-denied");
    }
}
