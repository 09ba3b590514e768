//! What a group does, decided without any I/O: which event goes to whom, when it is sent again, when it is parked, and how
//! far the group has come. Time is told to it; what it wants done it gives back as [`Effect`]s.
//!
//! An event is in one of four places: *waiting* (to be sent, first or again), *under way* (sent, not acknowledged), *being
//! parked*, or settled and forgotten. Each has a number in the order of its coming, by which it is known in here: ids are
//! the writers', and two events may have the same.

use super::{
    Place, Settings,
    info::Latencies,
    ledger::{Ledger, TICK},
    strategy::{Choice, Dealer},
};
use event_store::{ResolvedEvent, Revision};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    sync::Arc,
    time::Duration,
};
use uuid::Uuid;

/// What an event costs in memory beside its payload, in bytes, roughly.
const OVERHEAD: usize = 512;

/// A consumer, as the group knows it.
pub(crate) type ConsumerId = u64;

/// What a consumer says of an event that it did not work off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Put it aside.
    Park,
    /// Send it again.
    Retry,
    /// Forget it.
    Skip,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Effect {
    /// Send this to a consumer; if it cannot be, [`Machine::undelivered`].
    Send {
        /// To whom.
        consumer: ConsumerId,
        /// Its number.
        number: u64,
        /// What.
        event: ResolvedEvent,
        /// How often it was sent before.
        retries: u32,
    },
    /// Write this to the parked messages; then [`Machine::parked`] or [`Machine::not_parked`].
    Park {
        /// Its number.
        number: u64,
        /// What.
        event: ResolvedEvent,
        /// Why.
        reason: String,
    },
    /// Write this down; then [`Machine::wrote_checkpoint`].
    Checkpoint(Place),
}

#[derive(Debug)]
struct Message {
    event: ResolvedEvent,
    /// Its revision among the parked messages, if it is one that is replayed.
    parked: Option<Revision>,
    retries: u32,
}

impl Message {
    fn id(&self) -> Uuid {
        self.event.original().map_or(Uuid::nil(), |e| e.id)
    }

    fn size(&self) -> usize {
        let records = self.event.event.iter().chain(&self.event.link);
        OVERHEAD + records.map(event_store::RecordedEvent::size).sum::<usize>()
    }
}

/// In which order waiting events are sent: again before replayed before new, and each by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Again(u64),
    Replayed(u64),
    New(u64),
}

impl Turn {
    const fn number(self) -> u64 {
        match self {
            Self::Again(number) | Self::Replayed(number) | Self::New(number) => number,
        }
    }
}

#[derive(Debug)]
struct UnderWay {
    message: Message,
    consumer: ConsumerId,
    bucket: Option<usize>,
    sent: Duration,
    expires: Duration,
}

/// A consumer's side.
#[derive(Debug)]
pub(crate) struct Consumer {
    /// How many events may be under way to it.
    pub(crate) slots: usize,
    /// The numbers of those that are.
    pub(crate) under_way: BTreeSet<u64>,
    /// It does not take what it was sent: nothing more until it does.
    stalled: bool,
    /// How many events it was sent.
    pub(crate) sent: u64,
    /// How long it took, if that is measured.
    pub(crate) latencies: Option<Latencies>,
}

/// A group's state.
#[derive(Debug)]
pub(crate) struct Machine {
    settings: Arc<Settings>,
    next_number: u64,
    waiting: BTreeMap<Turn, Message>,
    under_way: BTreeMap<u64, UnderWay>,
    by_id: HashMap<Uuid, Vec<u64>>,
    expiries: BTreeSet<(Duration, u64)>,
    parking: BTreeMap<u64, Message>,
    /// Replayed messages that are not settled, by their revision among the parked.
    replayed: BTreeSet<Revision>,
    consumers: BTreeMap<ConsumerId, Consumer>,
    dealer: Dealer,
    ledger: Ledger,
    live: bool,
    /// While it catches up: how many events are left of the batch being read.
    batch_left: usize,
    last_known: Option<Place>,
    /// What all events in here take, and may take, in bytes.
    held: usize,
    most_held: usize,
    sent: u64,
    effects: Vec<Effect>,
}

