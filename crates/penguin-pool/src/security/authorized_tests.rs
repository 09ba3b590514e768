//! The bound store against a plain walk over everything that the store holds.

use super::*;
use crate::security::{Gate, permission};
use event_store::{
    Acl, EventFilter, StreamMetadata, SubscriptionMessage, TOMBSTONE_REVISION, contract::Model,
};
use futures::FutureExt as _;
use proptest::prelude::*;
use std::time::Duration;
use test_support::{Line, MockClock, SeededIds};
use uuid::Uuid;

const STREAMS: [&str; 6] =
    ["loans-1", "loans-2", "user-amy-profile", "user-bob-loans-1", "system-accounts", "$bc-user"];

fn name(name: &str) -> StreamName {
    StreamName::new(name).unwrap()
}

fn callers() -> [Caller; 4] {
    let librarian = ["librarian".to_owned()];
    [Caller::user("amy", &[]), Caller::user("bob", &[]), Caller::user("liz", &librarian), Caller::anonymous()]
}

struct World {
    gate: Gate,
    store: Arc<dyn EventStore>,
    next: u64,
}

impl World {
    fn new() -> Self {
        let model = Model::new(Arc::new(MockClock::new()), Arc::new(SeededIds::new(7)));
        let store: Arc<dyn EventStore> = Arc::new(model);
        Self { gate: Gate::new(Arc::clone(&store)), store, next: 0 }
    }

    fn id(&mut self) -> Uuid {
        self.next += 1;
        Uuid::from_u64_pair(3, self.next)
    }

    async fn append(&mut self, stream: &str) -> Position {
        let event = NewEvent::json(self.id(), "Happened", format!("{{\"n\":{}}}", self.next));
        let appended = self.store.append(&name(stream), ExpectedState::Any, vec![event]).await.unwrap();
        appended.position.unwrap()
    }

    async fn link(&mut self, stream: &str, target: &str, event: Revision) {
        let link = NewEvent::link(self.id(), &name(target), event);
        self.store.append(&name(stream), ExpectedState::Any, vec![link]).await.unwrap();
    }

    async fn open_to(&mut self, stream: &str, readers: &[&str]) {
        self.open_from(stream, readers, None).await;
    }

    /// Opens it to these, and to those who read it as everybody may from a revision on.
    async fn open_from(&mut self, stream: &str, readers: &[&str], from: Option<Revision>) {
        let read = Some(readers.iter().map(|r| (*r).to_owned()).collect());
        let acl = Some(Acl { read, ..Acl::default() });
        let custom = from.map(|from| (permission::PUBLIC_FROM.to_owned(), from.into())).into_iter().collect();
        let metadata = StreamMetadata { acl, custom, ..StreamMetadata::default() };
        let id = self.id();
        self.store.set_metadata(&name(stream), ExpectedState::Any, &metadata, id).await.unwrap();
    }

    fn bound(&self, caller: &Caller) -> Arc<dyn EventStore> {
        self.gate.bind(caller)
    }

    /// Everything, and what the last metadata of each stream says, by a plain walk.
    async fn everything(&self) -> Everything {
        let page = self.store.read_all(ReadAll::forwards(10_000)).await.unwrap();
        assert_eq!(page.next, None);
        let events: Vec<_> = page.events.into_iter().filter_map(|e| e.event).collect();
        let mut described = HashMap::new();
        for event in events.iter().filter(|e| e.stream.is_metastream()) {
            let metadata = StreamMetadata::from_json(&event.data);
            described.insert(event.stream.original().unwrap(), (event.revision, metadata));
        }
        let ended = events.iter().filter(|e| e.revision == TOMBSTONE_REVISION).map(|e| e.stream.clone());
        Everything { ended: ended.collect(), described, events }
    }
}

struct Everything {
    events: Vec<RecordedEvent>,
    described: HashMap<StreamName, (Revision, StreamMetadata)>,
    ended: HashSet<StreamName>,
}

impl Everything {
    fn may(&self, caller: &Caller, stream: &StreamName) -> bool {
        let described = stream.original().unwrap_or_else(|| stream.clone());
        let acl = self.described.get(&described).and_then(|(_, metadata)| metadata.acl.as_ref());
        !self.ended.contains(&described) && allows(caller, stream, acl, Right::Read)
    }

