//! Wiring: settings and a store in, a served router out, and its orderly end.
//!
//! Order of beginning: the address is bound (a second start on the same machine ends here, before it touches any data),
//! the store is opened by the caller, the read models begin to follow it, the router is built, and the service is ready.
//! Order of ending ([`Service::stop`]): readiness fails, services are no longer watched, the listener closes and feeds
//! end, running requests finish, the read models stop, the store closes.
//!
//! The process around it, with its signals and exit codes, is in [`serve`](crate::serve).

use crate::{
    catalogue::{Catalogue, Freshness, Options, Place},
    config::{Config, DataDir, EventStoreKind, Settings},
    health::{self, Health, Probe, ReadModels, probe},
    http::{self, Documents},
    kurrentdb::{self, Passage},
    ops::{self, Lifecycle, Measured, Phase, metrics::Metrics},
    security::{Caller, Gate},
    server::{self, End},
    status::{self, About},
    streams::{self, Streams},
    uptime::{self, Uptime},
};
use axum::Router;
use event_store::{Clock, EventStore, IdSource, Position};
use event_store_embedded::{self as engine, Engine, OpenError};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, task::JoinHandle};

/// What a service is made of.
#[derive(Debug)]
pub struct Parts {
    /// The settings in force.
    pub config: Config,
    /// The store, opened.
    pub store: Arc<dyn EventStore>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes ids.
    pub ids: Arc<dyn IdSource>,
}

/// Opens the store that the settings ask for.
///
/// # Errors
/// Why it cannot be opened, in a line that a person can act on.
pub async fn open_store(
    data: &DataDir,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
) -> Result<Arc<dyn EventStore>, OpenError> {
    let options = data.path().map_or_else(engine::Options::in_memory, engine::Options::at);
    let options = options.clock(clock).ids(ids);
    // Opening reads files, and after a kill it reads much.
    match tokio::task::spawn_blocking(move || Engine::open(options)).await {
        Ok(opened) => opened.map(|engine| Arc::new(engine) as Arc<dyn EventStore>),
        Err(failed) => Err(OpenError::Index(format!("opening it failed: {failed}"))),
    }
}

/// The API of a service: what is served, and its documents.
#[derive(Debug)]
pub struct Api {
    /// The routes, with every layer around them.
    pub router: Router,
    /// What describes them.
    pub documents: Documents,
    /// What watches services, once it is started.
    pub uptime: Arc<Uptime>,
}

/// Builds the API on a store and its catalogue.
///
/// # Errors
/// A sentence if the documents cannot be generated, or a setting names a service that cannot be watched.
pub fn api(
    parts: &Parts,
    catalogue: &Catalogue,
    address: SocketAddr,
    lifecycle: &Lifecycle,
) -> Result<Api, String> {
    let Parts { config, store, clock, ids } = parts;
    let measured = Arc::new(Measured::new(Arc::clone(store), Arc::clone(clock)));
    let gate = Gate::new(Arc::<Measured>::clone(&measured));
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
    let health = Health::new(Arc::clone(&about), Arc::new(probe), lifecycle.clone(), Arc::clone(clock));
    let node = kurrentdb_protocol::http::router(kurrentdb_protocol::http::Node {
        store: gate.bind(&Caller::system()),
        clock: Arc::clone(clock),
        host: address.ip().to_string(),
        port: address.port(),
        started: clock.now(),
    });
    let metrics = Metrics::begin(Arc::clone(clock));
    let uptime = Arc::new(Uptime::new(uptime::Parts {
        store: gate.bind(&Caller::system()),
        clock: Arc::clone(clock),
        ids: Arc::clone(ids),
        // The embedded store's directory is locked: nobody else writes there.
        options: uptime::Options::from_settings(
            &config.settings,
            config.settings.event_store == EventStoreKind::Embedded,
        ),
    })?);
    let streams = Streams::new(gate, catalogue.clone(), Arc::clone(clock), Arc::clone(ids));
    let (router, documents) = http::build(|| {
        streams::routes(streams)
            .merge(health::routes(Arc::new(health)))
            .merge(status::routes(about))
            .merge(uptime::routes(Arc::clone(&uptime)))
            .merge(kurrentdb::routes(Passage::new(node)))
            .merge(ops::routes(metrics, read_models))
    })?;
    let router = ops::layers(
        router,
        &ops::Options {
            settings: &config.settings,
            clock: Arc::clone(clock),
            ids: Arc::clone(ids),
            lifecycle: lifecycle.clone(),
        },
    );
    Ok(Api { router, documents, uptime })
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

/// Where the catalogue of a store is kept: beside it.
#[must_use]
pub fn catalogue_place(data: &DataDir) -> Place {
    data.path().map_or(Place::Memory, |directory| Place::File(directory.join("catalogue.sqlite")))
}

/// A service that runs.
#[derive(Debug)]
pub struct Service {
    address: SocketAddr,
    settings: Settings,
    lifecycle: Lifecycle,
    uptime: Arc<Uptime>,
    store: Arc<dyn EventStore>,
    catalogue: Catalogue,
    server: JoinHandle<End>,
    upkeep: JoinHandle<()>,
}

impl Service {
    /// Serves on a listener. When this returns, the service is ready.
    ///
    /// # Errors
    /// A sentence if it cannot be wired together.
    pub async fn start(listener: TcpListener, parts: Parts) -> Result<Self, String> {
        let address = listener.local_addr().map_err(|e| format!("the listener has no address: {e}"))?;
        let lifecycle = Lifecycle::new();
        let options = Options::new(catalogue_place(&parts.config.settings.data_dir));
        let catalogue = Catalogue::open(options, Arc::clone(&parts.store), Arc::clone(&parts.clock))
            .await
            .map_err(|e| e.to_string())?;
        let api = api(&parts, &catalogue, address, &lifecycle)?;
        let upkeep = tokio::spawn(Metrics::begin(Arc::clone(&parts.clock)).upkeep());
        let patience = parts.config.settings.shutdown_timeout.get();
        let server = tokio::spawn(server::serve(listener, api.router, lifecycle.clone(), patience));
        lifecycle.advance(Phase::Running);
        api.uptime.start(address)?;
        Ok(Self {
            address,
            settings: parts.config.settings,
            lifecycle,
            uptime: api.uptime,
            store: parts.store,
            catalogue,
            server,
            upkeep,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
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
        self.lifecycle.advance(Phase::Draining);
        let end = self.server.await.map_err(|e| format!("the server failed: {e}"))?;
        self.upkeep.abort();
        self.catalogue.stop().await;
        self.store.close().await.map_err(|e| format!("the event store could not be closed cleanly: {e}"))?;
        Ok(end)
    }
}
