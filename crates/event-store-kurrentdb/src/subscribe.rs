//! Following: the client's subscription, asked for again from where it was whenever the connection is lost.

use crate::{
    KurrentDb, convert,
    errors::{self, Asked},
};
use event_store::{
    Error, EventStore, Position, ReadAll, ReadFrom, ResolvedEvent, Result, Revision, StreamName,
    SubscribeAll, SubscribeStream, Subscription, SubscriptionMessage,
};
use futures::{StreamExt, stream};
use kurrentdb::{StreamPosition, SubscribeToAllOptions, SubscribeToStreamOptions, SubscriptionEvent};
use std::{collections::VecDeque, num::NonZeroU32, time::Duration};

/// With a filter, a checkpoint after so many events looked at, unless said otherwise.
const CHECKPOINT_INTERVAL: NonZeroU32 = NonZeroU32::new(1_000).unwrap();

/// What is followed, and how far it was.
enum Place {
    Stream { name: StreamName, after: Option<Revision>, resolve_links: bool },
    All { after: Option<Position>, options: SubscribeAll },
}

struct Following {
    store: KurrentDb,
    place: Place,
    running: Option<kurrentdb::Subscription>,
    /// What to bring before asking on.
    ready: VecDeque<SubscriptionMessage>,
    /// How often it was lost since something came.
    losses: u32,
    ended: bool,
}

impl KurrentDb {
    /// KurrentDB begins after a revision; the first one included is asked for as the one before it.
    pub(crate) async fn follow_stream(
        &self,
        name: StreamName,
        options: SubscribeStream,
    ) -> Result<Subscription> {
        let after = match options.from {
            ReadFrom::Start | ReadFrom::At(0) => None,
            ReadFrom::At(at) => Some(at - 1),
            ReadFrom::Past(past) => Some(past),
            // Where the end is now, so that nothing is lost if the connection is before anything comes. What ended for good
            // is told by the subscription.
            ReadFrom::End => match self.last_revision(&name).await {
                Ok(last) => last,
                Err(Error::StreamDeleted(_)) => None,
                Err(error) => return Err(error),
            },
        };
        let place = Place::Stream { name, after, resolve_links: options.resolve_links };
        Ok(self.follow(place, VecDeque::new()))
    }

    /// KurrentDB begins after a position, and nobody computes with those: an event that stands at the first one included is
    /// read before.
    pub(crate) async fn follow_all(&self, options: SubscribeAll) -> Result<Subscription> {
        let mut ready = VecDeque::new();
        let after = match options.from {
            ReadFrom::Start => None,
            ReadFrom::End => self.last_position().await?,
            ReadFrom::Past(past) => Some(past),
            ReadFrom::At(at) => {
                let read = ReadAll {
                    resolve_links: options.resolve_links,
                    filter: options.filter.clone(),
                    ..ReadAll::forwards(1).from(options.from)
                };
                let there = self.read_all(read).await?.events.into_iter().next();
                let stands = |e: &ResolvedEvent| e.original().is_some_and(|e| e.position == at);
                ready.extend(there.filter(stands).map(SubscriptionMessage::Event));
                Some(at)
            }
        };
        Ok(self.follow(Place::All { after, options }, ready))
    }

    fn follow(&self, place: Place, ready: VecDeque<SubscriptionMessage>) -> Subscription {
        let following =
            Following { store: self.clone(), place, running: None, ready, losses: 0, ended: false };
        stream::unfold(following, |mut following| async move {
            if following.ended {
                return None;
            }
            let message = following.next().await;
            following.ended = message.is_err();
            Some((message, following))
        })
        .boxed()
    }
}

