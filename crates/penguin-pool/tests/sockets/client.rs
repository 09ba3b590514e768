//! A Socket.IO client by hand: what is on the wire is what is tested.

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use std::{collections::VecDeque, net::SocketAddr, time::Duration};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest as _, handshake::client::Response},
};

/// Longer than anything here takes on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) type WebSocket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Opens a WebSocket.
pub(crate) async fn connect(
    address: SocketAddr,
    path: &str,
    origin: Option<&str>,
) -> Result<(WebSocket, Response), tokio_tungstenite::tungstenite::Error> {
    let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
    if let Some(origin) = origin {
        request.headers_mut().insert("origin", origin.parse().unwrap());
    }
    timeout(PATIENCE, connect_async(request)).await.expect("no answer to the handshake")
}

/// A Socket.IO client on one namespace, by WebSocket or by long polls.
pub(crate) struct Client {
    transport: Transport,
    namespace: String,
    acknowledgements: u64,
    /// Packets that came while something else was waited for.
    early: VecDeque<String>,
}

enum Transport {
    WebSocket(Box<WebSocket>),
    Polling { http: reqwest::Client, url: String, packets: VecDeque<String> },
}

impl Client {
    /// Connects by WebSocket alone.
    pub(crate) async fn websocket(address: SocketAddr, namespace: &str) -> Self {
        let (mut socket, _) = connect(address, "/socket.io/?EIO=4&transport=websocket", None).await.unwrap();
        let open = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
        assert!(open.to_text().unwrap().starts_with("0{"), "{open:?}");
        Self::begin(Transport::WebSocket(Box::new(socket)), namespace).await
    }

    /// Connects by long polls alone.
    pub(crate) async fn polling(address: SocketAddr, namespace: &str) -> Self {
        let http = reqwest::Client::new();
        let url = format!("http://{address}/socket.io/?EIO=4&transport=polling");
        let open = http.get(&url).send().await.unwrap().text().await.unwrap();
        let open: Value = serde_json::from_str(open.strip_prefix('0').unwrap()).unwrap();
        let url = format!("{url}&sid={}", open["sid"].as_str().unwrap());
        Self::begin(Transport::Polling { http, url, packets: VecDeque::new() }, namespace).await
    }

    async fn begin(transport: Transport, namespace: &str) -> Self {
        let namespace = namespace.to_owned();
        let mut client = Self { transport, namespace, acknowledgements: 0, early: VecDeque::new() };
        client.send(&format!("40{},", client.namespace)).await;
        let answer = client.packet().await.unwrap();
        assert!(answer.starts_with(&format!("40{},{{\"sid\":", client.namespace)), "{answer}");
        client
    }

    /// Sends a packet as it stands.
    pub(crate) async fn send(&mut self, packet: &str) {
        match &mut self.transport {
            Transport::WebSocket(socket) => socket.send(Message::text(packet)).await.unwrap(),
            Transport::Polling { http, url, .. } => {
                let answer = http.post(&*url).body(packet.to_owned()).send().await.unwrap();
                assert_eq!(answer.status(), 200);
            }
        }
    }

    /// Posts a packet as it stands, whatever the answer.
    pub(crate) async fn post(&mut self, packet: &str) {
        let Transport::Polling { http, url, .. } = &self.transport else { panic!("only by long polls") };
        http.post(url).body(packet.to_owned()).send().await.unwrap();
    }

    /// The next packet that is no ping; nothing when the connection ended.
    async fn packet(&mut self) -> Option<String> {
        loop {
            let packet = match &mut self.transport {
                Transport::WebSocket(socket) => {
                    match timeout(PATIENCE, socket.next()).await.expect("nothing came") {
                        Some(Ok(Message::Text(text))) => text.to_string(),
                        Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                        Some(Ok(_)) => continue,
                    }
                }
                Transport::Polling { http, url, packets } => {
                    while packets.is_empty() {
                        let answer = timeout(PATIENCE, http.get(&*url).send()).await.expect("nothing came");
                        let answer = answer.unwrap();
                        if answer.status() != 200 {
                            return None;
                        }
                        let text = answer.text().await.unwrap();
                        packets.extend(text.split('\u{1e}').filter(|p| !p.is_empty()).map(str::to_owned));
                    }
                    packets.pop_front().unwrap()
                }
            };
            match packet.as_str() {
                "2" => match &self.transport {
                    Transport::WebSocket(_) => self.send("3").await,
                    // The connection may end meanwhile, and the next poll says so.
                    Transport::Polling { .. } => self.post("3").await,
                },
                "1" => return None,
                _ => return Some(packet),
            }
        }
    }

