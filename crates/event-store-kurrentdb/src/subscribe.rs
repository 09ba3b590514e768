//! Following: the client's subscription, asked for again from where it was whenever the connection is lost.

use crate::{
    KurrentDb, convert,
    errors::{self, Asked},
    options::as_user,
};
use event_store::{
    Error, EventStore, Position, ReadAll, ReadFrom, ResolvedEvent, Result, Revision, StoreId, StreamName,
    SubscribeAll, SubscribeStream, Subscription, SubscriptionMessage,
};
use futures::{StreamExt, stream};
use kurrentdb::{
    Client, Credentials, StreamPosition, SubscribeToAllOptions, SubscribeToStreamOptions, SubscriptionEvent,
};
use std::{collections::VecDeque, num::NonZeroU32, sync::Arc};

/// With a filter, a checkpoint after so many events looked at, unless said otherwise.
const CHECKPOINT_INTERVAL: NonZeroU32 = NonZeroU32::new(1_000).unwrap();

/// After so many losses in a row to a follower the client is not believed to find the leader any more.
const REDIRECTS: u32 = 5;

/// What is followed, and how far it was.
enum Place {
    Stream { name: StreamName, after: Option<Revision>, resolve_links: bool },
    All { after: Option<Position>, options: SubscribeAll },
}

struct Following {
    store: KurrentDb,
    place: Place,
    /// The store's id, once it has one.
    of: Option<StoreId>,
    /// The client's subscription, and of which connection it is.
    running: Option<(u64, kurrentdb::Subscription)>,
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
            Following { store: self.clone(), place, of: None, running: None, ready, losses: 0, ended: false };
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
        let connection = Arc::clone(&self.store.shared.connection);
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Ok(message);
            }
            let came = tokio::select! {
                biased;
                () = connection.closed() => return Err(Error::Closed),
                came = self.ask() => came,
            };
            match came {
                Ok(Some(message)) => {
                    self.losses = 0;
                    return Ok(message);
                }
                Ok(None) => {}
                Err(error) if errors::is_lost(&error) => {
                    tracing::warn!(%error, losses = self.losses, "a subscription was lost and is asked for again");
                    // A client that was told of the leader goes over to it by itself, if it can.
                    if let Some((generation, _)) = self.running.take()
                        && (!errors::is_redirect(&error) || self.losses >= REDIRECTS)
                    {
                        connection.lost(generation, &error.to_string());
                    }
                    let wait = connection.pause(self.losses);
                    self.losses = self.losses.saturating_add(1);
                    tokio::select! {
                        () = connection.closed() => return Err(Error::Closed),
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

    async fn ask(&mut self) -> Result<Option<SubscriptionMessage>> {
        let connection = Arc::clone(&self.store.shared.connection);
        let (generation, running) = match &mut self.running {
            Some(running) => running,
            none => {
                let live = connection.reached().await?;
                // Places in one store mean nothing in another that took its place.
                let id = self.store.known_id().await?;
                if self.of.is_some() && self.of != id {
                    return Err(Error::Internal("the server holds another store than before".into()));
                }
                self.of = id;
                let user = &self.store.shared.options.credentials;
                none.insert((live.generation, subscribe(&live.client, &self.place, user).await))
            }
        };
        let event = tokio::select! {
            biased;
            event = running.next_subscription_event() => event,
            // Whoever asked something else found out first that the server is elsewhere: here it could take long.
            () = connection.superseded(*generation) => {
                return Err(Error::Unavailable("the connection was made anew".into()));
            }
        };
        let event = event.map_err(|e| match &self.place {
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

async fn subscribe(client: &Client, place: &Place, user: &Option<Credentials>) -> kurrentdb::Subscription {
    match place {
        Place::Stream { name, after, resolve_links } => {
            let from = after.map_or(StreamPosition::Start, StreamPosition::Position);
            let options = as_user!(SubscribeToStreamOptions::default(), user).start_from(from);
            let options = if *resolve_links { options.resolve_link_tos() } else { options };
            client.subscribe_to_stream(name.as_str(), &options).await
        }
        Place::All { after, options } => {
            let from = after
                .map_or(StreamPosition::Start, |p| StreamPosition::Position(convert::client_position(p)));
            let asked = as_user!(SubscribeToAllOptions::default(), user).position(from);
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
