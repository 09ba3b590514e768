//! The derived index: which positions a stream's revisions have, and where a position stands in the log.
//!
//! What is recent is in memory (the *overlay*), the rest in SQLite. Readers ask the overlay first: a batch leaves it only after
//! SQLite has it, so nothing is ever missing, and what is in both is the same. Without SQLite the overlay keeps everything.

mod background;
mod overlay;
mod sqlite;

pub(crate) use background::run as run_indexer;
pub(crate) use overlay::Run;
pub(crate) use sqlite::{Opened, Sqlite, Stored};

use crate::{
    heads::Spot,
    key::{Hashing, StreamKey},
    sync::{lock, read, write},
};
use event_store::{Error, Result, Revision};
use overlay::{Generation, Overlay};
use std::{
    sync::{Arc, Condvar, Mutex, RwLock},
    time::Duration,
};

/// Where a record stands: one about every [`BLOCK_BYTES`] is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) position: u64,
    pub(crate) segment: u32,
    pub(crate) offset: u32,
}

/// How far a walk through the log from a block may be.
pub(crate) const BLOCK_BYTES: u32 = 8 << 10;

/// An end of the log, and the record before it, by which it is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mark {
    /// The position of the record that comes next.
    pub(crate) position: u64,
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    /// The last record's offset and checksum; nothing where the log is empty.
    pub(crate) last: Option<(u32, u32)>,
}

/// What the writer adds at once.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    pub(crate) runs: Vec<(StreamKey, Run)>,
    /// Links of derived streams, as [`Hashing::derived`] has them: what follows on is more often of the same stream there.
    pub(crate) links: [Vec<(StreamKey, Positions)>; 3],
    pub(crate) blocks: Vec<Block>,
}

/// Consecutive positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Positions {
    pub(crate) first: u64,
    pub(crate) count: u64,
}