impl Machine {
    /// A group at its checkpoint, that holds at most about so many bytes of events.
    pub(crate) fn new(settings: Arc<Settings>, checkpoint: Option<Place>, most_held: usize) -> Self {
        Self {
            dealer: Dealer::new(settings.strategy),
            settings,
            next_number: 0,
            waiting: BTreeMap::new(),
            under_way: BTreeMap::new(),
            by_id: HashMap::new(),
            expiries: BTreeSet::new(),
            parking: BTreeMap::new(),
            replayed: BTreeSet::new(),
            consumers: BTreeMap::new(),
            ledger: Ledger::new(checkpoint),
            live: false,
            batch_left: 0,
            last_known: None,
            held: 0,
            most_held,
            sent: 0,
            effects: Vec::new(),
        }
    }

    /// Whether it has room for the next event of its source.
    pub(crate) fn wants(&self) -> bool {
        let waiting = self.waiting.len();
        if self.held >= self.most_held {
            return false;
        }
        if self.live {
            return waiting < (self.settings.live_buffer_size as usize).max(1);
        }
        let room = (self.settings.history_buffer_size as usize).saturating_sub(waiting);
        self.batch_left > 0 || room > self.settings.batch()
    }

    /// For how many parked messages it has room now.
    pub(crate) fn room_for_replay(&self) -> usize {
        let room = (self.settings.history_buffer_size as usize).saturating_sub(self.waiting.len());
        if self.held >= self.most_held { 0 } else { room.min(self.settings.batch()) }
    }

    /// The next event of the source.
    pub(crate) fn arrived(&mut self, event: ResolvedEvent, place: Place) {
        let number = self.number();
        self.ledger.arrived(number, place);
        self.last_known = Some(place);
        if !self.live {
            self.batch_left = self.batch_left.checked_sub(1).unwrap_or_else(|| self.settings.batch() - 1);
        }
        self.wait(Turn::New(number), Message { event, parked: None, retries: 0 });
    }

    /// So many events of the source were looked at up to this place, and are none of the group's.
    pub(crate) fn skipped(&mut self, place: Place, count: u64) {
        self.ledger.skipped(place, count);
    }

    /// A parked message is to be sent once more.
    pub(crate) fn replayed(&mut self, event: ResolvedEvent, parked: Revision) {
        let number = self.number();
        self.replayed.insert(parked);
        self.wait(Turn::Replayed(number), Message { event, parked: Some(parked), retries: 0 });
    }

    /// The source brings what is written from now on, or what was.
    pub(crate) fn set_live(&mut self, live: bool) {
        self.live = live;
        self.batch_left = 0;
    }

    /// A consumer came, to which so many events may be under way.
    pub(crate) fn joined(&mut self, id: ConsumerId, slots: usize) {
        let latencies = self.settings.extra_statistics.then(Latencies::default);
        let consumer = Consumer { slots, under_way: BTreeSet::new(), stalled: false, sent: 0, latencies };
        self.consumers.insert(id, consumer);
        self.dealer.joined(id);
    }

    /// A consumer is gone: what was under way to it goes to others at once.
    pub(crate) fn left(&mut self, id: ConsumerId) {
        let Some(consumer) = self.consumers.get(&id) else { return };
        for number in consumer.under_way.clone() {
            if let Some(message) = self.bring_back(number, None) {
                self.again(number, message, 1);
            }
        }
        self.consumers.remove(&id);
        self.dealer.left(id);
    }

    /// A consumer worked these off.
    pub(crate) fn acknowledged(&mut self, from: ConsumerId, ids: &[Uuid], now: Duration) {
        for id in ids {
            if let Some(number) = self.find(from, *id)
                && let Some(message) = self.bring_back(number, Some(now))
            {
                self.settle(number, &message);
            }
        }
    }

