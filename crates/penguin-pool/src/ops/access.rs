//! The access log, and the metrics of requests.

use crate::http::RequestId;
use axum::{
    extract::{MatchedPath, Request, State},
    http::Method,
    middleware::Next,
    response::Response,
};
use event_store::Clock;
use metrics::{Label, SharedString};
use std::{sync::Arc, time::Duration};
use tracing::Instrument as _;

/// Where requests that no route takes are counted.
const NO_ROUTE: &str = "(none)";

/// Runs a request in a span that carries its id, logs it when its answer begins, and measures it.
///
/// The query is not logged: it may hold what its sender would not want to see in a log.
pub async fn observe(State(clock): State<Arc<dyn Clock>>, request: Request, next: Next) -> Response {
    let began = clock.monotonic();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let id = request.extensions().get::<RequestId>().map(|id| id.as_str().to_owned()).unwrap_or_default();
    let span = tracing::info_span!("request", request_id = %id);
    let in_flight = InFlight::begin();
    let response = next.run(request).instrument(span.clone()).await;
    drop(in_flight);
    let took = clock.monotonic().saturating_sub(began);
    let status = response.status().as_u16();
    span.in_scope(|| log(&method, &path, status, took));
    let route = route.as_ref().map_or(NO_ROUTE, MatchedPath::as_str);
    measure(&method, route.to_owned().into(), status, took);
    response
}

fn log(method: &Method, path: &str, status: u16, took: Duration) {
    let ms = took.as_secs_f64() * 1000.0;
    match status {
        500.. => tracing::warn!(%method, path, status, ms, "answered"),
        // Probes come every few seconds for ever, and say nothing while all is well.
        // Long polls come as often.
        _ if super::is_probe(path) || path.starts_with("/socket.io") => {
            tracing::debug!(%method, path, status, ms, "answered")
        }
        _ => tracing::info!(%method, path, status, ms, "answered"),
    }
}

fn measure(method: &Method, route: SharedString, status: u16, took: Duration) {
    let method = known(method);
    let labels = vec![
        Label::new("method", method),
        Label::new("route", route.clone()),
        Label::new("status", status.to_string()),
    ];
    metrics::counter!("http_requests_total", labels).increment(1);
    metrics::histogram!("http_request_duration_seconds", "method" => method, "route" => route)
        .record(took.as_secs_f64());
}

/// A caller can make up methods; the metrics must not grow with them.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}

/// Counts a request as under way until it is dropped, also when its caller hangs up and the request is dropped with it.
struct InFlight;

impl InFlight {
    fn begin() -> Self {
        metrics::gauge!("http_requests_in_flight").increment(1);
        Self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        metrics::gauge!("http_requests_in_flight").decrement(1);
    }
}
