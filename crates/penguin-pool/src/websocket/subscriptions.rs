//! What `/ws/streams` does: follows streams for a client, no faster than the client reads.
//!
//! A subscription is pulled from the store, and pulled only while the client's connection has room ([`super::flow`]):
//! a client that stops reading costs what its connection may hold, and nothing grows behind it. One that takes nothing
//! for a while ([`super::PATIENCE`]) loses the subscription, and is told where to resume.

use super::{
    flow::{Refused, Unsent},
    session::Session,
};
use crate::{
    http::{ApiError, Detail, ErrorBody, valid_text},
    limits::{Full, Place, Places},
    security::{Admitted, Caller, STANDING_LOST, Standing},
    streams::{Feed, FeedFrame, FeedStart, Streams, StreamsError},
};
use event_store::{Clock, ErrorCode};
use futures::StreamExt as _;
use models::{
    DateTime, ResumePoint, SubscribeAllQuery, SubscribeFilter, SubscribeRequest, SubscriptionEvent,
    SubscriptionMark, UnsubscribeRequest,
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::AbortHandle,
    time::timeout,
};

/// How many subscriptions one connection has at most.
pub(super) const MAX_PER_SOCKET: usize = 64;

/// How many events are left out by a filter before the client is told how far the subscription has come.
const CHECKPOINT_EVERY: u32 = 1000;

/// How long the subscriptions of one who lost their standing may take to say so.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What a packet has beside its body, at most.
const ENVELOPE: usize = 64;

/// `subscription_error`: a subscription ended, or was refused to one who asked for no acknowledgement, and why.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SubscriptionError {
    /// Which subscription; missing if none began.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"1")]
    subscription_id: Option<String>,
    /// What went wrong.
    #[serde(flatten)]
    error: ErrorBody,
    /// Where to go on without a gap or a double; missing where there is nothing to go on with.
    #[serde(skip_serializing_if = "Option::is_none")]
    resume: Option<ResumePoint>,
}

/// What carries messages to a client.
pub(super) trait Outlet: Send + Sync + 'static {
    /// Queues a message, without waiting.
    fn emit(&self, event: &'static str, body: &RawValue) -> Result<(), Refused>;
}

/// What all readers share.
#[derive(Debug)]
pub(super) struct Library {
    pub(super) streams: Streams,
    pub(super) clock: Arc<dyn Clock>,
    /// How many subscriptions there may be in all, and of one caller.
    pub(super) places: Places,
    /// How long a client may take nothing.
    pub(super) patience: Duration,
}

impl Library {
    pub(super) fn now(&self) -> DateTime {
        DateTime::from_millis(self.clock.now().millis())
    }
}

/// A client of `/ws/streams` and its subscriptions.
#[derive(Debug)]
pub(super) struct Reader {
    library: Arc<Library>,
    session: Arc<Session>,
    caller: Caller,
    standing: Standing,
    places: Arc<Semaphore>,
    shelf: Mutex<Shelf>,
}

/// A client's subscriptions.
#[derive(Debug, Default)]
struct Shelf {
    last_id: u64,
    running: HashMap<String, Running>,
    gone: bool,
    /// What waits for the caller's standing to be lost.
    watching: Option<AbortHandle>,
}

#[derive(Debug)]
struct Running {
    /// Locked while a message is emitted: once it says no, nothing comes any more.
    live: Arc<Mutex<bool>>,
    task: AbortHandle,
}

/// A subscription that was taken and does not run yet.
pub(super) struct Subscription {
    pub(super) id: String,
    feed: Feed,
    progress: Progress,
    wanted: Option<String>,
    _places: (OwnedSemaphorePermit, Place),
}

/// How far a subscription has come.
#[derive(Debug, Clone, Copy)]
struct Progress(ResumePoint);

impl Progress {
    /// Everything up to this mark is done.
    fn reached(&mut self, mark: u64) {
        let ahead = match self.0 {
            ResumePoint::From(from) => mark >= from,
            ResumePoint::After(after) => mark > after,
        };
        if ahead {
            self.0 = ResumePoint::After(mark);
        }
    }
}

/// Why a subscription ended.
enum End {
    Failed(StreamsError),
    Closed,
    StandingLost,
    Stalled,
    Gone,
}

