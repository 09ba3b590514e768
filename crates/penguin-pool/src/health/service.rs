//! What health answers.

use super::probe::{Probe, millis};
use crate::{
    ops::{Lifecycle, Phase, metrics::Memory},
    status::{About, SERVICE},
};
use event_store::Clock;
use models::{
    DatabaseHealth, HealthStatus, HttpHealth, Liveness, ProcessMemory, Readiness, ReadyPart, ReadyStatus,
    ServiceHealth, StoreHealth, SystemHealth, SystemServices, UpDown, WebsocketHealth,
};
use std::{collections::BTreeMap, sync::Arc};

/// Health of the service and its parts.
#[derive(Debug)]
pub struct Health {
    about: Arc<About>,
    probe: Arc<Probe>,
    lifecycle: Lifecycle,
    clock: Arc<dyn Clock>,
    sockets: Arc<dyn OpenSockets>,
}

/// The sockets, as far as health asks them.
pub trait OpenSockets: Send + Sync + std::fmt::Debug + 'static {
    /// The port that they listen on, beside that of HTTP.
    fn port(&self) -> u16;

    /// How many are open.
    fn open(&self) -> usize;

    /// How many there may be.
    fn most(&self) -> usize;
}

impl Health {
    /// Health of this service.
    #[must_use]
    pub fn new(
        about: Arc<About>,
        probe: Arc<Probe>,
        lifecycle: Lifecycle,
        clock: Arc<dyn Clock>,
        sockets: Arc<dyn OpenSockets>,
    ) -> Self {
        Self { about, probe, lifecycle, clock, sockets }
    }

    /// That the process lives.
    #[must_use]
    pub fn service(&self) -> ServiceHealth {
        ServiceHealth {
            status: HealthStatus::Healthy,
            timestamp: self.about.now(),
            service: SERVICE.to_owned(),
            kurrentdb_url: self.about.kurrentdb_url.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            environment: self.about.environment.to_owned(),
            uptime: self.about.uptime_millis(),
        }
    }

    /// That the process lives, and nothing else.
    #[must_use]
    pub fn liveness(&self) -> Liveness {
        Liveness { status: "ok".to_owned(), timestamp: self.about.now() }
    }

    /// Whether requests should be sent here. A service that is stopping says so at once, without asking its parts.
    pub async fn readiness(&self) -> Readiness {
        let phase = self.lifecycle.phase();
        if phase != Phase::Running {
            let part = |message: &str| {
                let part = ReadyPart { status: UpDown::Down, message: Some(message.to_owned()) };
                BTreeMap::from([("service".to_owned(), part)])
            };
            let (status, error) = match phase {
                Phase::Starting => (ReadyStatus::Error, part("the service is starting")),
                _ => (ReadyStatus::ShuttingDown, part("the service is stopping")),
            };
            return Readiness { status, info: BTreeMap::new(), details: error.clone(), error };
        }
        let database = self.probe.database().await;
        let part = |check: &str, up: bool| {
            let message = database.errors.iter().find(|e| e.starts_with(check)).cloned();
            if up {
                ReadyPart { status: UpDown::Up, message: None }
            } else {
                ReadyPart {
                    status: UpDown::Down,
                    message: message.or_else(|| Some("it failed its check".to_owned())),
                }
            }
        };
        let details = BTreeMap::from([
            ("eventStoreRead".to_owned(), part("read", database.checks.connection && database.checks.read)),
            (
                "eventStoreWrite".to_owned(),
                part("write", database.checks.connection && database.checks.write),
            ),
        ]);
        let (info, error): (BTreeMap<_, _>, BTreeMap<_, _>) =
            details.clone().into_iter().partition(|(_, part)| part.status == UpDown::Up);
        let status = if error.is_empty() { ReadyStatus::Ok } else { ReadyStatus::Error };
        Readiness { status, info, error, details }
    }

    /// How the event store is.
    pub async fn database(&self) -> Arc<DatabaseHealth> {
        self.probe.database().await
    }

    /// How every part is; the worst decides.
    pub async fn system(&self) -> SystemHealth {
        let began = self.clock.monotonic();
        let store = self.probe.database().await;
        let memory =
            Memory::read().map(|m| ProcessMemory { rss: m.resident, peak: m.peak, r#virtual: m.virtual_ });
        let http = HttpHealth {
            // The answer itself came by HTTP, so that works; what can be doubtful is whether it is to go on.
            status: if self.lifecycle.phase() == Phase::Running {
                HealthStatus::Healthy
            } else {
                HealthStatus::Degraded
            },
            port: self.about.http_port,
            memory: memory.unwrap_or_default(),
            environment: self.about.environment.to_owned(),
            uptime: self.about.uptime_millis(),
        };
        let open = self.sockets.open();
        let websocket = WebsocketHealth {
            // Who comes now is refused while all places are taken.
            status: if self.lifecycle.phase() == Phase::Running && open < self.sockets.most() {
                HealthStatus::Healthy
            } else {
                HealthStatus::Degraded
            },
            port: self.sockets.port(),
            connections: open as u64,
        };
        SystemHealth {
            timestamp: self.about.now(),
            overall_status: http.status.max(websocket.status).max(store.status),
            services: SystemServices { http, websocket, kurrentdb: self.in_short(&store) },
            response_time: millis(self.clock.monotonic().saturating_sub(began)),
        }
    }

    fn in_short(&self, store: &DatabaseHealth) -> StoreHealth {
        StoreHealth {
            status: store.status,
            connected: store.connected,
            connection_status: store.connection_status,
            url: self.about.kurrentdb_url.clone(),
            response_time: store.response_time,
            performance_grade: store.performance_grade,
            thresholds: store.thresholds,
            error: (!store.errors.is_empty()).then(|| store.errors.join("; ")),
        }
    }
}
