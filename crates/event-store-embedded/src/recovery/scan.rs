//! Walking through the log from a checkpoint to its end.

use super::Fault;
use crate::{
    format::{self, FIRST_OF_COMMIT, HEADER_LEN, LAST_OF_COMMIT, RECORD_LEN, RecordHead},
    index::{BLOCK_BYTES, Block, Entries, Index, IndexLimits, Mark, Run},
    key::{Hashing, StreamKey},
    log::{Log, file_name},
};

/// How much is read at once.
const CHUNK: usize = 1 << 20;
/// How many events are collected at most before the index gets them.
const BATCH: usize = 16 << 10;
/// How often a long scan says how far it is.
const PROGRESS: u64 = 1_000_000;

pub(super) struct Scan<'a> {
    log: &'a Log,
    index: &'a Index,
    mark: Mark,
    entries: Entries,
    events: usize,
    batch: usize,
    blocks: BlockPlacer,
    last_name: Option<(Vec<u8>, StreamKey)>,
}

pub(super) struct Scanned {
    /// The position after the last event.
    pub(super) end: u64,
}

/// Decides which records' places the index remembers.
#[derive(Debug, Default)]
pub(crate) struct BlockPlacer(Option<(u32, u32)>);

impl BlockPlacer {
    pub(crate) fn wants(&mut self, segment: u32, offset: u32) -> bool {
        let near = self.0.is_some_and(|(s, o)| s == segment && offset - o < BLOCK_BYTES);
        if !near {
            self.0 = Some((segment, offset));
        }
        !near
    }
}

/// A record of a commit whose end was not seen yet.
struct Seen {
    key: StreamKey,
    head: RecordHead,
    derived: [Option<StreamKey>; 3],
    offset: u32,
    crc: u32,
}

/// How the walk through one segment ended.
struct Stop {
    /// The end of the last whole commit.
    good: u32,
    /// Where no intact record begins, although the file goes on.
    bad: Option<u32>,
}

impl<'a> Scan<'a> {
    /// Begins at a mark. The index gets entries in batches of about so many events.
    pub(super) fn new(log: &'a Log, index: &'a Index, mark: Mark, batch: usize) -> Self {
        Self {
            log,
            index,
            mark: Mark { offset: mark.offset.max(HEADER_LEN as u32), ..mark },
            entries: Entries::default(),
            events: 0,
            batch: batch.min(BATCH),
            blocks: BlockPlacer::default(),
            last_name: None,
        }
    }

    pub(super) fn run(mut self) -> Result<Scanned, Fault> {
        let began = self.mark.position;
        let last = self.log.count() - 1;
        for number in self.mark.segment..=last {
            let segment = self.log.segment(number).ok_or(Fault::Io(std::io::ErrorKind::NotFound.into()))?;
            let from = if number == self.mark.segment { self.mark.offset } else { HEADER_LEN as u32 };
            if from == HEADER_LEN as u32 && segment.first_position != self.mark.position {
                return Err(self.damage(number, 0, "its first position does not follow"));
            }
            let stop = self.walk(number, from, segment.len)?;
            if stop.good < segment.len {
                let bad = stop.bad.unwrap_or(stop.good);
                if number < last || self.was_flushed(number, bad, segment.len)? {
                    return Err(self.damage(number, bad, "no intact record begins here, and later ones do"));
                }
                self.cut(number, stop.good, segment.len)?;
            }
        }
        self.give(true)?;
        if self.mark.position - began >= PROGRESS {
            tracing::info!(events = self.mark.position - began, "the index was brought up to the log");
        }
        if self.mark.position > began || self.log.segment(last).is_some_and(|s| s.len == HEADER_LEN as u32) {
            self.make_safe(last)?;
        }
        Ok(Scanned { end: self.mark.position })
    }

    /// Where the last whole commit of a segment ends, and the position after it; nothing is changed by looking.
    pub(super) fn end_of(log: &Log, number: u32) -> Result<(u32, u64), Fault> {
        let Some(segment) = log.segment(number) else { return Ok((0, 0)) };
        let limits = IndexLimits { batch: usize::MAX, most: usize::MAX, interval: std::time::Duration::MAX };
        let scratch = Index::new(None, Hashing::new(0), limits, Mark::default());
        let mark = Mark { position: segment.first_position, segment: number, ..Mark::default() };
        let mut scan = Scan::new(log, &scratch, mark, BATCH);
        let stop = scan.walk(number, HEADER_LEN as u32, segment.len)?;
        Ok((stop.good, scan.mark.position))
    }

    fn damage(&self, number: u32, offset: u32, why: &str) -> Fault {
        Fault::Store(self.log.damage(number, u64::from(offset), why))
    }