    /// A consumer did not work these off.
    pub(crate) fn refused(
        &mut self,
        from: ConsumerId,
        ids: &[Uuid],
        action: Action,
        reason: &str,
        now: Duration,
    ) {
        for id in ids {
            let Some(number) = self.find(from, *id) else { continue };
            let Some(message) = self.bring_back(number, Some(now)) else { continue };
            match action {
                Action::Park => {
                    self.park(number, message, format!("Client explicitly NAK'ed message.\n{reason}"))
                }
                Action::Retry => self.again_or_park(number, message),
                Action::Skip => self.settle(number, &message),
            }
        }
    }

    /// A consumer has not taken what it was sent before: this waits, and nothing more is sent to it until it takes again.
    pub(crate) fn undelivered(&mut self, number: u64) {
        let Some(consumer) = self.under_way.get(&number).map(|u| u.consumer) else { return };
        if let Some(message) = self.bring_back(number, None) {
            self.again(number, message, 0);
        }
        if let Some(consumer) = self.consumers.get_mut(&consumer) {
            consumer.stalled = true;
        }
    }

    /// A consumer takes again.
    pub(crate) fn resumed(&mut self, id: ConsumerId) {
        if let Some(consumer) = self.consumers.get_mut(&id) {
            consumer.stalled = false;
        }
    }

    /// Who does not take what it was sent.
    pub(crate) fn stalled(&self) -> impl Iterator<Item = ConsumerId> {
        self.consumers.iter().filter(|(_, c)| c.stalled).map(|(id, _)| *id)
    }

    /// A message stands among the parked ones.
    pub(crate) fn parked(&mut self, number: u64) {
        if let Some(message) = self.parking.remove(&number) {
            self.settle(number, &message);
        }
    }

    /// A message could not be parked: it is sent again.
    pub(crate) fn not_parked(&mut self, number: u64) {
        if let Some(message) = self.parking.remove(&number) {
            self.again(number, message, 0);
        }
    }

    /// What became of a checkpoint.
    pub(crate) fn wrote_checkpoint(&mut self, safe: bool) {
        self.ledger.wrote(safe);
    }

    /// Does all that can be done now, and says what is to be done for it.
    pub(crate) fn advance(&mut self, now: Duration) -> Vec<Effect> {
        while let Some((_, number)) = self.expiries.first().copied().filter(|(expires, _)| *expires <= now) {
            if let Some(message) = self.bring_back(number, Some(now)) {
                self.again_or_park(number, message);
            }
        }
        self.deal(now);
        if let Some(place) = self.ledger.checkpoint(&self.settings, now) {
            self.effects.push(Effect::Checkpoint(place));
        }
        std::mem::take(&mut self.effects)
    }

    /// When there will be something to do even if nothing comes.
    pub(crate) fn next_wake(&self) -> Option<Duration> {
        let expiry = self.expiries.first().map(|(expires, _)| *expires);
        [expiry, self.ledger.due(&self.settings)].into_iter().flatten().min()
    }

    /// The lowest revision, among the parked messages, of one that was replayed and is not settled.
    pub(crate) fn first_replayed(&self) -> Option<Revision> {
        self.replayed.first().copied()
    }

    /// Where it stands.
    pub(crate) const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Its consumers.
    pub(crate) const fn consumers(&self) -> &BTreeMap<ConsumerId, Consumer> {
        &self.consumers
    }

    pub(crate) const fn is_live(&self) -> bool {
        self.live
    }

    /// What all its events take, in bytes.
    pub(crate) const fn held(&self) -> usize {
        self.held
    }

    /// How many events it sent.
    pub(crate) const fn sent(&self) -> u64 {
        self.sent
    }

    /// The newest place of one of its events.
    pub(crate) const fn last_known(&self) -> Option<Place> {
        self.last_known
    }

    /// How many events are under way.
    pub(crate) fn count_under_way(&self) -> usize {
        self.under_way.len()
    }

    /// How many events wait to be sent again or replayed, and how many to be sent first.
    pub(crate) fn count_waiting(&self) -> (usize, usize) {
        let new = self.waiting.range(Turn::New(0)..).count();
        (self.waiting.len() - new, new)
    }

