//! A decorator that writes down what a caller does with a store.

use super::{Audit, Deed, Origin, Pending};
use crate::security::Caller;
use event_store::{
    AllPage, Appended, AppendedMany, Capabilities, Deleted, Error, EventStore, ExpectedState, NewEvent,
    Position, ReadAll, ReadStream, Result, StoreId, StoreState, StoreStatistics, StreamInfo, StreamMetadata,
    StreamName, StreamPage, StreamWrite, SubscribeAll, SubscribeStream, Subscription, VersionedMetadata,
};
use std::sync::Arc;
use uuid::Uuid;

/// The name of everything, as the trail writes it.
const ALL: &str = "$all";

/// A store bound to a caller, whose deeds are written down.
#[derive(Debug)]
pub(crate) struct Observed {
    store: Arc<dyn EventStore>,
    audit: Audit,
    caller: Caller,
    origin: Origin,
}

impl Observed {
    /// Of a caller there, where what is under way does not say it.
    pub(crate) fn new(store: Arc<dyn EventStore>, audit: Audit, caller: Caller, origin: Origin) -> Self {
        Self { store, audit, caller, origin }
    }

    /// Does it, if it can be written down, and writes down what came of it.
    async fn observe<T>(
        &self,
        action: &'static str,
        streams: Vec<String>,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let pending = self.audit.begin(self.deed(action, streams))?;
        let result = call.await;
        pending.end(outcome(&result));
        result
    }

    fn deed(&self, action: &'static str, streams: Vec<String>) -> Deed {
        Deed::new(self.caller.id(), action, streams).with_origin(self.origin.clone())
    }
}

/// What came of it, as the trail writes it.
fn outcome<T>(result: &Result<T>) -> &'static str {
    result.as_ref().map_or_else(|error| error.code().slug(), |_| "ok")
}

fn one(stream: &StreamName) -> Vec<String> {
    vec![stream.as_str().to_owned()]
}

#[async_trait::async_trait]
impl EventStore for Observed {
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
        self.observe("append", one(stream), self.store.append(stream, expected, events)).await
    }

    /// Each is a deed of its own. One that cannot be written down is refused by itself, and the others go on together.
    async fn append_in_turn(
        &self,
        stream: &StreamName,
        appends: Vec<(ExpectedState, Vec<NewEvent>)>,
    ) -> Vec<Result<Appended>> {
        let (mut begun, mut taken) = (Vec::with_capacity(appends.len()), Vec::with_capacity(appends.len()));
        for append in appends {
            let pending = self.audit.begin(self.deed("append", one(stream)));
            if pending.is_ok() {
                taken.push(append);
            }
            begun.push(pending);
        }
        let mut appended = self.store.append_in_turn(stream, taken).await.into_iter();
        let none = || Err(Error::Internal("an append, and no answer".into()));
        let answer = |pending: Result<Pending>| {
            let pending = pending?;
            let result = appended.next().unwrap_or_else(none);
            pending.end(outcome(&result));
            result
        };
        begun.into_iter().map(answer).collect()
    }

    async fn append_many(&self, writes: Vec<StreamWrite>) -> Result<AppendedMany> {
        let streams = writes.iter().map(|write| write.stream.as_str().to_owned()).collect();
        self.observe("append", streams, self.store.append_many(writes)).await
    }

    async fn read_stream(&self, stream: &StreamName, options: ReadStream) -> Result<StreamPage> {
        self.observe("read", one(stream), self.store.read_stream(stream, options)).await
    }

    async fn read_all(&self, options: ReadAll) -> Result<AllPage> {
        self.observe("read", vec![ALL.to_owned()], self.store.read_all(options)).await
    }

    async fn stream_info(&self, stream: &StreamName) -> Result<StreamInfo> {
        self.observe("describe", one(stream), self.store.stream_info(stream)).await
    }

    async fn subscribe_stream(&self, stream: &StreamName, options: SubscribeStream) -> Result<Subscription> {
        self.observe("subscribe", one(stream), self.store.subscribe_stream(stream, options)).await
    }

    async fn subscribe_all(&self, options: SubscribeAll) -> Result<Subscription> {
        self.observe("subscribe", vec![ALL.to_owned()], self.store.subscribe_all(options)).await
    }

    async fn delete(&self, stream: &StreamName, expected: ExpectedState) -> Result<Deleted> {
        self.observe("delete", one(stream), self.store.delete(stream, expected)).await
    }

    async fn tombstone(&self, stream: &StreamName, expected: ExpectedState) -> Result<Deleted> {
        self.observe("tombstone", one(stream), self.store.tombstone(stream, expected)).await
    }

    async fn close(&self) -> Result<()> {
        self.store.close().await
    }

    async fn last_position(&self) -> Result<Option<Position>> {
        self.store.last_position().await
    }

    async fn metadata(&self, stream: &StreamName) -> Result<VersionedMetadata> {
        self.observe("describe", one(stream), self.store.metadata(stream)).await
    }

    async fn set_metadata(
        &self,
        stream: &StreamName,
        expected: ExpectedState,
        metadata: &StreamMetadata,
        event_id: Uuid,
    ) -> Result<Appended> {
        let set = self.store.set_metadata(stream, expected, metadata, event_id);
        self.observe("set-metadata", one(stream), set).await
    }
}
