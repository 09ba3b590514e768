//! The laws, on a directory and in memory.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use event_store::{Clock, EventStore, contract::Subject};
use event_store_embedded::{Engine, Options};
use std::{num::NonZeroUsize, path::Path, sync::Arc, time::Duration};
use tempfile::TempDir;
use test_support::{MockClock, SeededIds};

/// An engine on a directory, or in memory where there is none.
struct Embedded {
    directory: Option<TempDir>,
    clock: Arc<MockClock>,
}

impl Embedded {
    fn open(&self) -> Arc<dyn EventStore> {
        let directory = self.directory.as_ref().map_or(Path::new(":memory:"), TempDir::path);
        // Small segments, batches and caches, so that the laws also hold where one ends and the next begins.
        let options = Options::at(directory)
            .segment_bytes(16 << 10)
            .index_batches(50, Duration::from_millis(20))
            .cached_heads(NonZeroUsize::new(3).unwrap())
            .clock(self.clock.clone())
            .ids(Arc::new(SeededIds::new(1)));
        Arc::new(Engine::open(options).unwrap())
    }
}

#[async_trait::async_trait]
impl Subject for Embedded {
    async fn store(&self) -> Arc<dyn EventStore> {
        self.open()
    }

    async fn reopen(&self) -> Option<Arc<dyn EventStore>> {
        self.directory.as_ref().map(|_| self.open())
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

mod directory {
    use super::*;

    fn subject() -> Embedded {
        Embedded { directory: Some(tempfile::tempdir().unwrap()), clock: Arc::default() }
    }

    event_store::contract_tests!(subject);
}

mod memory {
    use super::*;

    fn subject() -> Embedded {
        Embedded { directory: None, clock: Arc::default() }
    }

    event_store::contract_tests!(subject);
}