    /// Whether they may see the event of this revision: where a stream is public from a revision on, who is neither named
    /// nor the user sees no older one, and no older metadata.
    fn shows(&self, caller: &Caller, stream: &StreamName, revision: Revision) -> bool {
        let described = stream.original().unwrap_or_else(|| stream.clone());
        let Some((newest, metadata)) = self.described.get(&described) else {
            return self.may(caller, stream);
        };
        let from = metadata.custom.get("publicFrom").and_then(serde_json::Value::as_u64);
        let from = from.filter(|_| described.as_str().starts_with("user-"));
        let own = described.as_str().starts_with(&format!("user-{}-", caller.id()));
        let named = metadata.acl.as_ref().and_then(|acl| acl.read.as_ref()).is_some_and(|names| {
            let roles = caller.roles().iter().map(|role| format!("role:{role}"));
            roles.chain([caller.id().to_owned()]).any(|name| names.contains(&name))
        });
        let from = match from {
            Some(_) if own || named => 0,
            Some(_) if stream.is_metastream() => *newest,
            Some(from) => from,
            None => 0,
        };
        self.may(caller, stream) && revision >= from
    }

    /// The same of an event that is read in its stream: one that the system derives has no links to what they may not see.
    fn shows_in(&self, caller: &Caller, stream: &StreamName, event: &RecordedEvent) -> bool {
        let link = event.link_target().filter(|_| is_derived(stream));
        self.shows(caller, stream, event.revision) && link.is_none_or(|(at, to)| self.shows(caller, &to, at))
    }

    /// What the caller may see of `$all`, each as it stands there: its position, and the stream of what a link leads to.
    fn visible(&self, caller: &Caller) -> Vec<(Position, Option<StreamName>)> {
        let mut visible = Vec::new();
        for event in self.events.iter().filter(|e| self.shows(caller, &e.stream, e.revision)) {
            let target = event.link_target();
            let hidden = target.as_ref().is_some_and(|(at, target)| !self.shows(caller, target, *at));
            if !(hidden && event.stream.as_str().starts_with("$bc-")) {
                let target = target.map(|(_, stream)| stream);
                let target =
                    target.filter(|target| !hidden && self.events.iter().any(|e| e.stream == *target));
                visible.push((event.position, target));
            }
        }
        visible
    }
}

/// An event as it stands in `$all`: its position, and the stream of what its link was followed to.
fn seen(event: &ResolvedEvent) -> (Position, Option<StreamName>) {
    let followed = event.link.as_ref().and(event.event.as_ref()).map(|e| e.stream.clone());
    (event.original().unwrap().position, followed)
}

async fn read_everything(store: &dyn EventStore, limit: usize, backwards: bool) -> Vec<ResolvedEvent> {
    let read = if backwards { ReadAll::backwards(limit) } else { ReadAll::forwards(limit) };
    let mut read = ReadAll { resolve_links: true, ..read };
    let mut events = Vec::new();
    for _ in 0..1000 {
        let page = store.read_all(read.clone()).await.unwrap();
        assert!(page.events.len() <= limit);
        events.extend(page.events);
        let Some(next) = page.next else { return events };
        read.from = ReadFrom::At(next);
    }
    panic!("reading everything does not come to an end");
}

/// What a subscription brings that is there already.
async fn followed(mut subscription: Subscription) -> Vec<Result<SubscriptionMessage>> {
    let mut messages = Vec::new();
    while let Some(message) = subscription.next().now_or_never().flatten() {
        messages.push(message);
    }
    messages
}

fn events(messages: &[Result<SubscriptionMessage>]) -> Vec<ResolvedEvent> {
    let event = |m: &Result<SubscriptionMessage>| match m {
        Ok(SubscriptionMessage::Event(event)) => Some(event.clone()),
        _ => None,
    };
    messages.iter().filter_map(event).collect()
}

