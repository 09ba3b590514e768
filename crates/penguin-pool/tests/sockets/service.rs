//! Sockets of a whole service, with everything that stands around them.

use crate::client::{Client, PATIENCE, connect};
use event_store::{Clock as _, EventStore, RandomIds, SystemClock};
use event_store_embedded::{Engine, Options};
use serde_json::{Value, json};
use std::sync::Arc;
use test_support::TestService;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Error;

#[tokio::test]
async fn both_ports_serve_sockets_and_tell_what_was_measured() {
    let service = TestService::start().await;
    let addresses = [service.service.address(), service.service.sockets_address()];
    assert_ne!(addresses[0], addresses[1]);
    let mut open = 0;
    let mut clients = Vec::new();
    for address in addresses {
        for mut client in
            [Client::websocket(address, "/ws/health").await, Client::polling(address, "/ws/health").await]
        {
            client.expect("connection").await;
            let status = timeout(PATIENCE, async {
                loop {
                    let status = client.expect("health_status").await;
                    if status["services"]["kurrentdb"] != "unknown" {
                        return status;
                    }
                }
            });
            let status = status.await.expect("the store is looked at");
            assert_eq!(status["services"]["proxy"], "healthy");
            // Slow is degraded, and how slow the store is here is the machine's matter.
            let store = status["services"]["kurrentdb"].as_str().unwrap();
            assert!(["healthy", "degraded"].contains(&store), "{store}");
            open += 1;
            clients.push(client);
        }
    }
    let health: Value = service.get("/health/comprehensive").send().await.unwrap().json().await.unwrap();
    assert_eq!(health["services"]["websocket"]["connections"], open);
    // The second port is for sockets alone.
    let url = format!("http://{}/api/streams/browse", addresses[1]);
    let answer = service.client.get(url).send().await.unwrap();
    assert_eq!(answer.status(), 404);
    assert_eq!(answer.json::<Value>().await.unwrap()["type"], "route-not-found");
}

#[tokio::test]
async fn what_is_written_over_http_is_followed_over_sockets_until_the_service_stops() {
    let (clock, ids) = (Arc::new(SystemClock), Arc::new(RandomIds));
    let engine = Engine::open(Options::in_memory().clock(clock.clone()).ids(ids)).unwrap();
    let _ = clock.now();
    let store: Arc<dyn EventStore> = Arc::new(engine);
    let service = TestService::builder().store(store).clock(clock).start().await;
    let mut client = Client::websocket(service.service.sockets_address(), "/ws/streams").await;
    let answer = client.ask("subscribe", json!({ "all": true })).await;
    assert_eq!(answer["success"], true, "{answer}");
    // What the service itself writes at its start may have been looked at first, and left out.
    client.until("caught_up").await;
    let body = json!({ "streamName": "loans-1", "eventType": "Lent", "eventData": { "n": 1 } });
    let answer = service.post("/api/streams/create").json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let event = loop {
        let (name, data) = client.event().await.unwrap();
        if name == "event" && data["streamId"] == "loans-1" {
            break data;
        }
    };
    let page = service.get("/api/streams/loans-1/events").send().await.unwrap();
    let page: Value = page.json().await.unwrap();
    let mut same = page["data"]["events"][0].clone();
    same["subscriptionId"] = "1".into();
    assert_eq!(event, same);
    let stopping = tokio::spawn(service.stop());
    let error = client.until("subscription_error").await;
    assert_eq!(error["type"], "shutting-down");
    assert_eq!(client.event().await, None);
    timeout(PATIENCE, stopping).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_pushed_is_documented_under_the_names_that_it_has_on_the_wire() {
    let service = TestService::start().await;
    let document: Value = service.get("/api/docs/asyncapi").send().await.unwrap().json().await.unwrap();
    assert_eq!(document["asyncapi"], "3.0.0");
    let names = |channel: &str| -> Vec<String> {
        let messages = document["channels"][channel]["messages"].as_object().unwrap();
        let name = |id: &String| document["components"]["messages"][id]["name"].as_str().unwrap().to_owned();
        messages.keys().map(name).collect()
    };
    assert_eq!(names("health"), ["connection", "health_status", "service_status_change"]);
    for name in ["subscribe", "unsubscribe", "event", "caught_up", "checkpoint", "subscription_error"] {
        assert!(names("streams").contains(&name.to_owned()), "{name}");
    }
    for channel in document["channels"].as_object().unwrap().values() {
        assert!(channel["messages"].as_object().is_some_and(|messages| !messages.is_empty()));
    }
    let answer = service.get("/api/streams/nowhere/subscribe").send().await.unwrap();
    assert_eq!(answer.status(), 200, "the address of a feed in the document is served");
}

#[tokio::test]
async fn refusals_of_sockets_have_the_error_body_and_every_header() {
    let service = TestService::builder().set("MAX_SOCKETS", 0).start().await;
    let address = service.service.address();
    for (path, origin, status, kind) in [
        ("/ws/health", Some("https://evil.example"), 403, "permission-denied"),
        ("/ws/health", None, 429, "rate-limited"),
        ("/socket.io/?EIO=4&transport=websocket", None, 429, "rate-limited"),
    ] {
        let refused = connect(address, path, origin).await;
        let Err(Error::Http(response)) = refused else { panic!("{refused:?}") };
        assert_eq!(response.status(), status);
        let body: Value = serde_json::from_slice(response.body().as_ref().unwrap()).unwrap();
        assert_eq!(body["type"], kind);
        assert_eq!(body["requestId"].as_str(), response.headers()["x-request-id"].to_str().ok());
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    }
    let plain = service.get("/ws/health").send().await.unwrap();
    assert_eq!(plain.status(), 400);
    let wrong = service.post("/ws/health").send().await.unwrap();
    assert_eq!((wrong.status().as_u16(), wrong.headers()["allow"].to_str().unwrap()), (405, "GET,HEAD"));
    assert_eq!(wrong.json::<Value>().await.unwrap()["type"], "method-not-allowed");
    // A page from an origin that is allowed may read what it polls.
    let url = format!("{}/socket.io/?EIO=4&transport=polling", service.url);
    let polled = service.client.get(url).header("origin", "http://localhost:3000").send().await.unwrap();
    assert_eq!(polled.headers()["access-control-allow-origin"], "http://localhost:3000");
}
