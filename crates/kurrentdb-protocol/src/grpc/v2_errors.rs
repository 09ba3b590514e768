//! What v2 says of a failed append: a rich status, whose last detail is the specific one.

use super::{
    convert,
    proto::{google::rpc, kurrentdb::protocol::v2::streams::errors as wire},
    status,
};
use event_store::{Error, ExpectedState, StreamName};
use prost::Message;
use std::collections::HashMap;
use tonic::{Code, Status};
use uuid::Uuid;

/// The actual states of a stream that has no revision to be at.
pub(crate) const SOFTLY_DELETED: i64 = -5;
pub(crate) const TOMBSTONED: i64 = -6;

/// Failures that v2 has details for.
pub(crate) enum Failure<'a> {
    NoRequests,
    AlreadyInSession(&'a StreamName),
    RecordTooLarge { stream: &'a StreamName, id: Uuid, size: usize, limit: usize },
    TransactionTooLarge { size: usize, limit: usize },
    RevisionConflict { stream: &'a StreamName, expected: ExpectedState, actual: i64 },
    Tombstoned(&'a StreamName),
    Violated(&'a [Violation<'a>]),
}

/// A check that does not hold.
pub(crate) struct Violation<'a> {
    pub(crate) index: usize,
    pub(crate) stream: &'a StreamName,
    pub(crate) expected: ExpectedState,
    pub(crate) actual: i64,
}

/// A store's error. Those that v2 has no details for are as in v1.
pub(crate) fn of(error: &Error) -> Status {
    match error {
        Error::WrongExpectedRevision { stream, expected, actual } => {
            let actual = convert::actual_version(*actual);
            Failure::RevisionConflict { stream, expected: *expected, actual }.status()
        }
        Error::StreamDeleted(stream) => Failure::Tombstoned(stream).status(),
        Error::AppendTooLarge { size, limit } => {
            Failure::TransactionTooLarge { size: *size, limit: *limit }.status()
        }
        error => status::of(error),
    }
}

impl Failure<'_> {
    pub(crate) fn status(&self) -> Status {
        let short = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        let (code, reason, message, detail) = match self {
            Self::NoRequests => (
                Code::FailedPrecondition,
                "APPEND_SESSION_NO_REQUESTS",
                "Append session started, but no append requests were sent before completing the stream."
                    .into(),
                None,
            ),
            Self::AlreadyInSession(stream) => (
                Code::Aborted,
                "STREAM_ALREADY_IN_APPEND_SESSION",
                format!("Stream '{stream}' is already part of this append session."),
                Some(status::any(&wire::StreamAlreadyInAppendSessionErrorDetails {
                    stream: stream.to_string(),
                })),
            ),
            Self::RecordTooLarge { stream, id, size, limit } => (
                Code::InvalidArgument,
                "APPEND_RECORD_SIZE_EXCEEDED",
                format!(
                    "The size of record {id} ({size} bytes) exceeds the maximum allowed size of {limit} bytes."
                ),
                Some(status::any(&wire::AppendRecordSizeExceededErrorDetails {
                    stream: stream.to_string(),
                    record_id: id.to_string(),
                    size: short(*size),
                    max_size: short(*limit),
                })),
            ),
            Self::TransactionTooLarge { size, limit } => (
                Code::Aborted,
                "APPEND_TRANSACTION_SIZE_EXCEEDED",
                format!(
                    "The total size of the append ({size} bytes) exceeds the maximum allowed size of {limit} bytes."
                ),
                Some(status::any(&wire::AppendTransactionSizeExceededErrorDetails {
                    size: short(*size),
                    max_size: short(*limit),
                })),
            ),
            Self::RevisionConflict { stream, expected, actual } => {
                let expected_revision = convert::version(*expected);
                (
                    Code::FailedPrecondition,
                    "STREAM_REVISION_CONFLICT",
                    format!(
                        "Append failed due to a revision conflict on stream '{stream}'. \
                         Expected revision: {expected_revision}. Actual revision: {actual}."
                    ),
                    Some(status::any(&wire::StreamRevisionConflictErrorDetails {
                        stream: stream.to_string(),
                        expected_revision,
                        actual_revision: *actual,
                    })),
                )
            }
            Self::Tombstoned(stream) => (
                Code::FailedPrecondition,
                "STREAM_TOMBSTONED",
                format!("Stream '{stream}' has been tombstoned."),
                Some(status::any(&wire::StreamTombstonedErrorDetails { stream: stream.to_string() })),
            ),
            Self::Violated(violations) => {
                let streams: Vec<_> = violations.iter().map(|v| format!("'{}'", v.stream)).collect();
                let (check, plural) = if streams.len() == 1 {
                    ("A consistency check", "")
                } else {
                    ("Consistency checks", "s")
                };
                let violation = |v: &Violation<'_>| wire::ConsistencyViolation {
                    check_index: short(v.index),
                    r#type: Some(wire::consistency_violation::Type::StreamState(
                        wire::consistency_violation::StreamStateViolation {
                            stream: v.stream.to_string(),
                            expected_state: convert::version(v.expected),
                            actual_state: v.actual,
                        },
                    )),
                };
                (
                    Code::FailedPrecondition,
                    "APPEND_CONSISTENCY_VIOLATION",
                    format!("{check} failed on stream{plural} {}.", streams.join(", ")),
                    Some(status::any(&wire::AppendConsistencyViolationErrorDetails {
                        violations: violations.iter().map(violation).collect(),
                    })),
                )
            }
        };
        rich(code, reason, message, detail)
    }
}

fn rich(code: Code, reason: &str, message: String, detail: Option<prost_types::Any>) -> Status {
    let info =
        rpc::ErrorInfo { reason: reason.to_owned(), domain: "streams".to_owned(), metadata: HashMap::new() };
    let details = [Some(status::any(&info)), detail].into_iter().flatten().collect();
    let status = rpc::Status { code: code as i32, message: message.clone(), details };
    Status::with_details(code, message, status.encode_to_vec().into())
}