/// Something that happens in the store.
#[derive(Debug, Clone)]
enum Step {
    Append(usize),
    Link(usize, usize, Revision),
    Open(usize, Vec<&'static str>, Option<Revision>),
    Delete(usize),
    End(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let stream = || 0..STREAMS.len();
    let from = || proptest::option::of(0..6_u64);
    let reader = proptest::sample::select(&["amy", "bob", "$all", "role:librarian", "$admins"][..]);
    prop_oneof![
        6 => stream().prop_map(Step::Append),
        2 => (stream(), stream(), 0..4_u64).prop_map(|(from, to, at)| Step::Link(from, to, at)),
        2 => (stream(), proptest::collection::vec(reader, 0..3), from())
            .prop_map(|(stream, to, from)| Step::Open(stream, to, from)),
        2 => (2..4_usize, from()).prop_map(|(stream, from)| Step::Open(stream, vec!["$all"], from)),
        1 => stream().prop_map(Step::Delete),
        1 => stream().prop_map(Step::End),
    ]
}

async fn carry_out(world: &mut World, step: Step) {
    // What cannot be done to a stream that ended is not done.
    let lives = |world: &World, at: usize| {
        let (store, stream) = (Arc::clone(&world.store), name(STREAMS[at]));
        async move { store.metadata(&stream).await.is_ok() }
    };
    match step {
        Step::Append(at) if lives(world, at).await => _ = world.append(STREAMS[at]).await,
        Step::Link(at, to, event) if lives(world, at).await => {
            world.link(STREAMS[at], STREAMS[to], event).await;
        }
        Step::Open(at, readers, from) if lives(world, at).await => {
            world.open_from(STREAMS[at], &readers, from).await;
        }
        Step::Delete(at) => _ = world.store.delete(&name(STREAMS[at]), ExpectedState::Any).await,
        Step::End(at) => _ = world.store.tombstone(&name(STREAMS[at]), ExpectedState::Any).await,
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn each_caller_sees_all_that_they_may_see_and_nothing_else(
        steps in proptest::collection::vec(step(), 1..60), limit in 1_usize..8, backwards: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            for step in steps {
                carry_out(&mut world, step).await;
            }
            let everything = world.everything().await;
            for caller in callers() {
                let store = world.bound(&caller);
                let mut visible = everything.visible(&caller);
                let all = SubscribeAll { resolve_links: true, ..SubscribeAll::default() };
                let brought = events(&followed(store.subscribe_all(all).await.unwrap()).await);
                // A target that cannot be read by anybody is not there either.
                let there = |(at, target): (Position, Option<StreamName>)| (at, target.filter(|_| {
                    brought.iter().any(|e| seen(e).0 == at && seen(e).1.is_some())
                }));
                visible = visible.into_iter().map(there).collect();
                assert_eq!(brought.iter().map(seen).collect::<Vec<_>>(), visible, "{caller:?} follows");
                let page = read_everything(&*store, limit, backwards).await;
                if backwards {
                    visible.reverse();
                }
                assert_eq!(page.iter().map(seen).collect::<Vec<_>>(), visible, "{caller:?} reads");
                for stream in STREAMS.iter().flat_map(|s| [(*s).to_owned(), format!("$${s}")]) {
                    let stream = name(&stream);
                    check_pages(&world, &everything, &caller, &stream, limit).await;
                    let options = SubscribeStream { resolve_links: true, ..SubscribeStream::default() };
                    if let Ok(subscription) = store.subscribe_stream(&stream, options).await {
                        let brought = events(&followed(subscription).await);
                        for event in brought.iter().filter_map(|e| e.event.as_ref()) {
                            let shows = everything.shows(&caller, &event.stream, event.revision);
                            assert!(shows, "{caller:?} follows {event:?}");
                        }
                        let brought: Vec<_> = brought.iter().map(|e| e.original().unwrap().revision).collect();
                        let own = world.store.subscribe_stream(&stream, options).await.unwrap();
                        let own = events(&followed(own).await);
                        let own = own.iter().map(|e| e.original().unwrap());
                        let shown = own.filter(|e| everything.shows_in(&caller, &stream, e)).map(|e| e.revision);
                        if !everything.ended.contains(&stream) {
                            assert_eq!(brought, shown.collect::<Vec<_>>(), "{caller:?} follows {stream}");
                        }
                    }
                }
            }
        });
    }
}

/// What can be read of a stream, page by page in both directions and all at once, is what the store's own pages hold as far
/// as the caller may see it; and what is told of it is of that.
async fn check_pages(
    world: &World,
    everything: &Everything,
    caller: &Caller,
    stream: &StreamName,
    limit: usize,
) {
    let store = world.bound(caller);
    let own = world.store.read_stream(stream, ReadStream::forwards(1000)).await;
    let hidden = |last: Revision| !stream.is_metastream() && !everything.shows(caller, stream, last);
    let Some(own) = own.ok().filter(|page| everything.may(caller, stream) && !hidden(page.last_revision))
    else {
        assert!(store.read_stream(stream, ReadStream::forwards(1)).await.is_err(), "{caller:?} {stream}");
        assert!(store.stream_info(stream).await.is_err(), "{caller:?} {stream}");
        return;
    };
    let revisions = |page: &StreamPage| -> Vec<Revision> {
        page.events.iter().map(|e| e.original().unwrap().revision).collect()
    };
    let derived = is_derived(stream);
    let mut expected: Vec<_> = own.events.iter().map(|e| e.original().unwrap().clone()).collect();
    expected.retain(|e| everything.shows_in(caller, stream, e));
    let mut expected: Vec<_> = expected.iter().map(|e| e.revision).collect();
    if !derived {
        let info = store.stream_info(stream).await.unwrap();
        assert_eq!((info.first_revision, info.events), (expected.first().copied(), expected.len() as u64));
        // Backwards from the start: the very first event, if that can be read.
        let oldest = ReadStream::backwards(3).from(ReadFrom::Start);
        let oldest = store.read_stream(stream, oldest).await.unwrap();
        let first = expected.first().copied().filter(|first| *first == 0);
        assert_eq!((revisions(&oldest), oldest.next), (first.into_iter().collect(), None));
    }
    for read in [ReadStream::forwards(limit), ReadStream::backwards(limit)] {
        let mut read = ReadStream { resolve_links: true, ..read };
        let mut found = Vec::new();
        for _ in 0..1000 {
            let page = store.read_stream(stream, read).await.unwrap();
            for event in page.events.iter().filter_map(|e| e.event.as_ref()) {
                let shows = everything.shows(caller, &event.stream, event.revision);
                assert!(shows, "{caller:?} reads {event:?}");
            }
            found.extend(revisions(&page));
            let Some(next) = page.next else { break };
            assert!(
                everything.shows(caller, stream, next) || stream.is_metastream(),
                "{caller:?} {stream} {next}"
            );
            read.from = ReadFrom::At(next);
        }
        assert_eq!(found, expected, "{caller:?} reads {stream}");
        expected.reverse();
    }
}

#[tokio::test]
async fn a_users_stream_that_may_not_be_read_is_as_one_that_is_not_there() {
    let mut world = World::new();
    world.append("user-bob-profile").await;
    world.append("loans-1").await;
    world.open_to("loans-1", &["bob"]).await;
    let amy = world.bound(&Caller::user("amy", &[]));
    for stream in ["user-bob-profile", "user-bob-offers", "$$user-bob-profile", "$$user-bob-offers"] {
        let stream = name(stream);
        let not_found = Err(Error::StreamNotFound(stream.clone()));
        assert_eq!(amy.stream_info(&stream).await.map(|_| ()), not_found);
        assert_eq!(amy.read_stream(&stream, ReadStream::forwards(1)).await.map(|_| ()), not_found);
        let subscribed = amy.subscribe_stream(&stream, SubscribeStream::default()).await;
        assert_eq!(subscribed.map(|_| ()), not_found);
        let denied = Err(Error::AccessDenied(stream.clone()));
        let event = NewEvent::json(Uuid::from_u128(1), "Happened", "{}");
        for expected in [ExpectedState::Any, ExpectedState::NoStream, ExpectedState::StreamExists] {
            assert_eq!(amy.append(&stream, expected, vec![event.clone()]).await.map(|_| ()), denied);
            assert_eq!(amy.append(&stream, expected, Vec::new()).await.map(|_| ()), not_found);
            assert_eq!(amy.delete(&stream, expected).await.map(|_| ()), denied);
            assert_eq!(amy.tombstone(&stream, expected).await.map(|_| ()), denied);
        }
    }
    let stream = name("loans-1");
    let denied = Err(Error::AccessDenied(stream.clone()));
    assert_eq!(amy.stream_info(&stream).await.map(|_| ()), denied);
    assert_eq!(amy.metadata(&stream).await.map(|_| ()), denied);
    for missing in ["user-bob-profile", "user-bob-offers"] {
        let missing = name(missing);
        assert_eq!(amy.metadata(&missing).await, Err(Error::StreamNotFound(missing)));
    }
    assert_eq!(amy.close().await.map_err(|e| e.code()), Err(ErrorCode::NotImplemented));
    assert_eq!(world.store.state(), StoreState::Ready);
}

#[tokio::test]
async fn an_append_to_several_streams_needs_the_right_to_each_and_a_check_the_right_to_read() {
    let mut world = World::new();
    world.append("user-bob-profile").await;
    let amy = world.bound(&Caller::user("amy", &[]));
    let write =
        |stream: &str, events| StreamWrite { stream: name(stream), expected: ExpectedState::Any, events };
    let event = || vec![NewEvent::json(Uuid::from_u128(9), "Happened", "{}")];
    let mixed = vec![write("loans-1", event()), write("user-bob-profile", event())];
    assert_eq!(amy.append_many(mixed).await.map(|_| ()), Err(Error::AccessDenied(name("user-bob-profile"))));
    let checked = vec![write("loans-1", event()), write("user-bob-profile", Vec::new())];
    assert_eq!(
        amy.append_many(checked).await.map(|_| ()),
        Err(Error::StreamNotFound(name("user-bob-profile")))
    );
    assert_eq!(
        world.store.stream_info(&name("loans-1")).await.map_err(|e| e.code()).unwrap_err(),
        ErrorCode::StreamNotFound
    );
    let own = vec![write("loans-1", event()), write("user-amy-profile", Vec::new())];
    assert!(amy.append_many(own).await.is_ok());
    // Where the metadata stands may be asked with an append, and by itself only by who may read it.
    let metadata = StreamMetadata {
        acl: Some(Acl { write: Some(vec!["amy".to_owned()]), read: Some(Vec::new()), ..Acl::default() }),
        ..StreamMetadata::default()
    };
    let id = world.id();
    world.store.set_metadata(&name("loans-2"), ExpectedState::Any, &metadata, id).await.unwrap();
    let check = || StreamWrite { expected: ExpectedState::Exact(0), ..write("$$loans-2", Vec::new()) };
    let denied = Err(Error::AccessDenied(name("$$loans-2")));
    assert_eq!(amy.append_many(vec![check()]).await.map(|_| ()), denied);
    assert_eq!(amy.append_many(vec![check(), write("loans-2", Vec::new())]).await.map(|_| ()), denied);
    let other = vec![NewEvent::json(Uuid::from_u128(10), "Happened", "{}")];
    assert!(amy.append_many(vec![check(), write("loans-2", other)]).await.is_ok());
}

#[tokio::test]
async fn appends_in_turn_need_the_right_of_each() {
    let mut world = World::new();
    world.append("loans-2").await;
    let metadata = StreamMetadata {
        acl: Some(Acl { write: Some(Vec::new()), read: Some(vec!["amy".to_owned()]), ..Acl::default() }),
        ..StreamMetadata::default()
    };
    let id = world.id();
    world.store.set_metadata(&name("loans-2"), ExpectedState::Any, &metadata, id).await.unwrap();
    let amy = world.bound(&Caller::user("amy", &[]));
    let event = |n| vec![NewEvent::json(Uuid::from_u128(n), "Happened", "{}")];
    let any = ExpectedState::Any;
    let answers =
        amy.append_in_turn(&name("loans-1"), vec![(any, event(1)), (any, Vec::new()), (any, event(2))]).await;
    let last: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().last_revision).collect();
    assert_eq!(last, [Some(0), Some(0), Some(1)]);
    // She may ask where it stands, and not write.
    let answers = amy.append_in_turn(&name("loans-2"), vec![(any, event(3)), (any, Vec::new())]).await;
    assert_eq!(answers[0], Err(Error::AccessDenied(name("loans-2"))));
    assert_eq!(answers[1].as_ref().unwrap().last_revision, Some(0));
    assert_eq!(world.store.stream_info(&name("loans-2")).await.unwrap().events, 1);
}