    /// Walks through whole commits, giving them to the index.
    fn walk(&mut self, number: u32, from: u32, len: u32) -> Result<Stop, Fault> {
        let mut commit: Vec<Seen> = Vec::new();
        let mut good = from;
        let mut at = from;
        let mut size = CHUNK;
        while at < len {
            let left = (len - at) as usize;
            let chunk = self.log.read(number, at, size.min(left))?;
            size = CHUNK;
            let mut used = 0;
            while let Some(head) = RecordHead::decode(&chunk[used..]) {
                let total = head.total();
                if total > chunk.len() - used {
                    break;
                }
                let record = &chunk[used..used + total];
                let expected = self.mark.position + commit.len() as u64;
                let opens = head.flags & FIRST_OF_COMMIT != 0;
                if head.position != expected
                    || opens != commit.is_empty()
                    || !format::is_intact(record, self.log.seed)
                {
                    return Ok(Stop { good, bad: Some(at + offset(used)) });
                }
                let (name, event_type) = head.names(record);
                let key = self.key_of(name);
                let derived = self.index.hashing.derived(name, event_type, head.revision);
                let crc = format::u32_at(record, 0);
                commit.push(Seen { key, head, derived, offset: at + offset(used), crc });
                used += total;
                if head.flags & LAST_OF_COMMIT != 0 {
                    good = at + offset(used);
                    self.take(number, good, &mut commit)?;
                }
            }
            at += offset(used);
            if used == 0 {
                // A record larger than the chunk is read whole; anything else is no record.
                let head =
                    RecordHead::decode(&chunk).filter(|h| h.total() <= left && h.total() > chunk.len());
                match head {
                    Some(head) => size = head.total(),
                    None => return Ok(Stop { good, bad: Some(at) }),
                }
            }
        }
        Ok(Stop { good, bad: None })
    }

    fn key_of(&mut self, name: &[u8]) -> StreamKey {
        match &self.last_name {
            Some((known, key)) if known == name => *key,
            _ => {
                let key = self.index.hashing.key(name);
                self.last_name = Some((name.to_vec(), key));
                key
            }
        }
    }

    fn take(&mut self, segment: u32, end: u32, commit: &mut Vec<Seen>) -> Result<(), Fault> {
        // Only what stands before the first record of a write is known to be flushed (see `make_safe`), and the index's file
        // must never know what a loss of power can still take away.
        if self.events >= self.batch && commit.first().is_some_and(|first| first.head.distance == 0) {
            self.give(false)?;
        }
        for seen in commit.drain(..) {
            let run =
                Run { first_revision: seen.head.revision, first_position: seen.head.position, count: 1 };
            push_run(&mut self.entries.runs, seen.key, run);
            self.entries.link(seen.head.position, seen.derived);
            if self.blocks.wants(segment, seen.offset) {
                let position = seen.head.position;
                self.entries.blocks.push(Block { position, segment, offset: seen.offset });
            }
            self.events += 1;
            self.mark = Mark {
                position: seen.head.position + 1,
                segment,
                offset: end,
                last: Some((seen.offset, seen.crc)),
            };
        }
        Ok(())
    }

    /// Gives the index what was collected.
    fn give(&mut self, last: bool) -> Result<(), Fault> {
        if self.events > 0 {
            self.index.add(&self.entries, self.mark);
            self.entries.clear();
            let before = (self.mark.position - self.events as u64) / PROGRESS;
            self.events = 0;
            if self.mark.position / PROGRESS > before {
                tracing::info!(events = self.mark.position, "reading the log to build the index");
            }
        }
        if !last {
            self.index.flush(false)?;
        }
        Ok(())
    }

    /// Whether an intact record stands behind a bad place whose write began after it: then the bad place was flushed
    /// once, and is no torn tail.
    fn was_flushed(&self, number: u32, bad: u32, len: u32) -> Result<bool, Fault> {
        // At most one segment, and only after a crash or damage: simpler whole than in pieces.
        let rest = self.log.read(number, bad, (len - bad) as usize)?;
        let first = self.mark.position;
        for at in 1..rest.len().saturating_sub(RECORD_LEN) {
            let Some(head) = RecordHead::decode(&rest[at..]) else { continue };
            let plausible = head.position > first
                && (head.position - first) <= rest.len() as u64
                && head.total() <= rest.len() - at
                && (head.distance as usize) < at;
            if plausible && format::is_intact(&rest[at..at + head.total()], self.log.seed) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes and flushes once more what the last process may have left unflushed: the last write, or the header of a
    /// segment without records. That it can be read proves nothing: the process may have been killed before the flush, or
    /// the flush may have failed, after which the system counts as saved what is only in its memory. Whatever came before
    /// was flushed before the last write began.
    fn make_safe(&self, last: u32) -> Result<(), Fault> {
        let len = self.log.segment(last).map_or(0, |s| s.len);
        let from = match self.mark.last {
            Some((offset, _)) if self.mark.segment == last && len > HEADER_LEN as u32 => {
                let head = RecordHead::decode(&self.log.read(last, offset, RECORD_LEN)?);
                let distance = head.map(|head| head.distance).filter(|distance| *distance <= offset);
                offset - distance.ok_or_else(|| self.damage(last, offset, "the last record is damaged"))?
            }
            _ => 0,
        };
        let bytes = self.log.read(last, from, (len - from) as usize)?;
        let file = self.log.file(last)?;
        file.write_at(u64::from(from), &bytes)?;
        file.sync_data()?;
        self.log.sync_names()?;
        Ok(())
    }

    /// Cuts what is left of a write that was never acknowledged.
    fn cut(&self, number: u32, good: u32, len: u32) -> Result<(), Fault> {
        let cut = len - good;
        tracing::warn!(file = file_name(number), offset = good, bytes = cut, "a torn last write is cut off");
        let file = self.log.file(number)?;
        file.set_len(u64::from(good))?;
        file.sync_data()?;
        self.log.set_len(number, good);
        Ok(())
    }
}

/// Adds a run, to the last one if it follows it.
pub(crate) fn push_run(runs: &mut Vec<(StreamKey, Run)>, key: StreamKey, run: Run) {
    let follows = runs.last_mut().is_some_and(|(last, known)| *last == key && known.extend(run));
    if !follows {
        runs.push((key, run));
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a place within a chunk of a segment, which is below 4 GiB"
)]
fn offset(used: usize) -> u32 {
    used as u32
}