    const fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn wait(&mut self, turn: Turn, message: Message) {
        self.held += message.size();
        self.waiting.insert(turn, message);
    }

    fn again(&mut self, number: u64, mut message: Message, more: u32) {
        message.retries = message.retries.saturating_add(more);
        let turn = if message.parked.is_some() { Turn::Replayed(number) } else { Turn::Again(number) };
        self.waiting.insert(turn, message);
    }

    fn again_or_park(&mut self, number: u64, message: Message) {
        if message.retries < self.settings.max_retry_count {
            return self.again(number, message, 1);
        }
        let reason = format!("Reached retry count of {}", self.settings.max_retry_count);
        self.park(number, message, reason);
    }

    fn park(&mut self, number: u64, message: Message, reason: String) {
        self.effects.push(Effect::Park { number, event: message.event.clone(), reason });
        self.parking.insert(number, message);
    }

    fn settle(&mut self, number: u64, message: &Message) {
        self.held = self.held.saturating_sub(message.size());
        match message.parked {
            Some(revision) => {
                self.replayed.remove(&revision);
            }
            None => self.ledger.settled(number),
        }
    }

    /// The number of the event with this id that is under way: to this consumer if there is one, else to another.
    fn find(&self, consumer: ConsumerId, id: Uuid) -> Option<u64> {
        let numbers = self.by_id.get(&id)?;
        let own = numbers.iter().find(|n| self.under_way.get(n).is_some_and(|u| u.consumer == consumer));
        own.or(numbers.first()).copied()
    }

    /// Takes an event back from its consumer, and measures how long it took if it is told the time.
    fn bring_back(&mut self, number: u64, now: Option<Duration>) -> Option<Message> {
        let UnderWay { message, consumer: id, bucket, sent, expires } = self.under_way.remove(&number)?;
        self.expiries.remove(&(expires, number));
        if let Some(numbers) = self.by_id.get_mut(&message.id()) {
            numbers.retain(|n| *n != number);
            if numbers.is_empty() {
                self.by_id.remove(&message.id());
            }
        }
        if let Some(consumer) = self.consumers.get_mut(&id) {
            consumer.under_way.remove(&number);
            if let Some((latencies, now)) = consumer.latencies.as_mut().zip(now) {
                latencies.took(now.saturating_sub(sent));
            }
        }
        self.dealer.returned(id, bucket);
        Some(message)
    }

    /// Sends what waits, as far as consumers have room.
    fn deal(&mut self, now: Duration) {
        let mut from = Bound::Unbounded;
        while let Some((turn, message)) = self.waiting.range((from, Bound::Unbounded)).next() {
            let turn = *turn;
            from = Bound::Excluded(turn);
            let room =
                |id| self.consumers.get(&id).is_some_and(|c| !c.stalled && c.under_way.len() < c.slots);
            match self.dealer.choose(&message.event, room) {
                Choice::Full => return,
                Choice::Later => {}
                Choice::To(consumer, bucket) => self.send(turn, consumer, bucket, now),
            }
        }
    }

    fn send(&mut self, turn: Turn, id: ConsumerId, bucket: Option<usize>, now: Duration) {
        let Some(message) = self.waiting.remove(&turn) else { return };
        let number = turn.number();
        let expires = now.saturating_add(whole_ticks(self.settings.message_timeout));
        self.sent += 1;
        if let Some(consumer) = self.consumers.get_mut(&id) {
            consumer.under_way.insert(number);
            consumer.sent += 1;
        }
        self.by_id.entry(message.id()).or_default().push(number);
        self.expiries.insert((expires, number));
        let (event, retries) = (message.event.clone(), message.retries);
        self.effects.push(Effect::Send { consumer: id, number, event, retries });
        self.under_way.insert(number, UnderWay { message, consumer: id, bucket, sent: now, expires });
    }
}

/// A time-out as it is kept: KurrentDB looks once a second, and there are clients that hold acknowledgements back for a
/// fraction of one.
fn whole_ticks(timeout: Duration) -> Duration {
    let ticks = timeout.as_nanos().div_ceil(TICK.as_nanos()).max(1);
    TICK.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX))
}
