//! BatchAppend: many appends over one long call, told apart by their correlation ids.
//!
//! The answer's stream drives everything, so a client that stops reading its answers is not read from either. Appends to
//! different streams run at once; those to one stream are judged in the order in which they were completed, and what came
//! while others to it ran goes to the store together.

use super::{
    Services,
    append::{Gathered, Refusal, success},
    convert,
    proto::{
        event_store::client::{
            self as wire,
            streams::{BatchAppendReq, BatchAppendResp, WriteOptions, batch_append_resp, write_options},
        },
        google::rpc,
    },
    status,
};
use event_store::{Appended, Clock, Error, EventStore, ExpectedState, StreamName, Timestamp};
use futures::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream, FuturesUnordered},
};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tonic::{Status, Streaming};
use uuid::Uuid;

/// So many complete appends of one call wait or run at once; beyond it the call is not read from.
const MAX_READY: usize = 1_024;
/// So many incomplete appends of one call are kept.
const MAX_OPEN: usize = 1_024;
/// The Rust client says when where it should say how long: nothing waits longer than this.
const MAX_DEADLINE: Duration = Duration::from_secs(24 * 60 * 60);

impl Services {
    pub(crate) fn batch_append(
        &self,
        store: Arc<dyn EventStore>,
        messages: Streaming<BatchAppendReq>,
    ) -> BoxStream<'static, Result<BatchAppendResp, Status>> {
        let batch = Batch {
            services: self.clone(),
            store,
            messages: Some(messages),
            open: HashMap::new(),
            running: FuturesUnordered::new(),
            waiting: HashMap::new(),
            ready: 0,
            answers: VecDeque::new(),
            broken: None,
        };
        stream::unfold(batch, |mut batch| async move {
            let answer = batch.next().await?;
            Some((answer, batch))
        })
        .boxed()
    }
}

/// One call.
struct Batch {
    services: Services,
    store: Arc<dyn EventStore>,
    /// Nothing when the client has sent its last message.
    messages: Option<Streaming<BatchAppendReq>>,
    /// Appends of which more is to come.
    open: HashMap<Uuid, Open>,
    running: FuturesUnordered<BoxFuture<'static, (StreamName, Vec<BatchAppendResp>)>>,
    /// What waits for the running appends to its stream; a stream is a key here while some run.
    waiting: HashMap<StreamName, Vec<Ready>>,
    /// How many run or wait.
    ready: usize,
    /// What is to be sent.
    answers: VecDeque<BatchAppendResp>,
    /// Why no more could be read; the call ends with it when all that came whole is answered.
    broken: Option<Status>,
}

/// An append whose last message has not come.
enum Open {
    Gathering(Ready),
    /// It was refused and the client told so; the rest of it is dropped.
    Refused,
}

/// An append, complete once its last message has come.
struct Ready {
    correlation: wire::Uuid,
    stream: StreamName,
    expected: ExpectedState,
    /// How long it may take, and since when by the monotonic clock.
    deadline: Option<Duration>,
    received: Duration,
    events: Gathered,
}

impl Batch {
    /// The next answer; nothing when all is answered and the client has ended.
    async fn next(&mut self) -> Option<Result<BatchAppendResp, Status>> {
        loop {
            if let Some(answer) = self.answers.pop_front() {
                return Some(Ok(answer));
            }
            let message = match &mut self.messages {
                Some(messages) if self.ready < MAX_READY => messages.next().left_future(),
                Some(_) => futures::future::pending().right_future(),
                None if self.running.is_empty() => return self.broken.take().map(Err),
                None => futures::future::pending().right_future(),
            };
            tokio::select! {
                biased;
                Some((stream, answers)) = self.running.next() => {
                    self.ready -= answers.len();
                    self.answers.extend(answers);
                    self.finished(&stream);
                }
                message = message => match message {
                    Some(Ok(message)) => match self.received(message) {
                        Ok(None) => {}
                        Ok(Some(refusal)) => return Some(Ok(refusal)),
                        Err(status) => self.end(Some(status)),
                    },
                    Some(Err(status)) => self.end(Some(status)),
                    None => self.end(None),
                },
            }
        }
    }

