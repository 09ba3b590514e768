//! Browse, details, search, statistics, health.

use crate::support::{PAGE_BYTES, Service, numbers};
use event_store::{ExpectedState, StreamMetadata, StreamName};
use serde_json::{Value, json};

fn names(page: &Value) -> Vec<&str> {
    page["streams"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect()
}

/// Three streams: `loans-1` and `loans-2` of one owner and tag, `user-bob-profile` of another.
async fn library() -> Service {
    let service = Service::start().await;
    for (name, owner, tag, amount) in
        [("loans-1", "bob", "loan", 5), ("loans-2", "ann", "loan", 7), ("user-bob-profile", "bob", "user", 0)]
    {
        let body = json!({
            "streamName": name, "eventType": "LoanRequested", "owner": owner, "tags": [tag, "all"],
            "eventData": { "loanId": name, "amount": amount, "note": "a red bicycle", "n": amount },
        });
        service.post("/api/streams/create", body).await.data(201);
    }
    let body = json!({ "eventType": "LoanGranted", "eventData": { "loanId": "loans-2", "by": { "name": "Zoë" }, "n": 8 } });
    service.post("/api/streams/loans-2/events", body).await.data(201);
    service
}

#[tokio::test]
async fn streams_are_listed_by_name_and_each_filter_filters() {
    let service = library().await;
    for (query, expected) in [
        ("", &["loans-1", "loans-2", "user-bob-profile"][..]),
        (
            "limit=50&offset=0&cursor=&namePattern=&prefix=&eventType=&dateFrom=&dateTo=&tag=&owner=&status=",
            &["loans-1", "loans-2", "user-bob-profile"],
        ),
        ("prefix=loans-", &["loans-1", "loans-2"]),
        ("namePattern=%5Eloans-%5B2-9%5D$", &["loans-2"]),
        ("eventType=LoanGranted", &["loans-2"]),
        ("owner=bob", &["loans-1", "user-bob-profile"]),
        ("tag=user", &["user-bob-profile"]),
        ("tag=loan&owner=ann", &["loans-2"]),
        ("dateFrom=2024-01-15T10:30:00.001Z", &[]),
        (
            "dateFrom=2024-01-15T10:30:00Z&dateTo=2024-01-15T10:30:00Z",
            &["loans-1", "loans-2", "user-bob-profile"],
        ),
        ("status=archived", &[]),
        ("offset=2", &["user-bob-profile"]),
    ] {
        let page = service.get(&format!("/api/streams/browse?{query}")).await.data(200);
        assert_eq!(names(&page), expected, "{query}");
        assert_eq!(page["hasMore"], false);
    }
}

#[tokio::test]
async fn a_listed_stream_shows_what_it_is_and_how_much_is_in_it() {
    let service = library().await;
    let made = service.get("/api/streams/loans-2/details").await.data(200)["stream"].take();
    let mut listed = service.get("/api/streams/browse?prefix=loans-2").await.data(200)["streams"][0].take();
    assert_eq!(
        (&listed["eventCount"], &listed["lastEventAt"]),
        (&json!(2), &json!("2024-01-15T10:30:00.000Z"))
    );
    assert!(listed["sizeBytes"].as_u64().unwrap() > 100);
    for added in ["eventCount", "sizeBytes", "lastEventAt"] {
        listed.as_object_mut().unwrap().remove(added);
    }
    assert_eq!(listed, made);
}

#[tokio::test]
async fn pages_of_streams_lead_on_by_cursor_with_the_true_total() {
    let service = library().await;
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = service.get(&format!("/api/streams/browse?limit=1&cursor={cursor}")).await.data(200);
        seen.extend(names(&page).into_iter().map(str::to_owned));
        assert_eq!((&page["total"], page["hasMore"] == true), (&json!(3), page.get("nextCursor").is_some()));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = next.bytes().map(|b| format!("%{b:02X}")).collect(),
            None => break,
        }
    }
    assert_eq!(seen, ["loans-1", "loans-2", "user-bob-profile"]);
}

