//! A decorator that measures a store: for `/metrics`, and for what health says of the last five minutes.

use super::window::{Summary, Window};
use event_store::{
    AllPage, Appended, AppendedMany, Capabilities, Clock, Deleted, ErrorCode, EventStore, ExpectedState,
    NewEvent, Position, ReadAll, ReadStream, ResolvedEvent, Result, StoreId, StoreState, StoreStatistics,
    StreamInfo, StreamName, StreamPage, StreamWrite, SubscribeAll, SubscribeStream, Subscription,
    SubscriptionMessage, VersionedMetadata,
};
use futures::StreamExt as _;
use std::sync::Arc;

/// A store that is measured. What it answers is what the store within answers.
#[derive(Debug)]
pub struct Measured {
    store: Arc<dyn EventStore>,
    clock: Arc<dyn Clock>,
    window: Window,
}

impl Measured {
    /// Measures a store.
    #[must_use]
    pub fn new(store: Arc<dyn EventStore>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, window: Window::default() }
    }

    /// How the store did in the last five minutes.
    #[must_use]
    pub fn recent(&self) -> Summary {
        self.window.summary(self.clock.monotonic())
    }

    async fn measure<T>(&self, operation: &'static str, call: impl Future<Output = Result<T>>) -> Result<T> {
        let began = self.clock.monotonic();
        let result = call.await;
        let now = self.clock.monotonic();
        let took = now.saturating_sub(began);
        let outcome = result.as_ref().err().map_or("ok", |e| e.code().slug());
        self.window.record(now, took, result.as_ref().is_err_and(|e| is_the_stores_fault(e.code())));
        metrics::counter!("store_operations_total", "operation" => operation, "outcome" => outcome)
            .increment(1);
        metrics::histogram!("store_operation_duration_seconds", "operation" => operation)
            .record(took.as_secs_f64());
        result
    }
}

/// A writer who expected another revision, or a reader of a stream that is not there, was served well.
const fn is_the_stores_fault(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::ConnectionError
            | ErrorCode::InternalError
            | ErrorCode::ShuttingDown
            | ErrorCode::StorageFull
            | ErrorCode::Timeout
    )
}

/// The number of events and of their bytes.
fn size(events: &[NewEvent]) -> (u64, u64) {
    (events.len() as u64, events.iter().map(|e| e.size() as u64).sum())
}

fn wrote((events, bytes): (u64, u64)) {
    metrics::counter!("store_events_appended_total").increment(events);
    metrics::counter!("store_bytes_appended_total").increment(bytes);
}

fn read<'a>(events: impl IntoIterator<Item = &'a ResolvedEvent>) {
    let (mut count, mut bytes) = (0, 0);
    for record in events.into_iter().flat_map(|e| e.event.iter().chain(&e.link)) {
        count += 1;
        bytes += record.size() as u64;
    }
    metrics::counter!("store_events_read_total").increment(count);
    metrics::counter!("store_bytes_read_total").increment(bytes);
}

/// Counts a subscription as open until it is dropped.
#[derive(Debug)]
struct Open;

impl Open {
    fn begin() -> Self {
        metrics::gauge!("store_subscriptions_open").increment(1);
        Self
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::gauge!("store_subscriptions_open").decrement(1);
    }
}

fn watched(subscription: Subscription) -> Subscription {
    let open = Open::begin();
    let watched = subscription.inspect(move |message| {
        let _ = &open;
        if let Ok(SubscriptionMessage::Event(event)) = message {
            read([event]);
        }
    });
    watched.boxed()
}

#[async_trait::async_trait]
impl EventStore for Measured {
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
        self.measure("statistics", self.store.statistics()).await
    }

    async fn append(
        &self,
        stream: &StreamName,
        expected: ExpectedState,
        events: Vec<NewEvent>,
    ) -> Result<Appended> {
        let size = size(&events);
        let appended = self.measure("append", self.store.append(stream, expected, events)).await?;
        wrote(size);
        Ok(appended)
    }

    async fn append_in_turn(
        &self,
        stream: &StreamName,
        appends: Vec<(ExpectedState, Vec<NewEvent>)>,
    ) -> Vec<Result<Appended>> {
        let sizes: Vec<_> = appends.iter().map(|(_, events)| size(events)).collect();
        let answers = self.store.append_in_turn(stream, appends);
        // One operation, whose worst answer is its outcome: how long each waited for the others is not the store's time.
        let mut all = Vec::new();
        let worst = async {
            all = answers.await;
            let failed = all.iter().filter_map(|answer| answer.as_ref().err());
            failed.max_by_key(|error| is_the_stores_fault(error.code())).map_or(Ok(()), |e| Err(e.clone()))
        };
        // Each one's own answer is given back below.
        let _ = self.measure("append_in_turn", worst).await;
        sizes.into_iter().zip(&all).filter(|(_, answer)| answer.is_ok()).for_each(|(size, _)| wrote(size));
        all
    }

    async fn append_many(&self, writes: Vec<StreamWrite>) -> Result<AppendedMany> {
        let sizes: Vec<_> = writes.iter().map(|w| size(&w.events)).collect();
        let appended = self.measure("append_many", self.store.append_many(writes)).await?;
        sizes.into_iter().for_each(wrote);
        Ok(appended)
    }

    async fn read_stream(&self, stream: &StreamName, options: ReadStream) -> Result<StreamPage> {
        let page = self.measure("read_stream", self.store.read_stream(stream, options)).await?;
        read(&page.events);
        Ok(page)
    }

    async fn read_all(&self, options: ReadAll) -> Result<AllPage> {
        let page = self.measure("read_all", self.store.read_all(options)).await?;
        read(&page.events);
        Ok(page)
    }

    async fn stream_info(&self, stream: &StreamName) -> Result<StreamInfo> {
        self.measure("stream_info", self.store.stream_info(stream)).await
    }

    async fn subscribe_stream(&self, stream: &StreamName, options: SubscribeStream) -> Result<Subscription> {
        self.measure("subscribe_stream", self.store.subscribe_stream(stream, options)).await.map(watched)
    }

    async fn subscribe_all(&self, options: SubscribeAll) -> Result<Subscription> {
        self.measure("subscribe_all", self.store.subscribe_all(options)).await.map(watched)
    }

    async fn delete(&self, stream: &StreamName, expected: ExpectedState) -> Result<Deleted> {
        self.measure("delete", self.store.delete(stream, expected)).await
    }

    async fn tombstone(&self, stream: &StreamName, expected: ExpectedState) -> Result<Deleted> {
        self.measure("tombstone", self.store.tombstone(stream, expected)).await
    }

    async fn metadata(&self, stream: &StreamName) -> Result<VersionedMetadata> {
        self.measure("metadata", self.store.metadata(stream)).await
    }

    async fn close(&self) -> Result<()> {
        self.store.close().await
    }

    async fn last_position(&self) -> Result<Option<Position>> {
        self.measure("last_position", self.store.last_position()).await
    }

    // `set_metadata` is an append, and measured there.
}

/// How long an operation may take at the most to be counted apart in the histograms, in seconds, by steps.
pub const LATENCY_STEPS: [f64; 16] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    10.0,
];
