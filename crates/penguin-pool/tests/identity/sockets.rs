//! Sockets: who may connect to `/ws/streams`, and how they say who they are.

use crate::bed::Bed;
use futures::{SinkExt as _, StreamExt as _};
use penguin_pool::security::accounts::Scope;
use std::time::Duration;
use test_support::TestService;
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _},
};

/// Connects to a namespace with what is sent along, and gives the server's answer to that.
async fn connect(
    service: &TestService,
    namespace: &str,
    headers: &[(&'static str, String)],
    auth: &str,
) -> Result<String, u16> {
    let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", service.service.address());
    let mut request = url.into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let mut socket = match connect_async(request).await {
        Ok((socket, _)) => socket,
        Err(Error::Http(response)) => return Err(response.status().as_u16()),
        Err(error) => panic!("{error}"),
    };
    socket.send(Message::text(format!("40{namespace},{auth}"))).await.unwrap();
    let answer = async {
        loop {
            let text = socket.next().await.unwrap().unwrap().into_text().unwrap().to_string();
            if text.starts_with("40") || text.starts_with("44") {
                return text;
            }
        }
    };
    Ok(tokio::time::timeout(Duration::from_secs(30), answer).await.unwrap())
}

#[tokio::test]
async fn streams_are_followed_by_who_is_known_by_a_header_or_by_auth() {
    let bed = Bed::start().await;
    let service = &bed.service;
    let token = bed.token("bob").await;
    let (_, key) = bed.key("bob", Scope::Read, None).await;
    let bearer = [("authorization", format!("Bearer {token}"))];
    let with_key = [("x-api-key", key.clone())];
    for (headers, auth) in [
        (&bearer[..], String::new()),
        (&with_key, String::new()),
        (&[], format!(r#"{{"token":"{token}"}}"#)),
        (&[], format!(r#"{{"token":"{key}"}}"#)),
    ] {
        let answer = connect(service, "/ws/streams", headers, &auth).await.unwrap();
        assert!(answer.starts_with("40/ws/streams,"), "{answer}");
    }
    for auth in ["", "{}", r#"{"token":"a.b.c"}"#, r#"{"token":7}"#, r#"{"token":""}"#] {
        let answer = connect(service, "/ws/streams", &[], auth).await.unwrap();
        assert!(
            answer.starts_with("44/ws/streams,") && answer.contains("authentication-failed"),
            "{auth}: {answer}"
        );
    }
    let wrong = [("authorization", "Bearer a.b.c".to_owned())];
    assert_eq!(connect(service, "/ws/streams", &wrong, "").await, Err(401));
    let health = connect(service, "/ws/health", &[], "").await.unwrap();
    assert!(health.starts_with("40/ws/health,"), "health is for everybody: {health}");
}

#[tokio::test]
async fn where_nobody_is_asked_everybody_follows_streams() {
    let service = TestService::start().await;
    for auth in ["", r#"{"token":"a.b.c"}"#] {
        let answer = connect(&service, "/ws/streams", &[], auth).await.unwrap();
        assert!(answer.starts_with("40/ws/streams,"), "{answer}");
    }
}
