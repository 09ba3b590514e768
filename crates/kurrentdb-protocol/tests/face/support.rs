//! A node on a free port, and clients of it.

use axum::{Router, routing::get};
use event_store::{
    AllPage, Appended, AppendedMany, Capabilities, Deleted, Error, EventStore, ExpectedState, NewEvent,
    RandomIds, ReadAll, ReadStream as Read, Result, StoreId, StoreState, StoreStatistics, StreamInfo,
    StreamName, StreamPage, StreamWrite, SubscribeAll, SubscribeStream, Subscription, SystemClock,
};
use event_store_embedded::{Engine, Options};
use kurrentdb::{Client, EventData, ReadStream, ResolvedEvent};
use kurrentdb_protocol::{Face, FaceOptions, Gate, Limits, OpenGate, Served, serve};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use tonic::transport::{Channel, Endpoint};

/// Long enough for a busy machine; whoever waits longer waits for what never comes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Started {
    pub(crate) address: SocketAddr,
    pub(crate) store: Arc<dyn EventStore>,
    counted: Arc<Counted>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Served>,
}

/// A node over an empty store.
pub(crate) async fn start() -> Started {
    start_with(Limits::default(), None).await
}

pub(crate) async fn start_with(limits: Limits, advertise: Option<(String, u16)>) -> Started {
    start_behind(|store| Arc::new(OpenGate(store)), limits, advertise).await
}

/// A node behind a gate of the test's own.
pub(crate) async fn start_behind(
    gate: impl FnOnce(Arc<dyn EventStore>) -> Arc<dyn Gate>,
    limits: Limits,
    advertise: Option<(String, u16)>,
) -> Started {
    let store: Arc<dyn EventStore> = Arc::new(Engine::open(Options::in_memory()).unwrap());
    serve_over(Arc::clone(&store), Some(store), gate, limits, advertise).await
}

/// A node over a store that was there before.
pub(crate) async fn start_over(store: Arc<dyn EventStore>, limits: Limits) -> Started {
    serve_over(Arc::clone(&store), Some(store), |store| Arc::new(OpenGate(store)), limits, None).await
}

/// A node whose callers may not read the streams whose names begin with one of these, though the node itself may.
pub(crate) async fn start_refusing(refused: &'static [&'static str]) -> Started {
    let store: Arc<dyn EventStore> = Arc::new(Engine::open(Options::in_memory()).unwrap());
    let gate = |store| Arc::new(OpenGate(store)) as Arc<dyn Gate>;
    serve_refusing(Arc::clone(&store), Some(store), gate, Limits::default(), None, refused).await
}

/// A node that keeps what is its own by way of another store than its callers'.
pub(crate) async fn start_with_own(store: Arc<dyn EventStore>, own: Arc<dyn EventStore>) -> Started {
    serve_over(store, Some(own), |store| Arc::new(OpenGate(store)), Limits::default(), None).await
}

/// A node that has no store of its own.
pub(crate) async fn start_without_own() -> Started {
    let store = Arc::new(Engine::open(Options::in_memory()).unwrap());
    serve_over(store, None, |store| Arc::new(OpenGate(store)), Limits::default(), None).await
}

async fn serve_over(
    store: Arc<dyn EventStore>,
    own: Option<Arc<dyn EventStore>>,
    gate: impl FnOnce(Arc<dyn EventStore>) -> Arc<dyn Gate>,
    limits: Limits,
    advertise: Option<(String, u16)>,
) -> Started {
    serve_refusing(store, own, gate, limits, advertise, &[]).await
}

async fn serve_refusing(
    store: Arc<dyn EventStore>,
    own: Option<Arc<dyn EventStore>>,
    gate: impl FnOnce(Arc<dyn EventStore>) -> Arc<dyn Gate>,
    limits: Limits,
    advertise: Option<(String, u16)>,
    refused: &'static [&'static str],
) -> Started {
    let counted = Arc::new(Counted { store: Arc::clone(&store), pages: AtomicUsize::new(0), refused });
    let gate = gate(Arc::clone(&counted) as Arc<dyn EventStore>);
    let options = FaceOptions::new(gate, Arc::new(SystemClock), Arc::new(RandomIds));
    let face = Face::new(FaceOptions { own, limits, advertise, ..options });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let http = Router::new().route("/ping", get(|| async { "pong" }));
    let served = tokio::spawn(serve(listener, face, http, PATIENCE, async {
        let _ = stopped.await;
    }));
    Started { address, store, counted, stop, served }
}

