//! `/api/status`, and what the service says of itself elsewhere too.

mod routes;

pub use routes::routes;

use crate::config::{Config, EventStoreKind};
use event_store::Clock;
use models::{Backend, DateTime, ServiceStatus};
use std::{sync::Arc, time::Duration};

/// The service's name, in answers and logs.
pub const SERVICE: &str = "penguin-pool";

/// What the service says of itself.
#[derive(Debug)]
pub struct About {
    /// Where it runs.
    pub environment: &'static str,
    /// Where events are kept.
    pub backend: Backend,
    /// Where KurrentDB is said to be, without credentials.
    pub kurrentdb_url: String,
    /// The port that the HTTP API listens on.
    pub http_port: u16,
    clock: Arc<dyn Clock>,
    began: Duration,
}

impl About {
    /// A service that begins now.
    #[must_use]
    pub fn new(config: &Config, http_port: u16, clock: Arc<dyn Clock>) -> Self {
        Self {
            environment: config.environment.as_str(),
            backend: match config.settings.event_store {
                EventStoreKind::Embedded => Backend::Embedded,
                EventStoreKind::Kurrentdb => Backend::Kurrentdb,
            },
            kurrentdb_url: kurrentdb_url(config),
            http_port,
            began: clock.monotonic(),
            clock,
        }
    }

    /// How long the service has run.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.began)
    }

    /// The same in milliseconds.
    #[must_use]
    pub fn uptime_millis(&self) -> u64 {
        u64::try_from(self.uptime().as_millis()).unwrap_or(u64::MAX)
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> DateTime {
        DateTime::from_millis(self.clock.now().millis())
    }

    /// What runs here.
    #[must_use]
    pub fn status(&self) -> ServiceStatus {
        ServiceStatus {
            status: "running".to_owned(),
            timestamp: self.now(),
            service: SERVICE.to_owned(),
            kurrentdb_url: self.kurrentdb_url.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            environment: self.environment.to_owned(),
            backend: self.backend,
            uptime: self.uptime_millis(),
        }
    }
}

/// Where KurrentDB's clients find the events. What is set says nothing of the certificate by which the node of this process
/// speaks.
fn kurrentdb_url(config: &Config) -> String {
    let server = config.kurrentdb();
    if config.settings.event_store == EventStoreKind::Embedded && config.settings.tls_cert.is_some() {
        let (_, authority) = server.node().split_once("://").unwrap_or(("", server.node()));
        return format!("kurrentdb://{authority}?tls=true");
    }
    server.shown().to_owned()
}
