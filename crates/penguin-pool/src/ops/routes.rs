//! The route of `/metrics`.

use super::metrics::Metrics;
use crate::{endpoint, http::Routes};
use axum::{
    extract::State,
    http::{HeaderName, header},
};

/// The routes.
pub fn routes(metrics: Metrics) -> Routes {
    Routes::new("Operations", "For who runs the service.")
        .get("/metrics", get_metrics, get_metrics::DOC)
        .with_state(metrics)
}

endpoint! {
    /// What is counted, in Prometheus' text format.
    []
    async fn get_metrics(State(metrics): State<Metrics>) -> ([(HeaderName, &'static str); 1], String) {
        ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render())
    }
}
