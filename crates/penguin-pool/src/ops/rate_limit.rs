//! The rate limit: so many requests from one address in a window, coming back evenly (GCRA).

use crate::{
    config::{Proxies, Settings},
    http::ApiError,
};
use axum::{
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderValue},
    middleware::Next,
    response::{IntoResponse, Response},
};
use event_store::{Clock, ErrorCode};
use governor::{
    Quota, RateLimiter, clock::Clock as _, middleware::StateInformationMiddleware,
    state::keyed::DashMapStateStore,
};
use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

/// How many addresses are told apart at once. Further ones share [`SHARED`] allowances until some are forgotten.
const MOST_ADDRESSES: usize = 100_000;
const SHARED: u64 = 1024;
/// After how many requests the addresses that have their full allowance again are forgotten.
const SWEEP_EVERY: u32 = 4096;

/// The injected clock, as the library wants it.
#[derive(Debug, Clone)]
struct Hands(Arc<dyn Clock>);

impl governor::clock::Clock for Hands {
    type Instant = Duration;
    fn now(&self) -> Duration {
        self.0.monotonic()
    }
}

/// Whose allowance a request comes out of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    /// An address; for IPv6 the network that one customer is given, of which he can use any address.
    Address(IpAddr),
    /// One of the allowances that addresses share while too many are known.
    Shared(u64),
}

impl Key {
    fn of(ip: IpAddr) -> Self {
        Self::Address(match ip.to_canonical() {
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into(),
            v4 => v4,
        })
    }

    fn shared(self) -> Self {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        Self::Shared(hasher.finish() % SHARED)
    }
}

/// What each address may do, and what it has left.
#[derive(Debug)]
pub struct Limiter {
    limiter: RateLimiter<Key, DashMapStateStore<Key>, Hands, StateInformationMiddleware>,
    hands: Hands,
    proxies: Proxies,
    /// The time after which one request is given back.
    period: Duration,
    seen: AtomicU32,
    full: AtomicBool,
}

/// What came of asking for one request.
struct Verdict {
    limit: u32,
    remaining: u32,
    /// Seconds until the whole allowance is there again.
    reset: u64,
    /// For a refusal: seconds until one request is.
    retry_after: Option<u64>,
}

impl Limiter {
    /// The limit that the settings ask for; nothing if they lift it.
    #[must_use]
    pub fn new(settings: &Settings, clock: Arc<dyn Clock>) -> Option<Self> {
        let requests =
            u32::try_from(settings.rate_limit_max_requests.get()).ok().and_then(NonZeroU32::new)?;
        // Never zero: the shortest window is 1 ms, and what is shorter than a nanosecond a request is no limit.
        let period = settings.rate_limit_window_ms.get().checked_div(requests.get())?;
        let quota = Quota::with_period(period)?.allow_burst(requests);
        let hands = Hands(clock);
        Some(Self {
            limiter: RateLimiter::<_, _, _, StateInformationMiddleware>::new(
                quota,
                DashMapStateStore::default(),
                hands.clone(),
            ),
            hands,
            proxies: settings.trusted_proxies.clone(),
            period,
            seen: AtomicU32::new(0),
            full: AtomicBool::new(false),
        })
    }

    fn ask(&self, ip: IpAddr) -> Verdict {
        if self.seen.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            self.limiter.retain_recent();
            let full = self.limiter.len() > MOST_ADDRESSES;
            if self.full.swap(full, Ordering::Relaxed) && !full {
                self.limiter.shrink_to_fit();
            }
        }
        let key = Key::of(ip);
        let key = if self.full.load(Ordering::Relaxed) { key.shared() } else { key };
        let seconds = |d: Duration| d.as_secs() + u64::from(d.subsec_nanos() > 0);
        match self.limiter.check_key(&key) {
            Ok(state) => {
                let limit = state.quota().burst_size().get();
                let remaining = state.remaining_burst_capacity();
                let reset = seconds(self.period * (limit - remaining));
                Verdict { limit, remaining, reset, retry_after: None }
            }
            Err(refusal) => {
                let limit = refusal.quota().burst_size().get();
                let wait = refusal.wait_time_from(self.hands.now());
                let retry_after = Some(seconds(wait).max(1));
                Verdict { limit, remaining: 0, reset: seconds(self.period * limit), retry_after }
            }
        }
    }
}

