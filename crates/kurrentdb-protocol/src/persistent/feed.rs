//! What a group follows, as one stream that goes on after the store's subscription breaks.

use super::{Place, Source, Start};
use event_store::{
    Error, EventStore, EventType, Position, ReadFrom, ResolvedEvent, Revision, SubscribeAll, SubscribeStream,
    Subscription, SubscriptionMessage,
};
use futures::{StreamExt, stream, stream::BoxStream};
use std::{num::NonZeroU32, sync::Arc, time::Duration};

/// After a failure the store is asked again after this time, and then after ever longer ones.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// What comes.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every one is an event")]
pub(crate) enum Fed {
    /// An event of the group's, and where it stands.
    Event(ResolvedEvent, Place),
    /// So many events were looked at up to here, and are none of the group's.
    Skipped(Place, u64),
    /// What follows is brought as it is written.
    Live,
    /// What follows was written before.
    Behind,
    /// The source is gone for good; nothing follows.
    Gone(Error),
}

/// Where to begin.
#[derive(Debug, Clone, Copy)]
pub(crate) enum From {
    /// By the group's definition.
    Start(Start),
    /// After this place.
    After(Place),
}

struct Feed {
    store: Arc<dyn EventStore>,
    source: Source,
    resolve_links: bool,
    interval: u32,
    from: From,
    running: Option<Subscription>,
    retry: Duration,
    over: bool,
}

/// Follows a source. With a filter, what it passes over is told every `interval` events.
pub(crate) fn follow(
    store: Arc<dyn EventStore>,
    source: Source,
    resolve_links: bool,
    interval: u32,
    from: From,
) -> BoxStream<'static, Fed> {
    let running = None;
    let feed =
        Feed { store, source, resolve_links, interval, from, running, retry: FIRST_RETRY, over: false };
    stream::unfold(feed, |mut feed| async move {
        let fed = feed.next().await?;
        Some((fed, feed))
    })
    .boxed()
}

impl Feed {
    async fn next(&mut self) -> Option<Fed> {
        if self.over {
            return None;
        }
        loop {
            let message = match &mut self.running {
                Some(running) => running.next().await.unwrap_or(Err(Error::Closed)),
                None => match self.subscribe().await {
                    Ok(running) => {
                        self.running = Some(running);
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
            match message {
                Ok(message) => {
                    self.retry = FIRST_RETRY;
                    if let Some(fed) = self.fed(message) {
                        return Some(fed);
                    }
                }
                Err(error @ (Error::StreamDeleted(_) | Error::Closed | Error::AccessDenied(_))) => {
                    self.over = true;
                    return Some(Fed::Gone(error));
                }
                Err(error) => {
                    tracing::warn!(%error, source = self.source.name(), "a persistent subscription is begun again");
                    self.running = None;
                    tokio::time::sleep(self.retry).await;
                    self.retry = (self.retry * 2).min(LAST_RETRY);
                }
            }
        }
    }

    async fn subscribe(&mut self) -> event_store::Result<Subscription> {
        let resolve_links = self.resolve_links;
        match &self.source {
            Source::Stream(name) => {
                let from = match self.from {
                    From::After(Place::Revision(revision)) => ReadFrom::Past(revision),
                    From::Start(Start::At(Place::Revision(revision))) => ReadFrom::At(revision),
                    From::Start(Start::End) => ReadFrom::<Revision>::End,
                    _ => ReadFrom::Start,
                };
                self.store.subscribe_stream(name, SubscribeStream { from, resolve_links }).await
            }
            Source::All(filter) => {
                let from = match self.from {
                    From::After(Place::Position(position)) => ReadFrom::Past(position),
                    From::Start(Start::At(Place::Position(position))) => ReadFrom::At(position),
                    From::Start(Start::End) => ReadFrom::<Position>::End,
                    _ => ReadFrom::Start,
                };
                let options = SubscribeAll {
                    from,
                    resolve_links,
                    filter: filter.clone(),
                    checkpoint_interval: NonZeroU32::new(self.interval),
                };
                self.store.subscribe_all(options).await
            }
        }
    }

    fn fed(&mut self, message: SubscriptionMessage) -> Option<Fed> {
        match message {
            SubscriptionMessage::Event(event) => {
                let place = Place::of(&event, self.source.is_all())?;
                self.from = From::After(place);
                Some(match () {
                    () if self.is_own(&event) => Fed::Skipped(place, 0),
                    // The stream's end is no event of the group's: the error that follows says it.
                    () if self.is_end(&event) => return None,
                    () => Fed::Event(event, place),
                })
            }
            SubscriptionMessage::Checkpoint(position) => {
                let place = Place::Position(position);
                self.from = From::After(place);
                Some(Fed::Skipped(place, u64::from(self.interval)))
            }
            SubscriptionMessage::CaughtUp { revision, position } => {
                // One that begins at the end must not begin at a later end after a failure.
                if matches!(self.from, From::Start(Start::End)) {
                    self.from = match (self.source.is_all(), revision, position) {
                        (false, Some(revision), _) => From::After(Place::Revision(revision)),
                        (true, _, Some(position)) => From::After(Place::Position(position)),
                        _ => From::Start(Start::Beginning),
                    };
                }
                Some(Fed::Live)
            }
            SubscriptionMessage::FellBehind => Some(Fed::Behind),
        }
    }

    /// What groups of `$all` write down of themselves is not sent to them: it would never end.
    fn is_own(&self, event: &ResolvedEvent) -> bool {
        let Some(name) = event.original().map(|e| e.stream.as_str()).filter(|_| self.source.is_all()) else {
            return false;
        };
        name.starts_with("$persistentsubscription-$all::")
            && (name.ends_with("-checkpoint") || name.ends_with("-parked"))
    }

    fn is_end(&self, event: &ResolvedEvent) -> bool {
        !self.source.is_all()
            && event.original().is_some_and(|e| e.event_type.as_str() == EventType::STREAM_DELETED)
    }
}
