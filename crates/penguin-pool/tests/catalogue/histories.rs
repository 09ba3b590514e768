//! Random histories, with restarts in between: the catalogue says what the store says.

use crate::{
    reference::Reference,
    world::{World, name},
};
use event_store::{Clock as _, ExpectedState, NewEvent, StreamMetadata, StreamName, StreamWrite};
use models::StreamStatus;
use penguin_pool::{
    catalogue::{BrowseFilter, Catalogue, CatalogueStream, Condition, Operator, SearchFilter, View},
    security::Caller,
};
use proptest::prelude::*;
use serde_json::{Value, json, value::RawValue};
use std::time::Duration;

const NAMES: [&str; 7] =
    ["user-anna-profile", "user-anna-loans", "user-bob-loans", "loan-1", "loan-10", "plain", "$settings"];
const TYPES: [&str; 3] = ["Asked", "Lent", "Returned"];
const TAGS: [&str; 3] = ["user", "public", "private"];
const OWNERS: [&str; 2] = ["anna", "bob"];
const WORDS: [&str; 4] = ["penguin", "Pool", "book", "bicycle"];

const READERS: [&str; 9] = [
    r#"{ "$r": "$all" }"#,
    r#"{ "$r": ["$all", "anna"] }"#,
    r#"{ "$r": ["role:librarian", "$all"] }"#,
    r#"{ "$r": ["anna"] }"#,
    r#"{ "$r": ["bob", "role:librarian"] }"#,
    r#"{ "$r": ["anna", "$admins"], "$mr": ["$all"] }"#,
    r#"{ "$r": ["$all"], "$mr": ["$admins"] }"#,
    r#"{ "$r": [] }"#,
    "{}",
];

/// Those of whom what they find is held against what they may read.
fn callers() -> [Caller; 4] {
    let librarian = ["librarian".to_owned()];
    [
        Caller::user("anna", &[]),
        Caller::user("liz", &librarian),
        Caller::user("bob", &librarian),
        Caller::anonymous(),
    ]
}

#[derive(Debug, Clone)]
enum Step {
    Append { stream: usize, events: Vec<(usize, usize, i64)> },
    AppendToTwo { first: usize, second: usize },
    Describe { stream: usize, metadata: Value },
    Delete(usize),
    Tombstone(usize),
    Advance(u64),
    Settle,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let stream = 0..NAMES.len();
    let events = proptest::collection::vec((0..TYPES.len(), 0..WORDS.len(), -3_i64..4), 1..5);
    prop_oneof![
        8 => (stream.clone(), events).prop_map(|(stream, events)| Step::Append { stream, events }),
        2 => (0..3_usize, 3..6_usize).prop_map(|(first, second)| Step::AppendToTwo { first, second }),
        6 => (stream.clone(), metadata()).prop_map(|(stream, metadata)| Step::Describe { stream, metadata }),
        3 => stream.clone().prop_map(Step::Delete),
        1 => stream.prop_map(Step::Tombstone),
        3 => (1..20_u64).prop_map(Step::Advance),
        3 => Just(Step::Settle),
        1 => Just(Step::Restart),
    ]
}

fn metadata() -> impl Strategy<Value = Value> {
    use proptest::option::weighted;
    (
        weighted(0.3, 1..4_u64),
        weighted(0.3, 0..6_u64),
        weighted(0.2, 5..30_u64),
        proptest::sample::subsequence(TAGS.to_vec(), 0..3),
        weighted(0.5, 0..OWNERS.len()),
        weighted(0.2, Just("archived")),
        weighted(0.2, 0..3_u8),
        weighted(0.6, 0..READERS.len()),
        weighted(0.5, 0..8_u64),
    )
        .prop_map(|(count, tb, age, tags, owner, status, day, readers, public_from)| {
            let acl = readers.map(|at| serde_json::from_str::<Value>(READERS[at]).unwrap());
            let all = json!({
                "$maxCount": count, "$tb": tb, "$maxAge": age, "$acl": acl, "tags": tags, "publicFrom": public_from,
                "owner": owner.map(|o| OWNERS[o]), "status": status,
                "createdAt": day.map(|d| format!("2024-01-1{d}T00:00:00.000Z")),
            });
            let given = all.as_object().unwrap().iter().filter(|(_, v)| !v.is_null());
            Value::Object(given.map(|(k, v)| (k.clone(), v.clone())).collect())
        })
}

