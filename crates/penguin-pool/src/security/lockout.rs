//! Lock-out of those who guess passwords: by account and address together, by address, and by account.
//!
//! Each guess is counted before it is looked at, so that many at once are not more than many in a row, and a right one is
//! taken back. Beyond what is free, each failure doubles the time until the next is looked at. An account is told apart
//! by its name whether it exists or not. What is counted is in memory, and bounded: what was not touched for longest goes.

use crate::limits::network;
use event_store::Clock;
use lru::LruCache;
use std::{
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// How many counts are kept.
const MOST: NonZeroUsize = NonZeroUsize::MIN.saturating_add(99_999);

/// After so long without a failure all is forgiven.
const FORGIVEN: Duration = Duration::from_secs(3600);

/// The time after the first failure that is not free.
const FIRST: Duration = Duration::from_secs(1);

/// What is counted. Names are kept as hashes: they may be as long as somebody likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Pair(u64, IpAddr),
    Address(IpAddr),
    Account(u64),
}

impl Key {
    /// How many failures are free, and the longest time after one.
    const fn rule(self) -> (u32, Duration) {
        match self {
            Self::Pair(..) => (5, Duration::from_secs(15 * 60)),
            Self::Address(_) => (50, Duration::from_secs(15 * 60)),
            // Short: whoever guesses from many addresses must not keep the account's owner out.
            Self::Account(_) => (100, Duration::from_secs(30)),
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    failures: u32,
    last: Duration,
    until: Duration,
}

/// Counts failures.
#[derive(Debug)]
pub(super) struct Lockout {
    clock: Arc<dyn Clock>,
    names: RandomState,
    counts: Mutex<LruCache<Key, Count>>,
}

/// One attempt that was let through: say what came of it with [`Attempt::succeeded`] or [`Attempt::was_none`]. Without
/// a word it failed.
#[derive(Debug)]
#[must_use]
pub(super) struct Attempt<'a> {
    lockout: &'a Lockout,
    /// What was counted, and how it stood before.
    before: Vec<(Key, Duration)>,
}

impl Lockout {
    /// Nothing counted yet.
    #[must_use]
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, names: RandomState::new(), counts: Mutex::new(LruCache::new(MOST)) }
    }

    /// Begins an attempt to log in as somebody, from an address if one is known.
    ///
    /// # Errors
    /// How long to wait before the next.
    pub(super) fn attempt(&self, login_name: &str, from: Option<IpAddr>) -> Result<Attempt<'_>, Duration> {
        let name = self.names.hash_one(login_name);
        let mut keys = vec![Key::Account(name)];
        if let Some(from) = from.map(network) {
            keys.extend([Key::Pair(name, from), Key::Address(from)]);
        }
        let now = self.clock.monotonic();
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = keys.iter().filter_map(|key| counts.peek(key)?.until.checked_sub(now));
        if let Some(wait) = wait.filter(|wait| !wait.is_zero()).max() {
            return Err(wait);
        }
        let count_one = |key: Key| {
            let count = counts.get_or_insert_mut(key, Count::default);
            if now.saturating_sub(count.last) >= FORGIVEN {
                *count = Count::default();
            }
            let before = count.until;
            count.failures = count.failures.saturating_add(1);
            count.last = now;
            let (free, longest) = key.rule();
            if let Some(beyond) = count.failures.checked_sub(free) {
                count.until = now + FIRST.saturating_mul(1 << beyond.min(20)).min(longest);
            }
            (key, before)
        };
        let before = keys.into_iter().map(count_one).collect();
        drop(counts);
        Ok(Attempt { lockout: self, before })
    }
}

impl Attempt<'_> {
    /// The password was right: what was counted against this account at this address is forgiven.
    pub(super) fn succeeded(self) {
        self.take_back(true);
    }

    /// It was not looked at after all.
    pub(super) fn was_none(self) {
        self.take_back(false);
    }

    fn take_back(self, forgive: bool) {
        let mut counts = self.lockout.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, until) in self.before {
            if forgive && matches!(key, Key::Pair(..)) {
                counts.pop(&key);
            } else if let Some(count) = counts.peek_mut(&key) {
                count.failures = count.failures.saturating_sub(1);
                count.until = until;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_support::MockClock;

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([203, 0, 113, last]))
    }

    fn fail(lockout: &Lockout, login: &str, from: Option<IpAddr>) -> Result<(), u64> {
        lockout.attempt(login, from).map(drop).map_err(|wait| wait.as_secs())
    }

    #[test]
    fn after_some_failures_each_further_one_doubles_the_wait() {
        let clock = Arc::new(MockClock::new());
        let lockout = Lockout::new(clock.clone());
        for _ in 0..5 {
            assert_eq!(fail(&lockout, "bob", address(1)), Ok(()));
        }
        assert_eq!(fail(&lockout, "bob", address(1)), Err(1));
        assert_eq!(fail(&lockout, "bob", address(2)), Ok(()), "from elsewhere the owner comes in");
        assert_eq!(fail(&lockout, "alice", address(1)), Ok(()), "one mistyped name does not lock all others");
        for wait in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
            assert_eq!(fail(&lockout, "bob", address(1)), Err(wait));
            clock.advance(Duration::from_secs(wait));
            assert_eq!(fail(&lockout, "bob", address(1)), Ok(()));
        }
        clock.advance(FORGIVEN);
        for _ in 0..5 {
            assert_eq!(fail(&lockout, "bob", address(1)), Ok(()), "all is forgiven");
        }
        assert_eq!(fail(&lockout, "bob", address(1)), Err(1));
    }

    #[test]
    fn a_right_password_forgives_and_one_that_was_not_looked_at_does_not_count() {
        let lockout = Lockout::new(Arc::new(MockClock::new()));
        for _ in 0..20 {
            for _ in 0..4 {
                assert_eq!(fail(&lockout, "bob", address(1)), Ok(()));
            }
            lockout.attempt("bob", address(1)).unwrap().succeeded();
            if fail(&lockout, "carol", address(9)).is_err() {
                break;
            }
        }
        for _ in 0..20 {
            lockout.attempt("dave", address(3)).unwrap().was_none();
        }
        assert_eq!(fail(&lockout, "dave", address(3)), Ok(()));
    }

    #[test]
    fn many_names_from_one_address_and_many_addresses_for_one_name_are_locked_out_too() {
        let clock = Arc::new(MockClock::new());
        let lockout = Lockout::new(clock.clone());
        let names: Vec<_> = (0..51).map(|i| fail(&lockout, &format!("user{i}"), address(1))).collect();
        assert!(names[..50].iter().all(Result::is_ok) && names[50].is_err());
        let addresses: Vec<_> = (0..101).map(|i| fail(&lockout, "bob", address(100 + i))).collect();
        assert!(addresses[..100].iter().all(Result::is_ok) && addresses[100].is_err());
        assert!(fail(&lockout, "bob", None).is_err(), "where no address is known the account's count holds");
        clock.advance(Duration::from_secs(30));
        assert!(fail(&lockout, "bob", None).is_ok(), "its owner is not kept out for long");
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_are_one() {
        let lockout = Lockout::new(Arc::new(MockClock::new()));
        let ip = |last: u16| Some(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]));
        for last in 0..5 {
            assert_eq!(fail(&lockout, "bob", ip(last)), Ok(()));
        }
        assert_eq!(fail(&lockout, "bob", ip(77)), Err(1));
    }
}
