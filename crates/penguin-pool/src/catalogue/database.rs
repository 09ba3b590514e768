//! The database's file and connections: one that writes, a few that read, and a time limit on every query.

use super::{CatalogueError, Result, schema};
use event_store::Clock;
use rusqlite::{Connection, OpenFlags};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Where the catalogue is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In this file (and the two that SQLite puts beside it). Lost or damaged, it is made again from the store.
    File(PathBuf),
    /// In memory, gone with the process.
    Memory,
}

/// Instructions of SQLite's machine between two looks at the clock: some ten microseconds.
const STEPS_PER_LOOK: i32 = 1000;

/// How long another connection is waited for.
const BUSY_PATIENCE: Duration = Duration::from_secs(5);

/// How long readers are waited for when the journal is to be emptied. It is tried again.
const JOURNAL_PATIENCE: Duration = Duration::from_millis(500);

/// The file and its reading connections.
#[derive(Debug)]
pub(super) struct Database {
    place: Place,
    clock: Arc<dyn Clock>,
    /// What SQLite is told to open.
    uri: String,
    /// SQLite in memory has no snapshots, so there readers and the writer take turns. In a file they do not meet.
    turns: RwLock<()>,
    idle: Mutex<Vec<(u64, Connection)>>,
    /// One for each query that may run. It goes with the query, whose caller may hang up before it ends.
    permits: Arc<Semaphore>,
    /// Searches take one of these too: fewer, so that there is always a reader for what is quick.
    searches: Arc<Semaphore>,
    /// Counted up when the file is thrown away: older connections still look at the old one.
    generation: AtomicU64,
    /// Told when a reader meets damage.
    pub(super) damaged: Notify,
}

/// Until when a query may run.
#[derive(Debug, Clone)]
pub(super) struct Deadline {
    clock: Arc<dyn Clock>,
    at: Duration,
}

impl Deadline {
    /// Whether the time is up.
    pub(super) fn passed(&self) -> bool {
        self.clock.monotonic() >= self.at
    }

    /// Ends a query whose time is up; [`Database::read`] says to the caller what to do instead.
    pub(super) fn check(&self) -> Result<()> {
        if self.passed() { Err(CatalogueError::TooSlow { limit_ms: 0, advice: "" }) } else { Ok(()) }
    }
}

