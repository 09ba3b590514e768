//! `/ws/health`.

use crate::{
    client::{Client, PATIENCE, connect},
    serve::serve,
};
use futures::StreamExt as _;
use models::{DateTime, HealthServices, PartHealth, ServiceState, ServiceStatusMetadata};
use penguin_pool::websocket::Heartbeat;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message, protocol::frame::coding::CloseCode};

const NOW: &str = "2024-01-15T10:30:00.000Z";

fn welcome() -> [Value; 2] {
    [
        json!({
            "type": "connection",
            "message": "Connected to health and uptime monitoring service",
            "timestamp": NOW,
        }),
        json!({
            "type": "health_status",
            "timestamp": NOW,
            "services": { "proxy": "healthy", "kurrentdb": "unknown" },
        }),
    ]
}

fn well() -> HealthServices {
    HealthServices { proxy: PartHealth::Healthy, kurrentdb: PartHealth::Healthy }
}

#[tokio::test]
async fn who_connects_is_greeted_and_told_every_change_by_either_transport() {
    let served = serve(|_| {}).await;
    let mut clients = [
        Client::websocket(served.address, "/ws/health").await,
        Client::polling(served.address, "/ws/health").await,
    ];
    for client in &mut clients {
        let [greeting, status] = welcome();
        assert_eq!(client.expect("connection").await, greeting);
        assert_eq!(client.expect("health_status").await, status);
    }
    served.health.found(well());
    served.health.found(well());
    let metadata = ServiceStatusMetadata {
        response_time: Some(2.5),
        error: Some("refused".into()),
        performance_grade: None,
    };
    let when = DateTime::from_millis(1_705_314_600_250);
    served.health.changed("database", ServiceState::Down, when, metadata);
    for client in &mut clients {
        assert_eq!(client.expect("health_status").await["services"]["kurrentdb"], "healthy");
        // No second status came in between: it was no news.
        assert_eq!(
            client.expect("service_status_change").await,
            json!({
                "type": "service_status_change",
                "timestamp": "2024-01-15T10:30:00.250Z",
                "serviceName": "database",
                "status": "down",
                "metadata": { "responseTime": 2.5, "error": "refused" },
            })
        );
    }
}

#[tokio::test]
async fn how_the_service_is_is_repeated() {
    let served = serve(|o| o.repeat = Duration::from_millis(5)).await;
    let mut client = Client::websocket(served.address, "/ws/health").await;
    client.expect("connection").await;
    for _ in 0..3 {
        assert_eq!(client.expect("health_status").await, welcome()[1]);
    }
}

#[tokio::test]
async fn a_plain_websocket_gets_the_same_as_text_and_is_told_when_the_service_stops() {
    let served = serve(|_| {}).await;
    let (mut socket, _) = connect(served.address, "/ws/health", Some("http://localhost:3000")).await.unwrap();
    let mut next = async || timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
    for expected in welcome() {
        let text = next().await.into_text().unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
    }
    served.health.found(well());
    let text = next().await.into_text().unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["services"]["kurrentdb"], "healthy");
    let (closed, frame) = tokio::join!(served.sockets.close(), next());
    let () = closed;
    let Message::Close(Some(frame)) = frame else { panic!("{frame:?}") };
    assert_eq!(frame.code, CloseCode::Away);
    assert_eq!(frame.reason, "the service is stopping");
}

#[tokio::test]
async fn a_plain_websocket_that_says_nonsense_or_does_not_answer_pings_is_closed_alone() {
    let interval = Duration::from_millis(300);
    let served = serve(|o| o.heartbeat = Heartbeat { interval, ..Heartbeat::default() }).await;
    let (mut good, _) = connect(served.address, "/ws/health", None).await.unwrap();
    let (mut loud, _) = connect(served.address, "/ws/health", None).await.unwrap();
    // This one does not read, and so answers no ping.
    let (_silent, _) = connect(served.address, "/ws/health", None).await.unwrap();
    futures::SinkExt::send(&mut loud, Message::text("x".repeat(100_000))).await.unwrap();
    let told_so = async {
        loop {
            match timeout(PATIENCE, loud.next()).await.unwrap() {
                Some(Ok(Message::Close(Some(frame)))) => return frame.code,
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    let lives_on = async {
        while served.sockets.open_now() > 1 {
            assert!(timeout(PATIENCE, good.next()).await.unwrap().unwrap().is_ok());
        }
        // Pings go on.
        assert!(timeout(PATIENCE, good.next()).await.unwrap().unwrap().is_ok());
    };
    let (code, ()) = timeout(PATIENCE, async { tokio::join!(told_so, lives_on) }).await.unwrap();
    assert_eq!(code, CloseCode::Size);
}

#[tokio::test]
async fn pages_from_elsewhere_get_no_websocket() {
    let served = serve(|_| {}).await;
    for path in ["/ws/health", "/socket.io/?EIO=4&transport=websocket"] {
        assert!(connect(served.address, path, Some("http://localhost:3000")).await.is_ok());
        let refused = connect(served.address, path, Some("https://evil.example")).await;
        let Err(Error::Http(response)) = refused else { panic!("{refused:?}") };
        assert_eq!(response.status(), 403);
        let body: Value = serde_json::from_slice(response.body().as_ref().unwrap()).unwrap();
        assert_eq!(body["type"], "permission-denied");
    }
}

#[tokio::test]
async fn sockets_are_limited_in_number_and_a_place_comes_back() {
    let served = serve(|o| o.max_sockets = 2).await;
    let first = Client::websocket(served.address, "/ws/health").await;
    let _second = Client::polling(served.address, "/ws/health").await;
    assert_eq!(served.sockets.open_now(), 2);
    for path in ["/ws/health", "/socket.io/?EIO=4&transport=websocket"] {
        let refused = connect(served.address, path, None).await;
        let Err(Error::Http(response)) = refused else { panic!("{refused:?}") };
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "5");
    }
    let url = format!("http://{}/socket.io/?EIO=4&transport=polling", served.address);
    assert_eq!(reqwest::get(url).await.unwrap().status(), 429);
    first.close().await;
    timeout(PATIENCE, async {
        while connect(served.address, "/ws/health", None).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the place came back");
}

#[tokio::test]
async fn malformed_packets_close_their_socket_alone() {
    let served = serve(|_| {}).await;
    let mut bystander = Client::websocket(served.address, "/ws/health").await;
    for nonsense in MALFORMED {
        let mut client = Client::websocket(served.address, "/ws/health").await;
        client.send(nonsense).await;
        while client.event().await.is_some() {}
        let mut client = Client::polling(served.address, "/ws/health").await;
        client.post(nonsense).await;
        while client.event().await.is_some() {}
    }
    bystander.expect("connection").await;
    bystander.expect("health_status").await;
    served.health.found(well());
    bystander.expect("health_status").await;
    assert_eq!(served.sockets.open_now(), 1);
}

/// What is no packet of Engine.IO, or no packet of Socket.IO.
const MALFORMED: [&str; 6] = ["x", "9", "4", "4x", "49", "45999999-/ws/health,[\"x\"]"];