impl Entries {
    /// Adds the links to the event at a position.
    pub(crate) fn link(&mut self, position: u64, streams: [Option<StreamKey>; 3]) {
        for (links, stream) in self.links.iter_mut().zip(streams) {
            let Some(stream) = stream else { continue };
            match links.last_mut() {
                Some((last, known)) if *last == stream && known.first + known.count == position => {
                    known.count += 1;
                }
                _ => links.push((stream, Positions { first: position, count: 1 })),
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.runs.clear();
        self.links.iter_mut().for_each(Vec::clear);
        self.blocks.clear();
    }
}

/// How the indexer works.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IndexLimits {
    /// Rows that are written to SQLite at once.
    pub(crate) batch: usize,
    /// Rows in memory at which the writer waits.
    pub(crate) most: usize,
    /// How long a row stays in memory at most.
    pub(crate) interval: Duration,
}

/// The index.
#[derive(Debug)]
pub(crate) struct Index {
    overlay: RwLock<Overlay>,
    sqlite: Option<Sqlite>,
    pub(crate) hashing: Hashing,
    limits: IndexLimits,
    work: Mutex<Work>,
    /// Told when there is work, when some was done, and at the end.
    changed: Condvar,
}

/// What the writer and the indexer tell each other.
#[derive(Debug, Default)]
struct Work {
    rows: usize,
    stop: bool,
    /// Why the last batch could not be written.
    failure: Option<Error>,
}

impl Index {
    pub(crate) fn new(sqlite: Option<Sqlite>, hashing: Hashing, limits: IndexLimits, mark: Mark) -> Self {
        let overlay = Overlay { active: Generation::at(mark), flushing: None };
        Self {
            overlay: RwLock::new(overlay),
            sqlite,
            hashing,
            limits,
            work: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Adds entries, and says how far the log goes with them.
    pub(crate) fn add(&self, entries: &Entries, mark: Mark) {
        let rows = {
            let mut overlay = write(&self.overlay);
            overlay.active.add(entries, mark);
            overlay.rows()
        };
        if self.sqlite.is_some() {
            let mut work = lock(&self.work);
            let before = std::mem::replace(&mut work.rows, rows);
            if before == 0 || rows >= self.limits.batch {
                self.changed.notify_all();
            }
            metrics::gauge!(crate::telemetry::INDEX_LAG).set(rows as f64);
        }
    }

    /// Waits while too much is in memory.
    ///
    /// # Errors
    /// The indexer's, when it cannot write: waiting would not end.
    pub(crate) fn wait_for_room(&self) -> Result<()> {
        let mut work = lock(&self.work);
        while self.sqlite.is_some() && work.rows >= self.limits.most && !work.stop {
            if let Some(error) = &work.failure {
                return Err(error.clone());
            }
            work = self.changed.wait(work).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        Ok(())
    }

    /// Writes what is in memory to SQLite now, if it is worth a batch (or anything at all, if `all`).
    pub(crate) fn flush(&self, all: bool) -> Result<()> {
        let Some(sqlite) = &self.sqlite else { return Ok(()) };
        let batch = {
            let mut overlay = write(&self.overlay);
            // A batch that could not be written goes first: those after it build on its checkpoint.
            if overlay.flushing.is_none() {
                let rows = overlay.active.rows;
                let mark = overlay.active.mark;
                if (!all && rows < self.limits.batch) || (rows == 0 && sqlite.checkpoint() == mark.position) {
                    return Ok(());
                }
                let active = std::mem::replace(&mut overlay.active, Generation::at(mark));
                overlay.flushing = Some(Arc::new(active));
            }
            overlay.flushing.clone()
        };
        let Some(batch) = batch else { return Ok(()) };
        let written = sqlite.write(&batch);
        let mut overlay = write(&self.overlay);
        if written.is_ok() {
            overlay.flushing = None;
        }
        let rows = overlay.rows();
        drop(overlay);
        let mut work = lock(&self.work);
        work.rows = rows;
        work.failure = written.clone().err();
        drop(work);
        metrics::gauge!(crate::telemetry::INDEX_LAG).set(rows as f64);
        self.changed.notify_all();
        written
    }

    /// Ends the indexer; what is in memory stays there.
    pub(crate) fn stop(&self) {
        lock(&self.work).stop = true;
        self.changed.notify_all();
    }

    /// Leaves SQLite's file as small and as clean as it can be.
    pub(crate) fn tidy(&self) -> Result<()> {
        self.sqlite.as_ref().map_or(Ok(()), Sqlite::tidy)
    }

    /// Bytes of SQLite's files.
    pub(crate) fn bytes_on_disk(&self) -> u64 {
        self.sqlite.as_ref().map_or(0, Sqlite::bytes_on_disk)
    }

    /// The newest event of a stream whose position is below `end`.
    pub(crate) fn last(&self, stream: StreamKey, end: u64) -> Result<Option<Spot>> {
        let found = read(&self.overlay).last(stream, end);
        match (&self.sqlite, found) {
            (Some(sqlite), None) => sqlite.last(stream, end),
            _ => Ok(found),
        }
    }

    /// At most `limit` runs, in order, that hold all revisions of a stream from `from` to `to` with positions below `end`
    /// (or as many of them, from the first, as the limit allows). The first and the last may reach beyond.
    pub(crate) fn runs(
        &self,
        stream: StreamKey,
        (from, to): (Revision, Revision),
        end: u64,
        limit: usize,
    ) -> Result<Vec<Run>> {
        let recent = read(&self.overlay).runs(stream, (from, to), end);
        let Some(sqlite) = &self.sqlite else {
            return Ok(recent.into_iter().take(limit).collect());
        };
        let missing_to = match recent.first() {
            Some(run) if run.first_revision <= from => return Ok(recent.into_iter().take(limit).collect()),
            Some(run) => run.first_revision - 1,
            None => to,
        };
        let mut runs = sqlite.runs(stream, (from, missing_to), end, limit)?;
        runs.extend(recent);
        runs.truncate(limit);
        Ok(runs)
    }

    /// The newest link of a derived stream whose position is below `end`.
    pub(crate) fn last_link(&self, stream: StreamKey, end: u64) -> Result<Option<Spot>> {
        let (recent, _, start) =
            self.with_links(stream, |overlay, before| overlay.last_link(stream, before, end))?;
        match (&self.sqlite, recent) {
            (Some(sqlite), None) => sqlite.last(stream, end.min(start)),
            _ => Ok(recent),
        }
    }

    /// The links of a derived stream: as [`Index::runs`].
    pub(crate) fn links(
        &self,
        stream: StreamKey,
        (from, to): (Revision, Revision),
        end: u64,
        limit: usize,
    ) -> Result<Vec<Run>> {
        let ask = |overlay: &Overlay, before| overlay.links(stream, before, (from, to), end, limit);
        let (recent, before, start) = self.with_links(stream, ask)?;
        let Some(sqlite) = self.sqlite.as_ref().filter(|_| from < before) else { return Ok(recent) };
        let mut runs = sqlite.runs(stream, (from, to.min(before - 1)), end.min(start), limit)?;
        runs.extend(recent);
        runs.truncate(limit);
        Ok(runs)
    }

    /// Asks what is in memory for the links of a derived stream, telling it how many there are before. Gives that number
    /// too, and the position up to which they go.
    fn with_links<T>(&self, stream: StreamKey, ask: impl Fn(&Overlay, u64) -> T) -> Result<(T, u64, u64)> {
        loop {
            let start = read(&self.overlay).start();
            let newest = self.sqlite.as_ref().map_or(Ok(None), |sqlite| sqlite.last(stream, start))?;
            let before = newest.map_or(0, |spot| spot.revision + 1);
            let overlay = read(&self.overlay);
            // Unless a batch went to the file meanwhile: then there are more before.
            if overlay.start() == start {
                return Ok((ask(&overlay, before), before, start));
            }
        }
    }

    /// The error for an index that does not say what the log says.
    pub(crate) fn damaged(&self, why: &str) -> Error {
        match &self.sqlite {
            Some(sqlite) => sqlite.damaged(why),
            None => Error::Internal(why.to_owned()),
        }
    }

    /// The last known place at or before a position.
    pub(crate) fn block(&self, position: u64) -> Result<Block> {
        let found = read(&self.overlay).block(position);
        match (&self.sqlite, found) {
            (_, Some(block)) => Ok(block),
            (Some(sqlite), None) => sqlite.block(position),
            (None, None) => Err(Error::Internal(format!("position {position} is not in the index"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: IndexLimits =
        IndexLimits { batch: usize::MAX, most: usize::MAX, interval: Duration::from_secs(3600) };

    fn key(stream: u64) -> StreamKey {
        // Both halves beyond what SQLite's integers hold without a sign.
        StreamKey { high: u64::MAX - stream % 2, low: stream << 62 }
    }

    fn gathering(stream: u64) -> StreamKey {
        StreamKey { high: stream, low: u64::MAX - stream }
    }

    fn expanded(runs: &[Run], (from, to): (Revision, Revision)) -> Vec<(Revision, u64)> {
        let events =
            runs.iter().flat_map(|r| (0..r.count).map(|n| (r.first_revision + n, r.first_position + n)));
        events.filter(|(revision, _)| (from..=to).contains(revision)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

        /// Whatever has moved to the file and whatever has not, the answers are those of an index in memory.
        #[test]
        fn it_answers_alike_wherever_its_entries_are(
            steps in proptest::collection::vec((0..4_u64, 1..4_u64, any::<bool>()), 1..40),
            questions in proptest::collection::vec((0..4_u64, 0..30_u64, 0..30_u64, 0..130_u64), 20),
        ) {
            let directory = tempfile::tempdir().unwrap();
            let hashing = Hashing::new(1);
            let stored = Stored { store_id: uuid::Uuid::nil(), hashing, mark: Mark::default() };
            let sqlite = Sqlite::create(&directory.path().join("index.sqlite"), &stored).unwrap();
            let index = Index::new(Some(sqlite), hashing, LIMITS, Mark::default());
            let plain = Index::new(None, hashing, LIMITS, Mark::default());
            let (mut position, mut revisions, mut streams) = (0, [0; 4], Vec::new());
            for (stream, count, moves) in steps {
                let revision = &mut revisions[stream as usize];
                let run = Run { first_revision: *revision, first_position: position, count };
                let block = Block { position, segment: 0, offset: position as u32 * 10 };
                let mut entries =
                    Entries { runs: vec![(key(stream), run)], blocks: vec![block], ..Entries::default() };
                for at in position..position + count {
                    // What one stream gathers by the events' streams, the other by their positions.
                    entries.link(at, [Some(gathering(stream)), Some(gathering(4 + at % 2)), None]);
                }
                *revision += count;
                position += count;
                streams.extend((0..count).map(|_| stream));
                let mark = Mark { position, ..Mark::default() };
                index.add(&entries, mark);
                plain.add(&entries, mark);
                if moves {
                    index.flush(true).unwrap();
                }
            }
            let gathered = |stream: u64| {
                let at_position = (0_u64..).zip(&streams);
                at_position.filter(move |(at, of)| **of == stream || 4 + at % 2 == stream).map(|(at, _)| at)
            };
            for (stream, from, length, end) in questions {
                let (range, end) = ((from, from + length), end.min(position));
                prop_assert_eq!(index.last(key(stream), end).unwrap(), plain.last(key(stream), end).unwrap());
                let found = index.runs(key(stream), range, end, usize::MAX).unwrap();
                let expected = plain.runs(key(stream), range, end, usize::MAX).unwrap();
                prop_assert_eq!(expanded(&found, range), expanded(&expected, range));
                prop_assert_eq!(index.block(end).unwrap(), plain.block(end).unwrap());
                for stream in [stream, 4, 5] {
                    let expected: Vec<_> = (0..).zip(gathered(stream).filter(|at| *at < end)).collect();
                    let last = expected.last().map(|(revision, position)| Spot { revision: *revision, position: *position });
                    let within = expected.iter().copied().filter(|(r, _)| (range.0..=range.1).contains(r));
                    for index in [&index, &plain] {
                        prop_assert_eq!(index.last_link(gathering(stream), end).unwrap(), last);
                        let links = index.links(gathering(stream), range, end, usize::MAX).unwrap();
                        prop_assert_eq!(expanded(&links, range), within.clone().collect::<Vec<_>>());
                        let first = index.links(gathering(stream), range, end, 1).unwrap();
                        prop_assert_eq!(first.first(), links.first());
                    }
                }
            }
            index.flush(true).unwrap();
            drop(index);
            let opened = Sqlite::open(&directory.path().join("index.sqlite")).unwrap();
            let (reopened, stored) = (opened.file.unwrap(), opened.stored);
            prop_assert_eq!(stored.mark.position, position);
            prop_assert_eq!(reopened.last(key(0), position).unwrap(), plain.last(key(0), position).unwrap());
        }
    }

    #[test]
    fn a_batch_that_failed_is_tried_again_however_busy_the_writer_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("index.sqlite");
        let hashing = Hashing::new(1);
        let stored = Stored { store_id: uuid::Uuid::nil(), hashing, mark: Mark::default() };
        let sqlite = Sqlite::create(&path, &stored).unwrap();
        let limits = IndexLimits { batch: 1, interval: Duration::from_millis(200), ..LIMITS };
        let index = Index::new(Some(sqlite), hashing, limits, Mark::default());
        let other = rusqlite::Connection::open(&path).unwrap();
        other.execute_batch("ALTER TABLE runs RENAME TO away").unwrap();
        let run = Run { first_revision: 0, first_position: 0, count: 1 };
        let entries = Entries { runs: vec![(key(1), run)], ..Entries::default() };
        index.add(&entries, Mark { position: 1, ..Mark::default() });
        let patience = Duration::from_secs(30);
        let until = |failed: bool| {
            let work = lock(&index.work);
            let waiting = |work: &mut Work| work.failure.is_some() != failed;
            let (_work, waited) = index.changed.wait_timeout_while(work, patience, waiting).unwrap();
            assert!(!waited.timed_out(), "failed: {failed}");
        };
        std::thread::scope(|scope| {
            scope.spawn(|| run_indexer(&index));
            until(true);
            other.execute_batch("ALTER TABLE away RENAME TO runs").unwrap();
            let busy = std::sync::atomic::AtomicBool::new(true);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while busy.load(std::sync::atomic::Ordering::Relaxed) {
                        index.changed.notify_all();
                        std::thread::yield_now();
                    }
                });
                let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| until(false)));
                busy.store(false, std::sync::atomic::Ordering::Relaxed);
                index.stop();
                tried.unwrap();
            });
        });
        assert_eq!(index.last(key(1), 1).unwrap(), Some(Spot { revision: 0, position: 0 }));
    }
}
