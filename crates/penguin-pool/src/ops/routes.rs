//! The route of `/metrics`.

use super::metrics::Metrics;
use crate::{endpoint, health::ReadModels, http::Routes};
use axum::{
    extract::State,
    http::{HeaderName, header},
};
use std::sync::Arc;

/// The routes.
pub fn routes(metrics: Metrics, read_models: Arc<dyn ReadModels>) -> Routes {
    Routes::new("Operations", "For who runs the service.")
        .get("/metrics", get_metrics, get_metrics::DOC)
        .with_state((metrics, read_models))
}

endpoint! {
    /// What is counted, in Prometheus' text format.
    []
    async fn get_metrics(State((metrics, read_models)): State<(Metrics, Arc<dyn ReadModels>)>) -> ([(HeaderName, &'static str); 1], String) {
        read_models.measure().await;
        ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render())
    }
}
