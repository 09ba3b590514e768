//! Places for what goes on: nobody takes everybody's.

use crate::bed::{Bed, ask, refused};
use futures::{SinkExt as _, StreamExt as _};
use penguin_pool::security::accounts::Scope;
use serde_json::Value;
use std::time::Duration;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _},
};

/// Long enough for the slowest machine.
const LONG: Duration = Duration::from_secs(30);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const SOCKET_IO: &str = "/socket.io/?EIO=4&transport=websocket";

/// Of twenty places strangers have ten, a network of theirs two, and a caller five.
async fn start() -> (Bed, [String; 2]) {
    let bed = Bed::on(&[("MAX_SOCKETS", "20"), ("TRUSTED_PROXIES", "127.0.0.1")], None).await;
    bed.add("ada", &["admin"]).await;
    bed.add("bob", &[]).await;
    let keys = [bed.key("ada", Scope::Read, None).await.1, bed.key("bob", Scope::Read, None).await.1];
    (bed, keys)
}

/// Opens a socket, or says why not.
async fn open(bed: &Bed, path: &str, from: &str, key: Option<&str>) -> Result<Socket, String> {
    let mut request = format!("ws://{}{path}", bed.service.service.address()).into_client_request().unwrap();
    request.headers_mut().insert("x-forwarded-for", from.parse().unwrap());
    if let Some(key) = key {
        request.headers_mut().insert("x-api-key", key.parse().unwrap());
    }
    match timeout(LONG, connect_async(request)).await.unwrap() {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => {
            let body: Value = serde_json::from_slice(response.body().as_ref().unwrap()).unwrap();
            assert_eq!(response.headers()["retry-after"], "5");
            Err(refused(429, "rate-limited", &(response.status().as_u16(), body)))
        }
        Err(error) => panic!("{error}"),
    }
}

