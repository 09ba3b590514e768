//! Copying every event from one store to another: from the embedded one to a KurrentDB, when one machine is not enough.
//!
//! Events keep their ids, streams, revisions, data, metadata and order; a store gives each its own position and time. The
//! events of the system (`$`-streams, but for the metadata of the others) are each store's own and stay behind.
//!
//! It keeps no notes of how far it came: what a stream of the other store holds already is passed over, after a look that
//! the last of it is the same. So it can be broken off anywhere and begun again, and doing it twice changes nothing.

use event_store::{
    Error, EventStore, EventType, ExpectedState, NewEvent, ReadAll, ReadFrom, ReadStream, RecordedEvent,
    Revision, StreamMetadata, StreamName, TOMBSTONE_REVISION,
};
use std::{collections::HashMap, time::Duration};

/// Events of the source that are read at once.
const PAGE: usize = 1_000;
/// Events of one stream that are written at once, and their bytes: KurrentDB before 25.1 takes a mebibyte.
const GROUP: usize = 500;
const GROUP_BYTES: usize = 900 << 10;
/// How often a write is tried again while the other store is away, and how long is waited before.
const ATTEMPTS: u32 = 30;
const PAUSE: Duration = Duration::from_secs(1);

/// How far it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Copied {
    /// Events written now.
    pub written: u64,
    /// Events that were there already.
    pub found: u64,
    /// Events of the system, left behind.
    pub left: u64,
    /// Streams that were met, each with its metadata.
    pub streams: u64,
}

impl Copied {
    /// Events of the source that are done with.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.written + self.found + self.left
    }
}

/// Why it stopped. What was copied until then stays, and the next time begins after it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// A store failed.
    #[error(transparent)]
    Store(#[from] Error),
    /// The other store holds something else under this name.
    #[error(
        "the stream '{stream}' of the other store is not this one: its event {revision} differs; copy to a store that has \
         no streams of these names"
    )]
    Differs {
        /// The stream.
        stream: StreamName,
        /// Its last event there.
        revision: Revision,
    },
    /// The source does not hold the events between what is there and this one.
    #[error(
        "the stream '{stream}' cannot be continued at event {revision}: the other store's last is {last:?}, and the source \
         holds nothing between them"
    )]
    Gap {
        /// The stream.
        stream: StreamName,
        /// The next event of the source.
        revision: Revision,
        /// The last event of the other store's stream.
        last: Option<Revision>,
    },
}

/// What the other store holds of a stream.
#[derive(Debug, Clone, Copy)]
enum There {
    Upto(Option<Revision>),
    Tombstoned,
}

/// Copies everything that `from` holds now to `to`, telling how it goes after each page.
///
/// # Errors
/// [`CopyError`]; beginning again is safe after each of them.
pub async fn copy(
    from: &dyn EventStore,
    to: &dyn EventStore,
    mut tell: impl FnMut(Copied),
) -> Result<Copied, CopyError> {
    let mut copying = Copying { to, there: HashMap::new(), copied: Copied::default() };
    let mut next = Some(ReadFrom::Start);
    while let Some(place) = next {
        let page = from.read_all(ReadAll::forwards(PAGE).from(place)).await?;
        next = page.next.map(ReadFrom::At);
        let mut group: Vec<RecordedEvent> = Vec::new();
        let mut bytes = 0;
        for event in page.events.into_iter().filter_map(|e| e.link.or(e.event)) {
            let fits = group.first().is_none_or(|first| {
                // A store may write metadata of its own after one of these.
                !is_metastream(&first.stream)
                    && first.stream == event.stream
                    && group.len() < GROUP
                    && bytes + event.size() <= GROUP_BYTES
            });
            if !fits {
                copying.take(std::mem::take(&mut group)).await?;
                bytes = 0;
            }
            bytes += event.size();
            group.push(event);
        }
        copying.take(group).await?;
        tell(copying.copied);
    }
    Ok(copying.copied)
}

struct Copying<'a> {
    to: &'a dyn EventStore,
    there: HashMap<StreamName, There>,
    copied: Copied,
}

