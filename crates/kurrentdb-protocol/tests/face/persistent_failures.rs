//! Persistent subscriptions over a store that fails now and then: late, but nothing is lost, and nothing comes twice that
//! was acknowledged.

use crate::support::{Started, events, start_with_own, within};
use event_store::{
    AllPage, Appended, AppendedMany, Capabilities, Deleted, Error, EventStore, ExpectedState, NewEvent,
    ReadAll, ReadStream, Result, StoreId, StoreState, StoreStatistics, StreamInfo, StreamName, StreamPage,
    StreamWrite, SubscribeAll, SubscribeStream, Subscription,
};
use event_store_embedded::{Engine, Options};
use futures::StreamExt;
use kurrentdb::{NakAction, PersistentSubscriptionOptions, StreamPosition};
use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// The first time that it is asked for something of a group's own streams it fails, and so does every second subscription;
/// the others break after three messages.
#[derive(Debug)]
struct Flaky {
    store: Arc<dyn EventStore>,
    asked: Mutex<HashSet<String>>,
    subscribed: AtomicUsize,
}

fn away() -> Error {
    Error::Unavailable("it is away for a moment".into())
}

impl Flaky {
    fn check(&self, what: &str, stream: &StreamName) -> Result<()> {
        let own = stream.as_str().starts_with("$persistentsubscription-");
        let first = self.asked.lock().unwrap().insert(format!("{what} {stream}"));
        if own && first { Err(away()) } else { Ok(()) }
    }

    fn breaking(&self, subscription: Result<Subscription>) -> Result<Subscription> {
        if self.subscribed.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
            return Err(away());
        }
        let messages = subscription?.enumerate();
        Ok(messages.map(|(n, message)| if n < 3 { message } else { Err(away()) }).boxed())
    }
}

#[tonic::async_trait]
impl EventStore for Flaky {
    async fn id(&self) -> Result<StoreId> {
        self.store.id().await
    }
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
    fn state(&self) -> StoreState {
        self.store.state()
    }
    async fn statistics(&self) -> Result<StoreStatistics> {
        self.store.statistics().await
    }
    async fn append(
        &self,
        stream: &StreamName,
        expected: ExpectedState,
        events: Vec<NewEvent>,
    ) -> Result<Appended> {
        self.check("append", stream)?;
        self.store.append(stream, expected, events).await
    }
    async fn append_many(&self, writes: Vec<StreamWrite>) -> Result<AppendedMany> {
        self.store.append_many(writes).await
    }
    async fn read_stream(&self, stream: &StreamName, read: ReadStream) -> Result<StreamPage> {
        self.check("read", stream)?;
        self.store.read_stream(stream, read).await
    }
    async fn read_all(&self, read: ReadAll) -> Result<AllPage> {
        self.store.read_all(read).await
    }
    async fn stream_info(&self, stream: &StreamName) -> Result<StreamInfo> {
        self.check("describe", stream)?;
        self.store.stream_info(stream).await
    }
    async fn subscribe_stream(&self, stream: &StreamName, options: SubscribeStream) -> Result<Subscription> {
        self.breaking(self.store.subscribe_stream(stream, options).await)
    }
    async fn subscribe_all(&self, options: SubscribeAll) -> Result<Subscription> {
        self.breaking(self.store.subscribe_all(options).await)
    }
    async fn delete(&self, stream: &StreamName, expected: ExpectedState) -> Result<Deleted> {
        self.store.delete(stream, expected).await
    }
    async fn tombstone(&self, stream: &StreamName, expected: ExpectedState) -> Result<Deleted> {
        self.store.tombstone(stream, expected).await
    }
    async fn close(&self) -> Result<()> {
        self.store.close().await
    }
}

async fn until(node: &Started, is: impl Fn(&kurrentdb::PersistentSubscriptionInfo<u64>) -> bool) {
    let client = node.client();
    within(async {
        loop {
            let info = client.get_persistent_subscription_info("s", "g", &Default::default()).await.unwrap();
            if is(&info) {
                break;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_now_and_then_delays_a_group_and_loses_nothing() {
    let store: Arc<dyn EventStore> = Arc::new(Engine::open(Options::in_memory()).unwrap());
    let own = Flaky { store: Arc::clone(&store), asked: Mutex::default(), subscribed: AtomicUsize::new(0) };
    let node = start_with_own(store, Arc::new(own)).await;
    let client = node.client();
    client.append_to_stream("s", &Default::default(), events(10)).await.unwrap();
    let options = PersistentSubscriptionOptions::default()
        .start_from(StreamPosition::Start)
        .checkpoint_lower_bound(1)
        .checkpoint_upper_bound(1);
    client.create_persistent_subscription("s", "g", &options).await.unwrap();
    let mut consumer =
        client.subscribe_to_persistent_subscription("s", "g", &Default::default()).await.unwrap();
    let mut came = Vec::new();
    while came.iter().filter(|revision| **revision == 5).count() < 2 || !came.contains(&9) {
        let event = within(consumer.next()).await.unwrap();
        let revision = event.get_original_event().revision;
        came.push(revision);
        if revision == 5 {
            consumer.nack(&event, NakAction::Park, "bad").await.unwrap();
        } else {
            consumer.ack(&event).await.unwrap();
        }
    }
    until(&node, |info| info.stats.parked_message_count == 1).await;
    until(&node, |info| info.stats.last_checkpointed_event_revision == Some(9)).await;
    assert_eq!(came.iter().filter(|revision| **revision == 5).count(), 2, "it could not be parked at first");
    came.retain(|revision| *revision != 5);
    assert_eq!(came, [0, 1, 2, 3, 4, 6, 7, 8, 9]);
    client.replay_parked_messages("s", "g", &Default::default()).await.unwrap();
    let event = within(consumer.next()).await.unwrap();
    assert_eq!(event.event.as_ref().unwrap().revision, 5);
    consumer.ack(&event).await.unwrap();
    until(&node, |info| info.stats.total_in_flight_messages == 0).await;
}
