//! Subscribing: look for the next event past the cursor; if there is none, say so once and wait for a change.

use super::{Log, Model};
use crate::{
    Clock, Error, Position, ReadFrom, RecordedEvent, Result, Revision, StreamName, SubscribeAll,
    SubscribeStream, Subscription, SubscriptionMessage, TOMBSTONE_REVISION,
};
use futures::{StreamExt, stream};
use std::collections::VecDeque;
use tokio::sync::watch;

/// With a filter, a checkpoint after so many events looked at, unless said otherwise.
const CHECKPOINT_INTERVAL: usize = 1000;

/// A running subscription: the model, and what was looked at so far.
struct Cursor<F> {
    model: Model,
    changed: watch::Receiver<()>,
    /// How many events of the log were looked at.
    seen: usize,
    live: bool,
    /// What to bring before looking on.
    ready: VecDeque<Result<SubscriptionMessage>>,
    ended: bool,
    follow: F,
}

/// What a subscription does with each event of the log, and when it has seen them all.
trait Follow: Send + 'static {
    /// What an event brings.
    fn event(&mut self, log: &Log, event: &RecordedEvent, clock: &dyn Clock, out: Outbox<'_>);
    /// What stands in the log's way before its events are looked at, on a new subscription.
    fn begin(&mut self, log: &Log) -> Result<()>;
    /// What is said when all events were looked at and the reader was not told so yet.
    fn caught_up(&mut self, log: &Log, out: Outbox<'_>);
}

type Outbox<'a> = &'a mut VecDeque<Result<SubscriptionMessage>>;

pub(super) fn stream(model: Model, name: StreamName, options: SubscribeStream) -> Subscription {
    let from = match options.from {
        ReadFrom::End => {
            let last = model.log().last_revision(&name);
            last.map_or(ReadFrom::Start, ReadFrom::Past)
        }
        from => from,
    };
    run(model, 0, FollowStream { name, options: SubscribeStream { from, ..options } })
}

pub(super) fn all(model: Model, options: SubscribeAll) -> Subscription {
    let seen = match options.from {
        ReadFrom::Start => 0,
        ReadFrom::End => model.log().events.len(),
        ReadFrom::At(at) => model.log().events.partition_point(|e| e.position < at),
        ReadFrom::Past(past) => model.log().events.partition_point(|e| e.position <= past),
    };
    run(model, seen, FollowAll { options, since_checkpoint: 0, checkpoint: None })
}

fn run<F: Follow>(model: Model, seen: usize, mut follow: F) -> Subscription {
    let changed = model.changed.subscribe();
    let refused = follow.begin(&model.log()).err();
    let ready: VecDeque<_> = refused.map(Err).into_iter().collect();
    let cursor = Cursor { changed, seen, live: false, ready, ended: false, follow, model };
    stream::unfold(cursor, |mut cursor| async move {
        let message = cursor.next().await?;
        Some((message, cursor))
    })
    .boxed()
}

impl<F: Follow> Cursor<F> {
    async fn next(&mut self) -> Option<Result<SubscriptionMessage>> {
        loop {
            if self.ended {
                return None;
            }
            if let Some(message) = self.ready.pop_front() {
                self.ended = message.is_err();
                return Some(message);
            }
            self.changed.borrow_and_update();
            self.look();
            if self.ready.is_empty() && self.changed.changed().await.is_err() {
                self.ready.push_back(Err(Error::Closed));
            }
        }
    }

    /// Looks at the events that were not looked at, until one brings something.
    fn look(&mut self) {
        if self.model.is_closed() {
            self.ready.push_back(Err(Error::Closed));
            return;
        }
        let log = self.model.log();
        while let Some(event) = log.events.get(self.seen) {
            self.seen += 1;
            self.follow.event(&log, event, &*self.model.clock, &mut self.ready);
            if !self.ready.is_empty() {
                return;
            }
        }
        if !self.live {
            self.live = true;
            self.follow.caught_up(&log, &mut self.ready);
        }
    }
}

struct FollowStream {
    name: StreamName,
    options: SubscribeStream,
}

impl Follow for FollowStream {
    fn begin(&mut self, log: &Log) -> Result<()> {
        if log.is_tombstoned(&self.name) { Err(Error::StreamDeleted(self.name.clone())) } else { Ok(()) }
    }

    fn event(&mut self, log: &Log, event: &RecordedEvent, clock: &dyn Clock, out: Outbox<'_>) {
        let Some(event) = &log.at(&self.name, event) else { return };
        if event.revision == TOMBSTONE_REVISION {
            out.push_back(Ok(SubscriptionMessage::Event(event.clone().into())));
            out.push_back(Err(Error::StreamDeleted(self.name.clone())));
            return;
        }
        let wanted = match self.options.from {
            ReadFrom::At(at) => event.revision >= at,
            ReadFrom::Past(past) => event.revision > past,
            ReadFrom::Start | ReadFrom::End => true,
        };
        let now = clock.now();
        let readable = log.readable(&self.name, now).is_ok_and(|events| events.contains(event));
        if wanted && readable {
            let resolved = log.resolve(event, self.options.resolve_links, now);
            out.push_back(Ok(SubscriptionMessage::Event(resolved)));
        }
    }

    fn caught_up(&mut self, log: &Log, out: Outbox<'_>) {
        let revision: Option<Revision> = log.last_revision(&self.name);
        out.push_back(Ok(SubscriptionMessage::CaughtUp { revision, position: None }));
    }
}

struct FollowAll {
    options: SubscribeAll,
    since_checkpoint: usize,
    /// The last event looked at that no checkpoint covers.
    checkpoint: Option<Position>,
}

impl FollowAll {
    fn bring_checkpoint(&mut self, out: Outbox<'_>) {
        self.since_checkpoint = 0;
        if let Some(position) = self.checkpoint.take() {
            out.push_back(Ok(SubscriptionMessage::Checkpoint(position)));
        }
    }
}

impl Follow for FollowAll {
    fn begin(&mut self, _: &Log) -> Result<()> {
        Ok(())
    }

    fn event(&mut self, log: &Log, event: &RecordedEvent, clock: &dyn Clock, out: Outbox<'_>) {
        let Some(filter) = &self.options.filter else {
            let resolved = log.resolve(event, self.options.resolve_links, clock.now());
            out.push_back(Ok(SubscriptionMessage::Event(resolved)));
            return;
        };
        if filter.matches(event) {
            let resolved = log.resolve(event, self.options.resolve_links, clock.now());
            out.push_back(Ok(SubscriptionMessage::Event(resolved)));
        }
        self.checkpoint = Some(event.position);
        self.since_checkpoint += 1;
        let interval = self.options.checkpoint_interval.map_or(CHECKPOINT_INTERVAL, |n| n.get() as usize);
        if self.since_checkpoint >= interval {
            self.bring_checkpoint(out);
        }
    }

    fn caught_up(&mut self, log: &Log, out: Outbox<'_>) {
        if self.options.filter.is_some() {
            self.bring_checkpoint(out);
        }
        let position = log.events.last().map(|e| e.position);
        out.push_back(Ok(SubscriptionMessage::CaughtUp { revision: None, position }));
    }
}
