//! Clients that behave badly: they begin a handshake and do not go on, or speak in plain.

use crate::bed::{Bed, PATIENCE};
use serde_json::Value;
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// The beginning of a handshake, and not the rest.
const BEGUN: &[u8] = &[0x16, 3, 1, 2, 0, 1];

#[tokio::test]
async fn a_handshake_that_stalls_keeps_nobody_out() {
    let bed = Bed::start().await;
    let mut stalled = Vec::new();
    for said in [&b""[..], BEGUN, BEGUN] {
        let mut stream = TcpStream::connect(bed.address()).await.unwrap();
        stream.write_all(said).await.unwrap();
        stalled.push(stream);
    }
    let response = bed.client().get(format!("{}/health", bed.service.url)).send().await.unwrap();
    assert_eq!(response.status(), 200);
    // Nor does it hold up the end: nobody asked anything yet.
    timeout(PATIENCE, bed.service.stop()).await.unwrap();
    drop(stalled);
}

async fn in_plain(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: here\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn who_speaks_in_plain_is_told_and_let_go() {
    let mut bed = Bed::start().await;
    for address in [bed.address(), bed.service.service.sockets_address()] {
        let answer = in_plain(address).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 ") && head.contains("connection: close"), "{head}");
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(
            (&body["statusCode"], &body["type"]),
            (&400.into(), &"validation-failed".into()),
            "{body}"
        );
        assert!(body["message"].as_str().unwrap().contains("TLS"), "{body}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = bed.service.service.serve_kurrentdb(listener).unwrap();
    let answer = in_plain(address).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("tls=true, or https.\n"), "{answer}");
}
