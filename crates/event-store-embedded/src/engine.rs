//! The trait: checks what can be checked without the store, asks the writer, reads.

use crate::{
    heads::Published,
    index,
    judge::{self, Outcome, Verdict, Write},
    key::StreamRef,
    options::{OpenError, Options},
    recovery::{self, IDS_FILE, Recovered, snapshot_tag},
    shared::{Followers, Shared, Signal},
    stage::Stage,
    subscribe,
    sync::lock,
    writer::{Answer, Command, Finished, Request, Work, Writer},
};
use event_store::{
    AllPage, Appended, AppendedMany, Capabilities, Deleted, Error, EventStore, EventType, ExpectedState,
    NewEvent, Position, ReadAll, ReadStream, Result, StoreId, StoreState, StoreStatistics, StreamInfo,
    StreamName, StreamPage, StreamWrite, SubscribeAll, SubscribeStream, Subscription, VersionedMetadata,
};
use std::{
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

/// How many requests wait for the writer at most; more wait in their callers.
const QUEUE: usize = 4096;
/// How many bytes of events wait for the writer at most, in KiB.
const ROOM_KIB: u32 = 512 << 10;
/// How many appends, and short looks at one stream, look up what is not in memory at one time.
const LOOKERS: usize = 4;
/// An append to so many streams finds one that is named twice by comparing, and one to more by a table.
const FEW: usize = 8;
/// The most bytes that one append may take in the log, names and heads of records included.
const MAX_ENCODED: usize = 1 << 30;

/// An event store in one directory, or in memory.
///
/// Dropping it without [`EventStore::close`] loses nothing that was answered, but the next start takes longer.
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    queue: Option<mpsc::Sender<Command>>,
    room: Arc<Semaphore>,
    threads: Arc<Mutex<Threads>>,
    /// Whether there are files of which a clean stop leaves more than the log.
    on_disk: bool,
    max_event_bytes: usize,
    max_append_bytes: usize,
}

#[derive(Debug, Default)]
struct Threads {
    writer: Option<JoinHandle<Finished>>,
    indexer: Option<JoinHandle<()>>,
}

impl Engine {
    /// Opens a store, making it where there is none. It waits for the disk, and may take long if the index has to be built
    /// again: where others must not wait, call it from a thread that may.
    ///
    /// # Errors
    /// [`OpenError`] says what stands in the way, in one line.
    pub fn open(options: Options) -> std::result::Result<Self, OpenError> {
        let Recovered { lock, disk, log, writer, index, ids, end, last_created, indexed_on_disk } =
            recovery::open(&options)?;
        let shared = Arc::new(Shared {
            clock: Arc::clone(&options.clock),
            ids: Arc::clone(&options.ids),
            log,
            index,
            published: Mutex::new(Published::new(options.heads, end)),
            metadata: Mutex::default(),
            signal: watch::Sender::new(Signal { end, closed: false }),
            followers: Arc::new(Followers::default()),
            trouble: OnceLock::new(),
            closed: AtomicBool::new(false),
            readers: Semaphore::new(options.readers),
            lookers: Semaphore::new(LOOKERS),
        });
        let (queue, requests) = mpsc::channel(QUEUE);
        let writer = Writer {
            shared: Arc::clone(&shared),
            log: writer,
            queue: requests,
            finished: Finished { ids, disk, _lock: lock },
            stage: Stage::default(),
            blocks: recovery::scan::BlockPlacer::default(),
            last_created,
            group_bytes: options.group_bytes,
        };
        let failed = |error| OpenError::Io { place: options.name(), error };
        let writer = std::thread::Builder::new()
            .name("event-store-writer".into())
            .spawn(move || writer.run())
            .map_err(failed)?;
        let indexing = Arc::clone(&shared);
        let indexer = std::thread::Builder::new()
            .name("event-store-indexer".into())
            .spawn(move || index::run_indexer(&indexing.index))
            .map_err(failed)?;
        let threads = Threads { writer: Some(writer), indexer: Some(indexer) };
        Ok(Self {
            shared,
            queue: Some(queue),
            room: Arc::new(Semaphore::new(ROOM_KIB as usize)),
            threads: Arc::new(Mutex::new(threads)),
            on_disk: indexed_on_disk,
            max_event_bytes: options.max_event_bytes,
            max_append_bytes: options.max_append_bytes,
        })
    }