#[tokio::test]
async fn pages_of_streams_lead_on_by_offset_though_they_are_cut_short() {
    let service = Service::start().await;
    let large = "x".repeat(1_000_000);
    for n in 0..20 {
        let name = StreamName::new(format!("large-{n:02}")).unwrap();
        let metadata = StreamMetadata::from_map(json!({ "note": large }).as_object().unwrap().clone());
        let id = uuid::Uuid::from_u128(n);
        service.append_elsewhere(name.as_str(), 0).await;
        service.store.set_metadata(&name, ExpectedState::NoStream, &metadata, id).await.unwrap();
    }
    let (mut seen, mut offset, mut pages) = (Vec::new(), 0, 0);
    loop {
        let page = service.get(&format!("/api/streams/browse?offset={offset}")).await.data(200);
        seen.extend(names(&page).into_iter().map(str::to_owned));
        pages += 1;
        assert_eq!((&page["total"], page["hasMore"] == true), (&json!(20), page.get("nextOffset").is_some()));
        match page["nextOffset"].as_u64() {
            Some(next) => offset = next,
            None => break,
        }
    }
    assert_eq!(seen, (0..20).map(|n| format!("large-{n:02}")).collect::<Vec<_>>());
    assert_eq!(pages, 2, "a page has 16 MiB at most");
    let first = service.get("/api/streams/browse?limit=1").await.data(200);
    let rest = format!("/api/streams/browse?limit=1&cursor={}", first["nextCursor"].as_str().unwrap());
    assert_eq!(service.get(&rest).await.data(200).get("nextOffset"), None);
}

#[tokio::test]
async fn deleted_and_archived_streams_are_listed_when_asked_for() {
    let service = library().await;
    service.delete("/api/streams/loans-1").await.data(200);
    service.patch("/api/streams/loans-2", json!({ "status": "archived" })).await.data(200);
    let of =
        async |status: &str| service.get(&format!("/api/streams/browse?status={status}")).await.data(200);
    let deleted = of("deleted").await;
    assert_eq!((names(&deleted), &deleted["streams"][0]["status"]), (vec!["loans-1"], &json!("deleted")));
    assert_eq!(names(&of("archived").await), ["loans-2"]);
    assert_eq!(names(&of("active").await), ["user-bob-profile"]);
    assert_eq!(names(&of("").await), ["loans-2", "user-bob-profile"]);
}

#[tokio::test]
async fn bad_questions_name_the_part_at_fault() {
    let service = library().await;
    for (query, path) in [
        ("limit=1001", "limit"),
        ("namePattern=(", "namePattern"),
        ("dateFrom=yesterday", "dateFrom"),
        ("status=gone", "status"),
        ("cursor=%00", "cursor"),
        ("cursor=AAAA", "cursor"),
        ("cursor=YXNkZg", "cursor"),
        ("x=1", "x"),
        ("tag=a&tag=b", "tag"),
    ] {
        let failure =
            service.get(&format!("/api/streams/browse?{query}")).await.failure(400, "validation-failed");
        assert_eq!(failure["details"][0]["path"], path, "{query}");
    }
    for (body, path) in [
        (json!({ "limit": 0 }), "limit"),
        (json!({ "where": [{ "path": "/a", "op": "is", "value": 1 }] }), "where[0].op"),
        (json!({ "where": [{ "path": "a", "op": "eq", "value": 1 }] }), "where[0].path"),
        (json!({ "where": [{ "path": "/a", "op": "eq" }] }), "where[0].value"),
        (json!({ "where": [["/a", "eq", 1]] }), "where[0]"),
        (json!({ "where": {} }), "where"),
        (json!({ "where": [{ "path": "/x".repeat(600), "op": "eq", "value": 1 }] }), "where[0].path"),
        (json!({ "where": vec![json!({ "path": "", "op": "exists" }); 21] }), "where"),
        (json!({ "where": [{ "path": "/a", "op": "lt", "value": [] }] }), "where[0].value"),
        (json!({ "cursor": "AAAA" }), "cursor"),
        (json!({ "dateFrom": 7 }), "dateFrom"),
        (json!({ "streamName": "" }), "streamName"),
        (json!({ "words": "x" }), "words"),
    ] {
        let failure = service.post("/api/streams/search", body).await.failure(400, "validation-failed");
        assert_eq!(failure["details"][0]["path"], path, "{failure}");
    }
    service.get("/api/streams/statistics?x=1").await.failure(400, "validation-failed");
}

