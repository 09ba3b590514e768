//! The engine and the plain model are told to do the same, and must answer the same: appends with every expectation,
//! sent again too, deletes, metadata, reads from every place, the passing of time, and restarts: clean, by a kill, and by
//! a loss of power.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::{Dice, disk::SimulatedDisk};
use event_store::{
    Direction, Error, EventFilter, EventStore, ExpectedState, FilterBy, NewEvent, ReadAll, ReadFrom,
    ReadStream, RecordedEvent, ResolvedEvent, Revision, StreamMetadata, StreamName, StreamWrite,
    SubscribeAll, SubscribeStream, Subscription, SubscriptionMessage, contract::Model,
};
use event_store_embedded::{Engine, Options};
use futures::StreamExt;
use proptest::prelude::*;
use std::{num::NonZeroUsize, sync::Arc, time::Duration};
use test_support::{MockClock, SeededIds};
use uuid::Uuid;

const STREAMS: [&str; 4] = ["a", "b", "a-b", "$c"];
const DERIVED: [&str; 7] =
    ["$ce-a", "$streams", "$et-made", "$et-$kept", "$et-$metadata", "$et-$streamDeleted", "$ce-b"];

/// An expectation, told by the stream's last revision at that time.
#[derive(Debug, Clone, Copy)]
enum Expect {
    Any,
    NoStream,
    Exists,
    /// The last revision and so much.
    Last(i64),
}

#[derive(Debug, Clone)]
struct Write {
    stream: usize,
    expect: Expect,
    /// Events by number: the same number is the same event, sent again.
    events: Vec<u8>,
}

#[derive(Debug, Clone)]
struct Place {
    from: ReadFrom<u64>,
    direction: Direction,
    limit: usize,
    max_bytes: usize,
    resolve_links: bool,
}

/// How the engine ends before it is opened again.
#[derive(Debug, Clone, Copy)]
enum Fall {
    Close,
    Kill,
    /// By the dice of this seed, what was not flushed is lost, torn or kept.
    PowerLoss(u64),
}

#[derive(Debug, Clone)]
enum Step {
    Append(Write),
    AppendMany(Vec<Write>),
    /// Sends an earlier append again, word for word.
    Again(prop::sample::Index),
    SetMetadata {
        stream: usize,
        expect: Expect,
        count: Option<u64>,
        before: Option<u64>,
        age: Option<u64>,
    },
    Delete {
        stream: usize,
        expect: Expect,
    },
    Tombstone {
        stream: usize,
        expect: Expect,
    },
    Read {
        stream: usize,
        meta: bool,
        place: Place,
    },
    ReadDerived {
        stream: usize,
        place: Place,
    },
    ReadAll {
        place: Place,
        filter: usize,
    },
    Pass {
        seconds: u64,
    },
    Restart(Fall),
}

fn expect() -> impl Strategy<Value = Expect> {
    prop_oneof![
        4 => Just(Expect::Any),
        2 => Just(Expect::NoStream),
        1 => Just(Expect::Exists),
        3 => Just(Expect::Last(0)),
        2 => (-4..=1_i64).prop_map(Expect::Last),
    ]
}

fn write() -> impl Strategy<Value = Write> {
    let events = prop_oneof![
        4 => proptest::collection::vec(0..24_u8, 0..5),
        // Neighbours in order, so that parts of batches meet again.
        2 => (0..20_u8, 1..5_u8).prop_map(|(first, count)| (first..first + count).collect()),
    ];
    (0..STREAMS.len(), expect(), events).prop_map(|(stream, expect, events)| Write { stream, expect, events })
}

