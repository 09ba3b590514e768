//! The arithmetic against a model that colours an axis second by second, and named cases.

use super::*;
use models::ServiceState::{self, Degraded, Down, Up};
use proptest::prelude::*;
use uuid::Uuid;

const GRACE: i64 = 150;
const AXIS: usize = 1_500;

fn seconds(n: i64) -> i64 {
    n * 1000
}

fn word(id: u128, status: impl Into<Option<ServiceState>>, since: i64, seen: i64) -> Word {
    let status = status.into();
    Word {
        id: Uuid::from_u128(id),
        status,
        since: seconds(since),
        seen: seconds(seen),
        sight: Sight::default(),
    }
}

fn told(words: &[Word]) -> History {
    let mut history = History::new(seconds(GRACE));
    for word in words {
        history.apply(word);
    }
    history
}

fn window(start: i64, end: i64) -> Window {
    Window { start: Some(seconds(start)), end: seconds(end) }
}

/// `(status, start, end)` in seconds.
fn shown(history: &History, window: Window) -> Vec<(ServiceState, i64, i64)> {
    history.timeline(window).map(|i| (i.status, i.start / 1000, i.end / 1000)).collect()
}

/// The rules of [`History`] to the letter, on an axis of seconds: what it says must be what this says.
struct Axis(Vec<Option<ServiceState>>);

impl Axis {
    fn of(words: &[Word]) -> Self {
        let mut axis = vec![None; AXIS];
        let mut ids = std::collections::HashSet::new();
        for word in words.iter().filter(|w| ids.insert(w.id)) {
            let since = usize::try_from(word.since / 1000).unwrap();
            let end = usize::try_from(word.seen.max(word.since) / 1000 + GRACE).unwrap();
            axis[since..].fill(None);
            if word.status.is_some() {
                axis[since..end].fill(word.status);
            }
        }
        Self(axis)
    }

    fn totals(&self, start: usize, end: usize) -> Totals {
        let count = |status| self.0[start..end].iter().filter(|s| **s == Some(status)).count() as u64 * 1000;
        let window = (end - start) as u64 * 1000;
        Totals { up: count(Up), degraded: count(Degraded), down: count(Down), window }
    }

    fn timeline(&self, start: usize, end: usize) -> Vec<(ServiceState, i64, i64)> {
        let mut runs: Vec<(ServiceState, i64, i64)> = Vec::new();
        for (second, status) in self.0[..end].iter().enumerate().skip(start) {
            let Some(status) = *status else { continue };
            let second = i64::try_from(second).unwrap();
            match runs.last_mut() {
                Some(run) if run.0 == status && run.2 == second => run.2 += 1,
                _ => runs.push((status, second, second + 1)),
            }
        }
        runs
    }
}

fn statuses() -> impl Strategy<Value = Option<ServiceState>> {
    prop_oneof![4 => Just(Some(Up)), 2 => Just(Some(Degraded)), 2 => Just(Some(Down)), 1 => Just(None)]
}