impl Database {
    pub(super) fn new(place: Place, readers: usize, clock: Arc<dyn Clock>) -> Self {
        static MEMORIES: AtomicU64 = AtomicU64::new(0);
        let uri = match &place {
            Place::File(path) => path.to_string_lossy().into_owned(),
            Place::Memory => {
                format!("file:/catalogue-{}?vfs=memdb", MEMORIES.fetch_add(1, Ordering::Relaxed))
            }
        };
        Self {
            place,
            clock,
            uri,
            turns: RwLock::new(()),
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(readers.max(1))),
            searches: Arc::new(Semaphore::new(readers.saturating_sub(1).max(1))),
            generation: AtomicU64::new(0),
            damaged: Notify::new(),
        }
    }

    /// The writing connection. A file that is damaged or of another version is thrown away and begun anew.
    pub(super) fn writer(&self) -> Result<Connection> {
        match self.open_writer() {
            Ok(Some(db)) => return Ok(db),
            Ok(None) => tracing::warn!("the stream catalogue is of another version and is rebuilt"),
            Err(CatalogueError::Damaged(error)) => {
                tracing::warn!(error, "the stream catalogue is damaged and is rebuilt");
            }
            Err(error) => return Err(error),
        }
        self.discard()?;
        self.open_writer()?
            .ok_or_else(|| CatalogueError::Database("a new file is not of this version".to_owned()))
    }

    fn open_writer(&self) -> Result<Option<Connection>> {
        let db = self.connect(OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        if self.place != Place::Memory {
            db.pragma_update(None, "journal_mode", "wal")?;
        }
        // The rows can be made again, so a flush a checkpoint is enough: a crash loses the tail and never order.
        db.pragma_update(None, "synchronous", "normal")?;
        // What is taken out is overwritten with zeros.
        db.pragma_update(None, "secure_delete", "on")?;
        db.pragma_update(None, "wal_autocheckpoint", 4000)?;
        db.pragma_update(None, "journal_size_limit", 32 << 20)?;
        db.set_prepared_statement_cache_capacity(64);
        Ok(schema::prepare(&db)?.then_some(db))
    }

    fn connect(&self, flags: OpenFlags) -> rusqlite::Result<Connection> {
        let mut flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if self.place == Place::Memory {
            flags |= OpenFlags::SQLITE_OPEN_URI;
        }
        let db = Connection::open_with_flags(&self.uri, flags)?;
        db.busy_timeout(BUSY_PATIENCE)?;
        db.pragma_update(None, "temp_store", "memory")?;
        db.pragma_update(None, "cache_size", -4096)?;
        Ok(db)
    }

    /// Throws the file away. The writing connection must be closed; readers under way finish on the old file.
    pub(super) fn discard(&self) -> Result<()> {
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        if let Place::File(path) = &self.place {
            remove_files(path).map_err(|e| {
                CatalogueError::Database(format!("{} cannot be removed: {e}", path.display()))
            })?;
        }
        Ok(())
    }

    /// Closes the reading connections that are idle, and lets no new ones be made.
    pub(super) fn close(&self) {
        self.permits.close();
        self.searches.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Takes what was overwritten out of the file's journal as well. Whether it is gone: a reader that still looks at what
    /// was there before keeps it for as long.
    pub(super) fn empty_journal(&self, db: &Connection) -> Result<bool> {
        if self.place == Place::Memory {
            return Ok(true);
        }
        db.busy_timeout(JOURNAL_PATIENCE)?;
        let busy = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        db.busy_timeout(BUSY_PATIENCE)?;
        Ok(busy? == 0)
    }

    /// Held by the writer from the beginning to the end of a transaction.
    pub(super) fn writing(&self) -> Option<RwLockWriteGuard<'_, ()>> {
        (self.place == Place::Memory).then(|| self.turns.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn reading(&self) -> Option<RwLockReadGuard<'_, ()>> {
        (self.place == Place::Memory).then(|| self.turns.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs a query that may well take its whole time: see [`Database::read`]. It leaves a reader to the others.
    ///
    /// # Errors
    /// [`CatalogueError::TooSlow`] with `advice` when the time was up.
    pub(super) async fn search<T, F>(
        self: &Arc<Self>,
        limit: Duration,
        advice: &'static str,
        query: F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, &Deadline) -> Result<T> + Send + 'static,
    {
        let place = permit(&self.searches, limit, advice).await?;
        let query = move |db: &Connection, deadline: &Deadline| {
            let _place = place;
            query(db, deadline)
        };
        self.read(limit, advice, query).await
    }

    /// Runs a query on one snapshot, off the runtime's threads, and stops it after `limit`. It waits as long at most for
    /// others to end.
    ///
    /// # Errors
    /// [`CatalogueError::TooSlow`] with `advice` when the time was up.
    pub(super) async fn read<T, F>(
        self: &Arc<Self>,
        limit: Duration,
        advice: &'static str,
        query: F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, &Deadline) -> Result<T> + Send + 'static,
    {
        let permit = permit(&self.permits, limit, advice).await?;
        // From here on: a query is not cut short because others were slow.
        let deadline = Deadline { clock: Arc::clone(&self.clock), at: self.clock.monotonic() + limit };
        let database = Arc::clone(self);
        let look = deadline.clone();
        let answer = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            database.run(&deadline, query)
        })
        .await;
        match answer {
            Err(panic) => Err(CatalogueError::Database(panic.to_string())),
            // Interrupted by SQLite's look at the clock, or by the query's own.
            Ok(Err(CatalogueError::Database(_) | CatalogueError::TooSlow { .. })) if look.passed() => {
                Err(too_slow(limit, advice))
            }
            Ok(answer) => answer,
        }
    }

    fn run<T>(
        &self,
        deadline: &Deadline,
        query: impl FnOnce(&Connection, &Deadline) -> Result<T>,
    ) -> Result<T> {
        let _turn = self.reading();
        let generation = self.generation.load(Ordering::SeqCst);
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let db = match idle {
            Some((of, db)) if of == generation => db,
            _ => self.connect(OpenFlags::SQLITE_OPEN_READ_ONLY)?,
        };
        let look = deadline.clone();
        db.progress_handler(STEPS_PER_LOOK, Some(move || look.passed()));
        let answer = (|| {
            let snapshot = db.unchecked_transaction()?;
            let answer = query(&db, deadline)?;
            snapshot.commit()?;
            Ok(answer)
        })();
        db.progress_handler(0, None::<fn() -> bool>);
        match &answer {
            // Damage in a file that was thrown away meanwhile is no reason to throw the new one away.
            Err(CatalogueError::Damaged(_)) => {
                if self.generation.load(Ordering::SeqCst) == generation {
                    self.damaged.notify_one();
                }
            }
            _ if self.permits.is_closed() => {}
            _ => self.idle.lock().unwrap_or_else(PoisonError::into_inner).push((generation, db)),
        }
        answer
    }
}

fn too_slow(limit: Duration, advice: &'static str) -> CatalogueError {
    CatalogueError::TooSlow { limit_ms: limit.as_millis().try_into().unwrap_or(u64::MAX), advice }
}

async fn permit(of: &Arc<Semaphore>, limit: Duration, advice: &'static str) -> Result<OwnedSemaphorePermit> {
    match tokio::time::timeout(limit, Arc::clone(of).acquire_owned()).await {
        Ok(permit) => permit.map_err(|_| CatalogueError::Stopped),
        Err(_) => Err(too_slow(limit, advice)),
    }
}

fn remove_files(path: &Path) -> std::io::Result<()> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match std::fs::remove_file(PathBuf::from(name)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use event_store::SystemClock;
    use futures::FutureExt as _;

    const LONG: Duration = Duration::from_secs(20);

    fn database(readers: usize) -> Arc<Database> {
        Arc::new(Database::new(Place::Memory, readers, Arc::new(SystemClock)))
    }

    #[tokio::test]
    async fn a_query_counts_until_it_ends_and_searches_leave_a_reader() {
        let database = database(2);
        let _writer = database.writer().unwrap();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let searched = Arc::clone(&database);
        let search = tokio::spawn(async move {
            let query = move |_: &Connection, _: &Deadline| {
                begun.send(()).unwrap();
                ended.recv().unwrap();
                Ok(())
            };
            searched.search(LONG, "", query).await
        });
        has_begun.await.unwrap();
        search.abort();
        assert!(search.await.unwrap_err().is_cancelled());
        assert_eq!(database.permits.available_permits(), 1, "who hung up is still being answered");
        let waited = database.search(Duration::ZERO, "", |_, _| Ok(())).await;
        assert!(matches!(waited, Err(CatalogueError::TooSlow { .. })), "{waited:?}");
        assert_eq!(database.read(LONG, "", |_, _| Ok(1)).await, Ok(1));
        end.send(()).unwrap();
        assert_eq!(database.search(LONG, "", |_, _| Ok(2)).await, Ok(2));
    }

    #[tokio::test]
    async fn damage_in_a_file_that_is_gone_is_not_told() {
        let database = database(1);
        let _writer = database.writer().unwrap();
        let damaged = || Err::<(), _>(CatalogueError::Damaged("torn".to_owned()));
        let old = Arc::clone(&database);
        let query = move |_: &Connection, _: &Deadline| {
            old.discard()?;
            damaged()
        };
        assert_eq!(database.read(LONG, "", query).await, damaged());
        assert!(database.damaged.notified().now_or_never().is_none());
        assert_eq!(database.read(LONG, "", move |_, _| damaged()).await, damaged());
        assert!(database.damaged.notified().now_or_never().is_some());
    }
}
