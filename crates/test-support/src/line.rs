//! A way to a store that can be cut and mended.

use event_store::{
    AllPage, Appended, AppendedMany, Capabilities, Deleted, Error, EventStore, ExpectedState, NewEvent,
    ReadAll, ReadFrom, ReadStream, Result, Revision, StoreId, StoreState, StoreStatistics, StreamInfo,
    StreamName, StreamPage, StreamWrite, SubscribeAll, SubscribeStream, Subscription,
};
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture};
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};
use tokio::sync::watch;

/// A way to a store that can be cut and mended, as a network does. While it is cut every call is
/// [`Error::Unavailable`], and subscriptions end with it. Several ways to one store are several instances of a service:
/// closing one closes that way, and not the store.
#[derive(Debug)]
pub struct Line {
    store: Arc<dyn EventStore>,
    up: watch::Sender<bool>,
    closed: AtomicBool,
    forbidden: Mutex<Vec<StreamName>>,
    followed: Mutex<Vec<(StreamName, ReadFrom<Revision>)>>,
    followed_all: Mutex<Vec<SubscribeAll>>,
    meanwhile: Mutex<Option<Meanwhile>>,
}

/// What happens in between.
struct Meanwhile(BoxFuture<'static, ()>);

impl std::fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meanwhile")
    }
}

impl Line {
    /// A way to a store, whole.
    #[must_use]
    pub fn new(store: Arc<dyn EventStore>) -> Self {
        Self {
            store,
            up: watch::Sender::new(true),
            closed: AtomicBool::new(false),
            forbidden: Mutex::default(),
            followed: Mutex::default(),
            followed_all: Mutex::default(),
            meanwhile: Mutex::default(),
        }
    }

    /// Does this just before the next question about a stream reaches the store, as another process may; what describes a
    /// stream is not meant.
    pub fn meanwhile(&self, deed: impl Future<Output = ()> + Send + 'static) {
        *self.meanwhile.lock().unwrap_or_else(PoisonError::into_inner) = Some(Meanwhile(deed.boxed()));
    }

    async fn wait_for_others(&self, stream: &StreamName) {
        if stream.is_metastream() {
            return;
        }
        let deed = self.meanwhile.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Meanwhile(deed)) = deed {
            deed.await;
        }
    }

    /// Cuts it.
    pub fn cut(&self) {
        self.up.send_replace(false);
    }

    /// Mends it.
    pub fn mend(&self) {
        self.up.send_replace(true);
    }

    /// Refuses every read of a stream from now on, as a store does to one who may not.
    pub fn forbid(&self, stream: StreamName) {
        self.forbidden.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
    }

    /// The streams that were followed by it so far, and from where.
    #[must_use]
    pub fn followed(&self) -> Vec<(StreamName, ReadFrom<Revision>)> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How everything was followed by it so far.
    #[must_use]
    pub fn followed_all(&self) -> Vec<SubscribeAll> {
        self.followed_all.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn may_read(&self, stream: &StreamName) -> Result<()> {
        let forbidden = self.forbidden.lock().unwrap_or_else(PoisonError::into_inner);
        if forbidden.contains(stream) {
            return Err(Error::AccessDenied(stream.clone()));
        }
        Ok(())
    }

    fn there(&self) -> Result<()> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(Error::Closed);
        }
        if *self.up.borrow() { Ok(()) } else { Err(Error::Unavailable("the line is cut".into())) }
    }

    fn cuttable(&self, subscription: Subscription) -> Subscription {
        let mut up = self.up.subscribe();
        let cut = async move {
            // Without the line itself nobody can cut it any more.
            if up.wait_for(|up| !*up).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let lost = futures::stream::once(async { Err(Error::Unavailable("the line was cut".into())) });
        subscription.take_until(Box::pin(cut)).chain(lost).boxed()
    }
}

#[async_trait::async_trait]
impl EventStore for Line {
    async fn id(&self) -> Result<StoreId> {
        self.there()?;
        self.store.id().await
    }
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
    fn state(&self) -> StoreState {
        match self.there() {
            Ok(()) => self.store.state(),
            Err(Error::Closed) => StoreState::Closed,
            Err(error) => StoreState::Reconnecting(error.to_string()),
        }
    }
    async fn statistics(&self) -> Result<StoreStatistics> {
        self.there()?;
        self.store.statistics().await
    }
    async fn append(
        &self,
        stream: &StreamName,
        expected: ExpectedState,
        events: Vec<NewEvent>,
    ) -> Result<Appended> {
        self.there()?;
        self.store.append(stream, expected, events).await
    }
    async fn append_many(&self, writes: Vec<StreamWrite>) -> Result<AppendedMany> {
        self.there()?;
        self.store.append_many(writes).await
    }
    async fn read_stream(&self, stream: &StreamName, read: ReadStream) -> Result<StreamPage> {
        self.there()?;
        self.may_read(stream)?;
        self.wait_for_others(stream).await;
        self.store.read_stream(stream, read).await
    }
    async fn read_all(&self, read: ReadAll) -> Result<AllPage> {
        self.there()?;
        self.store.read_all(read).await
    }
    async fn stream_info(&self, stream: &StreamName) -> Result<StreamInfo> {
        self.there()?;
        self.wait_for_others(stream).await;
        self.store.stream_info(stream).await
    }
    async fn subscribe_stream(&self, stream: &StreamName, options: SubscribeStream) -> Result<Subscription> {
        self.there()?;
        self.may_read(stream)?;
        self.followed.lock().unwrap_or_else(PoisonError::into_inner).push((stream.clone(), options.from));
        Ok(self.cuttable(self.store.subscribe_stream(stream, options).await?))
    }
    async fn subscribe_all(&self, options: SubscribeAll) -> Result<Subscription> {
        self.there()?;
        self.followed_all.lock().unwrap_or_else(PoisonError::into_inner).push(options.clone());
        Ok(self.cuttable(self.store.subscribe_all(options).await?))
    }
    async fn delete(&self, stream: &StreamName, expected: ExpectedState) -> Result<Deleted> {
        self.there()?;
        self.store.delete(stream, expected).await
    }
    async fn tombstone(&self, stream: &StreamName, expected: ExpectedState) -> Result<Deleted> {
        self.there()?;
        self.store.tombstone(stream, expected).await
    }
    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::SeqCst);
        self.cut();
        Ok(())
    }
}
