//! KurrentDB's protocol on a port of its own, over the store of this process.

use crate::{
    config::{Config, EventStoreKind, Host},
    security::{Caller, Gate},
};
use event_store::{Capabilities, Clock, ErrorCode, EventStore, IdSource};
use kurrentdb_protocol::{Credentials, Face, FaceOptions, Limits, Served, http};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

/// Where the protocol is to be served, by the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// On this host and port.
    At(Host, u16),
    /// Nowhere: `KURRENTDB_PORT` is off, or the store is not in this process.
    Off,
    /// Nowhere: this environment lets nobody in without credentials, and there are no accounts yet.
    NeedsAccounts,
}

/// Where the settings want the protocol to be served.
#[must_use]
pub fn wanted(config: &Config) -> Wanted {
    let settings = &config.settings;
    match settings.kurrentdb_port.0 {
        Some(port) if settings.event_store == EventStoreKind::Embedded => {
            if config.environment.is_public() {
                return Wanted::NeedsAccounts;
            }
            Wanted::At(settings.kurrentdb_listen.clone().unwrap_or_else(|| settings.host.clone()), port)
        }
        _ => Wanted::Off,
    }
}

/// What the protocol is served with.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The way to the store.
    pub gate: Gate,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes ids.
    pub ids: Arc<dyn IdSource>,
    /// How long calls may take to finish when it stops.
    pub patience: Duration,
}

/// Everybody is the service itself: an insecure node, as KurrentDB calls it.
#[derive(Debug)]
struct Everybody(Gate);

#[async_trait::async_trait]
impl kurrentdb_protocol::Gate for Everybody {
    async fn enter(&self, _: &Credentials) -> Result<Arc<dyn EventStore>, ErrorCode> {
        Ok(self.0.bind(&Caller::system()))
    }

    fn capabilities(&self) -> Capabilities {
        self.0.bind(&Caller::system()).capabilities()
    }
}

/// The protocol, being served.
#[derive(Debug)]
pub struct Listening {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Served>,
}

impl Listening {
    /// Serves the protocol on a listener, gRPC and the node's HTTP interface.
    ///
    /// # Errors
    /// If the listener has no address.
    pub fn start(listener: TcpListener, parts: Parts) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let node = http::router(http::Node {
            store: parts.gate.bind(&Caller::system()),
            clock: Arc::clone(&parts.clock),
            host: address.ip().to_string(),
            port: address.port(),
            started: parts.clock.now(),
        });
        let own = Some(parts.gate.bind(&Caller::system()));
        let gate = Arc::new(Everybody(parts.gate));
        let options =
            FaceOptions { own, limits: Limits::default(), ..FaceOptions::new(gate, parts.clock, parts.ids) };
        let (stop, stopped) = oneshot::channel();
        let told = async {
            // A stop that is dropped is a stop.
            let _ = stopped.await;
        };
        let serving = kurrentdb_protocol::serve(listener, Face::new(options), node, parts.patience, told);
        Ok(Self { address, stop, served: tokio::spawn(serving) })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops: subscriptions end, calls finish. How many connections had to be cut off.
    ///
    /// # Errors
    /// A sentence if serving failed.
    pub async fn stop(self) -> Result<usize, String> {
        // If nobody hears it, it has stopped.
        let _ = self.stop.send(());
        match self.served.await {
            Ok(Served::Finished) => Ok(0),
            Ok(Served::Cut(connections)) => Ok(connections),
            Err(failed) => Err(format!("KurrentDB's protocol failed: {failed}")),
        }
    }
}
