//! A group's task: it feeds the [`Machine`], and does what that says. Consumers are never waited for, so that nothing can
//! hold it up.

mod keep;
mod start;

use super::{Command, Delivery, Joined, Joining, Shared};
use crate::persistent::{
    GroupError, GroupKey, Place, Settings,
    feed::Fed,
    info::{ConsumerInfo, Info, Latencies, Rate},
    machine::{ConsumerId, Effect, Machine},
    parked::Parked,
    records::{self, Group},
};
use event_store::NewEvent;
use futures::{StreamExt, future::BoxFuture, stream::BoxStream};
use keep::Done;
use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::sync::{mpsc, oneshot, watch};

pub(super) use start::{Starting, Streams};

/// How often what has no event of its own is looked at: a consumer that did not take, memory that others hold.
const LOOK: Duration = Duration::from_secs(1);
/// How long after a failure the store is asked again.
const RETRY: Duration = Duration::from_secs(1);
/// What the events of one group take at most, in bytes, roughly; the next one is read below it.
const MOST_HELD: usize = 16 << 20;

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
    settings: Arc<Settings>,
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
        while !self.to_park.is_empty() {
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
                measurements: consumer.latencies.as_ref().map(Latencies::summary).unwrap_or_default(),
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