#[tokio::test]
async fn a_subscription_ends_when_the_right_to_read_is_taken_back() {
    let mut world = World::new();
    world.open_to("loans-1", &["amy"]).await;
    world.append("loans-1").await;
    let amy = world.bound(&Caller::user("amy", &[]));
    let mut of_stream = amy.subscribe_stream(&name("loans-1"), SubscribeStream::default()).await.unwrap();
    let mut of_all = amy.subscribe_all(SubscribeAll::default()).await.unwrap();
    let mut brought = 0;
    while let Some(Some(message)) = of_stream.next().now_or_never() {
        brought += usize::from(matches!(message.unwrap(), SubscriptionMessage::Event(_)));
    }
    assert_eq!(brought, 1);
    while let Some(Some(message)) = of_all.next().now_or_never() {
        message.unwrap();
    }
    world.open_to("loans-1", &["bob"]).await;
    world.append("loans-1").await;
    let last = world.append("loans-2").await;
    let next = tokio::time::timeout(Duration::from_secs(30), of_stream.next()).await.unwrap();
    assert_eq!(next, Some(Err(Error::AccessDenied(name("loans-1")))));
    assert_eq!(of_stream.next().await, None);
    let next = tokio::time::timeout(Duration::from_secs(30), of_all.next()).await.unwrap();
    let Some(Ok(SubscriptionMessage::Event(event))) = next else { panic!("{next:?}") };
    assert_eq!(event.original().unwrap().position, last, "what is left out is passed over");
}

