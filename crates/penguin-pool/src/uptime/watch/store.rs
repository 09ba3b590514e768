//! The check of the event store: a probe is written, and read back.

use super::check::{Check, describe};
use crate::security::BoundStore;
use event_store::{Error, ExpectedState, IdSource, NewEvent, ReadFrom, ReadStream, StreamName};
use std::sync::Arc;

/// Writes a probe to a stream and reads it back.
#[derive(Debug)]
pub(in crate::uptime) struct StoreCheck {
    pub(in crate::uptime) store: BoundStore,
    pub(in crate::uptime) stream: StreamName,
    pub(in crate::uptime) ids: Arc<dyn IdSource>,
}

#[async_trait::async_trait]
impl Check for StoreCheck {
    async fn check(&self) -> Result<(), String> {
        let id = self.ids.next_id();
        let probe = NewEvent::json(id, "UptimeChecked", "{}");
        let appended = self.store.append(&self.stream, ExpectedState::Any, vec![probe]).await;
        let revision = appended.and_then(|a| {
            a.last_revision
                .ok_or_else(|| Error::Internal("an append of one event has no revision".to_owned()))
        });
        let revision = revision.map_err(|e| format!("write: {}", describe(&e)))?;
        let read = ReadStream::forwards(1).from(ReadFrom::At(revision));
        let page = self.store.read_stream(&self.stream, read).await;
        let page = page.map_err(|e| format!("read: {}", describe(&e)))?;
        let found = page.events.first().and_then(|e| e.event.as_ref()).map(|e| e.id);
        if found == Some(id) { Ok(()) } else { Err("read: what was written did not come back".to_owned()) }
    }
}
