//! Following what is written: law 17. A subscription reads pages until it has everything, then waits to be told of more.

use crate::{
    key::{Kind, StreamRef},
    read::Ends,
    shared::{Following, Shared, Signal},
};
use event_store::{
    Error, Position, ReadAll, ReadFrom, ReadStream, ResolvedEvent, Result, Revision, SubscribeAll,
    SubscribeStream, Subscription, SubscriptionMessage, TOMBSTONE_REVISION,
};
use futures::{StreamExt, stream};
use std::{collections::VecDeque, sync::Arc};
use tokio::sync::watch;

/// A page of a subscription. A reader that stops holds one: with thousands of them its size is what they cost, and with
/// events of a few hundred bytes their number ends a page long before.
const PAGE_EVENTS: usize = 512;
const PAGE_BYTES: usize = 256 << 10;
/// With a filter, a checkpoint after so many events looked at, unless said otherwise.
const CHECKPOINT_INTERVAL: u64 = 1000;

type Message = Result<SubscriptionMessage>;

/// One that follows something: it looks for more when all it had was taken.
trait Follow: Send + 'static {
    /// Brings what is there now; nothing if that is nothing.
    fn look(&mut self) -> impl Future<Output = Result<VecDeque<Message>>> + Send;
    /// Waits until there may be more.
    fn wait(&mut self) -> impl Future<Output = ()> + Send;
}

struct Running<F> {
    follow: F,
    ready: VecDeque<Message>,
    ended: bool,
}

fn run<F: Follow>(follow: F) -> Subscription {
    let running = Running { follow, ready: VecDeque::new(), ended: false };
    stream::unfold(running, |mut running| async move {
        loop {
            if running.ended {
                return None;
            }
            if let Some(message) = running.ready.pop_front() {
                running.ended = message.is_err();
                return Some((message, running));
            }
            match running.follow.look().await {
                Ok(ready) if ready.is_empty() => running.follow.wait().await,
                Ok(ready) => running.ready = ready,
                Err(error) => running.ready.push_back(Err(error)),
            }
        }
    })
    .boxed()
}

struct FollowAll {
    shared: Arc<Shared>,
    signal: watch::Receiver<Signal>,
    options: SubscribeAll,
    /// The position to look at next.
    next: u64,
    /// The first position looked at that no checkpoint covers.
    uncovered: u64,
    live: bool,
}

pub(crate) fn all(shared: Arc<Shared>, options: SubscribeAll) -> Subscription {
    let next = match options.from {
        ReadFrom::Start => 0,
        ReadFrom::End => shared.end(),
        ReadFrom::At(at) => at.raw(),
        ReadFrom::Past(past) => past.raw().saturating_add(1),
    };
    let signal = shared.signal.subscribe();
    run(FollowAll { shared, signal, options, next, uncovered: next, live: false })
}

impl Follow for FollowAll {
    async fn look(&mut self) -> Result<VecDeque<Message>> {
        let Signal { end, closed } = *self.signal.borrow_and_update();
        if closed {
            return Err(Error::Closed);
        }
        let mut ready = VecDeque::new();
        if self.next < end {
            let read = ReadAll {
                from: ReadFrom::At(Position::from_raw(self.next)),
                max_bytes: PAGE_BYTES,
                resolve_links: self.options.resolve_links,
                filter: self.options.filter.clone(),
                ..ReadAll::forwards(PAGE_EVENTS)
            };
            let (page, end) = self
                .shared
                .blocking(move |shared| {
                    // Taken first: the page reaches at least as far.
                    let end = shared.end();
                    Ok((shared.read_all(&read)?, end))
                })
                .await?;
            let last = page.events.last().and_then(ResolvedEvent::original).map(|e| e.position.raw() + 1);
            let next = page.next.map_or_else(|| last.unwrap_or(end).max(end), Position::raw);
            for event in page.events {
                if let Some(original) = event.original() {
                    self.checkpoints_before(original.position.raw(), &mut ready);
                }
                ready.push_back(Ok(SubscriptionMessage::Event(event)));
            }
            self.checkpoints_before(next, &mut ready);
            self.next = next;
        }
        let now = self.shared.end();
        if !self.live && self.next >= now {
            self.live = true;
            if self.options.filter.is_some() && self.uncovered < self.next {
                self.bring_checkpoint(self.next, &mut ready);
            }
            let position = now.checked_sub(1).map(Position::from_raw);
            ready.push_back(Ok(SubscriptionMessage::CaughtUp { revision: None, position }));
        }
        Ok(ready)
    }

    async fn wait(&mut self) {
        // The sender lives as long as the store, which this keeps alive.
        let _ = self.signal.changed().await;
    }
}

