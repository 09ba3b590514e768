//! Who records: one instance at a time, by a lease kept in a stream with expected revisions.
//!
//! Whoever appends to the lease's stream at the revision that it saw holds the lease; of two that try, the store lets one
//! through. The holder appends again well before its time is over. The others follow the stream, and try for themselves
//! when they saw nothing new for the holder's whole time by their own monotonic clock: nobody's time of day is trusted.
//! A holder that sees another's event, or is refused, steps down at once; one that cannot reach the store steps down when
//! its time is over.
//!
//! Where the store cannot have another user (the embedded one is locked), the lease is taken at once, whoever held it,
//! and for as long as the process lives.

use super::{
    streams::{LEASE_STREAM, Streams, name},
    words,
};
use event_store::{
    Error, ExpectedState, ReadFrom, ReadStream, Result, Revision, StreamName, SubscribeStream, Subscription,
    SubscriptionMessage,
};
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::sync::{Mutex, watch};

const TAKEN: &str = "UptimeLeaseTaken";
const RELEASED: &str = "UptimeLeaseReleased";

/// For how long the lease is taken each time, unless set otherwise.
pub const LEASE_TIME: Duration = Duration::from_secs(30);

/// What this instance does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It does not know yet.
    Undecided,
    /// It holds the lease: it watches and records.
    Recording,
    /// Another holds the lease: it reads.
    Following,
    /// The store cannot be reached, so nobody can be known to hold the lease: it watches, and keeps what it sees for later.
    Away,
}

impl Role {
    /// Whether it watches.
    #[must_use]
    pub const fn watches(self) -> bool {
        matches!(self, Self::Recording | Self::Away)
    }
}

/// This instance's side of the lease.
#[derive(Debug)]
pub(super) struct Lease {
    streams: Streams,
    stream: StreamName,
    /// This instance.
    holder: String,
    time: Duration,
    exclusive: bool,
    state: Mutex<State>,
    role: watch::Sender<Role>,
}

#[derive(Debug, Default)]
struct State {
    held: Option<Held>,
    /// Another's newest event, and when it was first seen by the monotonic clock.
    other: Option<(Revision, Duration)>,
    described: bool,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    revision: Revision,
    /// By the monotonic clock; nothing for as long as the process lives.
    until: Option<Duration>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LeaseEvent {
    holder: String,
    /// In milliseconds.
    duration: u64,
}

impl Lease {
    pub(super) fn new(streams: Streams, time: Duration, exclusive: bool) -> Result<Self> {
        Ok(Self {
            holder: streams.ids.next_id().to_string(),
            stream: name(LEASE_STREAM)?,
            streams,
            time,
            exclusive,
            state: Mutex::default(),
            role: watch::Sender::new(Role::Undecided),
        })
    }

    /// What this instance does, and each change of it.
    pub(super) fn role(&self) -> watch::Receiver<Role> {
        self.role.subscribe()
    }

    /// Leaves the lease to others for as long as this process lives.
    pub(super) fn stand_aside(&self) {
        self.role.send_replace(Role::Following);
    }

    /// Keeps the lease, or tries for it; for ever: drop it to end it.
    pub(super) async fn keep(&self) {
        let mut news: Option<Subscription> = None;
        loop {
            let role = self.attempt().await;
            if news.is_none() {
                let live = SubscribeStream { from: ReadFrom::End, ..SubscribeStream::default() };
                news = self.streams.store.subscribe_stream(&self.stream, live).await.ok();
            }
            let pause = match role {
                Role::Recording if self.exclusive => Duration::MAX,
                Role::Recording | Role::Following => self.time / 3,
                Role::Undecided | Role::Away => (self.time / 3).min(Duration::from_secs(1)),
            };
            tokio::select! {
                () = sleep(pause) => {}
                failed = self.others_news(&mut news) => if failed { news = None },
            }
        }
    }

