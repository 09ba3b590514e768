//! What credentials opened ends with them: feeds, sockets, and KurrentDB's subscriptions.

use crate::bed::{Bed, PASSWORD};
use futures::{FutureExt as _, SinkExt as _, StreamExt as _, future::LocalBoxFuture};
use kurrentdb::{Client, PersistentSubscriptionEvent, SubscribeToPersistentSubscriptionOptions};
use kurrentdb_protocol::grpc::proto::event_store::client::streams::{
    BatchAppendReq, streams_client::StreamsClient,
};
use penguin_pool::security::accounts::Scope;
use reqwest::Response;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{net::TcpListener, time::timeout};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};
use tonic::{Code, Request, transport::Endpoint};

/// Generous: only a test that fails waits this long.
const PATIENCE: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(3600);

type Deed = Box<dyn for<'a> Fn(&'a Bed) -> LocalBoxFuture<'a, ()>>;
/// Credentials, as the header that they come in, and what makes them good no more.
type End = (&'static str, (&'static str, String), Deed);

fn does<F>(deed: F) -> Deed
where
    F: for<'a> Fn(&'a Bed) -> LocalBoxFuture<'a, ()> + 'static,
{
    Box::new(deed)
}

/// Every way in which credentials of bob's end.
async fn ends(bed: &Bed) -> Vec<End> {
    // bob:correct-horse
    let basic = || ("authorization", "Basic Ym9iOmNvcnJlY3QtaG9yc2U=".to_owned());
    let token = ("authorization", format!("Bearer {}", bed.token("bob").await));
    let (revoked, first) = bed.key("bob", Scope::Write, None).await;
    let (_, second) = bed.key("bob", Scope::Read, Some(HOUR / 2)).await;
    vec![
        (
            "its account has other roles",
            basic(),
            does(|bed| {
                async move {
                    let accounts = bed.service.service.identity().accounts();
                    accounts.update("bob", None, Some(vec!["lender".into()]), "ada").await.unwrap();
                }
                .boxed_local()
            }),
        ),
        (
            "its key is revoked",
            ("x-api-key", first),
            does(move |bed| {
                let key = revoked.clone();
                async move {
                    bed.service.service.identity().accounts().revoke_key(&key, "ada").await.unwrap();
                }
                .boxed_local()
            }),
        ),
        (
            "its key expires",
            ("x-api-key", second),
            does(|bed| async move { bed.clock.advance(HOUR / 2) }.boxed_local()),
        ),
        (
            "its token expires",
            token,
            does(|bed| async move { bed.clock.advance(HOUR / 2 + Duration::from_secs(30)) }.boxed_local()),
        ),
        (
            "its account has another password",
            basic(),
            does(|bed| {
                async move {
                    let identity = bed.service.service.identity();
                    let hash = identity.passwords().hash(PASSWORD.into()).await.unwrap();
                    identity.accounts().set_password("bob", hash, "ada").await.unwrap();
                }
                .boxed_local()
            }),
        ),
        (
            "its account is disabled",
            basic(),
            does(|bed| {
                async move {
                    let accounts = bed.service.service.identity().accounts();
                    accounts.set_enabled("bob", false, "ada").await.unwrap();
                    accounts.set_enabled("bob", true, "ada").await.unwrap();
                    accounts.set_enabled("bob", false, "ada").await.unwrap();
                }
                .boxed_local()
            }),
        ),
        (
            "its account is deleted",
            ("authorization", String::new()),
            does(|bed| {
                async move { bed.service.service.identity().accounts().delete("bob", "ada").await.unwrap() }
                    .boxed_local()
            }),
        ),
    ]
}

