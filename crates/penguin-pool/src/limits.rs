//! Allowances: so many in a window, coming back evenly (GCRA). And [`places`]: so many at once.
//!
//! What is taken can be given back, so that something is counted before it is looked at, and many at once are not more
//! than many in a row.

pub mod places;

pub use places::{Full, Holder, Place, Places, Shares};

use event_store::Clock;
use lru::LruCache;
use std::{
    hash::{BuildHasher as _, Hash, RandomState},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// How many are told apart. Beyond it, whoever asked longest ago has a whole allowance again, which nobody gains by: so
/// many others have to ask before.
const MOST: usize = 100_000;

/// How many that have their whole allowance again are forgotten at a time, at most.
const FORGOTTEN_AT_ONCE: usize = 2;

/// Whose allowance it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Whose {
    /// An address's.
    Address(IpAddr),
    /// That of somebody who proved who they are, by a hash of their name, which may be as long as they like.
    Caller(u64),
}

impl Whose {
    /// That of an address.
    #[must_use]
    pub fn address(address: IpAddr) -> Self {
        Self::Address(network(address))
    }
}

/// An address; for IPv6 the network that one customer is given, of which they can use any address.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into(),
        v4 => v4,
    }
}

/// What came of asking for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// How many there are in all.
    pub limit: u32,
    /// How many are left.
    pub remaining: u32,
    /// The time until all are there again.
    pub reset: Duration,
    /// For a refusal, the time until one is there.
    pub refused: Option<Duration>,
}

/// What each may do, and has left.
#[derive(Debug)]
pub struct Allowances {
    limit: u32,
    /// The time after which one comes back.
    period: Duration,
    clock: Arc<dyn Clock>,
    names: RandomState,
    /// When each has the whole allowance again.
    whole_at: Mutex<LruCache<Whose, Duration>>,
}

impl Allowances {
    /// So many in this window, for each; nothing if that is no limit: none at all, or more than one a nanosecond.
    #[must_use]
    pub fn new(limit: u64, window: Duration, clock: Arc<dyn Clock>) -> Option<Self> {
        let limit = u32::try_from(limit).ok()?;
        let period = window.checked_div(limit).filter(|period| !period.is_zero())?;
        let whole_at = Mutex::new(LruCache::unbounded());
        Some(Self { limit, period, clock, names: RandomState::new(), whole_at })
    }

    /// Whose allowance that of a caller is.
    #[must_use]
    pub fn caller(&self, id: &str) -> Whose {
        Whose::Caller(self.names.hash_one(id))
    }

    /// Takes one, if there is one.
    pub fn take(&self, whose: Whose) -> Verdict {
        let now = self.clock.monotonic();
        let whole = self.period * self.limit;
        let mut whole_at = self.whole_at.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..FORGOTTEN_AT_ONCE {
            if whole_at.peek_lru().is_some_and(|(_, at)| *at <= now) || whole_at.len() >= MOST {
                whole_at.pop_lru();
            }
        }
        let at = whole_at.get(&whose).map_or(now, |at| (*at).max(now));
        let next = at + self.period;
        let missing = next.saturating_sub(now);
        if missing > whole {
            let reset = at.saturating_sub(now);
            return Verdict { limit: self.limit, remaining: 0, reset, refused: Some(missing - whole) };
        }
        whole_at.put(whose, next);
        drop(whole_at);
        let left = (whole - missing).as_nanos() / self.period.as_nanos();
        let remaining = u32::try_from(left).unwrap_or(self.limit);
        Verdict { limit: self.limit, remaining, reset: missing, refused: None }
    }

