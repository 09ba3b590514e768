//! Appending to one stream: the events come one message at a time, and are written when the client has sent its last.

use super::{
    Services, convert,
    proto::event_store::client::streams::{
        AppendReq, AppendResp, AppendSuccess, append_req, append_resp, append_success,
    },
    status,
};
use crate::face::Node;
use event_store::{Appended, Error, EventStore, ExpectedState, NewEvent, Revision};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Status, Streaming};

impl Services {
    pub(crate) async fn append(
        &self,
        store: &dyn EventStore,
        mut messages: Streaming<AppendReq>,
    ) -> Result<AppendResp, Status> {
        let options = match messages.message().await?.and_then(|m| m.content) {
            Some(append_req::Content::Options(options)) => options,
            _ => return Err(status::invalid("an append begins with its options")),
        };
        let (stream, expected) = convert::write_options(Some(&options))?;
        let mut events = Gathered::new(&self.0);
        // A client that vanishes ends this loop with an error, and nothing is written.
        while let Some(message) = messages.message().await? {
            let Some(append_req::Content::ProposedMessage(message)) = message.content else {
                return Err(status::invalid("after an append's options come its events"));
            };
            let event = convert::new_event(message)?;
            events.push(event).map_err(|refusal| refusal.status())?;
        }
        let (events, _pending) = events.take();
        match store.append(&stream, expected, events).await {
            Ok(appended) => Ok(AppendResp { result: Some(append_resp::Result::Success(success(appended))) }),
            Err(Error::WrongExpectedRevision { expected, actual, .. }) => Ok(AppendResp {
                result: Some(append_resp::Result::WrongExpectedVersion(wrong_version(expected, actual))),
            }),
            Err(error) => Err(status::of(&error)),
        }
    }
}

/// The events of one append that is being received: bounded each, together, and with all other appends of the node.
#[derive(Debug)]
pub(crate) struct Gathered {
    node: Arc<Node>,
    events: Vec<NewEvent>,
    size: usize,
    pending: Option<OwnedSemaphorePermit>,
}

/// Why an event was not taken.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It is too large, or makes the append too large.
    Store(Error),
    /// Too much waits to be written already.
    Exhausted,
}

impl Refusal {
    pub(crate) fn status(&self) -> Status {
        match self {
            Self::Store(error) => status::of(error),
            Self::Exhausted => status::exhausted("too many bytes wait to be written: send it again later"),
        }
    }
}

impl Gathered {
    pub(crate) fn new(node: &Arc<Node>) -> Self {
        Self { node: Arc::clone(node), events: Vec::new(), size: 0, pending: None }
    }

    pub(crate) fn push(&mut self, event: NewEvent) -> Result<(), Refusal> {
        let limits = &self.node.options.limits;
        let size = event.size();
        if size > limits.event_bytes {
            let limit = limits.event_bytes;
            return Err(Refusal::Store(Error::EventTooLarge { id: event.id, size, limit }));
        }
        let total = self.size.saturating_add(size);
        if total > limits.append_bytes {
            let limit = limits.append_bytes;
            return Err(Refusal::Store(Error::AppendTooLarge { size: total, limit }));
        }
        // An event costs more than its payload: a KiB at least, so that empty ones are bounded too.
        let permits = u32::try_from((size >> 10) + 1).unwrap_or(u32::MAX);
        let permit =
            Arc::clone(&self.node.pending).try_acquire_many_owned(permits).map_err(|_| Refusal::Exhausted)?;
        match &mut self.pending {
            Some(pending) => pending.merge(permit),
            pending => *pending = Some(permit),
        }
        self.size = total;
        self.events.push(event);
        Ok(())
    }

    /// The events, and what keeps their bytes counted until they are written. Nothing is left.
    pub(crate) fn take(&mut self) -> (Vec<NewEvent>, Option<OwnedSemaphorePermit>) {
        self.size = 0;
        (std::mem::take(&mut self.events), self.pending.take())
    }
}

pub(crate) fn success(appended: Appended) -> AppendSuccess {
    use append_success::{At, Current};
    AppendSuccess {
        current: Some(appended.last_revision.map_or(Current::NoStream(()), Current::CurrentRevision)),
        at: Some(
            appended.position.map_or(At::NoPosition(()), |p| At::Position(convert::position_to_wire(p))),
        ),
    }
}

/// Both the newer and the older way of saying it: clients look at either.
fn wrong_version(expected: ExpectedState, actual: Option<Revision>) -> append_resp::WrongExpectedVersion {
    use append_resp::wrong_expected_version::{Current, Current2060, Expected, Expected2060};
    append_resp::WrongExpectedVersion {
        current_20_6_0: Some(actual.map_or(Current2060::NoStream2060(()), Current2060::CurrentRevision2060)),
        expected_20_6_0: match expected {
            ExpectedState::Any => Some(Expected2060::Any2060(())),
            ExpectedState::StreamExists => Some(Expected2060::StreamExists2060(())),
            ExpectedState::Exact(revision) => Some(Expected2060::ExpectedRevision2060(revision)),
            // There was no way to say it then.
            ExpectedState::NoStream => None,
        },
        current: Some(actual.map_or(Current::CurrentNoStream(()), Current::CurrentRevision)),
        expected: Some(match expected {
            ExpectedState::Any => Expected::ExpectedAny(()),
            ExpectedState::NoStream => Expected::ExpectedNoStream(()),
            ExpectedState::StreamExists => Expected::ExpectedStreamExists(()),
            ExpectedState::Exact(revision) => Expected::ExpectedRevision(revision),
        }),
    }
}
