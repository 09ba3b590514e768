//! All that a user has, as one JSON document, written as it is read: it may be far larger than memory.

use super::{Result, Users, UsersError};
use crate::{
    security::{BoundStore, Caller},
    streams::{self, event_view},
};
use bytes::Bytes;
use event_store::{Error, ErrorCode, ReadFrom, ReadStream, StreamName};
use futures::stream::BoxStream;
use models::{DateTime, UserId, UserStream};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// How many events are read at once.
const PAGE: usize = 100;
/// How many bytes of events one page may have.
const PAGE_BYTES: usize = 1 << 20;
/// How many pieces may wait for a reader that does not read.
const PIECES: usize = 2;

/// The document, piece by piece. An error in it means that it is not whole.
pub type Export = BoxStream<'static, Result<Bytes>>;

impl Users {
    /// All that a user has: every stream that can be read, with its metadata and all its events.
    ///
    /// # Errors
    /// `Denied` for whoever is neither the user nor an administrator, `NotFound`, `Erased`, and what the store answers.
    pub async fn export(&self, caller: &Caller, user_id: &UserId) -> Result<Export> {
        if !Self::is_own(caller, user_id) {
            let streams = vec![format!("user-{user_id}")];
            self.note(caller, "export", streams, ErrorCode::PermissionDenied.slug());
            return Err(UsersError::Denied("the user and administrators"));
        }
        self.refuse_erased(user_id).await?;
        // What the catalogue has not taken in within the time is left out: it is what was written just now.
        self.is_stale().await?;
        let names = self.streams_of(user_id, false).await?;
        if names.is_empty() {
            return Err(UsersError::NotFound(user_id.to_string()));
        }
        let exported_at = DateTime::from_millis(self.clock.now().millis());
        let head = format!(
            "{{\"userId\":{},\"exportedAt\":{},\"streams\":[",
            json!(user_id.as_str()),
            json!(exported_at)
        );
        let (pieces, written) = mpsc::channel(PIECES);
        let writer = Writer { store: self.store(caller), pieces };
        // It ends when the reader goes away: then nobody takes the next piece.
        tokio::spawn(async move {
            if let Err(Stop::Failed(error)) = writer.write(head, names).await {
                tracing::warn!(%error, "an export could not be finished");
                let _ = writer.pieces.send(Err(error.into())).await;
            }
        });
        Ok(Box::pin(ReceiverStream::new(written)))
    }
}

struct Writer {
    store: BoundStore,
    pieces: mpsc::Sender<Result<Bytes>>,
}

/// Why a document ended before its end.
enum Stop {
    Failed(Error),
    Gone,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Writer {
    async fn write(&self, head: String, names: Vec<StreamName>) -> std::result::Result<(), Stop> {
        self.send(head).await?;
        let mut first = true;
        for name in names {
            first &= !self.stream(&name, first).await?;
        }
        self.send("]}".to_owned()).await
    }

    /// Writes a stream; whether it was there to be written.
    async fn stream(&self, name: &StreamName, first: bool) -> std::result::Result<bool, Stop> {
        let Some(of) = UserStream::split(name.as_str()) else { return Ok(false) };
        // One that was given to others alone is theirs to read: it is passed over like one that is gone.
        let metadata = match streams::metadata(&self.store, name).await {
            Err(Error::StreamNotFound(_) | Error::StreamDeleted(_) | Error::AccessDenied(_)) => {
                return Ok(false);
            }
            metadata => metadata?,
        };
        let mut next = Some(ReadFrom::Start);
        let mut begun = false;
        let mut comma = "";
        while let Some(from) = next {
            let read = ReadStream { max_bytes: PAGE_BYTES, ..ReadStream::forwards(PAGE).from(from) };
            let page = match self.store.read_stream(name, read).await {
                // Deleted since it was found, or its metadata alone is to be read.
                Err(Error::StreamNotFound(_) | Error::StreamDeleted(_) | Error::AccessDenied(_))
                    if !begun =>
                {
                    return Ok(false);
                }
                page => page?,
            };
            let mut text = String::new();
            if !begun {
                begun = true;
                let comma = if first { "" } else { "," };
                let (name, data_type) = (json!(name.as_str()), json!(of.data_type));
                let (category, metadata) = (json!(of.category), json!(metadata.metadata.to_map()));
                text = format!(
                    "{comma}{{\"name\":{name},\"type\":{data_type},\"category\":{category},\"metadata\":{metadata},\"events\":["
                );
            }
            for event in page.events.into_iter().filter_map(event_view) {
                let event = serde_json::to_string(&event)
                    .map_err(|e| Error::Internal(format!("an event cannot be written as JSON: {e}")))?;
                text.push_str(comma);
                text.push_str(&event);
                comma = ",";
            }
            self.send(text).await?;
            next = page.next.map(ReadFrom::At);
        }
        self.send("]}".to_owned()).await?;
        Ok(true)
    }

    async fn send(&self, text: String) -> std::result::Result<(), Stop> {
        self.pieces.send(Ok(text.into())).await.map_err(|_| Stop::Gone)
    }
}
