//! Where what is under way comes from: the request, or the connection that asked for it.

use crate::{
    config::Proxies,
    http::{CameFrom, RequestId},
    ops::rate_limit,
};
use axum::{
    extract::{ConnectInfo, Request, State},
    middleware::Next,
    response::Response,
};
use std::net::{IpAddr, SocketAddr};

/// A request or a connection, as the trail knows it.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    pub(super) request_id: Option<String>,
    pub(super) address: Option<IpAddr>,
}

tokio::task_local! {
    static ORIGIN: Origin;
}

/// What is under way; nothing where nobody asked for it but the service itself.
pub(super) fn current() -> Option<Origin> {
    ORIGIN.try_with(Clone::clone).ok()
}

impl Origin {
    /// An address, if it is known, and no request that has an id.
    #[must_use]
    pub const fn at(address: Option<IpAddr>) -> Self {
        Self { request_id: None, address }
    }

    /// A request that the layers have seen.
    #[must_use]
    pub fn of(request: &Request) -> Self {
        let extensions = request.extensions();
        Self {
            request_id: extensions.get::<RequestId>().map(|id| id.as_str().to_owned()),
            address: extensions.get::<CameFrom>().and_then(|came| came.0),
        }
    }

    /// Where it is, if that is known.
    #[must_use]
    pub const fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Does something that is asked for from there. What a task does that it starts is not a part of it: a request's tasks,
    /// and what a connection asks for after its first request, are to be put around anew.
    pub async fn around<T>(self, deed: impl Future<Output = T>) -> T {
        ORIGIN.scope(self, deed).await
    }
}

/// The layer within which it is known where a request comes from. It stands inside of the one that gives requests their ids.
pub async fn observe(State(proxies): State<Proxies>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let address = peer.map(|peer| rate_limit::caller(peer, request.headers(), &proxies));
    Origin { address, ..Origin::of(&request) }.around(next.run(request)).await
}
