//! The store: its calls, most of all those that write.

use crate::{
    Options,
    connection::Connection,
    convert,
    errors::{self, Asked},
    options::as_user,
    read::Reader,
};
use event_store::{
    AllPage, Appended, AppendedMany, Capabilities, Deleted, Error, EventStore, ExpectedState, NewEvent,
    Position, ReadAll, ReadFrom, ReadStream, Result, Revision, SOFT_DELETED, StoreId, StoreState,
    StoreStatistics, StreamInfo, StreamMetadata, StreamName, StreamPage, StreamWrite, SubscribeAll,
    SubscribeStream, Subscription, VersionedMetadata,
};
use kurrentdb::{AppendToStreamOptions, Client, DeleteStreamOptions, TombstoneStreamOptions};
use std::{sync::Arc, time::Duration};

/// The stream whose first event's id is the store's own: KurrentDB has none that outlives a node.
pub const ID_STREAM: &str = "system-store-id";
/// How many events of `$all` are counted at once.
const COUNTED_AT_ONCE: usize = 4_096;

/// How long counting may take of one call's time.
const COUNTING: Duration = Duration::from_secs(2);
/// What a large append has more time for.
const MIB: usize = 1 << 20;

/// An event store that is a KurrentDB server or cluster.
///
/// Making one connects to nobody: the first call does. After a loss the connection is made again by itself, at once and
/// then with growing pauses; calls wait for the first attempt and fail with [`Error::Unavailable`] while more of them fail.
/// Subscriptions wait for the server and go on where they were.
///
/// What is KurrentDB's to decide: how many ids it remembers for `Any` appends, and its limits on sizes
/// ([`Options::max_event_bytes`]). What it cannot do as the port asks:
/// - Its own soft delete drops a stream's metadata. Where there is some, the delete is written as metadata that keeps the
///   rest, and the expectation is judged just before it and not with it.
/// - Appends to several streams are [`Error::Unsupported`]: the official client has none. (KurrentDB itself has them from 25.1
///   on, in a protocol that keeps properties in metadata's place and would not give that back as it was written.)
/// - It does not say how much it holds: [`EventStore::statistics`] counts what was written since it was last asked, for two
///   seconds at most, and says what it has come to.
#[derive(Debug, Clone)]
pub struct KurrentDb {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) connection: Arc<Connection>,
    pub(crate) options: Options,
    /// The store's id, and with which connection it was read.
    id: tokio::sync::Mutex<Option<(u64, StoreId)>>,
    counted: tokio::sync::Mutex<Counted>,
}

