//! `/api/streams`: event streams over HTTP.
//!
//! `routes` parses, calls and answers; [`Streams`] is the service, which knows nothing of HTTP; `view` turns what the
//! store holds into what clients see, and `feed` follows what is written.
//!
//! Where to start reading: `routes`, then `write` (with `guarded`) and `read`.

mod change;
mod error;
mod feed;
mod find;
mod guarded;
mod known;
mod read;
mod routes;
mod view;
mod write;

pub use error::StreamsError;
pub use feed::{Feed, FeedFrame, FeedStart};
pub use routes::routes;
pub(crate) use view::event as event_view;

use crate::{
    catalogue::Catalogue,
    health::probe::READ_STREAM,
    security::{BoundStore, Gate},
};
use event_store::{Clock, DEFAULT_PAGE_BYTES, Error, IdSource, StreamName, VersionedMetadata};
use std::{sync::Arc, time::Duration};

/// Event streams: what the API does, for a caller. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Streams {
    gate: Gate,
    catalogue: Catalogue,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    patience: Duration,
    page_bytes: usize,
    known: known::Known,
}

/// How long an answer waits for the catalogue unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(2);

impl Streams {
    /// The service before a gate, with the catalogue of the same store.
    #[must_use]
    pub fn new(gate: Gate, catalogue: Catalogue, clock: Arc<dyn Clock>, ids: Arc<dyn IdSource>) -> Self {
        Self {
            gate,
            catalogue,
            clock,
            ids,
            patience: PATIENCE,
            page_bytes: DEFAULT_PAGE_BYTES,
            known: known::Known::default(),
        }
    }

    /// The same, with another time that answers wait for the catalogue to take in what was written before the question.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The same, with another size that the events of a page of a search may have together, in bytes.
    #[must_use]
    pub fn with_page_bytes(self, page_bytes: usize) -> Self {
        Self { page_bytes, ..self }
    }
}

/// A name as the store knows it.
fn name(text: &str) -> Result<StreamName, StreamsError> {
    StreamName::new(text)
        .map_err(|e| StreamsError::Invalid { path: "streamName".into(), message: e.to_string() })
}

/// A name that may be written by way of the API.
fn writable(text: &str) -> Result<StreamName, StreamsError> {
    let name = name(text)?;
    if name.is_system() {
        let message =
            "streams that begin with '$' are the system's: they can be read and not written".to_owned();
        return Err(StreamsError::Invalid { path: "streamName".into(), message });
    }
    if is_the_services(&name) {
        return Err(Error::AccessDenied(name).into());
    }
    Ok(name)
}

/// Whether the service keeps the stream for itself: whoever ended one would end a check, or a history.
fn is_the_services(name: &StreamName) -> bool {
    let name = name.as_str();
    name == READ_STREAM || name.starts_with("system-") || name.starts_with("service-uptime-")
}

/// A stream's metadata. An error names the stream, which the caller knows, and not its metastream.
pub(crate) async fn metadata(store: &BoundStore, name: &StreamName) -> Result<VersionedMetadata, Error> {
    store.metadata(name).await.map_err(|error| match error {
        Error::StreamDeleted(_) => Error::StreamDeleted(name.clone()),
        Error::AccessDenied(_) => Error::AccessDenied(name.clone()),
        other => other,
    })
}
