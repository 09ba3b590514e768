//! The laws, through the official client, the face and the embedded engine. Not on a real KurrentDB yet.
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
        Arc::new(KurrentDb::new(Options::connect(&connection).unwrap()).unwrap())
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

mod face {
    use super::*;

    fn subject() -> ThroughTheFace {
        let directory = tempfile::tempdir().unwrap();
        ThroughTheFace { directory, clock: Arc::default(), node: Mutex::default() }
    }

    event_store::contract_tests!(subject);
}
