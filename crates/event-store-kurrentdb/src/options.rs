//! How to reach the server, and what it takes.

use event_store::{IdSource, RandomIds};
use kurrentdb::ClientSettings;
use std::{sync::Arc, time::Duration};

/// Why a connection string cannot be used. The text does not repeat it: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no KurrentDB connection string (kurrentdb://host:port?tls=false, kurrentdb+discover://…): {0}"
)]
pub struct InvalidConnection(pub(crate) String);

/// What a [`crate::KurrentDb`] is made of.
#[derive(Debug, Clone)]
pub struct Options {
    pub(crate) settings: ClientSettings,
    pub(crate) ids: Arc<dyn IdSource>,
    pub(crate) max_event_bytes: usize,
    pub(crate) max_append_bytes: usize,
    /// The first and the longest wait before a lost subscription is asked for again.
    pub(crate) backoff: (Duration, Duration),
}

impl Options {
    /// For the server that a connection string names (`kurrentdb://`, `esdb://`, each also with `+discover`).
    ///
    /// # Errors
    /// [`InvalidConnection`] if it is none.
    pub fn connect(connection: &str) -> Result<Self, InvalidConnection> {
        let settings = connection.parse::<ClientSettings>().map_err(|e| {
            // The parser's message is the whole string where it can say nothing better.
            let reason = e.error().map_or_else(|| e.message().to_owned(), ToString::to_string);
            let repeats = reason.contains(connection) || reason.contains('@');
            InvalidConnection(if repeats { "it cannot be parsed".to_owned() } else { reason })
        })?;
        Ok(Self {
            settings,
            ids: Arc::new(RandomIds),
            max_event_bytes: 16 << 20,
            max_append_bytes: 256 << 20,
            backoff: (Duration::from_millis(100), Duration::from_secs(10)),
        })
    }

    /// Where ids come from (random unless said).
    #[must_use]
    pub fn ids(self, ids: Arc<dyn IdSource>) -> Self {
        Self { ids, ..self }
    }

    /// The server's `MaxAppendEventSize`, in bytes (16 MiB unless said, as KurrentDB's own default): larger events are refused
    /// here, before they are sent.
    #[must_use]
    pub fn max_event_bytes(self, bytes: usize) -> Self {
        Self { max_event_bytes: bytes, ..self }
    }

    /// The server's `MaxAppendSize`, in bytes (256 MiB unless said, KurrentDB's own default from 25.1 on; 1 MiB before).
    #[must_use]
    pub fn max_append_bytes(self, bytes: usize) -> Self {
        Self { max_append_bytes: bytes, ..self }
    }

    /// The first and the longest wait before a lost subscription is asked for again; each wait doubles and is spread.
    #[must_use]
    pub fn backoff(self, first: Duration, longest: Duration) -> Self {
        Self { backoff: (first, longest), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_connection_string_is_not_repeated() {
        for bad in ["http://admin:s3cret@host:2113", "kurrentdb://admin:s3cret@host:port", "s3cret"] {
            let refusal = Options::connect(bad).unwrap_err().to_string();
            assert!(!refusal.contains("s3cret"), "{refusal}");
        }
        assert!(Options::connect("kurrentdb://localhost:2113?tls=false").is_ok());
    }
}
