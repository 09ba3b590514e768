//! What every law stands on: a store, names that nobody else uses, and events to write.

use crate::{
    AllPage, Appended, ContentType, EventFilter, EventStore, ExpectedState, IdSource, NewEvent, Position,
    RandomIds, ReadAll, ReadFrom, ReadStream, RecordedEvent, ResolvedEvent, Revision, StreamName,
    Subscription, SubscriptionMessage,
};
use futures::StreamExt;
use std::{sync::Arc, time::Duration};
use uuid::Uuid;

/// How long a law may take before it counts as broken: long enough for a remote store on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A store to hold against the laws, and the hands that some laws need.
#[async_trait::async_trait]
pub trait Subject: Send + Sync + 'static {
    /// The store. Asked once for each law, which may close it: if the store is shared, give a client of its own.
    async fn store(&self) -> Arc<dyn EventStore>;

    /// The same store, opened again after the law closed it; nothing if it cannot be, and then laws about restarts
    /// are skipped, and say so.
    async fn reopen(&self) -> Option<Arc<dyn EventStore>>;

    /// Moves the store's clock, backwards too; `false` if it cannot be moved, and then laws about age wait for the
    /// real time to pass.
    fn move_clock(&self, seconds: i64) -> bool;

    /// The size of the largest event that the store takes.
    fn max_event_bytes(&self) -> usize {
        16 << 20
    }

    /// The size of the largest append that the store takes.
    fn max_append_bytes(&self) -> usize {
        256 << 20
    }
}

#[async_trait::async_trait]
impl Subject for Box<dyn Subject> {
    async fn store(&self) -> Arc<dyn EventStore> {
        (**self).store().await
    }

    async fn reopen(&self) -> Option<Arc<dyn EventStore>> {
        (**self).reopen().await
    }

    fn move_clock(&self, seconds: i64) -> bool {
        (**self).move_clock(seconds)
    }

    fn max_event_bytes(&self) -> usize {
        (**self).max_event_bytes()
    }

    fn max_append_bytes(&self) -> usize {
        (**self).max_append_bytes()
    }
}

/// Runs one law.
pub(super) async fn run<F: Future<Output = ()>>(
    law: &'static str,
    subject: impl Subject,
    test: impl FnOnce(Bed) -> F,
) {
    let attempt = async {
        let store = subject.store().await;
        let begin = store.last_position().await;
        #[expect(clippy::unwrap_used, reason = "a law is a test")]
        let begin = begin.unwrap();
        let run = RandomIds.next_id().simple().to_string();
        test(Bed { law, store, subject: Box::new(subject), begin, run }).await;
    };
    assert!(tokio::time::timeout(PATIENCE, attempt).await.is_ok(), "{law} did not end within {PATIENCE:?}");
}

/// What a law is given.
pub(crate) struct Bed {
    law: &'static str,
    pub(super) store: Arc<dyn EventStore>,
    pub(super) subject: Box<dyn Subject>,
    /// The newest position before the law began.
    begin: Option<Position>,
    run: String,
}

/// What a law takes for granted.
#[expect(clippy::unwrap_used, reason = "a law is a test")]
impl Bed {
    /// A stream of this run alone.
    pub(super) fn stream(&self, name: &str) -> StreamName {
        StreamName::new(format!("{}-{name}", self.run)).unwrap()
    }

    /// The names of this run's streams start with this.
    pub(super) fn prefix(&self) -> &str {
        &self.run
    }

    /// Lets through this run's streams and their metastreams.
    pub(super) fn filter(&self) -> EventFilter {
        EventFilter::stream_prefix([self.run.clone(), format!("$${}", self.run)])
    }

    pub(super) fn id(&self) -> Uuid {
        RandomIds.next_id()
    }

    /// An event that is unlike any other.
    pub(super) fn event(&self, event_type: &str) -> NewEvent {
        let id = self.id();
        NewEvent { metadata: "{}".into(), ..NewEvent::json(id, event_type, format!("{{\"id\":\"{id}\"}}")) }
    }

    pub(super) fn events(&self, count: usize) -> Vec<NewEvent> {
        (0..count).map(|_| self.event("happened")).collect()
    }

    /// Makes a stream with new events.
    pub(super) async fn written(&self, stream: &StreamName, count: usize) -> Vec<NewEvent> {
        let events = self.events(count);
        let appended = self.store.append(stream, ExpectedState::NoStream, events.clone()).await.unwrap();
        assert_eq!(appended.last_revision, Some(count as u64 - 1));
        events
    }

    /// Appends new events to a stream that may be there.
    pub(super) async fn add(&self, stream: &StreamName, count: usize) -> (Vec<NewEvent>, Appended) {
        let events = self.events(count);
        let appended = self.store.append(stream, ExpectedState::Any, events.clone()).await.unwrap();
        (events, appended)
    }

    /// Everything that can be read of a stream, in pages of seven.
    pub(super) async fn read(&self, stream: &StreamName) -> Vec<RecordedEvent> {
        let mut events = Vec::new();
        let mut from = ReadFrom::Start;
        loop {
            let page = self.store.read_stream(stream, ReadStream::forwards(7).from(from)).await.unwrap();
            events.extend(plain(page.events));
            match page.next {
                Some(next) => from = ReadFrom::At(next),
                None => return events,
            }
        }
    }

