//! Why a request about streams was not done.

use crate::catalogue::CatalogueError;
use event_store::{Error, ErrorCode, StreamName};

/// Why a request about streams was not done. [`StreamsError::code`] says what that means to a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamsError {
    /// The store refused, or failed.
    #[error(transparent)]
    Store(#[from] Error),
    /// The catalogue refused, or failed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The stream that is to be made is there already.
    #[error("Stream '{0}' exists already")]
    AlreadyExists(StreamName),
    /// The stream can be read and not written.
    #[error("Stream '{0}' is archived: it can be read and not written")]
    Archived(StreamName),
    /// An event's data is larger than the API takes.
    #[error("{path} has {size} bytes, and the service takes at most {limit}")]
    EventTooLarge {
        /// What is too large: `eventData` or `metadata`.
        path: &'static str,
        /// Its size in bytes.
        size: usize,
        /// The most that is taken, in bytes.
        limit: usize,
    },
    /// A part of the request makes no sense.
    #[error("{message}")]
    Invalid {
        /// The part, as the API names it.
        path: String,
        /// What is wrong with it.
        message: String,
    },
}

impl StreamsError {
    /// What this means to a client.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Store(error) => error.code(),
            Self::Catalogue(error) => error.code(),
            Self::AlreadyExists(_) => ErrorCode::StreamAlreadyExists,
            Self::Archived(_) => ErrorCode::StreamArchived,
            Self::EventTooLarge { .. } => ErrorCode::EventTooLarge,
            Self::Invalid { .. } => ErrorCode::ValidationFailed,
        }
    }
}
