//! Wiring: settings and a store in, a served router out, and its orderly end.
//!
//! Order of beginning: the address is bound (a second start on the same machine ends here, before it touches any data),
//! the store is opened by the caller, the read models begin to follow it, the router is built, and the service is ready.
//! Order of ending ([`Service::stop`]): readiness fails, services are no longer watched, sockets are told and closed, the
//! listeners close and feeds end, running requests finish, the read models stop, the store closes.
//!
//! The process around it, with its signals and exit codes, is in [`serve`](crate::serve).

use crate::{
    audit::{self, Audit},
    catalogue::{Catalogue, Freshness, Options, Place},
    config::{AuthMode, Config, DataDir, EventStoreKind, Settings},
    health::{self, Health, Listener, OpenSockets, Probe, ReadModels, WatchedServices, probe},
    http::{self, Context, Documents},
    kurrentdb::{self, Listening, Passage},
    limits::Allowances,
    ops::{self, Lifecycle, Measured, Phase, metrics::Metrics},
    security::{self, Accounts, Caller, Encrypted, Gate, Identity, Keys, Tokens, tokens},
    server::{self, Crowd, End, Listeners, MOST_CONNECTIONS},
    status::{self, About},
    streams::{self, Streams},
    uptime::{self, Uptime, watch::Seen},
    users::{self, Users, UsersError},
    websocket::{self, HealthFeed, Heartbeat, Sockets, asyncapi},
};
use axum::Router;
use event_store::{Clock, Error, EventStore, IdSource, Position, StreamName};
use futures::{
    FutureExt as _,
    future::{BoxFuture, try_join_all},
};
use models::{HealthStatus, ListenerHealth, ServiceState, UserStream, WatchedHealth};
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, task::JoinHandle};

/// What a service is made of.
#[derive(Debug)]
pub struct Parts {
    /// The settings in force.
    pub config: Config,
    /// The store, opened.
    pub store: Arc<dyn EventStore>,
    /// The keys of users' data.
    pub keys: Keys,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes ids.
    pub ids: Arc<dyn IdSource>,
}

/// What finds out who calls, by the settings, with the accounts that this store keeps, and a trail to write logins and
/// changes of accounts down in.
///
/// # Errors
/// A sentence if a setting names keys that cannot be used.
pub fn identity(
    settings: &Settings,
    store: Arc<dyn EventStore>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    audit: Option<Audit>,
) -> Result<Identity, String> {
    let tokens = Tokens::new(tokens::Options {
        sources: tokens::Source::of_settings(settings),
        issuer: settings.jwt_issuer.clone(),
        audience: settings.jwt_audience.clone(),
        secret: settings.jwt_signing_secret.as_ref().map(|secret| secret.expose().into()),
        lifetime: settings.jwt_lifetime.get(),
        clock: Arc::clone(&clock),
    })?;
    let accounts =
        Accounts::open(store, Arc::clone(&clock), ids, audit.clone()).map_err(|e| e.to_string())?;
    let required = settings.auth_mode == AuthMode::Required;
    let (most, window) = (settings.rate_limit_max_logins.get(), settings.rate_limit_window_ms.get());
    let logins = Allowances::new(most, window, Arc::clone(&clock));
    Identity::new(security::Parts { required, accounts, tokens, clock, logins, audit })
}

/// The trail of who did what, if the settings want one. Call it within a runtime: it starts what writes it.
#[must_use]
pub fn trail(
    settings: &Settings,
    store: Arc<dyn EventStore>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
) -> Option<Audit> {
    let strict = settings.auth_mode == AuthMode::Required;
    settings.audit.then(|| Audit::begin_writing(audit::Parts { store, clock, ids, strict }))
}

