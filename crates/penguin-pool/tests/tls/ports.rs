//! What is spoken by TLS: everything.

use crate::bed::{Bed, PATIENCE, connect};
use futures::{SinkExt as _, StreamExt as _};
use kurrentdb::{AppendToStreamOptions, Client, EventData};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::timeout};
use tokio_tungstenite::{client_async, tungstenite::Message};

#[tokio::test]
async fn http_is_spoken_by_tls_to_whoever_believes_the_certificate() {
    let bed = Bed::start().await;
    assert!(bed.service.url.starts_with("https://"), "{}", bed.service.url);
    let response = bed.client().get(format!("{}/health", bed.service.url)).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["strict-transport-security"], "max-age=31536000; includeSubDomains");
    let health: Value = response.json().await.unwrap();
    assert_eq!(health["kurrentdb_url"], "kurrentdb://localhost:2113?tls=true");
    // The rest of the world does not know it.
    assert!(bed.service.get("/health").send().await.unwrap_err().is_connect());
    let connection = connect(bed.address(), &bed.pair, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(connection.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let sockets = connect(bed.service.service.sockets_address(), &bed.pair, &["http/1.1"]).await.unwrap();
    assert_eq!(sockets.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[tokio::test]
async fn websockets_run_over_it_on_both_ports() {
    let bed = Bed::start().await;
    for address in [bed.address(), bed.service.service.sockets_address()] {
        let connection = connect(address, &bed.pair, &["http/1.1"]).await.unwrap();
        let url = format!("wss://localhost:{}/socket.io/?EIO=4&transport=websocket", address.port());
        let (mut socket, _) = client_async(url, connection).await.unwrap();
        socket.send(Message::text("40/ws/health,")).await.unwrap();
        let greeted = async {
            while let Some(Ok(message)) = socket.next().await {
                if message.to_text().is_ok_and(|text| text.starts_with("42/ws/health,")) {
                    return;
                }
            }
            panic!("it ended before it was greeted");
        };
        timeout(PATIENCE, greeted).await.unwrap();
    }
}

#[tokio::test]
async fn the_official_client_of_kurrentdb_comes_in_by_tls() {
    let mut bed = Bed::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = bed.service.service.serve_kurrentdb(listener).unwrap();
    let connection = connect(address, &bed.pair, &["h2"]).await.unwrap();
    assert_eq!(connection.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let settings = format!(
        "kurrentdb://localhost:{}?tls=true&tlsCaFile={}",
        address.port(),
        bed.files.certificate().display()
    );
    let client = Client::new(settings.parse().unwrap()).unwrap();
    let event = EventData::json("Lent", &json!({ "n": 1 })).unwrap();
    client.append_to_stream("loan-1", &AppendToStreamOptions::default(), event).await.unwrap();
    let mut read = client.read_stream("loan-1", &Default::default()).await.unwrap();
    assert_eq!(read.next().await.unwrap().unwrap().get_original_event().event_type, "Lent");
    // The node's own interface, and where its links lead.
    let url = format!("https://localhost:{}/streams/loan-1?embed=body", address.port());
    let page: Value = bed.client().get(url).send().await.unwrap().json().await.unwrap();
    let link = format!("https://localhost:{}/streams/loan-1", address.port());
    assert_eq!(page["id"], Value::from(link), "{page}");
}

#[tokio::test]
async fn the_service_sees_its_own_listeners_by_tls() {
    let bed = Bed::start().await;
    let health = async || {
        let asked = bed.client().get(format!("{}/health/comprehensive", bed.service.url)).send();
        asked.await.unwrap().json::<Value>().await.unwrap()
    };
    let well = health().await;
    for listener in ["http", "websocket"] {
        assert_eq!(well["services"][listener]["status"], "healthy", "{well}");
    }
}
