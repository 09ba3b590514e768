//! A node over an embedded engine, for the adapter to speak to.
#![allow(dead_code, reason = "each test uses its part of it")]

use axum::Router;
use event_store::{Clock, EventStore, RandomIds};
use event_store_embedded::{Engine, Options};
use kurrentdb_protocol::{Face, FaceOptions, Limits, OpenGate, Served, serve};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

/// Long enough for a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) engine: Arc<dyn EventStore>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Served>,
}

impl Node {
    pub(crate) async fn start(options: Options, clock: Arc<dyn Clock>) -> Self {
        let engine: Arc<dyn EventStore> = Arc::new(Engine::open(options).unwrap());
        let gate = Arc::new(OpenGate(Arc::clone(&engine)));
        let options = FaceOptions::new(gate, clock, Arc::new(RandomIds));
        let face = Face::new(FaceOptions { limits: Limits::default(), ..options });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(serve(listener, face, Router::new(), PATIENCE, async {
            let _ = stopped.await;
        }));
        Self { address, engine, stop, served }
    }

    /// Stops serving and closes the engine.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        self.served.await.unwrap();
        self.engine.close().await.unwrap();
    }
}
