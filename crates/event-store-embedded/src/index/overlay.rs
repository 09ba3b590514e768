//! The index's entries in memory: those being collected, and those that are on their way to SQLite.

use super::{Block, Entries, Mark};
use crate::{
    heads::Spot,
    key::{KeyMap, StreamKey},
};
use event_store::Revision;
use std::sync::Arc;

/// Consecutive revisions of one stream at consecutive positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) first_revision: Revision,
    pub(crate) first_position: u64,
    pub(crate) count: u64,
}

impl Run {
    /// The part of it that lies below an end of the log.
    pub(crate) fn below(self, end: u64) -> Option<Self> {
        let count = self.count.min(end.saturating_sub(self.first_position));
        (count > 0).then_some(Self { count, ..self })
    }

    pub(crate) fn last(self) -> Spot {
        Spot {
            revision: self.first_revision + (self.count - 1),
            position: self.first_position + (self.count - 1),
        }
    }

    /// Takes in what follows, if it does.
    pub(crate) fn extend(&mut self, next: Self) -> bool {
        let follows = self.first_revision.checked_add(self.count) == Some(next.first_revision)
            && self.first_position + self.count == next.first_position;
        if follows {
            self.count += next.count;
        }
        follows
    }
}

/// The runs of one stream. Most streams have one, which needs no allocation.
#[derive(Debug)]
enum Runs {
    One(Run),
    Many(Vec<Run>),
}

impl Runs {
    /// The revision after the last.
    fn end(&self) -> Revision {
        self.as_slice().last().map_or(0, |run| run.first_revision + run.count)
    }

    fn as_slice(&self) -> &[Run] {
        match self {
            Self::One(run) => std::slice::from_ref(run),
            Self::Many(runs) => runs,
        }
    }

    /// Whether a row was added.
    fn push(&mut self, run: Run) -> bool {
        match self {
            Self::One(first) => {
                if first.extend(run) {
                    return false;
                }
                *self = Self::Many(vec![*first, run]);
            }
            Self::Many(runs) => {
                if runs.last_mut().is_some_and(|last| last.extend(run)) {
                    return false;
                }
                runs.push(run);
            }
        }
        true
    }
}

/// Entries that go to SQLite together.
#[derive(Debug, Default)]
pub(crate) struct Generation {
    runs: KeyMap<Runs>,
    /// The links of derived streams, numbered from 0 in each generation: how many come before is known where they are read, or
    /// written to the file. The writer, which adds them, need not look for it.
    links: KeyMap<Runs>,
    blocks: Vec<Block>,
    /// The position at which it begins.
    pub(super) start: u64,
    /// How many rows they make.
    pub(super) rows: usize,
    /// How far the log goes with them.
    pub(super) mark: Mark,
}

impl Generation {
    /// An empty one that begins where the log goes to `mark`.
    pub(super) fn at(mark: Mark) -> Self {
        Self { mark, start: mark.position, ..Self::default() }
    }

    pub(super) fn add(&mut self, entries: &Entries, mark: Mark) {
        for (stream, run) in &entries.runs {
            let added = match self.runs.entry(*stream) {
                hashbrown::hash_map::Entry::Occupied(mut entry) => entry.get_mut().push(*run),
                hashbrown::hash_map::Entry::Vacant(entry) => {
                    entry.insert(Runs::One(*run));
                    true
                }
            };
            self.rows += usize::from(added);
        }
        for (stream, positions) in entries.links.iter().flatten() {
            let run = |first_revision| Run {
                first_revision,
                first_position: positions.first,
                count: positions.count,
            };
            let added = match self.links.entry(*stream) {
                hashbrown::hash_map::Entry::Occupied(mut entry) => {
                    let end = entry.get().end();
                    entry.get_mut().push(run(end))
                }
                hashbrown::hash_map::Entry::Vacant(entry) => {
                    entry.insert(Runs::One(run(0)));
                    true
                }
            };
            self.rows += usize::from(added);
        }
        self.blocks.extend_from_slice(&entries.blocks);
        self.rows += entries.blocks.len();
        self.mark = mark;
    }

    /// All runs in the order of SQLite's table, so that its pages are written one after the other.
    pub(super) fn sorted_runs(&self) -> Vec<(StreamKey, Run)> {
        let mut rows: Vec<_> =
            self.runs.iter().flat_map(|(key, runs)| runs.as_slice().iter().map(|run| (*key, *run))).collect();
        rows.sort_unstable_by_key(|(key, run)| {
            (key.high.cast_signed(), key.low.cast_signed(), run.first_revision)
        });
        rows
    }

    /// All links, stream by stream in the same order, each numbered from 0.
    pub(super) fn sorted_links(&self) -> Vec<(StreamKey, &[Run])> {
        let mut streams: Vec<_> = self.links.iter().map(|(key, runs)| (*key, runs.as_slice())).collect();
        streams.sort_unstable_by_key(|(key, _)| (key.high.cast_signed(), key.low.cast_signed()));
        streams
    }