/// The API of a service: what is served, and its documents.
pub struct Api {
    /// The routes, with every layer around them.
    pub router: Router,
    /// What is served where sockets have a port of their own, with every layer around it.
    pub sockets_router: Router,
    /// The sockets.
    pub sockets: Sockets,
    /// What describes the routes.
    pub documents: Documents,
    /// What watches services, once it is started.
    pub uptime: Arc<Uptime>,
    /// The way to the store, for what is served beside the API.
    pub gate: Gate,
    /// What callers do is written down here, if it is.
    pub audit: Option<Audit>,
    /// Finds out who calls, there as here.
    pub identity: Identity,
    /// How often each may ask, there as here; nothing for as often as they like.
    pub limiter: Option<ops::Limiter>,
    /// Finds out how the service is, and tells the sockets, for as long as it runs.
    pub watch: BoxFuture<'static, ()>,
    /// Closes what is open of users who were erased, once.
    pub closing: BoxFuture<'static, ()>,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("sockets", &self.sockets).finish_non_exhaustive()
    }
}

/// Builds the API on a store and its catalogue.
///
/// # Errors
/// A sentence if the documents cannot be generated, or a setting names a service that cannot be watched.
pub fn api(
    parts: &Parts,
    catalogue: &Catalogue,
    address: SocketAddr,
    sockets_port: u16,
    lifecycle: &Lifecycle,
) -> Result<Api, String> {
    let Parts { config, store, keys, clock, ids } = parts;
    let measured = Arc::new(Measured::new(Arc::clone(store), Arc::clone(clock)));
    let encrypted = Encrypted::new(Arc::<Measured>::clone(&measured), keys.clone());
    let kept_in = Arc::<Measured>::clone(&measured);
    let audit = trail(&config.settings, kept_in, Arc::clone(clock), Arc::clone(ids));
    let judged_by = Arc::new(encrypted.without_private_metadata());
    let gate = Gate::new(Arc::new(encrypted)).judging_by(judged_by).with_audit(audit.clone());
    let its_store = gate.bind(&Caller::system());
    let identity = identity(&config.settings, its_store, Arc::clone(clock), Arc::clone(ids), audit.clone())?;
    let about = Arc::new(About::new(config, address.port(), Arc::clone(clock)));
    let read_models: Arc<dyn ReadModels> = Arc::new(Followers { catalogue: catalogue.clone() });
    let probe = Probe::new(probe::Parts {
        store: gate.bind(&Caller::system()),
        measured,
        read_models: Arc::clone(&read_models),
        backend: about.backend,
        clock: Arc::clone(clock),
        ids: Arc::clone(ids),
    });
    let node = kurrentdb_protocol::http::router(kurrentdb_protocol::http::Node {
        store: gate.bind(&Caller::system()),
        clock: Arc::clone(clock),
        host: address.ip().to_string(),
        port: address.port(),
        started: clock.now(),
        accounts: identity.is_required(),
    });
    let passage = match config.settings.event_store {
        EventStoreKind::Embedded => Passage::new(node, gate.clone()),
        EventStoreKind::Kurrentdb => {
            Passage::to_server(&config.kurrentdb(), config.settings.request_timeout.get(), audit.clone())?
        }
    };
    let metrics = Metrics::begin(Arc::clone(clock));
    let uptime = Arc::new(Uptime::new(uptime::Parts {
        gate: gate.clone(),
        clock: Arc::clone(clock),
        ids: Arc::clone(ids),
        // The embedded store's directory is locked: nobody else writes there.
        options: uptime::Options::from_settings(
            &config.settings,
            config.settings.event_store == EventStoreKind::Embedded,
        ),
    })?);
    let streams = Streams::new(gate.clone(), catalogue.clone(), Arc::clone(clock), Arc::clone(ids));
    let users = Users::new(gate.clone(), catalogue.clone(), keys.clone(), Arc::clone(clock), Arc::clone(ids))
        .with_audit(audit.clone());
    let closing = close_erased(users.clone()).boxed();
    let feed = HealthFeed::new(Arc::clone(clock));
    // One for all ports.
    let limiter = ops::Limiter::new(&config.settings, Arc::clone(clock));
    let sockets = Sockets::new(websocket::Options {
        allowed_origins: config.settings.allowed_origins.0.clone(),
        max_sockets: config.settings.max_sockets.as_usize(),
        max_subscriptions: config.settings.max_socket_subscriptions.as_usize(),
        repeat: websocket::REPEAT,
        heartbeat: Heartbeat::default(),
        patience: websocket::PATIENCE,
        health: feed.clone(),
        streams: streams.clone(),
        clock: Arc::clone(clock),
        identity: Some(identity.clone()),
        limiter: limiter.clone(),
    });
    let open = Arc::new(SocketsOnPort { sockets: sockets.clone(), port: sockets_port });
    let health = Arc::new(Health::new(
        Arc::clone(&about),
        Arc::new(probe),
        lifecycle.clone(),
        Arc::clone(clock),
        open,
        Arc::new(WatchedByUptime(Arc::clone(&uptime))),
    ));
    let watched = websocket::Watched {
        health: Arc::clone(&health),
        store: Arc::clone(store),
        changes: uptime.changes(),
        lifecycle: lifecycle.clone(),
    };
    let watch = websocket::watch(watched, feed).boxed();
    let (router, mut documents) = http::build(|| {
        streams::routes(streams)
            .merge(users::routes(users))
            .merge(audit::routes(audit.clone()))
            .merge(health::routes(health))
            .merge(status::routes(about))
            .merge(uptime::routes(Arc::clone(&uptime)))
            .merge(security::routes(identity.clone()))
            .merge(kurrentdb::routes(passage))
            .merge(ops::routes(gate.clone(), metrics, read_models))
    })?;
    let asyncapi = asyncapi::file().map_err(|e| format!("the API's documents cannot be made: {e}"))?;
    let router = router.merge(asyncapi::router(asyncapi.clone()));
    documents.others.push(("asyncapi.json", asyncapi));
    let options = ops::Options {
        settings: &config.settings,
        clock: Arc::clone(clock),
        ids: Arc::clone(ids),
        lifecycle: lifecycle.clone(),
        identity: identity.clone(),
        limiter: limiter.clone(),
        own: uptime.pass().clone(),
    };
    let sockets_router = ops::layers(http::nothing(), sockets.router(), &options);
    let router = ops::layers(router, sockets.router(), &options);
    Ok(Api {
        router,
        sockets_router,
        sockets,
        documents,
        uptime,
        gate,
        audit,
        identity,
        limiter,
        watch,
        closing,
    })
}

