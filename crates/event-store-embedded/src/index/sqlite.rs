//! The index's file.

use super::{Block, Mark, Run, overlay::Generation};
use crate::{
    heads::Spot,
    key::{Hashing, StreamKey},
    sync::lock,
};
use event_store::{Error, Result, Revision};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, params};
use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};
use uuid::Uuid;

/// 2: links of derived streams are among the runs.
const SCHEMA_VERSION: i64 = 2;
/// The oldest version that says of itself what this one does.
const OLDEST_VERSION: i64 = 1;
const SCHEMA: &str = "
    CREATE TABLE store(one INTEGER PRIMARY KEY CHECK(one = 1), id BLOB NOT NULL, secret BLOB NOT NULL,
        position INTEGER NOT NULL, segment INTEGER NOT NULL, offset INTEGER NOT NULL,
        last_offset INTEGER, last_crc INTEGER);
    CREATE TABLE runs(high INTEGER, low INTEGER, first_revision INTEGER, first_position INTEGER NOT NULL,
        count INTEGER NOT NULL, PRIMARY KEY(high, low, first_revision)) WITHOUT ROWID;
    CREATE TABLE blocks(position INTEGER PRIMARY KEY, segment INTEGER NOT NULL, offset INTEGER NOT NULL);
";

/// A stream's newest run that begins below a position.
const NEWEST_RUN: &str = "SELECT first_revision, first_position, count FROM runs
    WHERE high = ?1 AND low = ?2 AND first_position < ?3 ORDER BY first_revision DESC LIMIT 1";

/// What an index file says of itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored {
    pub(crate) store_id: Uuid,
    pub(crate) hashing: Hashing,
    pub(crate) mark: Mark,
}

/// A file that was there.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) stored: Stored,
    /// The file, if it can be used. One of an earlier version lacks what this program looks up, and still is a witness of what
    /// the log had.
    pub(crate) file: Option<Sqlite>,
}

/// An index file: one connection to write, a few to read.
#[derive(Debug)]
pub(crate) struct Sqlite {
    path: PathBuf,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
    /// The position up to which the file knows everything.
    checkpoint: AtomicU64,
}

impl Sqlite {
    /// Opens a file and reads what it says.
    pub(crate) fn open(path: &Path) -> rusqlite::Result<Opened> {
        if marker(path).exists() {
            let corrupt = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
            return Err(rusqlite::Error::SqliteFailure(corrupt, Some("it was found damaged".into())));
        }
        let writer = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let version: i64 = writer.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if !(OLDEST_VERSION..=SCHEMA_VERSION).contains(&version) {
            return Err(rusqlite::Error::InvalidQuery);
        }
        let stored = writer.query_row(
            "SELECT id, secret, position, segment, offset, last_offset, last_crc FROM store",
            [],
            |row| {
                let last = row.get::<_, Option<u32>>(5)?.zip(row.get::<_, Option<u32>>(6)?);
                Ok(Stored {
                    store_id: Uuid::from_bytes(row.get(0)?),
                    hashing: Hashing::new(u128::from_be_bytes(row.get(1)?)),
                    mark: Mark {
                        position: unsigned(row, 2)?,
                        segment: row.get(3)?,
                        offset: row.get(4)?,
                        last,
                    },
                })
            },
        )?;
        let current = version == SCHEMA_VERSION;
        let file = current.then(|| Self::with(path, writer, stored.mark.position)).transpose()?;
        Ok(Opened { stored, file })
    }

    /// Makes a new file in the place of any that is there.
    pub(crate) fn create(path: &Path, stored: &Stored) -> rusqlite::Result<Self> {
        for suffix in ["", "-wal", "-shm"] {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            // What cannot be removed shows when the file is made.
            let _ = std::fs::remove_file(name);
        }
        let _ = std::fs::remove_file(marker(path));
        let mut writer = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        let transaction = writer.transaction()?;
        transaction.execute_batch(SCHEMA)?;
        transaction.execute(
            "INSERT INTO store(one, id, secret, position, segment, offset) VALUES(1, ?1, ?2, 0, 0, 0)",
            params![stored.store_id.as_bytes(), stored.hashing.secret().to_be_bytes()],
        )?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        transaction.commit()?;
        Self::with(path, writer, 0)
    }