impl From<Unsent> for End {
    fn from(unsent: Unsent) -> Self {
        match unsent {
            Unsent::Stalled => Self::Stalled,
            Unsent::Gone => Self::Gone,
        }
    }
}

impl Reader {
    pub(super) fn new(library: Arc<Library>, session: Arc<Session>, admitted: Admitted) -> Arc<Self> {
        let Admitted { caller, standing } = admitted;
        let places = Arc::new(Semaphore::new(MAX_PER_SOCKET));
        Arc::new(Self { library, session, caller, standing, places, shelf: Mutex::default() })
    }

    /// Does something when the caller's standing is lost, unless the client goes before.
    pub(super) fn when_lost(&self, then: impl Future<Output = ()> + Send + 'static) {
        if !self.standing.may_end() {
            return;
        }
        let lost = self.standing.lost();
        let mut shelf = self.shelf();
        if shelf.gone {
            return;
        }
        let watching = tokio::spawn(async move {
            lost.await;
            then.await;
        });
        shelf.watching = Some(watching.abort_handle());
    }

    /// Waits until every subscription has said its last word, for as long as that may take; none begins after.
    pub(super) async fn done(&self) {
        let all = u32::try_from(MAX_PER_SOCKET).unwrap_or(u32::MAX);
        if let Ok(Ok(places)) = timeout(LAST_WORDS, self.places.acquire_many(all)).await {
            places.forget();
        }
    }

