//! What the writer, readers and subscriptions share.

use crate::{
    cursor::Cursor,
    heads::{Head, Published, Retention, Spot},
    index::Index,
    key::{KeyMap, Kind, StreamKey, StreamRef},
    log::Log,
    look::RecentMetadata,
    sync::lock,
};
use event_store::{Clock, Error, IdSource, Result, TOMBSTONE_REVISION};
use std::sync::{
    Arc, Mutex, OnceLock,
    atomic::{AtomicBool, Ordering},
};
use tokio::sync::{Semaphore, watch};

/// What followers of `$all` are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signal {
    /// The position after the last event.
    pub(crate) end: u64,
    pub(crate) closed: bool,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn IdSource>,
    pub(crate) log: Arc<Log>,
    pub(crate) index: Index,
    pub(crate) published: Mutex<Published>,
    pub(crate) metadata: Mutex<RecentMetadata>,
    pub(crate) signal: watch::Sender<Signal>,
    pub(crate) followers: Arc<Followers>,
    /// Why nothing can be written any more.
    pub(crate) trouble: OnceLock<String>,
    pub(crate) closed: AtomicBool,
    /// Bounds the threads that read at one time.
    pub(crate) readers: Semaphore,
    /// The same for the short looks that an append takes, and those at a stream's metadata and ends: slow reads must not keep appends waiting.
    pub(crate) lookers: Semaphore,
}

impl Shared {
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.is_closed() { Err(Error::Closed) } else { Ok(()) }
    }

    pub(crate) fn check_writable(&self) -> Result<()> {
        self.check_open()?;
        self.trouble.get().map_or(Ok(()), |why| Err(Error::ReadOnly(why.clone())))
    }

    /// The position after the last event that may be read.
    pub(crate) fn end(&self) -> u64 {
        lock(&self.published).end
    }

    pub(crate) fn cursor(&self) -> Cursor<'_> {
        Cursor::new(&self.log, &self.index)
    }

    /// A stream's head now, and the end of the log that it goes with.
    pub(crate) fn head(&self, stream: &StreamRef) -> Result<(Head, u64)> {
        let end = {
            let mut published = lock(&self.published);
            if let Some(head) = published.get(&stream.base) {
                return Ok((head, published.end));
            }
            published.end
        };
        let head = self.look_up(stream, end)?;
        let mut published = lock(&self.published);
        let known = published.offer(stream.base, head, end);
        Ok((known, published.end.max(end)))
    }

    /// A stream's head as it was when the log ended at `end`.
    fn look_up(&self, stream: &StreamRef, end: u64) -> Result<Head> {
        if stream.kind == Kind::Impossible {
            return Ok(Head::default());
        }
        let meta_last = self.index.last(stream.meta, end)?;
        let retention = match meta_last {
            Some(spot) => Retention::from_json(&self.cursor().checked(spot.position)?.data()),
            None => Retention::default(),
        };
        let last = self.index.last(stream.base, end)?;
        let tombstoned = last.is_some_and(|spot| spot.revision == TOMBSTONE_REVISION);
        let last: Option<Spot> = last.filter(|_| !tombstoned);
        Ok(Head { last, meta_last, tombstoned, retention, changed: end })
    }

    /// Runs something that may wait for the disk where it keeps nobody else waiting.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run(|shared| &shared.readers, work).await
    }

    /// The same for an append's own looks into the store, and for others as short.
    pub(crate) async fn looking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run(|shared| &shared.lookers, work).await
    }

    async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        bound: fn(&Self) -> &Semaphore,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.check_open()?;
        bound(self).acquire().await.map_err(|_| Error::Closed)?.forget();
        let permit = Permit { shared: Arc::clone(self), bound };
        // The work goes on where the caller gives up, and so does its permit.
        tokio::task::spawn_blocking(move || work(&permit.shared))
            .await
            .map_err(|error| Error::Internal(format!("a read failed: {error}")))?
    }
}

/// A place among those that read; given back when the work ends, however it ends.
struct Permit {
    shared: Arc<Shared>,
    bound: fn(&Shared) -> &Semaphore,
}

impl Drop for Permit {
    fn drop(&mut self) {
        (self.bound)(&self.shared).add_permits(1);
    }
}

/// Who waits for which stream. A stream's and its metastream's followers wait together.
#[derive(Debug, Default)]
pub(crate) struct Followers(Mutex<KeyMap<watch::Sender<()>>>);

/// One who waits.
#[derive(Debug)]
pub(crate) struct Following {
    followers: Arc<Followers>,
    base: StreamKey,
    pub(crate) changed: watch::Receiver<()>,
}

impl Followers {
    pub(crate) fn follow(self: &Arc<Self>, base: StreamKey) -> Following {
        let changed = lock(&self.0).entry(base).or_insert_with(|| watch::Sender::new(())).subscribe();
        Following { followers: Arc::clone(self), base, changed }
    }

    /// Tells those who wait for these streams.
    pub(crate) fn tell<'a>(&self, streams: impl Iterator<Item = &'a StreamKey>) {
        let waiting = lock(&self.0);
        if waiting.is_empty() {
            return;
        }
        for stream in streams {
            if let Some(sender) = waiting.get(stream) {
                sender.send_replace(());
            }
        }
    }

    pub(crate) fn tell_all(&self) {
        for sender in lock(&self.0).values() {
            sender.send_replace(());
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut waiting = lock(&self.followers.0);
        // The last one counts itself.
        if waiting.get(&self.base).is_some_and(|sender| sender.receiver_count() <= 1) {
            waiting.remove(&self.base);
        }
    }
}
