//! A group's task: it feeds the [`Machine`], and does what that says. One write or read of its own is under way at a time,
//! and consumers are never waited for, so that nothing can hold it up.

use super::{
    GroupError, GroupKey, Place,
    feed::{self, Fed, From},
    info::{ConsumerInfo, Info, Rate},
    machine::{ConsumerId, Effect, Machine},
    parked::Parked,
    records::{self, Group},
};
use event_store::{
    Clock, Error, EventStore, ExpectedState, IdSource, NewEvent, ReadFrom, ReadStream, ResolvedEvent,
    Revision, StreamName, StreamPage,
};
use futures::{StreamExt, future::BoxFuture, stream::BoxStream};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

pub(crate) use super::machine::Action;

/// How many commands wait for a group at most; whoever sends more waits.
const MAILBOX: usize = 64;
/// How many messages are parked by one write at most.
const PARK_AT_ONCE: usize = 200;
/// How often what has no event of its own is looked at: a consumer that did not take, memory that others hold.
const LOOK: Duration = Duration::from_secs(1);
/// How long after a failure the store is asked again.
const RETRY: Duration = Duration::from_secs(1);
/// What the events of one group take at most, in bytes, roughly; the next one is read below it.
const MOST_HELD: usize = 16 << 20;

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

#[derive(Debug)]
struct Streams {
    checkpoints: StreamName,
    parked: StreamName,
}

/// A group that does not know yet where it stands.
struct Starting {
    shared: Shared,
    group: Group,
    key: GroupKey,
    streams: Streams,
    commands: mpsc::Receiver<Command>,
    mailbox: mpsc::WeakSender<Command>,
}

/// What was found when a group started.
struct Found {
    checkpoint: Option<Place>,
    /// Whether the stream of checkpoints has its metadata.
    configured: bool,
    parked: Parked,
}

