//! Why the catalogue did not answer.

use event_store::ErrorCode;
use rusqlite::ErrorCode as Sqlite;

/// What the catalogue answers.
pub type Result<T> = std::result::Result<T, CatalogueError>;

/// Why the catalogue did not answer. [`CatalogueError::code`] says what that means to a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// A part of the question makes no sense.
    #[error("{message}")]
    Invalid {
        /// The part, as the API names it: `namePattern`, `where.0.path`.
        path: String,
        /// What is wrong with it.
        message: String,
    },
    /// The question takes too long to answer, and was given up.
    #[error("the query was stopped after {limit_ms} ms: {advice}")]
    TooSlow {
        /// How long it was given, in milliseconds.
        limit_ms: u64,
        /// What to ask instead.
        advice: &'static str,
    },
    /// The catalogue was stopped.
    #[error("the stream catalogue is stopped")]
    Stopped,
    /// The store did not give what the catalogue needed.
    #[error(transparent)]
    Store(#[from] event_store::Error),
    /// Its file is damaged, and is made again; the text is for the log alone.
    #[error("the stream catalogue is damaged: {0}")]
    Damaged(String),
    /// Its database failed; the text is for the log alone.
    #[error("the stream catalogue's database failed: {0}")]
    Database(String),
}

impl CatalogueError {
    /// What this means to a client.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Invalid { .. } => ErrorCode::ValidationFailed,
            Self::TooSlow { .. } => ErrorCode::Timeout,
            Self::Stopped => ErrorCode::ShuttingDown,
            Self::Store(error) => error.code(),
            Self::Damaged(_) | Self::Database(_) => ErrorCode::InternalError,
        }
    }

    pub(super) fn invalid(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid { path: path.into(), message: message.into() }
    }
}

impl From<rusqlite::Error> for CatalogueError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(Sqlite::DatabaseCorrupt | Sqlite::NotADatabase) => Self::Damaged(error.to_string()),
            _ => Self::Database(error.to_string()),
        }
    }
}
