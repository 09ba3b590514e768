//! The trail of who did what: the stream `system-audit`.
//!
//! What a caller does with a store is written down by a decorator ([`observed`]) that the gate puts on outermost, so that
//! it sees refusals too; what is no deed with a store is told by whoever does it: logins and refused credentials by
//! identity, changes of accounts and keys by the accounts, what is done with persistent subscriptions by KurrentDB's
//! protocol. Deeds go through a bounded queue and are appended in batches, each process's in a chain of its own ([`chain`]).
//! One that goes on for long is one that began: it holds no place of the queue meanwhile. Where a deed comes from is known by
//! what is under way ([`origin`]); the service's own work, which nobody asked for, is not written down.

mod chain;
mod observed;
pub mod origin;
mod read;
mod routes;
mod writer;

pub(crate) use observed::Observed;
pub use origin::Origin;
pub use read::{Fault, Verdict, verify};
pub use routes::routes;

use crate::security::{BoundStore, Caller};
use event_store::{Clock, Error, ErrorCode, EventStore, IdSource, StreamName};
use models::{AuditRecord, DateTime};
use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::mpsc::{self, OwnedPermit, error::TrySendError},
    task::JoinHandle,
};

/// The stream that keeps the trail.
pub const STREAM: &str = "system-audit";

/// How many deeds may wait to be written.
const QUEUE: usize = 10_000;

/// How long the end waits for a store that does not write.
const PATIENCE: Duration = Duration::from_secs(30);

/// How much is kept of what somebody says it is about, in bytes: it may be made up, and as long as they like.
const LONGEST_SUBJECT: usize = 128;

/// A deed that is to be written down.
#[derive(Debug)]
pub struct Deed {
    caller: String,
    action: &'static str,
    streams: Vec<String>,
    subject: Option<String>,
    origin: Origin,
}

impl Deed {
    /// Who did what, on which streams.
    #[must_use]
    pub fn new(caller: &str, action: &'static str, streams: Vec<String>) -> Self {
        Self { caller: caller.to_owned(), action, streams, subject: None, origin: Origin::default() }
    }

    /// The same, about an account, an API key, or what else stands beside streams.
    #[must_use]
    pub fn about(self, subject: &str) -> Self {
        let end = subject.floor_char_boundary(LONGEST_SUBJECT);
        Self { subject: Some(subject[..end].to_owned()), ..self }
    }

    /// The same, from an address, which counts where what is under way says none.
    #[must_use]
    pub fn with_address(self, address: Option<IpAddr>) -> Self {
        self.with_origin(Origin::at(address))
    }

    /// The same, from there, which counts where what is under way says nothing.
    #[must_use]
    pub(crate) fn with_origin(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }
}

/// The trail. Cloning is cheap, and all clones are the same one.
#[derive(Debug, Clone)]
pub struct Audit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    queue: Mutex<Option<mpsc::Sender<AuditRecord>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    clock: Arc<dyn Clock>,
    store: Arc<dyn EventStore>,
    /// Whether what cannot be written down is refused.
    strict: bool,
    lost: AtomicU64,
}

/// What a trail needs.
#[derive(Debug)]
pub struct Parts {
    /// The store that keeps it, bound to nobody.
    pub store: Arc<dyn EventStore>,
    /// Tells when.
    pub clock: Arc<dyn Clock>,
    /// Makes the ids of records.
    pub ids: Arc<dyn IdSource>,
    /// Whether what cannot be written down is refused, rather than done and forgotten.
    pub strict: bool,
}

impl Audit {
    /// Begins to write. What is told before the store answers waits.
    #[must_use]
    pub fn begin_writing(parts: Parts) -> Self {
        Self::with_queue(parts, QUEUE)
    }

    fn with_queue(parts: Parts, size: usize) -> Self {
        let Parts { store, clock, ids, strict } = parts;
        let (queue, waiting) = mpsc::channel(size);
        let writer = writer::Writer::new(Arc::clone(&store), Arc::clone(&clock), ids);
        let writer = tokio::spawn(writer.run(waiting));
        Self(Arc::new(Inner {
            queue: Mutex::new(Some(queue)),
            writer: Mutex::new(Some(writer)),
            clock,
            store,
            strict,
            lost: AtomicU64::new(0),
        }))
    }

