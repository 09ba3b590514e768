//! The route of `/metrics`.

use super::metrics::Metrics;
use crate::{
    endpoint,
    health::ReadModels,
    http::{ApiError, Routes},
    security::{Caller, Duty, Gate},
};
use axum::{
    extract::State,
    http::{HeaderName, header},
};
use std::sync::Arc;

/// What is counted, and for whom.
#[derive(Debug, Clone)]
struct Counted {
    gate: Gate,
    metrics: Metrics,
    read_models: Arc<dyn ReadModels>,
}

/// The routes.
pub fn routes(gate: Gate, metrics: Metrics, read_models: Arc<dyn ReadModels>) -> Routes {
    Routes::new("Operations", "For who runs the service.")
        .get("/metrics", get_metrics, get_metrics::DOC)
        .with_state(Counted { gate, metrics, read_models })
}

endpoint! {
    /// What is counted, in Prometheus' text format, for administrators and for accounts with the role `metrics`.
    [PermissionDenied]
    async fn get_metrics(State(counted): State<Counted>, caller: Caller) -> Result<([(HeaderName, &'static str); 1], String), ApiError> {
        let Counted { gate, metrics, read_models } = counted;
        gate.require_duty(&caller, Duty::SeeMetrics)?;
        read_models.measure().await;
        Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render()))
    }
}
