//! BatchAppend: many appends over one long call, told apart by their correlation ids.
//!
//! The answer's stream drives everything, so a client that stops reading its answers is not read from either. Appends to
//! different streams run at once; those to one stream run one after the other, in the order in which they were completed.

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
use event_store::{Clock, Error, EventStore, ExpectedState, StreamName, Timestamp};
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
    running: FuturesUnordered<BoxFuture<'static, (StreamName, BatchAppendResp)>>,
    /// What waits for the running append to its stream; a stream is a key here while one runs.
    waiting: HashMap<StreamName, VecDeque<Ready>>,
    /// How many run or wait.
    ready: usize,
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
            let message = match &mut self.messages {
                Some(messages) if self.ready < MAX_READY => messages.next().left_future(),
                Some(_) => futures::future::pending().right_future(),
                None if self.running.is_empty() => return self.broken.take().map(Err),
                None => futures::future::pending().right_future(),
            };
            tokio::select! {
                biased;
                Some((stream, answer)) = self.running.next() => {
                    self.finished(&stream);
                    return Some(Ok(answer));
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
            Some(waiting) => waiting.push_back(ready),
            None => {
                self.waiting.insert(ready.stream.clone(), VecDeque::new());
                self.run(ready);
            }
        }
    }

    fn run(&self, ready: Ready) {
        let store = Arc::clone(&self.store);
        let clock = Arc::clone(&self.services.options.clock);
        self.running.push(Box::pin(async move {
            let stream = ready.stream.clone();
            (stream, append(&*store, &*clock, ready).await)
        }));
    }

    /// An append to a stream is done: the next one's turn.
    fn finished(&mut self, stream: &StreamName) {
        self.ready -= 1;
        match self.waiting.get_mut(stream).and_then(VecDeque::pop_front) {
            Some(next) => self.run(next),
            None => drop(self.waiting.remove(stream)),
        }
    }
}

async fn append(store: &dyn EventStore, clock: &dyn Clock, ready: Ready) -> BatchAppendResp {
    let (events, _pending) = ready.events.finish();
    let waited = clock.monotonic().saturating_sub(ready.received);
    let left = ready.deadline.map(|deadline| deadline.saturating_sub(waited));
    let too_late = || Error::Timeout("the append's deadline has passed".into());
    let append = store.append(&ready.stream, ready.expected, events);
    let result = match left {
        None => append.await,
        // What is already too late is not begun.
        Some(Duration::ZERO) => Err(too_late()),
        Some(left) => tokio::time::timeout(left, append).await.unwrap_or_else(|_| Err(too_late())),
    };
    BatchAppendResp {
        correlation_id: Some(ready.correlation),
        stream_identifier: Some(convert::stream_to_wire(&ready.stream)),
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
