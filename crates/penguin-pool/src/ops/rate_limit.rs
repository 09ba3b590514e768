//! The rate limit: so many requests in a window, coming back evenly, from whoever proved who they are, and else from an
//! address.
//!
//! A request is counted against its address before its credentials are looked at, and given back to it when they are
//! good: what is not proved buys no allowance of its own, and those who are known do not share one because they sit behind
//! one address.
//!
//! On KurrentDB's port and in the sockets' namespaces nothing but what is refused is counted ([`admit`]): whoever is known
//! asks there as often as they like, on KurrentDB's port unless there is a limit of its own ([`Calls`]).

use crate::{
    config::{Proxies, Settings},
    http::ApiError,
    limits::{Allowances, Verdict, Whose},
    security::{Admitted, Caller, Credentials, Identity, Refused},
};
use axum::http::{HeaderMap, HeaderValue};
use event_store::{Clock, ErrorCode};
use std::{net::IpAddr, sync::Arc, time::Duration};

/// What each may do, and what they have left. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Limiter(Arc<Allowances>);

impl Limiter {
    /// The limit that the settings ask for; nothing if they lift it.
    #[must_use]
    pub fn new(settings: &Settings, clock: Arc<dyn Clock>) -> Option<Self> {
        let window = settings.rate_limit_window_ms.get();
        Allowances::new(settings.rate_limit_max_requests.get(), window, clock).map(|a| Self(Arc::new(a)))
    }

    /// Counts a request of which only the address is known.
    pub(super) fn came(&self, from: IpAddr) -> Verdict {
        self.0.take(Whose::address(from))
    }

    /// Counts the request against who made it, and no longer against the address.
    pub(super) fn is_of(&self, caller: &Caller, from: IpAddr) -> Verdict {
        self.is_free(from);
        self.0.take(self.0.caller(caller.id()))
    }

    /// Counts the request no longer.
    pub(super) fn is_free(&self, from: IpAddr) {
        self.0.give_back(Whose::address(from));
    }
}

/// How often each who is known may call by KurrentDB's protocol, and what they have left. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Calls(Arc<Allowances>);

impl Calls {
    /// The limit that the settings ask for; nothing if there is to be none.
    #[must_use]
    pub fn new(settings: &Settings, clock: Arc<dyn Clock>) -> Option<Self> {
        let window = settings.rate_limit_window_ms.get();
        Allowances::new(settings.rate_limit_max_calls.get(), window, clock).map(|a| Self(Arc::new(a)))
    }
}

/// As [`admit`], for a call that is counted against whoever makes it.
///
/// # Errors
/// As [`admit`]; and [`Refused::TooMany`] where the caller has nothing left.
pub(crate) async fn admit_call(
    identity: &Identity,
    limiter: Option<&Limiter>,
    calls: Option<&Calls>,
    credentials: &Credentials,
    from: Option<IpAddr>,
) -> Result<Admitted, Refused> {
    let admitted = admit(identity, limiter, credentials, from).await?;
    let caller = &admitted.caller;
    if let Some(Calls(calls)) = calls
        && caller.is_known()
        && !caller.is_system()
        && let Some(wait) = calls.take(calls.caller(caller.id())).refused
    {
        return Err(Refused::TooMany(wait));
    }
    Ok(admitted)
}

/// Who these credentials are, where only what is refused is counted, against the address: it is taken before they are
/// looked at, and given back when they are somebody's.
///
/// # Errors
/// As [`Identity::admit`]; and [`Refused::TooMany`] where the address has nothing left, which is written down nowhere:
/// each refusal that is costs the disk.
pub(crate) async fn admit(
    identity: &Identity,
    limiter: Option<&Limiter>,
    credentials: &Credentials,
    from: Option<IpAddr>,
) -> Result<Admitted, Refused> {
    // Where nobody has to say who they are, nothing is refused.
    let limited = limiter.zip(from).filter(|_| identity.is_required());
    if let Some((limiter, from)) = limited
        && let Some(wait) = limiter.came(from).refused
    {
        return Err(Refused::TooMany(wait));
    }
    let admitted = identity.admit(credentials, from).await?;
    if let Some((limiter, from)) = limited
        && admitted.caller.is_known()
    {
        limiter.is_free(from);
    }
    Ok(admitted)
}

/// The refusal, if it is one.
pub(super) fn refusal(verdict: &Verdict) -> Option<ApiError> {
    let seconds = seconds(verdict.refused?).max(1);
    let message = format!("Too many requests; try again in {seconds} s");
    Some(ApiError::new(ErrorCode::RateLimited, message).retry_after(seconds))
}

/// Says what is left.
pub(super) fn tell(verdict: &Verdict, headers: &mut HeaderMap) {
    headers.insert("x-ratelimit-limit", verdict.limit.into());
    headers.insert("x-ratelimit-remaining", verdict.remaining.into());
    headers.insert("x-ratelimit-reset", HeaderValue::from(seconds(verdict.reset)));
}

/// Whole seconds, rounded up.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// The address that a request comes from: of those that the trusted proxies passed on, the last that is not one of them.
pub(crate) fn caller(peer: IpAddr, headers: &HeaderMap, proxies: &Proxies) -> IpAddr {
    if proxies.0.is_empty() {
        return peer;
    }
    let lines = headers.get_all("x-forwarded-for");
    // What a caller made up may be any bytes, and hides nothing that the proxies put behind it.
    let hops = lines.iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let hops: Vec<_> = hops.map(String::from_utf8_lossy).collect();
    caller_behind(peer, &hops, proxies)
}

/// The same of a request that says to have come by these hops, the last one last.
pub(crate) fn caller_behind(peer: IpAddr, hops: &[impl AsRef<str>], proxies: &Proxies) -> IpAddr {
    let trusted = |ip: IpAddr| proxies.0.iter().any(|network| network.contains(ip));
    let mut caller = peer;
    if !trusted(peer) {
        return caller;
    }
    for hop in hops.iter().rev().map(AsRef::as_ref) {
        let Ok(ip) = hop.trim().parse() else { break };
        caller = ip;
        if !trusted(ip) {
            break;
        }
    }
    caller
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Value as _;

    fn from(peer: &str, forwarded: &str) -> String {
        let proxies = Proxies::parse("10.0.0.0/8,192.168.1.1").unwrap();
        let forwarded = HeaderValue::from_bytes(forwarded.as_bytes()).unwrap();
        let headers = HeaderMap::from_iter([("x-forwarded-for".parse().unwrap(), forwarded)]);
        caller(peer.parse().unwrap(), &headers, &proxies).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        assert_eq!(from("203.0.113.9", "198.51.100.1"), "203.0.113.9", "a stranger's word");
        assert_eq!(from("10.1.1.1", "198.51.100.1"), "198.51.100.1");
        assert_eq!(
            from("10.1.1.1", "1.2.3.4, 198.51.100.1, 192.168.1.1"),
            "198.51.100.1",
            "what the caller made up"
        );
        assert_eq!(from("10.1.1.1", "198.51.100.1, nonsense"), "10.1.1.1");
        assert_eq!(
            from("10.1.1.1", "1.2.3.4é, 198.51.100.1"),
            "198.51.100.1",
            "what is no text hides nobody"
        );
        assert_eq!(from("10.1.1.1", "198.51.100.1, é, 192.168.1.1"), "192.168.1.1");
    }
}