#[tokio::test]
async fn what_is_written_after_the_right_was_taken_back_is_not_read() {
    let mut world = World::new();
    for (first_id, stream, refused) in [(1, "loans-1", true), (101, "user-bob-loans-1", false)] {
        world.open_to(stream, &["amy"]).await;
        world.append(stream).await;
        let line = Arc::new(Line::new(Arc::clone(&world.store)));
        let bound = Gate::new(Arc::<Line>::clone(&line)).bind(&Caller::user("amy", &[]));
        let stream = name(stream);
        let store = Arc::clone(&world.store);
        let take_back_and_write = |id: u128| {
            let (store, stream) = (Arc::clone(&store), stream.clone());
            async move {
                let acl = Some(Acl { read: Some(vec!["bob".to_owned()]), ..Acl::default() });
                let metadata = StreamMetadata { acl, ..StreamMetadata::default() };
                let (first, second) = (Uuid::from_u128(id), Uuid::from_u128(id + 1));
                store.set_metadata(&stream, ExpectedState::Any, &metadata, first).await.unwrap();
                let event = NewEvent::json(second, "Secret", "{}");
                store.append(&stream, ExpectedState::Any, vec![event]).await.unwrap();
            }
        };
        let is_refused = |error: Error| match error {
            Error::AccessDenied(_) => refused,
            Error::StreamNotFound(_) => !refused,
            _ => false,
        };
        let shown = bound.read_stream(&stream, ReadStream::forwards(10)).await.unwrap();
        assert_eq!(shown.events.len(), 1);
        line.meanwhile(take_back_and_write(first_id));
        assert!(is_refused(bound.read_stream(&stream, ReadStream::forwards(10)).await.unwrap_err()));
        world.open_to(stream.as_str(), &["amy"]).await;
        assert!(bound.stream_info(&stream).await.is_ok());
        line.meanwhile(take_back_and_write(first_id + 2));
        assert!(is_refused(bound.stream_info(&stream).await.unwrap_err()));
        assert!(bound.stream_info(&stream).await.is_err(), "nor later");
    }
}