/// What the store refuses changes nothing, which is as good a step as any.
async fn take(world: &mut World, step: &Step) {
    match step {
        Step::Append { stream, events } => {
            let events = events.iter().map(|(kind, word, n)| event(world, *kind, *word, *n)).collect();
            let _ = world.store.append(&name(NAMES[*stream]), ExpectedState::Any, events).await;
        }
        Step::AppendToTwo { first, second } => {
            let mut write = |stream: usize| StreamWrite {
                stream: name(NAMES[stream]),
                expected: ExpectedState::Any,
                events: vec![event(world, 0, 0, 1), event(world, 1, 1, 2)],
            };
            let writes = vec![write(*first), write(*second)];
            let _ = world.store.append_many(writes).await;
        }
        Step::Describe { stream, metadata } => {
            let id = world.next_id();
            let metadata = StreamMetadata::from_json(metadata.to_string().as_bytes());
            let stream = name(NAMES[*stream]);
            let _ = world.store.set_metadata(&stream, ExpectedState::Any, &metadata, id).await;
        }
        Step::Delete(stream) => {
            let _ = world.store.delete(&name(NAMES[*stream]), ExpectedState::Any).await;
        }
        Step::Tombstone(stream) => {
            let _ = world.store.tombstone(&name(NAMES[*stream]), ExpectedState::Any).await;
        }
        Step::Advance(seconds) => world.clock.advance(Duration::from_secs(*seconds)),
        Step::Settle | Step::Restart => {}
    }
}

fn event(world: &mut World, kind: usize, word: usize, number: i64) -> NewEvent {
    let data = match number {
        -3 => "not json".to_owned(),
        _ => json!({ "word": WORDS[word], "n": number, "key": { "list": [number, "x"] } }).to_string(),
    };
    world.event(TYPES[kind], &data)
}

fn some<T: Clone>(from: &[T], seed: u64) -> Option<T> {
    from.get(usize::try_from(seed).unwrap() % (from.len() + 2)).cloned()
}

/// Filters that follow from a number, so that a failing history is asked the same questions again.
fn browse_filter(world: &World, seed: u64) -> BrowseFilter {
    let now = world.clock.now();
    let text = |text: Option<&str>| text.map(str::to_owned);
    let statuses = [StreamStatus::Active, StreamStatus::Archived, StreamStatus::Deleted];
    BrowseFilter {
        name_pattern: text(some(&["^user-.*s$", "an", r"^\$s", "^loan-1"], seed % 11)),
        prefix: text(some(&["user-", "loan-1", "$", ""], seed % 13)),
        tag: text(some(&TAGS, seed % 17)),
        owner: text(some(&OWNERS, seed % 19)),
        event_type: text(some(&TYPES, seed % 23)),
        status: some(&statuses, seed % 7),
        date_from: seed.is_multiple_of(3).then(|| now.minus(Duration::from_secs(seed % 50))),
        date_to: seed.is_multiple_of(5).then(|| now.minus(Duration::from_secs(seed % 20))),
        limit: 1 + usize::try_from(seed % 3).unwrap(),
        offset: 0,
        cursor: None,
    }
}

/// The catalogue as somebody sees it.
#[derive(Clone, Copy)]
struct Seen<'a> {
    catalogue: &'a Catalogue,
    view: &'a View,
}

