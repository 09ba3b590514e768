//! A started service, and short ways to ask it.

use axum::Router;
use event_store::{
    Clock, EventStore, ExpectedState, IdSource, NewEvent, RandomIds, StreamName, contract::Model,
};
use penguin_pool::{
    catalogue::{Catalogue, Options, Place},
    http::{self, Context, Documents},
    security::{Caller, Encrypted, Gate, Keys},
    streams::{self, Streams},
    users::{self, Users},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use test_support::{Backend, MockClock, SeededIds};

/// What keeps the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The plain model of a store.
    Model,
    /// The embedded engine by way of KurrentDB's official client and its protocol.
    Kurrentdb,
}

impl Kind {
    /// A store without events.
    pub(crate) async fn open(self, clock: &Arc<MockClock>) -> Arc<dyn EventStore> {
        let (clock, ids) = (Arc::<MockClock>::clone(clock), Arc::new(SeededIds::new(7)));
        if self == Self::Model {
            return Arc::new(Model::new(clock, ids));
        }
        Backend::Kurrentdb.open(clock, ids).await
    }
}

/// A service on a free port, its store and its clock.
pub(crate) struct Service {
    pub(crate) url: String,
    pub(crate) client: reqwest::Client,
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) clock: Arc<MockClock>,
    pub(crate) documents: Documents,
    pub(crate) catalogue: Catalogue,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// The body; null if it is no JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// The data of a success with this status.
    #[track_caller]
    pub(crate) fn data(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        let mut body = self.json();
        assert_eq!(
            (&body["success"], &body["timestamp"]),
            (&json!(true), &json!("2024-01-15T10:30:00.000Z"))
        );
        body["data"].take()
    }

    /// The body of a failure with this status and type, which is held to the one form that failures have.
    #[track_caller]
    pub(crate) fn failure(&self, status: u16, kind: &str) -> Value {
        let body = self.json();
        assert_eq!((self.status, &body["type"]), (status, &json!(kind)), "{}", self.text);
        assert_eq!(body["statusCode"], status);
        assert_eq!(
            (&body["success"], &body["timestamp"]),
            (&json!(false), &json!("2024-01-15T10:30:00.000Z"))
        );
        assert_eq!(body["requestId"].as_str(), self.headers["x-request-id"].to_str().ok());
        assert!(body["error"].as_str().is_some_and(|e| e.ends_with("Error")), "{body}");
        assert!(body["message"].as_str().is_some_and(|m| !m.is_empty()), "{body}");
        body
    }
}

/// What the events of a page of a search may have together.
pub(crate) const PAGE_BYTES: usize = 10_000;

impl Service {
    pub(crate) async fn start() -> Self {
        Self::start_on(Kind::Model).await
    }

    pub(crate) async fn start_on(kind: Kind) -> Self {
        let clock = Arc::new(MockClock::new());
        let store = kind.open(&clock).await;
        Self::start_over(Arc::clone(&store), store, clock, Duration::from_secs(20)).await
    }

    /// A service before a store that stands before a plain one.
    pub(crate) async fn start_behind<S: EventStore>(
        before: impl FnOnce(Arc<dyn EventStore>) -> Arc<S>,
    ) -> Self {
        let clock = Arc::new(MockClock::new());
        let store: Arc<dyn EventStore> = before(Kind::Model.open(&clock).await);
        Self::start_over(Arc::clone(&store), store, clock, Duration::from_secs(20)).await
    }

    pub(crate) async fn start_with_a_catalogue_that_stands_still() -> Self {
        let clock = Arc::new(MockClock::new());
        let (store, catalogued) = (Kind::Model.open(&clock).await, Kind::Model.open(&clock).await);
        Self::start_over(store, catalogued, clock, Duration::from_millis(1)).await
    }

