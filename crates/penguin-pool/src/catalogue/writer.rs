//! The one thread that writes. It takes batches in the order in which they come and answers each when it is committed.

use super::{
    CatalogueError, Result,
    apply::{self, Indexed},
    database::Database,
    schema::{self, Checkpoint},
};
use event_store::{EventStore, Position, ReadFrom, ReadStream, RecordedEvent, Revision, StoreId, StreamName};
use rusqlite::Connection;
use std::{sync::Arc, thread::JoinHandle};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

/// From this size on a batch is part of catching up, and worth more memory.
pub(super) const LARGE_BATCH: usize = 1024;
/// Kibibytes of pages that the writer keeps when events come singly, and while it catches up.
const SMALL_CACHE: i64 = 4 << 10;
const LARGE_CACHE: i64 = 64 << 10;

/// What the thread is asked. Each is answered with the checkpoint as it then stands.
pub(super) enum Command {
    /// To get ready for the events of this store: what was taken from another one is thrown away.
    Begin(StoreId),
    /// To take events in.
    Apply(Vec<RecordedEvent>),
    /// To note that everything up to there was looked at.
    LookedAt(Position),
    /// To give back the memory that much catching up took.
    Rest,
    /// To throw everything away.
    Reset,
}

type Job = (Command, oneshot::Sender<Result<Checkpoint>>);

/// The way to the thread. It ends when all of these are dropped.
#[derive(Debug, Clone)]
pub(super) struct Writer(mpsc::Sender<Job>);

impl Writer {
    /// Opens the database and starts the thread.
    pub(super) fn start(
        database: Arc<Database>,
        store: Arc<dyn EventStore>,
        indexed: Indexed,
        runtime: Handle,
    ) -> Result<(Self, JoinHandle<()>)> {
        let db = database.writer()?;
        let checkpoint = schema::checkpoint(&db)?;
        let (jobs, queue) = mpsc::channel(1);
        let worker = Worker {
            database,
            db: Some(db),
            checkpoint,
            store,
            indexed,
            runtime,
            large: false,
            // What was forgotten before the end may stand in the journal still.
            owes_journal: true,
        };
        let thread = std::thread::Builder::new()
            .name("catalogue".to_owned())
            .spawn(move || worker.run(queue))
            .map_err(|e| CatalogueError::Database(format!("the writer's thread does not start: {e}")))?;
        Ok((Self(jobs), thread))
    }

    /// Hands a command over; the answer comes by itself.
    pub(super) async fn send(&self, command: Command) -> oneshot::Receiver<Result<Checkpoint>> {
        let (answer, answered) = oneshot::channel();
        // A thread that is gone drops the sender, and the receiver says so.
        let _ = self.0.send((command, answer)).await;
        answered
    }

    /// Hands a command over and waits for the answer.
    pub(super) async fn ask(&self, command: Command) -> Result<Checkpoint> {
        self.send(command).await.await.unwrap_or(Err(CatalogueError::Stopped))
    }
}

struct Worker {
    database: Arc<Database>,
    db: Option<Connection>,
    checkpoint: Checkpoint,
    store: Arc<dyn EventStore>,
    indexed: Indexed,
    runtime: Handle,
    large: bool,
    /// Something was forgotten that may stand in the journal still.
    owes_journal: bool,
}

