//! Wiring: settings and a store in, a served router out, and its orderly end.
//!
//! Order of beginning: the address is bound (a second start on the same machine ends here, before it touches any data),
//! the store is opened by the caller, the read models begin to follow it, the router is built, and the service is ready.
//! Order of ending ([`Service::stop`]): readiness fails, the listener closes and feeds end, running requests finish, the
//! read models stop, the store closes.

use crate::{
    config::{Config, Settings},
    health::{self, Health, Probe, ReadModels, probe},
    http::{self, Documents},
    ops::{self, Lifecycle, Measured, Phase, metrics::Metrics},
    security::{Caller, Gate},
    server::{self, End},
    status::{self, About},
    streams::{self, Streams},
};
use axum::Router;
use event_store::{Clock, EventStore, IdSource, Position};
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

/// The API of a service: what is served, and its documents.
#[derive(Debug)]
pub struct Api {
    /// The routes, with every layer around them.
    pub router: Router,
    /// What describes them.
    pub documents: Documents,
}

/// Builds the API on a store.
///
/// # Errors
/// A sentence if the documents cannot be generated.
pub fn api(parts: &Parts, http_port: u16, lifecycle: &Lifecycle) -> Result<Api, String> {
    let Parts { config, store, clock, ids } = parts;
    let measured = Arc::new(Measured::new(Arc::clone(store), Arc::clone(clock)));
    let gate = Gate::new(Arc::<Measured>::clone(&measured));
    let about = Arc::new(About::new(config, http_port, Arc::clone(clock)));
    let probe = Probe::new(probe::Parts {
        store: gate.bind(&Caller::system()),
        measured,
        read_models: Arc::new(All(Vec::new())),
        backend: about.backend,
        clock: Arc::clone(clock),
        ids: Arc::clone(ids),
    });
    let health = Health::new(Arc::clone(&about), Arc::new(probe), lifecycle.clone(), Arc::clone(clock));
    let metrics = Metrics::begin(Arc::clone(clock));
    let streams = Streams::new(gate, Arc::clone(clock), Arc::clone(ids));
    let (router, documents) = http::build(|| {
        streams::routes(streams)
            .merge(health::routes(Arc::new(health)))
            .merge(status::routes(about))
            .merge(ops::routes(metrics))
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
    Ok(Api { router, documents })
}

/// All read models, as one.
#[derive(Debug)]
struct All(Vec<Arc<dyn ReadModels>>);

#[async_trait::async_trait]
impl ReadModels for All {
    async fn has_reached(&self, position: Position, patience: Duration) -> bool {
        let each = self.0.iter().map(|model| model.has_reached(position, patience));
        futures::future::join_all(each).await.into_iter().all(|reached| reached)
    }
}

/// A service that runs.
#[derive(Debug)]
pub struct Service {
    address: SocketAddr,
    settings: Settings,
    lifecycle: Lifecycle,
    store: Arc<dyn EventStore>,
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
        let api = api(&parts, address.port(), &lifecycle)?;
        let upkeep = tokio::spawn(Metrics::begin(Arc::clone(&parts.clock)).upkeep());
        let patience = parts.config.settings.shutdown_timeout.get();
        let server = tokio::spawn(server::serve(listener, api.router, lifecycle.clone(), patience));
        lifecycle.advance(Phase::Running);
        Ok(Self { address, settings: parts.config.settings, lifecycle, store: parts.store, server, upkeep })
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
        let delay = self.settings.shutdown_delay.get();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        self.lifecycle.advance(Phase::Draining);
        let end = self.server.await.map_err(|e| format!("the server failed: {e}"))?;
        self.upkeep.abort();
        self.store.close().await.map_err(|e| format!("the event store could not be closed cleanly: {e}"))?;
        Ok(end)
    }
}