    fn stream(&self, name: &StreamName) -> StreamRef {
        self.shared.index.hashing.stream(name)
    }

    /// Asks the writer and waits for its answer.
    async fn ask(&self, work: Work, bytes: usize) -> Result<Answer> {
        answer(self.queue(work, bytes).await?).await
    }

    /// Asks the writer; what was asked for before is done before.
    async fn queue(&self, work: Work, bytes: usize) -> Result<Asked> {
        self.shared.check_writable()?;
        let kib = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX).min(ROOM_KIB);
        let room = Arc::clone(&self.room).acquire_many_owned(kib).await.map_err(|_| Error::Closed)?;
        let (answer, answered) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or(Error::Closed)?;
        let request = Request { work, answer, _room: room };
        queue.send(Command::Write(request)).await.map_err(|_| Error::Closed)?;
        Ok(answered)
    }

    /// Looks up the heads that are not in memory, here and not in the writer's thread, where all would wait.
    async fn warm<'a>(&self, streams: impl Iterator<Item = &'a StreamRef>) -> Result<()> {
        let missing: Vec<StreamRef> = {
            let mut published = lock(&self.shared.published);
            streams.filter(|stream| published.get(&stream.base).is_none()).cloned().collect()
        };
        if missing.is_empty() {
            return Ok(());
        }
        let look_up = move |shared: &Shared| missing.iter().try_for_each(|s| shared.head(s).map(drop));
        self.shared.looking(look_up).await
    }

    async fn append_writes(&self, writes: Vec<Write>) -> Result<AppendedMany> {
        let begun = self.begin(writes).await?;
        self.finish(begun).await
    }

    /// Asks for an append.
    async fn begin(&self, writes: Vec<Write>) -> Result<Begun> {
        let bytes = self.check_writes(&writes)?;
        self.shared.check_writable()?;
        self.warm(writes.iter().map(|w| &w.stream)).await?;
        let writes = Arc::new(writes);
        let work = Work::Append { writes: Arc::clone(&writes), compared: false };
        let asked = self.queue(work, bytes).await?;
        Ok(Begun { writes, bytes, asked })
    }

    /// What an append comes to.
    async fn finish(&self, Begun { writes, bytes, mut asked }: Begun) -> Result<AppendedMany> {
        loop {
            let verdicts = match answer(asked).await? {
                Answer::Appended(appended) => return Ok(appended),
                Answer::Judged(verdicts) => verdicts,
                Answer::Deleted(_) => {
                    return Err(Error::Internal("an append was answered as a delete".into()));
                }
            };
            let judged = Arc::clone(&writes);
            let verdicts = self.shared.looking(move |shared| compare(shared, &judged, verdicts)).await?;
            if let Some(settled) = judge::settle(&writes, &verdicts) {
                return settled;
            }
            asked = self.queue(Work::Append { writes: Arc::clone(&writes), compared: true }, bytes).await?;
        }
    }

    async fn finish_one(&self, begun: Result<Begun>) -> Result<Appended> {
        let mut many = self.finish(begun?).await?;
        many.streams.pop().ok_or_else(|| Error::Internal("one write, and no answer".into()))
    }

    /// What can be refused without looking at the store. Gives the bytes that the append takes in memory.
    fn check_writes(&self, writes: &[Write]) -> Result<usize> {
        let invalid = |text: String| Err(Error::InvalidArgument(text));
        if writes.is_empty() {
            return invalid("an append needs at least one stream".into());
        }
        let mut names = hashbrown::HashSet::with_capacity(if writes.len() > FEW { writes.len() } else { 0 });
        let (mut total, mut encoded) = (0, 0);
        for (index, Write { stream, events, .. }) in writes.iter().enumerate() {
            let twice = match writes.len() {
                ..=FEW => writes[..index].iter().any(|earlier| earlier.stream.name == stream.name),
                _ => !names.insert(&stream.name),
            };
            if twice {
                return invalid(format!("stream '{}' stands in the append twice", stream.name));
            }
            if stream.name.is_derived() {
                return Err(Error::derived(&stream.name));
            }
            if stream.kind == crate::key::Kind::Impossible {
                return invalid(format!("'{}' would be the metadata of a metastream", stream.name));
            }
            for event in events {
                let length = event.event_type.as_str().len();
                if length == 0 || length > EventType::MAX_BYTES {
                    return invalid(format!(
                        "an event type has 1 to {} bytes, not {length}",
                        EventType::MAX_BYTES
                    ));
                }
                let (size, limit) = (event.size(), self.max_event_bytes);
                if size > limit {
                    return Err(Error::EventTooLarge { id: event.id, size, limit });
                }
                total += size;
                encoded += size + stream.name.as_str().len() + crate::format::RECORD_LEN;
            }
        }
        if total > self.max_append_bytes {
            return Err(Error::AppendTooLarge { size: total, limit: self.max_append_bytes });
        }
        if encoded > MAX_ENCODED {
            return Err(Error::AppendTooLarge { size: encoded, limit: MAX_ENCODED });
        }
        Ok(encoded)
    }

    async fn ask_to_delete(&self, stream: StreamRef, work: Work) -> Result<Deleted> {
        if stream.name.is_derived() {
            return Err(Error::derived(&stream.name));
        }
        if stream.name.is_metastream() {
            return Err(Error::InvalidArgument(format!(
                "the metastream '{}' cannot be deleted",
                stream.name
            )));
        }
        self.warm(std::iter::once(&stream)).await?;
        match self.ask(work, 0).await? {
            Answer::Deleted(position) => Ok(Deleted { position }),
            _ => Err(Error::Internal("a delete was answered as an append".into())),
        }
    }
}