async fn check_browse(world: &World, reference: &Reference, seen: Seen<'_>, filter: BrowseFilter) {
    let Seen { catalogue, view } = seen;
    let expected = reference.browse(&filter);
    let mut by_cursor = Vec::new();
    let mut by_offset = Vec::new();
    let mut cursor = None;
    loop {
        let page = catalogue.browse(view, BrowseFilter { cursor, ..filter.clone() }).await.unwrap();
        assert_eq!(page.total, expected.len() as u64, "{filter:?}");
        by_cursor.extend(page.streams.iter().map(|s| s.name.as_str().to_owned()));
        assert_eq!(page.has_more, page.next_cursor.is_some());
        assert_eq!(page.has_more, by_cursor.len() < expected.len(), "{filter:?}");
        let offset = by_offset.len() as u64;
        let page_at = catalogue.browse(view, BrowseFilter { offset, ..filter.clone() }).await.unwrap();
        by_offset.extend(page_at.streams.iter().map(|s| s.name.as_str().to_owned()));
        for stream in &page.streams {
            check_stream(world, reference, stream);
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(by_cursor, expected, "{filter:?}");
    assert_eq!(by_offset, expected, "{filter:?}");
}

fn check_stream(_: &World, reference: &Reference, stream: &CatalogueStream) {
    let known = &reference.streams[stream.name.as_str()];
    let what = &stream.name;
    assert_eq!(stream.event_count, known.readable.len() as u64, "{what}");
    assert_eq!(stream.size_bytes, known.readable.iter().map(|e| e.size() as u64).sum::<u64>(), "{what}");
    assert_eq!(stream.first_revision, known.readable.first().map(|e| e.revision), "{what}");
    assert_eq!(stream.last_revision, known.readable.last().map(|e| e.revision), "{what}");
    assert_eq!(stream.first_event_at, known.readable.first().map(|e| e.created), "{what}");
    assert_eq!(stream.last_event_at, known.readable.last().map(|e| e.created), "{what}");
    assert_eq!(stream.status, known.status, "{what}");
    assert_eq!(stream.tombstoned, known.tombstoned, "{what}");
    assert_eq!(stream.created_at, known.created_at, "{what}");
    assert_eq!(stream.metadata, known.metadata, "{what}");
    assert_eq!(stream.description.tags.clone().unwrap_or_default(), known.tags, "{what}");
    assert_eq!(stream.description.owner, known.owner, "{what}");
}

async fn check_search(world: &World, reference: &Reference, seen: Seen<'_>, seed: u64) {
    let Seen { catalogue, view } = seen;
    let now = world.clock.now();
    let word = some(&WORDS, seed % 11);
    let number = seed.is_multiple_of(4).then_some(i64::try_from(seed % 5).unwrap() - 2);
    let condition = number.map(|n| Condition {
        path: "/key/list/0".to_owned(),
        op: Operator::Gte,
        value: Some(RawValue::from_string(n.to_string()).unwrap()),
    });
    let filter = SearchFilter {
        text: word.map(|word| format!("{} x", word.to_uppercase())),
        event_type: some(&TYPES, seed % 7).map(str::to_owned),
        stream_name: some(&NAMES, seed % 29).map(|n| StreamName::new(n).unwrap()),
        date_from: seed.is_multiple_of(3).then(|| now.minus(Duration::from_secs(seed % 50))),
        date_to: seed.is_multiple_of(5).then(|| now.minus(Duration::from_secs(seed % 20))),
        conditions: condition.into_iter().collect(),
        limit: 1 + usize::try_from(seed % 4).unwrap(),
        cursor: None,
    };
    let holds = |event: &event_store::RecordedEvent| {
        let data: Value = serde_json::from_slice(&event.data).unwrap_or_default();
        word.is_none_or(|word| data["word"] == word)
            && number.is_none_or(|n| data["key"]["list"][0].as_i64().is_some_and(|found| found >= n))
    };
    let expected = reference.search(&filter, holds);
    let mut found = Vec::new();
    let mut cursor = None;
    loop {
        let page = catalogue.search(view, SearchFilter { cursor, ..filter.clone() }).await.unwrap();
        assert_eq!((page.total, page.total_is_lower_bound), (expected.len() as u64, false), "{filter:?}");
        found.extend(page.hits);
        cursor = page.cursor;
        assert_eq!(page.has_more, cursor.is_some());
        if cursor.is_none() {
            break;
        }
    }
    let brief = |e: &event_store::RecordedEvent| {
        (e.position, e.stream.clone(), e.revision, e.event_type.to_string(), e.created)
    };
    let expected: Vec<_> = expected.into_iter().map(brief).collect();
    let found: Vec<_> =
        found.into_iter().map(|h| (h.position, h.stream, h.revision, h.event_type, h.created)).collect();
    assert_eq!(found, expected, "{filter:?}");
}

async fn check(world: &World, catalogue: &Catalogue, seed: u64) {
    world.settle(catalogue).await;
    let reference = Reference::of(&*world.store).await;
    for name in reference.streams.keys() {
        let stream = catalogue.stream(&StreamName::new(name.as_str()).unwrap()).await.unwrap();
        check_stream(world, &reference, &stream.unwrap());
    }
    check_view(world, &reference, Seen { catalogue, view: &View::everything() }, seed).await;
    for caller in callers() {
        let seen = Seen { catalogue, view: &View::of(&caller) };
        check_view(world, &reference.seen_by(&caller), seen, seed).await;
    }
}

async fn check_view(world: &World, reference: &Reference, seen: Seen<'_>, seed: u64) {
    check_browse(world, reference, seen, BrowseFilter { limit: 3, ..BrowseFilter::default() }).await;
    for status in [StreamStatus::Active, StreamStatus::Archived, StreamStatus::Deleted] {
        let filter = BrowseFilter { status: Some(status), limit: 2, ..BrowseFilter::default() };
        check_browse(world, reference, seen, filter).await;
    }
    for tag in TAGS {
        let filter = BrowseFilter { tag: Some(tag.to_owned()), limit: 2, ..BrowseFilter::default() };
        check_browse(world, reference, seen, filter).await;
    }
    for kind in TYPES {
        let filter = BrowseFilter { event_type: Some(kind.to_owned()), limit: 2, ..BrowseFilter::default() };
        check_browse(world, reference, seen, filter).await;
    }
    for extra in 0..12 {
        let seed = seed.wrapping_mul(31).wrapping_add(extra * 7919) % 1_000_003;
        check_browse(world, reference, seen, browse_filter(world, seed)).await;
        check_search(world, reference, seen, seed).await;
    }
    assert_eq!(seen.catalogue.statistics(seen.view).await.unwrap(), reference.statistics());
}

/// Lives through a history, then asks everything of the catalogue that lived through it and of one made in one go.
fn live_through(world: impl Future<Output = World>, steps: &[Step], seed: u64) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    runtime.block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("catalogue.sqlite");
        let mut world = world.await;
        let mut catalogue = world.open_file(&path).await;
        for step in steps {
            take(&mut world, step).await;
            match step {
                Step::Settle => world.settle(&catalogue).await,
                Step::Restart => {
                    catalogue.stop().await;
                    catalogue = world.open_file(&path).await;
                }
                _ => {}
            }
        }
        check(&world, &catalogue, seed).await;
        catalogue.stop().await;

        let fresh = world.open_memory().await;
        check(&world, &fresh, seed).await;
        fresh.stop().await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_catalogue_says_what_the_store_says(
        steps in proptest::collection::vec(step(), 1..40),
        seed in 0..100_000_u64,
    ) {
        live_through(async { World::new() }, &steps, seed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn the_catalogue_says_what_the_embedded_engine_says(
        steps in proptest::collection::vec(step(), 20..60),
        seed in 0..100_000_u64,
    ) {
        live_through(async { World::embedded() }, &steps, seed);
    }
}
