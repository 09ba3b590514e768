//! Checks over the network: HTTP, a whole handshake of Socket.IO, a TCP connection.

use super::check::Check;
use crate::{security::OwnPass, server::Tls};
use axum::http::HeaderValue;
use futures::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use std::{error::Error as _, net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, client::IntoClientRequest as _, protocol::WebSocketConfig},
};

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
    builder(through_proxies).build().map_err(|e| format!("no HTTP client can be made: {e}"))
}

/// A client for the check of this process's own listener: of its certificate, and of no other.
pub(in crate::uptime) fn own_client(tls: Option<&Tls>) -> Result<reqwest::Client, String> {
    let builder = match tls {
        Some(tls) => builder(false).use_preconfigured_tls(tls.client()?),
        None => builder(false),
    };
    builder.build().map_err(|e| format!("no HTTP client can be made: {e}"))
}

/// What every such client has in common.
pub(super) fn builder(through_proxies: bool) -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("penguin-pool/", env!("CARGO_PKG_VERSION"), " (uptime)"))
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(0);
    if through_proxies { builder } else { builder.no_proxy() }
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
pub(super) fn root(error: &reqwest::Error) -> String {
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

/// The longest message of a handshake, in bytes.
const LONGEST: usize = 64 << 10;

/// The namespace whose handshake is made.
const NAMESPACE: &str = "/ws/health";

/// A whole handshake: TLS if it is on, WebSocket, Engine.IO 4 over it, and Socket.IO's connect to a namespace over that.
pub(in crate::uptime) struct SocketIoCheck {
    address: SocketAddr,
    tls: Option<TlsConnector>,
    pass: OwnPass,
}

impl std::fmt::Debug for SocketIoCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SocketIoCheck").field("address", &self.address).finish_non_exhaustive()
    }
}

impl SocketIoCheck {
    /// Of this process's own listener, what is spoken there, and what is to be shown.
    ///
    /// # Errors
    /// A sentence if no TLS client can be made.
    pub(in crate::uptime) fn new(
        address: SocketAddr,
        tls: Option<&Tls>,
        pass: OwnPass,
    ) -> Result<Self, String> {
        let tls = tls.map(Tls::client).transpose()?.map(|config| TlsConnector::from(Arc::new(config)));
        Ok(Self { address, tls, pass })
    }
}

#[async_trait::async_trait]
impl Check for SocketIoCheck {
    async fn check(&self) -> Result<(), String> {
        let stream = TcpStream::connect(self.address).await.map_err(|e| e.to_string())?;
        let Some(tls) = &self.tls else { return self.over(stream, "ws").await };
        let name = ServerName::IpAddress(self.address.ip().into());
        let stream = tls.connect(name, stream).await.map_err(|e| format!("no TLS handshake: {e}"))?;
        self.over(stream, "wss").await
    }
}

impl SocketIoCheck {
    async fn over(&self, stream: impl AsyncRead + AsyncWrite + Unpin, scheme: &str) -> Result<(), String> {
        let url = format!("{scheme}://{}/socket.io/?EIO=4&transport=websocket", self.address);
        let shown = HeaderValue::from_str(self.pass.show()).map_err(|e| format!("no pass: {e}"))?;
        let mut request = url.into_client_request().map_err(|e| format!("no WebSocket handshake: {e}"))?;
        request.headers_mut().insert(OwnPass::HEADER, shown);
        // What a handshake says is short: one who says more is not believed.
        let config = WebSocketConfig::default().max_message_size(Some(LONGEST)).max_frame_size(Some(LONGEST));
        let (mut socket, _) = client_async_with_config(request, stream, Some(config))
            .await
            .map_err(|e| format!("no WebSocket handshake: {e}"))?;
        let opened = text(&mut socket).await?;
        if !opened.strip_prefix('0').is_some_and(names_a_session) {
            return Err("no Engine.IO handshake: the first packet does not open a session".to_owned());
        }
        send(&mut socket, format!("40{NAMESPACE},")).await?;
        let (connected, refused) = (format!("40{NAMESPACE},"), format!("44{NAMESPACE},"));
        loop {
            let packet = text(&mut socket).await?;
            if packet.strip_prefix(&connected).is_some_and(names_a_session) {
                break;
            }
            if packet.starts_with(&refused) {
                return Err(format!("no Socket.IO handshake: {NAMESPACE} refuses"));
            }
            if packet != "2" {
                return Err(format!("no Socket.IO handshake: the answer of {NAMESPACE} is no answer"));
            }
            send(&mut socket, "3".to_owned()).await?;
        }
        // All is well: how politely the server parts is no part of the check.
        let _ = send(&mut socket, format!("41{NAMESPACE},")).await;
        let _ = socket.close(None).await;
        Ok(())
    }
}