/// Words as a watcher says them (a step forward, now and then dated back), among them jumps of the clock to anywhere,
/// and words that come again.
fn words() -> impl Strategy<Value = Vec<Word>> {
    let step = prop_oneof![6 => 0_i64..80, 1 => 150_i64..400, 1 => -300_i64..0];
    let one = (statuses(), step, prop_oneof![3 => Just(0_i64), 1 => 0_i64..120], 0_usize..12);
    proptest::collection::vec(one, 0..25).prop_map(|steps| {
        let (mut now, mut words) = (300_i64, Vec::<Word>::new());
        for (index, (status, step, back, again)) in steps.into_iter().enumerate() {
            now = (now + step).clamp(130, 1_200);
            let new = word(index as u128, status, now - back, now);
            let repeated = index.checked_sub(again + 1).and_then(|i| words.get(i)).filter(|_| again < 4);
            words.push(repeated.cloned().unwrap_or(new));
        }
        words
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn sums_and_intervals_are_those_of_an_axis_coloured_by_the_second(words in words(), a in 0..AXIS, b in 0..AXIS) {
        let (start, end) = (a.min(b), a.max(b));
        let (history, axis) = (told(&words), Axis::of(&words));
        let asked = window(i64::try_from(start).unwrap(), i64::try_from(end).unwrap());
        prop_assert_eq!(history.totals(asked), axis.totals(start, end));
        prop_assert_eq!(shown(&history, asked), axis.timeline(start, end));
        let at = i64::try_from(end).unwrap();
        prop_assert_eq!(history.at(seconds(at)).map(|i| i.status), axis.0[end]);
    }

    #[test]
    fn all_time_begins_with_the_first_that_is_known(words in words(), end in 0..AXIS) {
        let (history, axis) = (told(&words), Axis::of(&words));
        let first = axis.0.iter().position(Option::is_some).unwrap_or(end).min(end);
        let asked = Window { start: None, end: seconds(i64::try_from(end).unwrap()) };
        prop_assert_eq!(history.totals(asked), axis.totals(first, end));
    }

    #[test]
    fn incidents_are_the_intervals_that_were_not_up(words in words(), end in 1..AXIS) {
        let history = told(&words);
        let asked = window(0, i64::try_from(end).unwrap());
        let mut expected = shown(&history, asked);
        expected.retain(|(status, ..)| *status != Up);
        expected.reverse();
        let incidents: Vec<_> = history.incidents(asked)
            .map(|i| (i.interval.status, i.interval.start / 1000, i.interval.end / 1000)).collect();
        prop_assert_eq!(incidents, expected);
    }

    /// Kept after some of the words and painted on by the others, a history is what all words make of it.
    #[test]
    fn a_history_that_was_kept_goes_on_as_if_nothing_had_been(words in words(), cut in 0_usize..25, start in 0..AXIS) {
        let mut words = words;
        let mut ids = std::collections::HashSet::new();
        words.retain(|w| ids.insert(w.id));
        let (before, after) = words.split_at(cut.min(words.len()));
        let text = serde_json::to_string(&told(before).keep()).unwrap();
        let mut restored = History::restore(seconds(GRACE), serde_json::from_str(&text).unwrap()).unwrap();
        after.iter().for_each(|w| { restored.apply(w); });
        let whole = told(&words);
        prop_assert_eq!(restored.keep(), whole.keep());
        let asked = window(i64::try_from(start).unwrap(), 1_500);
        prop_assert_eq!(restored.totals(asked), whole.totals(asked));
        prop_assert_eq!(restored.last_change(), whole.last_change());
    }

    #[test]
    fn a_percentage_is_never_rounded_up(up in 0..u64::MAX / 4, down in 0..u64::MAX / 4) {
        let totals = Totals { up, down, window: up + down + 1, ..Totals::default() };
        prop_assert!(down == 0 || totals.percentage() < 100.0);
        prop_assert!(totals.coverage() < 1.0);
        prop_assert!((0.0..=100.0).contains(&totals.percentage()));
    }
}

#[test]
fn time_weighs_and_not_the_number_of_words() {
    let history = told(&[
        word(1, Up, 0, 0),
        word(2, Up, 60, 60),
        word(3, Down, 120, 120),
        word(4, Down, 130, 130),
        word(5, Up, 140, 140),
        word(6, Up, 200, 200),
    ]);
    let totals = history.totals(window(0, 200));
    assert_eq!(totals, Totals { up: 180_000, down: 20_000, degraded: 0, window: 200_000 });
    assert_eq!((totals.percentage(), totals.coverage()), (90.0, 1.0));
}

#[test]
fn the_state_at_the_windows_start_counts_though_it_was_said_before() {
    let history = told(&[word(1, Down, 0, 0), word(2, Up, 100, 100)]);
    assert_eq!(shown(&history, window(90, 110)), [(Down, 90, 100), (Up, 100, 110)]);
    assert_eq!(history.totals(window(90, 110)).percentage(), 50.0);
    let incident = history.incidents(window(90, 110)).next().unwrap();
    assert_eq!((incident.interval.start, incident.interval.end, incident.ongoing), (0, 100_000, false));
}

#[test]
fn a_silence_is_unknown_from_the_last_word_and_its_grace_on() {
    let history = told(&[word(1, Up, 0, 0), word(2, Up, 600, 600)]);
    assert_eq!(shown(&history, window(0, 700)), [(Up, 0, 150), (Up, 600, 700)]);
    let totals = history.totals(window(0, 1000));
    assert_eq!(totals, Totals { up: 300_000, window: 1_000_000, ..Totals::default() });
    assert_eq!((totals.percentage(), totals.coverage()), (100.0, 0.3));
    assert_eq!(history.at(seconds(400)), None);
    assert_eq!(history.last_change(), Some(0), "silence is no change");
}

#[test]
fn a_stop_and_a_start_are_no_outage_and_no_change() {
    let history = told(&[word(1, Up, 0, 0), word(2, None, 30, 30), word(3, Up, 90, 90)]);
    let totals = history.totals(window(0, 100));
    assert_eq!(totals, Totals { up: 40_000, window: 100_000, ..Totals::default() });
    assert_eq!(totals.percentage(), 100.0);
    assert_eq!(history.at(seconds(50)), None);
    assert_eq!(history.last_change(), Some(0));
}

#[test]
fn an_outage_that_lasts_over_a_restart_keeps_its_beginning() {
    let history =
        told(&[word(1, Up, 0, 0), word(2, Down, 20, 20), word(3, None, 30, 30), word(4, Down, 90, 90)]);
    assert_eq!(history.last_change(), Some(20_000));
    assert_eq!(history.incidents(window(0, 100)).count(), 2, "what lies between them is unknown");
}

#[test]
fn a_change_is_dated_from_its_first_sign_over_what_was_said_since() {
    let history = told(&[word(1, Up, 0, 0), word(2, Up, 60, 60), word(3, Down, 30, 90)]);
    assert_eq!(shown(&history, window(0, 100)), [(Up, 0, 30), (Down, 30, 100)]);
}

#[test]
fn after_the_clock_was_set_back_the_later_words_stand() {
    let ahead = [word(1, Up, 100, 100), word(2, Up, 1_000, 1_000), word(3, Up, 160, 160)];
    let history = told(&ahead);
    assert_eq!(shown(&history, window(0, 1_400)), [(Up, 100, 310)]);
    assert_eq!(history.last_change(), Some(100_000));
}

#[test]
fn a_word_that_comes_again_says_nothing() {
    let first = word(1, Up, 0, 0);
    let mut history = told(&[first.clone(), word(2, Down, 60, 60)]);
    assert_eq!(history.apply(&first), Applied::Known);
    assert_eq!(shown(&history, window(0, 100)), [(Up, 0, 60), (Down, 60, 100)]);
    assert_eq!(history.words(), 2);
}

#[test]
fn what_a_word_changed_is_said() {
    let mut history = History::new(seconds(GRACE));
    let said: Vec<_> = [
        word(1, Up, 0, 0),
        word(2, Up, 60, 60),
        word(3, None, 70, 70),
        word(4, Up, 90, 90),
        word(5, Degraded, 100, 100),
        word(6, Degraded, 900, 900),
    ]
    .iter()
    .map(|w| history.apply(w))
    .collect();
    use Applied::{Changed, Same};
    assert_eq!(said, [Changed, Same, Same, Same, Changed, Same]);
}

#[test]
fn windows_without_length_or_history_are_empty() {
    let history = told(&[word(1, Up, 10, 10)]);
    for asked in [window(20, 20), window(500, 600), window(0, 5), window(30, 20)] {
        assert_eq!(history.totals(asked).watched(), 0, "{asked:?}");
        assert_eq!(shown(&history, asked), []);
        assert_eq!(history.totals(asked).percentage(), 0.0);
    }
    assert_eq!(told(&[]).totals(Window { start: None, end: seconds(9) }), Totals::default());
    // All time, before anything was known: the clock was set back behind the first word.
    assert_eq!(history.totals(Window { start: None, end: seconds(5) }), Totals::default());
}

#[test]
fn a_day_with_a_millisecond_of_downtime_is_not_100() {
    let totals = Totals { up: 86_399_999, down: 1, degraded: 0, window: 86_400_000 };
    assert_eq!((totals.percentage(), totals.coverage()), (99.999, 1.0));
}

#[test]
fn history_is_bounded_and_its_sums_stay_right_when_the_oldest_is_dropped() {
    let mut history = History::new(seconds(GRACE));
    for i in 0..25_000_i64 {
        let status = if i % 2 == 0 { Up } else { Down };
        history.apply(&word(u128::try_from(i).unwrap(), status, i * 60, i * 60));
    }
    let end = 25_000 * 60;
    assert_eq!(shown(&history, window(0, end)).len(), 20_000);
    let totals = history.totals(window(0, end));
    assert_eq!((totals.up, totals.down), (600_000_000, 600_000_000));
    let (first, _) = history.bounds(Window { start: None, end: seconds(end) });
    assert_eq!(first, seconds(5_000 * 60));
    assert_eq!(history.totals(window(end - 90, end)).down, 60_000);
    assert!(history.memory() < 8 << 20, "{}", history.memory());
}

#[test]
fn what_is_no_history_is_not_restored() {
    let kept = |intervals: &str| {
        let interval = |i: &str| format!(r#"{{"id":"{}","status":"up",{i},"sameSince":0}}"#, Uuid::nil());
        let intervals: Vec<_> = intervals.split(';').map(interval).collect();
        serde_json::from_str::<Kept>(&format!(
            r#"{{"grace":1000,"words":1,"intervals":[{}]}}"#,
            intervals.join(",")
        ))
        .unwrap()
    };
    let good = kept(r#""start":0,"end":5;"start":5,"end":9"#);
    assert!(History::restore(1000, good.clone()).is_some());
    assert!(History::restore(999, good).is_none(), "painted with another grace");
    for bad in [r#""start":0,"end":0"#, r#""start":5,"end":3"#, r#""start":0,"end":5;"start":4,"end":9"#] {
        assert!(History::restore(1000, kept(bad)).is_none(), "{bad}");
    }
}