/// The answer to a connect to `/ws/streams` with these credentials.
async fn prove(socket: &mut Socket, key: &str) -> String {
    socket.send(Message::text(format!(r#"40/ws/streams,{{"token":"{key}"}}"#))).await.unwrap();
    let answer = async {
        loop {
            let text = socket.next().await.unwrap().unwrap().into_text().unwrap().to_string();
            if text.starts_with("40/") || text.starts_with("44/") {
                return text;
            }
        }
    };
    timeout(LONG, answer).await.unwrap()
}

#[tokio::test]
async fn strangers_do_not_lock_out_who_is_known() {
    let (bed, [ada, bob]) = start().await;
    let mut strangers = Vec::new();
    for path in [SOCKET_IO, "/ws/health"] {
        strangers.push(open(&bed, path, "10.0.0.1", None).await.unwrap());
    }
    for path in [SOCKET_IO, "/ws/health"] {
        let why = open(&bed, path, "10.0.0.1", None).await.unwrap_err();
        assert!(
            why.contains("your network") && why.contains("2 sockets") && why.contains("say who"),
            "{why}"
        );
    }
    let polled = bed.service.get("/socket.io/?EIO=4&transport=polling").header("x-forwarded-for", "10.0.0.1");
    refused(429, "rate-limited", &ask(polled).await);
    for network in 2..6 {
        for _ in 0..2 {
            strangers.push(open(&bed, SOCKET_IO, &format!("10.0.0.{network}"), None).await.unwrap());
        }
    }
    let why = open(&bed, SOCKET_IO, "10.0.0.9", None).await.unwrap_err();
    assert!(why.contains("10 sockets") && why.contains("say who you are"), "{why}");

    // Who is known has a share of their own, from the strangers' addresses too.
    let mut bobs = Vec::new();
    for _ in 0..4 {
        bobs.push(open(&bed, SOCKET_IO, "10.0.0.1", Some(&bob)).await.unwrap());
    }
    // Who says so when they connect to the namespace goes over to it, and leaves the strangers a place.
    let mut late = strangers.pop().unwrap();
    let answer = prove(&mut late, &bob).await;
    assert!(answer.starts_with("40/"), "{answer}");
    bobs.push(late);
    let mut newcomer = open(&bed, SOCKET_IO, "10.0.0.9", None).await.unwrap();
    assert!(open(&bed, SOCKET_IO, "10.0.0.9", None).await.is_err());

    // And takes no more than that.
    let why = open(&bed, "/ws/health", "10.0.0.9", Some(&bob)).await.unwrap_err();
    assert!(why.contains("You have 5 sockets") && why.contains("close some"), "{why}");
    let answer = prove(&mut newcomer, &bob).await;
    assert!(answer.starts_with("44/") && answer.contains("rate-limited: You have 5 sockets"), "{answer}");
    bobs.push(open(&bed, "/ws/health", "10.0.0.9", Some(&ada)).await.unwrap());

    // Places come back.
    drop((strangers, bobs));
    let again = async {
        while open(&bed, SOCKET_IO, "10.0.0.1", None).await.is_err() {
            tokio::task::yield_now().await;
        }
        while open(&bed, SOCKET_IO, "10.0.0.1", Some(&bob)).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, again).await.expect("places came back");
}

#[tokio::test]
async fn who_is_known_no_longer_holds_a_strangers_place() {
    let (bed, _) = start().await;
    let (id, key) = bed.key("bob", Scope::Read, None).await;
    let mut sockets = Vec::new();
    for _ in 0..2 {
        let mut socket = open(&bed, SOCKET_IO, "10.0.0.1", None).await.unwrap();
        assert!(prove(&mut socket, &key).await.starts_with("40/"));
        sockets.push(socket);
    }
    bed.service.service.identity().accounts().revoke_key(&id, "system").await.unwrap();
    let refused = async {
        loop {
            match open(&bed, "/ws/health", "10.0.0.1", None).await {
                Ok(socket) => drop(socket),
                Err(why) => return why,
            }
            tokio::task::yield_now().await;
        }
    };
    let why = timeout(LONG, refused).await.expect("the network's share is spent");
    assert!(why.contains("your network"), "{why}");
}

#[tokio::test]
async fn strangers_do_not_decide_whether_the_service_finds_itself_well() {
    let bed = Bed::on(&[("MAX_SOCKETS", "10"), ("TRUSTED_PROXIES", "127.0.0.1")], None).await;
    let _strangers = futures::future::join_all((1..6).map(|network| {
        let bed = &bed;
        async move { open(bed, "/ws/health", &format!("10.0.0.{network}"), None).await.unwrap() }
    }))
    .await;
    assert!(open(&bed, "/ws/health", "10.0.0.9", None).await.is_err());
    let health: Value = ask(bed.service.get("/health/comprehensive")).await.1;
    assert_eq!(health["services"]["websocket"]["connections"], 5, "{health}");
    assert_eq!(health["services"]["websocket"]["error"], Value::Null, "{health}");
    let forged = bed.service.get("/socket.io/?EIO=4&transport=polling").header("x-forwarded-for", "10.0.0.9");
    refused(429, "rate-limited", &ask(forged.header("x-penguin-pool-check", "me")).await);
}

#[tokio::test]
async fn one_caller_does_not_take_all_feeds() {
    let bed = Bed::on(&[("MAX_SUBSCRIPTIONS", "4")], None).await;
    bed.add("ada", &["admin"]).await;
    bed.add("bob", &[]).await;
    let (_, ada) = bed.key("ada", Scope::Read, None).await;
    let (_, bob) = bed.key("bob", Scope::Read, None).await;
    let feed = |key: &str| bed.service.get("/api/streams/all/subscribe").header("x-api-key", key);
    let mut feeds = Vec::new();
    for key in [&bob, &bob, &ada] {
        let answer = feed(key).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        feeds.push(answer);
    }
    let why = refused(429, "rate-limited", &ask(feed(&bob)).await);
    assert!(why.starts_with("You have 2 subscriptions open"), "{why}");
    feeds.push(feed(&ada).send().await.unwrap());
    assert_eq!(feeds[3].status(), 200);
}
