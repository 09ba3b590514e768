//! What is known of every service now: the histories that the followers paint and the answers are read from.

use super::{
    history::{Applied, History, Kept, Word},
    target::Target,
    words,
};
use event_store::{Revision, StreamName};
use models::{DateTime, ServiceState, ServiceStatusMetadata};
use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};
use tokio::sync::{broadcast, watch};
use uuid::Uuid;

/// For how long a word holds if no other follows: an unchanged state is said again every minute, so this bears one that
/// is lost and a check that takes its time.
pub const GRACE: Duration = Duration::from_secs(150);

/// How many changes a slow listener may be behind before it misses some (it is told so).
const CHANGES_KEPT: usize = 256;

/// A service came into another state.
#[derive(Debug, Clone, PartialEq)]
pub struct StatusChange {
    /// The service.
    pub service_name: Arc<str>,
    /// The state it is in now.
    pub status: ServiceState,
    /// Since when.
    pub timestamp: DateTime,
    /// What the check saw.
    pub metadata: ServiceStatusMetadata,
}

/// Every service, and who wants to hear of changes.
#[derive(Debug)]
pub struct Board {
    services: Vec<Arc<Service>>,
    changes: broadcast::Sender<StatusChange>,
}

/// A service that is watched, and its history.
#[derive(Debug)]
pub struct Service {
    /// What it is called, and where it is.
    pub target: Target,
    /// Where its events stand.
    pub stream: StreamName,
    state: RwLock<State>,
    /// How far the stream was read: nothing until it was read once to its end.
    read_to: watch::Sender<Option<ReadTo>>,
    changes: broadcast::Sender<StatusChange>,
}

/// How far a stream was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReadTo {
    /// The last event's revision; nothing if there is none.
    pub(super) revision: Option<Revision>,
}

#[derive(Debug)]
struct State {
    history: History,
    /// Words said here that did not come back from the stream yet: the store may be away.
    ahead: VecDeque<Word>,
    /// The history holds a word that will never be in the stream.
    astray: bool,
}

impl Board {
    /// A board of services of which nothing is known yet.
    #[must_use]
    pub fn new(targets: Vec<(Target, StreamName)>) -> Self {
        let changes = broadcast::Sender::new(CHANGES_KEPT);
        let service = |(target, stream)| {
            Arc::new(Service {
                target,
                stream,
                state: RwLock::new(State { history: empty(), ahead: VecDeque::new(), astray: false }),
                read_to: watch::Sender::new(None),
                changes: changes.clone(),
            })
        };
        Self { services: targets.into_iter().map(service).collect(), changes }
    }

    /// All services, in the order in which they are told.
    #[must_use]
    pub fn services(&self) -> &[Arc<Service>] {
        &self.services
    }

    /// The service of this name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&Arc<Service>> {
        self.services.iter().find(|s| &*s.target.name == name)
    }

    /// Every change of state from now on, whoever recorded it.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<StatusChange> {
        self.changes.subscribe()
    }

    /// Waits until every service's stream was read once to its end, and says whether that came to be in time.
    pub async fn loaded(&self, patience: Duration) -> bool {
        let all = async {
            for service in &self.services {
                service.wait(|read| read.is_some()).await;
            }
        };
        tokio::time::timeout(patience, all).await.is_ok()
    }
}

/// A history of which nothing is known yet.
pub(super) fn empty() -> History {
    History::new(i64::try_from(GRACE.as_millis()).unwrap_or(i64::MAX))
}

impl Service {
    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.target.name
    }

    /// Its history, to be read. Held shortly: words wait for it.
    pub fn history(&self) -> impl std::ops::Deref<Target = History> + '_ {
        struct Guard<'a>(RwLockReadGuard<'a, State>);
        impl std::ops::Deref for Guard<'_> {
            type Target = History;
            fn deref(&self) -> &History {
                &self.0.history
            }
        }
        Guard(self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn state(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Paints a word that was said here, before its event is written. One that only lengthens a word that waits to be
    /// written (`lengthens`) will have no event of its own.
    pub(super) fn say(&self, word: &Word, lengthens: Option<Uuid>) {
        let mut state = self.state();
        match lengthens.and_then(|id| state.ahead.iter_mut().find(|own| own.id == id)) {
            Some(own) => own.seen = own.seen.max(word.seen),
            None => state.ahead.push_back(word.clone()),
        }
        let applied = state.history.apply(word);
        drop(state);
        self.tell(word, applied);
    }

    /// Whether a word that was said here has not come back from the stream yet.
    pub(super) fn is_ahead(&self, id: Uuid) -> bool {
        self.state.read().unwrap_or_else(PoisonError::into_inner).ahead.iter().any(|own| own.id == id)
    }

    /// Forgets one word said here that will never be written.
    pub(super) fn unsay(&self, id: Uuid) {
        let mut state = self.state();
        state.ahead.retain(|own| own.id != id);
        state.astray = true;
    }

    /// The history to be kept, if it is exactly what the stream says so far.
    pub(super) fn keep(&self) -> Option<Kept> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        (state.ahead.is_empty() && !state.astray).then(|| state.history.keep())
    }

    /// Paints a word that came from the stream.
    pub(super) fn hear(&self, word: &Word) {
        let mut state = self.state();
        state.ahead.retain(|own| own.id != word.id);
        let applied = state.history.apply(word);
        drop(state);
        self.tell(word, applied);
    }

    /// Takes over a history that was read from the stream from its beginning. Words said here that are not in it yet are
    /// said again.
    pub(super) fn replace(&self, mut history: History) {
        let mut state = self.state();
        state.ahead.retain(|own| !history.knows(own.id));
        for own in &state.ahead {
            history.apply(own);
        }
        state.history = history;
        state.astray = false;
    }

    /// Forgets words said here that will never be written: somebody else keeps the record.
    pub(super) fn forget_own(&self) {
        let mut state = self.state();
        state.ahead.clear();
        state.astray = true;
    }

    /// Says how far the stream was read.
    pub(super) fn read_to(&self, revision: Option<Revision>) {
        self.read_to.send_replace(Some(ReadTo { revision }));
    }

    /// Waits until the stream was read so far that `enough` is content.
    pub(super) async fn wait(&self, mut enough: impl FnMut(Option<ReadTo>) -> bool) {
        let mut read_to = self.read_to.subscribe();
        // The sender lives as long as the service does.
        let _ = read_to.wait_for(|read| enough(*read)).await;
    }

    fn tell(&self, word: &Word, applied: Applied) {
        if let (Applied::Changed, Some(status)) = (applied, word.status) {
            // Nobody may be listening.
            let _ = self.changes.send(StatusChange {
                service_name: Arc::clone(self.name()),
                status,
                timestamp: DateTime::from_millis(word.since),
                metadata: words::metadata(&word.sight),
            });
        }
    }
}
