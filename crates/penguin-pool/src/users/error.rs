//! Why a request about users' data was not done.

use crate::{catalogue::CatalogueError, security::keys::KeysError};
use event_store::{Error, ErrorCode, StreamName};

/// What a request about users' data comes to.
pub type Result<T> = std::result::Result<T, UsersError>;

/// Why a request about users' data was not done. [`UsersError::code`] says what that means to a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UsersError {
    /// The store refused, or failed.
    #[error(transparent)]
    Store(#[from] Error),
    /// The catalogue refused, or failed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The user has nothing that the caller may read.
    #[error("User '{0}' does not exist")]
    NotFound(String),
    /// The user was erased.
    #[error("User '{0}' was erased")]
    Erased(String),
    /// The key store failed; the text is for the log alone.
    #[error("{0}")]
    Keys(String),
    /// This is not the caller's to do.
    #[error("Only {0} may do this")]
    Denied(&'static str),
    /// The stream can be read and not written.
    #[error("Stream '{0}' is archived: it can be read and not written")]
    Archived(StreamName),
    /// The data is larger than the service takes.
    #[error("data has {size} bytes, and the service takes at most {limit}")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The most that is taken, in bytes.
        limit: usize,
    },
    /// Parts of the request make no sense: each by its path, and what is wrong with it.
    #[error("{}", .0.iter().map(|(path, message)| format!("{path}: {message}")).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<(String, String)>),
}

impl From<KeysError> for UsersError {
    fn from(error: KeysError) -> Self {
        match error {
            KeysError::Log(error) => Self::Store(error),
            other => Self::Keys(other.to_string()),
        }
    }
}

impl UsersError {
    /// What this means to a client.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Store(error) => error.code(),
            Self::Catalogue(error) => error.code(),
            Self::NotFound(_) => ErrorCode::UserNotFound,
            Self::Erased(_) => ErrorCode::UserErased,
            Self::Keys(_) => ErrorCode::InternalError,
            Self::Denied(_) => ErrorCode::PermissionDenied,
            Self::Archived(_) => ErrorCode::StreamArchived,
            Self::TooLarge { .. } => ErrorCode::EventTooLarge,
            Self::Invalid(_) => ErrorCode::ValidationFailed,
        }
    }
}
