//! Data directories of every released format, kept in `fixtures/`: each must open and read as it was recorded when it was made.
//!
//! A new format version gets a directory of its own: raise `format::VERSION`, then run
//! `cargo test -p event-store-embedded --test format -- --ignored` and commit what it writes. Directories that are
//! there are never written again.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use event_store::{
    Acl, ContentType, Error, EventStore, ExpectedState, NewEvent, ReadAll, ReadFrom, ReadStream,
    RecordedEvent, StreamMetadata, StreamName, StreamWrite,
};
use event_store_embedded::{
    Engine, Options,
    format::{FIRST_OF_COMMIT, Record, SegmentHeader, VERSION},
};
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use test_support::{MockClock, SeededIds};
use uuid::Uuid;

fn fixture(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/v{version}"))
}

fn open(directory: &Path, seed: u64) -> Engine {
    let options = Options::at(directory)
        .segment_bytes(4 << 10)
        .clock(Arc::new(MockClock::new()))
        .ids(Arc::new(SeededIds::new(seed)));
    Engine::open(options).unwrap()
}

fn name(name: &str) -> StreamName {
    StreamName::new(name).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// The event of a number, always the same.
fn event(number: u64, data: &str) -> NewEvent {
    let metadata = format!(r#"{{"number":{number}}}"#);
    NewEvent {
        metadata: metadata.into(),
        ..NewEvent::json(Uuid::from_u64_pair(77, number), "recorded", data.to_owned())
    }
}

/// Everything that a store can be asked to keep, in a few events.
async fn fill(store: &Engine) {
    let any = ExpectedState::Any;
    let append =
        async |stream: &str, events: Vec<NewEvent>| store.append(&name(stream), any, events).await.unwrap();
    append("plain", vec![event(0, "{}"), event(1, r#"{"b":9007199254740993,"a":1.0}"#)]).await;
    let binary = NewEvent {
        content_type: ContentType::Binary,
        data: (0..=255).collect::<Vec<u8>>().into(),
        metadata: vec![0xff, 0].into(),
        ..event(2, "")
    };
    let bare = NewEvent { metadata: "".into(), ..event(3, "") };
    let foreign = NewEvent { event_type: "событие 🐧".into(), ..event(4, "\"текст\"") };
    append("поток 🐧", vec![binary, bare, foreign]).await;
    append("large", vec![event(5, &format!("\"{}\"", "x".repeat(5000))), event(6, "1")]).await;
    append("links", vec![NewEvent::link(Uuid::from_u64_pair(77, 7), &name("plain"), 1)]).await;

    let write =
        |stream, events| StreamWrite { stream: name(stream), expected: ExpectedState::NoStream, events };
    let metadata = StreamMetadata {
        max_count: Some(2),
        max_age: Some(Duration::from_secs(3600)),
        acl: Some(Acl { read: Some(vec!["$all".into()]), ..Default::default() }),
        custom: [("colour".to_owned(), json!("blue"))].into_iter().collect(),
        ..Default::default()
    };
    let writes = vec![
        write("$$limited", vec![metadata.to_event(Uuid::from_u64_pair(77, 8))]),
        write("limited", vec![event(9, "1"), event(10, "2"), event(11, "3")]),
        write("beside", vec![event(12, "4")]),
    ];
    store.append_many(writes).await.unwrap();

    append("deleted", vec![event(13, "1")]).await;
    store.delete(&name("deleted"), any).await.unwrap();
    append("back again", vec![event(14, "1"), event(15, "2")]).await;
    store.delete(&name("back again"), any).await.unwrap();
    append("back again", vec![event(16, "3")]).await;
    append("ended", vec![event(17, "1")]).await;
    store.tombstone(&name("ended"), any).await.unwrap();
    for number in 20..50 {
        append("many", vec![event(number, &format!("{number}"))]).await;
    }
}

const STREAMS: [&str; 12] = [
    "plain",
    "поток 🐧",
    "large",
    "links",
    "limited",
    "$$limited",
    "beside",
    "deleted",
    "back again",
    "$$back again",
    "ended",
    "many",
];

fn describe(event: &RecordedEvent) -> Value {
    json!({
        "position": event.position.raw(),
        "stream": event.stream.as_str(),
        "revision": event.revision,
        "id": event.id.to_string(),
        "type": event.event_type.as_str(),
        "contentType": event.content_type.as_str(),
        "created": event.created.ticks(),
        "data": hex(&event.data),
        "metadata": hex(&event.metadata),
    })
}

/// All that can be read of a store, as JSON.
async fn read(store: &Engine) -> Value {
    let (mut all, mut from) = (Vec::new(), ReadFrom::Start);
    loop {
        let page = store.read_all(ReadAll::forwards(10).from(from)).await.unwrap();
        all.extend(page.events.iter().map(|e| describe(e.event.as_ref().unwrap())));
        match page.next {
            Some(next) => from = ReadFrom::At(next),
            None => break,
        }
    }
    let mut streams = serde_json::Map::new();
    for stream in STREAMS {
        let found = match store.read_stream(&name(stream), ReadStream::forwards(100)).await {
            Ok(page) => page.events.iter().map(|e| Value::from(e.event.as_ref().unwrap().revision)).collect(),
            Err(Error::StreamNotFound(_)) => json!("not found"),
            Err(Error::StreamDeleted(_)) => json!("deleted"),
            Err(error) => panic!("{stream}: {error}"),
        };
        streams.insert(stream.to_owned(), found);
    }
    json!({ "store": store.id().await.unwrap().to_string(), "all": all, "streams": streams })
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|e| (e.path(), e.file_name())).unwrap();
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            fs::copy(path, to.join(name)).unwrap();
        }
    }
}

#[tokio::test]
async fn every_released_version_reads_as_it_was_recorded() {
    for version in 1..=VERSION {
        let recorded = fs::read_to_string(fixture(version).join("recorded.json")).unwrap();
        let recorded: Value = serde_json::from_str(&recorded).unwrap();
        assert!(recorded["all"].as_array().unwrap().len() > 40);
        for with_index in [true, false] {
            let directory = tempfile::tempdir().unwrap();
            copy(&fixture(version).join("data"), directory.path());
            if !with_index {
                fs::remove_file(directory.path().join("index.sqlite")).unwrap();
                fs::remove_file(directory.path().join("ids.snapshot")).unwrap();
            }
            let store = open(directory.path(), 2);
            assert_eq!(read(&store).await, recorded, "version {version}, index: {with_index}");

            // It goes on: known ids are known, and the next event follows.
            let again = store.append(&name("many"), ExpectedState::Any, vec![event(30, "30")]).await.unwrap();
            assert_eq!(again.last_revision, Some(10));
            let next =
                store.append(&name("plain"), ExpectedState::Exact(1), vec![event(99, "2")]).await.unwrap();
            assert_eq!(next.last_revision, Some(2));
            assert_eq!(next.position.unwrap().raw(), recorded["all"].as_array().unwrap().len() as u64);
            store.close().await.unwrap();
        }
    }
}

/// The bytes themselves: what is written today must be what was frozen. The files were made by hand from the tables in
/// `format.rs`, not by this program.
#[test]
fn a_header_and_a_record_are_exactly_these_bytes() {
    let header = SegmentHeader {
        number: 3,
        store_id: Uuid::from_u64_pair(0x0102_0304_0506_0708, 0x090a_0b0c_0d0e_0f10),
        first_position: 1000,
        previous_len: 4096,
        seed: 0xAABB_CCDD,
    };
    let mut record = vec![0; 5];
    Record {
        flags: FIRST_OF_COMMIT,
        json: false,
        position: 1000,
        revision: 7,
        created: 17_053_146_000_000_000,
        id: Uuid::from_u64_pair(1, 2),
        stream: "loan-1",
        event_type: "made",
        data: b"data",
        metadata: b"meta!",
    }
    .encode(&mut record, header.seed);
    assert_eq!(hex(&header.encode()), include_str!("fixtures/header.hex").trim());
    assert_eq!(hex(&record[5..]), include_str!("fixtures/record.hex").trim());
}

/// Not a test: makes the fixture of the version that is written now, if there is none.
#[tokio::test]
#[ignore = "makes a fixture"]
async fn make_the_fixture_of_this_version() {
    let fixture = fixture(VERSION);
    if fixture.exists() {
        return;
    }
    let data = fixture.join("data");
    let store = open(&data, 1);
    fill(&store).await;
    let recorded = read(&store).await;
    store.close().await.unwrap();
    fs::remove_file(data.join("LOCK")).unwrap();
    fs::write(fixture.join("recorded.json"), serde_json::to_string_pretty(&recorded).unwrap() + "\n")
        .unwrap();
}