    /// Gives one back that was taken.
    pub fn give_back(&self, whose: Whose) {
        let mut whole_at = self.whole_at.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = whole_at.peek_mut(&whose) {
            *at = at.saturating_sub(self.period);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use test_support::MockClock;

    const MINUTE: Duration = Duration::from_secs(60);

    fn address(i: u32) -> Whose {
        Whose::address(IpAddr::from(std::net::Ipv4Addr::from_bits(i)))
    }

    #[test]
    fn an_allowance_is_spent_and_comes_back_evenly() {
        let clock = Arc::new(MockClock::new());
        let allowances = Allowances::new(3, MINUTE, clock.clone()).unwrap();
        let left: Vec<_> = (0..3).map(|_| allowances.take(address(1)).remaining).collect();
        assert_eq!(left, [2, 1, 0]);
        let refused = allowances.take(address(1));
        assert_eq!((refused.refused, refused.reset), (Some(MINUTE / 3), MINUTE));
        assert_eq!(allowances.take(address(2)).refused, None);
        clock.advance(MINUTE / 3);
        assert_eq!(allowances.take(address(1)).refused, None);
        assert_eq!(allowances.take(address(1)).refused, Some(MINUTE / 3));
        clock.advance(MINUTE * 2);
        assert_eq!(allowances.take(address(1)).remaining, 2, "and no more than there were");
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let allowances = Allowances::new(1, MINUTE, Arc::new(MockClock::new())).unwrap();
        for _ in 0..5 {
            assert_eq!(allowances.take(address(1)).refused, None);
            allowances.give_back(address(1));
        }
        allowances.give_back(address(1));
        assert_eq!(allowances.take(address(1)).refused, None);
        assert!(allowances.take(address(1)).refused.is_some(), "nobody gains by giving back");
    }

    #[test]
    fn names_and_addresses_are_told_apart() {
        let allowances = Allowances::new(1, MINUTE, Arc::new(MockClock::new())).unwrap();
        for whose in [allowances.caller("bob"), allowances.caller("eve"), address(1)] {
            assert_eq!(allowances.take(whose).refused, None);
            assert!(allowances.take(whose).refused.is_some());
        }
    }

    #[test]
    fn no_limit_is_none() {
        for (limit, window) in [(0, MINUTE), (1 << 40, MINUTE), (2_000_000, Duration::from_millis(1))] {
            assert!(Allowances::new(limit, window, Arc::new(MockClock::new())).is_none());
        }
    }

    #[test]
    fn any_number_of_addresses_is_held_in_bounded_memory_and_forgotten_again() {
        let clock = Arc::new(MockClock::new());
        let allowances = Allowances::new(1, MINUTE, clock.clone()).unwrap();
        let held = || allowances.whole_at.lock().unwrap().len();
        for i in 0..150_000 {
            allowances.take(address(i));
        }
        assert!(held() <= MOST, "{}", held());
        clock.advance(MINUTE * 2);
        for _ in 0..MOST {
            allowances.take(address(7));
        }
        assert!(held() <= 2, "{}", held());
    }

    #[test]
    fn one_network_of_ipv6_is_one_address() {
        let whose = |ip: &str| Whose::address(ip.parse().unwrap());
        assert_eq!(whose("2001:db8::1"), whose("2001:db8::ffff:2"));
        assert_ne!(whose("2001:db8::1"), whose("2001:db8:0:1::1"));
        assert_eq!(whose("::ffff:1.2.3.4"), whose("1.2.3.4"));
    }

    proptest! {
        #[test]
        fn no_more_is_let_through_than_a_window_has(
            steps in prop::collection::vec((0_u64..20_000, any::<bool>()), 1..200)
        ) {
            let clock = Arc::new(MockClock::new());
            let allowances = Allowances::new(7, MINUTE, clock.clone()).unwrap();
            let mut let_through: Vec<Duration> = Vec::new();
            for (wait, keep) in steps {
                clock.advance(Duration::from_millis(wait));
                if allowances.take(address(1)).refused.is_some() {
                    continue;
                }
                if keep {
                    let_through.push(clock.monotonic());
                } else {
                    allowances.give_back(address(1));
                }
            }
            // A burst of all of them at the end of one window, and as many as come back in the next.
            for first in &let_through {
                let within = let_through.iter().filter(|at| *at >= first && **at < *first + MINUTE).count();
                prop_assert!(within <= 14, "{within}");
            }
        }
    }
}