fn place() -> impl Strategy<Value = Place> {
    let from = prop_oneof![
        Just(ReadFrom::Start),
        Just(ReadFrom::End),
        (0..30_u64).prop_map(ReadFrom::At),
        (0..30_u64).prop_map(ReadFrom::Past),
    ];
    let direction = prop_oneof![Just(Direction::Forwards), Just(Direction::Backwards)];
    let max_bytes = prop_oneof![Just(1), Just(900), Just(1 << 20)];
    (from, direction, 1..9_usize, max_bytes, any::<bool>()).prop_map(
        |(from, direction, limit, max_bytes, resolve_links)| Place {
            from,
            direction,
            limit,
            max_bytes,
            resolve_links,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let stream = || 0..STREAMS.len();
    prop_oneof![
        10 => write().prop_map(Step::Append),
        3 => proptest::collection::vec(write(), 1..4).prop_map(Step::AppendMany),
        4 => any::<prop::sample::Index>().prop_map(Step::Again),
        3 => (stream(), expect(), prop::option::of(1..5_u64), prop::option::of(0..8_u64), prop::option::of(1..9_u64))
            .prop_map(|(stream, expect, count, before, age)| Step::SetMetadata { stream, expect, count, before, age }),
        2 => (stream(), expect()).prop_map(|(stream, expect)| Step::Delete { stream, expect }),
        1 => (2..STREAMS.len(), expect()).prop_map(|(stream, expect)| Step::Tombstone { stream, expect }),
        5 => (stream(), any::<bool>(), place()).prop_map(|(stream, meta, place)| Step::Read { stream, meta, place }),
        3 => (0..DERIVED.len(), place()).prop_map(|(stream, place)| Step::ReadDerived { stream, place }),
        3 => (place(), 0..6_usize).prop_map(|(place, filter)| Step::ReadAll { place, filter }),
        1 => (1..5_u64).prop_map(|seconds| Step::Pass { seconds }),
        2 => prop_oneof![
            Just(Fall::Close),
            Just(Fall::Kill),
            any::<u64>().prop_map(Fall::PowerLoss),
        ].prop_map(Step::Restart),
    ]
}

fn name(stream: usize) -> StreamName {
    StreamName::new(STREAMS[stream]).unwrap()
}

/// The event of a number: small or large, of a few types, and some of them links.
fn event(number: u8) -> NewEvent {
    let id = Uuid::from_u64_pair(USERS, u64::from(number));
    if number % 6 == 5 {
        return NewEvent::link(id, &name(usize::from(number / 6) % 2), u64::from(number) % 4);
    }
    let padding = "x".repeat(usize::from(number) * 53 % 800);
    NewEvent {
        metadata: if number.is_multiple_of(2) { "{}".into() } else { "".into() },
        ..NewEvent::json(
            id,
            ["made", "moved", "$kept"][usize::from(number % 3)],
            format!("\"{number}{padding}\""),
        )
    }
}

/// Ids that begin with this are the test's; others are made by the store and differ between the two.
const USERS: u64 = 99;

fn same_but_for_own_ids(mut event: RecordedEvent) -> RecordedEvent {
    if event.id.as_u64_pair().0 != USERS {
        event.id = Uuid::nil();
    }
    if event.stream.derived().is_some() {
        let mut metadata: serde_json::Value = serde_json::from_slice(&event.metadata).unwrap();
        let cause: Uuid = metadata["$causedBy"].as_str().unwrap().parse().unwrap();
        if cause.as_u64_pair().0 != USERS {
            metadata["$causedBy"] = "the store's".into();
        }
        event.metadata = metadata.to_string().into();
    }
    event
}

/// What is compared of a page.
fn comparable(events: Vec<ResolvedEvent>) -> Vec<ResolvedEvent> {
    let same = |e: ResolvedEvent| ResolvedEvent {
        event: e.event.map(same_but_for_own_ids),
        link: e.link.map(same_but_for_own_ids),
    };
    events.into_iter().map(same).collect()
}

/// What is compared of an error: all of it but texts for people.
fn same_but_for_texts(error: Error) -> Error {
    match error {
        Error::InvalidArgument(_) => Error::InvalidArgument(String::new()),
        other => other,
    }
}

fn filter(number: usize) -> Option<EventFilter> {
    match number {
        0 => Some(EventFilter::stream_prefix(["a"])),
        1 => Some(EventFilter::stream_prefix(["$$a", "b"])),
        2 => Some(EventFilter::event_type_prefix(["m"])),
        3 => Some(EventFilter::regex(FilterBy::StreamName, "^(?!a$)").unwrap()),
        4 => Some(EventFilter::regex(FilterBy::EventType, "e").unwrap()),
        _ => None,
    }
}

/// The two stores, side by side.
struct Pair {
    clock: Arc<MockClock>,
    model: Model,
    disk: SimulatedDisk,
    index: tempfile::TempDir,
    engine: Option<Engine>,
    /// Appends so far, as they were sent.
    sent: Vec<Vec<StreamWrite>>,
}

impl Pair {
    fn new() -> Self {
        let clock = Arc::new(MockClock::new());
        let model = Model::new(clock.clone(), Arc::new(SeededIds::new(1)));
        let (disk, index) = (SimulatedDisk::default(), tempfile::tempdir().unwrap());
        let mut pair = Self { clock, model, disk, index, engine: None, sent: Vec::new() };
        pair.open();
        pair
    }

    /// Opens the engine with everything small, so that a few events cross every boundary.
    fn open(&mut self) {
        let options =
            Options::on_disk(Arc::new(self.disk.clone()), Some(self.index.path().join("index.sqlite")))
                .segment_bytes(4 << 10)
                .index_batches(4, Duration::from_millis(5))
                .cached_heads(NonZeroUsize::new(2).unwrap())
                .clock(self.clock.clone())
                .ids(Arc::new(SeededIds::new(2)));
        self.engine = Some(Engine::open(options).unwrap());
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    async fn expected(&self, stream: &StreamName, expect: Expect) -> ExpectedState {
        let page = ReadStream::backwards(1);
        let last = self.model.read_stream(stream, page).await.ok().map(|page| page.last_revision);
        match (expect, last) {
            (Expect::Any, _) => ExpectedState::Any,
            (Expect::NoStream, _) | (Expect::Last(0), None) => ExpectedState::NoStream,
            (Expect::Exists, _) => ExpectedState::StreamExists,
            (Expect::Last(by), last) => {
                ExpectedState::Exact(last.unwrap_or(2).checked_add_signed(by).unwrap_or(0))
            }
        }
    }

    async fn ready(&self, write: &Write) -> StreamWrite {
        let stream = name(write.stream);
        let expected = self.expected(&stream, write.expect).await;
        StreamWrite { stream, expected, events: write.events.iter().map(|n| event(*n)).collect() }
    }

    async fn append(&mut self, writes: Vec<StreamWrite>) {
        let (theirs, ours) = match &writes[..] {
            [write] => {
                let StreamWrite { stream, expected, events } = write;
                let theirs = self.model.append(stream, *expected, events.clone()).await;
                let ours = self.engine().append(stream, *expected, events.clone()).await;
                let many = |a| (vec![a], None);
                (theirs.map(many), ours.map(many))
            }
            _ => {
                let theirs = self.model.append_many(writes.clone()).await;
                let ours = self.engine().append_many(writes.clone()).await;
                (theirs.map(|a| (a.streams, a.position)), ours.map(|a| (a.streams, a.position)))
            }
        };
        assert_eq!(ours.map_err(same_but_for_texts), theirs.map_err(same_but_for_texts), "{writes:?}");
        self.sent.push(writes);
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Append(write) => {
                let write = self.ready(&write).await;
                self.append(vec![write]).await;
            }
            Step::AppendMany(writes) => {
                let mut ready = Vec::new();
                for write in &writes {
                    ready.push(self.ready(write).await);
                }
                self.append(ready).await;
            }
            Step::Again(index) if !self.sent.is_empty() => {
                let writes = self.sent[index.index(self.sent.len())].clone();
                self.append(writes).await;
            }
            Step::Again(_) => {}
            Step::SetMetadata { stream, expect, count, before, age } => {
                let stream = name(stream);
                let metadata = StreamMetadata {
                    max_count: count,
                    truncate_before: before,
                    max_age: age.map(Duration::from_secs),
                    ..Default::default()
                };
                let id = Uuid::from_u64_pair(USERS, 1000 + self.sent.len() as u64);
                let expected = self.expected(&stream.metastream().unwrap(), expect).await;
                let theirs = self.model.set_metadata(&stream, expected, &metadata, id).await;
                let ours = self.engine().set_metadata(&stream, expected, &metadata, id).await;
                assert_eq!(ours, theirs, "metadata of {stream}, {expected:?}");
            }
            Step::Delete { stream, expect } => {
                let stream = name(stream);
                let expected = self.expected(&stream, expect).await;
                let theirs = self.model.delete(&stream, expected).await;
                assert_eq!(
                    self.engine().delete(&stream, expected).await,
                    theirs,
                    "delete {stream}, {expected:?}"
                );
            }
            Step::Tombstone { stream, expect } => {
                let stream = name(stream);
                let expected = self.expected(&stream, expect).await;
                let theirs = self.model.tombstone(&stream, expected).await;
                assert_eq!(
                    self.engine().tombstone(&stream, expected).await,
                    theirs,
                    "end {stream}, {expected:?}"
                );
            }
            Step::Read { stream, meta, place } => {
                let stream = if meta { name(stream).metastream().unwrap() } else { name(stream) };
                self.compare_page(&stream, &place).await;
            }
            Step::ReadDerived { stream, place } => {
                self.compare_page(&StreamName::new(DERIVED[stream]).unwrap(), &place).await;
            }
            Step::ReadAll { place, filter: number } => self.compare_all_page(&place, filter(number)).await,
            Step::Pass { seconds } => self.clock.advance(Duration::from_secs(seconds)),
            Step::Restart(fall) => {
                if let Fall::Close = fall {
                    self.engine().close().await.unwrap();
                }
                self.engine = None;
                if let Fall::PowerLoss(seed) = fall {
                    self.disk = self.disk.after_power_loss(&mut Dice::new(seed));
                }
                self.open();
            }
        }
    }

    async fn compare_page(&self, stream: &StreamName, place: &Place) {
        let Place { from, direction, limit, max_bytes, resolve_links } = *place;
        let read = ReadStream { from, direction, limit, max_bytes, resolve_links };
        let theirs = self.model.read_stream(stream, read).await;
        let ours = self.engine().read_stream(stream, read).await;
        let parts = |page: event_store::StreamPage| (comparable(page.events), page.next, page.last_revision);
        assert_eq!(ours.map(parts), theirs.map(parts), "{stream}: {read:?}");
    }

    /// Compares a page of `$all`. What `next` says may differ where a filter hides what follows, so it is followed.
    async fn compare_all_page(&self, place: &Place, filter: Option<EventFilter>) {
        let Place { from, direction, limit, max_bytes, resolve_links } = *place;
        let from = match from {
            ReadFrom::Start => ReadFrom::Start,
            ReadFrom::End => ReadFrom::End,
            ReadFrom::At(at) => ReadFrom::At(event_store::Position::from_raw(at)),
            ReadFrom::Past(past) => ReadFrom::Past(event_store::Position::from_raw(past)),
        };
        let read = ReadAll { from, direction, limit, max_bytes, resolve_links, filter };
        let theirs = self.model.read_all(read.clone()).await.unwrap();
        let mut ours = self.engine().read_all(read.clone()).await.unwrap();
        if read.filter.is_none() {
            assert_eq!(ours.next, theirs.next, "{read:?}");
        }
        while let (true, Some(next)) = (ours.events.len() < theirs.events.len(), ours.next) {
            let more = self.engine().read_all(read.clone().from(ReadFrom::At(next))).await.unwrap();
            ours.events.extend(more.events);
            ours.next = more.next;
        }
        assert_eq!(comparable(ours.events), comparable(theirs.events), "{read:?}");
    }

    /// Compares everything there is.
    async fn compare(&self) {
        let whole = |direction, from| Place {
            from,
            direction,
            limit: 10_000,
            max_bytes: 1 << 30,
            resolve_links: true,
        };
        let forwards = whole(Direction::Forwards, ReadFrom::Start);
        let backwards = whole(Direction::Backwards, ReadFrom::End);
        for stream in (0..STREAMS.len()).map(name).flat_map(|s| [s.metastream().unwrap(), s]) {
            self.compare_page(&stream, &forwards).await;
            self.compare_page(&stream, &backwards).await;
            let theirs = self.model.stream_info(&stream).await;
            assert_eq!(self.engine().stream_info(&stream).await, theirs, "{stream}");
            let theirs = self.model.metadata(&stream).await.map_err(same_but_for_texts);
            assert_eq!(self.engine().metadata(&stream).await.map_err(same_but_for_texts), theirs, "{stream}");
        }
        for stream in DERIVED.map(|name| StreamName::new(name).unwrap()) {
            self.compare_page(&stream, &forwards).await;
            self.compare_page(&stream, &backwards).await;
            let theirs = self.model.stream_info(&stream).await;
            assert_eq!(self.engine().stream_info(&stream).await, theirs, "{stream}");
            let theirs = followed_stream(&self.model, &stream).await;
            assert_eq!(followed_stream(self.engine(), &stream).await, theirs, "{stream}");
        }
        for number in 0..6 {
            self.compare_all_page(&forwards, filter(number)).await;
            self.compare_all_page(&backwards, filter(number)).await;
            assert_eq!(
                followed(self.engine(), filter(number)).await,
                followed(&self.model, filter(number)).await
            );
        }
        let theirs = self.model.statistics().await.unwrap().events;
        assert_eq!(self.engine().statistics().await.unwrap().events, theirs);
        assert_eq!(self.engine().last_position().await, self.model.last_position().await);
    }
}

/// What a subscription to everything brings until it has caught up.
async fn followed(
    store: &dyn EventStore,
    filter: Option<EventFilter>,
) -> (Vec<ResolvedEvent>, Option<Revision>) {
    let options = SubscribeAll { filter, resolve_links: true, ..Default::default() };
    caught_up(store.subscribe_all(options).await.unwrap()).await
}

/// The same of a stream.
async fn followed_stream(
    store: &dyn EventStore,
    stream: &StreamName,
) -> (Vec<ResolvedEvent>, Option<Revision>) {
    let options = SubscribeStream { resolve_links: true, ..Default::default() };
    caught_up(store.subscribe_stream(stream, options).await.unwrap()).await
}

async fn caught_up(mut subscription: Subscription) -> (Vec<ResolvedEvent>, Option<Revision>) {
    let mut events = Vec::new();
    loop {
        match subscription.next().await.unwrap().unwrap() {
            SubscriptionMessage::Event(event) => events.push(event),
            SubscriptionMessage::CaughtUp { position, revision } => {
                return (comparable(events), position.map(event_store::Position::raw).or(revision));
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_engine_does_what_the_model_does(steps in proptest::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut pair = Pair::new();
            for step in steps {
                pair.step(step).await;
            }
            pair.compare().await;
            pair.step(Step::Restart(Fall::Kill)).await;
            pair.compare().await;
        });
    }
}
