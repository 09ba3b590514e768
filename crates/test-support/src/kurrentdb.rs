//! What is, as far as its clients can tell, a KurrentDB: its protocol on a port of loopback, over any store.

use event_store::{Clock, EventStore, RandomIds};
use event_store_kurrentdb::{KurrentDb, Options};
use kurrentdb_protocol::{Face, FaceOptions, OpenGate, Served, serve};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

/// Long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node that serves KurrentDB's protocol, in this process, until it is stopped or the test ends.
#[derive(Debug)]
pub struct Node {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Served>,
}

impl Node {
    /// A node over a store, on a free port of loopback.
    ///
    /// # Panics
    /// If no port can be bound.
    pub async fn over(store: Arc<dyn EventStore>, clock: Arc<dyn Clock>) -> Self {
        let gate = Arc::new(OpenGate(store));
        Self::with(FaceOptions::new(gate, clock, Arc::new(RandomIds)), "127.0.0.1:0").await
    }

    /// A node that is made like this, at this address.
    ///
    /// # Panics
    /// If the address cannot be bound.
    #[expect(clippy::expect_used, reason = "a test is to fail here")]
    pub async fn with(options: FaceOptions, address: &str) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        let (stop, stopped) = oneshot::channel();
        let served =
            tokio::spawn(serve(listener, Face::new(options), axum::Router::new(), PATIENCE, async {
                if stopped.await.is_err() {
                    // Nobody can stop it any more.
                    std::future::pending::<()>().await;
                }
            }));
        Self { address, stop, served }
    }

    /// Where clients find it.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops serving; the store stays open.
    ///
    /// # Panics
    /// If serving failed.
    #[expect(clippy::expect_used, reason = "a test is to fail here")]
    pub async fn stop(self) {
        // It may have ended already.
        let _ = self.stop.send(());
        self.served.await.expect("a node that ended in order");
    }
}

/// The same store by way of KurrentDB's official client and its protocol: what works on it works on a KurrentDB, as far as
/// that can be tried without one. It is served as long as the test's runtime lives.
///
/// # Panics
/// If no port can be bound.
#[expect(clippy::expect_used, reason = "a test is to fail here")]
pub async fn as_kurrentdb(store: Arc<dyn EventStore>, clock: Arc<dyn Clock>) -> Arc<dyn EventStore> {
    let node = Node::over(store, clock).await;
    let options = Options::connect(&format!("kurrentdb://{}?tls=false", node.address)).expect("good options");
    // On a busy machine an answer may take long, which is not what is tried.
    Arc::new(KurrentDb::new(options.call_time(PATIENCE)).expect("a client"))
}

/// What keeps a test's events.
#[cfg(feature = "service")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// The embedded engine, in memory.
    Embedded,
    /// The same by way of [`as_kurrentdb`].
    Kurrentdb,
}

#[cfg(feature = "service")]
impl Backend {
    /// A store without events.
    ///
    /// # Panics
    /// If it cannot be opened.
    #[expect(clippy::expect_used, reason = "a test is to fail here")]
    pub async fn open(
        self,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn event_store::IdSource>,
    ) -> Arc<dyn EventStore> {
        let memory = penguin_pool::config::DataDir::Memory;
        let store = penguin_pool::store::open_embedded(&memory, Arc::clone(&clock), ids).await;
        let store = store.expect("an opened store");
        match self {
            Self::Embedded => store,
            Self::Kurrentdb => as_kurrentdb(store, clock).await,
        }
    }
}
