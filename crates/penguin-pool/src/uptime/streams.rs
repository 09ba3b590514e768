//! The streams that uptime keeps: made when they are first needed, with their retention and owner.

use super::{target::Target, words};
use crate::security::BoundStore;
use event_store::{
    Acl, Clock, Error, ExpectedState, IdSource, Result, Revision, StreamMetadata, StreamName, StreamWrite,
};
use models::{DateTime, StreamCreated, StreamDescription};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// The stream that keeps the lease.
pub const LEASE_STREAM: &str = "system-uptime-lease";

/// Makes streams.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    pub(super) store: BoundStore,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<dyn IdSource>,
    /// How long a service's events are kept.
    pub(super) max_age: Duration,
}

/// The name of a service's stream.
///
/// # Errors
/// If the service's name makes none.
pub(super) fn service_stream(target: &Target) -> Result<StreamName> {
    name(&format!("service-uptime-{}", target.name))
}

pub(super) fn name(text: &str) -> Result<StreamName> {
    StreamName::new(text).map_err(|e| Error::InvalidArgument(e.to_string()))
}

impl Streams {
    /// Makes a service's stream where it is missing, with its first event, and brings its retention up to date where it
    /// is there. Answers its last revision.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn service(&self, service: &str, stream: &StreamName) -> Result<Option<Revision>> {
        let description = format!("Uptime of the service {service}");
        let tags = ["uptime", "monitoring", service];
        let wanted = StreamMetadata { max_age: Some(self.max_age), ..StreamMetadata::default() };
        let found = self.store.metadata(stream).await?;
        match self.store.stream_info(stream).await {
            Ok(info) => {
                if found.metadata.max_age != wanted.max_age {
                    let metadata = StreamMetadata { max_age: wanted.max_age, ..found.metadata };
                    self.set(stream, found.revision, &metadata).await?;
                }
                Ok(Some(info.last_revision))
            }
            Err(Error::StreamNotFound(_)) => {
                let metadata = self.describe(wanted, &description, &tags);
                let data = json!(StreamCreated {
                    stream_name: stream.to_string(),
                    description,
                    tags: tags.map(str::to_owned).into(),
                    owner: "system".to_owned(),
                    created_at: self.now(),
                    data: serde_json::Map::new(),
                });
                self.create(stream, found.revision, &metadata, &data).await
            }
            Err(error) => Err(error),
        }
    }

    /// Gives a stream of the system its metadata where it has none: only its newest events are worth keeping.
    pub(super) async fn system(&self, stream: &StreamName, about: &str, keep: u64) -> Result<()> {
        let found = self.store.metadata(stream).await?;
        if found.revision.is_some() {
            return Ok(());
        }
        let wanted = StreamMetadata { max_count: Some(keep), ..StreamMetadata::default() };
        let metadata = self.describe(wanted, about, &["system", "uptime"]);
        self.set(stream, None, &metadata).await
    }

    async fn set(
        &self,
        stream: &StreamName,
        found: Option<Revision>,
        metadata: &StreamMetadata,
    ) -> Result<()> {
        let id = self.ids.next_id();
        match self.store.set_metadata(stream, expected(found), metadata, id).await {
            // Somebody else just did: another instance, say.
            Ok(_) | Err(Error::WrongExpectedRevision { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// In one append where the store can; else metadata first, so that a crash between leaves nothing that readers see.
    async fn create(
        &self,
        stream: &StreamName,
        metadata_at: Option<Revision>,
        metadata: &StreamMetadata,
        data: &Value,
    ) -> Result<Option<Revision>> {
        let created = words::event(self.ids.next_id(), StreamCreated::TYPE, data);
        let metadata_event = metadata.to_event(self.ids.next_id());
        let metastream = stream.metastream().ok_or_else(|| Error::InvalidArgument(stream.to_string()))?;
        let writes = [
            (metastream, expected(metadata_at), metadata_event),
            (stream.clone(), ExpectedState::NoStream, created),
        ];
        if self.store.capabilities().multi_stream_append {
            let writes =
                writes.map(|(stream, expected, event)| StreamWrite { stream, expected, events: vec![event] });
            let appended = self.store.append_many(writes.into()).await?;
            return Ok(appended.streams.last().and_then(|s| s.last_revision));
        }
        let mut last = None;
        for (stream, expected, event) in writes {
            last = self.store.append(&stream, expected, vec![event]).await?.last_revision;
        }
        Ok(last)
    }

    /// Adds what this API says of a stream: owner, permissions, description.
    fn describe(&self, metadata: StreamMetadata, description: &str, tags: &[&str]) -> StreamMetadata {
        let described = StreamDescription {
            description: Some(description.to_owned()),
            tags: Some(tags.iter().map(|&tag| tag.to_owned()).collect()),
            owner: Some("system".to_owned()),
            created_at: Some(self.now().to_string()),
            updated_at: Some(self.now().to_string()),
            version: Some(1),
            schema_version: Some("1.0.0".to_owned()),
            ..StreamDescription::default()
        };
        let custom = match serde_json::to_value(described) {
            Ok(Value::Object(map)) => map,
            _ => serde_json::Map::new(),
        };
        StreamMetadata { acl: Some(Acl::admins()), custom, ..metadata }
    }

    fn now(&self) -> DateTime {
        DateTime::from_millis(self.clock.now().millis())
    }
}

fn expected(found: Option<Revision>) -> ExpectedState {
    found.map_or(ExpectedState::NoStream, ExpectedState::Exact)
}