    /// The revisions that can be read of a stream.
    pub(super) async fn revisions(&self, stream: &StreamName) -> Vec<Revision> {
        self.read(stream).await.iter().map(|e| e.revision).collect()
    }

    /// What this run has written so far, metadata included, as `$all` has it.
    pub(super) async fn all(&self) -> Vec<RecordedEvent> {
        plain(self.all_pages(ReadAll::forwards(50).filter(self.filter())).await)
    }

    /// What `$all` has from the beginning of this run, page by page.
    pub(super) async fn all_pages(&self, read: ReadAll) -> Vec<ResolvedEvent> {
        let mut read = read.from(self.begin());
        let mut events = Vec::new();
        loop {
            let AllPage { events: page, next } = self.store.read_all(read.clone()).await.unwrap();
            assert!(page.len() <= read.limit);
            events.extend(page);
            match next {
                Some(next) => read = read.from(ReadFrom::At(next)),
                None => return events,
            }
        }
    }

    /// Where `$all` begins for this run.
    pub(super) fn begin(&self) -> ReadFrom<Position> {
        self.begin.map_or(ReadFrom::Start, ReadFrom::Past)
    }

    /// The event at a position.
    pub(super) async fn at(&self, position: Position) -> RecordedEvent {
        let page = self.store.read_all(ReadAll::forwards(1).from(ReadFrom::At(position))).await.unwrap();
        plain(page.events).remove(0)
    }

    /// Closes the store and opens it again; `false` if it cannot be opened again.
    pub(super) async fn restart(&mut self) -> bool {
        self.store.close().await.unwrap();
        match self.subject.reopen().await {
            Some(store) => {
                self.store = store;
                true
            }
            None => self.skip("this store cannot be opened again"),
        }
    }

    /// Whether appends to several streams can be tried; if not, that they are refused as they should be.
    pub(super) async fn can_write_to_several(&self) -> bool {
        if self.store.capabilities().multi_stream_append {
            return true;
        }
        let write = |name| crate::StreamWrite {
            stream: self.stream(name),
            expected: ExpectedState::Any,
            events: self.events(1),
        };
        let refused = self.store.append_many(vec![write("a"), write("b")]).await;
        assert!(matches!(refused, Err(crate::Error::Unsupported(_))), "{refused:?}");
        self.skip("this store cannot append to several streams at once")
    }

    /// Whether derived streams can be tried.
    pub(super) fn derives(&self) -> bool {
        self.store.capabilities().derived_streams || self.skip("this store has no derived streams")
    }

    #[expect(clippy::print_stdout, reason = "a law that is skipped says so in the tests' output")]
    fn skip(&self, why: &str) -> bool {
        println!("skipped: {}: {why}", self.law);
        false
    }
}

/// The events of a page in which no link was resolved.
#[expect(clippy::unwrap_used, reason = "a law is a test")]
pub(super) fn plain(events: Vec<ResolvedEvent>) -> Vec<RecordedEvent> {
    let unlinked = |e: ResolvedEvent| {
        assert_eq!(e.link, None);
        e.event.unwrap()
    };
    events.into_iter().map(unlinked).collect()
}

pub(super) fn ids(events: &[RecordedEvent]) -> Vec<Uuid> {
    events.iter().map(|e| e.id).collect()
}

pub(super) fn new_ids(events: &[NewEvent]) -> Vec<Uuid> {
    events.iter().map(|e| e.id).collect()
}

/// That a stored event is the one that was written.
#[track_caller]
pub(super) fn assert_same(stored: &RecordedEvent, written: &NewEvent) {
    let RecordedEvent { id, event_type, content_type, data, metadata, .. } = stored.clone();
    assert_eq!(NewEvent { id, event_type, content_type, data, metadata }, *written);
}

/// The next message; a subscription that has ended is a broken law.
pub(super) async fn message(subscription: &mut Subscription) -> crate::Result<SubscriptionMessage> {
    match subscription.next().await {
        Some(message) => message,
        None => panic!("the subscription ended without an error"),
    }
}

/// The next so many events, whatever stands between them.
#[expect(clippy::unwrap_used, reason = "a law is a test")]
pub(super) async fn next_events(subscription: &mut Subscription, count: usize) -> Vec<RecordedEvent> {
    let mut events = Vec::new();
    while events.len() < count {
        if let SubscriptionMessage::Event(event) = message(subscription).await.unwrap() {
            events.extend(plain(vec![event]));
        }
    }
    events
}

/// The events up to the first `CaughtUp`, and what that says.
#[expect(clippy::unwrap_used, reason = "a law is a test")]
pub(super) async fn caught_up(
    subscription: &mut Subscription,
) -> (Vec<RecordedEvent>, Option<Revision>, Option<Position>) {
    let mut events = Vec::new();
    loop {
        match message(subscription).await.unwrap() {
            SubscriptionMessage::Event(event) => events.extend(plain(vec![event])),
            SubscriptionMessage::CaughtUp { revision, position } => return (events, revision, position),
            SubscriptionMessage::Checkpoint(_) | SubscriptionMessage::FellBehind => {}
        }
    }
}

/// Bytes that are neither text nor JSON.
pub(super) fn binary(id: Uuid, data: Vec<u8>) -> NewEvent {
    NewEvent { content_type: ContentType::Binary, ..NewEvent::json(id, "binary", data) }
}
