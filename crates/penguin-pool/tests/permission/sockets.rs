//! Sockets: what each caller is told on `/ws/health` and `/ws/streams`, with credentials as a handshake brings them.

use crate::world::{Kept, Who, World};
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use std::time::Duration;
use test_support::Backend;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};

/// Long enough for the slowest machine.
const LONG: Duration = Duration::from_secs(30);

/// A connection that speaks Engine.IO.
struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    async fn open(world: &World, who: Who, owner: &str) -> Self {
        let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", world.address(who));
        let mut request = url.into_client_request().unwrap();
        if let Some(authorization) = world.authorization(who, owner, "ApiKey").await {
            request.headers_mut().insert("authorization", authorization.parse().unwrap());
        }
        Self(connect_async(request).await.unwrap().0)
    }

    async fn send(&mut self, text: String) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// What comes up to the first packet that is the last, all of it.
    async fn until(&mut self, is_last: impl Fn(&str) -> bool) -> String {
        let all = async {
            let mut all = String::new();
            loop {
                let packet = self.0.next().await.unwrap().unwrap().into_text().unwrap().to_string();
                if packet == "2" {
                    self.send("3".to_owned()).await;
                    continue;
                }
                all.push_str(&packet);
                all.push('\n');
                if is_last(&packet) {
                    return all;
                }
            }
        };
        tokio::time::timeout(LONG, all).await.expect("an answer")
    }

    /// Connects to a namespace; whether it was let in.
    async fn join(&mut self, namespace: &str) -> bool {
        self.send(format!("40{namespace},")).await;
        let ends = [format!("40{namespace},"), format!("44{namespace},")];
        let answer = self.until(|packet| ends.iter().any(|end| packet.starts_with(end))).await;
        let is_in = answer.contains(&ends[0]);
        assert!(is_in || answer.contains("authentication-failed"), "{answer}");
        is_in
    }
}

/// What a caller hears who subscribes: `ok`, or the type of the refusal; and everything that came.
async fn subscribe(socket: &mut Socket, request: Value, fence: &str) -> (String, String) {
    socket.send(format!("42/ws/streams,7{}", json!(["subscribe", request]))).await;
    let is_answer = |packet: &str| packet.starts_with("43/ws/streams,7");
    let mut all = socket.until(is_answer).await;
    let answer = all.lines().find(|line| is_answer(line)).unwrap();
    let answer: Value = serde_json::from_str(answer.trim_start_matches("43/ws/streams,7")).unwrap();
    if answer[0]["success"] == true {
        if !all.contains(fence) {
            all.push_str(&socket.until(|packet| packet.contains(fence)).await);
        }
        return ("ok".to_owned(), all);
    }
    (answer[0]["type"].as_str().unwrap().to_owned(), all)
}

struct Row {
    what: &'static str,
    /// In the order of [`Who::AND_KEY`], of whom the first is not let in.
    outcomes: [&'static str; 8],
    ask: fn(&Kept) -> Value,
}

const DENIED: &str = "permission-denied";
const MISSING: &str = "stream-not-found";
const OUT: &str = "not let in";

fn matrix() -> [Row; 3] {
    [
        Row {
            what: "a stream",
            outcomes: [OUT, DENIED, "ok", "ok", "ok", DENIED, "ok", "ok"],
            ask: |kept| json!({ "streamName": kept.name, "from": 0 }),
        },
        Row {
            what: "a user's stream",
            outcomes: [OUT, MISSING, "ok", "ok", "ok", MISSING, "ok", "ok"],
            ask: |kept| json!({ "streamName": format!("user-{}-loans-1", kept.owner), "from": 0 }),
        },
        Row {
            what: "everything",
            outcomes: [OUT, "ok", "ok", "ok", "ok", "ok", "ok", "ok"],
            ask: |_| json!({ "all": true, "from": 0 }),
        },
    ]
}

#[tokio::test]
async fn each_caller_follows_what_they_may_read() {
    for backend in [Backend::Embedded, Backend::Kurrentdb] {
        hold_the_matrix(backend).await;
    }
}

async fn hold_the_matrix(backend: Backend) {
    let world = World::start_on(backend).await;
    let mut found = Vec::new();
    for row in matrix() {
        for (who, expected) in Who::AND_KEY.into_iter().zip(row.outcomes) {
            let kept = world.keep().await;
            let fence = if row.what == "everything" { world.fence().await } else { kept.secret.clone() };
            let mut socket = Socket::open(&world, who, &kept.owner).await;
            let (outcome, all) = if socket.join("/ws/streams").await {
                subscribe(&mut socket, (row.ask)(&kept), &fence).await
            } else {
                (OUT.to_owned(), String::new())
            };
            if outcome != expected {
                found.push(format!("{who:?}: {} is {outcome} and not {expected}: {all}", row.what));
            }
            if !who.reads() && all.contains("Hush") {
                found.push(format!("{who:?}: {} tells: {all}", row.what));
            }
            if expected == "ok" && who.reads() && !all.contains(&kept.secret) {
                found.push(format!("{who:?}: {} does not tell {}: {all}", row.what, kept.secret));
            }
        }
    }
    assert!(found.is_empty(), "{} faults:\n{}", found.len(), found.join("\n"));
}

#[tokio::test]
async fn health_is_told_to_everybody() {
    let world = World::start().await;
    let kept = world.keep().await;
    for who in Who::AND_KEY {
        let mut socket = Socket::open(&world, who, &kept.owner).await;
        assert!(socket.join("/ws/health").await, "{who:?}");
        let greeting = socket.until(|packet| packet.contains("health_status")).await;
        assert!(!greeting.contains("Hush"), "{greeting}");
        let mut plain = format!("ws://{}/ws/health", world.address(who)).into_client_request().unwrap();
        if who != Who::ReadKey
            && let Some(authorization) = world.authorization(who, &kept.owner, "ApiKey").await
        {
            plain.headers_mut().insert("authorization", authorization.parse().unwrap());
        }
        let mut plain = Socket(connect_async(plain).await.unwrap().0);
        plain.until(|packet| packet.contains("health_status")).await;
    }
}