impl Following {
    async fn next(&mut self) -> Result<SubscriptionMessage> {
        let mut closed = self.store.shared.closed.subscribe();
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Ok(message);
            }
            let came = tokio::select! {
                biased;
                _ = closed.wait_for(|closed| *closed) => return Err(Error::Closed),
                came = self.ask() => came,
            };
            self.store.shared.heard(&came);
            match came {
                Ok(Some(message)) => {
                    self.losses = 0;
                    return Ok(message);
                }
                Ok(None) => {}
                Err(error) if errors::is_lost(&error) => {
                    tracing::warn!(%error, losses = self.losses, "a subscription was lost and is asked for again");
                    self.running = None;
                    let wait = self.backoff();
                    self.losses = self.losses.saturating_add(1);
                    tokio::select! {
                        _ = closed.wait_for(|closed| *closed) => return Err(Error::Closed),
                        () = tokio::time::sleep(wait) => {}
                    }
                    if self.losses == 1 {
                        return Ok(SubscriptionMessage::FellBehind);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// What comes next, with the place kept up to it.
    async fn ask(&mut self) -> Result<Option<SubscriptionMessage>> {
        let running = match &mut self.running {
            Some(running) => running,
            none => none.insert(subscribe(&self.store, &self.place).await),
        };
        let event = running.next_subscription_event().await.map_err(|e| match &self.place {
            Place::Stream { name, .. } => errors::of(e, Asked::Read(name)),
            Place::All { .. } => errors::of(e, Asked::ReadAll),
        })?;
        Ok(match event {
            SubscriptionEvent::EventAppeared(event) => {
                let event = convert::resolved(event)?;
                self.place.reached(event.original().map(|e| (e.revision, e.position)));
                Some(SubscriptionMessage::Event(event))
            }
            SubscriptionEvent::Checkpoint(position) => {
                let position = convert::position(position);
                self.place.reached(Some((0, position)));
                Some(SubscriptionMessage::Checkpoint(position))
            }
            SubscriptionEvent::CaughtUp(at) => Some(self.caught_up(at)),
            SubscriptionEvent::FellBehind(_) => Some(SubscriptionMessage::FellBehind),
            SubscriptionEvent::Confirmed(_)
            | SubscriptionEvent::FirstStreamPosition(_)
            | SubscriptionEvent::LastStreamPosition(_)
            | SubscriptionEvent::LastAllPosition(_) => None,
        })
    }

    /// Servers before 25 do not say where they are when they have caught up: then it is where this is.
    fn caught_up(&self, at: Option<kurrentdb::CaughtUp>) -> SubscriptionMessage {
        match &self.place {
            Place::Stream { after, .. } => {
                // "No revision" travels as −1, which the client takes for a large one.
                let told = at.and_then(|at| at.stream_revision).filter(|r| *r <= i64::MAX as u64);
                SubscriptionMessage::CaughtUp { revision: told.or(*after), position: None }
            }
            Place::All { after, .. } => {
                let told = at.and_then(|at| at.position).map(convert::position);
                SubscriptionMessage::CaughtUp { revision: None, position: told.or(*after) }
            }
        }
    }

    /// Doubles with each loss, up to the longest, and is spread over its half so that clients do not come back together.
    fn backoff(&self) -> Duration {
        let (first, longest) = self.store.shared.options.backoff;
        let wait =
            first.saturating_mul(1_u32.checked_shl(self.losses.min(20)).unwrap_or(u32::MAX)).min(longest);
        let (spread, _) = self.store.shared.options.ids.next_id().as_u64_pair();
        let half = wait / 2;
        half + half.mul_f64(f64::from(u32::try_from(spread >> 40).unwrap_or(0)) / f64::from(1_u32 << 24))
    }
}

impl Place {
    fn reached(&mut self, at: Option<(Revision, Position)>) {
        let Some((revision, position)) = at else { return };
        match self {
            Self::Stream { after, .. } => *after = Some(revision),
            Self::All { after, .. } => *after = Some(position),
        }
    }
}

async fn subscribe(store: &KurrentDb, place: &Place) -> kurrentdb::Subscription {
    let client = &store.shared.client;
    match place {
        Place::Stream { name, after, resolve_links } => {
            let from = after.map_or(StreamPosition::Start, StreamPosition::Position);
            let options = SubscribeToStreamOptions::default().start_from(from);
            let options = if *resolve_links { options.resolve_link_tos() } else { options };
            client.subscribe_to_stream(name.as_str(), &options).await
        }
        Place::All { after, options } => {
            let from = after
                .map_or(StreamPosition::Start, |p| StreamPosition::Position(convert::client_position(p)));
            let asked = SubscribeToAllOptions::default().position(from);
            let asked = if options.resolve_links { asked.resolve_link_tos() } else { asked };
            let asked = match &options.filter {
                Some(filter) => {
                    let interval = options.checkpoint_interval.unwrap_or(CHECKPOINT_INTERVAL);
                    asked.filter(convert::filter(filter).max(interval.get()))
                }
                None => asked,
            };
            client.subscribe_to_all(&asked).await
        }
    }
}
