//! Who calls, and whether they called too often: from the headers of a request to its
//! [`Caller`](crate::security::Caller), which routes take as an extension, and to the
//! [`Standing`](crate::security::Standing) that what goes on ends with.

use super::rate_limit::{self, Limiter};
use crate::{
    config::Proxies,
    http::{ApiError, CameFrom, credentials, is_open},
    limits::Verdict,
    security::{Admitted, Caller, Credentials, Denied, Duty, Identity, OwnPass, Refused, permission},
};
use axum::{
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderValue},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use event_store::ErrorCode;
use std::net::{IpAddr, SocketAddr};

/// What the layer needs.
#[derive(Debug, Clone)]
pub struct Doorkeeper {
    identity: Identity,
    limiter: Option<Limiter>,
    proxies: Proxies,
    own: OwnPass,
}

impl Doorkeeper {
    /// Lets in whom `identity` knows, as often as `limiter` says; `proxies` are believed when they say for whom they ask. Who
    /// shows `own` is this process, which looks at itself.
    #[must_use]
    pub const fn new(identity: Identity, limiter: Option<Limiter>, proxies: Proxies, own: OwnPass) -> Self {
        Self { identity, limiter, proxies, own }
    }

    /// Whether this process itself knocks at a door that is ajar: where nobody has to be anybody, it is not held to what
    /// strangers are.
    fn is_own(&self, door: &Door, headers: &HeaderMap) -> bool {
        let shown = headers.get(OwnPass::HEADER).map(HeaderValue::as_bytes);
        *door == Door::Ajar && shown.is_some_and(|shown| self.own.is(shown))
    }

    /// Finds out who comes to a door, and what they have left of their allowance, if they have one.
    async fn admit(
        &self,
        door: &Door,
        credentials: Credentials,
        from: Option<IpAddr>,
        allowance: &mut Option<Verdict>,
    ) -> Result<Admitted, ApiError> {
        // Probes must be answered when everything else is refused, and come every few seconds for ever; where credentials
        // are asked for, guesses at them are counted here too.
        let uncounted = match door {
            Door::Open { probe } => *probe,
            Door::Ajar => false,
            Door::Closed { probe } => *probe && !self.identity.is_required(),
        };
        let limited = self.limiter.as_ref().zip(from).filter(|_| !uncounted);
        if let Some((limiter, from)) = limited {
            let verdict = limiter.came(from);
            *allowance = Some(verdict);
            rate_limit::refusal(&verdict).map_or(Ok(()), Err)?;
        }
        let admitted = self.identity.admit(&credentials, from).await?;
        let caller = &admitted.caller;
        let must_be_known = matches!(door, Door::Closed { .. });
        if must_be_known && !caller.is_known() {
            return Err(missing());
        }
        if let Some((limiter, from)) = limited {
            if matches!(door, Door::Closed { probe: true }) && permission::may(caller, Duty::SeeMetrics) {
                limiter.is_free(from);
                *allowance = None;
            } else if caller.is_known() && !caller.is_system() {
                let verdict = limiter.is_of(caller, from);
                *allowance = Some(verdict);
                rate_limit::refusal(&verdict).map_or(Ok(()), Err)?;
            }
        }
        Ok(admitted)
    }
}

/// Says of a request that this process made it, to look at itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwnCheck;

/// What is asked of who comes to a path.
#[derive(Debug, PartialEq, Eq)]
enum Door {
    /// Nothing: credentials are not looked at, good or bad. A probe is not counted.
    Open { probe: bool },
    /// Credentials are looked at if they are there; who has none is nobody. What stands behind asks for them itself.
    Ajar,
    /// Credentials. The request of a probe that may look is not counted once it was let in.
    Closed { probe: bool },
}

fn door(path: &str) -> Door {
    let probe = super::is_probe(path);
    match path {
        _ if is_open(path) => Door::Open { probe },
        // Health is for everybody here too, and Socket.IO brings credentials when it connects to a namespace.
        "/ws/health" | "/socket.io" | "/socket.io/" => Door::Ajar,
        _ => Door::Closed { probe },
    }
}

/// Finds out who calls, and refuses whoever calls too often, or must say who they are and does not, or says it wrongly.
pub async fn identify(State(doorkeeper): State<Doorkeeper>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let from = peer.map(|peer| rate_limit::caller(peer, request.headers(), &doorkeeper.proxies));
    let door = door(request.uri().path());
    let is_open = matches!(door, Door::Open { .. });
    let credentials = if is_open { Credentials::None } else { credentials(request.headers()) };
    if doorkeeper.is_own(&door, request.headers()) {
        request.extensions_mut().insert(OwnCheck);
        request.extensions_mut().insert(CameFrom(from));
        request.extensions_mut().insert(Caller::anonymous());
        return next.run(request).await;
    }
    let mut allowance = None;
    let mut response = match doorkeeper.admit(&door, credentials, from, &mut allowance).await {
        Ok(Admitted { caller, standing }) => {
            request.extensions_mut().insert(CameFrom(from));
            request.extensions_mut().insert(caller);
            request.extensions_mut().insert(standing);
            next.run(request).await
        }
        Err(refused) => refused.into_response(),
    };
    if let Some(verdict) = allowance {
        rate_limit::tell(&verdict, response.headers_mut());
    }
    response
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

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        Self::new(ErrorCode::PermissionDenied, denied.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_only_looks_like_an_open_one_is_closed() {
        for open in ["/health", "/health/ready", "/api/docs", "/api/auth/token"] {
            assert!(matches!(door(open), Door::Open { .. }), "{open}");
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
            assert!(matches!(door(closed), Door::Closed { .. }), "{closed}");
        }
    }
}
