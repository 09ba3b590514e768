//! What health answers.

use super::{
    parts::{Listener, OpenSockets, WatchedServices},
    probe::{Probe, SHARED_FOR, millis},
};
use crate::{
    ops::{Lifecycle, Phase, metrics::Memory},
    status::{About, SERVICE},
    uptime::target::OWN,
};
use event_store::Clock;
use models::{
    CurrentStatus, DatabaseHealth, HealthStatus, HttpHealth, ListenerHealth, Liveness, ProcessMemory,
    Readiness, ReadyPart, ReadyStatus, ServiceHealth, StoreHealth, SystemHealth, SystemServices, UpDown,
    WebsocketHealth,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::Mutex;

/// Health of the service and its parts.
#[derive(Debug)]
pub struct Health {
    about: Arc<About>,
    probe: Arc<Probe>,
    lifecycle: Lifecycle,
    clock: Arc<dyn Clock>,
    sockets: Arc<dyn OpenSockets>,
    watched: Arc<dyn WatchedServices>,
    /// How this process's own listeners were, and when by the monotonic clock.
    listeners: Mutex<Option<(Duration, [ListenerHealth; 2])>>,
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
        watched: Arc<dyn WatchedServices>,
    ) -> Self {
        Self { about, probe, lifecycle, clock, sockets, watched, listeners: Mutex::new(None) }
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

    /// Whether the API can be used, as far as it is known without a check: for who follows the service's health.
    #[must_use]
    pub fn proxy(&self) -> HealthStatus {
        let known = self.watched.known().remove(Listener::Http.name());
        let known = known.and_then(|known| verdict(known.status)).unwrap_or(HealthStatus::Healthy);
        if self.lifecycle.phase() == Phase::Running { known } else { known.max(HealthStatus::Degraded) }
    }

    /// How every part is; the worst decides.
    pub async fn system(&self) -> SystemHealth {
        let began = self.clock.monotonic();
        // Before the checks, whose own socket is not meant.
        let connections = self.sockets.open() as u64;
        let (store, [http, websocket]) = tokio::join!(self.probe.database(), self.listeners());
        let memory =
            Memory::read().map(|m| ProcessMemory { rss: m.resident, peak: m.peak, r#virtual: m.virtual_ });
        let watched = self.watched.known();
        let of_others = watched.iter().filter(|(name, _)| !OWN.contains(&name.as_str()));
        let worst = of_others.filter_map(|(_, known)| verdict(known.status)).max();
        let overall = http.status.max(websocket.status).max(store.status);
        let http = HttpHealth {
            listener: http,
            port: self.about.http_port,
            memory: memory.unwrap_or_default(),
            environment: self.about.environment.to_owned(),
            uptime: self.about.uptime_millis(),
        };
        let websocket = WebsocketHealth { listener: websocket, port: self.sockets.port(), connections };
        SystemHealth {
            timestamp: self.about.now(),
            overall_status: overall.max(worst.unwrap_or(HealthStatus::Healthy)),
            services: SystemServices { http, websocket, kurrentdb: self.in_short(&store) },
            watched,
            response_time: millis(self.clock.monotonic().saturating_sub(began)),
        }
    }

    /// How this process's own listeners answer: HTTP, and sockets. Looked at once in [`SHARED_FOR`] at most; callers that
    /// come meanwhile wait for it.
    async fn listeners(&self) -> [ListenerHealth; 2] {
        if self.lifecycle.phase() != Phase::Running {
            // They are not to be used, whether they answer or not.
            return [(); 2].map(|()| degraded("the service is starting or stopping"));
        }
        let mut last = self.listeners.lock().await;
        let fresh = |(at, _): &&(Duration, _)| self.clock.monotonic().saturating_sub(*at) < SHARED_FOR;
        let listeners = match last.as_ref().filter(fresh) {
            Some((_, listeners)) => listeners.clone(),
            None => {
                let (http, websocket) =
                    tokio::join!(self.listener(Listener::Http), self.listener(Listener::Websocket));
                last.insert((self.clock.monotonic(), [http, websocket])).1.clone()
            }
        };
        drop(last);
        listeners
    }

    async fn listener(&self, listener: Listener) -> ListenerHealth {
        if listener == Listener::Websocket && self.sockets.open() >= self.sockets.most() {
            return degraded("all places are taken: who comes now is refused");
        }
        match self.watched.check(listener).await {
            Some(seen) => seen,
            None => degraded("it does not listen yet"),
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

/// What a state says of health; nothing where nothing is known.
fn verdict(status: CurrentStatus) -> Option<HealthStatus> {
    match status {
        CurrentStatus::Up => Some(HealthStatus::Healthy),
        CurrentStatus::Degraded => Some(HealthStatus::Degraded),
        CurrentStatus::Down => Some(HealthStatus::Unhealthy),
        CurrentStatus::Unknown => None,
    }
}

/// A listener of which no answer was asked for.
fn degraded(why: &str) -> ListenerHealth {
    ListenerHealth {
        status: HealthStatus::Degraded,
        response_time: None,
        performance_grade: None,
        error: Some(why.to_owned()),
    }
}
