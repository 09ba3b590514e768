//! Sockets: the service's health and its streams, pushed to clients.
//!
//! | where | how |
//! |---|---|
//! | `/socket.io/` | Socket.IO, by WebSocket and by long polls; namespaces `/ws/health` and `/ws/streams` |
//! | `/ws/health` | a plain WebSocket: the messages of that namespace as JSON text |
//!
//! [`HealthFeed`] and `subscriptions` are the services and know nothing of how their messages travel; `socket_io`, `plain`
//! and `namespaces` carry them. `flow` and `transport` keep a reader that does not read from costing memory.
//!
//! Where to start reading: this file, then `subscriptions`, then `flow`.

pub mod asyncapi;
mod ending;
mod flow;
mod health;
mod namespaces;
mod plain;
mod session;
mod socket_io;
mod subscriptions;
mod transport;
mod upgrade;
mod watch;

pub use health::HealthFeed;
pub use socket_io::Heartbeat;
pub use watch::{Watched, watch};

use crate::{
    http::ApiError,
    limits::{Places, Shares},
    ops::Limiter,
    security::{Caller, Identity, Standing},
    streams::Streams,
};
use axum::{
    Router,
    extract::{Request, State},
    response::Response,
    routing::{any, get},
};
use ending::Ending;
use event_store::{Clock, ErrorCode};
use session::{Comer, Sessions};
use socketioxide::SocketIo;
use std::{sync::Arc, time::Duration};
use subscriptions::Library;
use tokio::{task::AbortHandle, time::timeout};
use transport::{Transport, Whose};

/// How often `/ws/health` repeats how the service is, unless told otherwise.
pub const REPEAT: Duration = Duration::from_secs(30);

/// How long a client may take nothing before its subscriptions end, unless told otherwise.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How long each step of the farewell may take: to say it, to hear it, to hang up.
const FAREWELL: Duration = Duration::from_secs(2);

/// What the sockets need.
#[derive(Debug)]
pub struct Options {
    /// The origins whose pages may open a WebSocket.
    pub allowed_origins: Vec<String>,
    /// How many sockets there are at most, of all kinds together.
    pub max_sockets: usize,
    /// How often `/ws/health` repeats how the service is.
    pub repeat: Duration,
    /// How often clients are pinged.
    pub heartbeat: Heartbeat,
    /// What `/ws/health` tells.
    pub health: HealthFeed,
    /// The streams that `/ws/streams` follows.
    pub streams: Streams,
    /// How many subscriptions `/ws/streams` has at most, of all clients together.
    pub max_subscriptions: usize,
    /// How long a client may take nothing before its subscriptions end.
    pub patience: Duration,
    /// Tells the time of failures.
    pub clock: Arc<dyn Clock>,
    /// Finds out who connects to `/ws/streams` without having said so before; without it they are let in as they are.
    pub identity: Option<Identity>,
    /// How many credentials of an address may be refused there; as many as it likes without.
    pub limiter: Option<Limiter>,
}

/// The sockets of a service. Cloning shares them.
#[derive(Clone)]
pub struct Sockets(Arc<Inner>);

struct Inner {
    engine: socket_io::Engine,
    io: SocketIo,
    sessions: Sessions,
    subscriptions: Places,
    allowed_origins: Vec<String>,
    heartbeat: Heartbeat,
    health: HealthFeed,
    ending: Ending,
    tasks: Vec<AbortHandle>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl std::fmt::Debug for Sockets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sockets").field("open", &self.open_now()).finish_non_exhaustive()
    }
}

impl Sockets {
    /// Sockets that are ready to be served. Call it within a runtime: it starts what tells clients of changes.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let (engine, io) = socket_io::build(options.heartbeat);
        let (ending, sessions) = (Ending::new(), Sessions::new(options.max_sockets));
        let most = options.max_subscriptions;
        let subscriptions = Places::new(most, Shares::among_callers(most));
        let library = Library {
            streams: options.streams,
            clock: options.clock,
            places: subscriptions.clone(),
            patience: options.patience,
        };
        let known_by =
            options.identity.map(|identity| namespaces::KnownBy { identity, limiter: options.limiter });
        namespaces::streams(&io, Arc::new(library), known_by, sessions.clone(), ending.clone());
        namespaces::health(&io, &options.health);
        let tasks = [
            tokio::spawn(options.health.clone().repeat_every(options.repeat)).abort_handle(),
            tokio::spawn(namespaces::tell_health(io.clone(), options.health.clone())).abort_handle(),
        ];
        Self(Arc::new(Inner {
            engine,
            io,
            sessions,
            subscriptions,
            allowed_origins: options.allowed_origins,
            heartbeat: options.heartbeat,
            health: options.health,
            ending,
            tasks: tasks.into(),
        }))
    }

    /// What serves them. These are long-lived: no time limit may stand around them.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/socket.io", any(socket_io::serve))
            .route("/socket.io/", any(socket_io::serve))
            .route("/ws/health", get(plain_health))
            .method_not_allowed_fallback(async || {
                let message = "This path does not take this method; see the header Allow";
                ApiError::new(ErrorCode::MethodNotAllowed, message)
            })
            .with_state(self.clone())
    }

    /// How many are open.
    #[must_use]
    pub fn open_now(&self) -> usize {
        self.0.sessions.count()
    }

    /// How many there may be.
    #[must_use]
    pub fn most(&self) -> usize {
        self.0.sessions.most()
    }

    /// How many subscriptions run.
    #[must_use]
    pub fn subscriptions_now(&self) -> usize {
        self.0.subscriptions.count()
    }

    /// Tells every socket that the service stops, and where to go on reading, and closes it. One that does not take that
    /// in time is cut off. Safe to repeat.
    pub async fn close(&self) {
        self.0.ending.come(FAREWELL).await;
        // One that reads by long polls takes its farewell with the next.
        let _ = timeout(FAREWELL, self.0.sessions.all_taken()).await;
        let _ = timeout(FAREWELL, self.0.io.close()).await;
    }
}

/// `/ws/health`, plain.
async fn plain_health(
    State(sockets): State<Sockets>,
    caller: Caller,
    mut request: Request,
) -> Result<Response, ApiError> {
    upgrade::check_origin(request.headers(), &sockets.0.allowed_origins)?;
    let (response, connection) = upgrade::accept(&mut request)?;
    // How the service is is for everybody: whoever may hear it now may go on to hear it.
    let session = sockets.open(Comer::of(&request, caller, Standing::lasting()))?;
    tokio::spawn(async move {
        let Some(io) = connection.established().await else { return };
        let io = Transport::new(io, Whose::Known(Arc::clone(&session)));
        let Some(speaker) = sockets.0.ending.speaker() else { return };
        let (feed, ping) = (sockets.0.health.clone(), sockets.0.heartbeat.interval);
        plain::serve(io, session, feed, ping, sockets.0.ending.comes()).await;
        drop(speaker);
    });
    Ok(response)
}
