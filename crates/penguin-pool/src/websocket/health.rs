//! What `/ws/health` tells: how the service is, and each change of a service that is watched.

use event_store::Clock;
use models::{
    ConnectionMessage, ConnectionTag, DateTime, HealthServices, HealthStatusMessage, HealthStatusTag,
    PartHealth, ServiceState, ServiceStatusChangeMessage, ServiceStatusChangeTag, ServiceStatusMetadata,
};
use serde::Serialize;
use serde_json::value::RawValue;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::broadcast;

/// How many messages a follower may lag behind before it loses the oldest; it is told so and sends the state anew.
const BACKLOG: usize = 256;

/// How the service is, and who is told. Whoever finds something out says it here; the sockets pass it on.
///
/// Cloning shares the feed.
#[derive(Debug, Clone)]
pub struct HealthFeed(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Arc<dyn Clock>,
    /// What is known now. Held while it is told, so that messages go out in the order of what they say.
    now: Mutex<HealthServices>,
    told: broadcast::Sender<Message>,
}

/// A message of `/ws/health`, written once however many receive it. Cloning is cheap.
#[derive(Debug, Clone)]
pub(super) struct Message {
    /// Its name as a Socket.IO event; also its `type`.
    pub(super) name: &'static str,
    /// The message, as JSON.
    pub(super) body: Arc<RawValue>,
}

impl Message {
    fn new(name: &'static str, body: &impl Serialize) -> Self {
        // These types have no map with keys other than text, and no number that JSON cannot say.
        let body = serde_json::value::to_raw_value(body).unwrap_or_else(|_| RawValue::NULL.to_owned());
        Self { name, body: body.into() }
    }
}

impl HealthFeed {
    /// A feed of which nothing is known yet but that this service runs.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let now = HealthServices { proxy: PartHealth::Healthy, kurrentdb: PartHealth::Unknown };
        Self(Arc::new(Inner { clock, now: Mutex::new(now), told: broadcast::Sender::new(BACKLOG) }))
    }

    /// Says how the parts of the service are. All are told if that is news.
    pub fn found(&self, services: HealthServices) {
        let mut now = self.now();
        if *now != services {
            *now = services;
            self.tell(self.status(services));
        }
    }

    /// Says how the parts of the service are after something changed. All are told, news or not.
    pub fn confirmed(&self, services: HealthServices) {
        let mut now = self.now();
        *now = services;
        self.tell(self.status(services));
    }

    /// Says that a watched service changed its state, when, and what is known of it. All are told.
    pub fn changed(
        &self,
        service_name: &str,
        status: ServiceState,
        timestamp: DateTime,
        metadata: ServiceStatusMetadata,
    ) {
        let _now = self.now();
        let message = ServiceStatusChangeMessage {
            kind: ServiceStatusChangeTag::Is,
            timestamp,
            service_name: service_name.to_owned(),
            status,
            metadata,
        };
        self.tell(Message::new("service_status_change", &message));
    }

    /// Tells all how the service is, news or not.
    fn repeat(&self) {
        let now = self.now();
        self.tell(self.status(*now));
    }

    /// Tells all how the service is every `interval`, for as long as this runs.
    pub(super) async fn repeat_every(self, interval: Duration) {
        loop {
            tokio::time::sleep(interval).await;
            self.repeat();
        }
    }

    /// What whoever connects now is told first, and then everything that is told from now on.
    pub(super) fn follow(&self) -> ([Message; 2], broadcast::Receiver<Message>) {
        let now = self.now();
        ([self.greeting(), self.status(*now)], self.0.told.subscribe())
    }

    /// Greets one who connects with what it is told first. Nothing newer is told to anybody meanwhile, so that it cannot be
    /// overtaken; `greet` must not wait.
    pub(super) fn welcome(&self, greet: impl FnOnce([Message; 2])) {
        let now = self.now();
        greet([self.greeting(), self.status(*now)]);
    }

    fn now(&self) -> MutexGuard<'_, HealthServices> {
        self.0.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn time(&self) -> DateTime {
        DateTime::from_millis(self.0.clock.now().millis())
    }

    fn greeting(&self) -> Message {
        let message = ConnectionMessage {
            kind: ConnectionTag::Is,
            message: "Connected to health and uptime monitoring service".to_owned(),
            timestamp: self.time(),
        };
        Message::new("connection", &message)
    }

    fn status(&self, services: HealthServices) -> Message {
        let message = HealthStatusMessage { kind: HealthStatusTag::Is, timestamp: self.time(), services };
        Message::new("health_status", &message)
    }

    fn tell(&self, message: Message) {
        // Nobody may be listening, and that is all right.
        let _ = self.0.told.send(message);
    }
}
