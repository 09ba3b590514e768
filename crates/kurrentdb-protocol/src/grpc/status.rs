//! What an error becomes on the wire: gRPC status, message and trailers, to the letter that clients look for.
//!
//! Which status an outcome has is [`ErrorCode`]'s to say; here are only the trailers beside it.

use super::{
    convert,
    proto::{event_store::client as wire, google::rpc},
};
use crate::{
    Denial,
    persistent::{GroupError, GroupKey},
};
use event_store::{Error, ErrorCode, ExpectedState, Revision};
use tonic::{Code, Status, metadata::MetadataValue};

/// How much of a message and of a trailer is sent, in bytes: what a client named may be as long as its request, and its
/// headers may not.
const MOST_MESSAGE: usize = 2 << 10;
const MOST_TRAILER: usize = 1 << 10;

/// As much of a text as may be sent.
fn shortened(mut text: String) -> String {
    if text.len() > MOST_MESSAGE {
        text.truncate(text.floor_char_boundary(MOST_MESSAGE));
        text.push('…');
    }
    text
}

/// A store's error as a failed call.
pub(crate) fn of(error: &Error) -> Status {
    let mut status = Status::new(code(error.code()), shortened(message(error)));
    let mut put = |key: &'static str, value: String| trailer(&mut status, key, &value);
    match error {
        // To KurrentDB's clients, what was erased is a stream that was ended.
        Error::StreamDeleted(stream) | Error::Erased(stream) => {
            put("exception", "stream-deleted".into());
            put("stream-name", stream.to_string());
        }
        Error::WrongExpectedRevision { stream, expected, actual } => {
            put("exception", "wrong-expected-version".into());
            put("stream-name", stream.to_string());
            put("expected-version", convert::version(*expected).to_string());
            put("actual-version", convert::actual_version(*actual).to_string());
        }
        Error::AccessDenied(_) => put("exception", "access-denied".into()),
        Error::AppendTooLarge { limit, .. } => {
            put("exception", "maximum-append-size-exceeded".into());
            put("maximum-append-size", limit.to_string());
        }
        Error::EventTooLarge { id, size, limit } => {
            put("exception", "maximum-append-event-size-exceeded".into());
            put("maximum-append-event-size", limit.to_string());
            put("event-id", id.to_string());
            put("proposed-append-event-size", size.to_string());
        }
        _ => {}
    }
    status
}

/// The message of an error: its own, except where it is for the log alone.
pub(crate) fn message(error: &Error) -> String {
    if error.code() == ErrorCode::InternalError {
        tracing::error!(%error, "a call failed");
        return "the event store failed; its log says why".into();
    }
    error.to_string()
}

/// An outcome that no store gave.
pub(crate) fn refused(code: ErrorCode) -> Status {
    let mut status = Status::new(self::code(code), code.name());
    if code == ErrorCode::PermissionDenied {
        trailer(&mut status, "exception", "access-denied");
    }
    status
}

/// A visitor is not let in.
pub(crate) fn denied(Denial { code, message }: Denial) -> Status {
    match message {
        Some(message) => refused_with(code, message),
        None => refused(code),
    }
}

/// The same with a sentence of its own.
pub(crate) fn refused_with(code: ErrorCode, message: String) -> Status {
    let mut status = Status::new(self::code(code), shortened(message));
    if code == ErrorCode::PermissionDenied {
        trailer(&mut status, "exception", "access-denied");
    }
    status
}

/// There is no account of this login name.
pub(crate) fn user_not_found(login_name: &str) -> Status {
    let message = shortened(format!("User '{login_name}' is not found."));
    let status = Status::new(code(ErrorCode::UserNotFound), message);
    of_user(status, "user-not-found", login_name)
}

/// There is an account of this login name already.
pub(crate) fn user_conflict(login_name: &str) -> Status {
    // KurrentDB's own status for it: clients take ALREADY_EXISTS for something else.
    let message = shortened(format!("User '{login_name}' already exists."));
    of_user(Status::failed_precondition(message), "user-conflict", login_name)
}

fn of_user(mut status: Status, exception: &str, login_name: &str) -> Status {
    trailer(&mut status, "exception", exception);
    trailer(&mut status, "login-name", login_name);
    status
}

/// A request that makes no sense.
pub(crate) fn invalid(message: impl Into<String>) -> Status {
    Status::new(code(ErrorCode::ValidationFailed), shortened(message.into()))
}

/// An event without its type or content type.
pub(crate) fn missing_metadata() -> Status {
    let mut status = invalid("Required Metadata Property 'type' or 'content-type' is missing");
    trailer(&mut status, "exception", "missing-required-metadata-property");
    trailer(&mut status, "required-metadata-properties", "type,content-type");
    status
}

