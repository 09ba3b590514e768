//! Places: so many at once for all, of which no stranger, no network of strangers and no caller takes more than a share.
//!
//! What goes on for long (a socket, a feed, a connection) holds a place until it ends. First come, first served would let
//! one who comes often enough lock everybody else out, so those who did not say who they are have a share of the places, one
//! network of theirs a smaller one, and one caller another. The service itself, and with `AUTH_MODE=off` everybody is the
//! service itself, is bound by nothing but the number of places.

use super::network;
use crate::security::Caller;
use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher as _, Hash, RandomState},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How many of the places each may hold at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// All those together who did not say who they are.
    pub strangers: usize,
    /// Those of them who come from one network ([`network`]).
    pub network: usize,
    /// One who said who they are.
    pub caller: usize,
}

impl Shares {
    /// Of places that strangers may take as well: half of them, so that the others are left for callers who are known; a
    /// tenth for one network, which is enough for an office behind one address and leaves strangers elsewhere their part; and
    /// for one caller a quarter, half of what strangers leave.
    #[must_use]
    pub fn with_strangers(most: usize) -> Self {
        Self { strangers: part(most, 2), network: part(most, 10), caller: part(most, 4) }
    }

    /// Of places that known callers alone take: half of them for one.
    #[must_use]
    pub fn among_callers(most: usize) -> Self {
        Self { strangers: most, network: most, caller: part(most, 2) }
    }

    /// Of connections, of which nobody knows yet whose they are: a quarter for one network.
    #[must_use]
    pub fn of_connections(most: usize) -> Self {
        Self { strangers: most, network: part(most, 4), caller: most }
    }
}

/// One part of so many, rounded down: but one at least, where there is one.
fn part(most: usize, parts: usize) -> usize {
    (most / parts).max(most.min(1))
}

/// Who holds a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// The service itself.
    Service,
    /// Somebody who did not say who they are, from this network, if that is known.
    Stranger(Option<IpAddr>),
    /// Somebody who did, by a hash of their name, which may be as long as they like.
    Caller(u64),
}

impl Holder {
    /// A stranger at an address.
    #[must_use]
    pub fn stranger(from: Option<IpAddr>) -> Self {
        Self::Stranger(from.map(network))
    }
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// All are taken.
    All,
    /// Strangers have so many.
    Strangers(usize),
    /// Strangers of this network have so many.
    Network(usize),
    /// This caller has so many.
    Caller(usize),
}

/// The places that there are. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Places(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most: usize,
    shares: Shares,
    names: RandomState,
    taken: Mutex<Taken>,
}

/// Who holds how many. Whoever holds none is not in it.
#[derive(Debug, Default)]
struct Taken {
    all: usize,
    strangers: usize,
    networks: HashMap<Option<IpAddr>, usize>,
    callers: HashMap<u64, usize>,
}

impl Places {
    /// So many places, with these shares of them.
    #[must_use]
    pub fn new(most: usize, shares: Shares) -> Self {
        let (names, taken) = (RandomState::new(), Mutex::default());
        Self(Arc::new(Inner { most, shares, names, taken }))
    }

    /// Whose a caller's place is who comes from there.
    #[must_use]
    pub fn holder(&self, caller: &Caller, from: Option<IpAddr>) -> Holder {
        if caller.is_system() {
            Holder::Service
        } else if caller.is_known() {
            Holder::Caller(self.0.names.hash_one(caller.id()))
        } else {
            Holder::stranger(from)
        }
    }

    /// A place, until it is dropped.
    ///
    /// # Errors
    /// [`Full`].
    pub fn take(&self, holder: Holder) -> Result<Place, Full> {
        let mut taken = self.taken();
        if taken.all >= self.0.most {
            return Err(Full::All);
        }
        taken.has_room(&self.0.shares, holder)?;
        taken.all += 1;
        taken.enter(holder);
        drop(taken);
        Ok(Place { places: self.clone(), holder: Mutex::new(holder) })
    }

    /// How many there are.
    #[must_use]
    pub fn most(&self) -> usize {
        self.0.most
    }

