//! What the node writes down of what its callers do beside the store: before it is done, or it is not done.

use crate::support::{Started, start_behind, within};
use event_store::{Capabilities, Error, EventStore};
use kurrentdb::{PersistentSubscriptionEvent, operations};
use kurrentdb_protocol::{
    Deed, Denial, Entry, Gate, Limits, Trail, Visitor,
    grpc::proto::event_store::client::persistent_subscriptions::{
        CreateReq, persistent_subscriptions_client::PersistentSubscriptionsClient,
    },
};
use std::sync::{Arc, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Code;

/// A trail with room for so many deeds under way.
#[derive(Debug, Clone)]
struct Book {
    room: Arc<Semaphore>,
    deeds: Arc<Mutex<Vec<String>>>,
}

impl Book {
    fn new(room: usize) -> Self {
        Self { room: Arc::new(Semaphore::new(room)), deeds: Arc::default() }
    }

    /// What stands in it, from there on.
    fn since(&self, first: usize) -> Vec<String> {
        self.deeds.lock().unwrap()[first..].to_vec()
    }
}

impl Trail for Book {
    fn begin(
        &self,
        action: &'static str,
        stream: Option<&str>,
        group: Option<&str>,
    ) -> Result<Box<dyn Deed>, Error> {
        let room = Arc::clone(&self.room).try_acquire_owned();
        let room = room.map_err(|_| Error::Unavailable("the trail is full".into()))?;
        let what = format!("{action} {} {}", stream.unwrap_or("-"), group.unwrap_or("-"));
        Ok(Box::new(Line { deeds: Arc::clone(&self.deeds), what, outcome: "cancelled", _room: room }))
    }
}

#[derive(Debug)]
struct Line {
    deeds: Arc<Mutex<Vec<String>>>,
    what: String,
    outcome: &'static str,
    _room: OwnedSemaphorePermit,
}

impl Deed for Line {
    fn end(mut self: Box<Self>, outcome: &'static str) {
        self.outcome = outcome;
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.deeds.lock().unwrap().push(format!("{} {}", self.what, self.outcome));
    }
}

#[derive(Debug)]
struct Watched {
    store: Arc<dyn EventStore>,
    book: Book,
}

#[tonic::async_trait]
impl Gate for Watched {
    async fn enter(&self, _: &Visitor) -> Result<Entry, Denial> {
        let entry = Entry::lasting(Arc::clone(&self.store));
        Ok(Entry { trail: Arc::new(self.book.clone()), ..entry })
    }

    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
}

async fn start(book: &Book) -> Started {
    let book = book.clone();
    start_behind(move |store| Arc::new(Watched { store, book }), Limits::default(), None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_consumes_takes_room_in_the_trail_only_to_begin() {
    let book = Book::new(1);
    let node = start(&book).await;
    let client = node.client();
    client.create_persistent_subscription("s", "g", &Default::default()).await.unwrap();
    let mut consumers = Vec::new();
    for _ in 0..3 {
        let mut consumer =
            client.subscribe_to_persistent_subscription("s", "g", &Default::default()).await.unwrap();
        let first = within(consumer.next_subscription_event()).await.unwrap();
        assert!(matches!(first, PersistentSubscriptionEvent::Confirmed(_)), "{first:?}");
        consumers.push(consumer);
    }
    let missing = client.subscribe_to_persistent_subscription("s", "none", &Default::default()).await;
    assert!(missing.is_err());
    let expected =
        ["create-group s g ok", "consume s g ok", "consume s g ok", "consume s g ok"].map(str::to_owned);
    assert_eq!(book.since(0)[..4], expected);
    assert_eq!(book.since(4), ["consume s none persistent-subscription-does-not-exist"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_down_is_not_done() {
    let book = Book::new(1);
    let node = start(&book).await;
    let client = node.client();
    client.create_persistent_subscription("s", "g", &Default::default()).await.unwrap();
    let full = Arc::clone(&book.room).try_acquire_owned().unwrap();
    client.create_persistent_subscription("s", "other", &Default::default()).await.unwrap_err();
    client.delete_persistent_subscription("s", "g", &Default::default()).await.unwrap_err();
    client.get_persistent_subscription_info("s", "g", &Default::default()).await.unwrap_err();
    client.list_all_persistent_subscriptions(&Default::default()).await.unwrap_err();
    assert!(client.subscribe_to_persistent_subscription("s", "g", &Default::default()).await.is_err());
    let operator = operations::Client::from(node.client());
    operator.restart_persistent_subscriptions(&Default::default()).await.unwrap_err();
    let mut bare = PersistentSubscriptionsClient::new(node.channel().await);
    let refused = bare.create(CreateReq { options: None }).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    drop(full);
    let groups = client.list_all_persistent_subscriptions(&Default::default()).await.unwrap();
    let groups: Vec<_> = groups.iter().map(|group| group.group_name.as_str()).collect();
    assert_eq!(groups, ["g"]);
    // What makes no sense is a deed as well.
    let refused = bare.create(CreateReq { options: None }).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert_eq!(book.since(1), ["list-groups - - ok", "create-group - - validation-failed"]);
}