    /// Reads no more. Appends that are not complete by now are never written.
    fn end(&mut self, broken: Option<Status>) {
        self.messages = None;
        self.open.clear();
        self.broken = broken;
    }

    /// Takes a message in: an append begins, goes on or is complete. Gives the answer if it is refused.
    fn received(&mut self, message: BatchAppendReq) -> Result<Option<BatchAppendResp>, Status> {
        let Some(correlation) = message.correlation_id else {
            return Err(status::invalid("a correlation id is missing"));
        };
        let Some(id) = convert::uuid_from_wire(Some(&correlation)) else {
            return Err(status::invalid("a correlation id is no UUID, or nil"));
        };
        let named = message.options.as_ref().and_then(|o| o.stream_identifier.clone()).unwrap_or_default();
        let open = match (self.open.remove(&id), &message.options) {
            (Some(open), _) => Ok(open),
            (None, _) if self.open.len() >= MAX_OPEN => Err(bad_request("too many incomplete appends")),
            (None, options) => self.begin(correlation.clone(), options.as_ref()).map(Open::Gathering),
        };
        let gathered = open.and_then(|open| match open {
            Open::Refused => Ok(None),
            Open::Gathering(mut ready) => {
                for event in message.proposed_messages {
                    let event = convert::new_event(event).map_err(|s| bad_request(s.message()))?;
                    ready.events.push(event).map_err(|refusal| match refusal {
                        Refusal::Store(error) => status::in_band(&error),
                        Refusal::Exhausted => exhausted(&refusal),
                    })?;
                }
                Ok(Some(ready))
            }
        });
        match gathered {
            Ok(Some(ready)) if message.is_final => self.start(ready),
            Ok(Some(ready)) => drop(self.open.insert(id, Open::Gathering(ready))),
            Ok(None) if message.is_final => {}
            Ok(None) => drop(self.open.insert(id, Open::Refused)),
            Err(error) => {
                if !message.is_final && self.open.len() < MAX_OPEN {
                    self.open.insert(id, Open::Refused);
                }
                return Ok(Some(BatchAppendResp {
                    correlation_id: Some(correlation),
                    stream_identifier: Some(named),
                    expected: None,
                    result: Some(batch_append_resp::Result::Error(error)),
                }));
            }
        }
        Ok(None)
    }

    fn begin(&self, correlation: wire::Uuid, options: Option<&WriteOptions>) -> Result<Ready, rpc::Status> {
        let (stream, expected) = convert::write_options(options).map_err(|s| bad_request(s.message()))?;
        let clock = &self.services.options.clock;
        Ok(Ready {
            correlation,
            stream,
            expected,
            deadline: options.and_then(|o| o.deadline_option.as_ref()).map(|d| deadline(d, clock.now())),
            received: clock.monotonic(),
            events: Gathered::new(&self.services.0),
        })
    }

    /// Runs a complete append, or lets it wait for the one to the same stream.
    fn start(&mut self, ready: Ready) {
        self.ready += 1;
        match self.waiting.get_mut(&ready.stream) {
            Some(waiting) => waiting.push(ready),
            None => {
                self.waiting.insert(ready.stream.clone(), Vec::new());
                self.run(ready.stream.clone(), vec![ready]);
            }
        }
    }

    fn run(&self, stream: StreamName, appends: Vec<Ready>) {
        let store = Arc::clone(&self.store);
        let clock = Arc::clone(&self.services.options.clock);
        self.running.push(Box::pin(async move {
            let answers = append(&*store, &*clock, &stream, appends).await;
            (stream, answers)
        }));
    }

