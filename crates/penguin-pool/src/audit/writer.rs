//! Appends what was done, in batches, in the process's own chain.

use super::{chain::Chain, read, stream};
use event_store::{Acl, Clock, Error, EventStore, ExpectedState, IdSource, NewEvent, Result, StreamMetadata};
use models::{AuditRecord, DateTime};
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc;

/// How many records are appended at once.
const BATCH: usize = 500;
/// How long to wait until a failed append is tried again.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Writer {
    store: Arc<dyn EventStore>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
}

impl Writer {
    pub(super) fn new(store: Arc<dyn EventStore>, clock: Arc<dyn Clock>, ids: Arc<dyn IdSource>) -> Self {
        Self { store, clock, ids }
    }

    /// Writes until nobody can tell it anything any more, or the store is closed. A process that does nothing writes
    /// nothing.
    pub(super) async fn run(self, mut waiting: mpsc::Receiver<AuditRecord>) {
        let mut records = Vec::with_capacity(BATCH);
        let mut chain = None;
        while waiting.recv_many(&mut records, BATCH).await > 0 {
            let begun = match chain.take() {
                Some(chain) => Some(chain),
                None => self.until_done(|| self.begin()).await,
            };
            let Some(mut begun) = begun else { return };
            let events: Result<Vec<NewEvent>> =
                records.drain(..).map(|record| begun.link(self.ids.next_id(), record)).collect();
            let events = match events {
                Ok(events) => events,
                Err(error) => {
                    tracing::error!(%error, "records of the trail cannot be written");
                    return;
                }
            };
            // The same ids each time: what was written before is not written twice.
            if self.until_done(|| self.append(events.clone())).await.is_none() {
                return;
            }
            chain = Some(begun);
        }
    }

    /// Begins a chain, with a record of its own: right behind the newest record of all.
    async fn begin(&self) -> Result<Chain> {
        let stream = stream()?;
        self.describe().await?;
        let id = self.ids.next_id();
        loop {
            let (expected, newest) = match read::newest(&*self.store).await? {
                Some((revision, hash)) => (ExpectedState::Exact(revision), hash),
                None => (ExpectedState::NoStream, String::new()),
            };
            let mut chain = Chain::new(id, newest);
            let record = AuditRecord {
                instance: String::new(),
                sequence: 0,
                previous: String::new(),
                at: DateTime::from_millis(self.clock.now().millis()),
                caller: "system".to_owned(),
                action: "begin".to_owned(),
                streams: Vec::new(),
                subject: None,
                outcome: "ok".to_owned(),
                request_id: None,
                address: None,
            };
            let event = chain.link(self.ids.next_id(), record)?;
            match self.store.append(&stream, expected, vec![event]).await {
                // Another process was quicker.
                Err(Error::WrongExpectedRevision { .. }) => {}
                begun => return begun.map(|_| chain),
            }
        }
    }

    /// Says in the stream's metadata whose it is, for KurrentDB's other clients.
    async fn describe(&self) -> Result<()> {
        let stream = stream()?;
        let found = self.store.metadata(&stream).await?;
        if found.revision.is_some() {
            return Ok(());
        }
        let metadata = StreamMetadata { acl: Some(Acl::admins()), ..StreamMetadata::default() };
        match self.store.set_metadata(&stream, ExpectedState::NoStream, &metadata, self.ids.next_id()).await {
            Ok(_) | Err(Error::WrongExpectedRevision { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn append(&self, events: Vec<NewEvent>) -> Result<()> {
        self.store.append(&stream()?, ExpectedState::Any, events).await.map(|_| ())
    }

    /// Tries until it is done; nothing if the store was closed. Meanwhile the queue fills.
    async fn until_done<T, F: Future<Output = Result<T>>>(&self, mut act: impl FnMut() -> F) -> Option<T> {
        loop {
            match act().await {
                Ok(done) => return Some(done),
                Err(Error::Closed) => {
                    tracing::error!("the store was closed before the trail was written");
                    return None;
                }
                Err(error) => tracing::error!(%error, "the trail cannot be written; trying again"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
