//! Operations: request ids, logs, metrics, limits, and how the service begins and ends.
//!
//! [`layers`] puts everything around the API in one order, and each layer relies on those outside of it:
//!
//! 1. request id and clock ([`http::context`](crate::http::context)): every answer, a refusal by any layer too, has them;
//! 2. access log and metrics ([`access`]): they see the answer as the caller does;
//! 3. security headers, CORS ([`headers`]): a browser can read refusals;
//! 4. compression; feeds are left alone;
//! 5. who calls ([`authenticate`]), and how often ([`rate_limit`]): before anything else is spent on the request; sockets
//!    are asked too (around it, where a trail is kept: where a request comes from, [`origin`](crate::audit::origin));
//! 6. shutdown, concurrency and time limits ([`load`]);
//! 7. feeds ([`feeds`]): their number, and their end at shutdown;
//! 8. the API itself, which catches panics and limits bodies.

pub mod access;
pub mod authenticate;
pub mod feeds;
pub mod headers;
pub mod lifecycle;
pub mod load;
pub mod logging;
pub mod measured;
pub mod metrics;
pub mod rate_limit;
mod routes;
pub mod window;

pub use lifecycle::{Lifecycle, Phase};
pub use measured::Measured;
pub use rate_limit::{Calls, Limiter};
pub use routes::routes;

use crate::{
    audit,
    config::Settings,
    http::{self, Context},
    security::{Identity, OwnPass},
};
use axum::{Router, middleware::from_fn_with_state};
use event_store::{Clock, IdSource};
use std::sync::Arc;
use tower_http::compression::{
    CompressionLayer,
    predicate::{DefaultPredicate, NotForContentType, Predicate as _},
};

/// What the layers need.
#[derive(Debug)]
pub struct Options<'a> {
    /// The limits, and the origins that may call.
    pub settings: &'a Settings,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes the ids of requests.
    pub ids: Arc<dyn IdSource>,
    /// How the service is.
    pub lifecycle: Lifecycle,
    /// Finds out who calls.
    pub identity: Identity,
    /// How often each may; nothing for as often as they like.
    pub limiter: Option<Limiter>,
    /// What the checks of this process's own listeners show.
    pub own: OwnPass,
}

/// Puts every layer around the API, in the order that this module's description gives. Sockets stay outside of the limits
/// that are for requests: they are long-lived, and have limits of their own.
pub fn layers(api: Router, sockets: Router, options: &Options<'_>) -> Router {
    let Options { settings, clock, ids, lifecycle, identity, limiter, own } = options;
    // What is counted before the counting begins is lost, and a gauge would be wrong for ever.
    let _ = metrics::Metrics::begin(Arc::clone(clock));
    let feeds = feeds::Feeds::new(settings.max_subscriptions.as_usize(), lifecycle.clone());
    let load = load::Load::new(settings.max_concurrent_requests.as_usize(), settings.request_timeout.get());
    let compression = CompressionLayer::new()
        .compress_when(DefaultPredicate::new().and(NotForContentType::const_new("text/event-stream")));
    // The last layer is the outermost.
    let mut api =
        api.layer(from_fn_with_state(feeds, feeds::limit)).layer(from_fn_with_state(load, load::limit));
    api = api.merge(sockets);
    // Which methods a path takes is told to everybody.
    let known = api.clone();
    let limiter = limiter.clone();
    let doorkeeper = authenticate::Doorkeeper::new(
        identity.clone(),
        limiter,
        settings.trusted_proxies.clone(),
        own.clone(),
    );
    api = api.layer(from_fn_with_state(doorkeeper, authenticate::identify));
    if settings.audit {
        let proxies = settings.trusted_proxies.clone();
        api = api.layer(from_fn_with_state(proxies, audit::origin::observe));
    }
    api.layer(compression)
        .layer(headers::cors(&settings.allowed_origins))
        .layer(from_fn_with_state(known, headers::options))
        .layer(axum::middleware::map_response(headers::secure))
        .layer(from_fn_with_state(Arc::clone(clock), access::observe))
        .layer(from_fn_with_state(Context { clock: Arc::clone(clock), ids: Arc::clone(ids) }, http::context))
}

/// Whether this is health's or the metrics' path: they must answer when everything else is refused, and they are asked
/// every few seconds for ever.
fn is_probe(path: &str) -> bool {
    path == "/metrics" || path == "/health" || path.starts_with("/health/")
}
