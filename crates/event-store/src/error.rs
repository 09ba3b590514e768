//! What can go wrong, named by outcome.

use crate::{ErrorCode, ExpectedState, Revision, StreamName};
use uuid::Uuid;

/// What a store answers.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a store did not do what it was asked. [`Error::code`] says what that means to a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The stream is not as the writer expected. Nothing was written.
    #[error(
        "Append failed due to WrongExpectedVersion. Stream: {stream}, Expected version: {}, Actual version: {}",
        kurrent_version(*.expected), .actual.map_or(-1, |r| i64::try_from(r).unwrap_or(i64::MAX))
    )]
    WrongExpectedRevision {
        /// The stream.
        stream: StreamName,
        /// What the writer expected.
        expected: ExpectedState,
        /// The stream's last revision; nothing if it has no events.
        actual: Option<Revision>,
    },
    /// The stream has no events and never had, or was softly deleted.
    #[error("Event stream '{0}' is not found.")]
    StreamNotFound(StreamName),
    /// The stream was tombstoned, or (for an append with [`ExpectedState::StreamExists`]) softly deleted.
    #[error("Event stream '{0}' is deleted.")]
    StreamDeleted(StreamName),
    /// What stood in the stream was erased for good, and nothing can be written there.
    #[error("What stood in event stream '{0}' was erased.")]
    Erased(StreamName),
    /// The caller may not do this.
    #[error("Access to stream '{0}' is denied.")]
    AccessDenied(StreamName),
    /// One event is larger than the store takes.
    #[error("event {id} has {size} bytes, and the store takes at most {limit}")]
    EventTooLarge {
        /// The event.
        id: Uuid,
        /// Its size as limits count it ([`crate::NewEvent::size`]).
        size: usize,
        /// The most that is taken.
        limit: usize,
    },
    /// The events of one append are larger together than the store takes.
    #[error("the append has {size} bytes, and the store takes at most {limit}")]
    AppendTooLarge {
        /// The sum of the events' sizes.
        size: usize,
        /// The most that is taken.
        limit: usize,
    },
    /// The request makes no sense: an empty event type, a write to `$$$$x`, a stream named twice, a bad expression.
    #[error("{0}")]
    InvalidArgument(String),
    /// This store cannot do this (see [`crate::Capabilities`]).
    #[error("this event store cannot {0}")]
    Unsupported(String),
    /// The disk is full. Nothing was written, and the store goes on when there is space.
    #[error("the event store's disk is full: {0}")]
    StorageFull(String),
    /// The store takes no more writes until it is opened again, for the reason given; it can be read.
    #[error("the event store is read-only: {0}")]
    ReadOnly(String),
    /// What is stored is damaged; the text names the file and the offset.
    #[error("stored data is damaged: {0}")]
    Corrupt(String),
    /// The store cannot be reached now.
    #[error("the event store is unreachable: {0}")]
    Unavailable(String),
    /// The store did not answer in time. Whether an append was written is not known: send it again with the same ids.
    #[error("the event store did not answer in time: {0}")]
    Timeout(String),
    /// The store was closed.
    #[error("the event store is closed")]
    Closed,
    /// Something failed that the caller can do nothing about; the text is for the log alone.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// The refusal of a write to a derived stream (law 18).
    #[must_use]
    pub fn derived(stream: &StreamName) -> Self {
        Self::InvalidArgument(format!(
            "'{stream}' is derived: it follows from what other streams hold, and cannot be written or deleted"
        ))
    }

    /// What this means to a client.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::WrongExpectedRevision { .. } => ErrorCode::WrongExpectedRevision,
            Self::StreamNotFound(_) => ErrorCode::StreamNotFound,
            Self::StreamDeleted(_) => ErrorCode::StreamDeleted,
            Self::Erased(_) => ErrorCode::UserErased,
            Self::AccessDenied(_) => ErrorCode::PermissionDenied,
            Self::EventTooLarge { .. } => ErrorCode::EventTooLarge,
            Self::AppendTooLarge { .. } => ErrorCode::PayloadTooLarge,
            Self::InvalidArgument(_) => ErrorCode::ValidationFailed,
            Self::Unsupported(_) => ErrorCode::NotImplemented,
            Self::StorageFull(_) => ErrorCode::StorageFull,
            Self::ReadOnly(_) | Self::Unavailable(_) => ErrorCode::ConnectionError,
            Self::Corrupt(_) | Self::Internal(_) => ErrorCode::InternalError,
            Self::Timeout(_) => ErrorCode::Timeout,
            Self::Closed => ErrorCode::ShuttingDown,
        }
    }
}

/// KurrentDB's number for an expected state: its clients look for it in the message.
fn kurrent_version(expected: ExpectedState) -> i64 {
    match expected {
        ExpectedState::Any => -2,
        ExpectedState::NoStream => -1,
        ExpectedState::StreamExists => -4,
        ExpectedState::Exact(revision) => i64::try_from(revision).unwrap_or(i64::MAX),
    }
}
