//! Following a service's stream: from its newest snapshot (or its beginning), then live, into the board. The only way
//! that history comes back after a restart, and that it comes to instances that do not record it.

use super::{
    board::{Service, empty},
    history::History,
    lease::Role,
    snapshot,
    streams::Streams,
    words,
};
use event_store::{Error, ReadFrom, RecordedEvent, Revision, SubscribeStream, SubscriptionMessage};
use futures::StreamExt as _;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;
use uuid::Uuid;

/// How long to wait before following again after the store failed.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Follows one service's stream.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) streams: Streams,
    pub(super) service: Arc<Service>,
    /// At each change what is known is thrown away and read again.
    pub(super) generation: watch::Receiver<u64>,
    /// Who records keeps the snapshots too.
    pub(super) role: watch::Receiver<Role>,
}

/// How far a stream was followed.
struct Progress {
    /// Until the end is reached once, words go into a history of their own: nobody is shown half of it, or told of
    /// changes of long ago.
    catching_up: Option<History>,
    last: Option<Revision>,
    /// The last word's event.
    last_word: Option<(Revision, Uuid)>,
    /// How many words no snapshot holds.
    since_snapshot: u64,
}

impl Follower {
    /// Follows for ever; drop it to end it.
    pub(super) async fn run(self) {
        let mut generation = self.generation.clone();
        loop {
            generation.borrow_and_update();
            tokio::select! {
                () = self.follow() => {}
                changed = generation.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn follow(&self) {
        let Self { streams, service, .. } = self;
        let mut progress = self.begin().await;
        let mut complained = false;
        loop {
            let from = progress.last.map_or(ReadFrom::Start, ReadFrom::Past);
            let options = SubscribeStream { from, ..SubscribeStream::default() };
            let error = match streams.store.subscribe_stream(&service.stream, options).await {
                Err(error) => error,
                Ok(mut messages) => loop {
                    match messages.next().await {
                        Some(Ok(SubscriptionMessage::Event(event))) => {
                            if let Some(event) = event.event {
                                self.take(&mut progress, &event);
                                self.keep(&mut progress).await;
                            }
                        }
                        Some(Ok(SubscriptionMessage::CaughtUp { .. })) => {
                            complained = false;
                            self.publish(&mut progress);
                            self.keep(&mut progress).await;
                        }
                        Some(Ok(_)) => {}
                        Some(Err(error)) => break error,
                        None => break Error::Closed,
                    }
                },
            };
            match error {
                Error::Closed => std::future::pending().await,
                Error::StreamDeleted(_) => {
                    tracing::warn!(stream = %service.stream, "the stream was tombstoned: nothing of this service can be recorded any more");
                    self.publish(&mut progress);
                    std::future::pending().await
                }
                error => {
                    if !std::mem::replace(&mut complained, true) {
                        tracing::warn!(stream = %service.stream, %error, "the stream cannot be followed now; trying again every second");
                    }
                    tokio::time::sleep(AGAIN_AFTER).await;
                }
            }
        }
    }

    /// From the newest snapshot, if there is one that fits.
    async fn begin(&self) -> Progress {
        let found = snapshot::read(&self.streams, &self.service).await;
        let found = found.unwrap_or_else(|error| {
            tracing::debug!(stream = %self.service.stream, %error, "no snapshot can be read: the stream is read from its beginning");
            None
        });
        let (history, last) = found.map_or_else(|| (empty(), None), |(history, last)| (history, Some(last)));
        Progress { catching_up: Some(history), last, last_word: None, since_snapshot: 0 }
    }

    fn take(&self, progress: &mut Progress, event: &RecordedEvent) {
        progress.last = Some(event.revision);
        if let Some(word) = words::read(event) {
            progress.last_word = Some((event.revision, event.id));
            progress.since_snapshot += 1;
            match &mut progress.catching_up {
                Some(history) => _ = history.apply(&word),
                None => self.service.hear(&word),
            }
        }
        if progress.catching_up.is_none() {
            self.service.read_to(progress.last);
        }
    }

    /// Shows what was read, once the end is reached.
    fn publish(&self, progress: &mut Progress) {
        if let Some(history) = progress.catching_up.take() {
            self.service.replace(history);
        }
        self.service.read_to(progress.last);
    }

    /// Keeps a snapshot, if one is due and this instance is the one to do so.
    async fn keep(&self, progress: &mut Progress) {
        let due = progress.since_snapshot >= snapshot::EVERY && progress.catching_up.is_none();
        let Some((revision, event_id)) = progress.last_word.filter(|_| due) else { return };
        if *self.role.borrow() != Role::Recording || progress.last != Some(revision) {
            return;
        }
        match snapshot::keep(&self.streams, &self.service, revision, event_id).await {
            Ok(true) => progress.since_snapshot = 0,
            // With the next word, which is a minute away at most.
            Ok(false) => {}
            Err(error) => {
                progress.since_snapshot = 0;
                tracing::debug!(stream = %self.service.stream, %error, "no snapshot can be kept now; the next is due as always");
            }
        }
    }
}