/// How long is waited until a store that could not be asked is asked again.
const CLOSE_AGAIN: Duration = Duration::from_secs(5);

/// Closes what is open of users who were erased, however long it takes until the store can be asked.
async fn close_erased(users: Users) {
    loop {
        match users.close_erased().await {
            Ok(0) => return,
            Ok(streams) => {
                tracing::warn!(streams, "streams of users who were erased were open, and were closed again");
                return;
            }
            Err(UsersError::Store(Error::Closed)) => return,
            Err(error) => tracing::debug!(%error, "the streams of erased users cannot be looked at yet"),
        }
        tokio::time::sleep(CLOSE_AGAIN).await;
    }
}

/// The sockets, as health asks for them.
#[derive(Debug)]
struct SocketsOnPort {
    sockets: Sockets,
    port: u16,
}

impl OpenSockets for SocketsOnPort {
    fn port(&self) -> u16 {
        self.port
    }

    fn open(&self) -> usize {
        self.sockets.open_now()
    }

    fn most(&self) -> usize {
        self.sockets.most()
    }
}

/// How long one of this process's own listeners may take to answer, when somebody waits to hear how it is.
const LISTENS_WITHIN: Duration = Duration::from_secs(2);

/// What is watched, as health asks for it.
#[derive(Debug)]
struct WatchedByUptime(Arc<Uptime>);

