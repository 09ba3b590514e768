//! `/ws/streams`.

use crate::{
    client::{Client, PATIENCE, connect},
    serve::{Served, serve},
};
use event_store::{ExpectedState, StreamName};
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use std::{net::SocketAddr, time::Duration};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

async fn both(address: SocketAddr) -> [Client; 2] {
    [Client::websocket(address, "/ws/streams").await, Client::polling(address, "/ws/streams").await]
}

/// Subscribes, and gives the subscription's id.
async fn subscribe(client: &mut Client, request: Value) -> String {
    let answer = client.ask("subscribe", request).await;
    assert_eq!(answer["success"], true, "{answer}");
    answer["subscriptionId"].as_str().unwrap().to_owned()
}

/// The numbers of the next so many events, which must all be of this subscription.
async fn numbers(client: &mut Client, id: &str, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        let (name, data) = client.event().await.expect("an event");
        assert_eq!(data["subscriptionId"], id);
        match name.as_str() {
            "event" => numbers.push(data["data"]["n"].as_u64().unwrap()),
            "caught_up" | "checkpoint" => {}
            _ => panic!("{name} {data}"),
        }
    }
    numbers
}

#[tokio::test]
async fn a_stream_is_followed_from_any_revision_across_the_seam_without_a_gap_or_a_double() {
    let served = serve(|_| {}).await;
    served.number("loans-1", 0..500).await;
    served.number("loans-2", 0..3).await;
    for mut client in both(served.address).await {
        let begin = served.store.stream_info(&StreamName::new("loans-1").unwrap()).await.unwrap().events;
        let id = subscribe(&mut client, json!({ "streamName": "loans-1", "from": 100 })).await;
        let writing = async {
            for n in 0..20 {
                served.number("loans-1", begin + n * 5..begin + n * 5 + 5).await;
                tokio::task::yield_now().await;
            }
        };
        let expected = usize::try_from(begin).unwrap();
        let (found, ()) = tokio::join!(numbers(&mut client, &id, expected), writing);
        assert_eq!(found, (100..begin + 100).collect::<Vec<_>>());
        client.close().await;
    }
}

#[tokio::test]
async fn an_event_is_brought_as_http_shows_it_byte_for_byte() {
    let served = serve(|_| {}).await;
    let mut client = Client::websocket(served.address, "/ws/streams").await;
    subscribe(&mut client, json!({ "streamName": "loans-1" })).await;
    assert_eq!(client.expect("caught_up").await, json!({ "subscriptionId": "1", "resume": { "from": 0 } }));
    served.append("loans-1", "Lent", ["{\"z\":12345678901234567890123,\"a\": \"\\u00e9\"}".to_owned()]).await;
    assert_eq!(
        client.text().await,
        concat!(
            r#"["event",{"subscriptionId":"1","id":"00000000-0000-0002-0000-000000000001","type":"Lent","#,
            r#""data":{"z":12345678901234567890123,"a": "\u00e9"},"metadata":{},"streamId":"loans-1","revision":0,"#,
            r#""position":0,"timestamp":"2024-01-15T10:30:00.000Z"}]"#
        )
    );
}

#[tokio::test]
async fn everything_is_followed_filtered_and_resumed_where_it_was_left() {
    let served = serve(|_| {}).await;
    for n in 0..50 {
        served.number(["loans-1", "offers-1", "loans-2"][n % 3], n as u64..n as u64 + 1).await;
    }
    for mut client in both(served.address).await {
        let request = json!({ "all": true, "from": 0, "filter": { "prefix": "loans-" } });
        let id = subscribe(&mut client, request.clone()).await;
        let loans: Vec<u64> = (0..50).filter(|n| n % 3 != 1).collect();
        assert_eq!(numbers(&mut client, &id, loans.len()).await, loans);
        let resume = loop {
            let (name, data) = client.event().await.unwrap();
            if name == "caught_up" {
                break data["resume"].clone();
            }
            assert_eq!(name, "checkpoint");
        };
        let last = served.store.last_position().await.unwrap().unwrap().raw();
        assert_eq!(resume, json!({ "after": last }));
        // Live only, and by type; then from where the other was.
        let live = subscribe(&mut client, json!({ "all": true, "filter": { "eventType": "Odd" } })).await;
        client.expect("caught_up").await;
        assert_eq!(
            client.ask("unsubscribe", json!({ "subscriptionId": id })).await,
            json!({ "success": true, "ended": true })
        );
        assert_eq!(
            client.ask("unsubscribe", json!({ "subscriptionId": id })).await,
            json!({ "success": true, "ended": false })
        );
        served.append("x", "Odd", ["{\"n\":1}".to_owned()]).await;
        assert_eq!(numbers(&mut client, &live, 1).await, [1]);
        client.close().await;
    }
}

