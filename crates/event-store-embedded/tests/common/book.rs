//! The book: which commits were answered and how, to be held against what a store has after a fall.
//!
//! Each event says which commit it belongs to and how large that is, so that half a commit shows.

use event_store::{
    EventStore, ExpectedState, NewEvent, ReadAll, ReadFrom, ReadStream, RecordedEvent, StreamName,
    StreamWrite,
};
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// What was answered for one stream of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub stream: String,
    pub events: u64,
    pub last_revision: u64,
    pub position: u64,
}

/// A commit that was answered with success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    pub commit: String,
    pub parts: Vec<Part>,
}

/// The answers so far.
#[derive(Debug, Clone, Default)]
pub struct Book {
    pub answered: Vec<Answered>,
    /// Commits of which it was said that nothing was written.
    pub refused: HashSet<String>,
}

/// The events of one commit, over its streams. The data makes some events small and some span several sectors.
pub fn commit(name: &str, streams: &[(&str, ExpectedState, u64)]) -> Vec<StreamWrite> {
    let size: u64 = streams.iter().map(|s| s.2).sum();
    let mut index = 0;
    let mut event = || {
        let padding = "x".repeat((name.len() * 37 + index as usize * 331) % 1500);
        let data = format!(r#"{{"commit":"{name}","index":{index},"size":{size},"padding":"{padding}"}}"#);
        index += 1;
        NewEvent::json(id_of(name, index), "committed", data)
    };
    let write = |&(stream, expected, count): &(&str, ExpectedState, u64)| StreamWrite {
        stream: StreamName::new(stream).unwrap(),
        expected,
        events: (0..count).map(|_| event()).collect(),
    };
    streams.iter().map(write).collect()
}

/// An id that only this event has.
fn id_of(commit: &str, index: u64) -> Uuid {
    let high = commit
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325_u64, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3));
    Uuid::from_u64_pair(high, index)
}

/// Appends a commit and gives what to write into the book.
pub async fn append(
    store: &dyn EventStore,
    name: &str,
    streams: &[(&str, ExpectedState, u64)],
) -> event_store::Result<Answered> {
    let mut writes = commit(name, streams);
    let answers = match writes.len() {
        1 => {
            let write = writes.remove(0);
            vec![store.append(&write.stream, write.expected, write.events).await?]
        }
        _ => store.append_many(writes).await?.streams,
    };
    let part = |(answer, &(stream, _, events)): (event_store::Appended, &(&str, ExpectedState, u64))| Part {
        stream: stream.to_owned(),
        events,
        last_revision: answer.last_revision.unwrap(),
        position: answer.position.unwrap().raw(),
    };
    Ok(Answered { commit: name.to_owned(), parts: answers.into_iter().zip(streams).map(part).collect() })
}

/// Everything the store has, page by page.
pub async fn everything(store: &dyn EventStore) -> event_store::Result<Vec<RecordedEvent>> {
    let (mut events, mut from) = (Vec::new(), ReadFrom::Start);
    loop {
        let page = store.read_all(ReadAll::forwards(500).from(from)).await?;
        events.extend(page.events.into_iter().filter_map(|e| e.event));
        match page.next {
            Some(next) => from = ReadFrom::At(next),
            None => return Ok(events),
        }
    }
}

/// Everything that can be read of a stream.
pub async fn stream(store: &dyn EventStore, name: &str) -> event_store::Result<Vec<RecordedEvent>> {
    let name = StreamName::new(name).unwrap();
    let (mut events, mut from) = (Vec::new(), ReadFrom::Start);
    loop {
        let page = store.read_stream(&name, ReadStream::forwards(500).from(from)).await?;
        events.extend(page.events.into_iter().filter_map(|e| e.event));
        match page.next {
            Some(next) => from = ReadFrom::At(next),
            None => return Ok(events),
        }
    }
}

impl Book {
    /// How many events the answered commits have.
    pub fn events(&self) -> u64 {
        self.answered.iter().flat_map(|answered| &answered.parts).map(|part| part.events).sum()
    }

    /// Holds the book against a store that was opened again: every answered commit is there, once, as it was
    /// answered; no commit is there by half; nothing that was refused is there; revisions have no gaps; and each
    /// stream reads as `$all` says.
    pub async fn check(&self, store: &dyn EventStore) {
        let all = everything(store).await.unwrap();
        assert!(all.windows(2).all(|w| w[0].position < w[1].position && w[0].created <= w[1].created));
        let mut streams: HashMap<&str, Vec<&RecordedEvent>> = HashMap::new();
        let mut commits: HashMap<String, Vec<&RecordedEvent>> = HashMap::new();
        let mut before = None;
        for event in &all {
            let data: serde_json::Value = serde_json::from_slice(&event.data).unwrap();
            let name = data["commit"].as_str().unwrap().to_owned();
            let of_commit = commits.entry(name.clone()).or_default();
            assert_eq!(data["index"], of_commit.len(), "commit {name} is out of order");
            assert_eq!(event.id, id_of(&name, of_commit.len() as u64 + 1));
            if !of_commit.is_empty() {
                assert_eq!(before.as_ref(), Some(&name), "commit {name} is torn apart");
            }
            of_commit.push(event);
            before = Some(name);
            let of_stream = streams.entry(event.stream.as_str()).or_default();
            assert_eq!(event.revision, of_stream.len() as u64, "a gap in stream {}", event.stream);
            of_stream.push(event);
        }
        for (name, events) in &commits {
            let data: serde_json::Value = serde_json::from_slice(&events[0].data).unwrap();
            assert_eq!(data["size"], events.len(), "half of commit {name} is there");
            assert!(!self.refused.contains(name), "commit {name} was refused, and is there");
        }
        for answered in &self.answered {
            let events = commits.get(&answered.commit);
            let events =
                events.unwrap_or_else(|| panic!("commit {} was answered, and is gone", answered.commit));
            let mut rest = events.iter();
            for part in &answered.parts {
                let events: Vec<_> = rest.by_ref().take(part.events as usize).collect();
                assert!(events.iter().all(|e| e.stream.as_str() == part.stream));
                let first = part.last_revision + 1 - part.events;
                let revisions: Vec<_> = events.iter().map(|e| e.revision).collect();
                assert_eq!(revisions, (first..=part.last_revision).collect::<Vec<_>>(), "{answered:?}");
                assert_eq!(events.last().map(|e| e.position.raw()), Some(part.position), "{answered:?}");
            }
            assert_eq!(rest.next(), None);
        }
        for (name, expected) in streams {
            let read = stream(store, name).await.unwrap();
            assert!(read.iter().eq(expected), "stream {name} does not read as `$all` says");
        }
    }
}
