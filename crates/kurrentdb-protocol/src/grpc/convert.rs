//! Between the messages and the port's types.

use super::{
    proto::event_store::client::{
        self as wire,
        streams::{ProposedMessage, WriteOptions, read_resp, write_options},
    },
    status,
};
use bytes::Bytes;
use event_store::{
    ContentType, EventType, ExpectedState, NewEvent, Position, RecordedEvent, ResolvedEvent, Revision,
    StreamName, Timestamp,
};
use tonic::Status;
use uuid::Uuid;

/// How a client wants ids in what it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UuidForm {
    Structured,
    Text,
}

pub(crate) fn uuid_to_wire(id: Uuid, form: UuidForm) -> wire::Uuid {
    let value = match form {
        UuidForm::Text => wire::uuid::Value::String(id.to_string()),
        UuidForm::Structured => {
            let (most, least) = id.as_u64_pair();
            wire::uuid::Value::Structured(wire::uuid::Structured {
                most_significant_bits: most.cast_signed(),
                least_significant_bits: least.cast_signed(),
            })
        }
    };
    wire::Uuid { value: Some(value) }
}

/// An id, if it is one and not nil.
pub(crate) fn uuid_from_wire(id: Option<&wire::Uuid>) -> Option<Uuid> {
    let id = match id?.value.as_ref()? {
        wire::uuid::Value::String(text) => Uuid::parse_str(text).ok()?,
        wire::uuid::Value::Structured(halves) => Uuid::from_u64_pair(
            halves.most_significant_bits.cast_unsigned(),
            halves.least_significant_bits.cast_unsigned(),
        ),
    };
    (!id.is_nil()).then_some(id)
}

pub(crate) fn stream_to_wire(stream: &StreamName) -> wire::StreamIdentifier {
    wire::StreamIdentifier { stream_name: Bytes::copy_from_slice(stream.as_str().as_bytes()) }
}

pub(crate) fn stream_from_wire(stream: Option<&wire::StreamIdentifier>) -> Result<StreamName, Status> {
    let bytes = stream.map(|s| s.stream_name.as_ref()).unwrap_or_default();
    let name = std::str::from_utf8(bytes).map_err(|_| status::invalid("a stream name must be UTF-8"))?;
    StreamName::new(name).map_err(|e| status::invalid(e.to_string()))
}

/// A revision that a client sent: KurrentDB's are signed.
pub(crate) fn revision_from_wire(revision: u64) -> Result<Revision, Status> {
    if i64::try_from(revision).is_err() {
        return Err(status::invalid(format!("{revision} is no revision")));
    }
    Ok(revision)
}

/// KurrentDB's number for an expected state.
pub(crate) fn version(expected: ExpectedState) -> i64 {
    match expected {
        ExpectedState::Any => -2,
        ExpectedState::NoStream => -1,
        ExpectedState::StreamExists => -4,
        ExpectedState::Exact(revision) => actual_version(Some(revision)),
    }
}

/// KurrentDB's number for a stream's last revision.
pub(crate) fn actual_version(actual: Option<Revision>) -> i64 {
    actual.map_or(-1, |revision| i64::try_from(revision).unwrap_or(i64::MAX))
}

/// The expected state for one of KurrentDB's numbers.
pub(crate) fn expected_from_version(version: i64) -> Result<ExpectedState, Status> {
    match version {
        -1 => Ok(ExpectedState::NoStream),
        -2 => Ok(ExpectedState::Any),
        -4 => Ok(ExpectedState::StreamExists),
        revision => u64::try_from(revision)
            .map(ExpectedState::Exact)
            .map_err(|_| status::invalid(format!("{revision} is no expected revision"))),
    }
}

/// The stream that is written, and what the writer says of it.
pub(crate) fn write_options(options: Option<&WriteOptions>) -> Result<(StreamName, ExpectedState), Status> {
    let options = options.ok_or_else(|| status::invalid("options are missing"))?;
    let stream = stream_from_wire(options.stream_identifier.as_ref())?;
    let expected = match options.expected {
        Some(write_options::Expected::Any(())) => ExpectedState::Any,
        Some(write_options::Expected::NoStream(())) => ExpectedState::NoStream,
        Some(write_options::Expected::StreamExists(())) => ExpectedState::StreamExists,
        Some(write_options::Expected::Revision(revision)) => {
            ExpectedState::Exact(revision_from_wire(revision)?)
        }
        None => return Err(status::invalid("an expected revision is missing")),
    };
    Ok((stream, expected))
}

/// An event to be written. Its payload is not looked at.
pub(crate) fn new_event(message: ProposedMessage) -> Result<NewEvent, Status> {
    let id = uuid_from_wire(message.id.as_ref()).ok_or_else(|| status::invalid("an event needs an id"))?;
    let property = |key: &str| message.metadata.iter().rfind(|p| p.key == key).map(|p| p.value.as_str());
    let (Some(event_type), Some(content_type)) = (property("type"), property("content-type")) else {
        return Err(status::missing_metadata());
    };
    Ok(NewEvent {
        id,
        event_type: EventType::from(event_type),
        content_type: content_type_from_wire(content_type),
        data: message.data,
        metadata: message.custom_metadata,
    })
}

fn content_type_from_wire(content_type: &str) -> ContentType {
    if content_type == ContentType::Json.as_str() { ContentType::Json } else { ContentType::Binary }
}

pub(crate) fn position_to_wire(position: Position) -> wire::AllStreamPosition {
    wire::AllStreamPosition { commit_position: position.raw(), prepare_position: position.raw() }
}

pub(crate) fn timestamp_to_wire(time: Timestamp) -> prost_types::Timestamp {
    let ticks = time.ticks();
    prost_types::Timestamp {
        seconds: ticks.div_euclid(10_000_000),
        nanos: i32::try_from(ticks.rem_euclid(10_000_000) * 100).unwrap_or(0),
    }
}

/// What a read or a subscription brings.
pub(crate) fn event_to_wire(event: ResolvedEvent, form: UuidForm) -> read_resp::ReadEvent {
    let position = event.original().map_or(read_resp::read_event::Position::NoPosition(()), |e| {
        read_resp::read_event::Position::CommitPosition(e.position.raw())
    });
    read_resp::ReadEvent {
        event: event.event.map(|e| recorded_to_wire(e, form)),
        link: event.link.map(|e| recorded_to_wire(e, form)),
        position: Some(position),
    }
}

fn recorded_to_wire(event: RecordedEvent, form: UuidForm) -> read_resp::RecordedEvent {
    let property = |key: &str, value: String| wire::Property { key: key.into(), value };
    read_resp::RecordedEvent {
        id: Some(uuid_to_wire(event.id, form)),
        stream_identifier: Some(stream_to_wire(&event.stream)),
        stream_revision: event.revision,
        prepare_position: event.position.raw(),
        commit_position: event.position.raw(),
        metadata: vec![
            property("type", event.event_type.as_str().into()),
            property("created", event.created.ticks().to_string()),
            property("content-type", event.content_type.as_str().into()),
        ],
        custom_metadata: event.metadata,
        data: event.data,
    }
}
