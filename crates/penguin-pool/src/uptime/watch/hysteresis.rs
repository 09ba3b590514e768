//! When a service's state changes: not at the first sign, but dated from it.

use crate::uptime::history::Sight;
use models::ServiceState;

/// How many checks of a kind in a row it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// So many that are worse, to get worse (at least 1).
    pub failures: u32,
    /// So many that are better, to get better (at least 1).
    pub successes: u32,
}

/// Checks of a kind, in a row.
#[derive(Debug, Clone, Default)]
struct Run {
    length: u32,
    since: i64,
    sight: Sight,
}

impl Run {
    fn observe(&mut self, belongs: bool, at: i64, sight: &Sight) {
        if !belongs {
            self.length = 0;
        } else if self.length == 0 {
            *self = Self { length: 1, since: at, sight: sight.clone() };
        } else {
            self.length = self.length.saturating_add(1);
        }
    }
}

/// A change of state.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The state that the service is in now.
    pub status: ServiceState,
    /// Since when: the first of the checks that showed it, in milliseconds since the Unix epoch.
    pub since: i64,
    /// What that check saw.
    pub sight: Sight,
}

/// Turns what single checks saw into a state.
///
/// To get worse takes [`Patience::failures`] checks in a row that are worse than the state, to get better
/// [`Patience::successes`] that are better; the new state is the one nearest to the old that all of them reach. Without a
/// state to hold on to, the first check that is not a failure decides.
#[derive(Debug, Clone)]
pub struct Hysteresis {
    patience: Patience,
    status: Option<ServiceState>,
    up: Run,
    not_down: Run,
    not_up: Run,
    down: Run,
}

impl Hysteresis {
    /// Begins in a state that is known, or in none.
    #[must_use]
    pub fn new(patience: Patience, status: Option<ServiceState>) -> Self {
        let [up, not_down, not_up, down] = Default::default();
        Self { patience, status, up, not_down, not_up, down }
    }

    /// The state, if there is one yet.
    #[must_use]
    pub const fn status(&self) -> Option<ServiceState> {
        self.status
    }

    /// Takes in what a check saw, at a moment in milliseconds since the Unix epoch.
    pub fn observe(&mut self, seen: ServiceState, at: i64, sight: &Sight) -> Option<Change> {
        use ServiceState::{Degraded, Down, Up};
        self.up.observe(seen == Up, at, sight);
        self.not_down.observe(seen != Down, at, sight);
        self.not_up.observe(seen != Up, at, sight);
        self.down.observe(seen == Down, at, sight);
        let Patience { failures, successes } = self.patience;
        let worse = |run: &Run| run.length >= failures.max(1);
        let better = |run: &Run| run.length >= successes.max(1);
        let (status, run) = match self.status {
            None if seen == Up => (Up, &self.up),
            None if seen == Degraded => (Degraded, &self.not_down),
            None | Some(Up | Degraded) if worse(&self.down) => (Down, &self.down),
            Some(Up) if worse(&self.not_up) => (Degraded, &self.not_up),
            Some(Degraded | Down) if better(&self.up) => (Up, &self.up),
            Some(Down) if better(&self.not_down) => (Degraded, &self.not_down),
            _ => return None,
        };
        if self.status == Some(status) {
            return None;
        }
        let change = Change { status, since: run.since, sight: run.sight.clone() };
        self.status = Some(status);
        Some(change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ServiceState::{Degraded, Down, Up};
    use proptest::prelude::*;

    const TWO: Patience = Patience { failures: 2, successes: 2 };

    /// What is changed by checks at 1, 2, 3, …: `(at, status, since)`.
    fn changes(
        patience: Patience,
        from: Option<ServiceState>,
        seen: &[ServiceState],
    ) -> Vec<(i64, ServiceState, i64)> {
        let mut hysteresis = Hysteresis::new(patience, from);
        (1..)
            .zip(seen)
            .filter_map(|(at, seen)| {
                hysteresis.observe(*seen, at, &Sight::default()).map(|c| (at, c.status, c.since))
            })
            .collect()
    }

    #[test]
    fn one_failure_changes_nothing_and_two_are_dated_from_the_first() {
        assert_eq!(changes(TWO, Some(Up), &[Up, Down, Up, Down, Down, Down]), [(5, Down, 4)]);
        assert_eq!(changes(TWO, Some(Down), &[Up, Down, Up, Up]), [(4, Up, 3)]);
    }

    #[test]
    fn the_two_sides_have_their_own_numbers() {
        let patience = Patience { failures: 3, successes: 1 };
        assert_eq!(
            changes(patience, Some(Up), &[Down, Down, Down, Up, Down, Down]),
            [(3, Down, 1), (4, Up, 4)]
        );
    }

    #[test]
    fn slow_and_failing_checks_together_are_at_least_slow() {
        assert_eq!(changes(TWO, Some(Up), &[Degraded, Down, Down]), [(2, Degraded, 1), (3, Down, 2)]);
        assert_eq!(changes(TWO, Some(Down), &[Degraded, Up, Up]), [(2, Degraded, 1), (3, Up, 2)]);
    }

    #[test]
    fn without_a_state_the_first_success_decides_and_failures_need_their_number() {
        assert_eq!(changes(TWO, None, &[Up]), [(1, Up, 1)]);
        assert_eq!(changes(TWO, None, &[Degraded]), [(1, Degraded, 1)]);
        assert_eq!(changes(TWO, None, &[Down, Down]), [(2, Down, 1)]);
        assert_eq!(changes(TWO, None, &[Down, Up]), [(2, Up, 2)]);
    }

    #[test]
    fn the_cause_is_what_the_first_of_them_saw() {
        let mut hysteresis = Hysteresis::new(TWO, Some(Up));
        let sight = |text: &str| Sight { error: Some(text.into()), ..Sight::default() };
        assert_eq!(hysteresis.observe(Down, 1, &sight("first")), None);
        let change = hysteresis.observe(Down, 2, &sight("second"));
        assert_eq!(change, Some(Change { status: Down, since: 1, sight: sight("first") }));
    }

    proptest! {
        /// Held against the definition: look back over the last checks.
        #[test]
        fn a_change_means_that_the_last_checks_all_say_so(
            failures in 1_usize..4, successes in 1_usize..4,
            seen in proptest::collection::vec(prop_oneof![Just(Up), Just(Degraded), Just(Down)], 0..40),
        ) {
            let patience = Patience { failures: u32::try_from(failures).unwrap(), successes: u32::try_from(successes).unwrap() };
            let mut hysteresis = Hysteresis::new(patience, Some(Up));
            let mut state = Up;
            let severity = |s: ServiceState| match s { Up => 0, Degraded => 1, Down => 2 };
            for (index, one) in seen.iter().enumerate() {
                hysteresis.observe(*one, 0, &Sight::default());
                let last = |n: usize| (index + 1).checked_sub(n).map(|from| &seen[from..=index]);
                let worst_of = |n| last(n).map(|l| l.iter().map(|s| severity(*s)).max().unwrap());
                let best_of = |n| last(n).map(|l| l.iter().map(|s| severity(*s)).min().unwrap());
                let to = match severity(state) {
                    now if best_of(failures).is_some_and(|s| s > now) => best_of(failures),
                    now if worst_of(successes).is_some_and(|s| s < now) => worst_of(successes),
                    now => Some(now),
                };
                state = [Up, Degraded, Down][to.unwrap()];
                prop_assert_eq!(hysteresis.status(), Some(state), "after {:?}", &seen[..=index]);
            }
        }
    }
}