/// The address that a request comes from: of those that the trusted proxies passed on, the last that is not one of them.
pub(crate) fn caller(peer: IpAddr, headers: &HeaderMap, proxies: &Proxies) -> IpAddr {
    let trusted = |ip: IpAddr| proxies.0.iter().any(|network| network.contains(ip));
    let mut caller = peer;
    if proxies.0.is_empty() || !trusted(peer) {
        return caller;
    }
    let lines = headers.get_all("x-forwarded-for");
    let hops: Vec<&str> = lines.iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).collect();
    for hop in hops.into_iter().rev() {
        let Ok(ip) = hop.trim().parse() else { break };
        caller = ip;
        if !trusted(ip) {
            break;
        }
    }
    caller
}

/// Refuses requests beyond the limit with 429, and says on every answer what is left.
pub async fn limit(State(limiter): State<Arc<Limiter>>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let Some(peer) = peer.filter(|_| !super::is_probe(request.uri().path())) else {
        return next.run(request).await;
    };
    let verdict = limiter.ask(caller(peer, request.headers(), &limiter.proxies));
    let mut response = match verdict.retry_after {
        None => next.run(request).await,
        Some(seconds) => {
            let message = format!("Too many requests; try again in {seconds} s");
            ApiError::new(ErrorCode::RateLimited, message).retry_after(seconds).into_response()
        }
    };
    let headers = response.headers_mut();
    headers.insert("x-ratelimit-limit", verdict.limit.into());
    headers.insert("x-ratelimit-remaining", verdict.remaining.into());
    headers.insert("x-ratelimit-reset", HeaderValue::from(verdict.reset));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Inputs, Value as _};

    fn from(peer: &str, forwarded: &str) -> String {
        let proxies = Proxies::parse("10.0.0.0/8,192.168.1.1").unwrap();
        let headers =
            HeaderMap::from_iter([("x-forwarded-for".parse().unwrap(), forwarded.parse().unwrap())]);
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
    }

    #[test]
    fn any_number_of_addresses_is_held_in_bounded_memory_and_forgotten_again() {
        let variables = [("RATE_LIMIT_WINDOW_MS", "60000"), ("RATE_LIMIT_MAX_REQUESTS", "1")];
        let variables = variables.map(|(k, v)| (k.to_owned(), v.to_owned())).into_iter().collect();
        let settings = Config::from_inputs(&Inputs { variables, directory: None }).unwrap().settings;
        let clock = Arc::new(test_support::MockClock::new());
        let limiter = Limiter::new(&settings, clock.clone()).unwrap();
        let caller = |i: u32| IpAddr::from(std::net::Ipv4Addr::from_bits(i));
        for i in 0..150_000 {
            limiter.ask(caller(i));
        }
        let most = MOST_ADDRESSES + SWEEP_EVERY as usize + usize::try_from(SHARED).unwrap();
        assert!(limiter.limiter.len() <= most, "{}", limiter.limiter.len());
        assert!(limiter.full.load(Ordering::Relaxed));
        clock.advance(Duration::from_secs(121));
        for _ in 0..SWEEP_EVERY {
            limiter.ask(caller(7));
        }
        assert!(limiter.limiter.len() <= 2, "{}", limiter.limiter.len());
        assert!(!limiter.full.load(Ordering::Relaxed));
    }

    #[test]
    fn one_network_of_ipv6_is_one_caller() {
        let key = |ip: &str| Key::of(ip.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:2"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:1.2.3.4"), key("1.2.3.4"));
    }
}