/// What could not be done with a persistent subscription. These outcomes are KurrentDB's alone, so their statuses stand here.
pub(crate) fn of_group(error: &GroupError, GroupKey { source, group }: &GroupKey) -> Status {
    let (code, message) = match error {
        GroupError::Store(error) => return of(error),
        GroupError::TooMany(message) => return exhausted(message.as_str()),
        GroupError::Failed(reason) => {
            (Code::Internal, format!("Subscription group {group} on stream {source} failed: '{reason}'"))
        }
        GroupError::Missing => {
            (Code::NotFound, format!("Subscription group {group} on stream {source} does not exist."))
        }
        GroupError::Exists => {
            (Code::AlreadyExists, format!("Subscription group {group} on stream {source} exists."))
        }
        GroupError::Full => (
            Code::FailedPrecondition,
            format!("Maximum subscriptions reached for subscription group {group} on stream {source}."),
        ),
        GroupError::Dropped => {
            (Code::Cancelled, format!("Subscription group {group} on stream {source} was dropped."))
        }
    };
    let mut status = Status::new(code, shortened(message));
    trailer(&mut status, "exception", error.name());
    trailer(&mut status, "stream-name", source);
    trailer(&mut status, "group-name", group);
    if let GroupError::Failed(reason) = error {
        trailer(&mut status, "reason", reason);
    }
    status
}

/// A limit in number or in bytes is reached.
pub(crate) fn exhausted(message: impl Into<String>) -> Status {
    Status::new(code(ErrorCode::RateLimited), message)
}

/// The node is closing.
pub(crate) fn closing() -> Status {
    Status::new(code(ErrorCode::ShuttingDown), "Server Is Shutting Down")
}

/// What the leader alone may answer was asked of another node.
pub(crate) fn not_leader(leader: Option<(String, u16)>) -> Status {
    // Between two leaders there is nobody to ask.
    let Some((host, port)) = leader else { return Status::unavailable("Server Is Not Ready") };
    let mut status = Status::not_found("Leader info available");
    trailer(&mut status, "exception", "not-leader");
    trailer(&mut status, "leader-endpoint-host", &host);
    trailer(&mut status, "leader-endpoint-port", &port.to_string());
    status
}

pub(crate) fn code(code: ErrorCode) -> Code {
    Code::from(i32::from(code.grpc_status()))
}

/// Trailers are ASCII: what is not is percent-encoded, as in `grpc-message`.
fn trailer(status: &mut Status, key: &'static str, value: &str) {
    let value = &value[..value.floor_char_boundary(MOST_TRAILER)];
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if (0x20..0x7f).contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    if let Ok(value) = MetadataValue::try_from(text) {
        status.metadata_mut().insert(key, value);
    }
}

/// A store's error inside an answer, as BatchAppend gives it: a status with one detail, by whose type clients know it.
pub(crate) fn in_band(error: &Error) -> rpc::Status {
    let (code, detail) = match error {
        Error::WrongExpectedRevision { expected, actual, .. } => {
            (Code::AlreadyExists, any(&wrong_version(*expected, *actual)))
        }
        Error::StreamDeleted(stream) | Error::Erased(stream) => {
            let stream_identifier = Some(convert::stream_to_wire(stream));
            (Code::NotFound, any(&wire::StreamDeleted { stream_identifier }))
        }
        Error::AccessDenied(_) => (Code::PermissionDenied, any(&wire::AccessDenied {})),
        Error::Timeout(_) => (Code::DeadlineExceeded, any(&wire::Timeout {})),
        Error::AppendTooLarge { limit, .. } | Error::EventTooLarge { limit, .. } => {
            let max_append_size = u32::try_from(*limit).unwrap_or(u32::MAX);
            (Code::InvalidArgument, any(&wire::MaximumAppendSizeExceeded { max_append_size }))
        }
        Error::InvalidArgument(message) => {
            (Code::InvalidArgument, any(&wire::BadRequest { message: message.clone() }))
        }
        _ => (Code::Unknown, any(&wire::Unknown {})),
    };
    rpc::Status { code: code as i32, message: message(error), details: vec![detail] }
}

fn wrong_version(expected: ExpectedState, actual: Option<Revision>) -> wire::WrongExpectedVersion {
    use wire::wrong_expected_version::{Current, Expected};
    wire::WrongExpectedVersion {
        current: Some(actual.map_or(Current::CurrentNoStream(()), Current::CurrentStreamRevision)),
        expected: Some(match expected {
            ExpectedState::Any => Expected::ExpectedAny(()),
            ExpectedState::NoStream => Expected::ExpectedNoStream(()),
            ExpectedState::StreamExists => Expected::ExpectedStreamExists(()),
            ExpectedState::Exact(revision) => Expected::ExpectedStreamPosition(revision),
        }),
    }
}

/// A message with its full name.
pub(crate) fn any<M: prost::Name>(message: &M) -> prost_types::Any {
    prost_types::Any { type_url: M::type_url(), value: message.encode_to_vec() }
}
