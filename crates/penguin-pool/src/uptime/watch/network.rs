//! Checks over the network: HTTP, a whole handshake of Socket.IO, a TCP connection.

use super::check::Check;
use futures::{SinkExt as _, StreamExt as _};
use std::{error::Error as _, net::SocketAddr};
use tokio::net::TcpStream;
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

/// An HTTP request that must be answered with the right status. Redirects are not followed.
#[derive(Debug)]
pub(in crate::uptime) struct HttpCheck {
    pub(in crate::uptime) client: reqwest::Client,
    pub(in crate::uptime) url: String,
    /// The status that is right; nothing for any of 200 to 299.
    pub(in crate::uptime) status: Option<u16>,
}

/// A client for checks: a connection of its own for each, so that a listener that takes no more is found out.
pub(in crate::uptime) fn client(through_proxies: bool) -> Result<reqwest::Client, String> {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("penguin-pool/", env!("CARGO_PKG_VERSION"), " (uptime)"))
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(0);
    let builder = if through_proxies { builder } else { builder.no_proxy() };
    builder.build().map_err(|e| format!("no HTTP client can be made: {e}"))
}

#[async_trait::async_trait]
impl Check for HttpCheck {
    async fn check(&self) -> Result<(), String> {
        let response = self.client.get(&self.url).send().await.map_err(|e| root(&e))?;
        let status = response.status().as_u16();
        match self.status {
            Some(right) if status != right => Err(format!("answered {status} and not {right}")),
            None if !response.status().is_success() => Err(format!("answered {status}")),
            _ => Ok(()),
        }
    }
}

/// The last cause says what happened; what wraps it repeats the URL.
fn root(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    while let Some(next) = cause.and_then(std::error::Error::source) {
        cause = Some(next);
    }
    cause.map_or_else(|| "the request failed".to_owned(), ToString::to_string)
}

/// A TCP connection to `host:port`.
#[derive(Debug)]
pub(in crate::uptime) struct TcpCheck(pub(in crate::uptime) String);

#[async_trait::async_trait]
impl Check for TcpCheck {
    async fn check(&self) -> Result<(), String> {
        TcpStream::connect(&self.0).await.map(|_| ()).map_err(|e| e.to_string())
    }
}

/// The namespace whose handshake is made.
const NAMESPACE: &str = "/ws/health";

/// A whole handshake: WebSocket, Engine.IO 4 over it, and Socket.IO's connect to a namespace over that.
#[derive(Debug)]
pub(in crate::uptime) struct SocketIoCheck(pub(in crate::uptime) SocketAddr);

#[async_trait::async_trait]
impl Check for SocketIoCheck {
    async fn check(&self) -> Result<(), String> {
        let stream = TcpStream::connect(self.0).await.map_err(|e| e.to_string())?;
        let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", self.0);
        let (mut socket, _) =
            client_async(url, stream).await.map_err(|e| format!("no WebSocket handshake: {e}"))?;
        let open = text(&mut socket).await?;
        if !open.starts_with("0{") {
            return Err("no Engine.IO handshake: the first packet does not open a session".to_owned());
        }
        send(&mut socket, format!("40{NAMESPACE},")).await?;
        let (connected, refused) = (format!("40{NAMESPACE},"), format!("44{NAMESPACE},"));
        loop {
            match text(&mut socket).await? {
                packet if packet.starts_with(&connected) => break,
                packet if packet.starts_with(&refused) => {
                    return Err(format!("no Socket.IO handshake: {NAMESPACE} refuses"));
                }
                packet if packet == "2" => send(&mut socket, "3".to_owned()).await?,
                _ => {}
            }
        }
        // All is well: how politely the server parts is no part of the check.
        let _ = send(&mut socket, format!("41{NAMESPACE},")).await;
        let _ = socket.close(None).await;
        Ok(())
    }
}

async fn send(socket: &mut WebSocketStream<TcpStream>, packet: String) -> Result<(), String> {
    socket.send(Message::text(packet)).await.map_err(|e| format!("the WebSocket failed: {e}"))
}