    /// The next event: its name and what it carries. Nothing when the connection ended.
    pub(crate) async fn event(&mut self) -> Option<(String, Value)> {
        let packet = match self.early.pop_front() {
            Some(packet) => packet,
            None => self.packet().await?,
        };
        let body =
            packet.strip_prefix(&format!("42{},", self.namespace)).unwrap_or_else(|| panic!("{packet}"));
        let Value::Array(mut parts) = serde_json::from_str(body).unwrap() else { panic!("{packet}") };
        let data = parts.pop().unwrap();
        Some((parts.pop().unwrap().as_str().unwrap().to_owned(), data))
    }

    /// The next event as it stands on the wire, behind its namespace.
    pub(crate) async fn text(&mut self) -> String {
        let packet = match self.early.pop_front() {
            Some(packet) => packet,
            None => self.packet().await.unwrap(),
        };
        packet
            .strip_prefix(&format!("42{},", self.namespace))
            .unwrap_or_else(|| panic!("{packet}"))
            .to_owned()
    }

    /// The next event, which must have this name.
    pub(crate) async fn expect(&mut self, name: &str) -> Value {
        let (found, data) = self.event().await.unwrap_or_else(|| panic!("ended instead of {name}"));
        assert_eq!(found, name, "{data}");
        data
    }

    /// The next event of this name, whatever comes before.
    pub(crate) async fn until(&mut self, name: &str) -> Value {
        loop {
            let (found, data) = self.event().await.unwrap_or_else(|| panic!("ended instead of {name}"));
            if found == name {
                return data;
            }
        }
    }

    /// Emits an event and waits for its acknowledgement.
    pub(crate) async fn ask(&mut self, event: &str, data: Value) -> Value {
        self.acknowledgements += 1;
        let (id, namespace) = (self.acknowledgements, self.namespace.clone());
        self.send(&format!("42{namespace},{id}{}", json!([event, data]))).await;
        let prefix = format!("43{namespace},{id}");
        loop {
            let packet = self.packet().await.expect("ended instead of an acknowledgement");
            if let Some(answer) = packet.strip_prefix(&prefix) {
                let answer: Value = serde_json::from_str(answer).unwrap();
                return answer[0].clone();
            }
            self.early.push_back(packet);
        }
    }

    /// Goes over from long polls to a WebSocket, as browsers do; packets that were polled meanwhile are kept.
    pub(crate) async fn upgrade(mut self, address: SocketAddr) -> Self {
        let Transport::Polling { http, url, mut packets } = self.transport else { panic!("only from polls") };
        let (_, sid) = url.rsplit_once("sid=").unwrap();
        let path = format!("/socket.io/?EIO=4&transport=websocket&sid={sid}");
        let (mut socket, _) = connect(address, &path, None).await.unwrap();
        socket.send(Message::text("2probe")).await.unwrap();
        let polled = http.get(&url).send().await.unwrap().text().await.unwrap();
        packets.extend(polled.split('\u{1e}').filter(|p| p.len() > 1).map(str::to_owned));
        let answer = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(answer.to_text().unwrap(), "3probe");
        socket.send(Message::text("5")).await.unwrap();
        self.early.extend(packets);
        Self { transport: Transport::WebSocket(Box::new(socket)), ..self }
    }

    /// Ends the connection.
    pub(crate) async fn close(mut self) {
        self.send(&format!("41{},", self.namespace)).await;
        if let Transport::WebSocket(mut socket) = self.transport {
            let _ = socket.close().await;
        }
    }
}
