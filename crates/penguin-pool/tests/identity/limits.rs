//! Limits: how often somebody may ask, by who they are and else by where they are, and how often they may log in.

use crate::{
    bed::{Bed, PASSWORD, ask, read, refused},
    face,
};
use futures::{SinkExt as _, StreamExt as _};
use kurrentdb_protocol::grpc::proto::event_store::client::{
    operations::operations_client::OperationsClient,
    streams::{ReadReq, read_req, streams_client::StreamsClient},
    users::{DeleteReq, delete_req, users_client::UsersClient},
};
use penguin_pool::security::accounts::Scope;
use reqwest::header::HeaderValue;
use serde_json::Value;
use std::time::Duration;
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};
use tonic::{Code, Request, transport::Endpoint};

/// Long enough for the slowest machine.
const LONG: Duration = Duration::from_secs(30);

async fn start(variables: &[(&str, &str)]) -> Bed {
    let bed = Bed::on(variables, None).await;
    bed.add("ada", &["admin"]).await;
    bed.add("bob", &[]).await;
    bed
}

#[tokio::test]
async fn an_address_may_try_to_log_in_only_so_often() {
    let bed = start(&[("RATE_LIMIT_MAX_LOGINS", "3"), ("RATE_LIMIT_WINDOW_MS", "60000")]).await;
    let log_in = |login: &str, password: &str| {
        bed.service.post("/api/auth/token").basic_auth(login, Some(password.to_owned()))
    };
    assert_eq!(ask(bed.browse().basic_auth("ada", Some(PASSWORD))).await.0, 200);
    refused(401, "authentication-failed", &ask(log_in("bob", "wrong")).await);
    assert_eq!(ask(log_in("ada", PASSWORD)).await.0, 200);
    for login in ["ada", "bob", "eve"] {
        let answer = log_in(login, PASSWORD).send().await.unwrap();
        assert_eq!(answer.headers()["retry-after"], "20", "{login}");
        refused(429, "rate-limited", &read(answer).await);
    }
    refused(429, "rate-limited", &ask(bed.browse().basic_auth("bob", Some(PASSWORD))).await);
    assert_eq!(ask(bed.browse().basic_auth("ada", Some(PASSWORD))).await.0, 200, "it is remembered");
    bed.clock.advance(Duration::from_secs(20));
    assert_eq!(ask(log_in("bob", PASSWORD)).await.0, 200);
    refused(429, "rate-limited", &ask(log_in("bob", PASSWORD)).await);
}

#[tokio::test]
async fn whoever_is_known_has_an_allowance_of_their_own() {
    let bed = start(&[("RATE_LIMIT_MAX_REQUESTS", "4")]).await;
    let (_, adas) = bed.key("ada", Scope::Read, None).await;
    let (_, bobs) = bed.key("bob", Scope::Read, None).await;
    let (_, bobs_other) = bed.key("bob", Scope::Read, None).await;
    for (key, left) in [(&bobs, "3"), (&bobs_other, "2"), (&bobs, "1"), (&bobs, "0")] {
        let answer = bed.browse().header("x-api-key", key).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["x-ratelimit-remaining"]),
            (200, &left.parse().unwrap())
        );
    }
    let over = bed.browse().header("x-api-key", &bobs_other).send().await.unwrap();
    assert!(over.headers().contains_key("retry-after"));
    refused(429, "rate-limited", &read(over).await);
    assert_eq!(ask(bed.browse().header("x-api-key", &adas)).await.0, 200, "bob's is not ada's");
}

#[tokio::test]
async fn what_is_not_proved_buys_no_allowance() {
    let bed = start(&[("RATE_LIMIT_MAX_REQUESTS", "4")]).await;
    let (id, good) = bed.key("ada", Scope::Admin, None).await;
    let bad = [
        bed.browse().bearer_auth("a.b.c"),
        bed.browse().header("x-api-key", format!("pp_{id}_wrong")),
        bed.service.get("/metrics").header("x-api-key", "pp_1_2"),
        bed.browse(),
    ];
    for request in bad {
        refused(401, "authentication-failed", &ask(request).await);
    }
    for request in [
        bed.browse().bearer_auth("d.e.f"),
        bed.browse().header("x-api-key", "pp_3_4"),
        bed.service.get("/metrics").header("x-api-key", "pp_5_6"),
        bed.browse(),
        // Whether this one is good is not looked at.
        bed.browse().header("x-api-key", &good),
    ] {
        refused(429, "rate-limited", &ask(request).await);
    }
    assert_eq!(bed.service.get("/health").send().await.unwrap().status(), 200);
    bed.clock.advance(Duration::from_secs(15));
    for _ in 0..4 {
        assert_eq!(ask(bed.browse().header("x-api-key", &good)).await.0, 200);
    }
    for _ in 0..9 {
        let metrics = bed.service.get("/metrics").header("x-api-key", &good).send().await.unwrap();
        assert_eq!(metrics.status(), 200, "who may see the metrics is not limited");
        assert!(!metrics.headers().contains_key("x-ratelimit-limit"));
    }
}

