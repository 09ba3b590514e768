//! Following `$all`: what has come in while a batch was written is the next batch. So batches are single events when
//! little happens, and as large as memory allows when there is much to catch up with.

use super::{
    CatalogueError, Result,
    database::Database,
    left_out,
    schema::Checkpoint,
    writer::{Command, LARGE_BATCH, Writer},
};
use event_store::{
    Error, EventStore, Position, ReadAll, ReadFrom, RecordedEvent, SubscribeAll, Subscription,
    SubscriptionMessage,
};
use futures::{FutureExt as _, StreamExt as _};
use std::{sync::Arc, time::Duration};
use tokio::sync::{oneshot, watch};

/// A batch ends at so many events, or bytes of them.
const BATCH_EVENTS: usize = 32 * 1024;
const BATCH_BYTES: usize = 16 << 20;

/// How long to wait before trying again, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// How far the catalogue has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Reached {
    pub(super) position: Option<Position>,
    pub(super) events: u64,
    pub(super) system_events: u64,
}

/// What follows the store.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) store: Arc<dyn EventStore>,
    pub(super) database: Arc<Database>,
    pub(super) writer: Writer,
    pub(super) reached: watch::Sender<Reached>,
    pub(super) stop: watch::Receiver<bool>,
}

impl Follower {
    /// Follows until it is told to stop, whatever happens to the store or the database meanwhile.
    pub(super) async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        let mut stop = self.stop.clone();
        loop {
            let before = self.reached.borrow().events;
            let ended = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                ended = self.follow() => ended,
            };
            match ended {
                Ok(()) => {}
                Err(CatalogueError::Store(Error::Closed) | CatalogueError::Stopped) => return,
                Err(error) => {
                    if matches!(error, CatalogueError::Damaged(_)) {
                        // What was reached is gone with the file: nobody may take it for fresh.
                        self.publish(&Checkpoint::default());
                    }
                    tracing::warn!(%error, "the stream catalogue cannot follow the store, and tries again")
                }
            }
            pause = if self.reached.borrow().events == before {
                (pause * 2).min(LAST_PAUSE)
            } else {
                FIRST_PAUSE
            };
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Follows from the checkpoint until something breaks.
    async fn follow(&mut self) -> Result<()> {
        let id = self.store.id().await?;
        let mut checkpoint = self.writer.ask(Command::Begin(id)).await?;
        if !self.is_known(&checkpoint).await? {
            tracing::warn!("the store does not hold what the stream catalogue has seen: it is rebuilt");
            self.writer.ask(Command::Reset).await?;
            checkpoint = self.writer.ask(Command::Begin(id)).await?;
        }
        self.publish(&checkpoint);
        let from = checkpoint.position().map_or(ReadFrom::Start, ReadFrom::Past);
        let filter = left_out::filter(&*self.store)?;
        let subscription =
            self.store.subscribe_all(SubscribeAll { from, filter, ..SubscribeAll::default() }).await?;
        self.take(subscription).await
    }

    /// Whether the store holds the event up to which the catalogue has come: one that was restored from an older backup
    /// has the same id and another past.
    async fn is_known(&self, checkpoint: &Checkpoint) -> Result<bool> {
        if checkpoint.looked_at.is_some() && self.store.last_position().await? < checkpoint.looked_at {
            return Ok(false);
        }
        let Some((position, id)) = checkpoint.last else { return Ok(true) };
        let page = self.store.read_all(ReadAll::forwards(1).from(ReadFrom::At(position))).await?;
        let found = page.events.first().and_then(|event| event.original());
        Ok(found.is_some_and(|event| event.position == position && event.id == id))
    }

    async fn take(&self, mut subscription: Subscription) -> Result<()> {
        let mut batch = Batch::default();
        let mut writing: Option<oneshot::Receiver<Result<Checkpoint>>> = None;
        let mut is_catching_up = false;
        loop {
            let done = async {
                match writing.as_mut() {
                    Some(answer) => answer.await.unwrap_or(Err(CatalogueError::Stopped)),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                done = done => {
                    writing = None;
                    self.publish(&done?);
                }
                () = self.database.damaged.notified() => {
                    tracing::warn!("the stream catalogue is damaged and is rebuilt");
                    self.publish(&Checkpoint::default());
                    self.writer.ask(Command::Reset).await?;
                    return Ok(());
                }
                message = subscription.next(), if batch.has_room() => {
                    batch.add(message)?;
                    while batch.has_room() && let Some(message) = subscription.next().now_or_never() {
                        batch.add(message)?;
                    }
                }
            }
            if writing.is_some() {
                continue;
            }
            let reached = self.reached.borrow().position;
            if !batch.events.is_empty() {
                is_catching_up |= batch.events.len() >= LARGE_BATCH;
                self.measure(batch.events.len(), is_catching_up).await;
                batch.bytes = 0;
                let events = std::mem::take(&mut batch.events);
                writing = Some(self.writer.send(Command::Apply(events)).await);
            } else if let Some(position) = batch.looked_at.take().filter(|at| reached < Some(*at)) {
                writing = Some(self.writer.send(Command::LookedAt(position)).await);
            } else {
                self.measure(0, false).await;
                if is_catching_up {
                    self.writer.ask(Command::Rest).await?;
                    is_catching_up = false;
                }
            }
        }
    }

    /// Says how far behind the catalogue is: what is in hand, or, while it catches up, what the store says that it has.
    async fn measure(&self, in_hand: usize, is_catching_up: bool) {
        let mut lag = in_hand as u64;
        if is_catching_up
            && self.store.capabilities().counts
            && let Ok(held) = self.store.statistics().await
        {
            lag = held.events.saturating_sub(self.reached.borrow().events);
        }
        metrics::gauge!("catalogue_lag_events").set(lag as f64);
    }

    fn publish(&self, checkpoint: &Checkpoint) {
        let reached = Reached {
            position: checkpoint.position(),
            events: checkpoint.events,
            system_events: checkpoint.system_events,
        };
        let before = self.reached.send_replace(reached);
        if reached.events > before.events {
            metrics::counter!("catalogue_events_total").increment(reached.events - before.events);
            metrics::counter!("catalogue_batches_total").increment(1);
        }
    }
}

/// What came and is not written yet.
#[derive(Default)]
struct Batch {
    events: Vec<RecordedEvent>,
    bytes: usize,
    /// Up to where everything was looked at, said after all of these events.
    looked_at: Option<Position>,
}

impl Batch {
    fn has_room(&self) -> bool {
        self.events.len() < BATCH_EVENTS && self.bytes < BATCH_BYTES
    }

    fn add(&mut self, message: Option<event_store::Result<SubscriptionMessage>>) -> Result<()> {
        match message.unwrap_or(Err(Error::Closed))? {
            SubscriptionMessage::Event(event) => {
                if let Some(event) = event.link.or(event.event) {
                    self.bytes += event.size();
                    self.events.push(event);
                }
            }
            SubscriptionMessage::Checkpoint(position) => self.looked_at = Some(position),
            SubscriptionMessage::CaughtUp { .. } | SubscriptionMessage::FellBehind => {}
        }
        Ok(())
    }
}