    /// How many are taken.
    #[must_use]
    pub fn count(&self) -> usize {
        self.taken().all
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place that is held. Dropping it gives it back.
#[derive(Debug)]
pub struct Place {
    places: Places,
    /// Locked before what is taken.
    holder: Mutex<Holder>,
}

impl Place {
    /// Says whose it is from now on: it comes out of that one's share, and goes back to the other's. Nothing changes where
    /// that share is spent.
    ///
    /// # Errors
    /// [`Full`].
    pub fn belongs_to(&self, caller: &Caller, from: Option<IpAddr>) -> Result<(), Full> {
        let now = self.places.holder(caller, from);
        let mut holder = self.holder.lock().unwrap_or_else(PoisonError::into_inner);
        if *holder != now {
            let mut taken = self.places.taken();
            taken.has_room(&self.places.0.shares, now)?;
            taken.leave(*holder);
            taken.enter(now);
            *holder = now;
        }
        Ok(())
    }

    /// Says that it is a stranger's again, whether strangers have their share already or not: who holds it stays.
    pub fn is_a_strangers(&self, from: Option<IpAddr>) {
        let now = Holder::stranger(from);
        let mut holder = self.holder.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = self.places.taken();
        taken.leave(*holder);
        taken.enter(now);
        *holder = now;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let holder = *self.holder.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut taken = self.places.taken();
        taken.all -= 1;
        taken.leave(holder);
    }
}

impl Taken {
    fn has_room(&self, shares: &Shares, holder: Holder) -> Result<(), Full> {
        match holder {
            Holder::Service => Ok(()),
            Holder::Stranger(from) => {
                if self.networks.get(&from).is_some_and(|held| *held >= shares.network) {
                    return Err(Full::Network(shares.network));
                }
                below(self.strangers, shares.strangers).map_err(Full::Strangers)
            }
            Holder::Caller(caller) => {
                below(self.callers.get(&caller).copied().unwrap_or(0), shares.caller).map_err(Full::Caller)
            }
        }
    }

    fn enter(&mut self, holder: Holder) {
        match holder {
            Holder::Service => {}
            Holder::Stranger(from) => {
                self.strangers += 1;
                *self.networks.entry(from).or_default() += 1;
            }
            Holder::Caller(caller) => *self.callers.entry(caller).or_default() += 1,
        }
    }

    fn leave(&mut self, holder: Holder) {
        match holder {
            Holder::Service => {}
            Holder::Stranger(from) => {
                self.strangers -= 1;
                one_less(&mut self.networks, from);
            }
            Holder::Caller(caller) => one_less(&mut self.callers, caller),
        }
    }
}

fn below(held: usize, most: usize) -> Result<(), usize> {
    if held < most { Ok(()) } else { Err(most) }
}

fn one_less<K: Hash + Eq>(held: &mut HashMap<K, usize>, key: K) {
    if let Entry::Occupied(mut entry) = held.entry(key) {
        *entry.get_mut() -= 1;
        if *entry.get() == 0 {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stranger(last: u8) -> (Caller, Option<IpAddr>) {
        (Caller::anonymous(), Some(IpAddr::from([10, 0, 0, last])))
    }

    fn known(name: &str) -> (Caller, Option<IpAddr>) {
        (Caller::user(name, &[]), Some(IpAddr::from([10, 0, 0, 1])))
    }

    fn take(places: &Places, (caller, from): (Caller, Option<IpAddr>)) -> Result<Place, Full> {
        places.take(places.holder(&caller, from))
    }

    #[test]
    fn nobody_takes_everybodys_place() {
        let places = Places::new(40, Shares::with_strangers(40));
        let mut held: Vec<_> = (0..4).map(|_| take(&places, stranger(1)).unwrap()).collect();
        assert_eq!(take(&places, stranger(1)).unwrap_err(), Full::Network(4));
        for network in 2..6 {
            held.extend((0..4).map(|_| take(&places, stranger(network)).unwrap()));
        }
        assert_eq!(take(&places, stranger(6)).unwrap_err(), Full::Strangers(20));
        held.extend((0..10).map(|_| take(&places, known("bob")).unwrap()));
        assert_eq!(take(&places, known("bob")).unwrap_err(), Full::Caller(10));
        held.extend((0..10).map(|_| take(&places, known("ada")).unwrap()));
        assert_eq!(take(&places, known("eve")).unwrap_err(), Full::All);
        assert_eq!(take(&places, (Caller::system(), None)).unwrap_err(), Full::All);
        held.truncate(39);
        assert_eq!(take(&places, known("eve")).map(drop), Ok(()));
        held.clear();
        assert_eq!(places.count(), 0);
        let system: Vec<_> = (0..40).map(|_| take(&places, (Caller::system(), None)).unwrap()).collect();
        assert_eq!(system.len(), 40, "the service itself has no share");
    }

    #[test]
    fn a_network_of_ipv6_has_one_share() {
        let places = Places::new(20, Shares::with_strangers(20));
        let from = |ip: &str| Holder::stranger(Some(ip.parse().unwrap()));
        let _held = [from("2001:db8::1"), from("2001:db8::2")].map(|holder| places.take(holder).unwrap());
        assert_eq!(places.take(from("2001:db8::3")).unwrap_err(), Full::Network(2));
        assert!(places.take(from("2001:db8:0:1::1")).is_ok());
    }

    #[test]
    fn who_says_who_they_are_goes_over_to_a_share_of_their_own() {
        let places = Places::new(20, Shares::with_strangers(20));
        let bob = Caller::user("bob", &[]);
        let held: Vec<_> = (0..2).map(|_| take(&places, stranger(1)).unwrap()).collect();
        assert!(take(&places, stranger(1)).is_err());
        held[0].belongs_to(&bob, None).unwrap();
        held[0].belongs_to(&bob, None).unwrap();
        let newcomer = take(&places, stranger(1)).unwrap();
        let bobs: Vec<_> = (0..4).map(|_| take(&places, known("bob")).unwrap()).collect();
        assert_eq!(newcomer.belongs_to(&bob, None), Err(Full::Caller(5)), "the share is spent");
        assert_eq!(take(&places, stranger(1)).unwrap_err(), Full::Network(2), "it is a stranger's still");
        // A stranger's again, beyond the share.
        held[0].is_a_strangers(stranger(1).1);
        newcomer.belongs_to(&bob, None).unwrap();
        drop((held, bobs, newcomer));
        let taken = places.taken();
        assert_eq!((taken.all, taken.strangers, taken.networks.len(), taken.callers.len()), (0, 0, 0, 0));
    }

    #[test]
    fn the_fewest_places_have_shares_too() {
        let shares = |strangers, network, caller| Shares { strangers, network, caller };
        assert_eq!(Shares::with_strangers(0), shares(0, 0, 0));
        assert_eq!(Shares::with_strangers(1), shares(1, 1, 1));
        assert_eq!(Shares::with_strangers(9), shares(4, 1, 2));
        assert_eq!(Shares::with_strangers(10_000), shares(5_000, 1_000, 2_500));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Take(usize),
        Drop(usize),
        Prove(usize, usize),
        Lose(usize, usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let which = || 0..32_usize;
        prop_oneof![
            4 => which().prop_map(Step::Take),
            2 => which().prop_map(Step::Drop),
            2 => (which(), which()).prop_map(|(place, who)| Step::Prove(place, who)),
            1 => (which(), which()).prop_map(|(place, from)| Step::Lose(place, from)),
        ]
    }

    /// A few of each kind.
    fn who(n: usize) -> (Caller, Option<IpAddr>) {
        match n % 8 {
            0 => (Caller::system(), None),
            1 => (Caller::anonymous(), None),
            2..=4 => stranger(1 + (n % 3) as u8),
            _ => known(["ada", "bob", "eve"][n % 3]),
        }
    }

    proptest! {
        /// What is held is told by going through all that was given; the books must say the same after each step.
        #[test]
        fn the_books_are_right_whatever_happens(steps in prop::collection::vec(step(), 1..200)) {
            let places = Places::new(20, Shares::with_strangers(20));
            let mut held: Vec<Place> = Vec::new();
            for step in steps {
                match step {
                    Step::Take(n) => {
                        let (caller, from) = who(n);
                        let holder = places.holder(&caller, from);
                        let before = places.count();
                        let same = held.iter().filter(|p| *p.holder.lock().unwrap() == holder).count();
                        match places.take(holder) {
                            Ok(place) => held.push(place),
                            Err(Full::All) => prop_assert_eq!(before, 20),
                            Err(Full::Strangers(_)) => prop_assert!(strangers(&held) >= 10),
                            Err(Full::Network(_)) => prop_assert!(same >= 2),
                            Err(Full::Caller(_)) => prop_assert_eq!(same, 5),
                        }
                    }
                    Step::Drop(n) if !held.is_empty() => drop(held.swap_remove(n % held.len())),
                    Step::Prove(n, as_whom) if !held.is_empty() => {
                        let (caller, from) = who(as_whom);
                        let _ = held[n % held.len()].belongs_to(&caller, from);
                    }
                    Step::Lose(n, from) if !held.is_empty() => {
                        held[n % held.len()].is_a_strangers(who(from).1);
                    }
                    _ => {}
                }
                prop_assert!(held.len() <= 20);
                let mut callers = HashMap::<u64, usize>::new();
                let mut networks = HashMap::<Option<IpAddr>, usize>::new();
                for place in &held {
                    match *place.holder.lock().unwrap() {
                        Holder::Service => {}
                        Holder::Stranger(from) => *networks.entry(from).or_default() += 1,
                        Holder::Caller(caller) => *callers.entry(caller).or_default() += 1,
                    }
                }
                prop_assert!(callers.values().all(|held| *held <= 5));
                let taken = places.taken();
                prop_assert_eq!(taken.all, held.len());
                prop_assert_eq!(taken.strangers, networks.values().sum::<usize>());
                prop_assert_eq!(&taken.networks, &networks);
                prop_assert_eq!(&taken.callers, &callers);
            }
            held.clear();
            prop_assert_eq!(places.count(), 0);
        }
    }

    fn strangers(held: &[Place]) -> usize {
        held.iter().filter(|p| matches!(*p.holder.lock().unwrap(), Holder::Stranger(_))).count()
    }
}