/// Four of everything for an address, which a proxy tells, and a trail.
const FOUR: [(&str, &str); 3] =
    [("RATE_LIMIT_MAX_REQUESTS", "4"), ("TRUSTED_PROXIES", "127.0.0.1"), ("AUDIT", "true")];

/// Where the refused tokens came from that are in the trail, oldest first, once an API key that is refused now is there too.
async fn refused_tokens(bed: &Bed, key: &str) -> Vec<String> {
    let marker = bed.browse().header("x-forwarded-for", "10.9.9.9").header("x-api-key", "nonsense");
    refused(401, "authentication-failed", &ask(marker).await);
    let there = async {
        loop {
            // Who asks has an allowance too.
            bed.clock.advance(Duration::from_secs(15));
            let asked = bed.service.get("/api/audit?outcome=authentication-failed&limit=1000");
            let (status, answer) = ask(asked.header("x-api-key", key)).await;
            assert_eq!(status, 200, "{answer}");
            let mut records = answer["data"]["records"].as_array().unwrap().clone();
            records.reverse();
            if records.iter().any(|record| record["action"] == "api-key") {
                return records;
            }
        }
    };
    let records: Vec<Value> = tokio::time::timeout(LONG, there).await.unwrap();
    let tokens = records.iter().filter(|record| record["action"] == "token");
    tokens.map(|record| record["address"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn who_guesses_by_kurrentdbs_protocol_spends_the_allowance_of_their_address() {
    let mut bed = start(&FOUR).await;
    let (_, key) = bed.key("ada", Scope::Admin, None).await;
    let address = face::serve(&mut bed).await;
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let (wrong, right) = ("Bearer a.b.c".to_owned(), format!("Bearer {key}"));
    let asked = |from: &str, login: &str| {
        let mut request = Request::new(());
        request.metadata_mut().insert("authorization", login.parse().unwrap());
        request.metadata_mut().insert("x-forwarded-for", from.parse().unwrap());
        request
    };
    let operate = async |from: &str, login: &str| {
        OperationsClient::new(channel.clone()).shutdown(asked(from, login)).await.unwrap_err().code()
    };
    let manage = async |from: &str, login: &str| {
        let delete = DeleteReq { options: Some(delete_req::Options { login_name: "eve".into() }) };
        let request = asked(from, login).map(|()| delete);
        UsersClient::new(channel.clone()).delete(request).await.unwrap_err().code()
    };
    let get = async |from: &[u8], login: &str| {
        let request = bed.service.client.get(format!("http://{address}/stats"));
        let from = HeaderValue::from_bytes(from).unwrap();
        let request = request.header("x-forwarded-for", from).header("authorization", login);
        request.send().await.unwrap().status().as_u16()
    };
    for _ in 0..9 {
        assert_eq!(operate("10.0.0.1", &right).await, Code::Unimplemented, "who is known is not counted");
        assert_eq!(manage("10.0.0.1", &right).await, Code::PermissionDenied, "a key manages no accounts");
        assert_eq!(get(b"10.0.0.1", &right).await, 200);
    }
    assert_eq!(operate("10.0.0.1", &wrong).await, Code::Unauthenticated);
    assert_eq!(manage("10.0.0.1", &wrong).await, Code::Unauthenticated);
    assert_eq!(get(b"10.0.0.1", &wrong).await, 401);
    assert_eq!(get(b"\xff, 10.0.0.1", &wrong).await, 401);
    for login in [&wrong, &wrong, &right] {
        assert_eq!(operate("10.0.0.1", login).await, Code::ResourceExhausted);
        assert_eq!(manage("10.0.0.1", login).await, Code::ResourceExhausted);
        assert_eq!(get(b"10.0.0.1", login).await, 429);
        assert_eq!(get(b"\xff, 10.0.0.1", login).await, 429);
    }
    let http = bed.browse().header("x-forwarded-for", "10.0.0.1").header("authorization", &right);
    refused(429, "rate-limited", &ask(http).await);
    for _ in 0..9 {
        assert_eq!(operate("10.0.0.2", &right).await, Code::Unimplemented, "another address goes on");
        assert_eq!(get(b"10.0.0.2", &right).await, 200);
    }
    assert_eq!(
        refused_tokens(&bed, &key).await,
        ["10.0.0.1"; 4],
        "what was not looked at is not written down"
    );
    assert_eq!(operate("10.0.0.1", &right).await, Code::Unimplemented, "it comes back");
}

#[tokio::test]
async fn who_guesses_over_one_socket_spends_the_allowance_of_their_address() {
    let bed = start(&FOUR).await;
    let (_, key) = bed.key("ada", Scope::Admin, None).await;
    let good = format!(r#"{{"token":"{key}"}}"#);
    let open = async |from: &str| {
        let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", bed.service.service.address());
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("x-forwarded-for", from.parse().unwrap());
        connect_async(request).await.unwrap().0
    };
    macro_rules! connect {
        ($socket:expr, $auth:expr) => {{
            $socket.send(Message::text(format!("40/ws/streams,{}", $auth))).await.unwrap();
            let answer = async {
                loop {
                    let text = $socket.next().await.unwrap().unwrap().into_text().unwrap().to_string();
                    if text.starts_with("40/") || text.starts_with("44/") {
                        return text;
                    }
                }
            };
            tokio::time::timeout(LONG, answer).await.unwrap()
        }};
    }
    // The handshake brought no credentials, and is counted too.
    let mut guesser = open("10.0.0.1").await;
    for _ in 0..3 {
        let answer = connect!(guesser, r#"{"token":"a.b.c"}"#);
        assert!(answer.starts_with("44/") && answer.contains("authentication-failed"), "{answer}");
    }
    for auth in [r#"{"token":"a.b.c"}"#, r#"{"token":"d.e.f"}"#, &good] {
        let answer = connect!(guesser, auth);
        assert!(answer.starts_with("44/") && answer.contains("rate-limited"), "{answer}");
    }
    let mut other = open("10.0.0.2").await;
    let answer = connect!(other, good);
    assert!(answer.starts_with("40/"), "another address goes on: {answer}");
    assert_eq!(
        refused_tokens(&bed, &key).await,
        ["10.0.0.1"; 3],
        "what was not looked at is not written down"
    );
    let answer = connect!(guesser, good);
    assert!(answer.starts_with("40/"), "it comes back: {answer}");
}

#[tokio::test]
async fn a_caller_has_so_many_calls_by_kurrentdbs_protocol() {
    let mut bed = start(&[("RATE_LIMIT_MAX_CALLS", "4")]).await;
    let (_, adas) = bed.key("ada", Scope::Admin, None).await;
    let (_, bobs) = bed.key("bob", Scope::Read, None).await;
    let address = face::serve(&mut bed).await;
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let asked = |key: &str| {
        let mut request = Request::new(());
        request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
        request
    };
    let operate =
        async |key: &str| OperationsClient::new(channel.clone()).shutdown(asked(key)).await.unwrap_err();
    let manage = async |key: &str| {
        let delete = DeleteReq { options: Some(delete_req::Options { login_name: "eve".into() }) };
        UsersClient::new(channel.clone()).delete(asked(key).map(|()| delete)).await.unwrap_err()
    };
    let get = async |key: &str| {
        let request = bed.service.client.get(format!("http://{address}/stats")).bearer_auth(key);
        request.send().await.unwrap()
    };
    // One call, however many messages it has.
    let read = async |key: &str| {
        let from = Some(read_req::all_options::From::Start(()));
        let options = read_req::Options {
            target: Some(read_req::options::Target::All(read_req::AllOptions { from })),
            kind: Some(read_req::options::Kind::Count(100)),
            uuid_option: Some(read_req::UuidOption { form: Some(read_req::uuid_option::Form::String(())) }),
            ..read_req::Options::default()
        };
        let request = asked(key).map(|()| ReadReq { options: Some(options) });
        let answer = StreamsClient::new(channel.clone()).read(request).await?;
        let messages: Vec<_> = answer.into_inner().collect().await;
        assert!(messages.len() > 1, "{messages:?}");
        Ok::<_, tonic::Status>(())
    };
    assert_eq!(operate(&adas).await.code(), Code::Unimplemented);
    assert_eq!(manage(&adas).await.code(), Code::PermissionDenied);
    assert_eq!(get(&adas).await.status(), 200);
    read(&adas).await.unwrap();
    for refused in [operate(&adas).await, manage(&adas).await, read(&adas).await.unwrap_err()] {
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert_eq!(refused.message(), "Too many requests; try again in 15 s");
    }
    let refused = get(&adas).await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (429, &"15".parse().unwrap()));
    assert_eq!(operate(&bobs).await.code(), Code::Unimplemented, "another caller goes on");
    let http = bed.browse().header("x-api-key", &adas);
    assert_eq!(ask(http).await.0, 200, "requests over HTTP have a limit of their own");
    let ping = bed.service.client.get(format!("http://{address}/ping")).send().await.unwrap();
    assert_eq!(ping.status(), 200, "what is told to everybody is not counted");
    bed.clock.advance(Duration::from_secs(15));
    assert_eq!(get(&adas).await.status(), 200, "it comes back");
    assert_eq!(get(&adas).await.status(), 429);
}
