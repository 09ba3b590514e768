//! A group, and the ways to it. What it does is in its task, [`actor`].

mod actor;

use super::{GroupError, info::Info, machine::ConsumerId, records::Group};
use actor::{Starting, Streams};
use event_store::{Clock, EventStore, IdSource, ResolvedEvent, Revision};
use std::sync::{Arc, atomic::AtomicUsize};
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

pub(crate) use super::machine::Action;

/// How many commands wait for a group at most; whoever sends more waits.
const MAILBOX: usize = 64;

/// What every group of a node shares.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    /// The store, as the node itself uses it.
    pub(crate) store: Arc<dyn EventStore>,
    /// Tells the time.
    pub(crate) clock: Arc<dyn Clock>,
    /// Makes the ids of the group's own events.
    pub(crate) ids: Arc<dyn IdSource>,
    /// What the events of all groups take, in bytes, and may take.
    pub(crate) held: Arc<AtomicUsize>,
    /// As above.
    pub(crate) most_held: usize,
    /// Whether the node is closing.
    pub(crate) closing: watch::Receiver<bool>,
}

/// An event on its way to a consumer.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// What.
    pub(crate) event: ResolvedEvent,
    /// How often it was sent before.
    pub(crate) retries: u32,
}

/// A consumer that wants to join.
#[derive(Debug)]
pub(crate) struct Joining {
    /// How many events may be under way to it.
    pub(crate) slots: usize,
    /// Whose credentials it came with.
    pub(crate) user: String,
    /// The name of its connection.
    pub(crate) connection: String,
}

/// A consumer's end of its membership.
#[derive(Debug)]
pub(crate) struct Joined {
    /// By what the group knows it.
    pub(crate) id: ConsumerId,
    /// What is sent to it. It ends when the group lets it go.
    pub(crate) deliveries: mpsc::Receiver<Delivery>,
    /// Dropped with the rest, it tells the group that the consumer is gone.
    pub(crate) present: oneshot::Sender<()>,
}

#[derive(Debug)]
enum Command {
    Join(Joining, oneshot::Sender<Result<Joined, GroupError>>),
    Leave(ConsumerId),
    Acknowledge(ConsumerId, Vec<Uuid>),
    Refuse(ConsumerId, Vec<Uuid>, Action, Arc<str>),
    Info(oneshot::Sender<Info>),
    Replay(Option<Revision>, oneshot::Sender<Result<(), GroupError>>),
    Truncate(Option<Revision>, oneshot::Sender<Result<(), GroupError>>),
    Stop(oneshot::Sender<()>),
}

/// A way to a running group.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    mailbox: mpsc::Sender<Command>,
}

impl Handle {
    /// Starts a group.
    pub(crate) fn start(shared: Shared, group: Group) -> Result<Self, GroupError> {
        let (mailbox, commands) = mpsc::channel(MAILBOX);
        let key = group.definition.key();
        let streams = Streams { checkpoints: key.checkpoints()?, parked: key.parked()? };
        let actor = Starting { shared, group, key, streams, commands, mailbox: mailbox.downgrade() };
        tokio::spawn(actor.run());
        Ok(Self { mailbox })
    }

    /// Joins it.
    pub(crate) async fn join(&self, joining: Joining) -> Result<Joined, GroupError> {
        self.ask(|answer| Command::Join(joining, answer)).await?
    }

    /// Leaves it: what was under way goes to others at once.
    pub(crate) async fn leave(&self, id: ConsumerId) {
        // A group that is gone has no consumers.
        let _ = self.mailbox.send(Command::Leave(id)).await;
    }

    /// A consumer worked these off.
    pub(crate) async fn acknowledge(&self, id: ConsumerId, events: Vec<Uuid>) {
        let _ = self.mailbox.send(Command::Acknowledge(id, events)).await;
    }

    /// A consumer did not.
    pub(crate) async fn refuse(&self, id: ConsumerId, events: Vec<Uuid>, action: Action, reason: Arc<str>) {
        let _ = self.mailbox.send(Command::Refuse(id, events, action, reason)).await;
    }

    /// How it is.
    pub(crate) async fn info(&self) -> Result<Info, GroupError> {
        self.ask(Command::Info).await
    }

    /// Sends the parked messages once more, those before `stop_at` or all.
    pub(crate) async fn replay(&self, stop_at: Option<Revision>) -> Result<(), GroupError> {
        self.ask(|answer| Command::Replay(stop_at, answer)).await?
    }

    /// Gives up the parked messages, those before `stop_at` or all.
    pub(crate) async fn truncate(&self, stop_at: Option<Revision>) -> Result<(), GroupError> {
        self.ask(|answer| Command::Truncate(stop_at, answer)).await?
    }

    /// Ends it, and its consumers with it, and waits until it writes no more.
    pub(crate) async fn stop(&self) {
        // One that ended by itself has stopped.
        let _ = self.ask(Command::Stop).await;
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, GroupError> {
        let (answer, answered) = oneshot::channel();
        self.mailbox.send(command(answer)).await.map_err(|_| GroupError::Dropped)?;
        answered.await.map_err(|_| GroupError::Dropped)
    }
}