/// How much of `$all` was counted.
#[derive(Debug, Default)]
struct Counted {
    events: u64,
    upto: Option<Position>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl KurrentDb {
    /// A store on the server that the options name. To be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the client cannot be made: a certificate that cannot be read, say.
    pub fn new(options: Options) -> Result<Self> {
        let shared = Shared {
            connection: Connection::new(options.clone())?,
            options,
            id: tokio::sync::Mutex::default(),
            counted: tokio::sync::Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    async fn ask<T, F>(&self, asking: impl Fn(Client) -> F + Send) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
        T: Send,
    {
        self.shared.connection.ask(self.shared.options.call_time, asking).await
    }

    /// The id that the server's store has, if it has one yet. Read anew with each connection: another server may have taken
    /// the place of the first.
    pub(crate) async fn known_id(&self) -> Result<Option<StoreId>> {
        let generation = self.shared.connection.generation().await?;
        let mut known = self.shared.id.lock().await;
        if let Some((_, id)) = known.filter(|(with, _)| *with == generation) {
            return Ok(Some(id));
        }
        let page = match self.read_stream(&id_stream()?, ReadStream::forwards(1)).await {
            Err(Error::StreamNotFound(_)) => return Ok(None),
            page => page?,
        };
        let first = page.events.first().and_then(|e| e.original());
        let first = first.ok_or_else(|| Error::Corrupt(format!("'{ID_STREAM}' was truncated")))?;
        *known = Some((generation, StoreId(first.id)));
        Ok(Some(StoreId(first.id)))
    }

    async fn first_id(&self) -> Result<StoreId> {
        let event = NewEvent::json(self.shared.options.ids.next_id(), "StoreIdentified", "{}");
        match self.append(&id_stream()?, ExpectedState::NoStream, vec![event]).await {
            Ok(_) | Err(Error::WrongExpectedRevision { .. }) => {}
            Err(error) => return Err(error),
        }
        // Whoever was first has named it.
        let id = self.known_id().await?;
        id.ok_or_else(|| Error::Corrupt(format!("'{ID_STREAM}' was deleted")))
    }

    /// Their size together, if it is not too much.
    fn check_sizes(&self, events: &[NewEvent]) -> Result<usize> {
        let limit = self.shared.options.max_event_bytes;
        if let Some(event) = events.iter().find(|e| e.size() > limit) {
            return Err(Error::EventTooLarge { id: event.id, size: event.size(), limit });
        }
        let (size, limit) = (events.iter().map(NewEvent::size).sum(), self.shared.options.max_append_bytes);
        if size > limit { Err(Error::AppendTooLarge { size, limit }) } else { Ok(size) }
    }
}

#[async_trait::async_trait]
impl EventStore for KurrentDb {
    async fn id(&self) -> Result<StoreId> {
        match self.known_id().await? {
            Some(id) => Ok(id),
            None => self.first_id().await,
        }
    }

    fn capabilities(&self) -> Capabilities {
        // Whatever the server's version: see above.
        let derived_streams = self.shared.options.derived_streams;
        Capabilities { multi_stream_append: false, derived_streams, counts: false }
    }

    fn state(&self) -> StoreState {
        self.shared.connection.state()
    }

    /// Counts what was written since it was last asked, for two seconds at most. KurrentDB does not say how much disk it
    /// takes: 0.
    async fn statistics(&self) -> Result<StoreStatistics> {
        let mut counted = self.shared.counted.lock().await;
        let counting = async {
            loop {
                let from = counted.upto.map_or(ReadFrom::Start, ReadFrom::Past);
                let page = self.read_all(ReadAll::forwards(COUNTED_AT_ONCE).from(from)).await?;
                counted.events += page.events.len() as u64;
                if let Some(last) = page.events.last().and_then(|e| e.original()) {
                    counted.upto = Some(last.position);
                }
                if page.next.is_none() {
                    return Ok(());
                }
            }
        };
        // What a time-out interrupts is counted again.
        tokio::time::timeout(COUNTING, counting).await.unwrap_or(Ok(()))?;
        Ok(StoreStatistics { events: counted.events, bytes_on_disk: 0 })
    }

    async fn append(
        &self,
        stream: &StreamName,
        expected: ExpectedState,
        events: Vec<NewEvent>,
    ) -> Result<Appended> {
        let size = self.check_sizes(&events)?;
        let empty = events.is_empty();
        let events = events.into_iter().map(convert::event_data).collect::<Result<Vec<_>>>()?;
        let options = as_user!(AppendToStreamOptions::default(), &self.shared.options.credentials);
        let options = options.stream_state(convert::state(expected));
        let time = self.shared.options.call_time + Duration::from_secs((size / MIB) as u64);
        let append = |client: Client| {
            let (events, options) = (events.clone(), &options);
            async move {
                let written = client.append_to_stream(stream.as_str(), options, events).await;
                written.map_err(|e| errors::of(e, Asked::Write(stream, expected)))
            }
        };
        let written = self.shared.connection.ask(time, append).await?;
        if empty {
            // The client tells an empty stream from one with a single event no more than it does 0 from nothing.
            let last_revision = match (self.last_revision(stream).await?, written.next_expected_version) {
                (None, 0) => {
                    let deleted = match stream.metastream() {
                        Some(_) => self.metadata(stream).await?.metadata.is_soft_deleted(),
                        None => false,
                    };
                    deleted.then_some(0)
                }
                (None, last) => Some(last),
                (last, _) => last,
            };
            return Ok(Appended { last_revision, position: None });
        }
        Ok(Appended {
            last_revision: Some(written.next_expected_version),
            position: Some(convert::position(written.position)),
        })
    }

    async fn append_many(&self, writes: Vec<StreamWrite>) -> Result<AppendedMany> {
        let mut writes = writes.into_iter();
        match (writes.next(), writes.next()) {
            (None, _) => Err(Error::InvalidArgument("an append needs at least one stream".into())),
            (Some(only), None) => {
                let appended = self.append(&only.stream, only.expected, only.events).await?;
                Ok(AppendedMany { streams: vec![appended], position: appended.position })
            }
            (Some(_), Some(_)) => Err(Error::Unsupported("append to several streams at once".into())),
        }
    }

    async fn read_stream(&self, stream: &StreamName, read: ReadStream) -> Result<StreamPage> {
        let user = &self.shared.options.credentials;
        self.ask(|client| async move { Reader { client, user }.read_stream_page(stream, read).await }).await
    }

    async fn read_all(&self, read: ReadAll) -> Result<AllPage> {
        let user = &self.shared.options.credentials;
        self.ask(|client| {
            let read = read.clone();
            async move { Reader { client, user }.read_all_page(read).await }
        })
        .await
    }

    async fn stream_info(&self, stream: &StreamName) -> Result<StreamInfo> {
        let page = self.read_stream(stream, ReadStream::forwards(1)).await?;
        let first = page.events.first().and_then(|e| e.original()).map(|e| e.revision);
        let events = first.map_or(0, |first| page.last_revision.saturating_sub(first).saturating_add(1));
        Ok(StreamInfo { first_revision: first, last_revision: page.last_revision, events })
    }

    async fn subscribe_stream(&self, stream: &StreamName, options: SubscribeStream) -> Result<Subscription> {
        self.follow_stream(stream.clone(), options).await
    }

    async fn subscribe_all(&self, options: SubscribeAll) -> Result<Subscription> {
        self.follow_all(options).await
    }

    async fn delete(&self, stream: &StreamName, expected: ExpectedState) -> Result<Deleted> {
        if let Some(metastream) = stream.metastream() {
            let found = self.metadata(stream).await.map_err(|error| match error {
                // The metastream is, because the stream is.
                Error::StreamDeleted(_) => Error::StreamDeleted(stream.clone()),
                other => other,
            })?;
            let rest = StreamMetadata { truncate_before: None, ..found.metadata.clone() };
            if rest != StreamMetadata::default() {
                return self.delete_keeping(stream, expected, &metastream, found).await;
            }
        }
        let options = as_user!(DeleteStreamOptions::default(), &self.shared.options.credentials);
        let options = options.stream_state(convert::state(expected));
        let delete = |client: Client| {
            let options = &options;
            async move {
                let deleted = client.delete_stream(stream.as_str(), options).await;
                let deleted = deleted.map_err(|e| errors::of(e, Asked::Write(stream, expected)))?;
                deleted_at(deleted.map(convert::position))
            }
        };
        self.ask(delete).await
    }

    async fn tombstone(&self, stream: &StreamName, expected: ExpectedState) -> Result<Deleted> {
        let options = as_user!(TombstoneStreamOptions::default(), &self.shared.options.credentials);
        let options = options.stream_state(convert::state(expected));
        let tombstone = |client: Client| {
            let options = &options;
            async move {
                let deleted = client.tombstone_stream(stream.as_str(), options).await;
                let deleted = deleted.map_err(|e| errors::of(e, Asked::Write(stream, expected)))?;
                deleted_at(deleted.map(convert::position))
            }
        };
        self.ask(tombstone).await
    }

    async fn close(&self) -> Result<()> {
        self.shared.connection.close();
        Ok(())
    }
}

impl KurrentDb {
    /// Deletes a stream that has metadata, softly. Written after the server's own delete, the rest of the metadata would
    /// bring the stream back: so it is written with the `$tb` that deletes, in one event.
    async fn delete_keeping(
        &self,
        stream: &StreamName,
        expected: ExpectedState,
        metastream: &StreamName,
        found: VersionedMetadata,
    ) -> Result<Deleted> {
        // An empty append is the expectation alone.
        self.append(stream, expected, Vec::new()).await?;
        if found.metadata.is_soft_deleted() {
            // It is as it is to be, and whatever were written to the metadata now would bring the stream back.
            let page = self.read_stream(metastream, ReadStream::backwards(1)).await?;
            let newest = page.events.first().and_then(|e| e.original()).map(|e| e.position);
            return deleted_at(newest);
        }
        let deleted = StreamMetadata { truncate_before: Some(SOFT_DELETED), ..found.metadata };
        let state = found.revision.map_or(ExpectedState::NoStream, ExpectedState::Exact);
        let event = deleted.to_event(self.shared.options.ids.next_id());
        deleted_at(self.append(metastream, state, vec![event]).await?.position)
    }

    /// A stream's last revision; nothing if it has no events or is softly deleted.
    pub(crate) async fn last_revision(&self, stream: &StreamName) -> Result<Option<Revision>> {
        match self.read_stream(stream, ReadStream::backwards(1)).await {
            Ok(page) => Ok(Some(page.last_revision)),
            Err(Error::StreamNotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn deleted_at(position: Option<Position>) -> Result<Deleted> {
    position
        .map(|position| Deleted { position })
        .ok_or_else(|| Error::Internal("a delete was answered without a position".into()))
}

fn id_stream() -> Result<StreamName> {
    StreamName::new(ID_STREAM).map_err(|e| Error::Internal(e.to_string()))
}
