//! The machine by examples, and against a plain account of what it said and was told.

use super::{
    Place, Settings, Strategy,
    machine::{Action, ConsumerId, Effect, Machine},
};
use event_store::{ContentType, EventType, Position, RecordedEvent, ResolvedEvent, StreamName, Timestamp};
use proptest::prelude::{Just, Strategy as _, prop_assert, prop_assert_eq, prop_oneof, proptest};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use uuid::Uuid;

const TIMEOUT: Duration = Duration::from_secs(10);
const MUCH: usize = 1 << 30;

fn settings(strategy: Strategy) -> Settings {
    Settings {
        resolve_links: false,
        extra_statistics: true,
        message_timeout: TIMEOUT,
        max_retry_count: 2,
        checkpoint_after: Some(Duration::from_secs(2)),
        min_checkpoint_count: 1,
        max_checkpoint_count: 3,
        max_subscriber_count: 0,
        live_buffer_size: 20,
        read_batch_size: 2,
        history_buffer_size: 20,
        strategy,
    }
}

fn event(stream: &str, revision: u64, id: u128) -> ResolvedEvent {
    RecordedEvent {
        stream: StreamName::new(stream).unwrap(),
        revision,
        position: Position::from_raw(revision),
        id: Uuid::from_u128(id),
        event_type: EventType::from("e"),
        content_type: ContentType::Json,
        created: Timestamp::default(),
        data: "{}".into(),
        metadata: "".into(),
    }
    .into()
}

fn machine(strategy: Strategy) -> Machine {
    Machine::new(Arc::new(settings(strategy)), None, MUCH)
}

fn arrive(machine: &mut Machine, revisions: std::ops::Range<u64>) {
    for revision in revisions {
        machine.arrived(event("s", revision, u128::from(revision) + 1), Place::Revision(revision));
    }
}

fn id(revision: u64) -> Uuid {
    Uuid::from_u128(u128::from(revision) + 1)
}

/// To whom which revision was sent, and how often before.
fn sent(effects: &[Effect]) -> Vec<(ConsumerId, u64, u32)> {
    let sent = effects.iter().filter_map(|effect| match effect {
        Effect::Send { consumer, event, retries, .. } => {
            Some((*consumer, event.original().unwrap().revision, *retries))
        }
        Effect::Park { .. } | Effect::Checkpoint(_) => None,
    });
    sent.collect()
}

#[test]
fn round_robin_takes_turns_and_passes_over_the_full() {
    let mut machine = machine(Strategy::RoundRobin);
    machine.joined(1, 1);
    machine.joined(2, 3);
    arrive(&mut machine, 0..5);
    assert_eq!(sent(&machine.advance(Duration::ZERO)), [(1, 0, 0), (2, 1, 0), (2, 2, 0), (2, 3, 0)]);
    machine.acknowledged(1, &[id(0)], Duration::ZERO);
    assert_eq!(sent(&machine.advance(Duration::ZERO)), [(1, 4, 0)]);
}

#[test]
fn what_is_sent_again_comes_before_what_is_new_and_in_its_order() {
    let mut machine = machine(Strategy::RoundRobin);
    machine.joined(1, 3);
    arrive(&mut machine, 0..5);
    machine.advance(Duration::ZERO);
    machine.refused(1, &[id(2), id(1)], Action::Retry, "", Duration::ZERO);
    assert_eq!(sent(&machine.advance(Duration::ZERO)), [(1, 1, 1), (1, 2, 1)]);
}

#[test]
fn an_acknowledgement_that_is_late_counts_if_the_event_is_under_way_to_another() {
    let mut machine = machine(Strategy::RoundRobin);
    machine.joined(1, 1);
    machine.joined(2, 1);
    arrive(&mut machine, 0..1);
    machine.advance(Duration::ZERO);
    assert_eq!(sent(&machine.advance(TIMEOUT)), [(2, 0, 1)]);
    machine.acknowledged(1, &[id(0)], TIMEOUT);
    assert_eq!(machine.count_under_way(), 0);
    assert_eq!(sent(&machine.advance(TIMEOUT * 2)), []);
}

