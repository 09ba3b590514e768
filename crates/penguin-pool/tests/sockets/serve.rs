//! Sockets that are served on a free port, over a store in memory.

use bytes::Bytes;
use event_store::{EventStore, ExpectedState, IdSource, NewEvent, StreamName};
use event_store_embedded::{Engine, Options as EngineOptions};
use penguin_pool::{
    catalogue::{self, Catalogue, Place},
    security::{Caller, Gate},
    streams::Streams,
    websocket::{HealthFeed, Heartbeat, Options, PATIENCE, REPEAT, Sockets},
};
use std::{net::SocketAddr, sync::Arc};
use test_support::{Line, MockClock, SeededIds};
use tokio::net::TcpListener;

/// Sockets, served, and what is behind them.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) sockets: Sockets,
    pub(crate) health: HealthFeed,
    pub(crate) store: Arc<dyn EventStore>,
    /// The sockets' way to it.
    pub(crate) line: Arc<Line>,
    pub(crate) ids: SeededIds,
}

/// Serves sockets that are as they are unless a test says otherwise.
pub(crate) async fn serve(change: impl FnOnce(&mut Options)) -> Served {
    let (clock, ids) = (Arc::new(MockClock::new()), Arc::new(SeededIds::new(1)));
    let engine = EngineOptions::in_memory().clock(clock.clone()).ids(ids.clone());
    let store: Arc<dyn EventStore> = Arc::new(Engine::open(engine).unwrap());
    let options = catalogue::Options::new(Place::Memory);
    let catalogue = Catalogue::open(options, Arc::clone(&store), clock.clone()).await.unwrap();
    let line = Arc::new(Line::new(Arc::clone(&store)));
    let health = HealthFeed::new(clock.clone());
    let mut options = Options {
        allowed_origins: vec!["http://localhost:3000".into()],
        max_sockets: 100,
        repeat: REPEAT,
        heartbeat: Heartbeat::default(),
        health: health.clone(),
        streams: Streams::new(Gate::new(Arc::<Line>::clone(&line)), catalogue, clock.clone(), ids),
        max_subscriptions: 1000,
        patience: PATIENCE,
        clock,
        identity: None,
        limiter: None,
    };
    change(&mut options);
    let sockets = Sockets::new(options);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = sockets.router().layer(axum::Extension(Caller::system()));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Served { address, sockets, health, store, line, ids: SeededIds::new(2) }
}

impl Served {
    /// Appends events of one type with these bodies.
    pub(crate) async fn append(
        &self,
        stream: &str,
        event_type: &str,
        bodies: impl IntoIterator<Item = String>,
    ) {
        let events = bodies
            .into_iter()
            .map(|body| NewEvent::json(self.ids.next_id(), event_type, Bytes::from(body)))
            .collect();
        let name = StreamName::new(stream).unwrap();
        self.store.append(&name, ExpectedState::Any, events).await.unwrap();
    }

    /// Appends events that are numbered so.
    pub(crate) async fn number(&self, stream: &str, numbers: std::ops::Range<u64>) {
        self.append(stream, "Numbered", numbers.map(|n| format!("{{\"n\":{n}}}"))).await;
    }
}
