//! Who takes a place and says nothing gives it back, whatever they left half done.

use crate::{
    client::{Client, PATIENCE, WebSocket, connect},
    serve::{Served, serve},
};
use futures::{SinkExt as _, StreamExt as _};
use penguin_pool::websocket::Heartbeat;
use serde_json::Value;
use std::{net::SocketAddr, time::Duration};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message};

/// Longer than a test waits.
const NEVER: Duration = Duration::from_secs(600);
const SOON: Duration = Duration::from_millis(200);

async fn left(served: &Served, open: usize) {
    let left = async {
        while served.sockets.open_now() != open {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, left).await.unwrap_or_else(|_| panic!("{} are open still", served.sockets.open_now()));
}

/// A handshake of Engine.IO, and nothing after it.
async fn handshake(address: SocketAddr) -> WebSocket {
    connect(address, "/socket.io/?EIO=4&transport=websocket", None).await.unwrap().0
}

/// The same by long polls: the address at which it would go on.
async fn poll(address: SocketAddr) -> String {
    let url = format!("http://{address}/socket.io/?EIO=4&transport=polling");
    let open = reqwest::get(&url).await.unwrap().text().await.unwrap();
    let open: Value = serde_json::from_str(open.strip_prefix('0').unwrap()).unwrap();
    format!("{url}&sid={}", open["sid"].as_str().unwrap())
}

#[tokio::test]
async fn who_says_nothing_after_the_handshake_loses_the_place() {
    // The library lets go of a connection only when that is over too.
    let served = serve(|o| o.heartbeat = Heartbeat { interval: SOON, timeout: SOON, connect: SOON }).await;
    let _websocket = handshake(served.address).await;
    let _polling = poll(served.address).await;
    let (_plain, _) = connect(served.address, "/ws/health", None).await.unwrap();
    left(&served, 0).await;
}

#[tokio::test]
async fn who_never_says_what_they_came_for_loses_the_place_however_alive() {
    let served = serve(|o| o.heartbeat = Heartbeat { interval: SOON, timeout: NEVER, connect: SOON }).await;
    let mut alive = handshake(served.address).await;
    let mut client = Client::websocket(served.address, "/ws/health").await;
    let pongs = async {
        while let Some(Ok(message)) = alive.next().await {
            if message.to_text().is_ok_and(|text| text == "2")
                && alive.send(Message::text("3")).await.is_err()
            {
                break;
            }
        }
    };
    timeout(PATIENCE, pongs).await.expect("it is closed");
    left(&served, 1).await;
    client.expect("connection").await;
}

#[tokio::test]
async fn a_connection_that_was_to_go_on_over_a_websocket_ends_with_it() {
    let served = serve(|o| o.heartbeat = Heartbeat { interval: SOON, timeout: NEVER, connect: NEVER }).await;
    for last_words in ["", "nonsense", "2probe"] {
        let url = poll(served.address).await;
        let (_, sid) = url.rsplit_once("sid=").unwrap();
        // From here on no time-out for who came for nothing holds any more.
        let connected = reqwest::Client::new().post(&url).body("40/ws/health,").send().await.unwrap();
        assert_eq!(connected.status(), 200);
        let path = format!("/socket.io/?EIO=4&transport=websocket&sid={sid}");
        let (mut websocket, _) = connect(served.address, &path, None).await.unwrap();
        let again = connect(served.address, &path, None).await;
        let Err(Error::Http(refused)) = again else { panic!("{again:?}") };
        assert_eq!(refused.status(), 400, "one WebSocket, for one place");
        assert_eq!(served.sockets.open_now(), 1);
        if !last_words.is_empty() {
            websocket.send(Message::text(last_words)).await.unwrap();
        }
        drop(websocket);
        left(&served, 0).await;
    }
}