impl Worker {
    fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        while let Some((command, answer)) = queue.blocking_recv() {
            let done = self.carry_out(command);
            if let Err(CatalogueError::Damaged(error)) = &done {
                tracing::warn!(error, "the stream catalogue is damaged and is rebuilt");
                // The answer stays that it was damaged: whoever asked must know that nothing is held any more.
                if let Err(error) = self.reset() {
                    tracing::error!(%error, "the damaged stream catalogue cannot be begun anew yet");
                }
            }
            let _ = answer.send(done);
        }
    }

    fn carry_out(&mut self, command: Command) -> Result<Checkpoint> {
        if self.db.is_none() {
            self.reset()?;
        }
        match command {
            Command::Begin(store) if self.checkpoint.store != Some(store) => {
                if self.checkpoint.store.is_some() {
                    tracing::warn!(%store, "the stream catalogue is another store's and is rebuilt");
                    self.reset()?;
                }
                let checkpoint = Checkpoint { store: Some(store), ..self.checkpoint };
                self.commit(checkpoint, |db, checkpoint| schema::set_checkpoint(db, checkpoint))?;
            }
            Command::Begin(_) => {}
            Command::Apply(events) => {
                self.apply(&events)?;
                self.empty_journal()?;
            }
            Command::LookedAt(position) => {
                let checkpoint = Checkpoint { looked_at: Some(position), ..self.checkpoint };
                self.commit(checkpoint, |db, checkpoint| schema::set_checkpoint(db, checkpoint))?;
            }
            Command::Rest => self.size_cache(false)?,
            Command::Reset => self.reset()?,
        }
        Ok(self.checkpoint)
    }

    fn apply(&mut self, events: &[RecordedEvent]) -> Result<()> {
        if events.len() >= LARGE_BATCH {
            self.size_cache(true)?;
        }
        let (store, runtime, indexed) =
            (Arc::clone(&self.store), self.runtime.clone(), Arc::clone(&self.indexed));
        let mut refill = |name: &StreamName, from, before| refill(&runtime, &*store, name, from, before);
        let forgotten = self.commit(self.checkpoint, |db, checkpoint| {
            apply::apply(db, events, checkpoint, &indexed, &mut refill)
        })?;
        self.owes_journal |= forgotten;
        Ok(())
    }

    /// Empties the journal if something was forgotten. Where a reader is in the way it is tried again with the next events.
    fn empty_journal(&mut self) -> Result<()> {
        if self.owes_journal
            && let Some(db) = &self.db
        {
            self.owes_journal = !self.database.empty_journal(db)?;
        }
        Ok(())
    }

    fn commit<T>(
        &mut self,
        mut checkpoint: Checkpoint,
        write: impl FnOnce(&Connection, &mut Checkpoint) -> Result<T>,
    ) -> Result<T> {
        let db = self.db.as_ref().ok_or(CatalogueError::Stopped)?;
        let _turn = self.database.writing();
        let transaction = db.unchecked_transaction()?;
        let written = write(db, &mut checkpoint)?;
        transaction.commit()?;
        self.checkpoint = checkpoint;
        Ok(written)
    }

    /// Begins with nothing.
    fn reset(&mut self) -> Result<()> {
        let _turn = self.database.writing();
        self.db = None;
        self.large = false;
        self.database.discard()?;
        let db = self.database.writer()?;
        self.checkpoint = schema::checkpoint(&db)?;
        self.db = Some(db);
        Ok(())
    }

    /// A large cache makes a rebuild quick; when it is over the memory is given back.
    fn size_cache(&mut self, large: bool) -> Result<()> {
        if self.large == large {
            return Ok(());
        }
        if let Some(db) = &self.db {
            db.pragma_update(None, "cache_size", -(if large { LARGE_CACHE } else { SMALL_CACHE }))?;
            if !large {
                db.execute_batch("PRAGMA shrink_memory")?;
            }
        }
        self.large = large;
        Ok(())
    }
}

/// Reads a page of what the store still gives of a stream, backwards: from before one revision down to another. Read while
/// the stream goes on being truncated, so only what hangs together with the rest is taken.
fn refill(
    runtime: &Handle,
    store: &dyn EventStore,
    name: &StreamName,
    from: Revision,
    before: Revision,
) -> Result<Vec<RecordedEvent>> {
    let Some(mut next) = before.checked_sub(1).filter(|last| *last >= from) else { return Ok(Vec::new()) };
    let read = ReadStream::backwards(1000).from(ReadFrom::At(next));
    let page = match runtime.block_on(store.read_stream(name, read)) {
        Ok(page) => page,
        // What happened to the stream since then is still to come.
        Err(event_store::Error::StreamNotFound(_) | event_store::Error::StreamDeleted(_)) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error.into()),
    };
    let hangs_together = |event: &RecordedEvent| {
        let fits = event.revision == next && event.revision >= from;
        next = next.wrapping_sub(1);
        fits
    };
    Ok(page.events.into_iter().filter_map(|event| event.event).take_while(hangs_together).collect())
}