async fn open(bed: &Bed, (name, value): &(&'static str, String)) -> Response {
    let feed = bed.service.get("/api/streams/all/subscribe").header(*name, value).send().await.unwrap();
    assert_eq!(feed.status(), 200);
    feed
}

/// All that a feed says, up to its end.
async fn rest(mut feed: Response) -> String {
    let mut said = Vec::new();
    let read = async {
        while let Some(chunk) = feed.chunk().await.unwrap() {
            said.extend_from_slice(&chunk);
        }
    };
    timeout(PATIENCE, read).await.unwrap();
    String::from_utf8(said).unwrap()
}

#[tokio::test]
async fn a_feed_ends_with_an_error_when_its_credentials_do_and_others_go_on() {
    let bed = Bed::start().await;
    let others = bed.service.get("/api/streams/all/subscribe").basic_auth("ada", Some(PASSWORD));
    let mut others = others.send().await.unwrap();
    for (why, mut credentials, end) in ends(&bed).await {
        if credentials.1.is_empty() {
            bed.service.service.identity().accounts().set_enabled("bob", true, "ada").await.unwrap();
            credentials.1 = format!("Bearer {}", bed.token("bob").await);
        }
        let feed = open(&bed, &credentials).await;
        end(&bed).await;
        let said = rest(feed).await;
        let last = said.trim_end().rsplit("\n\n").next().unwrap();
        let data = last.strip_prefix("event: error\ndata: ").unwrap_or_else(|| panic!("{why}: {said}"));
        let error: Value = serde_json::from_str(data).unwrap();
        assert_eq!(error["type"], "authentication-failed", "{why}: {error}");
        let again = bed.service.get("/api/streams/all/subscribe").header(credentials.0, &credentials.1);
        let again = again.send().await.unwrap().status();
        // Whoever has other roles now, or the password that was the same text, comes in again, as who they are now.
        assert!(again == 401 || why.contains("roles") || why.contains("password"), "{why}: {again}");
    }
    let written = json!({ "streamName": "lends", "eventType": "Lent", "eventData": {} });
    let written = bed.service.post("/api/streams/create").basic_auth("ada", Some(PASSWORD)).json(&written);
    assert_eq!(written.send().await.unwrap().status(), 201);
    let lent = async {
        let mut said = Vec::new();
        while !String::from_utf8_lossy(&said).contains("Lent") {
            said.extend_from_slice(&others.chunk().await.unwrap().expect("it ended"));
        }
    };
    timeout(PATIENCE, lent).await.unwrap();
}

#[tokio::test]
async fn a_socket_is_told_where_to_go_on_and_parted_with() {
    let bed = Bed::start().await;
    let (key, text) = bed.key("bob", Scope::Read, None).await;
    let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", bed.service.service.address());
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("x-api-key", text.parse().unwrap());
    let (mut socket, _) = connect_async(request).await.unwrap();
    let mut said = async |packet: &str, until: &str| {
        if !packet.is_empty() {
            socket.send(Message::text(packet)).await.unwrap();
        }
        let heard = async {
            loop {
                let text = socket.next().await.unwrap().unwrap().into_text().unwrap().to_string();
                if text.starts_with(until) {
                    return text;
                }
            }
        };
        timeout(PATIENCE, heard).await.unwrap_or_else(|_| panic!("nothing like {until}"))
    };
    said("40/ws/streams,", "40/ws/streams,").await;
    let taken = said(r#"42/ws/streams,1["subscribe",{"all":true}]"#, "43/ws/streams,1").await;
    assert!(taken.contains(r#""success":true"#), "{taken}");
    said("", r#"42/ws/streams,["caught_up""#).await;
    bed.service.service.identity().accounts().revoke_key(&key, "ada").await.unwrap();
    let told = said("", r#"42/ws/streams,["subscription_error""#).await;
    assert!(told.contains("authentication-failed") && told.contains(r#""resume""#), "{told}");
    said("", "41/ws/streams,").await;
    // The connection is still there, and what it began with is good for nothing.
    let refused = said("40/ws/streams,", "44/ws/streams,").await;
    assert!(refused.contains("authentication-failed"), "{refused}");
    let token = bed.token("bob").await;
    said(&format!(r#"40/ws/streams,{{"token":"{token}"}}"#), "40/ws/streams,").await;
}

#[tokio::test]
async fn subscriptions_by_kurrentdbs_protocol_end_too() {
    let mut bed = Bed::start().await;
    bed.add("eve", &["admin"]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = bed.service.service.serve_kurrentdb(listener).unwrap();
    let settings = format!("kurrentdb://eve:{PASSWORD}@{address}?tls=false");
    let client = Client::new(settings.parse().unwrap()).unwrap();
    client.create_persistent_subscription("lends", "group", &Default::default()).await.unwrap();
    let mut caught_up = client.subscribe_to_all(&Default::default()).await;
    let options = SubscribeToPersistentSubscriptionOptions::default();
    let mut consumer = client.subscribe_to_persistent_subscription("lends", "group", &options).await.unwrap();
    let first = timeout(PATIENCE, consumer.next_subscription_event()).await.unwrap().unwrap();
    assert!(matches!(first, PersistentSubscriptionEvent::Confirmed(_)), "{first:?}");
    timeout(PATIENCE, caught_up.next_subscription_event()).await.unwrap().unwrap();
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let mut batch = Request::new(futures::stream::pending::<BatchAppendReq>());
    // eve:correct-horse
    batch.metadata_mut().insert("authorization", "Basic ZXZlOmNvcnJlY3QtaG9yc2U=".parse().unwrap());
    let mut batch = StreamsClient::new(channel).batch_append(batch).await.unwrap().into_inner();
    bed.service.service.identity().accounts().set_enabled("eve", false, "ada").await.unwrap();
    let refused = timeout(PATIENCE, batch.message()).await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    let ended = async {
        loop {
            if let Err(error) = caught_up.next_subscription_event().await {
                return error;
            }
        }
    };
    let error = timeout(PATIENCE, ended).await.unwrap();
    assert!(matches!(error, kurrentdb::Error::AccessDenied), "{error:?}");
    let error = timeout(PATIENCE, consumer.next_subscription_event()).await.unwrap().unwrap_err();
    assert!(matches!(error, kurrentdb::Error::AccessDenied), "{error:?}");
}