#[tokio::test]
async fn what_cannot_be_followed_is_refused_in_the_acknowledgement() {
    let served = serve(|_| {}).await;
    served.number("gone", 0..1).await;
    served.store.tombstone(&StreamName::new("gone").unwrap(), ExpectedState::Any).await.unwrap();
    for mut client in both(served.address).await {
        let answer = client.ask("subscribe", json!({ "streamName": "gone", "from": 0 })).await;
        assert_eq!(
            answer,
            json!({
                "success": false,
                "error": "StreamDeletedError",
                "type": "stream-deleted",
                "message": "Stream 'gone' was deleted",
                "streamName": "gone",
                "statusCode": 410,
                "timestamp": "2024-01-15T10:30:00.000Z",
            })
        );
        for (request, path) in [
            (json!({}), "streamName"),
            (json!({ "streamName": "x", "all": true }), "streamName"),
            (json!({ "streamName": "x", "from": -1 }), "from"),
            (json!({ "streamName": "x", "from": 0, "after": 0 }), "after"),
            (json!({ "streamName": "x", "more": 1 }), "more"),
            (json!({ "streamName": "" }), "streamName"),
            (json!({ "streamName": 7 }), "streamName"),
            (json!({ "streamName": "x", "filter": { "prefix": "y" } }), "filter"),
            (json!({ "all": true, "filter": { "regex": "y" } }), "filter.regex"),
            (json!("x"), ""),
            (json!(null), ""),
        ] {
            let answer = client.ask("subscribe", request.clone()).await;
            assert_eq!(answer["type"], "validation-failed", "{request} {answer}");
            assert_eq!(answer["details"][0]["path"], path, "{request} {answer}");
        }
        let answer = client.ask("unsubscribe", json!({})).await;
        assert_eq!(answer["type"], "validation-failed", "{answer}");
    }
}

#[tokio::test]
async fn a_stream_that_may_not_be_read_is_refused_in_the_acknowledgement() {
    let served = serve(|_| {}).await;
    served.number("secret", 0..1).await;
    served.line.forbid(StreamName::new("secret").unwrap());
    for mut client in both(served.address).await {
        for request in [json!({ "streamName": "secret", "from": 0 }), json!({ "streamName": "secret" })] {
            let answer = client.ask("subscribe", request).await;
            assert_eq!((&answer["success"], &answer["type"]), (&json!(false), &json!("permission-denied")));
            assert_eq!(
                (&answer["statusCode"], &answer["streamName"]),
                (&json!(403), &json!("secret")),
                "{answer}"
            );
        }
        // Nothing of it comes after the refusal, and the connection serves others.
        let id = subscribe(&mut client, json!({ "streamName": "loans-1" })).await;
        assert_eq!(client.expect("caught_up").await["subscriptionId"], id);
        client.close().await;
    }
}

#[tokio::test]
async fn who_asks_for_no_acknowledgement_is_told_of_a_refusal_by_an_event() {
    let served = serve(|_| {}).await;
    served.number("gone", 0..1).await;
    served.store.tombstone(&StreamName::new("gone").unwrap(), ExpectedState::Any).await.unwrap();
    for mut client in both(served.address).await {
        for (request, kind) in [
            (json!({ "streamName": "gone" }), "stream-deleted"),
            (json!({ "form": 1 }), "validation-failed"),
            (json!("gone"), "validation-failed"),
        ] {
            client.send(&format!("42/ws/streams,{}", json!(["subscribe", request]))).await;
            let error = client.expect("subscription_error").await;
            assert_eq!((&error["success"], &error["type"]), (&json!(false), &json!(kind)), "{error}");
            assert!(error.get("subscriptionId").is_none() && error.get("resume").is_none(), "{error}");
        }
        // One that is taken needs no answer: what it brings says by itself whose it is.
        client.send("42/ws/streams,[\"subscribe\",{\"streamName\":\"loans-1\"}]").await;
        assert_eq!(client.expect("caught_up").await["subscriptionId"], "1");
        client.close().await;
    }
}

#[tokio::test]
async fn a_stream_that_is_deleted_for_good_ends_its_subscription_and_no_other() {
    let served = serve(|_| {}).await;
    served.number("mortal", 0..1).await;
    let mut client = Client::websocket(served.address, "/ws/streams").await;
    let mortal = subscribe(&mut client, json!({ "streamName": "mortal" })).await;
    let other = subscribe(&mut client, json!({ "streamName": "other" })).await;
    client.expect("caught_up").await;
    client.expect("caught_up").await;
    served.store.tombstone(&StreamName::new("mortal").unwrap(), ExpectedState::Any).await.unwrap();
    assert_eq!(client.expect("event").await["type"], "$streamDeleted");
    let error = client.expect("subscription_error").await;
    assert_eq!((&error["subscriptionId"], &error["type"]), (&json!(mortal), &json!("stream-deleted")));
    assert_eq!(error.get("resume"), None);
    served.number("other", 7..8).await;
    assert_eq!(numbers(&mut client, &other, 1).await, [7]);
}