#[tokio::test]
async fn details_show_the_first_and_the_last_event() {
    let service = library().await;
    let details = service.get("/api/streams/loans-2/details").await.data(200);
    let page = service.get("/api/streams/loans-2/events").await.data(200);
    assert_eq!(details["firstEvent"], page["events"][0]);
    assert_eq!(details["lastEvent"], page["events"][1]);
    assert_eq!((&details["eventCount"], &details["stream"]["metadata"]["owner"]), (&json!(2), &json!("ann")));
    assert_eq!(details["metadata"], service.get("/api/streams/loans-2/metadata").await.data(200));
    assert!(details["sizeBytes"].as_u64().unwrap() > 100);
    assert_eq!(details.get("stale"), None);
    service.get("/api/streams/loans-3/details").await.failure(404, "stream-not-found");
    service.delete("/api/streams/loans-1?mode=tombstone").await.data(200);
    service.get("/api/streams/loans-1/details").await.failure(410, "stream-deleted");
}

#[tokio::test]
async fn events_are_found_newest_first_and_each_filter_filters() {
    let service = library().await;
    let at =
        |path: &str, op: &str, value: Value| json!({ "where": [{ "path": path, "op": op, "value": value }] });
    for (body, expected) in [
        (json!({}), &[8, 0, 7, 5][..]),
        (json!({ "text": "BICYCLE red" }), &[0, 7, 5]),
        (json!({ "text": "zoe" }), &[8]),
        (json!({ "eventType": "LoanGranted" }), &[8]),
        (json!({ "streamName": "loans-2" }), &[8, 7]),
        (json!({ "streamName": "loans-2", "eventType": "LoanRequested" }), &[7]),
        (json!({ "dateTo": "2024-01-15T10:29:59Z" }), &[]),
        (at("/loanId", "eq", json!("loans-1")), &[5]),
        (at("/amount", "gte", json!(5)), &[7, 5]),
        (at("/by/name", "exists", json!(true)), &[8]),
        (at("/note", "contains", json!("red")), &[0, 7, 5]),
    ] {
        let found = service.post("/api/streams/search", body.clone()).await.data(200);
        assert_eq!(numbers(&found), expected, "{body}");
        assert_eq!(
            (&found["total"], &found["totalIsLowerBound"]),
            (&json!(expected.len()), &json!(false)),
            "{body}"
        );
    }
    let first = service.post("/api/streams/search", json!({ "limit": 3 })).await.data(200);
    assert_eq!((numbers(&first), &first["hasMore"]), (vec![8, 0, 7], &json!(true)));
    let rest = json!({ "limit": 3, "cursor": first["cursor"] });
    let rest = service.post("/api/streams/search", rest).await.data(200);
    assert_eq!((numbers(&rest), &rest["hasMore"], rest.get("cursor")), (vec![5], &json!(false), None));
    // What is found is the event as a page shows it.
    let found = service.post("/api/streams/search", json!({ "eventType": "LoanGranted" })).await.data(200);
    let page = service.get("/api/streams/loans-2/events?from=1").await.data(200);
    assert_eq!(found["events"], page["events"]);
}