#[test]
fn time_outs_are_kept_in_whole_seconds() {
    for (asked, kept) in [(0, 1_000), (100, 1_000), (1_000, 1_000), (1_001, 2_000), (30_000, 30_000)] {
        let settings =
            Settings { message_timeout: Duration::from_millis(asked), ..settings(Strategy::RoundRobin) };
        let mut machine = Machine::new(Arc::new(settings), None, MUCH);
        machine.joined(1, 1);
        arrive(&mut machine, 0..1);
        machine.advance(Duration::ZERO);
        let kept = Duration::from_millis(kept);
        assert_eq!(machine.next_wake(), Some(kept));
        assert_eq!(sent(&machine.advance(kept - Duration::from_nanos(1))), []);
        assert_eq!(sent(&machine.advance(kept)), [(1, 0, 1)]);
    }
}

#[test]
fn two_events_with_one_id_are_two_events() {
    let mut machine = machine(Strategy::RoundRobin);
    machine.joined(1, 5);
    for revision in 0..2 {
        machine.arrived(event("s", revision, 7), Place::Revision(revision));
    }
    machine.advance(Duration::ZERO);
    machine.acknowledged(1, &[Uuid::from_u128(7)], Duration::ZERO);
    assert_eq!(machine.count_under_way(), 1);
    machine.acknowledged(1, &[Uuid::from_u128(7)], Duration::ZERO);
    assert_eq!((machine.count_under_way(), machine.held()), (0, 0));
}

