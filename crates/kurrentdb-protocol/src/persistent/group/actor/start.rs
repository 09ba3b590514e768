//! How a group starts: it looks up where it stands.

use super::{Actor, MOST_HELD, RETRY};
use crate::persistent::{
    GroupKey, Place, Start,
    feed::{self, From},
    group::{Command, Shared},
    machine::Machine,
    parked::Parked,
    records::{self, Group},
};
use event_store::{Error, ReadStream, StreamName};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::sync::mpsc;

/// A group's own streams.
#[derive(Debug)]
pub(in crate::persistent::group) struct Streams {
    pub(in crate::persistent::group) checkpoints: StreamName,
    pub(in crate::persistent::group) parked: StreamName,
}

/// A group that does not know yet where it stands.
pub(in crate::persistent::group) struct Starting {
    pub(in crate::persistent::group) shared: Shared,
    pub(in crate::persistent::group) group: Group,
    pub(in crate::persistent::group) key: GroupKey,
    pub(in crate::persistent::group) streams: Streams,
    pub(in crate::persistent::group) commands: mpsc::Receiver<Command>,
    pub(in crate::persistent::group) mailbox: mpsc::WeakSender<Command>,
}

/// What was found when a group started.
struct Found {
    checkpoint: Option<Place>,
    /// Whether the stream of checkpoints has its metadata.
    configured: bool,
    parked: Parked,
}

impl Starting {
    pub(in crate::persistent::group) async fn run(self) {
        let mut closing = self.shared.closing.clone();
        let found = tokio::select! {
            found = self.find() => found,
            _ = closing.wait_for(|closing| *closing) => return,
        };
        let Self { shared, group, key, streams, commands, mailbox } = self;
        let definition = &group.definition;
        let from = match (found.checkpoint, group.live_from) {
            (Some(place), _) | (None, Some(Some(place))) => From::After(place),
            (None, Some(None)) => From::Start(Start::Beginning),
            (None, None) => From::Start(definition.start),
        };
        let settings = Arc::new(definition.settings.clone());
        let feed = feed::follow(
            Arc::clone(&shared.store),
            definition.source.clone(),
            settings.resolve_links,
            settings.max_checkpoint_count.max(1),
            from,
        );
        let asked = shared.clock.monotonic();
        let actor = Actor {
            machine: Machine::new(Arc::clone(&settings), found.checkpoint, MOST_HELD),
            settings,
            parked: found.parked,
            configured: found.configured,
            feed: Some(feed),
            members: HashMap::new(),
            next_consumer: 0,
            to_park: Vec::new(),
            to_checkpoint: None,
            io: None,
            not_before: Duration::ZERO,
            counted: 0,
            asked: (0, asked),
            shared,
            group,
            key,
            streams,
            mailbox,
        };
        actor.run(commands, closing).await;
    }

    async fn find(&self) -> Found {
        loop {
            match self.try_find().await {
                Ok(found) => return found,
                Err(error) => {
                    tracing::warn!(%error, group = %self.key, "a persistent subscription cannot start yet");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn try_find(&self) -> Result<Found, Error> {
        let store = &self.shared.store;
        let id = store.id().await?;
        let page = store.read_stream(&self.streams.checkpoints, ReadStream::backwards(1)).await;
        let (checkpoint, configured) = match page {
            Ok(page) => {
                let newest = page.events.first().and_then(|e| e.event.as_ref());
                (newest.and_then(|event| records::read_checkpoint(event, id)), true)
            }
            Err(Error::StreamNotFound(_)) => (None, false),
            Err(error) => return Err(error),
        };
        let parked = match store.stream_info(&self.streams.parked).await {
            Ok(info) => {
                let end = info.last_revision + 1;
                Parked::new(info.first_revision.unwrap_or(end), end)
            }
            Err(Error::StreamNotFound(_)) => Parked::default(),
            Err(error) => return Err(error),
        };
        Ok(Found { checkpoint, configured, parked })
    }
}