    fn with(path: &Path, writer: Connection, checkpoint: u64) -> rusqlite::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            writer: Mutex::new(writer),
            readers: Mutex::default(),
            checkpoint: AtomicU64::new(checkpoint),
        })
    }

    /// The position up to which the file knows everything.
    pub(crate) fn checkpoint(&self) -> u64 {
        self.checkpoint.load(Ordering::Acquire)
    }

    /// Adds a batch and moves the checkpoint, all or nothing.
    pub(super) fn write(&self, batch: &Generation) -> Result<()> {
        let mut writer = lock(&self.writer);
        let written = write_batch(&mut writer, batch);
        if written.is_ok() {
            self.checkpoint.store(batch.mark.position, Ordering::Release);
        }
        written.map_err(|error| self.explain(&error))
    }

    /// Moves the journal into the file.
    pub(crate) fn tidy(&self) -> Result<()> {
        // Readers at rest would keep the journal from being emptied.
        lock(&self.readers).clear();
        let writer = lock(&self.writer);
        writer
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .map_err(|error| self.explain(&error))
    }

    pub(crate) fn bytes_on_disk(&self) -> u64 {
        let wal = self.path.with_extension("sqlite-wal");
        [&self.path, &wal].iter().filter_map(|path| std::fs::metadata(path).ok()).map(|m| m.len()).sum()
    }

    pub(crate) fn last(&self, stream: StreamKey, end: u64) -> Result<Option<Spot>> {
        let run = self.read(|connection| {
            connection
                .prepare_cached(NEWEST_RUN)?
                .query_row(
                    params![stream.high.cast_signed(), stream.low.cast_signed(), end.cast_signed()],
                    run_of,
                )
                .optional()
        })?;
        Ok(run.and_then(|run| run.below(end)).map(Run::last))
    }

    pub(crate) fn runs(
        &self,
        stream: StreamKey,
        (from, to): (Revision, Revision),
        end: u64,
        limit: usize,
    ) -> Result<Vec<Run>> {
        let (high, low) = (stream.high.cast_signed(), stream.low.cast_signed());
        let runs = self.read(|connection| {
            let first = connection
                .prepare_cached(
                    "SELECT first_revision, first_position, count FROM runs
                     WHERE high = ?1 AND low = ?2 AND first_revision <= ?3 ORDER BY first_revision DESC LIMIT 1",
                )?
                .query_row(params![high, low, from.cast_signed()], run_of)
                .optional()?
                .filter(|run| run.last().revision >= from);
            let mut runs: Vec<Run> = first.into_iter().collect();
            let mut statement = connection.prepare_cached(
                "SELECT first_revision, first_position, count FROM runs
                 WHERE high = ?1 AND low = ?2 AND first_revision > ?3 AND first_revision <= ?4
                 ORDER BY first_revision LIMIT ?5",
            )?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let rows = statement
                .query_map(params![high, low, from.cast_signed(), to.cast_signed(), limit], run_of)?;
            for run in rows {
                runs.push(run?);
            }
            Ok(runs)
        })?;
        // A batch that came in meanwhile may reach past what the overlay answered: cut what was asked twice.
        let within = |run: Run| {
            let count = run.count.min((to - run.first_revision).saturating_add(1));
            Run { count, ..run }.below(end)
        };
        Ok(runs.into_iter().filter_map(within).collect())
    }

    pub(crate) fn block(&self, position: u64) -> Result<Block> {
        let found = self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT position, segment, offset FROM blocks WHERE position <= ?1 ORDER BY position DESC LIMIT 1",
                )?
                .query_row([position.cast_signed()], |row| {
                    Ok(Block { position: unsigned(row, 0)?, segment: row.get(1)?, offset: row.get(2)? })
                })
                .optional()
        })?;
        found.ok_or_else(|| self.damaged(&format!("position {position} is not in it")))
    }

    /// Runs a question on a reader's connection.
    fn read<T>(&self, ask: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let at_rest = lock(&self.readers).pop();
        let connection = match at_rest {
            Some(connection) => connection,
            None => connect(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|e| self.explain(&e))?,
        };
        let answer = ask(&connection);
        lock(&self.readers).push(connection);
        answer.map_err(|error| self.explain(&error))
    }

    /// Notes that the file cannot be trusted: the next start throws it away and builds it again.
    pub(crate) fn damaged(&self, why: &str) -> Error {
        let noted = std::fs::write(marker(&self.path), why).is_ok();
        let advice =
            if noted { "start the service again" } else { "delete the file and start the service again" };
        Error::Corrupt(format!(
            "{}: {why}; {advice}, and it is built again from the log",
            self.path.display()
        ))
    }

    fn explain(&self, error: &rusqlite::Error) -> Error {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => {
                // Clients may be told what is full, and not where it is.
                tracing::error!(file = %self.path.display(), %error, "there is no space for the index");
                Error::StorageFull("there is no space for its index".into())
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => self.damaged(&error.to_string()),
            _ => Error::Internal(format!("{}: {error}", self.path.display())),
        }
    }
}

