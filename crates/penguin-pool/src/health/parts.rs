//! The parts of the service that health asks, as far as it asks them.

use models::{ListenerHealth, WatchedHealth};
use std::collections::BTreeMap;

/// The sockets, as far as health asks them.
pub trait OpenSockets: Send + Sync + std::fmt::Debug + 'static {
    /// The port that they listen on, beside that of HTTP.
    fn port(&self) -> u16;

    /// How many are open.
    fn open(&self) -> usize;

    /// How many there may be.
    fn most(&self) -> usize;
}

/// What is watched, as far as health asks it.
#[async_trait::async_trait]
pub trait WatchedServices: Send + Sync + std::fmt::Debug + 'static {
    /// What a request through one of this process's own listeners comes to, made now and recorded nowhere. Nothing before
    /// the service listens.
    async fn check(&self, listener: Listener) -> Option<ListenerHealth>;

    /// Every service that is watched, by its name, and how it is known to be.
    fn known(&self) -> BTreeMap<String, WatchedHealth>;
}

/// What this process listens with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// The HTTP API.
    Http,
    /// Sockets.
    Websocket,
}

impl Listener {
    /// The name that it is watched under.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Websocket => "websocket",
        }
    }
}
