//! The routes of `/health`. None of them looks at credentials.

use super::Health;
use crate::{
    endpoint,
    http::{Checked, Routes},
};
use axum::{Json, extract::State};
use models::{DatabaseHealth, HealthStatus, Liveness, Readiness, ReadyStatus, ServiceHealth, SystemHealth};
use std::sync::Arc;

/// The routes.
pub fn routes(health: Arc<Health>) -> Routes {
    Routes::new("Health", "How the service and its parts are. No rate limit, and no credentials.")
        .get("/health", get_health, get_health::DOC)
        .get("/health/live", get_liveness, get_liveness::DOC)
        .get("/health/ready", get_readiness, get_readiness::DOC)
        .get("/health/kurrentdb", get_database_health, get_database_health::DOC)
        .get("/health/comprehensive", get_system_health, get_system_health::DOC)
        .with_state(health)
}

endpoint! {
    /// Whether the process lives.
    []
    async fn get_health(State(health): State<Arc<Health>>) -> Json<ServiceHealth> {
        Json(health.service())
    }
}

endpoint! {
    /// Whether the process lives, for who restarts it.
    []
    async fn get_liveness(State(health): State<Arc<Health>>) -> Json<Liveness> {
        Json(health.liveness())
    }
}

endpoint! {
    /// Whether requests should be sent here, for load balancers.
    ///
    /// 503 while the service starts, while its event store cannot be read or written, and as soon as it was told to stop.
    []
    async fn get_readiness(State(health): State<Arc<Health>>) -> Checked<Readiness> {
        let body = health.readiness().await;
        Checked { ok: body.status == ReadyStatus::Ok, body }
    }
}

endpoint! {
    /// How the event store is.
    ///
    /// The checks are really made: an event is read, one is written, and the read models must take it in. They are made
    /// at most once in five seconds, however often this is asked. 503 when the store is unhealthy.
    []
    async fn get_database_health(State(health): State<Arc<Health>>) -> Checked<DatabaseHealth> {
        let body = health.database().await;
        Checked { ok: body.status != HealthStatus::Unhealthy, body: (*body).clone() }
    }
}

endpoint! {
    /// How every part of the service is; the worst decides.
    ///
    /// A request is made through the service's own listener, a handshake of Socket.IO too, and the store is checked: at most
    /// once in five seconds, however often this is asked. `watched` tells of everything that uptime watches; a configured
    /// service that is down is `unhealthy` here too.
    []
    async fn get_system_health(State(health): State<Arc<Health>>) -> Json<SystemHealth> {
        Json(health.system().await)
    }
}