/// The file that says that an index was found damaged.
fn marker(path: &Path) -> PathBuf {
    path.with_extension("sqlite-damaged")
}

fn connect(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    if access.contains(OpenFlags::SQLITE_OPEN_READ_ONLY) {
        connection.execute_batch("PRAGMA cache_size = -1024;")?;
    } else {
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -8192;
             PRAGMA wal_autocheckpoint = 4000; PRAGMA journal_size_limit = 67108864;",
        )?;
    }
    Ok(connection)
}

fn write_batch(connection: &mut Connection, batch: &Generation) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    {
        let mut insert = transaction.prepare_cached(
            "INSERT OR REPLACE INTO runs(high, low, first_revision, first_position, count) VALUES(?1, ?2, ?3, ?4, ?5)",
        )?;
        let mut add = |key: StreamKey, run: Run| {
            insert.execute(params![
                key.high.cast_signed(),
                key.low.cast_signed(),
                run.first_revision.cast_signed(),
                run.first_position.cast_signed(),
                run.count.cast_signed()
            ])
        };
        for (key, run) in batch.sorted_runs() {
            add(key, run)?;
        }
        let mut newest = transaction.prepare_cached(NEWEST_RUN)?;
        for (key, runs) in batch.sorted_links() {
            // Counted up to where the batch begins: written once more, it is the same.
            let start = batch.start.cast_signed();
            let before = newest
                .query_row(params![key.high.cast_signed(), key.low.cast_signed(), start], run_of)
                .optional()?
                .and_then(|run| run.below(batch.start))
                .map_or(0, |run| run.last().revision + 1);
            for run in runs {
                add(key, Run { first_revision: before + run.first_revision, ..*run })?;
            }
        }
        let mut insert = transaction
            .prepare_cached("INSERT OR REPLACE INTO blocks(position, segment, offset) VALUES(?1, ?2, ?3)")?;
        for block in batch.blocks() {
            insert.execute(params![block.position.cast_signed(), block.segment, block.offset])?;
        }
        let mark = batch.mark;
        let (last_offset, last_crc) = mark.last.unzip();
        transaction.execute(
            "UPDATE store SET position = ?1, segment = ?2, offset = ?3, last_offset = ?4, last_crc = ?5",
            params![mark.position.cast_signed(), mark.segment, mark.offset, last_offset, last_crc],
        )?;
    }
    transaction.commit()
}

fn run_of(row: &Row<'_>) -> rusqlite::Result<Run> {
    Ok(Run { first_revision: unsigned(row, 0)?, first_position: unsigned(row, 1)?, count: unsigned(row, 2)? })
}

fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.cast_unsigned())
}
