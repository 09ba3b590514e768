//! The plainest event store there is: the oracle of the property tests, and what the suite was first held against.
//!
//! Everything is one list of events, and every question is answered by walking it. It is meant to be read beside the
//! laws, not to be fast.

mod append;
mod read;
mod subscribe;

use crate::{
    AllPage, Appended, AppendedMany, Capabilities, Clock, Deleted, Error, EventStore, ExpectedState,
    IdSource, NewEvent, Position, ReadAll, ReadStream, RecordedEvent, Result, Revision, StoreId, StoreState,
    StoreStatistics, StreamInfo, StreamMetadata, StreamName, StreamPage, StreamWrite, SubscribeAll,
    SubscribeStream, Subscription, TOMBSTONE_REVISION, Timestamp, derived_link,
};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};
use tokio::sync::watch;

/// The largest event that the model takes, in bytes ([`NewEvent::size`]).
const MAX_EVENT_BYTES: usize = 16 << 20;
/// The largest append that the model takes, in bytes.
const MAX_APPEND_BYTES: usize = 256 << 20;

/// An event store in memory that obeys every law in the plainest way.
#[derive(Debug, Clone)]
pub struct Model {
    id: StoreId,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    log: Arc<Mutex<Log>>,
    /// Whether this handle was closed.
    closed: Arc<AtomicBool>,
    /// Tells subscriptions that there is more, or that the handle was closed.
    changed: watch::Sender<()>,
}

/// All events in the order of writing; an event's position is its place in the list.
#[derive(Debug)]
struct Log {
    id: StoreId,
    events: Vec<RecordedEvent>,
}

impl Model {
    /// An empty store.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, ids: Arc<dyn IdSource>) -> Self {
        let id = StoreId(ids.next_id());
        let log = Arc::new(Mutex::new(Log { id, events: Vec::new() }));
        Self { id, clock, ids, log, closed: Arc::default(), changed: watch::Sender::new(()) }
    }

    /// The same store, opened again: closing one of the two leaves the other open.
    #[must_use]
    pub fn reopen(&self) -> Self {
        Self { closed: Arc::default(), ..self.clone() }
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log, unless the store was closed.
    fn open_log(&self) -> Result<MutexGuard<'_, Log>> {
        if self.is_closed() { Err(Error::Closed) } else { Ok(self.log()) }
    }
}

/// What a stream is, as its events and its metadata say.
impl Log {
    /// The events of a stream, oldest first.
    fn of<'a>(&'a self, stream: &StreamName) -> impl DoubleEndedIterator<Item = &'a RecordedEvent> {
        self.events.iter().filter(move |e| e.stream == *stream)
    }

    /// Law 18: what stands in a stream where an event stands in `$all`: the event, or a link to it, or nothing.
    fn at(&self, stream: &StreamName, event: &RecordedEvent) -> Option<RecordedEvent> {
        let Some(derived) = stream.derived() else {
            return (event.stream == *stream).then(|| event.clone());
        };
        let before = self.events.iter().filter(|e| e.position < event.position && derived.gathers(e));
        derived.gathers(event).then(|| derived_link(self.id, stream, before.count() as u64, event))
    }

    /// All that ever stood in a stream, oldest first.
    fn held(&self, stream: &StreamName) -> Vec<RecordedEvent> {
        let Some(derived) = stream.derived() else { return self.of(stream).cloned().collect() };
        let gathered = self.events.iter().filter(|e| derived.gathers(e));
        (0..).zip(gathered).map(|(revision, e)| derived_link(self.id, stream, revision, e)).collect()
    }

    /// The last revision of a stream that is not tombstoned.
    fn last_revision(&self, stream: &StreamName) -> Option<Revision> {
        if stream.derived().is_some() {
            return self.held(stream).last().map(|e| e.revision);
        }
        self.of(stream).next_back().map(|e| e.revision)
    }

    /// Whether a stream, or the stream whose metadata it keeps, was tombstoned.
    fn is_tombstoned(&self, stream: &StreamName) -> bool {
        let ended = |s: &StreamName| self.of(s).any(|e| e.revision == TOMBSTONE_REVISION);
        ended(stream) || stream.original().is_some_and(|original| ended(&original))
    }

    /// What a stream obeys. Metastreams keep one event.
    fn metadata(&self, stream: &StreamName) -> StreamMetadata {
        let Some(metastream) = stream.metastream() else {
            return StreamMetadata { max_count: Some(1), ..StreamMetadata::default() };
        };
        let newest = self.of(&metastream).next_back();
        newest.map_or_else(StreamMetadata::default, |e| StreamMetadata::from_json(&e.data))
    }

    /// The events of a stream that can be read now, oldest first.
    fn readable(&self, stream: &StreamName, now: Timestamp) -> Result<Vec<RecordedEvent>> {
        if self.is_tombstoned(stream) {
            return Err(Error::StreamDeleted(stream.clone()));
        }
        // Law 18: what a derived stream's metadata says hides nothing of it.
        let metadata = if stream.is_derived() { StreamMetadata::default() } else { self.metadata(stream) };
        let last = match self.last_revision(stream) {
            Some(last) if !metadata.is_soft_deleted() => last,
            _ => return Err(Error::StreamNotFound(stream.clone())),
        };
        let by_count = metadata.max_count.map_or(0, |count| (last + 1).saturating_sub(count));
        let first = by_count.max(metadata.truncate_before.unwrap_or(0));
        let too_old = |e: &RecordedEvent| metadata.max_age.is_some_and(|age| e.created < now.minus(age));
        Ok(self.held(stream).into_iter().filter(|e| e.revision >= first && !too_old(e)).collect())
    }
}