#[tokio::test]
async fn a_subscription_says_how_far_it_has_come_over_what_it_leaves_out() {
    let mut world = World::new();
    for _ in 0..2500 {
        world.append("system-accounts").await;
    }
    let amy = world.bound(&Caller::user("amy", &[]));
    let checkpoints = |messages: &[Result<SubscriptionMessage>]| -> Vec<u64> {
        let of = |m: &Result<SubscriptionMessage>| match m {
            Ok(SubscriptionMessage::Checkpoint(position)) => Some(position.raw()),
            _ => None,
        };
        messages.iter().filter_map(of).collect()
    };
    let plain = followed(amy.subscribe_all(SubscribeAll::default()).await.unwrap()).await;
    assert_eq!(checkpoints(&plain), [999, 1999]);
    assert!(matches!(plain.last(), Some(Ok(SubscriptionMessage::CaughtUp { .. }))), "{:?}", plain.last());
    let filter = Some(EventFilter::stream_prefix(["system-"]));
    let options = SubscribeAll { filter, ..SubscribeAll::default() };
    let own = followed(world.store.subscribe_all(options.clone()).await.unwrap()).await;
    let filtered = followed(amy.subscribe_all(options).await.unwrap()).await;
    assert_eq!(checkpoints(&filtered), checkpoints(&own), "the store's own");
    let page = amy.read_all(ReadAll::forwards(10)).await.unwrap();
    assert_eq!((page.events.len(), page.next.is_some()), (0, true), "the work for a page is bounded");
}

#[tokio::test]
async fn who_may_do_everything_gets_the_store_itself() {
    let world = World::new();
    let of = |caller: &Caller| Arc::ptr_eq(&world.bound(caller), &world.store);
    assert!(of(&Caller::system()));
    assert!(of(&Caller::user("root", &["admin".to_owned()])));
    assert!(!of(&Caller::user("system", &[])));
    assert!(!of(&Caller::anonymous()));
}
