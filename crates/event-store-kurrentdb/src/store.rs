//! The store: a client, what is known of its server, and the calls that write.

use crate::{
    Options, convert,
    errors::{self, Asked},
};
use event_store::{
    AllPage, Appended, AppendedMany, Capabilities, Deleted, Error, EventStore, ExpectedState, NewEvent,
    Position, ReadAll, ReadFrom, ReadStream, Result, Revision, StoreId, StoreState, StoreStatistics,
    StreamInfo, StreamName, StreamPage, StreamWrite, SubscribeAll, SubscribeStream, Subscription,
};
use kurrentdb::{AppendToStreamOptions, Client, DeleteStreamOptions, TombstoneStreamOptions};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OnceCell, watch};

/// The stream whose first event's id is the store's own: KurrentDB has none that outlives a node.
const ID_STREAM: &str = "system-store-id";
/// How many events of `$all` are counted at once.
const COUNTED_AT_ONCE: usize = 4_096;

/// An event store that is a KurrentDB server or cluster.
///
/// Making one connects to nobody: the first call does, and after a loss the next one does again. Calls fail with
/// [`Error::Unavailable`] while the server is away; subscriptions wait for it and go on where they were.
///
/// Two things are KurrentDB's to decide: how many ids it remembers for `Any` appends, and its limits on sizes
/// ([`Options::max_event_bytes`]). [`EventStore::statistics`] walks what was written since it was last asked.
#[derive(Debug, Clone)]
pub struct KurrentDb {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) options: Options,
    id: OnceCell<StoreId>,
    state: Mutex<Seen>,
    counted: tokio::sync::Mutex<Counted>,
    pub(crate) closed: watch::Sender<bool>,
}

/// What the newest answer, or its absence, said of the server.
#[derive(Debug, Clone)]
enum Seen {
    Nothing,
    Alive,
    Lost(String),
}

/// How much of `$all` was counted.
#[derive(Debug, Default)]
struct Counted {
    events: u64,
    upto: Option<Position>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("state", &self.state).finish_non_exhaustive()
    }
}

impl KurrentDb {
    /// A store on the server that the options name.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the client cannot be made: a certificate that cannot be read, say.
    pub fn new(options: Options) -> Result<Self> {
        let client =
            Client::new(options.settings.clone()).map_err(|e| Error::InvalidArgument(e.to_string()))?;
        let shared = Shared {
            client,
            options,
            id: OnceCell::new(),
            state: Mutex::new(Seen::Nothing),
            counted: tokio::sync::Mutex::default(),
            closed: watch::Sender::new(false),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Ends with `Closed` what the store's closing overtakes, and keeps in mind what an answer says of the server.
    pub(crate) async fn ask<T>(&self, asking: impl Future<Output = Result<T>>) -> Result<T> {
        let mut closed = self.shared.closed.subscribe();
        let answer = tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => return Err(Error::Closed),
            answer = asking => answer,
        };
        self.shared.heard(&answer);
        answer
    }

    async fn first_id(&self) -> Result<StoreId> {
        let stream = StreamName::new(ID_STREAM).map_err(|e| Error::Internal(e.to_string()))?;
        let event = NewEvent::json(self.shared.options.ids.next_id(), "StoreIdentified", "{}");
        match self.append(&stream, ExpectedState::NoStream, vec![event]).await {
            Ok(_) | Err(Error::WrongExpectedRevision { .. }) => {}
            Err(error) => return Err(error),
        }
        // Whoever was first has named it.
        let page = self.read_stream(&stream, ReadStream::forwards(1)).await?;
        let first = page.events.first().and_then(|e| e.original());
        first.map(|e| StoreId(e.id)).ok_or_else(|| Error::Corrupt(format!("'{ID_STREAM}' was truncated")))
    }

    fn check_sizes(&self, events: &[NewEvent]) -> Result<()> {
        let limit = self.shared.options.max_event_bytes;
        if let Some(event) = events.iter().find(|e| e.size() > limit) {
            return Err(Error::EventTooLarge { id: event.id, size: event.size(), limit });
        }
        let (size, limit) = (events.iter().map(NewEvent::size).sum(), self.shared.options.max_append_bytes);
        if size > limit { Err(Error::AppendTooLarge { size, limit }) } else { Ok(()) }
    }
}

impl Shared {
    pub(crate) fn heard<T>(&self, answer: &Result<T>) {
        let seen = match answer {
            Err(error) if errors::is_lost(error) => Seen::Lost(error.to_string()),
            Err(Error::Closed) => return,
            _ => Seen::Alive,
        };
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }
}

#[async_trait::async_trait]
impl EventStore for KurrentDb {
    async fn id(&self) -> Result<StoreId> {
        self.shared.id.get_or_try_init(|| self.first_id()).await.copied()
    }