/// Where the writer's answer will be.
type Asked = oneshot::Receiver<Result<Answer>>;

/// An append that the writer was asked for.
struct Begun {
    writes: Arc<Vec<Write>>,
    bytes: usize,
    asked: Asked,
}

async fn answer(asked: Asked) -> Result<Answer> {
    asked.await.map_err(|_| Error::Closed)?
}

/// Law 6, for those verdicts that wait for it.
fn compare(shared: &Shared, writes: &[Write], mut verdicts: Vec<Verdict>) -> Result<Vec<Verdict>> {
    for (write, verdict) in writes.iter().zip(&mut verdicts) {
        let Outcome::Compare { first, holds } = verdict.outcome else { continue };
        let (same, last) = shared.compare(&write.stream, first, &write.events)?;
        verdict.outcome = match last {
            Some(last) if same == write.events.len() => Outcome::Again(Appended {
                last_revision: Some(last.revision),
                position: Some(Position::from_raw(last.position)),
            }),
            None if holds => Outcome::New,
            _ => Outcome::Wrong,
        };
    }
    Ok(verdicts)
}

#[async_trait::async_trait]
impl EventStore for Engine {
    async fn id(&self) -> Result<StoreId> {
        Ok(StoreId(self.shared.log.store_id))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { multi_stream_append: true, derived_streams: true, counts: true }
    }

    fn state(&self) -> StoreState {
        match self.shared.trouble.get() {
            _ if self.shared.is_closed() => StoreState::Closed,
            Some(why) => StoreState::ReadOnly(why.clone()),
            None => StoreState::Ready,
        }
    }

    async fn statistics(&self) -> Result<StoreStatistics> {
        self.shared.check_open()?;
        let bytes_on_disk = if self.on_disk {
            self.shared.log.bytes_on_disk() + self.shared.index.bytes_on_disk()
        } else {
            0
        };
        Ok(StoreStatistics { events: self.shared.end(), bytes_on_disk })
    }