impl Copying<'_> {
    /// Takes consecutive events of one stream over.
    async fn take(&mut self, group: Vec<RecordedEvent>) -> Result<(), CopyError> {
        let Some(first) = group.first() else { return Ok(()) };
        let stream = first.stream.clone();
        if stays_behind(&stream) {
            self.copied.left += group.len() as u64;
            return Ok(());
        }
        let mut there = match self.there.get(&stream) {
            Some(there) => *there,
            None => {
                self.copied.streams += u64::from(!is_metastream(&stream));
                self.look(&stream).await?
            }
        };
        let mut new = Vec::new();
        for event in group {
            let There::Upto(last) = there else {
                self.copied.found += 1;
                continue;
            };
            if event.revision == TOMBSTONE_REVISION && event.event_type.as_str() == EventType::STREAM_DELETED
            {
                self.write(&stream, last, std::mem::take(&mut new)).await?;
                let ended =
                    self.patiently(async || self.to.tombstone(&stream, ExpectedState::Any).await).await;
                match ended {
                    Ok(_) | Err(Error::StreamDeleted(_)) => self.copied.written += 1,
                    Err(error) => return Err(error.into()),
                }
                there = There::Tombstoned;
                continue;
            }
            let expected = last.map_or(0, |last| last + 1) + new.len() as u64;
            if event.revision < expected && new.is_empty() {
                if Some(event.revision) == last {
                    self.compare(&event).await?;
                }
                self.copied.found += 1;
            } else if event.revision == expected {
                new.push(event);
            } else {
                return Err(CopyError::Gap { stream, revision: event.revision, last });
            }
        }
        if let There::Upto(last) = there {
            there = There::Upto(self.write(&stream, last, new).await?);
        }
        // A store writes metadata of its own when a deleted stream comes back: what is there must be looked at again.
        if let Some(metastream) = stream.metastream() {
            self.there.remove(&metastream);
            self.there.insert(stream, there);
        } else {
            self.there.remove(&stream);
        }
        Ok(())
    }

    /// Appends events after `last`; gives the last revision then.
    async fn write(
        &mut self,
        stream: &StreamName,
        last: Option<Revision>,
        events: Vec<RecordedEvent>,
    ) -> Result<Option<Revision>, CopyError> {
        let Some(newest) = events.last().map(|e| e.revision) else { return Ok(last) };
        let count = events.len() as u64;
        let expected = last.map_or(ExpectedState::NoStream, ExpectedState::Exact);
        let new: Vec<NewEvent> = events.into_iter().map(as_new).collect();
        let append = async || self.to.append(stream, expected, new.clone()).await;
        match self.patiently(append).await {
            Ok(appended) if appended.last_revision == Some(newest) => {
                self.copied.written += count;
                Ok(Some(newest))
            }
            Ok(appended) => {
                Err(CopyError::Gap { stream: stream.clone(), revision: newest, last: appended.last_revision })
            }
            Err(Error::WrongExpectedRevision { actual: Some(revision), .. }) => {
                Err(CopyError::Differs { stream: stream.clone(), revision })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What the other store holds of a stream.
    async fn look(&self, stream: &StreamName) -> Result<There, CopyError> {
        let read = async || self.to.read_stream(stream, ReadStream::backwards(1)).await;
        match self.patiently(read).await {
            Ok(page) => return Ok(There::Upto(Some(page.last_revision))),
            Err(Error::StreamDeleted(_)) => return Ok(There::Tombstoned),
            Err(Error::StreamNotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
        // It never was, or is softly deleted: an empty append tells.
        let nothing = async || self.to.append(stream, ExpectedState::Any, Vec::new()).await;
        Ok(There::Upto(self.patiently(nothing).await?.last_revision))
    }

    /// That the last event there is the one of the source: the same id, or for metadata the same content, since stores
    /// write some of it themselves.
    async fn compare(&self, event: &RecordedEvent) -> Result<(), CopyError> {
        let read = async || self.to.read_stream(&event.stream, ReadStream::backwards(1)).await;
        let page = match self.patiently(read).await {
            // Deleted or truncated since: nothing of it can be read, there as here.
            Err(Error::StreamNotFound(_)) => return Ok(()),
            page => page?,
        };
        let Some(found) = page.events.first().and_then(|e| e.original()) else { return Ok(()) };
        let same = found.id == event.id
            || (is_metastream(&event.stream)
                && StreamMetadata::from_json(&found.data) == StreamMetadata::from_json(&event.data));
        if same || found.revision != event.revision {
            return Ok(());
        }
        Err(CopyError::Differs { stream: event.stream.clone(), revision: found.revision })
    }

    /// Asks again while the other store is away.
    async fn patiently<T>(&self, ask: impl AsyncFn() -> event_store::Result<T>) -> event_store::Result<T> {
        let mut attempt = 1;
        loop {
            match ask().await {
                Err(error @ (Error::Unavailable(_) | Error::Timeout(_))) if attempt < ATTEMPTS => {
                    tracing::warn!(%error, attempt, "the other store does not answer");
                    attempt += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                answer => return answer,
            }
        }
    }
}

fn is_metastream(stream: &StreamName) -> bool {
    stream.as_str().starts_with("$$")
}

/// The store's own: `$x`, the metadata of `$x`, and what an adapter keeps to know its store by.
fn stays_behind(stream: &StreamName) -> bool {
    let name = stream.as_str();
    let base = name.strip_prefix("$$").unwrap_or(name);
    base.starts_with('$') || base == event_store_kurrentdb::ID_STREAM
}

fn as_new(event: RecordedEvent) -> NewEvent {
    NewEvent {
        id: event.id,
        event_type: event.event_type,
        content_type: event.content_type,
        data: event.data,
        metadata: event.metadata,
    }
}