    /// Appends to a stream are done: the turn of those that came meanwhile.
    fn finished(&mut self, stream: &StreamName) {
        match self.waiting.get_mut(stream).map(std::mem::take).filter(|waiting| !waiting.is_empty()) {
            Some(next) => self.run(stream.clone(), next),
            None => drop(self.waiting.remove(stream)),
        }
    }
}

/// Appends to one stream, one after the other. Each gets its answer.
async fn append(
    store: &dyn EventStore,
    clock: &dyn Clock,
    stream: &StreamName,
    appends: Vec<Ready>,
) -> Vec<BatchAppendResp> {
    let now = clock.monotonic();
    let left = |ready: &Ready| ready.deadline.map(|d| d.saturating_sub(now.saturating_sub(ready.received)));
    let too_late = || Err(Error::Timeout("the append's deadline has passed".into()));
    // What is already too late is not begun.
    let (late, timely): (Vec<_>, Vec<_>) =
        appends.into_iter().partition(|ready| left(ready) == Some(Duration::ZERO));
    let mut answers: Vec<_> = late.iter().map(|ready| answered(stream, ready, too_late())).collect();
    // Those that go together are given the longest of their times; all of it, if one has no end.
    let patience = timely.iter().map(left).reduce(|a, b| Some(a?.max(b?))).flatten();
    let (mut begun, mut pending) = (Vec::with_capacity(timely.len()), Vec::with_capacity(timely.len()));
    let mut asked = Vec::with_capacity(timely.len());
    for mut ready in timely {
        let (events, held) = ready.events.take();
        begun.push((ready.expected, events));
        pending.push(held);
        asked.push(ready);
    }
    let results = store.append_in_turn(stream, begun);
    let results = match patience {
        None => results.await,
        Some(patience) => match tokio::time::timeout(patience, results).await {
            Ok(results) => results,
            Err(_) => asked.iter().map(|_| too_late()).collect(),
        },
    };
    answers.extend(asked.iter().zip(results).map(|(ready, result)| answered(stream, ready, result)));
    answers
}

fn answered(stream: &StreamName, ready: &Ready, result: Result<Appended, Error>) -> BatchAppendResp {
    BatchAppendResp {
        correlation_id: Some(ready.correlation.clone()),
        stream_identifier: Some(convert::stream_to_wire(stream)),
        expected: Some(match ready.expected {
            ExpectedState::Any => batch_append_resp::Expected::Any(()),
            ExpectedState::NoStream => batch_append_resp::Expected::NoStream(()),
            ExpectedState::StreamExists => batch_append_resp::Expected::StreamExists(()),
            ExpectedState::Exact(revision) => batch_append_resp::Expected::StreamPosition(revision),
        }),
        result: Some(match result {
            Ok(appended) => batch_append_resp::Result::Success(success(appended)),
            Err(error) => batch_append_resp::Result::Error(status::in_band(&error)),
        }),
    }
}

/// How long an append may take from now.
fn deadline(option: &write_options::DeadlineOption, now: Timestamp) -> Duration {
    let duration = match option {
        write_options::DeadlineOption::Deadline(duration) => {
            // Negative ones have passed.
            Duration::try_from(*duration).unwrap_or_default()
        }
        write_options::DeadlineOption::Deadline21100(at) => {
            let ticks = at.seconds.saturating_mul(10_000_000).saturating_add(i64::from(at.nanos) / 100);
            Timestamp::from_ticks(ticks).since(now)
        }
    };
    duration.min(MAX_DEADLINE)
}

fn bad_request(message: &str) -> rpc::Status {
    status::in_band(&Error::InvalidArgument(message.to_owned()))
}

fn exhausted(refusal: &Refusal) -> rpc::Status {
    let status = refusal.status();
    rpc::Status {
        code: status.code() as i32,
        message: status.message().to_owned(),
        details: vec![status::any(&wire::Unknown {})],
    }
}