    /// Says that the caller is known no longer: the connection, which may go on, holds a stranger's place.
    pub(super) fn is_a_stranger(&self) {
        self.session.place.is_a_strangers(self.session.origin.address());
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a `subscribe`, or says why not. What it brings first was looked at: a stream that may not be read, or that
    /// was deleted for good, is refused here.
    pub(super) async fn subscribe(&self, request: &str) -> Result<Subscription, ApiError> {
        self.session.origin.clone().around(self.take(request)).await
    }

    async fn take(&self, request: &str) -> Result<Subscription, ApiError> {
        if !self.standing.holds() {
            return Err(standing_lost());
        }
        let request: SubscribeRequest = valid_text(request)?;
        let target = Target::of(&request)?;
        let places = self.places()?;
        let start = match (request.from, request.after) {
            (Some(from), _) => FeedStart::At(from.get()),
            (None, Some(after)) => FeedStart::After(Some(after.get())),
            (None, None) => FeedStart::Live,
        };
        let streams = &self.library.streams;
        let (mut feed, wanted) = match target {
            Target::Stream { name, wanted } => {
                (streams.follow(&self.caller, &name, start).await.map_err(ApiError::from)?, wanted)
            }
            Target::All(query) => {
                (streams.follow_all(&self.caller, query, start).await.map_err(ApiError::from)?, None)
            }
        };
        let first = match feed.next().await {
            Some(FeedFrame::Failed(error)) => return Err(error.into()),
            Some(frame) => frame,
            None => return Err(event_store::Error::Closed.into()),
        };
        let progress = Progress(match (start, &first) {
            (FeedStart::At(from), _) => ResumePoint::From(from),
            (FeedStart::After(Some(after)), _) => ResumePoint::After(after),
            (_, FeedFrame::CaughtUp(Some(mark))) => ResumePoint::After(*mark),
            _ => ResumePoint::From(0),
        });
        let feed = futures::stream::once(async { first }).chain(feed).boxed();
        let mut shelf = self.shelf();
        shelf.last_id += 1;
        Ok(Subscription { id: shelf.last_id.to_string(), feed, progress, wanted, _places: places })
    }

    /// A place of this connection's own, and one of all.
    fn places(&self) -> Result<(OwnedSemaphorePermit, Place), ApiError> {
        let refused = |message| {
            metrics::counter!("http_requests_refused_total", "reason" => "subscriptions").increment(1);
            ApiError::new(ErrorCode::RateLimited, message)
        };
        let own = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            refused(format!(
                "{MAX_PER_SOCKET} subscriptions run over this connection, as many as may: end one"
            ))
        })?;
        let all = &self.library.places;
        let place = all.take(all.holder(&self.caller, self.session.origin.address())).map_err(|full| {
            refused(match full {
                Full::Caller(most) => {
                    format!("You have {most} subscriptions over sockets, as many as one caller may: end one")
                }
                Full::All | Full::Strangers(_) | Full::Network(_) => {
                    "As many subscriptions run as the service takes: try again later".to_owned()
                }
            })
        })?;
        Ok((own, place))
    }

    /// Runs a subscription until it ends, the client goes, or `stopped` comes.
    pub(super) fn run(
        self: &Arc<Self>,
        subscription: Subscription,
        outlet: impl Outlet,
        stopped: impl Future<Output = ()> + Send + 'static,
    ) {
        let live = Arc::new(Mutex::new(true));
        let id = subscription.id.clone();
        let delivery = Delivery {
            session: Arc::clone(&self.session),
            patience: self.library.patience,
            live: Arc::clone(&live),
            outlet,
        };
        let reader = Arc::clone(self);
        let mut shelf = self.shelf();
        if shelf.gone {
            return;
        }
        let task = tokio::spawn(async move {
            let id = subscription.id.clone();
            reader.deliver(subscription, delivery, stopped).await;
            reader.shelf().running.remove(&id);
        });
        // The task cannot have come to its end: it needs the lock that is held here.
        shelf.running.insert(id, Running { live, task: task.abort_handle() });
    }

    async fn deliver<O: Outlet>(
        &self,
        mut subscription: Subscription,
        delivery: Delivery<O>,
        stopped: impl Future<Output = ()>,
    ) {
        metrics::gauge!("socket_subscriptions_open").increment(1);
        let _open = Open;
        let mut progress = subscription.progress;
        let end = tokio::select! {
            biased;
            () = stopped => End::Closed,
            () = self.standing.lost() => End::StandingLost,
            end = delivery.all(&mut subscription, &mut progress) => end,
        };
        let (error, resume) = match end {
            End::Gone => return,
            End::Closed => (event_store::Error::Closed.into(), true),
            End::StandingLost => (standing_lost(), true),
            End::Stalled => {
                let message =
                    format!("Nothing was taken for {:?}; go on where `resume` says", delivery.patience);
                (ApiError::new(ErrorCode::Timeout, message), true)
            }
            End::Failed(error) => {
                let error = ApiError::from(error);
                let code = error.code();
                if code == ErrorCode::InternalError {
                    tracing::error!(error = error.message(), "a subscription failed");
                }
                (error, !matches!(code, ErrorCode::StreamDeleted | ErrorCode::PermissionDenied))
            }
        };
        delivery.farewell(&SubscriptionError {
            subscription_id: Some(subscription.id),
            error: error.body_at(self.library.now()),
            resume: resume.then_some(progress.0),
        });
    }

    /// Takes an `unsubscribe`: whether there was such a subscription. Nothing of it comes any more.
    pub(super) fn unsubscribe(&self, request: &str) -> Result<bool, ApiError> {
        let request: UnsubscribeRequest = valid_text(request)?;
        let Some(running) = self.shelf().running.remove(&request.subscription_id) else { return Ok(false) };
        running.end();
        Ok(true)
    }

    /// Ends everything: the client is gone.
    pub(super) fn end(&self) {
        let running = {
            let mut shelf = self.shelf();
            shelf.gone = true;
            shelf.watching.take().iter().for_each(AbortHandle::abort);
            std::mem::take(&mut shelf.running)
        };
        running.values().for_each(Running::end);
    }

    /// Says that a `subscribe` was refused to one who left no place for an answer.
    pub(super) fn refuse(&self, refused: ApiError, outlet: &impl Outlet) {
        let error = refused.body_at(self.now());
        let error = SubscriptionError { subscription_id: None, error, resume: None };
        // As for any other answer: who has no room for it does not read.
        if let Ok(body) = to_raw_value(&error)
            && outlet.emit("subscription_error", &body).is_ok()
        {
            self.answered(body.get().len());
        }
    }

    /// Counts an answer that the connection was given beside its subscriptions.
    pub(super) fn answered(&self, size: usize) {
        self.session.flow.sent(size + ENVELOPE);
    }

    pub(super) fn now(&self) -> DateTime {
        self.library.now()
    }
}

fn standing_lost() -> ApiError {
    ApiError::new(ErrorCode::AuthenticationFailed, STANDING_LOST)
}

