//! The ids of recent events, so that an append that is sent again is known.
//!
//! Two numbers are kept for an event: a fingerprint of its id and stream, and a link to the next older event of the same
//! bucket. An event's place in the table is its position modulo the table's size, so an entry falls out by being overwritten, and a
//! link into overwritten ground shows by not leading to an older position. A hit is a guess: the caller reads the record.

use crate::{
    format::{u32_at, u64_at},
    key::StreamKey,
};
use uuid::Uuid;

/// How many events are remembered: a little over a million.
pub(crate) const CAPACITY: usize = 1 << 20;
const EMPTY: u32 = u32::MAX;
const SMALLEST: usize = 1 << 10;
const MAGIC: [u8; 8] = *b"PNGNIDS1";

/// The table. It grows with use, up to 16 MiB.
#[derive(Debug)]
pub(crate) struct RecentIds {
    /// Fingerprint and link of position `p` at `p % len`.
    entries: Vec<(u64, u32)>,
    buckets: Vec<u32>,
    /// The oldest position remembered.
    start: u64,
    /// The position after the newest.
    end: u64,
    capacity: usize,
}

/// The fingerprint of an event's id in a stream.
pub(crate) fn fingerprint(id: Uuid, stream: StreamKey) -> u64 {
    let (high, low) = id.as_u64_pair();
    let product = u128::from(high ^ stream.high) * u128::from(low ^ stream.low | 1);
    let (top, bottom) = Uuid::from_u128(product).as_u64_pair();
    // Multiplied once more: buckets are the lowest bits.
    (top ^ bottom ^ low.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)
}

impl RecentIds {
    /// An empty table of a store that goes on at `end`.
    pub(crate) fn new(end: u64) -> Self {
        Self::with_capacity(end, CAPACITY)
    }

    fn with_capacity(end: u64, capacity: usize) -> Self {
        let size = SMALLEST.min(capacity);
        Self { entries: vec![(0, EMPTY); size], buckets: vec![EMPTY; size], start: end, end, capacity }
    }

    /// The position that the next event must have.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Remembers the event at [`RecentIds::end`].
    pub(crate) fn push(&mut self, fingerprint: u64) {
        let used = usize::try_from(self.end - self.start).unwrap_or(usize::MAX);
        if used >= self.entries.len() {
            if self.entries.len() < self.capacity {
                self.grow();
            } else {
                self.start += 1;
            }
        }
        self.link(self.end, fingerprint);
        self.end += 1;
    }

    fn place(&self, position: u64) -> usize {
        // The size is a power of two that fits 32 bits.
        (position & (self.entries.len() as u64 - 1)) as usize
    }

    #[expect(clippy::cast_possible_truncation, reason = "a place is below 2^20")]
    fn link(&mut self, position: u64, fingerprint: u64) {
        let place = self.place(position);
        let bucket = (fingerprint & (self.buckets.len() as u64 - 1)) as usize;
        self.entries[place] = (fingerprint, self.buckets[bucket]);
        self.buckets[bucket] = place as u32;
    }

    fn grow(&mut self) {
        let size = self.entries.len() * 2;
        let old: Vec<u64> = (self.start..self.end).map(|p| self.entries[self.place(p)].0).collect();
        self.entries = vec![(0, EMPTY); size];
        self.buckets = vec![EMPTY; size];
        for (position, fingerprint) in (self.start..).zip(old) {
            self.link(position, fingerprint);
        }
    }

