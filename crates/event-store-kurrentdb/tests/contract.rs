//! The laws, through the official client, the face and the embedded engine; with `KURRENTDB_TEST_URL` set to a connection
//! string, on the server that it names instead.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what fails here fails the test")]

mod support;

use event_store::{Clock, EventStore, contract::Subject};
use event_store_kurrentdb::{KurrentDb, Options};
use std::{path::Path, sync::Arc, time::Duration};
use support::Node;
use tempfile::TempDir;
use test_support::{MockClock, SeededIds};
use tokio::sync::Mutex;

/// A node of the law's own.
struct ThroughTheFace {
    directory: TempDir,
    clock: Arc<MockClock>,
    node: Mutex<Option<Node>>,
}

impl ThroughTheFace {
    async fn open(&self) -> Arc<dyn EventStore> {
        let mut node = self.node.lock().await;
        if let Some(running) = node.take() {
            running.stop().await;
        }
        let engine = event_store_embedded::Options::at(Path::new(self.directory.path()))
            .clock(self.clock.clone())
            .ids(Arc::new(SeededIds::new(1)));
        let started = Node::start(engine, self.clock.clone()).await;
        let connection = format!("kurrentdb://{}?tls=false", started.address);
        *node = Some(started);
        Arc::new(KurrentDb::new(Options::connect(&connection).unwrap().derived_streams()).unwrap())
    }
}

#[async_trait::async_trait]
impl Subject for ThroughTheFace {
    async fn store(&self) -> Arc<dyn EventStore> {
        self.open().await
    }

    async fn reopen(&self) -> Option<Arc<dyn EventStore>> {
        Some(self.open().await)
    }

    fn move_clock(&self, seconds: i64) -> bool {
        let by = Duration::from_secs(seconds.unsigned_abs());
        match seconds {
            0.. => self.clock.advance(by),
            _ => self.clock.set(self.clock.now().minus(by)),
        }
        true
    }
}

/// A server that somebody else runs: it may be shared, and its clock and its life are its own.
struct Elsewhere(String);

#[async_trait::async_trait]
impl Subject for Elsewhere {
    async fn store(&self) -> Arc<dyn EventStore> {
        Arc::new(KurrentDb::new(Options::connect(&self.0).unwrap()).unwrap())
    }

    async fn reopen(&self) -> Option<Arc<dyn EventStore>> {
        Some(self.store().await)
    }

    fn move_clock(&self, _: i64) -> bool {
        false
    }
}

mod face {
    use super::*;

    fn subject() -> Box<dyn Subject> {
        if let Ok(connection) = std::env::var("KURRENTDB_TEST_URL") {
            return Box::new(Elsewhere(connection));
        }
        let directory = tempfile::tempdir().unwrap();
        Box::new(ThroughTheFace { directory, clock: Arc::default(), node: Mutex::default() })
    }

    event_store::contract_tests!(subject);
}