#[async_trait::async_trait]
impl EventStore for Model {
    async fn id(&self) -> Result<StoreId> {
        Ok(self.id)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { multi_stream_append: true, derived_streams: true, counts: true }
    }

    fn state(&self) -> StoreState {
        if self.is_closed() { StoreState::Closed } else { StoreState::Ready }
    }

    async fn statistics(&self) -> Result<StoreStatistics> {
        Ok(StoreStatistics { events: self.open_log()?.events.len() as u64, bytes_on_disk: 0 })
    }

    async fn append(
        &self,
        stream: &StreamName,
        expected: ExpectedState,
        events: Vec<NewEvent>,
    ) -> Result<Appended> {
        let mut many = self.append_now(&[StreamWrite { stream: stream.clone(), expected, events }])?;
        many.streams.pop().ok_or_else(|| Error::Internal("one write, and no answer".into()))
    }

    async fn append_many(&self, writes: Vec<StreamWrite>) -> Result<AppendedMany> {
        self.append_now(&writes)
    }

    async fn read_stream(&self, stream: &StreamName, read: ReadStream) -> Result<StreamPage> {
        self.open_log()?.read_stream(stream, &read, self.clock.now())
    }

    async fn read_all(&self, read: ReadAll) -> Result<AllPage> {
        self.open_log()?.read_all(&read, self.clock.now())
    }

    async fn stream_info(&self, stream: &StreamName) -> Result<StreamInfo> {
        let log = self.open_log()?;
        let readable = log.readable(stream, self.clock.now())?;
        Ok(StreamInfo {
            first_revision: readable.first().map(|e| e.revision),
            last_revision: log.last_revision(stream).unwrap_or(0),
            events: readable.len() as u64,
        })
    }

    async fn subscribe_stream(&self, stream: &StreamName, options: SubscribeStream) -> Result<Subscription> {
        Ok(subscribe::stream(self.clone(), stream.clone(), options))
    }

    async fn subscribe_all(&self, options: SubscribeAll) -> Result<Subscription> {
        Ok(subscribe::all(self.clone(), options))
    }

    async fn delete(&self, stream: &StreamName, expected: ExpectedState) -> Result<Deleted> {
        self.delete_now(stream, expected)
    }

    async fn tombstone(&self, stream: &StreamName, expected: ExpectedState) -> Result<Deleted> {
        self.tombstone_now(stream, expected)
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::SeqCst);
        self.changed.send_replace(());
        Ok(())
    }
}

/// The position at a place in the list.
fn position(index: usize) -> Position {
    Position::from_raw(index as u64)
}