    /// The store as `caller` may use it, with what is done there written down. The service's own work is not: that is what
    /// no request asked for, and nobody at an address.
    #[must_use]
    pub(crate) fn observe(&self, caller: &Caller, from: Option<IpAddr>, store: BoundStore) -> BoundStore {
        let origin = origin::current().or_else(|| from.map(|from| Origin::at(Some(from))));
        if caller.is_system() && origin.is_none() {
            return store;
        }
        // A task that goes on with this store is not what was under way when it was bound.
        Arc::new(Observed::new(store, self.clone(), caller.clone(), origin.unwrap_or_default()))
    }

    /// Makes room for a deed that is about to be done.
    ///
    /// # Errors
    /// `Unavailable` if there is none, and what cannot be written down is refused.
    pub(crate) fn begin(&self, deed: Deed) -> Result<Pending, Error> {
        let queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let permit = match queue.map(mpsc::Sender::try_reserve_owned) {
            Some(Ok(permit)) => Some(permit),
            None if self.0.strict => return Err(Error::Closed),
            Some(Err(TrySendError::Full(_))) if self.0.strict => {
                metrics::counter!("audit_refused_total").increment(1);
                return Err(Error::Unavailable("its trail cannot be written as fast as it is used".into()));
            }
            Some(Err(TrySendError::Closed(_))) if self.0.strict => return Err(Error::Closed),
            None | Some(Err(_)) => {
                metrics::counter!("audit_lost_total").increment(1);
                self.0.lost.fetch_add(1, Ordering::Relaxed);
                None
            }
        };
        let (known, origin) = (deed.origin, origin::current().unwrap_or_default());
        let record = AuditRecord {
            instance: String::new(),
            sequence: 0,
            previous: String::new(),
            at: DateTime::from_millis(self.0.clock.now().millis()),
            caller: deed.caller,
            action: deed.action.to_owned(),
            streams: deed.streams,
            subject: deed.subject,
            outcome: "cancelled".to_owned(),
            request_id: origin.request_id.or(known.request_id),
            address: origin.address.or(known.address).map(|address| address.to_string()),
        };
        Ok(Pending { permit, record: Some(record) })
    }

    /// Does something, if it can be written down where a trail is kept, and writes down what came of it.
    ///
    /// # Errors
    /// What comes of it, and [`Error::Unavailable`] if it cannot be written down where it must be.
    pub(crate) async fn around<T, E: From<Error>>(
        audit: Option<&Self>,
        deed: impl FnOnce() -> Deed,
        done: impl Future<Output = Result<T, E>>,
        code: impl FnOnce(&E) -> ErrorCode,
    ) -> Result<T, E> {
        let pending = audit.map(|audit| audit.begin(deed())).transpose()?;
        let done = done.await;
        if let Some(pending) = pending {
            pending.end(done.as_ref().map_or_else(|error| code(error).slug(), |_| "ok"));
        }
        done
    }

    /// Writes down what is no deed with a store, or was refused before it was one. It is done already, so that it is not
    /// refused.
    pub fn note(&self, deed: Deed, outcome: &str) {
        let (caller, action) = (deed.caller.clone(), deed.action);
        match self.begin(deed) {
            Ok(pending) => pending.end(outcome),
            Err(error) => {
                tracing::error!(%error, caller, action, outcome, "a deed could not be written down")
            }
        }
    }

    /// How many deeds were done and not written down.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    /// Writes what waits, and ends. What is done after is not written down, or refused.
    pub async fn stop(&self) {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let writer = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut writer) = writer else { return };
        match tokio::time::timeout(PATIENCE, &mut writer).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the trail's writer failed"),
            Err(_) => {
                writer.abort();
                tracing::error!("the end of the trail could not be written: the store does not take it");
            }
        }
    }
}

/// A deed under way. One that is dropped before its end, with the request that asked for it, is written down as cancelled.
#[derive(Debug)]
pub(crate) struct Pending {
    permit: Option<OwnedPermit<AuditRecord>>,
    record: Option<AuditRecord>,
}

impl Pending {
    /// Writes down what came of it.
    pub(crate) fn end(mut self, outcome: &str) {
        if let Some(record) = &mut self.record {
            outcome.clone_into(&mut record.outcome);
        }
    }

    /// The same, and who it was, which was not known at its beginning.
    pub(crate) fn end_as(mut self, caller: &str, outcome: &str) {
        if let Some(record) = &mut self.record {
            caller.clone_into(&mut record.caller);
        }
        self.end(outcome);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let (Some(permit), Some(record)) = (self.permit.take(), self.record.take()) {
            permit.send(record);
        }
    }
}

/// The stream's name.
fn stream() -> Result<StreamName, Error> {
    StreamName::new(STREAM).map_err(|e| Error::InvalidArgument(e.to_string()))
}

#[cfg(test)]
mod tests;