impl FollowAll {
    /// Checkpoints that are due when everything below a position was looked at.
    fn checkpoints_before(&mut self, position: u64, ready: &mut VecDeque<Message>) {
        if self.options.filter.is_none() {
            return;
        }
        let interval = self.options.checkpoint_interval.map_or(CHECKPOINT_INTERVAL, |n| u64::from(n.get()));
        while self.uncovered + interval <= position {
            self.bring_checkpoint(self.uncovered + interval, ready);
        }
    }

    fn bring_checkpoint(&mut self, next: u64, ready: &mut VecDeque<Message>) {
        self.uncovered = next;
        ready.push_back(Ok(SubscriptionMessage::Checkpoint(Position::from_raw(next - 1))));
    }
}

struct FollowStream {
    shared: Arc<Shared>,
    following: Following,
    stream: StreamRef,
    resolve_links: bool,
    /// The revision to look at next.
    next: Revision,
    live: bool,
    /// It was tombstoned before it was followed.
    dead: bool,
}

pub(crate) async fn stream(
    shared: Arc<Shared>,
    stream: StreamRef,
    options: SubscribeStream,
) -> Result<Subscription> {
    let following = shared.followers.follow(stream.base);
    let ends = {
        let stream = stream.clone();
        shared.blocking(move |shared| shared.ends(&stream)).await?
    };
    let next = match options.from {
        ReadFrom::Start => 0,
        ReadFrom::End => ends.last.map_or(0, |last| last + 1),
        ReadFrom::At(at) => at,
        ReadFrom::Past(past) => past.saturating_add(1),
    };
    let resolve_links = options.resolve_links;
    let dead = ends.tombstoned;
    Ok(run(FollowStream { shared, following, stream, resolve_links, next, live: false, dead }))
}

/// What was found when a stream was looked at.
struct Found {
    events: Vec<ResolvedEvent>,
    /// The stream's last event when it was looked at.
    last: Option<Revision>,
    tombstoned: bool,
}

impl Follow for FollowStream {
    async fn look(&mut self) -> Result<VecDeque<Message>> {
        self.following.changed.borrow_and_update();
        self.shared.check_open()?;
        if self.dead {
            return Err(Error::StreamDeleted(self.stream.name.clone()));
        }
        let (stream, next, live, resolve_links) =
            (self.stream.clone(), self.next, self.live, self.resolve_links);
        let found =
            self.shared.blocking(move |shared| look(shared, &stream, next, live, resolve_links)).await?;
        let mut ready = VecDeque::new();
        for event in found.events {
            let revision = event.original().map_or(self.next, |e| e.revision);
            self.next = revision.saturating_add(1);
            ready.push_back(Ok(SubscriptionMessage::Event(event)));
        }
        if found.tombstoned {
            let brought = self.next > TOMBSTONE_REVISION || self.stream.kind == Kind::Meta;
            if brought && (ready.is_empty() || self.next > TOMBSTONE_REVISION) {
                ready.push_back(Err(Error::StreamDeleted(self.stream.name.clone())));
            }
            return Ok(ready);
        }
        let behind = !ready.is_empty() && found.last.is_some_and(|last| self.next <= last);
        if !behind && !self.live {
            self.live = true;
            self.next = self.next.max(found.last.map_or(0, |last| last + 1));
            let caught_up = SubscriptionMessage::CaughtUp { revision: found.last, position: None };
            ready.push_back(Ok(caught_up));
        }
        Ok(ready)
    }

    async fn wait(&mut self) {
        // The sender is there as long as `following` is.
        let _ = self.following.changed.changed().await;
    }
}

/// Catching up gives what can be read. What was written since then is given even if it was truncated before the reader
/// came to it: each event comes exactly once.
fn look(
    shared: &Shared,
    stream: &StreamRef,
    next: Revision,
    live: bool,
    resolve_links: bool,
) -> Result<Found> {
    let Ends { last, tombstoned, end } = shared.ends(stream)?;
    let mut found = Found { events: Vec::new(), last, tombstoned };
    if tombstoned || live {
        found.events = shared.raw_events(stream, next, end, (PAGE_EVENTS, PAGE_BYTES), resolve_links)?;
        return Ok(found);
    }
    let read = ReadStream { max_bytes: PAGE_BYTES, resolve_links, ..ReadStream::forwards(PAGE_EVENTS) };
    match shared.read_stream(stream, &read.from(ReadFrom::At(next))) {
        Ok(page) => {
            found.events = page.events;
            found.last = Some(page.last_revision);
            Ok(found)
        }
        Err(Error::StreamNotFound(_)) => Ok(found),
        // It was tombstoned meanwhile: the next look sees it.
        Err(Error::StreamDeleted(_)) => look(shared, stream, next, live, resolve_links),
        Err(error) => Err(error),
    }
}