    async fn append(
        &self,
        stream: &StreamName,
        expected: ExpectedState,
        events: Vec<NewEvent>,
    ) -> Result<Appended> {
        let write = Write { stream: self.stream(stream), expected, events };
        self.finish_one(self.begin(vec![write]).await).await
    }

    async fn append_in_turn(
        &self,
        stream: &StreamName,
        appends: Vec<(ExpectedState, Vec<NewEvent>)>,
    ) -> Vec<Result<Appended>> {
        let stream = self.stream(stream);
        let mut answers = Vec::with_capacity(appends.len());
        let mut begun = Vec::new();
        for (expected, events) in appends {
            begun.push(self.begin(vec![Write { stream: stream.clone(), expected, events }]).await);
            // Only this one may be found to be new after the writer has put it off (judge.rs): the next waits for that.
            if expected == ExpectedState::NoStream {
                for begun in begun.drain(..) {
                    answers.push(self.finish_one(begun).await);
                }
            }
        }
        for begun in begun {
            answers.push(self.finish_one(begun).await);
        }
        answers
    }

    async fn append_many(&self, writes: Vec<StreamWrite>) -> Result<AppendedMany> {
        let writes = writes.into_iter().map(|StreamWrite { stream, expected, events }| Write {
            stream: self.stream(&stream),
            expected,
            events,
        });
        self.append_writes(writes.collect()).await
    }

    async fn read_stream(&self, stream: &StreamName, read: ReadStream) -> Result<StreamPage> {
        let stream = self.stream(stream);
        self.shared.blocking(move |shared| shared.read_stream(&stream, &read)).await
    }

    async fn read_all(&self, read: ReadAll) -> Result<AllPage> {
        self.shared.blocking(move |shared| shared.read_all(&read)).await
    }

    // An append through the API asks for these two first: pages that others read must not keep it waiting.

    async fn metadata(&self, stream: &StreamName) -> Result<VersionedMetadata> {
        let invalid = || Error::InvalidArgument(format!("'{stream}' is a metastream and has no metadata"));
        let metastream = self.stream(&stream.metastream().ok_or_else(invalid)?);
        self.shared.check_open()?;
        match self.shared.known_metadata(&metastream) {
            Some(known) => known,
            None => self.shared.looking(move |shared| shared.read_metadata(&metastream)).await,
        }
    }

    async fn stream_info(&self, stream: &StreamName) -> Result<StreamInfo> {
        let stream = self.stream(stream);
        self.shared.check_open()?;
        match self.shared.known_info(&stream) {
            Some(known) => known,
            None => self.shared.looking(move |shared| shared.stream_info(&stream)).await,
        }
    }

    async fn subscribe_stream(&self, stream: &StreamName, options: SubscribeStream) -> Result<Subscription> {
        self.shared.check_open()?;
        subscribe::stream(Arc::clone(&self.shared), self.stream(stream), options).await
    }

    async fn subscribe_all(&self, options: SubscribeAll) -> Result<Subscription> {
        self.shared.check_open()?;
        Ok(subscribe::all(Arc::clone(&self.shared), options))
    }

    async fn delete(&self, stream: &StreamName, expected: ExpectedState) -> Result<Deleted> {
        let stream = self.stream(stream);
        self.ask_to_delete(stream.clone(), Work::Delete { stream, expected }).await
    }

    async fn tombstone(&self, stream: &StreamName, expected: ExpectedState) -> Result<Deleted> {
        let stream = self.stream(stream);
        self.ask_to_delete(stream.clone(), Work::Tombstone { stream, expected }).await
    }

    async fn close(&self) -> Result<()> {
        self.shared.closed.store(true, Ordering::Release);
        if let Some(queue) = &self.queue {
            // The writer may have ended already.
            let _ = queue.send(Command::Close).await;
        }
        let (shared, threads, on_disk) = (Arc::clone(&self.shared), Arc::clone(&self.threads), self.on_disk);
        let closed = tokio::task::spawn_blocking(move || {
            // Whoever closes at the same time waits here until the first is done.
            let mut threads = lock(&threads);
            finish(&shared, &mut threads, on_disk)
        })
        .await;
        closed.map_err(|error| Error::Internal(format!("closing failed: {error}")))?
    }

