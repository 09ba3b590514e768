//! `POST /api/streams/create`.

use crate::support::Service;
use serde_json::json;

#[tokio::test]
async fn a_stream_is_made_with_its_description_and_its_first_event() {
    let service = Service::start_on(super::STORE).await;
    let body = json!({
        "streamName": "loans-42", "eventType": "LoanRequested", "eventData": { "amount": 7 }, "metadata": { "source": "app" },
        "description": "A loan", "data": { "colour": "blue" }, "tags": ["loan"], "owner": "user-7",
        "permissions": { "read": ["*"], "write": ["user-7", "role:librarian"] },
    });
    let made = service.post("/api/streams/create", body).await.data(201);
    let stream = json!({
        "id": "loans-42", "name": "loans-42", "description": "A loan", "data": { "colour": "blue" },
        "metadata": {
            "createdAt": "2024-01-15T10:30:00.000Z", "updatedAt": "2024-01-15T10:30:00.000Z", "version": 1,
            "schemaVersion": "1.0.0", "tags": ["loan"], "owner": "user-7",
        },
        "status": "active",
        "permissions": { "read": ["*"], "write": ["user-7", "role:librarian"], "admin": ["user-7", "system"] },
    });
    assert_eq!(made["stream"], stream);
    assert_eq!(made["event"]["revision"], 0);

    let page = service.get("/api/streams/loans-42/events").await.data(200);
    let expected = json!([{
        "id": made["event"]["eventId"], "type": "LoanRequested", "data": { "amount": 7 }, "metadata": { "source": "app" },
        "streamId": "loans-42", "revision": 0, "position": made["event"]["position"], "timestamp": "2024-01-15T10:30:00.000Z",
    }]);
    assert_eq!(page, json!({ "events": expected, "total": 1, "hasMore": false, "nextRevision": null }));
    let metadata = service.get("/api/streams/loans-42/metadata").await.data(200);
    assert_eq!(
        metadata["$acl"],
        json!({
            "$r": ["$all"], "$w": ["user-7", "role:librarian"], "$d": ["user-7", "$admins"],
            "$mr": ["$all", "user-7", "$admins"], "$mw": ["user-7", "$admins"],
        })
    );
}

#[tokio::test]
async fn without_permissions_it_belongs_to_its_owner_and_the_administrators() {
    let service = Service::start_on(super::STORE).await;
    let stream = service.create("a").await["stream"].take();
    assert_eq!((&stream["metadata"]["owner"], &stream["data"]), (&json!("system"), &json!({})));
    assert_eq!(
        stream["permissions"],
        json!({ "read": ["system"], "write": ["system"], "admin": ["system"] })
    );
}

#[tokio::test]
async fn a_stream_that_exists_is_not_made_again() {
    let service = Service::start_on(super::STORE).await;
    service.create("a").await;
    let body = json!({ "streamName": "a", "eventType": "Made", "eventData": {} });
    let failure =
        service.post("/api/streams/create", body.clone()).await.failure(409, "stream-already-exists");
    assert_eq!(
        (&failure["streamName"], &failure["error"]),
        (&json!("a"), &json!("StreamAlreadyExistsError"))
    );
    let (one, two) = (body.clone(), body);
    // Of two at once only one makes it, and only one event is written.
    let at = |mut body: serde_json::Value| {
        body["streamName"] = json!("b");
        service.post("/api/streams/create", body)
    };
    let (one, two) = tokio::join!(at(one), at(two));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
    assert_eq!(service.get("/api/streams/b/events").await.data(200)["total"], 1);
}

#[tokio::test]
async fn a_softly_deleted_name_can_be_used_again_and_its_old_events_stay_hidden() {
    let service = Service::start_on(super::STORE).await;
    service.create("a").await;
    service.append("a", 1).await;
    service.delete("/api/streams/a").await.data(200);
    let made = service.create("a").await;
    assert_eq!((&made["event"]["revision"], &made["stream"]["status"]), (&json!(2), &json!("active")));
    let page = service.get("/api/streams/a/events").await.data(200);
    assert_eq!((&page["total"], &page["events"][0]["revision"]), (&json!(1), &json!(2)));
}

#[tokio::test]
async fn a_tombstoned_name_can_never_be_used_again() {
    let service = Service::start_on(super::STORE).await;
    service.create("a").await;
    service.delete("/api/streams/a?mode=tombstone").await.data(200);
    let body = json!({ "streamName": "a", "eventType": "Made", "eventData": {} });
    service.post("/api/streams/create", body).await.failure(410, "stream-deleted");
}

#[tokio::test]
async fn metadata_that_was_there_before_the_stream_stays() {
    let service = Service::start_on(super::STORE).await;
    service.put("/api/streams/a/metadata", json!({ "$maxCount": 2, "team": "lending" })).await.data(200);
    service.create("a").await;
    let metadata = service.get("/api/streams/a/metadata").await.data(200);
    assert_eq!(
        (&metadata["$maxCount"], &metadata["team"], &metadata["version"]),
        (&json!(2), &json!("lending"), &json!(1))
    );
}

#[tokio::test]
async fn bad_names_types_and_shapes_are_refused_and_nothing_is_written() {
    let service = Service::start_on(super::STORE).await;
    let good = json!({ "streamName": "a", "eventType": "Made", "eventData": {} });
    for (key, value, path) in [
        ("streamName", json!("$system"), "streamName"),
        ("streamName", json!("browse"), "streamName"),
        ("streamName", json!(""), "streamName"),
        ("streamName", json!("x".repeat(201)), "streamName"),
        ("streamName", json!(1), "streamName"),
        ("eventType", json!("$metadata"), "eventType"),
        ("eventData", json!([]), "eventData"),
        ("eventData", json!(null), "eventData"),
        ("metadata", json!("text"), "metadata"),
        ("tags", json!([""]), "tags[0]"),
        ("data", json!([]), "data"),
        ("permissions", json!({ "read": [""] }), "permissions.read[0]"),
        ("permissions", json!({ "reed": [] }), "permissions.reed"),
        ("unknown", json!(1), "unknown"),
    ] {
        let mut body = good.clone();
        body[key] = value;
        let failure = service.post("/api/streams/create", body).await.failure(400, "validation-failed");
        assert_eq!(failure["details"][0]["path"], path, "{failure}");
    }
    let mut deep = json!(1);
    for _ in 0..64 {
        deep = json!([deep]);
    }
    let mut body = good;
    body["data"] = json!({ "deep": deep });
    let failure = service.post("/api/streams/create", body).await.failure(400, "validation-failed");
    assert_eq!(failure["details"][0]["path"], "data");
    service.get("/api/streams/a/events").await.failure(404, "stream-not-found");
}
