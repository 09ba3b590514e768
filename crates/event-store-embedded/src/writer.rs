//! The one thread that writes. It takes everything that waits into one group: judges it in order, writes it at once,
//! flushes once, lets readers see it, and only then answers.

use crate::{
    disk::{Disk, DiskLock},
    heads::Published,
    ids::{RecentIds, fingerprint},
    judge::{self, Outcome, Verdict, Write},
    key::StreamRef,
    log::{LogWriter, WriteFailure},
    recovery::scan::BlockPlacer,
    shared::{Shared, Signal},
    stage::Stage,
    sync::lock,
    telemetry,
};
use event_store::{Appended, AppendedMany, Error, ExpectedState, Position, Result};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use uuid::Uuid;

/// What the writer is asked for.
#[derive(Debug)]
pub(crate) enum Command {
    Write(Request),
    /// Finish what is queued, and end.
    Close,
}

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) work: Work,
    pub(crate) answer: oneshot::Sender<Result<Answer>>,
    /// The room in memory that the request takes until it is answered.
    pub(crate) _room: OwnedSemaphorePermit,
}

#[derive(Debug)]
pub(crate) enum Work {
    Append {
        writes: Arc<Vec<Write>>,
        /// The caller compared the events with those in the stream: they are not the same.
        compared: bool,
    },
    Delete {
        stream: StreamRef,
        expected: ExpectedState,
    },
    Tombstone {
        stream: StreamRef,
        expected: ExpectedState,
    },
}

#[derive(Debug)]
pub(crate) enum Answer {
    Appended(AppendedMany),
    /// Nothing was written: the caller settles what that means.
    Judged(Vec<Verdict>),
    Deleted(Position),
}

/// What is left when the writer has ended.
pub(crate) struct Finished {
    pub(crate) ids: RecentIds,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) _lock: DiskLock,
}

pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) log: LogWriter,
    pub(crate) queue: mpsc::Receiver<Command>,
    pub(crate) finished: Finished,
    pub(crate) stage: Stage,
    pub(crate) blocks: BlockPlacer,
    /// When the last event was taken, in ticks: the next is not older.
    pub(crate) last_created: i64,
    /// Past so many bytes a group takes no more.
    pub(crate) group_bytes: usize,
}

/// An answer that waits for the group's flush.
type Waiting = (oneshot::Sender<Result<Answer>>, OwnedSemaphorePermit, Result<Answer>);

impl Writer {
    /// Runs until it is closed, or until nobody can ask any more.
    pub(crate) fn run(mut self) -> Finished {
        let _guard = Guard(Arc::clone(&self.shared));
        let mut open = true;
        while open {
            let Some(first) = self.queue.blocking_recv() else { break };
            open = self.group(first);
        }
        self.queue.close();
        while let Ok(command) = self.queue.try_recv() {
            if let Command::Write(request) = command {
                // A caller that is gone needs no answer.
                let _ = request.answer.send(Err(Error::Closed));
            }
        }
        self.finished
    }

    /// Takes one group; false at the end.
    fn group(&mut self, first: Command) -> bool {
        let end = lock(&self.shared.published).end;
        self.last_created = self.shared.clock.now().ticks().max(self.last_created);
        self.stage.begin(end, self.last_created);
        let mut waiting: Vec<Waiting> = Vec::new();
        let mut next = Some(first);
        let mut open = true;
        while let Some(command) = next {
            match command {
                Command::Close => {
                    open = false;
                    break;
                }
                Command::Write(Request { work, answer, _room }) => {
                    let result = self.shared_writable().and_then(|()| self.take(&work));
                    waiting.push((answer, _room, result));
                }
            }
            if self.stage.bytes.len() >= self.group_bytes {
                break;
            }
            next = self.queue.try_recv().ok();
        }
        let written = if self.stage.is_empty() { Ok(()) } else { self.write() };
        for (answer, _room, result) in waiting {
            // What was refused may rest on what the group could not write: then nobody can say.
            let result = written.clone().and(result);
            let _ = answer.send(result);
        }
        if written.is_ok() {
            // Only this thread asks for ids, so that nobody has to wait for this.
            for print in self.stage.prints() {
                self.finished.ids.push(print);
            }
        }
        open
    }

    fn shared_writable(&self) -> Result<()> {
        self.shared.trouble.get().map_or(Ok(()), |why| Err(Error::ReadOnly(why.clone())))
    }