/// Whether what opens something says what it is called from now on.
fn names_a_session(json: &str) -> bool {
    #[derive(Deserialize)]
    struct Opened {
        sid: String,
    }
    serde_json::from_str::<Opened>(json).is_ok_and(|opened| !opened.sid.is_empty())
}

async fn send<T>(socket: &mut WebSocketStream<T>, packet: String) -> Result<(), String>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    socket.send(Message::text(packet)).await.map_err(|e| format!("the WebSocket failed: {e}"))
}

/// The next packet that is text.
async fn text<T>(socket: &mut WebSocketStream<T>) -> Result<String, String>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(packet))) => return Ok(packet.to_string()),
            Some(Ok(Message::Close(_))) | None => {
                return Err("the WebSocket was closed in the handshake".to_owned());
            }
            Some(Ok(Message::Binary(_))) => return Err("the handshake is answered in binary".to_owned()),
            Some(Ok(_)) => {}
            Some(Err(e)) => return Err(format!("the WebSocket failed: {e}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uptime::{target::Kind, watch::look};
    use axum::{Router, http::StatusCode, routing::get};
    use models::ServiceState;
    use std::time::Duration;
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
        for refused in
            [TcpCheck(address.to_string()).check().await, http.check().await, own(address).check().await]
        {
            let error = refused.unwrap_err();
            assert!(error.contains("refused"), "{error}");
        }
    }

    fn own(address: SocketAddr) -> SocketIoCheck {
        SocketIoCheck::new(address, None, OwnPass::new().unwrap()).unwrap()
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
        (own(address).check().await, server.await.unwrap())
    }

    #[tokio::test]
    async fn a_handshake_goes_all_the_way() {
        let (checked, heard) =
            played(&[r#"0{"sid":"a","pingInterval":25000}"#, "2", r#"40/ws/health,{"sid":"b"}"#]).await;
        assert_eq!(checked, Ok(()));
        assert_eq!(heard, ["40/ws/health,", "3", "41/ws/health,"]);
    }

    #[tokio::test]
    async fn a_handshake_that_hangs_after_each_step_is_down_in_time() {
        for packets in [0, 1, 2] {
            let (listener, address) = listener().await;
            let server = tokio::spawn(async move {
                let (stream, _) = listener.accept().await.unwrap();
                if packets == 0 {
                    return futures::future::pending::<()>().await;
                }
                let mut socket = accept_async(stream).await.unwrap();
                if packets == 2 {
                    socket.send(Message::text(r#"0{"sid":"a","pingInterval":25000}"#)).await.unwrap();
                }
                futures::future::pending().await
            });
            let (check, thresholds) = (own(address), Kind::OwnWebsocket.thresholds());
            let seen = look(&check, Duration::from_millis(200), thresholds, &event_store::SystemClock).await;
            assert_eq!(seen.status, ServiceState::Down, "{packets}");
            assert_eq!(seen.sight.error.as_deref(), Some("no answer within 200 ms"), "{packets}");
            server.abort();
        }
    }

    #[tokio::test]
    async fn a_handshake_answered_in_binary_or_at_length_is_a_failure() {
        for (message, why) in [
            (Message::binary(vec![0; 9]), "in binary"),
            (Message::text("0".repeat(LONGEST + 1)), "the WebSocket failed"),
        ] {
            let (listener, address) = listener().await;
            let server = tokio::spawn(async move {
                let (stream, _) = listener.accept().await.unwrap();
                let mut socket = accept_async(stream).await.unwrap();
                let _ = socket.send(message).await;
                while socket.next().await.is_some_and(|frame| frame.is_ok()) {}
            });
            let error = own(address).check().await.unwrap_err();
            assert!(error.contains(why), "{error}");
            server.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_handshake_that_stops_anywhere_is_a_failure() {
        const OPEN: &str = r#"0{"sid":"a"}"#;
        for (packets, why) in [
            (&["hello"] as &[&str], "no Engine.IO handshake"),
            (&["0{}"], "no Engine.IO handshake"),
            (&[r#"0{"sid":""}"#], "no Engine.IO handshake"),
            (&["42/ws/health,[]"], "no Engine.IO handshake"),
            (&[OPEN], "closed in the handshake"),
            (&[OPEN, r#"44/ws/health,{"message":"no"}"#], "/ws/health refuses"),
            (&[OPEN, "40/ws/health,{}"], "is no answer"),
            (&[OPEN, "40{\"sid\":\"b\"}"], "is no answer"),
            (&[OPEN, "\u{0}\u{1}"], "is no answer"),
            (&[OPEN, "2", "1"], "is no answer"),
        ] {
            let (checked, _) = played(packets).await;
            let error = checked.unwrap_err();
            assert!(error.contains(why), "{packets:?}: {error}");
        }

        let (listener, address) = listener().await;
        tokio::spawn(async move { axum::serve(listener, Router::new()).await });
        let error = own(address).check().await.unwrap_err();
        assert!(error.contains("no WebSocket handshake") && error.contains("404"), "{error}");
    }
}
