//! What the tests stand on: a clock that is tokio's, a store that can be taken away, checks that say what they are told.

use crate::{
    security::Gate,
    uptime::{
        Options, Parts, Uptime,
        target::{Kind, Target},
        watch::{Check, Pace, Patience},
    },
};
use event_store::{Clock, EventStore as _, ReadStream, StreamName, Timestamp, contract::Model};
use models::{MonitorStopped, ServiceStatusChanged};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use test_support::{Line, SeededIds};
use tokio::time::Instant;

/// Seconds since the test began, as the time of day begins at this many milliseconds.
pub(super) const EPOCH: i64 = 1_705_314_600_000;

/// Shows tokio's time, which tests move by sleeping.
#[derive(Debug)]
pub(super) struct TokioClock(Instant);

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(EPOCH).plus(self.0.elapsed())
    }
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

pub(super) fn clock() -> Arc<TokioClock> {
    Arc::new(TokioClock(Instant::now()))
}

/// Lets time pass.
pub(super) async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// A check that finds what it is told to find, and counts how often it was made.
#[derive(Debug, Default)]
pub(super) struct Told {
    fault: Mutex<Option<String>>,
    slow: Mutex<Duration>,
    pub(super) made: AtomicU64,
}

impl Told {
    pub(super) fn fails(&self, error: &str) {
        *self.fault.lock().unwrap() = Some(error.to_owned());
    }
    pub(super) fn works(&self) {
        *self.fault.lock().unwrap() = None;
    }
    pub(super) fn takes(&self, time: Duration) {
        *self.slow.lock().unwrap() = time;
    }
}

#[async_trait::async_trait]
impl Check for Told {
    async fn check(&self) -> std::result::Result<(), String> {
        self.made.fetch_add(1, Ordering::SeqCst);
        let slow = *self.slow.lock().unwrap();
        tokio::time::sleep(slow).await;
        self.fault.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

/// One instance that watches one service, called `web`, which works.
pub(super) struct Instance {
    pub(super) uptime: Arc<Uptime>,
    pub(super) check: Arc<Told>,
    pub(super) line: Arc<Line>,
}

pub(super) const PACE: Pace = Pace {
    interval: Duration::from_secs(30),
    timeout: Duration::from_secs(5),
    patience: Patience { failures: 2, successes: 2 },
};

pub(super) fn instance(model: &Model, clock: &Arc<TokioClock>, seed: u64, exclusive: bool) -> Instance {
    let line = Arc::new(Line::new(Arc::new(model.clone())));
    let check = Arc::new(Told::default());
    let kind = Kind::Tcp("web.example.org:80".to_owned());
    let parts = Parts {
        gate: Gate::new(Arc::<Line>::clone(&line)),
        clock: Arc::<TokioClock>::clone(clock),
        ids: Arc::new(SeededIds::new(seed)),
        options: Options {
            targets: vec![Target { name: "web".into(), kind }],
            pace: PACE,
            watch: true,
            max_age: Duration::from_secs(400 * 86_400),
            lease_time: Duration::from_secs(30),
            exclusive,
        },
    };
    let uptime = Arc::new(Uptime::new(parts).unwrap());
    uptime.start_with(vec![Arc::<Told>::clone(&check)]);
    Instance { uptime, check, line }
}

impl Instance {
    /// Ends it without a word, as a crash would.
    pub(super) fn crash(self) {
        drop(self);
    }

    pub(super) fn status(&self) -> &'static str {
        self.uptime.status("web").unwrap().as_str()
    }
}

pub(super) fn model(clock: &Arc<TokioClock>) -> Model {
    Model::new(Arc::<TokioClock>::clone(clock), Arc::new(SeededIds::new(999)))
}

/// An event of the service's stream, in seconds since the test began.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Event {
    Created,
    Said { status: &'static str, since: i64, seen: i64, duration: Option<u64>, error: Option<String> },
    Stopped(i64),
    Other(String),
}

/// The service's stream.
pub(super) async fn stream(model: &Model) -> Vec<Event> {
    let name = StreamName::new("service-uptime-web").unwrap();
    let page = model.read_stream(&name, ReadStream::forwards(10_000)).await.unwrap();
    let second = |t: models::DateTime| (t.millis() - EPOCH) / 1000;
    page.events
        .into_iter()
        .map(|e| {
            let event = e.event.unwrap();
            match event.event_type.as_str() {
                "StreamCreated" => Event::Created,
                MonitorStopped::TYPE => {
                    let stopped: MonitorStopped = serde_json::from_slice(&event.data).unwrap();
                    Event::Stopped(second(stopped.timestamp))
                }
                ServiceStatusChanged::TYPE => {
                    let said: ServiceStatusChanged = serde_json::from_slice(&event.data).unwrap();
                    assert_eq!(said.event_id, event.id.to_string());
                    Event::Said {
                        status: said.status.as_str(),
                        since: second(said.timestamp),
                        seen: second(said.observed_at.unwrap_or(said.timestamp)),
                        duration: said.duration,
                        error: said.metadata.and_then(|m| m.error),
                    }
                }
                other => Event::Other(other.to_owned()),
            }
        })
        .collect()
}

/// What was said of the service: `(status, since, seen)` in seconds since the test began.
pub(super) async fn said(model: &Model) -> Vec<(&'static str, i64, i64)> {
    let events = stream(model).await.into_iter();
    events
        .filter_map(|e| match e {
            Event::Said { status, since, seen, .. } => Some((status, since, seen)),
            _ => None,
        })
        .collect()
}