impl Starting {
    async fn run(self) {
        let mut closing = self.shared.closing.clone();
        let found = tokio::select! {
            found = self.find() => found,
            _ = closing.wait_for(|closing| *closing) => return,
        };
        let Self { shared, group, key, streams, commands, mailbox } = self;
        let definition = &group.definition;
        let from = match (found.checkpoint, group.live_from) {
            (Some(place), _) | (None, Some(Some(place))) => From::After(place),
            (None, Some(None)) => From::Start(super::Start::Beginning),
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

/// What a write or read of the group's own came to.
enum Done {
    Parked(Vec<u64>, Result<Option<Revision>, Error>),
    Checkpoint(Result<(), Error>),
    Truncated(Revision, Result<(), Error>),
    Replay(Result<StreamPage, Error>),
}

/// One of the group's consumers.
#[derive(Debug)]
struct Member {
    deliveries: mpsc::Sender<Delivery>,
    user: String,
    connection: String,
    /// What it was sent when that was last asked for.
    asked: u64,
}

struct Actor {
    shared: Shared,
    group: Group,
    key: GroupKey,
    settings: Arc<super::Settings>,
    streams: Streams,
    machine: Machine,
    parked: Parked,
    /// Whether the stream of checkpoints has its metadata.
    configured: bool,
    /// Nothing once the source is gone.
    feed: Option<BoxStream<'static, Fed>>,
    members: HashMap<ConsumerId, Member>,
    next_consumer: ConsumerId,
    to_park: Vec<(u64, NewEvent)>,
    to_checkpoint: Option<Place>,
    io: Option<BoxFuture<'static, Done>>,
    /// After a failure nothing of its own is written or read before this moment.
    not_before: Duration,
    /// What it has counted among what all groups hold.
    counted: usize,
    /// What was sent when that was last asked for, and when.
    asked: (u64, Duration),
    mailbox: mpsc::WeakSender<Command>,
}

impl Actor {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>, mut closing: watch::Receiver<bool>) {
        let stopped = loop {
            self.work();
            let wake = self.wake();
            let wants = self.wants();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Stop(stopped)) => break Some(stopped),
                    Some(command) => self.handle(command),
                    None => break None,
                },
                done = wait_for(&mut self.io) => {
                    self.io = None;
                    self.done(done);
                }
                fed = next_of(&mut self.feed), if wants => self.fed(fed),
                () = tokio::time::sleep(wake.unwrap_or_default()), if wake.is_some() => {
                    for id in self.machine.stalled().collect::<Vec<_>>() {
                        if self.members.get(&id).is_some_and(|m| m.deliveries.capacity() > 0) {
                            self.machine.resumed(id);
                        }
                    }
                }
                _ = closing.wait_for(|closing| *closing) => break None,
            }
        };
        self.members.clear();
        self.finish().await;
        if let Some(stopped) = stopped {
            // Whoever asked may be gone.
            let _ = stopped.send(());
        }
    }

    /// Lets what is being written come to its end, and leaves a checkpoint, so that little comes twice.
    async fn finish(&mut self) {
        if let Some(io) = self.io.take() {
            let done = io.await;
            self.done(done);
        }
        if !self.to_park.is_empty() {
            let done = self.write_parked().await;
            self.done(done);
        }
        if let Some(place) = self.machine.ledger().rest() {
            let done = self.write_checkpoint(place).await;
            self.done(done);
        }
        self.shared.held.fetch_sub(self.counted, Ordering::Relaxed);
        self.counted = 0;
    }

    fn wants(&self) -> bool {
        let full = self.shared.held.load(Ordering::Relaxed) >= self.shared.most_held;
        self.feed.is_some() && self.machine.wants() && !(full && self.machine.held() > 0)
    }

    /// How long to sleep at most.
    fn wake(&self) -> Option<Duration> {
        let now = self.shared.clock.monotonic();
        let due = self.machine.next_wake().into_iter();
        let retry = Some(self.not_before).filter(|at| *at > now && self.io.is_none());
        let next = due.chain(retry).min().map(|at| at.saturating_sub(now).min(LOOK));
        let look = self.machine.stalled().next().is_some()
            || self.shared.held.load(Ordering::Relaxed) >= self.shared.most_held && self.machine.wants();
        next.or_else(|| look.then_some(LOOK))
    }

    /// Does what can be done now without waiting.
    fn work(&mut self) {
        loop {
            let now = self.shared.clock.monotonic();
            let effects = self.machine.advance(now);
            if effects.is_empty() {
                break;
            }
            for effect in effects {
                self.apply(effect);
            }
        }
        let held = self.machine.held();
        if held > self.counted {
            self.shared.held.fetch_add(held - self.counted, Ordering::Relaxed);
        } else {
            self.shared.held.fetch_sub(self.counted - held, Ordering::Relaxed);
        }
        self.counted = held;
        self.begin_io();
    }

    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Send { consumer, number, event, retries } => {
                let delivery = Delivery { event, retries };
                let Some(member) = self.members.get(&consumer) else { return self.leave(consumer) };
                match member.deliveries.try_send(delivery) {
                    Ok(()) => {}
                    Err(mpsc::error::TrySendError::Full(_)) => self.machine.undelivered(number),
                    Err(mpsc::error::TrySendError::Closed(_)) => self.leave(consumer),
                }
            }
            Effect::Park { number, event, reason } => {
                let id = self.shared.ids.next_id();
                let now = self.shared.clock.now();
                self.to_park.push((number, records::parked(id, &event, &reason, now)));
            }
            Effect::Checkpoint(place) => self.to_checkpoint = Some(place),
        }
    }

    fn handle(&mut self, command: Command) {
        let now = self.shared.clock.monotonic();
        match command {
            Command::Join(joining, answer) => {
                // Whoever gave up waiting is noticed by its closed channel.
                let _ = answer.send(self.join(joining));
            }
            Command::Leave(id) => self.leave(id),
            Command::Acknowledge(id, events) => self.machine.acknowledged(id, &events, now),
            Command::Refuse(id, events, action, reason) => {
                self.machine.refused(id, &events, action, &reason, now);
            }
            Command::Info(answer) => {
                let _ = answer.send(self.info(now));
            }
            Command::Replay(stop_at, answer) => {
                let _ = answer.send(self.parked.replay(stop_at));
            }
            Command::Truncate(stop_at, answer) => self.parked.truncate(stop_at, answer),
            Command::Stop(_) => {}
        }
    }

    fn join(&mut self, joining: Joining) -> Result<Joined, GroupError> {
        let most = self.settings.max_subscriber_count as usize;
        if most > 0 && self.members.len() >= most {
            return Err(GroupError::Full);
        }
        if self.feed.is_none() {
            return Err(GroupError::Dropped);
        }
        self.next_consumer += 1;
        let id = self.next_consumer;
        let (sender, deliveries) = mpsc::channel(joining.slots.max(1));
        // One that goes away is noticed even if there is nothing to send to it.
        let ((present, gone), mailbox) = (oneshot::channel(), self.mailbox.clone());
        tokio::spawn(async move {
            // It is never sent: it is dropped.
            let _ = gone.await;
            if let Some(mailbox) = mailbox.upgrade() {
                let _ = mailbox.send(Command::Leave(id)).await;
            }
        });
        let Joining { slots, user, connection } = joining;
        self.members.insert(id, Member { deliveries: sender, user, connection, asked: 0 });
        self.machine.joined(id, slots.max(1));
        Ok(Joined { id, deliveries, present })
    }

    fn leave(&mut self, id: ConsumerId) {
        self.members.remove(&id);
        self.machine.left(id);
    }

    fn fed(&mut self, fed: Option<Fed>) {
        match fed {
            Some(Fed::Event(event, place)) => self.machine.arrived(event, place),
            Some(Fed::Skipped(place, count)) => self.machine.skipped(place, count),
            Some(Fed::Live) => self.machine.set_live(true),
            Some(Fed::Behind) => self.machine.set_live(false),
            Some(Fed::Gone(error)) => {
                tracing::error!(%error, group = %self.key, "a persistent subscription lost what it follows: its consumers are dropped");
                self.feed = None;
                for id in self.members.keys().copied().collect::<Vec<_>>() {
                    self.leave(id);
                }
            }
            None => self.feed = None,
        }
    }

    fn begin_io(&mut self) {
        if self.io.is_some() || self.shared.clock.monotonic() < self.not_before {
            return;
        }
        if !self.to_park.is_empty() {
            self.io = Some(self.write_parked());
        } else if let Some(place) = self.to_checkpoint.take() {
            self.io = Some(self.write_checkpoint(place));
        } else if let Some(before) = self.parked.to_truncate(self.machine.first_replayed()) {
            self.io = Some(self.write_truncation(before));
        } else if let Some((from, limit)) = self.parked.to_read(self.machine.room_for_replay()) {
            self.io = Some(self.read_parked(from, limit));
        }
    }

    fn write_parked(&mut self) -> BoxFuture<'static, Done> {
        let several = self.to_park.len().min(PARK_AT_ONCE);
        let (numbers, events) = self.to_park.drain(..several).unzip();
        let (store, stream) = (Arc::clone(&self.shared.store), self.streams.parked.clone());
        Box::pin(async move {
            let appended = store.append(&stream, ExpectedState::Any, events).await;
            Done::Parked(numbers, appended.map(|a| a.last_revision))
        })
    }

    fn write_checkpoint(&self, place: Place) -> BoxFuture<'static, Done> {
        let (store, stream) = (Arc::clone(&self.shared.store), self.streams.checkpoints.clone());
        let (id, metadata_id) = (self.shared.ids.next_id(), self.shared.ids.next_id());
        let configured = self.configured;
        Box::pin(async move {
            let written = async {
                if !configured {
                    let metadata = records::checkpoints_metadata();
                    store.set_metadata(&stream, ExpectedState::Any, &metadata, metadata_id).await?;
                }
                let event = records::checkpoint(id, place, store.id().await?);
                store.append(&stream, ExpectedState::Any, vec![event]).await
            };
            Done::Checkpoint(written.await.map(drop))
        })
    }

    fn write_truncation(&self, before: Revision) -> BoxFuture<'static, Done> {
        let (store, stream) = (Arc::clone(&self.shared.store), self.streams.parked.clone());
        let id = self.shared.ids.next_id();
        Box::pin(async move {
            let metadata = records::parked_metadata(before);
            let written = store.set_metadata(&stream, ExpectedState::Any, &metadata, id).await;
            Done::Truncated(before, written.map(drop))
        })
    }

    fn read_parked(&self, from: Revision, limit: usize) -> BoxFuture<'static, Done> {
        let (store, stream) = (Arc::clone(&self.shared.store), self.streams.parked.clone());
        let read = ReadStream::forwards(limit).from(ReadFrom::At(from));
        let read = ReadStream { resolve_links: true, max_bytes: MOST_HELD, ..read };
        Box::pin(async move { Done::Replay(store.read_stream(&stream, read).await) })
    }

    fn done(&mut self, done: Done) {
        let failed = match done {
            Done::Parked(numbers, Ok(last)) => {
                if let Some(last) = last {
                    self.parked.written(last, numbers.len() as u64);
                }
                for number in numbers {
                    self.machine.parked(number);
                }
                None
            }
            Done::Parked(numbers, Err(error)) => {
                for number in numbers {
                    self.machine.not_parked(number);
                }
                Some(error)
            }
            Done::Checkpoint(result) => {
                self.configured |= result.is_ok();
                self.machine.wrote_checkpoint(result.is_ok());
                result.err()
            }
            Done::Truncated(before, result) => {
                self.parked.truncated(before, result.clone().map_err(GroupError::Store));
                result.err()
            }
            Done::Replay(Ok(page)) => {
                let end = self.parked.replay_end();
                let next = page.next;
                for event in page.events {
                    let Some(revision) = event.original().map(|e| e.revision) else { continue };
                    // What a message pointed to may be gone; then there is nothing to send.
                    if revision < end && event.event.is_some() {
                        self.machine.replayed(event, revision);
                    }
                }
                self.parked.read(next);
                None
            }
            // It was deleted by hand: there is nothing to replay.
            Done::Replay(Err(Error::StreamNotFound(_) | Error::StreamDeleted(_))) => {
                self.parked.read(None);
                None
            }
            Done::Replay(Err(error)) => Some(error),
        };
        if let Some(error) = failed {
            tracing::warn!(%error, group = %self.key, "a persistent subscription could not keep its state: it is tried again");
            self.not_before = self.shared.clock.monotonic() + RETRY;
        }
    }

    fn info(&mut self, now: Duration) -> Info {
        let elapsed = now.saturating_sub(self.asked.1);
        let sent = self.machine.sent();
        let rate = Rate::since(self.asked.0, sent, elapsed);
        self.asked = (sent, now);
        let mut consumers = Vec::with_capacity(self.members.len());
        for (id, consumer) in self.machine.consumers() {
            let Some(member) = self.members.get_mut(id) else { continue };
            consumers.push(ConsumerInfo {
                user: member.user.clone(),
                connection: member.connection.clone(),
                rate: Rate::since(member.asked, consumer.sent, elapsed),
                free: consumer.slots.saturating_sub(consumer.under_way.len()),
                under_way: consumer.under_way.len(),
                measurements: consumer
                    .latencies
                    .as_ref()
                    .map(super::info::Latencies::summary)
                    .unwrap_or_default(),
            });
            member.asked = consumer.sent;
        }
        let (retry_buffer, waiting) = self.machine.count_waiting();
        let live = self.machine.is_live();
        let text = |place: Option<Place>| place.map(|p| p.to_string()).unwrap_or_default();
        // KurrentDB's flags, in their order.
        let status =
            [(!live, "Behind"), (self.parked.is_replaying(), "ReplayingParkedMessages"), (live, "Live")];
        let status: Vec<&str> = status.into_iter().filter(|(is, _)| *is).map(|(_, name)| name).collect();
        Info {
            source: self.group.definition.source.clone(),
            group: self.group.definition.group.clone(),
            start: self.group.definition.start,
            settings: Arc::clone(&self.settings),
            status: status.join(", "),
            consumers,
            rate,
            checkpoint: text(self.machine.ledger().written()),
            last_known: text(self.machine.last_known()),
            read_buffer: if live { 0 } else { waiting },
            live_buffer: if live { waiting } else { 0 },
            retry_buffer,
            under_way: self.machine.count_under_way(),
            parked: self.parked.count(),
        }
    }
}

async fn wait_for(io: &mut Option<BoxFuture<'static, Done>>) -> Done {
    match io {
        Some(io) => io.await,
        None => std::future::pending().await,
    }
}

async fn next_of(feed: &mut Option<BoxStream<'static, Fed>>) -> Option<Fed> {
    match feed {
        Some(feed) => feed.next().await,
        None => std::future::pending().await,
    }
}