/// The next packet that is text.
async fn text(socket: &mut WebSocketStream<TcpStream>) -> Result<String, String> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(packet))) => return Ok(packet.to_string()),
            Some(Ok(Message::Close(_))) | None => {
                return Err("the WebSocket was closed in the handshake".to_owned());
            }
            Some(Ok(_)) => {}
            Some(Err(e)) => return Err(format!("the WebSocket failed: {e}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Router, http::StatusCode, routing::get};
    use tokio::net::TcpListener;
    use tokio_tungstenite::accept_async;

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn http_is_right_by_its_status() {
        let (listener, address) = listener().await;
        let moved = get(async || (StatusCode::FOUND, [("location", "/ok")]));
        let router = Router::new()
            .route("/ok", get(async || "ok"))
            .route("/none", get(async || StatusCode::NO_CONTENT))
            .route("/broken", get(async || StatusCode::INTERNAL_SERVER_ERROR))
            .route("/moved", moved);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let check = async |path: &str, status| {
            let url = format!("http://{address}{path}");
            HttpCheck { client: client(false).unwrap(), url, status }.check().await
        };
        assert_eq!(check("/ok", None).await, Ok(()));
        assert_eq!(check("/none", Some(204)).await, Ok(()));
        assert_eq!(check("/ok", Some(204)).await, Err("answered 200 and not 204".to_owned()));
        assert_eq!(check("/broken", None).await, Err("answered 500".to_owned()));
        assert_eq!(check("/broken", Some(500)).await, Ok(()));
        assert_eq!(check("/moved", None).await, Err("answered 302".to_owned()));
    }

    #[tokio::test]
    async fn a_listener_that_is_gone_refuses() {
        let (listener, address) = listener().await;
        assert_eq!(TcpCheck(address.to_string()).check().await, Ok(()));
        drop(listener);
        let url = format!("http://{address}/");
        let http = HttpCheck { client: client(false).unwrap(), url, status: None };
        for refused in [
            TcpCheck(address.to_string()).check().await,
            http.check().await,
            SocketIoCheck(address).check().await,
        ] {
            let error = refused.unwrap_err();
            assert!(error.contains("refused"), "{error}");
        }
    }

    /// Plays a server that says one packet after the other, each to one of the client's.
    async fn played(packets: &'static [&'static str]) -> (Result<(), String>, Vec<String>) {
        let (listener, address) = listener().await;
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut socket = accept_async(stream).await.unwrap();
            let mut heard = Vec::new();
            for packet in packets {
                socket.send(Message::text(*packet)).await.unwrap();
                match socket.next().await {
                    Some(Ok(Message::Text(text))) => heard.push(text.to_string()),
                    _ => break,
                }
            }
            let _ = socket.close(None).await;
            heard
        });
        (SocketIoCheck(address).check().await, server.await.unwrap())
    }

    #[tokio::test]
    async fn a_handshake_goes_all_the_way() {
        let (checked, heard) =
            played(&[r#"0{"sid":"a","pingInterval":25000}"#, "2", r#"40/ws/health,{"sid":"b"}"#]).await;
        assert_eq!(checked, Ok(()));
        assert_eq!(heard, ["40/ws/health,", "3", "41/ws/health,"]);
    }

    #[tokio::test]
    async fn a_handshake_that_stops_anywhere_is_a_failure() {
        let (checked, _) = played(&["hello"]).await;
        assert!(checked.unwrap_err().contains("no Engine.IO handshake"));
        let (checked, _) = played(&["0{}", r#"44/ws/health,{"message":"no"}"#]).await;
        assert!(checked.unwrap_err().contains("/ws/health refuses"));
        let (checked, _) = played(&["0{}"]).await;
        assert!(checked.unwrap_err().contains("closed in the handshake"));

        let (listener, address) = listener().await;
        tokio::spawn(async move { axum::serve(listener, Router::new()).await });
        let error = SocketIoCheck(address).check().await.unwrap_err();
        assert!(error.contains("no WebSocket handshake") && error.contains("404"), "{error}");
    }
}