#[async_trait::async_trait]
impl WatchedServices for WatchedByUptime {
    async fn check(&self, listener: Listener) -> Option<ListenerHealth> {
        let Seen { status, sight, .. } = self.0.look_at(listener.name(), LISTENS_WITHIN).await?;
        let status = match status {
            ServiceState::Up => HealthStatus::Healthy,
            ServiceState::Degraded => HealthStatus::Degraded,
            ServiceState::Down => HealthStatus::Unhealthy,
        };
        Some(ListenerHealth {
            status,
            response_time: sight.response_time,
            performance_grade: sight.grade,
            error: sight.error.as_deref().map(str::to_owned),
        })
    }

    fn known(&self) -> BTreeMap<String, WatchedHealth> {
        self.0.known()
    }
}

/// All that follows the store.
#[derive(Debug)]
struct Followers {
    catalogue: Catalogue,
}

#[async_trait::async_trait]
impl ReadModels for Followers {
    async fn has_reached(&self, position: Position, patience: Duration) -> bool {
        self.catalogue.wait_for(position, patience).await == Freshness::Fresh
    }

    async fn measure(&self) {
        if let Err(error) = self.catalogue.lag().await {
            tracing::debug!(%error, "the catalogue's lag cannot be measured");
        }
    }
}

/// Where the catalogue of a store is kept: beside the embedded store, or where that would be.
#[must_use]
pub fn catalogue_place(data: &DataDir) -> Place {
    data.path().map_or(Place::Memory, |directory| Place::File(directory.join("catalogue.sqlite")))
}

/// How the catalogue of a store is kept. What is encrypted is not indexed by what is in it.
#[must_use]
pub fn catalogue_options(settings: &Settings) -> Options {
    let options = Options::new(catalogue_place(&settings.data_dir));
    if settings.encryption_key.is_none() && settings.encryption_key_file.is_none() {
        return options;
    }
    let is_plain = |stream: &StreamName| {
        let name = stream.as_str();
        UserStream::split(name.strip_prefix("$$").unwrap_or(name)).is_none()
    };
    Options { indexed: Arc::new(is_plain), ..options }
}

/// A service that runs.
#[derive(Debug)]
pub struct Service {
    address: SocketAddr,
    sockets_address: SocketAddr,
    settings: Settings,
    lifecycle: Lifecycle,
    uptime: Arc<Uptime>,
    store: Arc<dyn EventStore>,
    audit: Option<Audit>,
    catalogue: Catalogue,
    sockets: Sockets,
    servers: Vec<JoinHandle<End>>,
    upkeep: [JoinHandle<()>; 3],
    identity: Identity,
    face: kurrentdb::Parts,
    kurrentdb: Option<Listening>,
}