    pub(super) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    fn of(&self, stream: StreamKey) -> &[Run] {
        self.runs.get(&stream).map_or(&[], Runs::as_slice)
    }
}

#[derive(Debug)]
pub(super) struct Overlay {
    pub(super) active: Generation,
    pub(super) flushing: Option<Arc<Generation>>,
}

impl Overlay {
    pub(super) fn rows(&self) -> usize {
        self.active.rows + self.flushing.as_ref().map_or(0, |f| f.rows)
    }

    /// Oldest first.
    fn generations(&self) -> impl DoubleEndedIterator<Item = &Generation> {
        self.flushing.as_deref().into_iter().chain(std::iter::once(&self.active))
    }

    /// The position from which on it has all links.
    pub(super) fn start(&self) -> u64 {
        self.flushing.as_ref().map_or(self.active.start, |flushing| flushing.start)
    }

    /// The newest link of a derived stream below `end`, of which `before` are not in memory.
    pub(super) fn last_link(&self, stream: StreamKey, before: u64, end: u64) -> Option<Spot> {
        let mut last = None;
        let mut before = before;
        for generation in self.generations() {
            let Some(runs) = generation.links.get(&stream) else { continue };
            let newest = runs.as_slice().iter().rev().find_map(|run| run.below(end)).map(Run::last);
            last = newest.map(|spot| Spot { revision: before + spot.revision, ..spot }).or(last);
            before += runs.end();
        }
        last
    }

    /// At most `limit` runs of a derived stream's links.
    pub(super) fn links(
        &self,
        stream: StreamKey,
        before: u64,
        (from, to): (Revision, Revision),
        end: u64,
        limit: usize,
    ) -> Vec<Run> {
        let mut found = Vec::new();
        let mut before = before;
        for generation in self.generations() {
            let Some(runs) = generation.links.get(&stream) else { continue };
            let first = runs.as_slice().partition_point(|run| before + run.last().revision < from);
            let rest = runs.as_slice().get(first..).unwrap_or_default();
            let numbered = rest.iter().map(|run| Run { first_revision: before + run.first_revision, ..*run });
            let overlapping = numbered.take_while(|run| run.first_revision <= to);
            found.extend(overlapping.filter_map(|run| run.below(end)).take(limit - found.len()));
            before += runs.end();
        }
        found
    }

    pub(super) fn last(&self, stream: StreamKey, end: u64) -> Option<Spot> {
        let newest = |generation: &Generation| {
            generation.of(stream).iter().rev().find_map(|run| run.below(end)).map(Run::last)
        };
        self.generations().rev().find_map(newest)
    }

    pub(super) fn runs(&self, stream: StreamKey, (from, to): (Revision, Revision), end: u64) -> Vec<Run> {
        let overlapping = |generation: &'_ Generation| {
            let runs = generation.of(stream);
            let first = runs.partition_point(|r| r.last().revision < from);
            let past = runs.partition_point(|r| r.first_revision <= to);
            runs.get(first..past).unwrap_or_default().iter().filter_map(|r| r.below(end)).collect::<Vec<_>>()
        };
        self.generations().flat_map(overlapping).collect()
    }

    pub(super) fn block(&self, position: u64) -> Option<Block> {
        let found = |generation: &Generation| {
            let after = generation.blocks.partition_point(|b| b.position <= position);
            Some(generation.blocks[after.checked_sub(1)?])
        };
        self.generations().rev().find_map(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_consecutive_becomes_one_run_and_an_end_cuts_it() {
        let key = StreamKey { high: 1, low: 2 };
        let run = |first_revision, first_position, count| Run { first_revision, first_position, count };
        let mut active = Generation::default();
        for one in [run(0, 10, 2), run(2, 12, 3), run(5, 20, 1), run(i64::MAX as u64, 21, 1)] {
            active.add(&Entries { runs: vec![(key, one)], ..Entries::default() }, Mark::default());
        }
        assert_eq!(active.rows, 3);
        let overlay = Overlay { active, flushing: None };
        assert_eq!(overlay.runs(key, (1, 5), 100), [run(0, 10, 5), run(5, 20, 1)]);
        assert_eq!(overlay.runs(key, (1, 5), 13), [run(0, 10, 3)]);
        assert_eq!(overlay.last(key, 21), Some(Spot { revision: 5, position: 20 }));
        assert_eq!(overlay.last(key, 11), Some(Spot { revision: 0, position: 10 }));
        assert_eq!(overlay.last(key, 10), None);
        assert_eq!(overlay.last(key, 99).map(|s| s.revision), Some(i64::MAX as u64));
    }
}