impl Started {
    /// The official client.
    pub(crate) fn client(&self) -> Client {
        client(&format!("kurrentdb://{}?tls=false", self.address))
    }

    /// A bare connection, for what the official client does not say.
    pub(crate) async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    /// How many pages of `$all` the node has read from its store.
    pub(crate) fn pages(&self) -> usize {
        self.counted.pages.load(Ordering::SeqCst)
    }

    /// Stops serving.
    pub(crate) async fn stop(self) -> Served {
        self.stop.send(()).unwrap();
        within(self.served).await.unwrap()
    }
}

pub(crate) fn client(connection: &str) -> Client {
    Client::new(connection.parse().unwrap()).unwrap()
}

/// The result, unless it never comes.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it never came")
}

pub(crate) fn event(event_type: &str, number: u64) -> EventData {
    EventData::json(event_type, &serde_json::json!({ "number": number })).unwrap().id(id())
}

pub(crate) fn events(count: u64) -> Vec<EventData> {
    (0..count).map(|n| event("counted", n)).collect()
}

pub(crate) fn id() -> uuid::Uuid {
    use event_store::IdSource;
    RandomIds.next_id()
}

pub(crate) async fn all_of(read: &mut ReadStream) -> Vec<ResolvedEvent> {
    let mut events = Vec::new();
    while let Some(event) = within(read.next()).await.unwrap() {
        events.push(event);
    }
    events
}

pub(crate) fn revisions(events: &[ResolvedEvent]) -> Vec<u64> {
    events.iter().map(|e| e.get_original_event().revision).collect()
}

/// A store that counts the pages of `$all` that are read from it, and refuses some streams.
#[derive(Debug)]
struct Counted {
    store: Arc<dyn EventStore>,
    pages: AtomicUsize,
    refused: &'static [&'static str],
}

impl Counted {
    fn check(&self, stream: &StreamName) -> Result<()> {
        match self.refused.iter().any(|refused| stream.as_str().starts_with(refused)) {
            // A user's stream is refused as if it were not there.
            true if stream.as_str().starts_with("user-") => Err(Error::StreamNotFound(stream.clone())),
            true => Err(Error::AccessDenied(stream.clone())),
            false => Ok(()),
        }
    }
}

#[tonic::async_trait]
impl EventStore for Counted {
    async fn id(&self) -> Result<StoreId> {
        self.store.id().await
    }
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
    fn state(&self) -> StoreState {
        self.store.state()
    }
    async fn statistics(&self) -> Result<StoreStatistics> {
        self.store.statistics().await
    }
    async fn append(
        &self,
        stream: &StreamName,
        expected: ExpectedState,
        events: Vec<NewEvent>,
    ) -> Result<Appended> {
        self.store.append(stream, expected, events).await
    }
    async fn append_many(&self, writes: Vec<StreamWrite>) -> Result<AppendedMany> {
        self.store.append_many(writes).await
    }
    async fn read_stream(&self, stream: &StreamName, read: Read) -> Result<StreamPage> {
        self.check(stream)?;
        self.store.read_stream(stream, read).await
    }
    async fn read_all(&self, read: ReadAll) -> Result<AllPage> {
        self.pages.fetch_add(1, Ordering::SeqCst);
        self.store.read_all(read).await
    }
    async fn stream_info(&self, stream: &StreamName) -> Result<StreamInfo> {
        self.store.stream_info(stream).await
    }
    async fn subscribe_stream(&self, stream: &StreamName, options: SubscribeStream) -> Result<Subscription> {
        self.check(stream)?;
        self.store.subscribe_stream(stream, options).await
    }
    async fn subscribe_all(&self, options: SubscribeAll) -> Result<Subscription> {
        self.store.subscribe_all(options).await
    }
    async fn delete(&self, stream: &StreamName, expected: ExpectedState) -> Result<Deleted> {
        self.store.delete(stream, expected).await
    }
    async fn tombstone(&self, stream: &StreamName, expected: ExpectedState) -> Result<Deleted> {
        self.store.tombstone(stream, expected).await
    }
    async fn close(&self) -> Result<()> {
        self.store.close().await
    }
}