impl Service {
    /// Serves on its listeners. When this returns, the service is ready.
    ///
    /// # Errors
    /// A sentence if it cannot be wired together.
    pub async fn start(listeners: Listeners, parts: Parts) -> Result<Self, String> {
        let address_of = |listener: &TcpListener| {
            listener.local_addr().map_err(|e| format!("the listener has no address: {e}"))
        };
        let address = address_of(&listeners.http)?;
        let sockets_address = listeners.sockets.as_ref().map_or(Ok(address), address_of)?;
        let lifecycle = Lifecycle::new();
        let options = catalogue_options(&parts.config.settings);
        let catalogue = Catalogue::open(options, Arc::clone(&parts.store), Arc::clone(&parts.clock))
            .await
            .map_err(|e| e.to_string())?;
        let api = api(&parts, &catalogue, address, sockets_address.port(), &lifecycle)?;
        let upkeep = Metrics::begin(Arc::clone(&parts.clock)).upkeep();
        let upkeep = [tokio::spawn(upkeep), tokio::spawn(api.watch), tokio::spawn(api.closing)];
        let patience = parts.config.settings.shutdown_timeout.get();
        let context = Context { clock: Arc::clone(&parts.clock), ids: Arc::clone(&parts.ids) };
        let tls = listeners.tls;
        let serve = |listener, router| {
            let (tls, context, lifecycle) = (tls.clone(), context.clone(), lifecycle.clone());
            let crowd = Crowd::new(&parts.config.settings, MOST_CONNECTIONS);
            tokio::spawn(server::serve(listener, tls, router, context, crowd, lifecycle, patience))
        };
        let mut servers = vec![serve(listeners.http, api.router)];
        servers.extend(listeners.sockets.map(|listener| serve(listener, api.sockets_router)));
        lifecycle.advance(Phase::Running);
        api.uptime.start(address, sockets_address, tls.as_ref())?;
        let identity = api.identity;
        let face = kurrentdb::Parts {
            gate: api.gate,
            identity: Some(identity.clone()),
            limiter: api.limiter,
            calls: ops::Calls::new(&parts.config.settings, Arc::clone(&parts.clock)),
            crowd: Crowd::new(&parts.config.settings, kurrentdb_protocol::Limits::default().connections),
            proxies: parts.config.settings.trusted_proxies.clone(),
            tls,
            clock: parts.clock,
            ids: parts.ids,
            origins: parts.config.settings.allowed_origins.clone(),
            patience,
        };
        Ok(Self {
            address,
            sockets_address,
            settings: parts.config.settings,
            lifecycle,
            uptime: api.uptime,
            store: parts.store,
            audit: api.audit,
            catalogue,
            sockets: api.sockets,
            servers,
            upkeep,
            identity,
            face,
            kurrentdb: None,
        })
    }

    /// Serves KurrentDB's protocol as well, on a listener of its own.
    ///
    /// # Errors
    /// A sentence if it cannot be.
    pub fn serve_kurrentdb(&mut self, listener: TcpListener) -> Result<SocketAddr, String> {
        let listening = Listening::start(listener, self.face.clone())
            .map_err(|e| format!("the listener of KurrentDB's protocol has no address: {e}"))?;
        Ok(self.kurrentdb.insert(listening).address())
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where sockets have their own port; [`Service::address`] if they have none.
    #[must_use]
    pub const fn sockets_address(&self) -> SocketAddr {
        self.sockets_address
    }

    /// Whether it speaks TLS, on all its ports.
    #[must_use]
    pub const fn speaks_tls(&self) -> bool {
        self.face.tls.is_some()
    }

    /// What finds out who calls.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Where in its life it is.
    #[must_use]
    pub const fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    /// Stops: readiness fails first, requests finish, everything is closed.
    ///
    /// # Errors
    /// A sentence if the store could not be closed cleanly. What it acknowledged is safe all the same.
    pub async fn stop(self) -> Result<End, String> {
        self.lifecycle.advance(Phase::Leaving);
        // Before anything that is watched ends.
        self.uptime.stop().await;
        let delay = self.settings.shutdown_delay.get();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        // While the listeners are open still: who reads by long polls comes once more to hear it.
        self.sockets.close().await;
        self.lifecycle.advance(Phase::Draining);
        let kurrentdb = async {
            match self.kurrentdb {
                Some(listening) => listening.stop().await,
                None => Ok(0),
            }
        };
        let (ends, cut) = tokio::join!(try_join_all(self.servers), kurrentdb);
        let mut ends = ends.map_err(|e| format!("the server failed: {e}"))?;
        ends.push(match cut? {
            0 => End::Clean,
            cut => End::Cut(cut),
        });
        self.upkeep.iter().for_each(JoinHandle::abort);
        self.catalogue.stop().await;
        if let Some(audit) = &self.audit {
            audit.stop().await;
        }
        self.store.close().await.map_err(|e| format!("the event store could not be closed cleanly: {e}"))?;
        Ok(ends.into_iter().fold(End::Clean, End::and))
    }
}
