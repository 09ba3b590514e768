//! `penguin-pool copy`: from an embedded store to a KurrentDB, data included.

use crate::support::{Node, PATIENCE};
use event_store::{
    EventStore, ExpectedState, IdSource as _, NewEvent, RandomIds, ReadAll, ReadFrom, ReadStream,
    StreamMetadata, StreamName, SystemClock,
};
use event_store_embedded::{Engine, Options};
use event_store_kurrentdb::{KurrentDb, Options as Adapter};
use penguin_pool::copy::{CopyError, copy};
use std::{path::Path, process::Output, sync::Arc};
use test_support::Proxy;

fn name(text: &str) -> StreamName {
    StreamName::new(text).unwrap()
}

fn events(count: usize) -> Vec<NewEvent> {
    let event = |i| NewEvent {
        metadata: format!("{{\"n\":{i}}}").into(),
        ..NewEvent::json(RandomIds.next_id(), "t", format!("{{ \"n\": {i} }}"))
    };
    (0..count).map(event).collect()
}

/// A little of everything that a store can hold.
async fn fill(store: &dyn EventStore) {
    let any = ExpectedState::Any;
    let described = StreamMetadata {
        max_count: Some(5),
        custom: [("colour".to_owned(), "blue".into())].into_iter().collect(),
        ..StreamMetadata::default()
    };
    for round in 0..40 {
        store.append(&name(&format!("loan-{}", round % 7)), any, events(1 + round % 3)).await.unwrap();
    }
    store.set_metadata(&name("loan-1"), any, &described, RandomIds.next_id()).await.unwrap();
    store.append(&name("loan-1"), any, events(10)).await.unwrap();
    // Deleted, and come back by an event; by metadata; and not at all.
    for stream in ["loan-2", "loan-3", "loan-4"] {
        store.delete(&name(stream), any).await.unwrap();
    }
    store.append(&name("loan-2"), any, events(2)).await.unwrap();
    store.set_metadata(&name("loan-3"), any, &described, RandomIds.next_id()).await.unwrap();
    store.append(&name("loan-3"), any, events(1)).await.unwrap();
    store.tombstone(&name("loan-5"), any).await.unwrap();
    let bytes = NewEvent { content_type: event_store::ContentType::Binary, ..events(1).remove(0) };
    store.append(&name("bytes"), any, vec![bytes]).await.unwrap();
    store.append(&name("$own"), any, events(3)).await.unwrap();
    store.append(&name("large"), any, events(1_200)).await.unwrap();
}

/// What a store holds, in order: everything that is to be the same.
async fn held(store: &dyn EventStore) -> Vec<String> {
    let mut held = Vec::new();
    let mut from = Some(ReadFrom::Start);
    while let Some(place) = from {
        let page = store.read_all(ReadAll::forwards(500).from(place)).await.unwrap();
        from = page.next.map(ReadFrom::At);
        for event in page.events.into_iter().filter_map(|e| e.event) {
            let stream = event.stream.as_str();
            if stream.starts_with('$') && !stream.starts_with("$$")
                || stream == event_store_kurrentdb::ID_STREAM
            {
                continue;
            }
            // Stores give what they write themselves ids of their own.
            let own =
                event.stream.as_str().starts_with("$$") || event.event_type.as_str() == "$streamDeleted";
            let id = if own { String::new() } else { event.id.to_string() };
            let (data, metadata) =
                (String::from_utf8_lossy(&event.data), String::from_utf8_lossy(&event.metadata));
            held.push(format!(
                "{stream} {} {id} {} {:?} {data} {metadata}",
                event.revision,
                event.event_type.as_str(),
                event.content_type
            ));
        }
    }
    held
}

/// That two stores hold the same; if not, where they part.
#[track_caller]
fn assert_same(there: &[String], here: &[String]) {
    for (i, (there, here)) in there.iter().zip(here).enumerate() {
        assert_eq!(there, here, "event {i}");
    }
    assert_eq!(there.len(), here.len());
}

