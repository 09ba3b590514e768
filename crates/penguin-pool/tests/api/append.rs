//! Appending: one event, a batch, several streams.

use crate::support::Service;
use serde_json::{Value, json};

const ID: &str = "3f2a9c1e-6b7d-4e2f-9a41-0c5d8e7b1a23";

fn event(n: u64) -> Value {
    json!({ "eventType": "Added", "eventData": { "n": n } })
}

#[tokio::test]
async fn an_event_is_kept_byte_for_byte() {
    let service = Service::start_on(super::STORE).await;
    let data = r#"{"z":9007199254740993123456789,"a":1.10,"é":"\u00e9","nested": {"b" :[ 1e400 ]}}"#;
    let metadata = r#"{"source":"x", "big":123456789012345678901234567890}"#;
    let body = format!(r#"{{"eventType":"Added","eventData":{data},"metadata":{metadata}}}"#);
    service.send_text("POST", "/api/streams/a/events", body).await.data(201);
    let answer = service.get("/api/streams/a/events").await;
    assert!(answer.text.contains(&format!(r#""data":{data},"metadata":{metadata}"#)), "{}", answer.text);
    let name = event_store::StreamName::new("a").unwrap();
    let page = service.store.read_stream(&name, event_store::ReadStream::forwards(1)).await.unwrap();
    assert_eq!(page.events[0].event.as_ref().unwrap().data, data.as_bytes());
}

#[tokio::test]
async fn the_expected_state_is_held_to() {
    let service = Service::start_on(super::STORE).await;
    let post = async |state: Value| {
        let mut body = event(1);
        body["streamState"] = state;
        service.post("/api/streams/a/events", body).await
    };
    post(json!("stream-exists")).await.failure(409, "wrong-expected-revision");
    let failure = post(json!(5)).await.failure(409, "wrong-expected-revision");
    assert_eq!((&failure["expectedRevision"], &failure["actualRevision"]), (&json!(5), &json!(null)));
    assert!(failure.as_object().unwrap().contains_key("actualRevision"));
    assert_eq!(post(json!("no-stream")).await.data(201)["revision"], 0);
    let failure = post(json!("no-stream")).await.failure(409, "wrong-expected-revision");
    assert_eq!((&failure["expectedRevision"], &failure["actualRevision"]), (&json!("no-stream"), &json!(0)));
    assert_eq!(
        (&failure["streamName"], &failure["error"]),
        (&json!("a"), &json!("WrongExpectedRevisionError"))
    );
    assert_eq!(post(json!("any")).await.data(201)["revision"], 1);
    assert_eq!(post(json!("stream-exists")).await.data(201)["revision"], 2);
    assert_eq!(post(json!(2)).await.data(201)["revision"], 3);
    assert_eq!(post(json!("3")).await.data(201)["revision"], 4);
    for bad in [
        json!(-1),
        json!("-1"),
        json!(1.5),
        json!("nothing"),
        json!(null),
        json!(9_223_372_036_854_775_808_u64),
    ] {
        let failure = post(bad).await.failure(400, "validation-failed");
        assert_eq!(failure["details"][0]["path"], "streamState");
    }
}

#[tokio::test]
async fn sending_the_same_event_again_answers_where_it_was_first_written() {
    let service = Service::start_on(super::STORE).await;
    for state in [json!("any"), json!("no-stream")] {
        let mut body = event(1);
        body["eventId"] = json!(ID);
        body["streamState"] = state.clone();
        let name = format!("/api/streams/{}/events", state.as_str().unwrap());
        let first = service.post(&name, body.clone()).await.data(201);
        assert_eq!(first["eventId"], ID);
        let mut other = event(2);
        other["streamState"] = json!("any");
        service.post(&name, other).await.data(201);
        assert_eq!(service.post(&name, body).await.data(201), first);
        assert_eq!(service.get(&name).await.data(200)["total"], 2);
    }
    let mut body = event(1);
    body["eventId"] = json!("not-an-id");
    let failure = service.post("/api/streams/a/events", body).await.failure(400, "validation-failed");
    assert_eq!(failure["details"][0]["path"], "eventId");
}

#[tokio::test]
async fn an_event_over_a_mebibyte_is_too_large_and_one_at_it_is_not() {
    let service = Service::start_on(super::STORE).await;
    let with = |bytes: usize| {
        let data = format!(r#"{{"x":"{}"}}"#, "x".repeat(bytes - 8));
        assert_eq!(data.len(), bytes);
        format!(r#"{{"eventType":"Added","eventData":{data}}}"#)
    };
    service.send_text("POST", "/api/streams/a/events", with(1 << 20)).await.data(201);
    let answer = service.send_text("POST", "/api/streams/a/events", with((1 << 20) + 1)).await;
    answer.failure(413, "event-too-large");
    let answer = service.send_text("POST", "/api/streams/a/events", " ".repeat((16 << 20) + 1)).await;
    answer.failure(413, "payload-too-large");
    let chunks = (0..17).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1 << 20]));
    let request = service.request("POST", "/api/streams/a/events").header("content-type", "application/json");
    let body = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
    service.send(request.body(body)).await.failure(413, "payload-too-large");
    assert_eq!(service.get("/api/streams/a/events").await.data(200)["total"], 1);
}

#[tokio::test]
async fn a_batch_is_written_whole_or_not_at_all() {
    let service = Service::start_on(super::STORE).await;
    let events: Vec<_> = (0..1000).map(event).collect();
    let batch = json!({ "events": events, "streamState": "no-stream" });
    let result = service.post("/api/streams/a/events/batch", batch.clone()).await.data(201);
    assert_eq!((&result["revision"], result["eventIds"].as_array().unwrap().len()), (&json!(999), 1000));
    service.post("/api/streams/a/events/batch", batch).await.failure(409, "wrong-expected-revision");

    let failure = service.post("/api/streams/b/events/batch", json!({ "events": [] })).await;
    assert_eq!(failure.failure(400, "validation-failed")["details"][0]["path"], "events");
    let events: Vec<_> = (0..1001).map(event).collect();
    service
        .post("/api/streams/b/events/batch", json!({ "events": events }))
        .await
        .failure(400, "validation-failed");
    let events = json!([event(1), { "eventType": "$x", "eventData": {} }]);
    let failure = service.post("/api/streams/b/events/batch", json!({ "events": events })).await;
    assert_eq!(failure.failure(400, "validation-failed")["details"][0]["path"], "events[1].eventType");
    service.get("/api/streams/b/events").await.failure(404, "stream-not-found");
}

#[tokio::test]
async fn an_append_to_several_streams_is_written_whole_or_not_at_all() {
    if super::STORE == crate::support::Kind::Kurrentdb {
        // It answers 501, which `tests/cluster` has.
        return;
    }
    let service = Service::start().await;
    let write = |name: &str, state: Value, events: Value| json!({ "streamName": name, "streamState": state, "events": events });
    let both = json!({ "streams": [
        write("a", json!("no-stream"), json!([event(1), event(2)])),
        write("b", json!("any"), json!([event(3)])),
    ] });
    let result = service.post("/api/streams/append", both.clone()).await.data(201);
    assert_eq!(
        (&result["streams"][0]["revision"], &result["streams"][1]["revision"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(result["streams"][0]["streamName"], "a");
    let last = service.get("/api/streams/b/events").await.data(200)["events"][0]["position"].take();
    assert_eq!(result["position"], last);

    let failure = service.post("/api/streams/append", both).await.failure(409, "wrong-expected-revision");
    assert_eq!(failure["streamName"], "a");
    let checked =
        json!({ "streams": [write("a", json!(7), json!([])), write("b", json!("any"), json!([event(4)]))] });
    service.post("/api/streams/append", checked).await.failure(409, "wrong-expected-revision");
    assert_eq!(service.get("/api/streams/b/events").await.data(200)["total"], 1);

    let twice = json!({ "streams": [write("a", json!("any"), json!([event(1)])), write("a", json!("any"), json!([event(1)]))] });
    let failure = service.post("/api/streams/append", twice).await.failure(400, "validation-failed");
    assert_eq!(failure["details"][0]["path"], "streams[1].streamName");
}

#[tokio::test]
async fn the_systems_streams_and_deleted_ones_are_not_written() {
    let service = Service::start_on(super::STORE).await;
    for name in ["$x", "$$a", "%24x", "browse", "-a"] {
        let failure = service.post(&format!("/api/streams/{name}/events"), event(1)).await;
        assert_eq!(failure.failure(400, "validation-failed")["details"][0]["path"], "streamName");
    }
    service.create("a").await;
    service.delete("/api/streams/a?mode=tombstone").await.data(200);
    let failure = service.post("/api/streams/a/events", event(1)).await.failure(410, "stream-deleted");
    assert_eq!(failure["streamName"], "a");
}

#[tokio::test]
async fn an_array_is_no_object_however_deep_it_stands() {
    let service = Service::start_on(super::STORE).await;
    let create = |key: &str, value: Value| {
        let mut body = json!({ "streamName": "a", "eventType": "Made", "eventData": {} });
        body[key] = value;
        body
    };
    for (path, body, at) in [
        ("create", create("permissions", json!([["*"], ["*"], ["*"]])), "permissions"),
        ("create", json!(["a", "Made", {}]), ""),
        ("a/events/batch", json!({ "events": [event(1), ["Added", {}]] }), "events[1]"),
        ("append", json!({ "streams": [["a", "any", [event(1)]]] }), "streams[0]"),
        (
            "append",
            json!({ "streams": [{ "streamName": "a", "events": [["Added", {}]] }] }),
            "streams[0].events[0]",
        ),
    ] {
        let failure = service.post(&format!("/api/streams/{path}"), body).await;
        let failure = failure.failure(400, "validation-failed");
        assert_eq!(failure["details"][0]["path"], at, "{failure}");
    }
    service.get("/api/streams/a/events").await.failure(404, "stream-not-found");
}

#[tokio::test]
async fn text_that_is_no_unicode_is_no_json() {
    let service = Service::start_on(super::STORE).await;
    let bodies: [&[u8]; 6] = [
        br#"{"eventType":"Added","eventData":{"x":"\ud800"}}"#,
        br#"{"eventType":"Added","eventData":{"\udc00":1}}"#,
        br#"{"eventType":"Added","eventData":{},"metadata":{"x":["\ud83d\u0041"]}}"#,
        br#"{"eventType":"\ud800","eventData":{}}"#,
        b"{\"eventType\":\"Added\",\"eventData\":{\"x\":\"\xff\"}}",
        b"{\"eventType\":\"\xc3\",\"eventData\":{}}",
    ];
    for body in bodies {
        let request =
            service.request("POST", "/api/streams/a/events").header("content-type", "application/json");
        service.send(request.body(body.to_vec())).await.failure(400, "invalid-json");
    }
    let whole = r#"{"eventType":"Added","eventData":{"x":"\ud83d\ude00 \\ud800"}}"#;
    service.send_text("POST", "/api/streams/a/events", whole).await.data(201);
    let page = service.get("/api/streams/a/events").await.data(200);
    assert_eq!((&page["total"], &page["events"][0]["data"]["x"]), (&json!(1), &json!("\u{1f600} \\ud800")));
}
