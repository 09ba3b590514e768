//! To whom an event goes.

use super::{Strategy, machine::ConsumerId};
use event_store::ResolvedEvent;
use std::collections::{HashMap, VecDeque};

/// Over how many buckets streams are spread (KurrentDB's number).
const BUCKETS: usize = 1024;

/// What is to become of an event now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// It goes to this one; the bucket, if it is pinned by one.
    To(ConsumerId, Option<usize>),
    /// The one it is for can take no more: the next event may be for another.
    Later,
    /// Nobody can take more.
    Full,
}

/// Keeps the turn, and which bucket is whose.
#[derive(Debug)]
pub(crate) struct Dealer {
    strategy: Strategy,
    turn: VecDeque<ConsumerId>,
    /// Empty unless events are pinned.
    buckets: Vec<Bucket>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    owner: Option<ConsumerId>,
    under_way: u32,
}

impl Dealer {
    pub(crate) fn new(strategy: Strategy) -> Self {
        let pinned = matches!(strategy, Strategy::Pinned | Strategy::PinnedByCorrelation);
        let buckets = if pinned { vec![Bucket::default(); BUCKETS] } else { Vec::new() };
        Self { strategy, turn: VecDeque::new(), buckets }
    }

    /// A consumer that comes gets its share of the buckets, idle ones first.
    pub(crate) fn joined(&mut self, new: ConsumerId) {
        self.turn.push_back(new);
        let mut owned = self.owned();
        let share = owned.values().sum::<usize>().div_ceil(self.turn.len());
        let mut order: Vec<usize> = (0..self.buckets.len()).collect();
        order.sort_by_key(|i| self.buckets[*i].under_way);
        for index in order {
            let Some(owner) = self.buckets[index].owner else { continue };
            let Some(count) = owned.get_mut(&owner).filter(|count| **count > share) else { continue };
            *count -= 1;
            self.buckets[index] = Bucket { owner: Some(new), under_way: 0 };
        }
    }

    /// The buckets of one that leaves are free.
    pub(crate) fn left(&mut self, gone: ConsumerId) {
        self.turn.retain(|id| *id != gone);
        for bucket in self.buckets.iter_mut().filter(|b| b.owner == Some(gone)) {
            *bucket = Bucket::default();
        }
    }

    /// Whose turn it is, among those that have room.
    pub(crate) fn choose(&mut self, event: &ResolvedEvent, room: impl Fn(ConsumerId) -> bool) -> Choice {
        match self.strategy {
            Strategy::RoundRobin | Strategy::DispatchToSingle => {
                for _ in 0..self.turn.len() {
                    let Some(next) = self.turn.front().copied() else { break };
                    let free = room(next);
                    if !free || self.strategy == Strategy::RoundRobin {
                        self.turn.rotate_left(1);
                    }
                    if free {
                        return Choice::To(next, None);
                    }
                }
                Choice::Full
            }
            Strategy::Pinned | Strategy::PinnedByCorrelation => {
                if !self.turn.iter().any(|id| room(*id)) {
                    return Choice::Full;
                }
                let index = self.bucket_of(event);
                let Some(owner) = self.buckets[index].owner.or_else(|| self.least_laden()) else {
                    return Choice::Full;
                };
                self.buckets[index].owner = Some(owner);
                if !room(owner) {
                    return Choice::Later;
                }
                self.buckets[index].under_way += 1;
                Choice::To(owner, Some(index))
            }
        }
    }

    /// An event that was sent to this one by this bucket is under way no more.
    pub(crate) fn returned(&mut self, from: ConsumerId, bucket: Option<usize>) {
        let bucket = bucket.and_then(|index| self.buckets.get_mut(index));
        if let Some(bucket) = bucket.filter(|b| b.owner == Some(from)) {
            bucket.under_way = bucket.under_way.saturating_sub(1);
        }
    }

    fn owned(&self) -> HashMap<ConsumerId, usize> {
        let mut owned: HashMap<ConsumerId, usize> = self.turn.iter().map(|id| (*id, 0)).collect();
        for owner in self.buckets.iter().filter_map(|b| b.owner) {
            *owned.entry(owner).or_default() += 1;
        }
        owned
    }

    fn least_laden(&self) -> Option<ConsumerId> {
        let owned = self.owned();
        self.turn.iter().copied().min_by_key(|id| owned.get(id).copied().unwrap_or_default())
    }

    fn bucket_of(&self, event: &ResolvedEvent) -> usize {
        let correlation = (self.strategy == Strategy::PinnedByCorrelation).then(|| correlation(event));
        let hash = match correlation.flatten() {
            Some(id) => hash(&id),
            None => hash(&stream_of(event)),
        };
        usize::try_from(hash % BUCKETS as u64).unwrap_or_default()
    }
}

/// The stream an event was first written to, as far as it can be told.
fn stream_of(event: &ResolvedEvent) -> String {
    let Some(record) = event.event.as_ref().or(event.link.as_ref()) else { return String::new() };
    record.link_target().map_or_else(|| record.stream.to_string(), |(_, stream)| stream.to_string())
}

fn correlation(event: &ResolvedEvent) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Metadata {
        #[serde(rename = "$correlationId")]
        id: Option<String>,
    }
    let record = event.event.as_ref().or(event.link.as_ref())?;
    serde_json::from_slice::<Metadata>(&record.metadata).ok()?.id
}

/// FNV-1a: the same in every process, so that who gets what can be had again.
fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
