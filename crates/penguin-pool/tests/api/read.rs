//! Reading streams, and everything.

use crate::support::{Service, numbers};
use event_store::{ContentType, ExpectedState, IdSource as _, NewEvent, StreamName};
use serde_json::{Value, json};
use uuid::Uuid;

/// A service with a stream of five events, numbered 0 to 4.
async fn five() -> Service {
    let service = Service::start().await;
    service.create("a").await;
    for n in 1..5 {
        service.append("a", n).await;
    }
    service
}

#[tokio::test]
async fn pages_lead_on_in_both_directions_and_end_with_null() {
    let service = five().await;
    for (direction, expected) in [("forwards", [0, 1, 2, 3, 4]), ("backwards", [4, 3, 2, 1, 0])] {
        let (mut seen, mut from) = (Vec::new(), String::new());
        loop {
            let path = format!("/api/streams/a/events?limit=2&direction={direction}{from}");
            let page = service.get(&path).await.data(200);
            seen.extend(numbers(&page));
            assert_eq!(
                (&page["total"], page["hasMore"] == true),
                (&json!(5), !page["nextRevision"].is_null())
            );
            match page["nextRevision"].as_u64() {
                Some(next) => from = format!("&from={next}"),
                None => break,
            }
        }
        assert_eq!(seen, expected, "{direction}");
    }
}

#[tokio::test]
async fn from_is_inclusive_and_an_offset_leaves_events_out() {
    let service = five().await;
    for (query, expected) in [
        ("from=3", &[3, 4][..]),
        ("fromRevision=3", &[3, 4]),
        ("from=3&direction=backwards", &[3, 2, 1, 0]),
        ("from=99", &[]),
        ("from=99&direction=backwards", &[4, 3, 2, 1, 0]),
        ("offset=4", &[4]),
        ("offset=5", &[]),
        ("offset=3&direction=backwards", &[1, 0]),
        ("offset=9&direction=backwards", &[]),
        ("from=1&offset=2&limit=1", &[3]),
        ("offset=18446744073709551615", &[]),
    ] {
        let page = service.get(&format!("/api/streams/a/events?{query}")).await.data(200);
        assert_eq!(numbers(&page), expected, "{query}");
    }
}

#[tokio::test]
async fn bad_queries_name_the_key_at_fault() {
    let service = five().await;
    for (query, path) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=", "limit"),
        ("limit=ten", "limit"),
        ("limit=1&limit=2", "limit"),
        ("from=1&fromRevision=2", "from"),
        ("from=-1", "from"),
        ("from=9223372036854775808", "from"),
        ("direction=up", "direction"),
        ("colour=blue", "colour"),
        ("limit=%zz", "query"),
        ("%ff=1", "query"),
    ] {
        let failure =
            service.get(&format!("/api/streams/a/events?{query}")).await.failure(400, "validation-failed");
        assert_eq!(failure["details"][0]["path"], path, "{query} {failure}");
    }
}

#[tokio::test]
async fn a_stream_that_is_not_there_is_not_found_and_a_tombstoned_one_is_gone() {
    let service = five().await;
    let failure =
        service.get("/api/streams/service-uptime-http/events").await.failure(404, "stream-not-found");
    assert_eq!(failure["error"], "StreamNotFoundError");
    assert_eq!(failure["message"], "Stream 'service-uptime-http' does not exist");
    assert_eq!(failure["streamName"], "service-uptime-http");
    service.delete("/api/streams/a?mode=tombstone").await.data(200);
    service.get("/api/streams/a/events").await.failure(410, "stream-deleted");
    let failure = service.get("/api/streams/$all/events").await.failure(400, "validation-failed");
    assert_eq!(failure["details"][0]["path"], "streamName");
}

