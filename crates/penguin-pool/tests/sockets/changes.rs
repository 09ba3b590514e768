//! A service that is watched goes down and comes back, and whoever listens is told: with real checks of a real port.

use crate::client::{Client, PATIENCE, WebSocket, connect};
use futures::StreamExt as _;
use serde_json::{Value, json};
use std::net::SocketAddr;
use test_support::TestService;
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};
use tokio_tungstenite::tungstenite::Message;

/// Whoever listens on `/ws/health`.
pub(crate) enum Listener {
    SocketIo(Client),
    Plain(Box<WebSocket>),
}

impl Listener {
    /// One of each kind: Socket.IO by WebSocket on one port and by long polls on the other, and a plain WebSocket.
    pub(crate) async fn all(service: &TestService) -> [Self; 3] {
        let (http, apart) = (service.service.address(), service.service.sockets_address());
        [
            Self::SocketIo(Client::websocket(http, "/ws/health").await),
            Self::SocketIo(Client::polling(apart, "/ws/health").await),
            Self::Plain(Box::new(connect(http, "/ws/health", None).await.unwrap().0)),
        ]
    }

    /// The next message.
    async fn next(&mut self) -> Value {
        match self {
            Self::SocketIo(client) => {
                let (name, message) = client.event().await.expect("the connection ended");
                assert_eq!(message["type"], name);
                message
            }
            Self::Plain(socket) => loop {
                let frame = timeout(PATIENCE, socket.next()).await.expect("nothing came").unwrap().unwrap();
                if let Message::Text(text) = frame {
                    return serde_json::from_str(&text).unwrap();
                }
            },
        }
    }

    /// The next message of this type that is as `wanted`; what comes before it is passed over.
    pub(crate) async fn until(&mut self, kind: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let found = timeout(2 * PATIENCE, async {
            loop {
                let message = self.next().await;
                if message["type"] == kind && wanted(&message) {
                    return message;
                }
            }
        });
        found.await.unwrap_or_else(|_| panic!("no such {kind}"))
    }

    /// The next change of this service to this state, and that a status of the whole follows it.
    pub(crate) async fn change(&mut self, service: &str, status: &str) -> Value {
        let change = self
            .until("service_status_change", |m| m["serviceName"] == service && m["status"] == status)
            .await;
        self.until("health_status", |_| true).await;
        change
    }
}

/// Checks everything now, until this service is known to be so.
pub(crate) async fn check_until(service: &TestService, name: &str, status: &str) {
    let known = timeout(2 * PATIENCE, async {
        loop {
            assert_eq!(service.post("/api/uptime/check").send().await.unwrap().status(), 200);
            if get(service, "/api/uptime/status").await["services"][name] == status {
                return;
            }
        }
    });
    known.await.unwrap_or_else(|_| panic!("{name} is never {status}"));
}

pub(crate) async fn get(service: &TestService, path: &str) -> Value {
    let response = service.get(path).send().await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    response.json().await.unwrap()
}

/// Listens again where somebody listened before.
async fn listen_again(address: SocketAddr) -> TcpListener {
    let bound = timeout(PATIENCE, async {
        loop {
            match TcpListener::bind(address).await {
                Ok(listener) => return listener,
                // What is left of the connections before may hold it for a moment.
                Err(_) => sleep(std::time::Duration::from_millis(20)).await,
            }
        }
    });
    bound.await.expect("the port is free")
}

async fn start(directory: &std::path::Path, shop: SocketAddr) -> TestService {
    TestService::builder()
        .set("DATA_DIR", directory.display())
        .set("UPTIME_WATCH", "true")
        .set("UPTIME_SERVICES", format!("shop=tcp://{shop}"))
        .start()
        .await
}

/// What the timeline tells of the shop: each state, and when it began.
fn states(timeline: &Value) -> Vec<(Value, Value)> {
    let records = timeline["timeline"]["timeline"].as_array().unwrap();
    records.iter().map(|r| (r["status"].clone(), r["timestamp"].clone())).collect()
}

#[tokio::test]
async fn a_change_of_a_watched_service_reaches_every_client_and_stays_in_the_record() {
    let directory = tempfile::tempdir().unwrap();
    let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let shop = open.local_addr().unwrap();
    let service = start(directory.path(), shop).await;
    let mut listeners = Listener::all(&service).await;
    check_until(&service, "shop", "up").await;

    drop(open);
    check_until(&service, "shop", "down").await;
    for listener in &mut listeners {
        let change = listener.change("shop", "down").await;
        assert!(change["metadata"]["error"].as_str().unwrap().contains("refused"), "{change}");
        assert_eq!(change["metadata"]["performanceGrade"], "disconnected", "{change}");
    }
    let health = get(&service, "/health/comprehensive").await;
    assert_eq!(health["watched"]["shop"]["status"], "down", "{health}");
    assert_eq!(health["overallStatus"], "unhealthy", "the worst decides");
    for own in ["http", "websocket", "kurrentdb"] {
        assert_ne!(health["services"][own]["status"], "unhealthy", "{health}");
    }

    let open = listen_again(shop).await;
    check_until(&service, "shop", "up").await;
    for listener in &mut listeners {
        let change = listener.change("shop", "up").await;
        assert_eq!(change["metadata"].get("error"), None, "{change}");
    }
    let timeline = get(&service, "/api/uptime/timeline/shop").await;
    let told = states(&timeline);
    let named: Vec<_> = told.iter().map(|(status, _)| status.as_str().unwrap()).collect();
    assert_eq!(named, ["up", "down", "up"]);
    let incidents = get(&service, "/api/uptime/incidents").await["incidents"].clone();
    assert_eq!(incidents.as_array().unwrap().len(), 1, "{incidents}");
    assert_eq!((&incidents[0]["serviceName"], &incidents[0]["start"]), (&json!("shop"), &told[1].1));
    assert_eq!(incidents[0]["end"], told[2].1);
    drop(listeners);
    service.stop().await;

    // Another process on the same directory tells the same.
    let service = start(directory.path(), shop).await;
    let again = states(&get(&service, "/api/uptime/timeline/shop").await);
    assert_eq!(again[..3], told);
    assert!(again[3..].iter().all(|(status, _)| status == "up"), "a restart is no outage: {again:?}");
    assert_eq!(get(&service, "/api/uptime/incidents").await["incidents"], incidents);
    service.stop().await;
    drop(open);
}