    fn take(&mut self, work: &Work) -> Result<Answer> {
        match work {
            Work::Append { writes, compared } => self.append(writes, *compared),
            Work::Delete { stream, expected } => {
                self.check(stream, *expected)?;
                let head = self.stage.head(&self.shared, stream)?;
                if head.last.is_none() && head.meta_last.is_none() {
                    return Err(wrong(stream, *expected, None));
                }
                self.stage.soft_delete(&self.shared, stream).map(Answer::Deleted)
            }
            Work::Tombstone { stream, expected } => {
                self.check(stream, *expected)?;
                self.stage.tombstone(&self.shared, stream).map(Answer::Deleted)
            }
        }
    }

    fn check(&self, stream: &StreamRef, expected: ExpectedState) -> Result<()> {
        let head = self.stage.head(&self.shared, stream)?;
        match judge::check(&head, stream, expected) {
            Outcome::Deleted => Err(Error::StreamDeleted(stream.name.clone())),
            Outcome::Wrong => Err(wrong(stream, expected, head.last.map(|spot| spot.revision))),
            _ => Ok(()),
        }
    }

    fn append(&mut self, writes: &[Write], compared: bool) -> Result<Answer> {
        let mut verdicts = Vec::with_capacity(writes.len());
        for write in writes {
            let head = self.stage.head(&self.shared, &write.stream)?;
            let known = |event: &event_store::NewEvent| {
                known(&self.shared, &self.finished.ids, &mut self.stage, event.id, &write.stream)
            };
            verdicts.push(judge::judge(&head, write, compared, known)?);
        }
        if verdicts.iter().all(|v| v.outcome == Outcome::New) {
            return self.stage.commit(&self.shared, writes).map(Answer::Appended);
        }
        Ok(Answer::Judged(verdicts))
    }

    /// Writes and flushes the group, and lets readers see it.
    fn write(&mut self) -> Result<()> {
        self.shared.index.wait_for_room()?;
        let bytes = self.stage.bytes.len() as u64;
        let (segment, offset) = match self.log.append(&self.stage.bytes, self.stage.start()) {
            Ok(place) => place,
            Err(WriteFailure::Full(why)) => {
                tracing::error!(why, "the disk is full: nothing was written");
                return Err(Error::StorageFull(why));
            }
            Err(WriteFailure::Broken(why)) => {
                tracing::error!(why, "the store takes no more writes until it is opened again");
                return Err(Error::ReadOnly(self.shared.trouble.get_or_init(|| why).clone()));
            }
        };
        self.publish(segment, offset);
        metrics::counter!(telemetry::GROUP_COMMITS).increment(1);
        metrics::counter!(telemetry::EVENTS).increment(self.stage.count() as u64);
        metrics::counter!(telemetry::BYTES).increment(bytes);
        Ok(())
    }

    fn publish(&mut self, segment: u32, offset: u32) {
        let hashing = self.shared.index.hashing;
        let (entries, mark) = self.stage.entries(hashing, (segment, offset), &mut self.blocks);
        self.shared.index.add(&entries, mark);
        {
            let mut published = lock(&self.shared.published);
            for (base, head) in &self.stage.heads {
                Published::put(&mut published, *base, *head);
            }
            published.end = mark.position;
        }
        self.shared.signal.send_replace(Signal { end: mark.position, closed: false });
        let gathering = entries.links.iter().flatten().map(|(stream, _)| stream);
        self.shared.followers.tell(self.stage.heads.keys().chain(gathering));
    }
}

/// Says so if the writer ends by a panic: appends would find nobody to answer them.
struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.0.trouble.set("the writer failed; the log of the service says how".to_owned());
        }
    }
}

fn wrong(stream: &StreamRef, expected: ExpectedState, actual: Option<u64>) -> Error {
    Error::WrongExpectedRevision { stream: stream.name.clone(), expected, actual }
}

/// Where a stream has an event with this id, among the recent ones: the newest, if it has several.
fn known(
    shared: &Shared,
    ids: &RecentIds,
    stage: &mut Stage,
    id: Uuid,
    stream: &StreamRef,
) -> Result<Option<Appended>> {
    if let Some(found) = stage.find(id, stream.own) {
        return Ok(Some(found));
    }
    for position in ids.find(fingerprint(id, stream.own)) {
        let raw = shared.cursor().checked(position)?;
        if raw.head.id == id && raw.stream() == stream.name.as_str().as_bytes() {
            let position = Some(Position::from_raw(position));
            return Ok(Some(Appended { last_revision: Some(raw.head.revision), position }));
        }
    }
    Ok(None)
}
