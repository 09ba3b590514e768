//! What must be known of a stream to judge an append or a read: how far it goes, and what its metadata asks for.

use crate::key::{HashedKeys, Kind, StreamKey, StreamRef};
use event_store::{Revision, SOFT_DELETED, StreamMetadata};
use lru::LruCache;
use std::{num::NonZeroUsize, time::Duration};

/// Where an event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) revision: Revision,
    pub(crate) position: u64,
}

/// What metadata says of which events can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Retention {
    pub(crate) max_age: Option<Duration>,
    pub(crate) max_count: Option<u64>,
    pub(crate) truncate_before: Option<Revision>,
}

impl Retention {
    pub(crate) fn from_json(data: &[u8]) -> Self {
        let metadata = StreamMetadata::from_json(data);
        Self {
            max_age: metadata.max_age,
            max_count: metadata.max_count,
            truncate_before: metadata.truncate_before,
        }
    }

    pub(crate) fn is_soft_deleted(&self) -> bool {
        self.truncate_before == Some(SOFT_DELETED)
    }
}

/// A stream and its metastream, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Head {
    /// The stream's last event before any tombstone. Of a tombstoned stream it may be missing.
    pub(crate) last: Option<Spot>,
    /// The metastream's last event.
    pub(crate) meta_last: Option<Spot>,
    pub(crate) tombstoned: bool,
    pub(crate) retention: Retention,
    /// The end of the log after the last change to this head (the moment it was looked up, if that was later).
    pub(crate) changed: u64,
}

impl Head {
    /// The last event of the stream that was named: of the two that share this head.
    pub(crate) fn last_of(&self, stream: &StreamRef) -> Option<Spot> {
        match stream.kind {
            Kind::Plain => self.last,
            Kind::Meta => self.meta_last,
            Kind::Impossible | Kind::Derived => None,
        }
    }

    /// Whether the stream that was named is softly deleted. A metastream never is.
    pub(crate) fn is_soft_deleted(&self, stream: &StreamRef) -> bool {
        stream.kind == Kind::Plain && self.retention.is_soft_deleted()
    }

    /// Whether the stream that was named counts as existing: it has events, or metadata.
    pub(crate) fn exists(&self, stream: &StreamRef) -> bool {
        self.last_of(stream).is_some() || (stream.kind == Kind::Plain && self.meta_last.is_some())
    }
}

/// Heads of recently used streams, and how far everything goes: what readers see, all of it changed at once.
pub(crate) struct Published {
    heads: LruCache<StreamKey, Head, HashedKeys>,
    /// The position after the last event that may be read.
    pub(crate) end: u64,
    /// The newest change among the heads that were thrown out to make room.
    evicted: u64,
}

impl std::fmt::Debug for Published {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Published")
            .field("end", &self.end)
            .field("heads", &self.heads.len())
            .finish_non_exhaustive()
    }
}

impl Published {
    pub(crate) fn new(capacity: NonZeroUsize, end: u64) -> Self {
        Self { heads: LruCache::with_hasher(capacity, HashedKeys::default()), end, evicted: 0 }
    }

    pub(crate) fn get(&mut self, base: &StreamKey) -> Option<Head> {
        self.heads.get(base).copied()
    }

    /// The writer's: a head that is right by definition.
    pub(crate) fn put(&mut self, base: StreamKey, head: Head) {
        if let Some((key, old)) = self.heads.push(base, head)
            && key != base
        {
            self.evicted = self.evicted.max(old.changed);
        }
    }

    /// A head that was looked up when the log ended at `at`. It is kept only if nothing newer can be known of the stream:
    /// a newer head is in the cache, or was thrown out and shows in `evicted`. Gives what is known best.
    pub(crate) fn offer(&mut self, base: StreamKey, head: Head, at: u64) -> Head {
        if let Some(newer) = self.get(&base) {
            return newer;
        }
        if self.evicted <= at {
            self.put(base, head);
        }
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(low: u64) -> StreamKey {
        StreamKey { high: 0, low }
    }

    fn head(revision: Revision, changed: u64) -> Head {
        Head { last: Some(Spot { revision, position: changed - 1 }), changed, ..Head::default() }
    }

    #[test]
    fn a_looked_up_head_never_hides_a_newer_one() {
        let mut published = Published::new(NonZeroUsize::MIN, 10);
        published.put(key(1), head(5, 8));
        assert_eq!(published.offer(key(1), head(4, 7), 7), head(5, 8));
        // The head of stream 1 is thrown out: what was looked up before its last change must not come in.
        published.put(key(2), head(0, 9));
        published.offer(key(1), head(4, 7), 7);
        assert_eq!(published.get(&key(1)), None);
        published.offer(key(1), head(5, 9), 9);
        assert_eq!(published.get(&key(1)), Some(head(5, 9)));
    }
}
