//! Snapshots: a service's merged history, kept in a stream of its own every so many words, so that a start reads the
//! newest of them and the words after it, and not years of words.
//!
//! A snapshot is a shortcut and nothing else. One that is missing, damaged, or does not fit the stream it was made of is
//! passed over, and the stream is read from its beginning.

use super::{
    board::{GRACE, Service},
    history::{History, Kept},
    streams::{Streams, name},
    words,
};
use event_store::{Error, ExpectedState, ReadFrom, ReadStream, Result, Revision, StreamName};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The event's type. Another format is another type.
const KEPT: &str = "UptimeHistoryKept";
/// After so many words a snapshot is worth its while: that many are read in some milliseconds.
pub(super) const EVERY: u64 = 2_000;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Snapshot {
    /// The last event of the service's stream that is in it.
    revision: Revision,
    event_id: Uuid,
    history: Kept,
}

fn stream_of(service: &Service) -> Result<StreamName> {
    name(&format!("system-uptime-history-{}", service.name()))
}

/// Keeps a service's history, of which the event `event_id` at `revision` is the last, if it is exactly what the stream
/// says up to there.
pub(super) async fn keep(
    streams: &Streams,
    service: &Service,
    revision: Revision,
    event_id: Uuid,
) -> Result<bool> {
    let Some(history) = service.keep() else { return Ok(false) };
    let stream = stream_of(service)?;
    streams.system(&stream, &format!("Snapshots of the uptime of the service {}", service.name()), 2).await?;
    let data = serde_json::to_value(Snapshot { revision, event_id, history })
        .map_err(|e| Error::Internal(format!("a snapshot cannot be written: {e}")))?;
    let event = words::event(streams.ids.next_id(), KEPT, &data);
    streams.store.append(&stream, ExpectedState::Any, vec![event]).await.map(|_| true)
}

/// The newest snapshot of a service that fits its stream, and the revision that it goes up to.
pub(super) async fn read(streams: &Streams, service: &Service) -> Result<Option<(History, Revision)>> {
    let newest = streams.store.read_stream(&stream_of(service)?, ReadStream::backwards(1)).await;
    let event = match newest {
        Err(Error::StreamNotFound(_) | Error::StreamDeleted(_)) => return Ok(None),
        other => other?.events.into_iter().find_map(|e| e.event),
    };
    let Some(event) = event.filter(|e| e.event_type.as_str() == KEPT) else { return Ok(None) };
    let Ok(snapshot) = serde_json::from_slice::<Snapshot>(&event.data) else { return Ok(None) };
    // It was made of this very stream: the event that it goes up to stands where it stood.
    let read = ReadStream::forwards(1).from(ReadFrom::At(snapshot.revision));
    let last = match streams.store.read_stream(&service.stream, read).await {
        Err(Error::StreamNotFound(_)) => return Ok(None),
        other => other?.events.into_iter().find_map(|e| e.event),
    };
    if last.is_none_or(|e| e.revision != snapshot.revision || e.id != snapshot.event_id) {
        return Ok(None);
    }
    let grace = i64::try_from(GRACE.as_millis()).unwrap_or(i64::MAX);
    Ok(History::restore(grace, snapshot.history).map(|history| (history, snapshot.revision)))
}