#[tokio::test]
async fn any_name_that_the_store_holds_can_be_read() {
    let service = Service::start().await;
    for name in ["Übung / 50%", "$things", "a?b#c"] {
        let event = NewEvent::json(new_id(), "Made", r#"{"n":1}"#);
        let stream = StreamName::new(name).unwrap();
        service.store.append(&stream, ExpectedState::Any, vec![event]).await.unwrap();
        let encoded: String = name.bytes().map(|b| format!("%{b:02X}")).collect();
        let page = service.get(&format!("/api/streams/{encoded}/events")).await.data(200);
        assert_eq!((numbers(&page), &page["events"][0]["streamId"]), (vec![1], &json!(name)));
    }
}

#[tokio::test]
async fn what_is_not_json_comes_as_base64() {
    let service = Service::start().await;
    let stream = StreamName::new("a").unwrap();
    let event = |content_type, data: &'static [u8], metadata: &'static [u8]| NewEvent {
        content_type,
        metadata: metadata.into(),
        ..NewEvent::json(new_id(), "Made", data)
    };
    let events = vec![
        event(ContentType::Binary, b"\x00\xff", b""),
        event(ContentType::Json, b"not json", b"\xff"),
        event(ContentType::Json, b"[1]", b"7"),
    ];
    service.store.append(&stream, ExpectedState::Any, events).await.unwrap();
    let page = service.get("/api/streams/a/events").await.data(200);
    let shown: Vec<Value> = page["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| json!([e["data"], e["metadata"], e.get("contentType")]))
        .collect();
    assert_eq!(
        shown,
        [
            json!(["AP8=", {}, "application/octet-stream"]),
            json!(["bm90IGpzb24=", "/w==", "application/octet-stream"]),
            json!([[1], 7, null]),
        ]
    );
}

#[tokio::test]
async fn links_lead_to_their_events() {
    let service = five().await;
    let target = StreamName::new("a").unwrap();
    let link = NewEvent::link(new_id(), &target, 3);
    let dangling = NewEvent::link(new_id(), &target, 33);
    service
        .store
        .append(&StreamName::new("$links").unwrap(), ExpectedState::Any, vec![link, dangling])
        .await
        .unwrap();
    let page = service.get("/api/streams/$links/events").await.data(200);
    let event = &page["events"][0];
    assert_eq!(
        (&event["data"]["n"], &event["streamId"], &event["revision"]),
        (&json!(3), &json!("a"), &json!(3))
    );
    assert_eq!((&event["link"]["streamId"], &event["link"]["revision"]), (&json!("$links"), &json!(0)));
    assert_eq!(page["events"][1]["type"], "$>");
}

#[tokio::test]
async fn everything_is_read_in_order_and_the_systems_events_only_when_asked_for() {
    let service = five().await;
    service.create("b").await;
    service.append("a", 5).await;
    let page = service.get("/api/streams/all/events").await.data(200);
    assert_eq!((numbers(&page), &page["total"]), (vec![0, 1, 2, 3, 4, 0, 5], &json!(7)));
    assert_eq!((&page["hasMore"], &page["nextPosition"]), (&json!(false), &json!(null)));
    let (mut seen, mut from) = (Vec::new(), String::new());
    loop {
        let page = service
            .get(&format!("/api/streams/all/events?limit=2&direction=backwards{from}"))
            .await
            .data(200);
        seen.extend(numbers(&page));
        match page["nextPosition"].as_u64() {
            Some(next) => from = format!("&fromPosition={next}"),
            None => break,
        }
    }
    assert_eq!(seen, [5, 0, 4, 3, 2, 1, 0]);
    let system = service.get("/api/streams/all/events?system=true").await.data(200);
    let types: Vec<_> =
        system["events"].as_array().unwrap().iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!(
        types,
        ["$metadata", "Made", "Added", "Added", "Added", "Added", "$metadata", "Made", "Added"]
    );
    assert_eq!(system["total"], 9);
    // Deleting takes nothing out of everything, and a tombstone is the system's.
    service.delete("/api/streams/a?mode=tombstone").await.data(200);
    for (query, total) in [("", 7), ("?system=false", 7), ("?system=true", 10)] {
        let page = service.get(&format!("/api/streams/all/events{query}")).await.data(200);
        let events = page["events"].as_array().unwrap().len();
        assert_eq!((&page["total"], events), (&json!(total), total), "{query}");
    }
}

/// An id for an event that the test writes itself.
fn new_id() -> Uuid {
    event_store::RandomIds.next_id()
}
