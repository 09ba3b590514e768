//! The API's main paths on a KurrentDB: what works on the embedded store works there.

use crate::support::{Feed, Node, event, eventually, get, post, service};
use serde_json::{Value, json};
use test_support::{Proxy, TestService};

async fn started(directory: &tempfile::TempDir) -> (Node, Proxy, TestService) {
    let node = Node::start(directory.path()).await;
    let wire = Proxy::to(node.address).await.unwrap();
    let service = service(&wire).await;
    (node, wire, service)
}

fn numbers(page: &Value) -> Vec<u64> {
    page["data"]["events"].as_array().unwrap().iter().filter_map(|e| e["data"]["n"].as_u64()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_made_appended_to_read_followed_and_found() {
    let directory = tempfile::tempdir().unwrap();
    let (_node, _wire, service) = started(&directory).await;
    let made = json!({
        "streamName": "loan-1", "eventType": "Made", "eventData": { "n": 0 }, "description": "One loan",
        "tags": ["loan"], "permissions": { "read": ["*"], "write": ["maria"], "admin": ["maria"] }
    });
    let (status, answer) = post(&service, "/api/streams/create", made.clone()).await;
    assert_eq!(status, 201, "{answer}");
    assert_eq!(answer["data"]["event"]["revision"], 0);
    let (status, answer) = post(&service, "/api/streams/create", made).await;
    assert_eq!((status, &answer["type"]), (409, &json!("stream-already-exists")));

    let mut one = event(1);
    one["streamState"] = json!(0);
    let (status, first) = post(&service, "/api/streams/loan-1/events", one.clone()).await;
    assert_eq!((status, &first["data"]["revision"]), (201, &json!(1)), "{first}");
    let (_, again) = post(&service, "/api/streams/loan-1/events", one).await;
    assert_eq!(again["data"], first["data"], "sent again, answered again");
    let mut wrong = event(9);
    wrong["streamState"] = json!(0);
    let (status, answer) = post(&service, "/api/streams/loan-1/events", wrong).await;
    assert_eq!((status, &answer["type"]), (409, &json!("wrong-expected-revision")));
    assert_eq!((&answer["expectedRevision"], &answer["actualRevision"]), (&json!(0), &json!(1)));
    let batch = json!({ "events": (2..50).map(event).collect::<Vec<_>>(), "streamState": 1 });
    assert_eq!(post(&service, "/api/streams/loan-1/events/batch", batch).await.0, 201);

    let (_, page) = get(&service, "/api/streams/loan-1/events?limit=20").await;
    assert_eq!((numbers(&page), &page["data"]["nextRevision"]), ((0..20).collect(), &json!(20)));
    assert_eq!((&page["data"]["total"], &page["data"]["hasMore"]), (&json!(50), &json!(true)));
    let (_, page) = get(&service, "/api/streams/loan-1/events?limit=3&direction=backwards").await;
    assert_eq!(numbers(&page), [49, 48, 47]);
    let (_, page) = get(&service, "/api/streams/all/events?limit=1000").await;
    assert_eq!(numbers(&page), (0..50).collect::<Vec<_>>());
    let mut feed = Feed::new(&service, "/api/streams/loan-1/subscribe?from=45");
    for n in 45..50 {
        assert_eq!(feed.next().await["data"]["n"], n);
    }

    let (_, details) = get(&service, "/api/streams/loan-1/details").await;
    assert_eq!(
        (&details["data"]["eventCount"], &details["data"]["stream"]["description"]),
        (&json!(50), &json!("One loan"))
    );
    eventually(&service, "/api/streams/browse?tag=loan", |_, body| {
        body["data"]["streams"][0]["eventCount"] == 50 && body["data"]["total"] == 1
    })
    .await;
    let (_, found) = post(
        &service,
        "/api/streams/search",
        json!({ "where": [{ "path": "/n", "op": "gte", "value": 48 }], "streamName": "loan-1" }),
    )
    .await;
    assert_eq!(numbers(&found), [49, 48], "{found}");
    let (_, statistics) = get(&service, "/api/streams/statistics").await;
    assert_eq!(statistics["data"]["eventsPerType"]["Added"], 49, "{statistics}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_stream_keeps_its_description_and_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let (_node, _wire, service) = started(&directory).await;
    let made =
        json!({ "streamName": "loan-1", "eventType": "Made", "eventData": { "n": 0 }, "tags": ["loan"] });
    assert_eq!(post(&service, "/api/streams/create", made.clone()).await.0, 201);
    let delete = async |path: &str| {
        let response = service.client.delete(format!("{}{path}", service.url)).send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let (status, refused) = delete("/api/streams/loan-1?expectedRevision=7").await;
    assert_eq!((status, &refused["actualRevision"]), (409, &json!(0)), "{refused}");
    assert_eq!(delete("/api/streams/loan-1?expectedRevision=0").await.0, 200);
    assert_eq!(get(&service, "/api/streams/loan-1/events").await.0, 404);
    // The rest of its metadata is there, as the owner's description of what was deleted.
    eventually(&service, "/api/streams/browse?status=deleted&tag=loan", |_, body| body["data"]["total"] == 1)
        .await;
    let (status, again) = post(&service, "/api/streams/create", made).await;
    assert_eq!((status, &again["data"]["event"]["revision"]), (201, &json!(1)), "{again}");
    assert_eq!(numbers(&get(&service, "/api/streams/loan-1/events").await.1), [0]);
    assert_eq!(delete("/api/streams/loan-1?mode=tombstone").await.0, 200);
    assert_eq!(get(&service, "/api/streams/loan-1/events").await.0, 410);
    assert_eq!(delete("/api/streams/nobody").await.0, 404);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_cannot_do_is_said_to_be_so() {
    let directory = tempfile::tempdir().unwrap();
    let (_node, _wire, service) = started(&directory).await;
    let one = |stream: &str| json!({ "streamName": stream, "events": [event(1)] });
    let (status, refused) =
        post(&service, "/api/streams/append", json!({ "streams": [one("a-1"), one("a-2")] })).await;
    assert_eq!((status, &refused["type"]), (501, &json!("not-implemented")), "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("several streams"), "{refused}");
    assert_eq!(get(&service, "/api/streams/a-1/events").await.0, 404, "nothing was written");
    assert_eq!(post(&service, "/api/streams/append", json!({ "streams": [one("a-1")] })).await.0, 201);
    service.stop().await;
}