#[tokio::test]
async fn a_page_of_large_events_is_cut_short_and_leads_on() {
    let service = Service::start().await;
    for n in 0..10_u64 {
        // Of three sizes: pages are cut at other places each time, and one event is larger than a page may be.
        let size = [10, PAGE_BYTES / 3, PAGE_BYTES / 2][n as usize % 3] + if n == 5 { PAGE_BYTES } else { 0 };
        let event = json!({ "eventType": "Added", "eventData": { "n": n, "x": "x".repeat(size) } });
        service.post("/api/streams/a/events", event).await.data(201);
    }
    let (mut seen, mut pages, mut cursor) = (Vec::new(), 0, Value::Null);
    loop {
        let found = service.post("/api/streams/search", json!({ "limit": 5, "cursor": cursor })).await;
        let page = found.data(200);
        let numbers = numbers(&page);
        assert!(numbers.len() == 1 || found.text.len() < PAGE_BYTES + 3000, "{} bytes", found.text.len());
        assert!(!numbers.is_empty(), "a page leads on by at least one event");
        assert_eq!((&page["total"], page["hasMore"] == true), (&json!(10), page.get("cursor").is_some()));
        seen.extend(numbers);
        pages += 1;
        match page.get("cursor") {
            Some(next) => cursor = next.clone(),
            None => break,
        }
    }
    assert_eq!(seen, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
    assert!(pages > 3, "cut short: {pages} pages");
}

#[tokio::test]
async fn statistics_count() {
    let service = library().await;
    let statistics = service.get("/api/streams/statistics").await.data(200);
    let mut expected = json!({
        "totalStreams": 3, "activeStreams": 3, "totalEvents": 4, "totalUsers": 1,
        "lastActivity": "2024-01-15T10:30:00.000Z",
        "eventsPerType": { "LoanGranted": 1, "LoanRequested": 3 },
        "eventsPerCategory": { "loans": 3, "user": 1 },
    });
    assert!(statistics["storageUsed"].as_u64().unwrap() > 0);
    expected["storageUsed"] = statistics["storageUsed"].clone();
    assert_eq!(statistics, expected);
}

#[tokio::test]
async fn answers_that_may_lack_the_newest_writes_say_so() {
    // The catalogue follows a store into which nobody writes: it never comes to what this one holds.
    let service = Service::start_with_a_catalogue_that_stands_still().await;
    service.append("a", 9).await;
    for path in ["browse", "statistics", "a/details"] {
        assert_eq!(service.get(&format!("/api/streams/{path}")).await.data(200)["stale"], true, "{path}");
    }
    assert_eq!(service.post("/api/streams/search", json!({})).await.data(200)["stale"], true);
    // What the store itself knows is there all the same.
    assert_eq!(service.get("/api/streams/a/details").await.data(200)["lastEvent"]["data"]["n"], 9);
}

#[tokio::test]
async fn a_catalogue_that_was_stopped_answers_that_the_service_stops() {
    let service = library().await;
    service.get("/api/streams/browse").await.data(200);
    service.catalogue.stop().await;
    service.get("/api/streams/browse").await.failure(503, "shutting-down");
}

#[tokio::test]
async fn health_reads_the_services_own_streams() {
    let service = Service::start().await;
    let stream = event_store::StreamName::new("connection-test").unwrap();
    let probe = event_store::NewEvent::json(uuid::Uuid::from_u128(1), "Probed", "{}");
    service.store.append(&stream, event_store::ExpectedState::Any, vec![probe]).await.unwrap();
    let health = service.get("/api/streams/health").await.data(200);
    assert_eq!(
        health,
        json!({
            "health": "healthy", "connection": true, "isReady": true, "connectionStatus": "connected",
            "availability": {
                "connection-test": true, "service-uptime-database": false, "service-uptime-http": false,
                "service-uptime-websocket": false, "system-health-check": false,
            },
        })
    );
    service.store.close().await.unwrap();
    let health = service.get("/api/streams/health").await.data(200);
    assert_eq!(
        (&health["health"], &health["connection"], &health["isReady"]),
        (&json!("unhealthy"), &json!(false), &json!(false))
    );
}