#[test]
fn a_parked_event_holds_the_checkpoint_until_it_is_written() {
    let mut machine = machine(Strategy::RoundRobin);
    machine.joined(1, 5);
    arrive(&mut machine, 0..4);
    machine.advance(Duration::ZERO);
    machine.refused(1, &[id(0)], Action::Park, "bad", Duration::ZERO);
    machine.acknowledged(1, &[id(1), id(2), id(3)], Duration::ZERO);
    let effects = machine.advance(Duration::ZERO);
    let [Effect::Park { number, reason, .. }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(reason, "Client explicitly NAK'ed message.\nbad");
    machine.parked(*number);
    assert_eq!(machine.advance(Duration::ZERO), [Effect::Checkpoint(Place::Revision(3))]);
}

#[test]
fn checkpoints_come_by_count_at_once_and_by_time_when_it_is_time() {
    let mut machine = machine(Strategy::RoundRobin);
    machine.joined(1, 9);
    arrive(&mut machine, 0..9);
    machine.advance(Duration::ZERO);
    machine.acknowledged(1, &[id(0)], Duration::ZERO);
    assert_eq!(machine.advance(Duration::ZERO), [Effect::Checkpoint(Place::Revision(0))]);
    machine.acknowledged(1, &[id(1), id(2), id(3)], Duration::ZERO);
    assert_eq!(machine.advance(Duration::ZERO), [], "one is being written");
    machine.wrote_checkpoint(true);
    assert_eq!(machine.advance(Duration::ZERO), [Effect::Checkpoint(Place::Revision(3))]);
    machine.wrote_checkpoint(true);
    machine.acknowledged(1, &[id(4)], Duration::ZERO);
    assert_eq!(machine.advance(Duration::ZERO), []);
    assert_eq!(machine.next_wake(), Some(Duration::from_secs(2)));
    assert_eq!(machine.advance(Duration::from_secs(2)), [Effect::Checkpoint(Place::Revision(4))]);
    machine.wrote_checkpoint(false);
    assert_eq!(machine.advance(Duration::from_secs(3)), [], "after a failure it waits");
    assert_eq!(machine.advance(Duration::from_secs(4)), [Effect::Checkpoint(Place::Revision(4))]);
}

#[test]
fn what_a_filter_passes_over_counts_for_the_checkpoint() {
    let mut machine = machine(Strategy::RoundRobin);
    machine.joined(1, 1);
    arrive(&mut machine, 0..1);
    machine.skipped(Place::Revision(9), 5);
    assert_eq!(sent(&machine.advance(Duration::ZERO)), [(1, 0, 0)]);
    machine.acknowledged(1, &[id(0)], Duration::ZERO);
    assert_eq!(machine.advance(Duration::ZERO), [Effect::Checkpoint(Place::Revision(9))]);
    machine.wrote_checkpoint(true);
    machine.skipped(Place::Revision(10), 0);
    assert_eq!(machine.advance(TIMEOUT), [], "what a group itself wrote is no reason to write");
}

#[test]
fn pinned_events_wait_for_their_consumer_and_others_pass() {
    let mut machine = machine(Strategy::Pinned);
    machine.joined(1, 1);
    machine.joined(2, 1);
    let mut number = 0;
    let mut arrive = |machine: &mut Machine, stream: &str| {
        machine.arrived(event(stream, number, u128::from(number) + 1), Place::Revision(number));
        number += 1;
    };
    // The first stream's bucket goes to one, the second's to the other.
    for stream in ["a", "a", "b"] {
        arrive(&mut machine, stream);
    }
    let first = sent(&machine.advance(Duration::ZERO));
    assert_eq!(first.iter().map(|(_, revision, _)| *revision).collect::<Vec<_>>(), [0, 2]);
    assert_ne!(first[0].0, first[1].0);
    machine.acknowledged(first[1].0, &[id(2)], Duration::ZERO);
    assert_eq!(sent(&machine.advance(Duration::ZERO)), [], "it is not for whoever is free");
    machine.left(first[0].0);
    assert_eq!(sent(&machine.advance(Duration::ZERO)), [(first[1].0, 0, 1)], "its work goes to others");
}

#[test]
fn a_consumer_that_does_not_take_gets_nothing_more() {
    let mut machine = machine(Strategy::RoundRobin);
    machine.joined(1, 5);
    arrive(&mut machine, 0..2);
    let effects = machine.advance(Duration::ZERO);
    let Effect::Send { number, .. } = effects[1] else { panic!("{effects:?}") };
    machine.undelivered(number);
    assert_eq!(machine.advance(Duration::ZERO), []);
    assert_eq!(machine.stalled().collect::<Vec<_>>(), [1]);
    machine.resumed(1);
    assert_eq!(sent(&machine.advance(Duration::ZERO)), [(1, 1, 0)], "that was no delivery");
}

#[test]
fn what_waits_is_bounded_in_number_and_in_bytes() {
    let mut by_number = machine(Strategy::RoundRobin);
    let mut read = 0;
    while by_number.wants() {
        arrive(&mut by_number, read..read + 1);
        read += 1;
    }
    assert_eq!(read, 18, "a whole batch must fit");
    by_number.set_live(true);
    while by_number.wants() {
        arrive(&mut by_number, read..read + 1);
        read += 1;
    }
    assert_eq!(read, 20);
    let mut by_bytes = Machine::new(Arc::new(settings(Strategy::RoundRobin)), None, 1);
    assert!(by_bytes.wants(), "one event always fits");
    arrive(&mut by_bytes, 0..1);
    assert!(!by_bytes.wants());
    by_bytes.joined(1, 1);
    by_bytes.advance(Duration::ZERO);
    assert!(!by_bytes.wants(), "what is under way is held too");
    by_bytes.acknowledged(1, &[id(0)], Duration::ZERO);
    assert!(by_bytes.wants());
}

/// What may happen to a group. Numbers choose among what is there.
#[derive(Debug, Clone)]
enum Step {
    Arrive(u64),
    Join(usize),
    Leave(usize),
    Acknowledge(usize),
    Refuse(usize, Action),
    Undelivered(usize),
    Resume,
    Later(u64),
    Parked(bool),
    Checkpointed(bool),
    Restart,
}

fn step() -> impl proptest::strategy::Strategy<Value = Step> {
    let action = prop_oneof![Just(Action::Park), Just(Action::Retry), Just(Action::Skip)];
    prop_oneof![
        4 => (1..4_u64).prop_map(Step::Arrive),
        2 => (1..4_usize).prop_map(Step::Join),
        1 => (0..9_usize).prop_map(Step::Leave),
        6 => (0..9_usize).prop_map(Step::Acknowledge),
        2 => ((0..9_usize), action).prop_map(|(n, action)| Step::Refuse(n, action)),
        1 => (0..9_usize).prop_map(Step::Undelivered),
        1 => Just(Step::Resume),
        2 => (0..12_u64).prop_map(Step::Later),
        2 => proptest::bool::weighted(0.7).prop_map(Step::Parked),
        2 => proptest::bool::weighted(0.7).prop_map(Step::Checkpointed),
        1 => Just(Step::Restart),
    ]
}

/// A plain account of a group: what is written, what is settled, what was sent.
#[derive(Debug, Default)]
struct Account {
    written: u64,
    read: u64,
    settled: BTreeSet<u64>,
    delivered: BTreeSet<u64>,
    /// The newest delivery of each event that was not answered: number, consumer, revision.
    open: BTreeMap<u64, (u64, ConsumerId)>,
    parking: Vec<(u64, u64)>,
    writing: Option<Place>,
    checkpoint: Option<Place>,
    consumers: BTreeMap<ConsumerId, usize>,
    next_consumer: ConsumerId,
    first_sent: Option<u64>,
    now: Duration,
}

impl Account {
    fn nth(&self, n: usize) -> Option<(u64, u64, ConsumerId)> {
        let open: Vec<_> =
            self.open.iter().map(|(revision, (number, to))| (*revision, *number, *to)).collect();
        (!open.is_empty()).then(|| open[n % open.len()])
    }

    fn take(&mut self, step: &Step, machine: &mut Machine, strategy: Strategy) {
        match step {
            Step::Arrive(several) => {
                self.written += several;
            }
            Step::Join(slots) => {
                self.next_consumer += 1;
                self.consumers.insert(self.next_consumer, *slots);
                machine.joined(self.next_consumer, *slots);
            }
            Step::Leave(n) if !self.consumers.is_empty() => {
                let gone = *self.consumers.keys().nth(n % self.consumers.len()).unwrap();
                self.consumers.remove(&gone);
                self.open.retain(|_, (_, consumer)| *consumer != gone);
                machine.left(gone);
            }
            Step::Acknowledge(n) => {
                if let Some((revision, _, consumer)) = self.nth(*n) {
                    self.open.remove(&revision);
                    let before = machine.count_under_way();
                    machine.acknowledged(consumer, &[id(revision)], self.now);
                    // It may have expired a moment before.
                    if machine.count_under_way() < before {
                        self.settled.insert(revision);
                    }
                }
            }
            Step::Refuse(n, action) => {
                if let Some((revision, _, consumer)) = self.nth(*n) {
                    self.open.remove(&revision);
                    let before = machine.count_under_way();
                    machine.refused(consumer, &[id(revision)], *action, "", self.now);
                    if machine.count_under_way() < before && *action == Action::Skip {
                        self.settled.insert(revision);
                    }
                }
            }
            Step::Undelivered(n) => {
                if let Some((revision, number, _)) = self.nth(*n) {
                    self.open.remove(&revision);
                    machine.undelivered(number);
                }
            }
            Step::Resume => {
                machine.stalled().collect::<Vec<_>>().into_iter().for_each(|c| machine.resumed(c))
            }
            Step::Later(seconds) => self.now += Duration::from_secs(*seconds),
            Step::Parked(safe) => {
                for (number, revision) in std::mem::take(&mut self.parking) {
                    if *safe {
                        machine.parked(number);
                        self.settled.insert(revision);
                    } else {
                        machine.not_parked(number);
                    }
                }
            }
            Step::Checkpointed(safe) => {
                if let Some(place) = self.writing.take() {
                    machine.wrote_checkpoint(*safe);
                    if *safe {
                        self.checkpoint = Some(place);
                    }
                }
            }
            Step::Restart => {
                *machine = Machine::new(Arc::new(settings(strategy)), self.checkpoint, MUCH);
                let from = match self.checkpoint {
                    Some(Place::Revision(revision)) => revision + 1,
                    _ => 0,
                };
                self.read = from;
                self.settled = (0..from).collect();
                self.open.clear();
                self.parking.clear();
                self.writing = None;
                self.consumers.clear();
                self.first_sent = None;
            }
            Step::Leave(_) => {}
        }
        while self.read < self.written && machine.wants() {
            arrive(machine, self.read..self.read + 1);
            self.read += 1;
        }
    }

    fn check(
        &mut self,
        machine: &mut Machine,
        strategy: Strategy,
    ) -> Result<(), proptest::test_runner::TestCaseError> {
        for effect in machine.advance(self.now) {
            match effect {
                Effect::Send { consumer, number, event, retries } => {
                    let revision = event.original().unwrap().revision;
                    prop_assert!(!self.settled.contains(&revision), "{revision} came after it was settled");
                    prop_assert!(self.consumers.contains_key(&consumer), "sent to one that is gone");
                    if retries == 0 && strategy == Strategy::RoundRobin && !self.delivered.contains(&revision)
                    {
                        prop_assert!(self.first_sent < Some(revision), "first deliveries are in order");
                        self.first_sent = Some(revision);
                    }
                    self.delivered.insert(revision);
                    self.open.insert(revision, (number, consumer));
                }
                Effect::Park { number, event, .. } => {
                    let revision = event.original().unwrap().revision;
                    self.open.remove(&revision);
                    self.parking.push((number, revision));
                }
                Effect::Checkpoint(place) => {
                    prop_assert!(self.writing.is_none(), "one checkpoint at a time");
                    prop_assert!(self.checkpoint < Some(place), "checkpoints go forwards");
                    let Place::Revision(last) = place else { panic!("{place}") };
                    for revision in 0..=last {
                        prop_assert!(self.settled.contains(&revision), "{revision} is open before {last}");
                    }
                    self.writing = Some(place);
                }
            }
        }
        for (id, slots) in &self.consumers {
            let under_way = machine.consumers()[id].under_way.len();
            prop_assert!(under_way <= *slots, "{under_way} under way to one that takes {slots}");
        }
        prop_assert_eq!(machine.consumers().len(), self.consumers.len());
        Ok(())
    }
}

proptest! {
    /// Whatever happens, every event is delivered until it is settled, and none is passed over.
    #[test]
    fn every_event_is_delivered_until_it_is_settled(
        steps in proptest::collection::vec(step(), 1..80),
        strategy in prop_oneof![
            Just(Strategy::RoundRobin), Just(Strategy::DispatchToSingle), Just(Strategy::Pinned)
        ],
    ) {
        let mut account = Account::default();
        let mut machine = machine(strategy);
        for step in &steps {
            account.take(step, &mut machine, strategy);
            account.check(&mut machine, strategy)?;
        }
        // Somebody works everything off.
        account.take(&Step::Join(100), &mut machine, strategy);
        account.check(&mut machine, strategy)?;
        let most = 20 * (account.written + 1);
        let last = account.written.checked_sub(1).map(Place::Revision);
        for _ in 0..most {
            if account.checkpoint == last && account.settled.len() as u64 == account.written {
                break;
            }
            account.now += TIMEOUT;
            for step in [Step::Resume, Step::Parked(true), Step::Checkpointed(true), Step::Later(0)] {
                account.take(&step, &mut machine, strategy);
                account.check(&mut machine, strategy)?;
            }
            for _ in 0..account.open.len() {
                account.take(&Step::Acknowledge(0), &mut machine, strategy);
            }
            account.check(&mut machine, strategy)?;
        }
        prop_assert_eq!(account.settled.len() as u64, account.written);
        prop_assert_eq!(machine.held(), 0);
        prop_assert_eq!(account.checkpoint, last, "and it is written down");
    }
}