impl Running {
    fn end(&self) {
        *self.live.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.task.abort();
    }
}

/// Counts a subscription as open until it is dropped.
struct Open;

impl Drop for Open {
    fn drop(&mut self) {
        metrics::gauge!("socket_subscriptions_open").decrement(1);
    }
}

/// The way of one subscription's messages.
struct Delivery<O> {
    session: Arc<Session>,
    patience: Duration,
    live: Arc<Mutex<bool>>,
    outlet: O,
}

impl<O: Outlet> Delivery<O> {
    async fn all(&self, subscription: &mut Subscription, progress: &mut Progress) -> End {
        match self.try_all(subscription, progress).await {
            Ok(()) => End::Closed,
            Err(end) => end,
        }
    }

    /// Brings everything. Progress is made only by what was queued: it can be left at any point.
    async fn try_all(&self, subscription: &mut Subscription, progress: &mut Progress) -> Result<(), End> {
        let Subscription { id, feed, wanted, .. } = subscription;
        let mut left_out = 0_u32;
        while let Some(frame) = feed.next().await {
            match frame {
                FeedFrame::Event { mark, event } => {
                    if wanted.as_ref().is_none_or(|wanted| *wanted == event.event_type) {
                        self.send("event", &SubscriptionEvent { subscription_id: id.clone(), event: *event })
                            .await?;
                        progress.reached(mark);
                        continue;
                    }
                    progress.reached(mark);
                    left_out += 1;
                    if left_out.is_multiple_of(CHECKPOINT_EVERY) {
                        self.mark("checkpoint", id, *progress).await?;
                    }
                }
                FeedFrame::Mark(mark) => {
                    progress.reached(mark);
                    self.mark("checkpoint", id, *progress).await?;
                }
                FeedFrame::CaughtUp(mark) => {
                    mark.into_iter().for_each(|mark| progress.reached(mark));
                    self.mark("caught_up", id, *progress).await?;
                }
                FeedFrame::Failed(error) => return Err(End::Failed(error)),
            }
        }
        Ok(())
    }

    async fn mark(&self, event: &'static str, id: &str, progress: Progress) -> Result<(), End> {
        self.send(event, &SubscriptionMark { subscription_id: id.to_owned(), resume: progress.0 }).await
    }

    async fn send(&self, event: &'static str, body: &impl Serialize) -> Result<(), End> {
        let body = raw(body)?;
        let size = body.get().len() + ENVELOPE;
        Ok(self.session.flow.send(size, self.patience, || self.emit(event, &body)).await?)
    }

    /// Says why the subscription ended, whether there is room or not: the queue keeps places for that.
    fn farewell(&self, error: &SubscriptionError) {
        if let Ok(body) = raw(error)
            && self.emit("subscription_error", &body).is_ok()
        {
            self.session.flow.sent(body.get().len() + ENVELOPE);
        }
    }

    fn emit(&self, event: &'static str, body: &RawValue) -> Result<(), Refused> {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if *live { self.outlet.emit(event, body) } else { Err(Refused::Gone) }
    }
}

fn raw(body: &impl Serialize) -> Result<Box<RawValue>, End> {
    to_raw_value(body).map_err(|e| End::Failed(event_store::Error::Internal(e.to_string()).into()))
}

/// What is to be followed.
enum Target {
    Stream { name: String, wanted: Option<String> },
    All(SubscribeAllQuery),
}

impl Target {
    fn of(request: &SubscribeRequest) -> Result<Self, ApiError> {
        let refuse = |path: &str, message: &str| Err(ApiError::invalid(vec![Detail::new(path, message)]));
        if request.from.is_some() && request.after.is_some() {
            return refuse("after", "give either from or after");
        }
        let SubscribeFilter { prefix, event_type, system } = request.filter.clone().unwrap_or_default();
        match (&request.stream_name, request.all) {
            (Some(_), true) | (None, false) => refuse("streamName", "give either streamName or all: true"),
            (Some(name), false) => {
                if prefix.is_some() || system {
                    return refuse("filter", "prefix and system are for all: true");
                }
                Ok(Self::Stream { name: name.as_str().to_owned(), wanted: event_type })
            }
            (None, true) => Ok(Self::All(SubscribeAllQuery { from: None, prefix, event_type, system })),
        }
    }
}
