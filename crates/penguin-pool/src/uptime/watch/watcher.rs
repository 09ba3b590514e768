//! The watcher of one service: checks it on an interval, and says what its state is.

use super::{
    check::{Check, Seen, look},
    hysteresis::{Hysteresis, Patience},
};
use crate::uptime::{
    board::Service,
    history::{Sight, Word},
    lease::Role,
    recorder::Recorder,
};
use event_store::{Clock, IdSource};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};
use uuid::Uuid;

/// A state is said at least so often, changed or not.
pub const SAID_EVERY: Duration = Duration::from_secs(60);

/// How often to check, and how soon to believe it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// From one check to the next at most (a tenth less at random, so that checks of many instances spread out).
    pub interval: Duration,
    /// How long a check may take.
    pub timeout: Duration,
    /// How many checks it takes to change a state.
    pub patience: Patience,
}

/// A check that somebody asks for.
#[derive(Debug)]
pub(in crate::uptime) struct Request(pub(in crate::uptime) oneshot::Sender<Answer>);

/// What a check that was asked for came to.
#[derive(Debug)]
pub(in crate::uptime) struct Answer {
    pub(in crate::uptime) seen: Seen,
    /// The event that says it; nothing where this instance keeps no record.
    pub(in crate::uptime) word: Option<Uuid>,
}

/// The watcher of one service.
#[derive(Debug)]
pub(in crate::uptime) struct Watcher {
    pub(in crate::uptime) service: Arc<Service>,
    pub(in crate::uptime) check: Arc<dyn Check>,
    pub(in crate::uptime) pace: Pace,
    pub(in crate::uptime) recorder: Arc<Recorder>,
    pub(in crate::uptime) role: watch::Receiver<Role>,
    pub(in crate::uptime) requests: mpsc::Receiver<Request>,
    pub(in crate::uptime) clock: Arc<dyn Clock>,
    pub(in crate::uptime) ids: Arc<dyn IdSource>,
}

/// What the watcher goes by while it watches.
struct Watch {
    hysteresis: Hysteresis,
    next_check: Instant,
    /// When the state was said last.
    said: Option<Instant>,
    /// When the service was last checked since then, in milliseconds since the Unix epoch.
    checked: Option<i64>,
    /// What the last check that agreed with the state saw.
    sight: Sight,
}

impl Watcher {
    /// Watches whenever this instance is to; for ever: drop it to end it.
    pub(in crate::uptime) async fn run(mut self) {
        loop {
            let role = *self.role.borrow_and_update();
            if role.watches() {
                if !self.watch().await {
                    return;
                }
                continue;
            }
            tokio::select! {
                changed = self.role.changed() => if changed.is_err() { return },
                // Whether what is seen will be recorded is not known before the role is.
                request = self.requests.recv(), if role != Role::Undecided => {
                    let Some(Request(reply)) = request else { return };
                    let answer = Answer { seen: self.look().await, word: None };
                    // Who asked may be gone.
                    let _ = reply.send(answer);
                }
            }
        }
    }

    async fn look(&self) -> Seen {
        look(&*self.check, self.pace.timeout, self.service.target.kind.thresholds(), &*self.clock).await
    }

    /// Watches until this instance is no longer to; false when everything ends.
    async fn watch(&mut self) -> bool {
        let known = self.service.history().at(self.clock.now().millis()).map(|i| i.status);
        let mut watch = Watch {
            hysteresis: Hysteresis::new(self.pace.patience, known),
            next_check: Instant::now(),
            said: None,
            checked: None,
            sight: Sight::default(),
        };
        loop {
            let say_again = watch.said.filter(|_| watch.checked.is_some()).map(|said| said + self.silence());
            tokio::select! {
                biased;
                changed = self.role.changed() => match changed {
                    Err(_) => return false,
                    Ok(()) if !self.role.borrow_and_update().watches() => return true,
                    Ok(()) => {}
                },
                request = self.requests.recv() => {
                    let Some(Request(reply)) = request else { return false };
                    let seen = self.look().await;
                    let word = self.observe(&mut watch, &seen, true);
                    let _ = reply.send(Answer { seen, word });
                }
                () = sleep_until(watch.next_check) => {
                    watch.next_check = Instant::now() + self.next_interval();
                    let seen = self.look().await;
                    self.observe(&mut watch, &seen, false);
                }
                () = sleep_until(say_again.unwrap_or(watch.next_check)), if say_again.is_some() => {
                    self.say_again(&mut watch);
                }
            }
        }
    }

    /// How long a state may go unsaid, so that a check under way does not make it longer than [`SAID_EVERY`].
    fn silence(&self) -> Duration {
        SAID_EVERY.saturating_sub(self.pace.timeout).max(SAID_EVERY / 2)
    }

    /// The time to the next check: between nine tenths and the whole of the interval.
    fn next_interval(&self) -> Duration {
        let random = u32::from_le_bytes(first_four(self.ids.next_id().as_u128().to_le_bytes()));
        self.pace.interval - (self.pace.interval / 10).mul_f64(f64::from(random) / f64::from(u32::MAX))
    }

    /// Takes in what a check saw. What changed the state, what was asked for, and what was not said for too long, is said.
    fn observe(&self, watch: &mut Watch, seen: &Seen, asked: bool) -> Option<Uuid> {
        watch.checked = Some(seen.at);
        let change = watch.hysteresis.observe(seen.status, seen.at, &seen.sight);
        if watch.hysteresis.status() == Some(seen.status) {
            watch.sight = seen.sight.clone();
        }
        if let Some(change) = change {
            let word = Word {
                id: self.ids.next_id(),
                status: Some(change.status),
                since: change.since.min(seen.at),
                seen: seen.at,
                sight: change.sight,
            };
            let duration = self.lasted_until(word.since);
            return Some(self.say(watch, word, duration));
        }
        let overdue = watch.said.is_none_or(|said| said.elapsed() >= self.silence());
        (asked || overdue).then(|| self.say_again(watch)).flatten()
    }

    /// Says the state again as of the last check, if there is a state.
    fn say_again(&self, watch: &mut Watch) -> Option<Uuid> {
        let (status, at) = (watch.hysteresis.status()?, watch.checked?);
        let word = Word {
            id: self.ids.next_id(),
            status: Some(status),
            since: at,
            seen: at,
            sight: watch.sight.clone(),
        };
        Some(self.say(watch, word, None))
    }

    fn say(&self, watch: &mut Watch, word: Word, duration: Option<u64>) -> Uuid {
        watch.said = Some(Instant::now());
        watch.checked = None;
        self.recorder.say(&self.service, word, duration)
    }

    /// For how long the state that ends at `since` was known to last, in milliseconds.
    fn lasted_until(&self, since: i64) -> Option<u64> {
        let history = self.service.history();
        let ended = history.at(since.checked_sub(1)?)?;
        u64::try_from(since.saturating_sub(ended.start)).ok()
    }
}

fn first_four(bytes: [u8; 16]) -> [u8; 4] {
    [bytes[0], bytes[1], bytes[2], bytes[3]]
}