    async fn last_position(&self) -> Result<Option<Position>> {
        self.shared.check_open()?;
        Ok(self.shared.end().checked_sub(1).map(Position::from_raw))
    }
}

/// Waits for the threads; leaves everything clean for the next start if asked to.
fn finish(shared: &Shared, threads: &mut Threads, cleanly: bool) -> Result<()> {
    let finished = threads.writer.take().and_then(|writer| writer.join().ok());
    shared.index.stop();
    if let Some(indexer) = threads.indexer.take() {
        // A panic was reported when it happened.
        let _ = indexer.join();
    }
    shared.signal.send_modify(|signal| signal.closed = true);
    shared.followers.tell_all();
    let Some(finished) = finished.filter(|_| cleanly) else { return Ok(()) };
    shared.index.flush(true)?;
    shared.index.tidy()?;
    save_ids(shared, &finished).map_err(|error| Error::Internal(format!("{IDS_FILE}: {error}")))
}

fn save_ids(shared: &Shared, finished: &Finished) -> std::io::Result<()> {
    let bytes = finished.ids.encode(snapshot_tag(&shared.log, &shared.index));
    let new = format!("{IDS_FILE}.new");
    let _ = finished.disk.remove(&new);
    let file = finished.disk.create(&new)?;
    file.write_at(0, &bytes)?;
    file.sync_data()?;
    finished.disk.rename(&new, IDS_FILE)?;
    finished.disk.sync_dir("")
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        self.queue = None;
        // Nothing is left to be reported to.
        let _ = finish(&self.shared, &mut lock(&self.threads), false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use event_store::StreamMetadata;
    use std::time::Duration;

    fn event(ids: std::ops::Range<u128>) -> Vec<NewEvent> {
        ids.map(|id| NewEvent::json(uuid::Uuid::from_u128(id), "Lent", "{}")).collect()
    }

    #[tokio::test]
    async fn a_look_at_a_stream_does_not_wait_for_those_who_read_pages() {
        let engine = Engine::open(Options::in_memory()).unwrap();
        let stream = StreamName::new("penguins").unwrap();
        let metadata = StreamMetadata { max_count: Some(3), ..StreamMetadata::default() };
        let id = uuid::Uuid::from_u128(1);
        engine.set_metadata(&stream, ExpectedState::NoStream, &metadata, id).await.unwrap();
        // Every place of those who read pages is taken.
        let places = engine.shared.readers.available_permits();
        let _reading = engine.shared.readers.try_acquire_many(u32::try_from(places).unwrap()).unwrap();
        let looks = async {
            assert_eq!(engine.metadata(&stream).await.unwrap().metadata.max_count, Some(3));
            assert!(matches!(engine.stream_info(&stream).await, Err(Error::StreamNotFound(_))));
        };
        tokio::time::timeout(Duration::from_secs(30), looks).await.unwrap();
        // What was looked at once is told from memory: it needs no place among those who look, either.
        let looking = engine.shared.lookers.try_acquire_many(LOOKERS as u32).unwrap();
        let again = async {
            assert_eq!(engine.metadata(&stream).await.unwrap().metadata.max_count, Some(3));
            engine.append(&stream, ExpectedState::NoStream, event(1..6)).await.unwrap();
            assert_eq!(engine.stream_info(&stream).await.unwrap().first_revision, Some(2));
            // A change is known at once, and only its content has to be read.
            engine.delete(&stream, ExpectedState::Any).await.unwrap();
            assert!(matches!(engine.stream_info(&stream).await, Err(Error::StreamNotFound(_))));
        };
        tokio::time::timeout(Duration::from_secs(30), again).await.unwrap();
        drop(looking);
        assert!(engine.metadata(&stream).await.unwrap().metadata.is_soft_deleted());
    }
}