#[tokio::test]
async fn subscriptions_are_limited_by_connection_and_in_all() {
    let served = serve(|o| o.max_subscriptions = 70).await;
    let [mut first, mut second] = both(served.address).await;
    for n in 0..64 {
        subscribe(&mut first, json!({ "streamName": format!("s-{n}") })).await;
    }
    for n in 0..6 {
        subscribe(&mut second, json!({ "streamName": format!("s-{n}") })).await;
    }
    for client in [&mut first, &mut second] {
        let answer = client.ask("subscribe", json!({ "streamName": "one-more" })).await;
        assert_eq!(answer["type"], "rate-limited", "{answer}");
    }
    assert_eq!(first.ask("unsubscribe", json!({ "subscriptionId": "7" })).await["ended"], true);
    timeout(PATIENCE, async {
        while second.ask("subscribe", json!({ "streamName": "one-more" })).await["success"] != true {}
    })
    .await
    .expect("the place came back");
}

/// A large stream, and what it comes to in bytes.
async fn large(served: &Served) -> u64 {
    let filler = "x".repeat(4000);
    for batch in 0..100_u64 {
        let bodies = (0..100).map(|n| format!("{{\"n\":{},\"filler\":\"{filler}\"}}", batch * 100 + n));
        served.append("large", "Large", bodies).await;
    }
    10_000
}

#[tokio::test]
async fn a_reader_that_stops_costs_bounded_memory_is_told_where_to_resume_and_misses_nothing() {
    let served = serve(|o| o.patience = Duration::from_secs(2)).await;
    let events = large(&served).await;
    let (mut socket, _) =
        connect(served.address, "/socket.io/?EIO=4&transport=websocket", None).await.unwrap();
    socket.send(Message::text("40/ws/streams,")).await.unwrap();
    // An event that comes before the answer to this would be one for a namespace that was not joined.
    let joined = async {
        loop {
            let frame = socket.next().await.unwrap().unwrap();
            if frame.to_text().unwrap().starts_with("40/ws/streams,{") {
                return;
            }
        }
    };
    timeout(PATIENCE, joined).await.expect("an answer");
    let request = json!(["subscribe", { "streamName": "large", "from": 0 }]);
    socket.send(Message::text(format!("42/ws/streams,1{request}"))).await.unwrap();
    // Nothing is read until the subscription gave up, which shows in the places that are free.
    timeout(PATIENCE, async {
        while served.sockets.subscriptions_now() == 0 {
            tokio::task::yield_now().await;
        }
        while served.sockets.subscriptions_now() == 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the subscription ends");
    let mut next = 0;
    let error = loop {
        let frame = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
        let text = frame.into_text().unwrap();
        if text.as_str() == "2" {
            socket.send(Message::text("3")).await.unwrap();
        }
        let Some(body) = text.strip_prefix("42/ws/streams,") else { continue };
        let body: Value = serde_json::from_str(body).unwrap();
        if body[0] == "subscription_error" {
            break body[1].clone();
        }
        assert_eq!((&body[0], &body[1]["data"]["n"]), (&json!("event"), &json!(next)));
        next += 1;
    };
    assert_eq!(error["type"], "timeout");
    assert_eq!(error["resume"], json!({ "after": next - 1 }));
    assert!(next < events, "the whole stream of 40 MB went out to one who does not read");
    let mut client = Client::polling(served.address, "/ws/streams").await;
    let id = subscribe(&mut client, json!({ "streamName": "large", "after": next - 1 })).await;
    let rest = usize::try_from(events - next).unwrap();
    assert_eq!(numbers(&mut client, &id, rest).await, (next..events).collect::<Vec<_>>());
}

#[tokio::test]
async fn subscribers_are_told_that_the_service_stops_and_where_to_resume() {
    let served = serve(|_| {}).await;
    served.number("loans-1", 0..3).await;
    let mut clients = both(served.address).await;
    for client in &mut clients {
        subscribe(client, json!({ "streamName": "loans-1", "from": 1 })).await;
        subscribe(client, json!({ "all": true })).await;
        for _ in 0..4 {
            client.event().await.unwrap();
        }
    }
    let closing = tokio::spawn(async move { served.sockets.close().await });
    futures::future::join_all(clients.iter_mut().map(async |client| {
        for _ in 0..2 {
            let error = client.expect("subscription_error").await;
            assert_eq!(error["type"], "shutting-down");
            assert_eq!(error["resume"], json!({ "after": 2 }));
        }
        assert_eq!(client.event().await, None);
    }))
    .await;
    timeout(PATIENCE, closing).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_connection_that_began_by_polling_goes_on_as_a_websocket() {
    let served = serve(|_| {}).await;
    served.number("loans-1", 0..300).await;
    let mut client = Client::polling(served.address, "/ws/streams").await;
    let id = subscribe(&mut client, json!({ "streamName": "loans-1", "from": 0 })).await;
    let mut found = numbers(&mut client, &id, 10).await;
    let mut client = client.upgrade(served.address).await;
    let rest = numbers(&mut client, &id, 290).await;
    found.extend(rest);
    assert_eq!(found, (0..300).collect::<Vec<_>>());
    served.number("loans-1", 300..900).await;
    assert_eq!(numbers(&mut client, &id, 600).await, (300..900).collect::<Vec<_>>());
}