fn adapter(address: std::net::SocketAddr) -> KurrentDb {
    KurrentDb::new(Adapter::connect(&format!("kurrentdb://{address}?tls=false")).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_broken_off_anywhere_and_begun_again_is_the_same_store() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path()).await;
    let wire = Proxy::to(node.address).await.unwrap();
    let from = Engine::open(Options::in_memory().clock(Arc::new(SystemClock))).unwrap();
    fill(&from).await;
    let to = adapter(wire.address());

    // Broken off in the middle of a page, and the wire with it; then from the beginning to the end.
    let begun = tokio::time::timeout(std::time::Duration::from_millis(150), copy(&from, &to, |_| {})).await;
    drop(begun);
    wire.reset();
    let copied = tokio::time::timeout(PATIENCE, copy(&from, &to, |_| {})).await.unwrap().unwrap();
    assert_eq!(copied.left, 3, "the system's own");
    assert_same(&held(&to).await, &held(&from).await);
    let again = copy(&from, &to, |_| {}).await.unwrap();
    assert_eq!((again.written, again.events()), (0, copied.events()), "doing it twice changes nothing");
    assert_same(&held(&to).await, &held(&from).await);
    for stream in ["loan-1", "loan-2", "loan-3", "large"] {
        let stream = name(stream);
        let (here, there) = (
            from.read_stream(&stream, ReadStream::forwards(100)),
            to.read_stream(&stream, ReadStream::forwards(100)),
        );
        let revisions = |page: event_store::StreamPage| {
            page.events.into_iter().filter_map(|e| e.event).map(|e| (e.revision, e.id)).collect::<Vec<_>>()
        };
        assert_eq!(revisions(here.await.unwrap()), revisions(there.await.unwrap()), "{stream}");
    }
    // What was written since goes over too.
    from.append(&name("loan-1"), ExpectedState::Any, events(2)).await.unwrap();
    let more = copy(&from, &to, |_| {}).await.unwrap();
    assert_eq!(more.written, 2);
    assert_same(&held(&to).await, &held(&from).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_stream_of_the_same_name_is_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path()).await;
    let to = adapter(node.address);
    let from = Engine::open(Options::in_memory()).unwrap();
    from.append(&name("loan-1"), ExpectedState::Any, events(3)).await.unwrap();
    to.append(&name("loan-1"), ExpectedState::Any, events(2)).await.unwrap();
    let before = held(&to).await;
    let refused = copy(&from, &to, |_| {}).await;
    assert_eq!(refused, Err(CopyError::Differs { stream: name("loan-1"), revision: 1 }));
    assert_eq!(held(&to).await, before);
}

async fn command(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_penguin-pool"));
    command.args(arguments).env_clear().current_dir(directory).kill_on_drop(true);
    tokio::time::timeout(PATIENCE, command.output()).await.expect("an end").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_copies_a_data_directory_and_says_how_much() {
    let (directory, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = directory.path().join("data");
    let from = Engine::open(Options::at(&data)).unwrap();
    from.append(&name("loan-1"), ExpectedState::Any, events(3)).await.unwrap();
    let node = Node::start(other.path()).await;
    let to = format!("kurrentdb://me:hush@{}?tls=false", node.address);
    let locked = command(directory.path(), &["copy", "--to", &to]).await;
    assert_eq!(locked.status.code(), Some(5), "a directory that is in use is left alone");
    from.close().await.unwrap();
    drop(from);
    let output = command(directory.path(), &["copy", "--to", &to]).await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("Copied 3 events to kurrentdb://127.0.0.1:"), "{said} {:?}", output.stderr);
    assert!(!said.contains("hush"));
    assert_eq!(adapter(node.address).stream_info(&name("loan-1")).await.unwrap().events, 3);
    let plain = command(directory.path(), &["copy", "--to", "http://127.0.0.1:1"]).await;
    assert_eq!(plain.status.code(), Some(3));
}
