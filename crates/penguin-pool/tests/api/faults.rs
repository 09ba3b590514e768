//! A store that fails, and one that can do less: what clients are told.

use crate::support::Service;
use event_store::{
    AllPage, Appended, AppendedMany, Capabilities, Deleted, Error, EventStore, ExpectedState, NewEvent,
    ReadAll, ReadStream, Result, StoreId, StoreState, StoreStatistics, StreamInfo, StreamName, StreamPage,
    StreamWrite, SubscribeAll, SubscribeStream, Subscription,
};
use serde_json::json;
use std::sync::{Arc, Mutex};

/// A store that fails when told to, and cannot append to several streams at once.
#[derive(Debug)]
struct Faulty {
    inner: Arc<dyn EventStore>,
    fault: Mutex<Option<Error>>,
}

impl Faulty {
    fn check(&self) -> Result<()> {
        self.fault.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

#[async_trait::async_trait]
impl EventStore for Faulty {
    async fn id(&self) -> Result<StoreId> {
        self.inner.id().await
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities { multi_stream_append: false, derived_streams: true, counts: true }
    }
    fn state(&self) -> StoreState {
        match self.check() {
            Ok(()) => StoreState::Ready,
            Err(error) => StoreState::ReadOnly(error.to_string()),
        }
    }
    async fn statistics(&self) -> Result<StoreStatistics> {
        self.inner.statistics().await
    }
    async fn append(
        &self,
        stream: &StreamName,
        expected: ExpectedState,
        events: Vec<NewEvent>,
    ) -> Result<Appended> {
        self.check()?;
        self.inner.append(stream, expected, events).await
    }
    async fn append_many(&self, _: Vec<StreamWrite>) -> Result<AppendedMany> {
        Err(Error::Unsupported("append to several streams at once".into()))
    }
    async fn read_stream(&self, stream: &StreamName, read: ReadStream) -> Result<StreamPage> {
        self.inner.read_stream(stream, read).await
    }
    async fn read_all(&self, read: ReadAll) -> Result<AllPage> {
        self.inner.read_all(read).await
    }
    async fn stream_info(&self, stream: &StreamName) -> Result<StreamInfo> {
        self.inner.stream_info(stream).await
    }
    async fn subscribe_stream(&self, stream: &StreamName, options: SubscribeStream) -> Result<Subscription> {
        self.check()?;
        self.inner.subscribe_stream(stream, options).await
    }
    async fn subscribe_all(&self, options: SubscribeAll) -> Result<Subscription> {
        self.inner.subscribe_all(options).await
    }
    async fn delete(&self, stream: &StreamName, expected: ExpectedState) -> Result<Deleted> {
        self.check()?;
        self.inner.delete(stream, expected).await
    }
    async fn tombstone(&self, stream: &StreamName, expected: ExpectedState) -> Result<Deleted> {
        self.check()?;
        self.inner.tombstone(stream, expected).await
    }
    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

async fn faulty() -> (Service, Arc<Faulty>) {
    let mut faulty = None;
    let service = Service::start_behind(|inner| {
        let store = Arc::new(Faulty { inner, fault: Mutex::new(None) });
        faulty = Some(Arc::clone(&store));
        store
    });
    let service = service.await;
    (service, faulty.unwrap())
}

#[tokio::test]
async fn each_failure_of_the_store_has_its_status_and_its_name_and_passes() {
    let (service, store) = faulty().await;
    service.create("a").await;
    let name = StreamName::new("a").unwrap();
    for (fault, status, kind) in [
        (Error::AccessDenied(name.clone()), 403, "permission-denied"),
        (Error::Unavailable("no route".into()), 503, "connection-error"),
        (Error::ReadOnly("secret path".into()), 503, "connection-error"),
        (Error::Timeout("10 s".into()), 504, "timeout"),
        (Error::StorageFull("secret path".into()), 507, "storage-full"),
        (Error::Closed, 503, "shutting-down"),
        (Error::Internal("secret detail".into()), 500, "internal-error"),
        (Error::Corrupt("secret detail".into()), 500, "internal-error"),
        (Error::AppendTooLarge { size: 2, limit: 1 }, 413, "payload-too-large"),
    ] {
        *store.fault.lock().unwrap() = Some(fault);
        let event = json!({ "eventType": "Added", "eventData": {} });
        let failure = service.post("/api/streams/a/events", event).await.failure(status, kind);
        assert!(!failure.to_string().contains("secret"), "{failure}");
        service.delete("/api/streams/a").await.failure(status, kind);
        service.patch("/api/streams/a", json!({ "description": "x" })).await.failure(status, kind);
        service.put("/api/streams/a/metadata", json!({})).await.failure(status, kind);
        service.get("/api/streams/a/subscribe").await.failure(status, kind);
    }
    let health = service.get("/api/streams/health").await.data(200);
    assert_eq!((&health["health"], &health["isReady"]), (&json!("degraded"), &json!(false)));
    *store.fault.lock().unwrap() = None;
    assert_eq!(service.append("a", 1).await["revision"], 1);
}

#[tokio::test]
async fn a_store_without_appends_to_several_streams_still_creates_and_says_what_it_cannot() {
    let (service, _) = faulty().await;
    let made = service.create("a").await;
    assert_eq!((&made["event"]["revision"], &made["stream"]["metadata"]["version"]), (&json!(0), &json!(1)));
    let body = json!({ "streamName": "a", "eventType": "Made", "eventData": {} });
    service.post("/api/streams/create", body).await.failure(409, "stream-already-exists");
    let event = json!({ "eventType": "Added", "eventData": {} });
    let many = json!({ "streams": [
        { "streamName": "a", "events": [event] },
        { "streamName": "b", "events": [event] },
    ] });
    service.post("/api/streams/append", many).await.failure(501, "not-implemented");
}

#[tokio::test]
async fn a_store_without_appends_to_several_streams_takes_two_steps() {
    let (service, store) = faulty().await;
    service.append("a", 1).await;
    let stream = service.get("/api/streams/a/details").await.data(200)["stream"].take();
    assert_eq!(
        (&stream["metadata"]["version"], &stream["permissions"]["write"]),
        (&json!(1), &json!(["system"]))
    );
    let event =
        |n: u64| json!({ "eventType": "Added", "eventData": { "n": n }, "streamState": "stream-exists" });
    service.post("/api/streams/b/events", event(1)).await.failure(409, "wrong-expected-revision");
    service.patch("/api/streams/a", json!({ "status": "archived" })).await.data(200);
    service.post("/api/streams/a/events", event(2)).await.failure(409, "stream-archived");
    *store.fault.lock().unwrap() = Some(Error::AccessDenied(StreamName::new("a").unwrap()));
    service.post("/api/streams/a/events", event(2)).await.failure(403, "permission-denied");
    *store.fault.lock().unwrap() = None;
    service.patch("/api/streams/a", json!({ "status": "active" })).await.data(200);
    service.post("/api/streams/a/events", event(2)).await.data(201);
    service.append_elsewhere("c", 1).await;
    service.append("c", 2).await;
    assert_eq!(service.get("/api/streams/c/metadata").await.data(200), json!({}));
}

/// A store of which each read of a stream waits for ever once it is told to, and which knows how many wait.
#[derive(Debug)]
struct Slow {
    inner: Arc<dyn EventStore>,
    slow: std::sync::atomic::AtomicBool,
    waiting: tokio::sync::watch::Sender<usize>,
}

/// One that waits; dropped where its caller gives up.
struct Waiting<'a>(&'a Slow);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.send_modify(|waiting| *waiting -= 1);
    }
}

