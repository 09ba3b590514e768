//! Short looks at one stream: its metadata and its ends. An append through the API takes both each time, so what can be told
//! from memory is told without a thread, and without a place among those who wait for the disk.

use crate::{
    heads::{Head, Spot},
    key::{HashedKeys, Kind, StreamKey, StreamRef},
    shared::Shared,
    sync::lock,
};
use event_store::{Error, Result, Revision, StreamInfo, StreamMetadata, VersionedMetadata};
use lru::LruCache;

/// How many bytes of metadata are kept parsed, counted as they stand in the log, and what each costs besides.
const KEPT_BYTES: usize = 2 << 20;
const EACH: usize = 256;

/// Metadata that was read of late. It goes by where its event stands, and an event never changes: what is found under the
/// place that a stream's head names is right, whatever was written meanwhile.
pub(crate) struct RecentMetadata {
    entries: LruCache<StreamKey, Entry, HashedKeys>,
    bytes: usize,
}

struct Entry {
    position: u64,
    bytes: usize,
    metadata: VersionedMetadata,
}

impl std::fmt::Debug for RecentMetadata {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecentMetadata")
            .field("entries", &self.entries.len())
            .field("bytes", &self.bytes)
            .finish()
    }
}

impl Default for RecentMetadata {
    fn default() -> Self {
        Self { entries: LruCache::unbounded_with_hasher(HashedKeys::default()), bytes: 0 }
    }
}

impl RecentMetadata {
    fn get(&mut self, base: &StreamKey, position: u64) -> Option<VersionedMetadata> {
        self.entries.get(base).filter(|entry| entry.position == position).map(|entry| entry.metadata.clone())
    }

    fn put(&mut self, base: StreamKey, position: u64, bytes: usize, metadata: &VersionedMetadata) {
        let bytes = bytes + EACH;
        // One that would push out all the others is not worth it.
        if bytes > KEPT_BYTES / 8 {
            return;
        }
        self.bytes += bytes;
        if let Some((_, old)) = self.entries.push(base, Entry { position, bytes, metadata: metadata.clone() })
        {
            self.bytes -= old.bytes;
        }
        while self.bytes > KEPT_BYTES {
            let Some((_, old)) = self.entries.pop_lru() else { return };
            self.bytes -= old.bytes;
        }
    }
}

impl Shared {
    /// A stream's metadata, if memory has it.
    pub(crate) fn known_metadata(&self, metastream: &StreamRef) -> Option<Result<VersionedMetadata>> {
        let head = lock(&self.published).get(&metastream.base)?;
        self.metadata_at(metastream, &head)
    }

    fn metadata_at(&self, metastream: &StreamRef, head: &Head) -> Option<Result<VersionedMetadata>> {
        if head.tombstoned {
            return Some(Err(Error::StreamDeleted(metastream.name.clone())));
        }
        let Some(last) = head.meta_last else { return Some(Ok(VersionedMetadata::default())) };
        lock(&self.metadata).get(&metastream.base, last.position).map(Ok)
    }

    /// A stream's metadata.
    pub(crate) fn read_metadata(&self, metastream: &StreamRef) -> Result<VersionedMetadata> {
        let (head, _) = self.head(metastream)?;
        if let Some(known) = self.metadata_at(metastream, &head) {
            return known;
        }
        let Some(last) = head.meta_last else { return Ok(VersionedMetadata::default()) };
        let event = self.event_of(&mut self.cursor(), metastream, last)?;
        let metadata = VersionedMetadata {
            revision: Some(event.revision),
            metadata: StreamMetadata::from_json(&event.data),
        };
        lock(&self.metadata).put(metastream.base, last.position, event.data.len(), &metadata);
        Ok(metadata)
    }

    /// What can be read of a stream, if memory tells.
    pub(crate) fn known_info(&self, stream: &StreamRef) -> Option<Result<StreamInfo>> {
        let head = lock(&self.published).get(&stream.base)?;
        // What has aged away is told by the events' dates.
        if stream.kind == Kind::Plain && head.retention.max_age.is_some() {
            return None;
        }
        Some(bounds(stream, &head).map(|(first, last)| info(first, last.revision)))
    }

    /// What can be read of a stream.
    pub(crate) fn stream_info(&self, stream: &StreamRef) -> Result<StreamInfo> {
        let readable = self.readable(&mut self.cursor(), stream)?;
        Ok(info(readable.first, readable.last))
    }
}

fn info(first: Option<Revision>, last: Revision) -> StreamInfo {
    StreamInfo {
        first_revision: first,
        last_revision: last,
        events: first.map_or(0, |first| last - first + 1),
    }
}

/// Law 12, without what ages: the oldest revision that can be read (nothing if none is left), and the last event.
pub(crate) fn bounds(stream: &StreamRef, head: &Head) -> Result<(Option<Revision>, Spot)> {
    if head.tombstoned {
        return Err(Error::StreamDeleted(stream.name.clone()));
    }
    let last = match head.last_of(stream) {
        Some(last) if !head.is_soft_deleted(stream) => last,
        _ => return Err(Error::StreamNotFound(stream.name.clone())),
    };
    if stream.kind == Kind::Meta {
        return Ok((Some(last.revision), last));
    }
    let retention = &head.retention;
    let by_count = retention.max_count.map_or(0, |count| (last.revision + 1).saturating_sub(count));
    let first = by_count.max(retention.truncate_before.unwrap_or(0));
    Ok((Some(first).filter(|first| *first <= last.revision), last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recent_metadata_is_bounded_and_found_at_its_place_alone() {
        let mut recent = RecentMetadata::default();
        let key = |low| StreamKey { high: 0, low };
        let metadata = VersionedMetadata { revision: Some(3), ..VersionedMetadata::default() };
        for stream in 0..100_000 {
            recent.put(key(stream), stream, 100, &metadata);
            recent.put(key(stream), stream + 1, 100, &metadata);
        }
        assert!(recent.bytes <= KEPT_BYTES, "{recent:?}");
        assert_eq!(recent.bytes, recent.entries.len() * (100 + EACH));
        assert_eq!(recent.get(&key(99_999), 99_999), None, "it was replaced");
        assert_eq!(recent.get(&key(99_999), 100_000), Some(metadata.clone()));
        assert_eq!(recent.get(&key(0), 1), None, "the oldest made room");
        recent.put(key(1), 1, KEPT_BYTES, &metadata);
        assert_eq!(recent.get(&key(1), 1), None);
    }
}
