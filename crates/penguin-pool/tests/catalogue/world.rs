//! A store, a clock that stands still, and catalogues of the one by the other.

use event_store::{
    EventStore, ExpectedState, NewEvent, Position, StreamMetadata, StreamName, contract::Model,
};
use event_store_embedded::Engine;
use penguin_pool::catalogue::{Catalogue, Freshness, Options, Place};
use serde_json::Value;
use std::{path::Path, sync::Arc, time::Duration};
use test_support::{MockClock, SeededIds};
use uuid::Uuid;

pub(crate) struct World {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) clock: Arc<MockClock>,
    next: u64,
}

pub(crate) fn name(name: &str) -> StreamName {
    StreamName::new(name).unwrap()
}

impl World {
    pub(crate) fn new() -> Self {
        Self::seeded(7)
    }

    /// Worlds of the same seed give their stores the same id.
    pub(crate) fn seeded(seed: u64) -> Self {
        let clock = Arc::new(MockClock::new());
        let store = Model::new(Arc::<MockClock>::clone(&clock), Arc::new(SeededIds::new(seed)));
        Self { store: Arc::new(store), clock, next: 0 }
    }

    /// A world whose store is the embedded engine.
    pub(crate) fn embedded() -> Self {
        let clock = Arc::new(MockClock::new());
        let options = event_store_embedded::Options::in_memory()
            .clock(Arc::<MockClock>::clone(&clock))
            .ids(Arc::new(SeededIds::new(7)));
        let store = Engine::open(options).unwrap();
        Self { store: Arc::new(store), clock, next: 0 }
    }

    /// A world whose store is the embedded engine by way of KurrentDB's official client and its protocol.
    pub(crate) async fn on_a_kurrentdb() -> Self {
        let Self { store, clock, next } = Self::embedded();
        let store = test_support::as_kurrentdb(store, Arc::<MockClock>::clone(&clock)).await;
        Self { store, clock, next }
    }

    /// The same store, whose next events have ids that no other has.
    pub(crate) fn with_ids_from(mut self, next: u64) -> Self {
        self.next = next;
        self
    }

    pub(crate) fn next_id(&mut self) -> Uuid {
        self.next += 1;
        Uuid::from_u64_pair(1, self.next)
    }

    pub(crate) fn event(&mut self, kind: &str, data: &str) -> NewEvent {
        NewEvent::json(self.next_id(), kind, data.to_owned())
    }

    pub(crate) async fn append(&mut self, stream: &str, kind: &str, data: &[Value]) -> Position {
        let events = data.iter().map(|data| self.event(kind, &data.to_string())).collect();
        let appended = self.store.append(&name(stream), ExpectedState::Any, events).await.unwrap();
        appended.position.unwrap()
    }

    pub(crate) async fn describe(&mut self, stream: &str, metadata: Value) -> Position {
        let id = self.next_id();
        let metadata = StreamMetadata::from_json(metadata.to_string().as_bytes());
        let set = self.store.set_metadata(&name(stream), ExpectedState::Any, &metadata, id).await.unwrap();
        set.position.unwrap()
    }

    pub(crate) async fn open(&self, options: Options) -> Catalogue {
        let clock = Arc::<MockClock>::clone(&self.clock);
        Catalogue::open(options, Arc::clone(&self.store), clock).await.unwrap()
    }

    pub(crate) async fn open_file(&self, path: &Path) -> Catalogue {
        self.open(Options::new(Place::File(path.to_owned()))).await
    }

    pub(crate) async fn open_memory(&self) -> Catalogue {
        self.open(Options::new(Place::Memory)).await
    }

    /// Waits until the catalogue has taken in all that the store holds.
    pub(crate) async fn settle(&self, catalogue: &Catalogue) {
        if let Some(last) = self.store.last_position().await.unwrap() {
            assert_eq!(catalogue.wait_for(last, Duration::from_secs(20)).await, Freshness::Fresh);
        }
    }
}