#[async_trait::async_trait]
impl EventStore for Slow {
    async fn id(&self) -> Result<StoreId> {
        self.inner.id().await
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    fn state(&self) -> StoreState {
        self.inner.state()
    }
    async fn statistics(&self) -> Result<StoreStatistics> {
        self.inner.statistics().await
    }
    async fn append(
        &self,
        stream: &StreamName,
        state: ExpectedState,
        events: Vec<NewEvent>,
    ) -> Result<Appended> {
        self.inner.append(stream, state, events).await
    }
    async fn append_many(&self, writes: Vec<StreamWrite>) -> Result<AppendedMany> {
        self.inner.append_many(writes).await
    }
    async fn read_stream(&self, stream: &StreamName, read: ReadStream) -> Result<StreamPage> {
        if self.slow.load(std::sync::atomic::Ordering::SeqCst) {
            self.waiting.send_modify(|waiting| *waiting += 1);
            let _waiting = Waiting(self);
            return std::future::pending().await;
        }
        self.inner.read_stream(stream, read).await
    }
    async fn read_all(&self, read: ReadAll) -> Result<AllPage> {
        self.inner.read_all(read).await
    }
    async fn stream_info(&self, stream: &StreamName) -> Result<StreamInfo> {
        self.inner.stream_info(stream).await
    }
    async fn subscribe_stream(&self, stream: &StreamName, options: SubscribeStream) -> Result<Subscription> {
        self.inner.subscribe_stream(stream, options).await
    }
    async fn subscribe_all(&self, options: SubscribeAll) -> Result<Subscription> {
        self.inner.subscribe_all(options).await
    }
    async fn delete(&self, stream: &StreamName, state: ExpectedState) -> Result<Deleted> {
        self.inner.delete(stream, state).await
    }
    async fn tombstone(&self, stream: &StreamName, state: ExpectedState) -> Result<Deleted> {
        self.inner.tombstone(stream, state).await
    }
    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

#[tokio::test]
async fn nothing_is_fetched_any_more_for_a_caller_who_hangs_up_in_a_search() {
    let mut slow = None;
    let service = Service::start_behind(|inner| {
        let waiting = tokio::sync::watch::Sender::new(0);
        let store = Arc::new(Slow { inner, slow: false.into(), waiting });
        slow = Some(Arc::clone(&store));
        store
    })
    .await;
    let store = slow.unwrap();
    for n in 0..40 {
        service.append("a", n).await;
    }
    let found = service.post("/api/streams/search", json!({ "limit": 40 })).await.data(200);
    assert_eq!(found["events"].as_array().unwrap().len(), 40);
    store.slow.store(true, std::sync::atomic::Ordering::SeqCst);
    let mut waiting = store.waiting.subscribe();
    let request = service.request("POST", "/api/streams/search").header("content-type", "application/json");
    let caller = tokio::spawn(request.body(r#"{"limit":40}"#).send());
    let generous = std::time::Duration::from_secs(30);
    let seen =
        *tokio::time::timeout(generous, waiting.wait_for(|waiting| *waiting > 1)).await.unwrap().unwrap();
    assert!(seen < 40, "not all at once: {seen}");
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    tokio::time::timeout(generous, waiting.wait_for(|waiting| *waiting == 0)).await.unwrap().unwrap();
    // The others go on.
    store.slow.store(false, std::sync::atomic::Ordering::SeqCst);
    service.post("/api/streams/search", json!({})).await.data(200);
}