    /// Positions of events that may have this fingerprint, newest first.
    pub(crate) fn find(&self, fingerprint: u64) -> impl Iterator<Item = u64> + '_ {
        let bucket = (fingerprint & (self.buckets.len() as u64 - 1)) as usize;
        let mut next = self.buckets[bucket];
        let mut newer = self.end;
        std::iter::from_fn(move || {
            while next != EMPTY {
                let position = self.newest_at(next)?;
                if position >= newer {
                    return None;
                }
                newer = position;
                let (found, link) = self.entries[next as usize];
                next = link;
                if found == fingerprint {
                    return Some(position);
                }
            }
            None
        })
    }

    /// The newest remembered position that has this place.
    fn newest_at(&self, place: u32) -> Option<u64> {
        let last = self.end.checked_sub(1)?;
        let size = self.entries.len() as u64;
        let back = (last & (size - 1)).wrapping_sub(u64::from(place)) & (size - 1);
        last.checked_sub(back).filter(|p| *p >= self.start)
    }

    /// As bytes, with what they belong to: `tag` must be given again to read them.
    pub(crate) fn encode(&self, tag: [u8; 16]) -> Vec<u8> {
        let mut out = Vec::with_capacity(48 + self.entries.len() * 8);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&tag);
        out.extend_from_slice(&self.start.to_le_bytes());
        out.extend_from_slice(&self.end.to_le_bytes());
        for position in self.start..self.end {
            out.extend_from_slice(&self.entries[self.place(position)].0.to_le_bytes());
        }
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// From bytes; nothing if they are damaged or belong to something else.
    pub(crate) fn decode(bytes: &[u8], tag: [u8; 16]) -> Option<Self> {
        let (body, crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        if body.len() < 40
            || body[..8] != MAGIC
            || body[8..24] != tag
            || u32_at(crc, 0) != crc32fast::hash(body)
        {
            return None;
        }
        let (start, end) = (u64_at(body, 24), u64_at(body, 32));
        let count = usize::try_from(end.checked_sub(start)?).ok()?;
        if count > CAPACITY || body.len() != 40 + count * 8 {
            return None;
        }
        let size = count.next_power_of_two().max(SMALLEST);
        let mut ids = Self {
            entries: vec![(0, EMPTY); size],
            buckets: vec![EMPTY; size],
            start,
            end,
            capacity: CAPACITY,
        };
        for (position, at) in (start..end).zip((40..).step_by(8)) {
            ids.link(position, u64_at(body, at));
        }
        Some(ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn exactly_the_last_so_many_are_found_and_a_snapshot_finds_the_same() {
        let key = StreamKey { high: 3, low: 4 };
        let print = |n: u64| fingerprint(Uuid::from_u64_pair(n, n * 7), key);
        let mut ids = RecentIds::with_capacity(100, 4096);
        for n in 100..20_000 {
            assert_eq!(ids.end(), n);
            ids.push(print(n));
        }
        let found = |ids: &RecentIds, n: u64| ids.find(print(n)).collect::<Vec<_>>();
        assert!((100..20_000 - 4096).all(|n| found(&ids, n).is_empty()));
        assert!((20_000 - 4096..20_000).all(|n| found(&ids, n) == [n]));
        let tag = [9; 16];
        let read = RecentIds::decode(&ids.encode(tag), tag).unwrap();
        assert!((100..20_000).all(|n| found(&ids, n) == found(&read, n)));
        assert!(RecentIds::decode(&ids.encode(tag), [8; 16]).is_none());
    }

    proptest! {
        #[test]
        fn few_buckets_full_of_equals_are_walked_newest_first(prints in proptest::collection::vec(0..5u64, 0..200)) {
            let mut ids = RecentIds::with_capacity(0, 64);
            for print in &prints {
                ids.push(*print);
            }
            for wanted in 0..5 {
                let window = prints.len().saturating_sub(64);
                let expected: Vec<u64> =
                    (window..prints.len()).rev().filter(|i| prints[*i] == wanted).map(|i| i as u64).collect();
                prop_assert_eq!(ids.find(wanted).collect::<Vec<_>>(), expected);
            }
        }

        #[test]
        fn any_bytes_are_no_snapshot(bytes: Vec<u8>) {
            prop_assert!(RecentIds::decode(&bytes, [0; 16]).is_none());
        }
    }
}