    /// Waits for an event of another instance, or the end of the subscription (then it says so).
    async fn others_news(&self, news: &mut Option<Subscription>) -> bool {
        let Some(news) = news else { return std::future::pending().await };
        loop {
            match news.next().await {
                Some(Ok(SubscriptionMessage::Event(event))) => {
                    let data = event.event.as_ref().map(|e| &e.data[..]);
                    let own = data
                        .and_then(|d| serde_json::from_slice::<LeaseEvent>(d).ok())
                        .is_some_and(|e| e.holder == self.holder);
                    if !own {
                        return false;
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => {
                    // A store that refuses at once must not be asked without a pause.
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    return true;
                }
            }
        }
    }

    /// Takes the lease, or takes it again, or sees who has it; and says what this instance does from now on.
    pub(super) async fn attempt(&self) -> Role {
        let mut state = self.state.lock().await;
        // A store that does not answer must not hold an instance in a role that it lost meanwhile.
        let step = tokio::time::timeout(self.time / 3, self.step(&mut state)).await;
        let role = match step {
            Ok(Ok(role)) => role,
            Ok(Err(error)) => self.without_the_store(&mut state, &error),
            Err(_) => self
                .without_the_store(&mut state, &Error::Timeout("the lease was not taken in time".to_owned())),
        };
        let before = self.role.send_replace(role);
        if before != role {
            tracing::info!(?role, "this instance's part in recording uptime changed");
        }
        role
    }

    fn without_the_store(&self, state: &mut State, error: &Error) -> Role {
        tracing::debug!(%error, "the lease on uptime cannot be taken now");
        if state.held.is_some_and(|held| self.lasts(held)) {
            return Role::Recording;
        }
        state.held = None;
        Role::Away
    }

    fn lasts(&self, held: Held) -> bool {
        held.until.is_none_or(|until| self.streams.clock.monotonic() < until)
    }

    async fn step(&self, state: &mut State) -> Result<Role> {
        if !state.described {
            let about = "Which instance records the uptime of services";
            self.streams.system(&self.stream, about, 10).await?;
            state.described = true;
        }
        if let Some(held) = state.held {
            if self.exclusive {
                return Ok(Role::Recording);
            }
            if self.take(state, ExpectedState::Exact(held.revision)).await? {
                return Ok(Role::Recording);
            }
        }
        let (expected, free) = match self.newest().await? {
            None => (ExpectedState::NoStream, true),
            Some((revision, None)) => (ExpectedState::Exact(revision), true),
            Some((revision, Some(event))) => {
                let now = self.streams.clock.monotonic();
                let since = match state.other {
                    Some((seen, since)) if seen == revision => since,
                    _ => state.other.insert((revision, now)).1,
                };
                let over = now.saturating_sub(since) >= Duration::from_millis(event.duration);
                (ExpectedState::Exact(revision), self.exclusive || event.holder == self.holder || over)
            }
        };
        Ok(if free && self.take(state, expected).await? { Role::Recording } else { Role::Following })
    }

    /// The newest event of the lease's stream: its revision, and who has the lease by it.
    async fn newest(&self) -> Result<Option<(Revision, Option<LeaseEvent>)>> {
        match self.streams.store.read_stream(&self.stream, ReadStream::backwards(1)).await {
            Err(Error::StreamNotFound(_)) => Ok(None),
            Err(error) => Err(error),
            Ok(page) => {
                let event = page.events.into_iter().find_map(|e| e.event);
                let taken = event.filter(|e| e.event_type.as_str() == TAKEN);
                let read = taken.and_then(|e| serde_json::from_slice(&e.data).ok());
                Ok(Some((page.last_revision, read)))
            }
        }
    }

    /// Appends that this instance holds the lease, if the stream is as expected.
    async fn take(&self, state: &mut State, expected: ExpectedState) -> Result<bool> {
        let began = self.streams.clock.monotonic();
        match self.append(TAKEN, expected).await {
            Ok(revision) => {
                let until = (!self.exclusive).then(|| began + self.time);
                state.held = Some(Held { revision, until });
                state.other = None;
                Ok(true)
            }
            Err(Error::WrongExpectedRevision { .. }) => {
                state.held = None;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    async fn append(&self, event_type: &str, expected: ExpectedState) -> Result<Revision> {
        let duration = u64::try_from(self.time.as_millis()).unwrap_or(u64::MAX);
        let data = serde_json::json!(LeaseEvent { holder: self.holder.clone(), duration });
        let event = words::event(self.streams.ids.next_id(), event_type, &data);
        let appended = self.streams.store.append(&self.stream, expected, vec![event]).await?;
        appended.last_revision.ok_or_else(|| Error::Internal("an append of one event has no revision".into()))
    }

    /// Whether this instance may write now: it holds the lease, and its time is not over.
    pub(super) async fn may_write(&self) -> bool {
        self.state.lock().await.held.is_some_and(|held| self.lasts(held))
    }

    /// Gives the lease back, so that another can take it at once.
    pub(super) async fn release(&self) {
        let mut state = self.state.lock().await;
        if let Some(held) = state.held.take() {
            let released = self.append(RELEASED, ExpectedState::Exact(held.revision)).await;
            if let Err(error) = released {
                tracing::warn!(%error, "the lease on uptime could not be given back; it runs out by itself");
            }
        }
        self.role.send_replace(Role::Following);
    }
}

/// Sleeps; for ever where nothing shorter is meant.
async fn sleep(pause: Duration) {
    if pause == Duration::MAX {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(pause).await;
}