    fn capabilities(&self) -> Capabilities {
        // KurrentDB can from 25.1 on, and the official client cannot ask it to.
        Capabilities { multi_stream_append: false }
    }

    fn state(&self) -> StoreState {
        if *self.shared.closed.borrow() {
            return StoreState::Closed;
        }
        match self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            Seen::Nothing => StoreState::Connecting,
            Seen::Alive => StoreState::Ready,
            Seen::Lost(reason) => StoreState::Reconnecting(reason),
        }
    }

    /// Counts what was written since it was last asked; the first time, everything. KurrentDB does not say how much disk it
    /// takes: 0.
    async fn statistics(&self) -> Result<StoreStatistics> {
        let mut counted = self.shared.counted.lock().await;
        loop {
            let from = counted.upto.map_or(ReadFrom::Start, ReadFrom::Past);
            let page = self.read_all(ReadAll::forwards(COUNTED_AT_ONCE).from(from)).await?;
            counted.events += page.events.len() as u64;
            if let Some(last) = page.events.last().and_then(|e| e.original()) {
                counted.upto = Some(last.position);
            }
            if page.next.is_none() {
                return Ok(StoreStatistics { events: counted.events, bytes_on_disk: 0 });
            }
        }
    }

    async fn append(
        &self,
        stream: &StreamName,
        expected: ExpectedState,
        events: Vec<NewEvent>,
    ) -> Result<Appended> {
        self.check_sizes(&events)?;
        let empty = events.is_empty();
        let events = events.into_iter().map(convert::event_data).collect::<Result<Vec<_>>>()?;
        let options = AppendToStreamOptions::default().stream_state(convert::state(expected));
        let asked = Asked::Write(stream, expected);
        let written = self
            .ask(async {
                let written = self.shared.client.append_to_stream(stream.as_str(), &options, events).await;
                written.map_err(|e| errors::of(e, asked))
            })
            .await?;
        if empty {
            // The client tells an empty stream from one with a single event no more than it does 0 from nothing.
            return Ok(Appended { last_revision: self.last_revision(stream).await?, position: None });
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
        self.ask(self.read_stream_page(stream, read)).await
    }

    async fn read_all(&self, read: ReadAll) -> Result<AllPage> {
        self.ask(self.read_all_page(read)).await
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
        let options = DeleteStreamOptions::default().stream_state(convert::state(expected));
        let asked = Asked::Write(stream, expected);
        let asking = async {
            let deleted = self.shared.client.delete_stream(stream.as_str(), &options).await;
            deleted_at(deleted.map_err(|e| errors::of(e, asked))?)
        };
        self.ask(asking).await
    }

    async fn tombstone(&self, stream: &StreamName, expected: ExpectedState) -> Result<Deleted> {
        let options = TombstoneStreamOptions::default().stream_state(convert::state(expected));
        let asked = Asked::Write(stream, expected);
        let asking = async {
            let deleted = self.shared.client.tombstone_stream(stream.as_str(), &options).await;
            deleted_at(deleted.map_err(|e| errors::of(e, asked))?)
        };
        self.ask(asking).await
    }

    async fn close(&self) -> Result<()> {
        self.shared.closed.send_replace(true);
        Ok(())
    }
}

impl KurrentDb {
    /// A stream's last revision; nothing if it has no events or is softly deleted.
    pub(crate) async fn last_revision(&self, stream: &StreamName) -> Result<Option<Revision>> {
        match self.read_stream(stream, ReadStream::backwards(1)).await {
            Ok(page) => Ok(Some(page.last_revision)),
            Err(Error::StreamNotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn deleted_at(position: Option<kurrentdb::Position>) -> Result<Deleted> {
    let position =
        position.ok_or_else(|| Error::Internal("a delete was answered without a position".into()))?;
    Ok(Deleted { position: convert::position(position) })
}
