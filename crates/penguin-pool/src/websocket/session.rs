//! Connections: their number, and how to find one by its id.

use super::flow::Flow;
use crate::{
    audit::Origin,
    limits::{Full, Holder, Place, Places, Shares},
    ops::authenticate::OwnCheck,
    security::{Caller, Standing},
};
use axum::extract::Request;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

/// One connection, from its handshake to its end, over however many requests and transports. It holds one of the
/// places that there are, and gives it back when it is dropped.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) flow: Flow,
    pub(super) caller: Caller,
    /// For what the caller was let in when the connection was opened.
    pub(super) standing: Standing,
    /// The request that opened it: what is asked for over it comes from there.
    pub(super) origin: Origin,
    /// It is a stranger's until they say who they are, at the handshake or later.
    pub(super) place: Place,
    known: OnceLock<Known>,
    /// Whether a WebSocket goes on, or is to, where long polls began.
    upgraded: AtomicBool,
}

impl Session {
    /// Begins to go on over a WebSocket, once.
    pub(super) fn upgrade(&self) -> bool {
        !self.upgraded.swap(true, Ordering::Relaxed)
    }
}

/// Who opens a connection.
#[derive(Debug)]
pub(super) struct Comer {
    caller: Caller,
    standing: Standing,
    origin: Origin,
    /// Whether it is this process, which looks at itself.
    own: bool,
}

impl Comer {
    /// By this request.
    pub(super) fn of(request: &Request, caller: Caller, standing: Standing) -> Self {
        let own = request.extensions().get::<OwnCheck>().is_some();
        Self { caller, standing, origin: Origin::of(request), own }
    }
}

/// Under which id a connection is known, and where.
#[derive(Debug)]
struct Known {
    by: Weak<Inner>,
    id: String,
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(Known { by, id }) = self.known.get()
            && let Some(sessions) = by.upgrade()
        {
            Sessions(sessions).by_id().remove(id);
        }
        metrics::gauge!("sockets_open").decrement(1);
    }
}

/// All connections. Cloning shares them.
#[derive(Debug, Clone)]
pub(super) struct Sessions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    places: Places,
    /// Those that follow streams, and those that began with long polls, by their Engine.IO id: a later request of a connection
    /// knows it by nothing else.
    by_id: Mutex<HashMap<String, Weak<Session>>>,
}

impl Sessions {
    /// At most so many at once.
    pub(super) fn new(most: usize) -> Self {
        let places = Places::new(most, Shares::with_strangers(most));
        Self(Arc::new(Inner { places, by_id: Mutex::default() }))
    }

    /// A new connection, if there is a place.
    pub(super) fn open(&self, comer: Comer) -> Result<Arc<Session>, Full> {
        let Comer { caller, standing, origin, own } = comer;
        let places = &self.0.places;
        let holder = if own { Holder::Service } else { places.holder(&caller, origin.address()) };
        let place = places.take(holder)?;
        metrics::gauge!("sockets_open").increment(1);
        let (flow, known, upgraded) = (Flow::default(), OnceLock::new(), AtomicBool::new(false));
        Ok(Arc::new(Session { flow, caller, standing, origin, place, known, upgraded }))
    }

    /// How many there may be.
    pub(super) fn most(&self) -> usize {
        self.0.places.most()
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.places.count()
    }

    fn by_id(&self) -> MutexGuard<'_, HashMap<String, Weak<Session>>> {
        self.0.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a connection known by its id, for as long as it lives.
    pub(super) fn register(&self, id: &str, session: &Arc<Session>) {
        session.known.get_or_init(|| {
            self.by_id().insert(id.to_owned(), Arc::downgrade(session));
            Known { by: Arc::downgrade(&self.0), id: id.to_owned() }
        });
    }

    /// The connection with this id, if it was made known.
    pub(super) fn find(&self, id: &str) -> Option<Arc<Session>> {
        self.by_id().get(id).and_then(Weak::upgrade)
    }

    /// Waits until everybody took what was sent.
    pub(super) async fn all_taken(&self) {
        let sessions: Vec<_> = self.by_id().values().filter_map(Weak::upgrade).collect();
        futures::future::join_all(sessions.iter().map(|session| session.flow.empty())).await;
    }
}
