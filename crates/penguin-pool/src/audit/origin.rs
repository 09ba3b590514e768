//! Where the request under way comes from.

use crate::{config::Proxies, http::RequestId, ops::rate_limit};
use axum::{
    extract::{ConnectInfo, Request, State},
    middleware::Next,
    response::Response,
};
use std::net::{IpAddr, SocketAddr};

/// A request, as the trail knows it.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) request_id: Option<String>,
    pub(super) address: Option<IpAddr>,
}

tokio::task_local! {
    static ORIGIN: Origin;
}

/// The request under way; nothing outside of one.
pub(super) fn current() -> Option<Origin> {
    ORIGIN.try_with(Clone::clone).ok()
}

/// The layer within which [`current`] is known. It stands inside of the one that gives requests their ids.
pub async fn observe(State(proxies): State<Proxies>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let origin = Origin {
        request_id: request.extensions().get::<RequestId>().map(|id| id.as_str().to_owned()),
        address: peer.map(|peer| rate_limit::caller(peer, request.headers(), &proxies)),
    };
    ORIGIN.scope(origin, next.run(request)).await
}
