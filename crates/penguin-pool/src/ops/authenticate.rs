//! Who calls: from the headers of a request to its [`Caller`](crate::security::Caller), which routes take as an extension.

use super::rate_limit;
use crate::{
    config::Proxies,
    http::{ApiError, CameFrom, credentials, is_open},
    security::{Credentials, Identity, Refused},
};
use axum::{
    extract::{ConnectInfo, Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use event_store::ErrorCode;
use std::net::SocketAddr;

/// What the layer needs.
#[derive(Debug, Clone)]
pub struct Doorkeeper {
    identity: Identity,
    proxies: Proxies,
}

impl Doorkeeper {
    /// Lets in whom `identity` knows; `proxies` are believed when they say for whom they ask.
    #[must_use]
    pub const fn new(identity: Identity, proxies: Proxies) -> Self {
        Self { identity, proxies }
    }
}

/// What is asked of who comes to a path.
#[derive(Debug, PartialEq, Eq)]
enum Door {
    /// Nothing: credentials are not looked at, good or bad.
    Open,
    /// Credentials are looked at if they are there; who has none is nobody. What stands behind asks for them itself.
    Ajar,
    /// Credentials.
    Closed,
}

fn door(path: &str) -> Door {
    match path {
        _ if is_open(path) => Door::Open,
        // Health is for everybody here too, and Socket.IO brings credentials when it connects to a namespace.
        "/ws/health" | "/socket.io" | "/socket.io/" => Door::Ajar,
        _ => Door::Closed,
    }
}

/// Finds out who calls, and refuses whoever must say so and does not, or says it wrongly.
pub async fn identify(State(doorkeeper): State<Doorkeeper>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let from = peer.map(|peer| rate_limit::caller(peer, request.headers(), &doorkeeper.proxies));
    let identity = &doorkeeper.identity;
    let door = door(request.uri().path());
    let credentials = if door == Door::Open { Credentials::None } else { credentials(request.headers()) };
    match identity.identify(&credentials, from).await {
        Ok(caller) if door == Door::Closed && !caller.is_known() => missing().into_response(),
        Ok(caller) => {
            request.extensions_mut().insert(CameFrom(from));
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refused) => ApiError::from(refused).into_response(),
    }
}

fn missing() -> ApiError {
    let message = "Say who you are: send Authorization: Bearer, Basic or ApiKey, or x-api-key";
    ApiError::new(ErrorCode::AuthenticationFailed, message)
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        let retry_after = refused.retry_after();
        let error = match refused {
            Refused::Store(error) => error.into(),
            other => Self::new(other.code(), other.to_string()),
        };
        match retry_after {
            Some(seconds) => error.retry_after(seconds),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_only_looks_like_an_open_one_is_closed() {
        for open in ["/health", "/health/ready", "/api/docs", "/api/auth/token"] {
            assert_eq!(door(open), Door::Open, "{open}");
        }
        for closed in [
            "/healthy",
            "/api/docs/x",
            "/api/auth/tokens",
            "/",
            "//health",
            "/metrics",
            "/api/status",
            "/socket.io/x",
        ] {
            assert_eq!(door(closed), Door::Closed, "{closed}");
        }
    }
}