    async fn start_over(
        store: Arc<dyn EventStore>,
        catalogued: Arc<dyn EventStore>,
        clock: Arc<MockClock>,
        patience: Duration,
    ) -> Self {
        let its_clock = Arc::<MockClock>::clone(&clock);
        let catalogue = Catalogue::open(Options::new(Place::Memory), catalogued, its_clock).await.unwrap();
        let (router, documents) =
            router(&store, catalogue.clone(), Arc::<MockClock>::clone(&clock), patience, Caller::system());
        let url = serve(router).await;
        Self { url, client: reqwest::Client::new(), store, clock, documents, catalogue }
    }

    /// The same service, as somebody else sees it.
    pub(crate) async fn seen_by(&self, caller: Caller) -> Self {
        let (store, catalogue) = (Arc::clone(&self.store), self.catalogue.clone());
        let clock = Arc::clone(&self.clock);
        let its_clock = Arc::<MockClock>::clone(&clock);
        let (router, documents) =
            router(&store, catalogue.clone(), its_clock, Duration::from_secs(20), caller);
        let url = serve(router).await;
        Self { url, client: self.client.clone(), store, clock, documents, catalogue }
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method.parse().unwrap(), format!("{}{path}", self.url))
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, text: response.text().await.unwrap() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(self.request("DELETE", path)).await
    }

    /// Sends JSON as it stands.
    pub(crate) async fn send_text(&self, method: &str, path: &str, text: impl Into<String>) -> Answer {
        let request = self.request(method, path).header("content-type", "application/json");
        self.send(request.body(text.into())).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send_text("POST", path, body.to_string()).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send_text("PATCH", path, body.to_string()).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.send_text("PUT", path, body.to_string()).await
    }

    /// Creates a stream whose first event is number 0.
    pub(crate) async fn create(&self, name: &str) -> Value {
        let body = json!({ "streamName": name, "eventType": "Made", "eventData": { "n": 0 } });
        self.post("/api/streams/create", body).await.data(201)
    }

    /// Appends an event with this number, as a client of KurrentDB's protocol does.
    pub(crate) async fn append_elsewhere(&self, name: &str, n: u64) {
        let event = NewEvent::json(RandomIds.next_id(), "Added", json!({ "n": n }).to_string());
        let name = StreamName::new(name).unwrap();
        self.store.append(&name, ExpectedState::Any, vec![event]).await.unwrap();
    }

    /// Appends an event with this number; gives where it was written.
    pub(crate) async fn append(&self, name: &str, n: u64) -> Value {
        let body = json!({ "eventType": "Added", "eventData": { "n": n } });
        self.post(&format!("/api/streams/{name}/events"), body).await.data(201)
    }
}

/// Serves it on a free port.
async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, router).await });
    url
}

fn router(
    store: &Arc<dyn EventStore>,
    catalogue: Catalogue,
    clock: Arc<dyn Clock>,
    patience: Duration,
    caller: Caller,
) -> (Router, Documents) {
    let ids: Arc<dyn IdSource> = Arc::new(SeededIds::new(8));
    let keys = Keys::none();
    let gate = Gate::new(Arc::new(Encrypted::new(Arc::clone(store), keys.clone())));
    let users = Users::new(gate.clone(), catalogue.clone(), keys, Arc::clone(&clock), Arc::clone(&ids));
    let users = users.with_patience(patience);
    let streams = Streams::new(gate, catalogue, Arc::clone(&clock), Arc::clone(&ids))
        .with_patience(patience)
        .with_page_bytes(PAGE_BYTES);
    let (router, documents) = http::build(|| streams::routes(streams).merge(users::routes(users))).unwrap();
    let context = Context { clock, ids };
    (
        router
            .layer(axum::Extension(caller))
            .layer(axum::middleware::from_fn_with_state(context, http::context)),
        documents,
    )
}

/// The numbers that a page's events carry.
pub(crate) fn numbers(page: &Value) -> Vec<u64> {
    page["events"].as_array().unwrap().iter().filter_map(|e| e["data"]["n"].as_u64()).collect()
}
