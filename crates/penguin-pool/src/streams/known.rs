//! What is remembered of streams that were appended to, so that an append need not look first.

use event_store::{ExpectedState, StreamName};
use lru::LruCache;
use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How many streams are remembered, those of the latest appends: a few megabytes at the very most.
const STREAMS: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// For streams that are not new and not archived: where their metadata stood when that was seen.
///
/// A hint that cannot mislead: what stands at a revision of a metastream stands there for ever, a stream that is without
/// metadata was never deleted, and each append has the store check that the metadata is where it is remembered.
#[derive(Debug, Clone)]
pub(super) struct Known(Arc<Mutex<LruCache<StreamName, ExpectedState>>>);

impl Default for Known {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(LruCache::new(STREAMS))))
    }
}

impl Known {
    /// What is to be expected of the stream's metastream.
    pub(super) fn get(&self, stream: &StreamName) -> Option<ExpectedState> {
        self.streams().get(stream).copied()
    }

    pub(super) fn put(&self, stream: &StreamName, metadata: ExpectedState) {
        self.streams().put(stream.clone(), metadata);
    }

    pub(super) fn forget(&self, stream: &StreamName) {
        self.streams().pop(stream);
    }

    fn streams(&self) -> MutexGuard<'_, LruCache<StreamName, ExpectedState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
