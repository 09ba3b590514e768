//! How to reach the server, and what it takes.

use event_store::{IdSource, RandomIds};
use kurrentdb::{ClientSettings, Credentials, NodePreference};
use std::{borrow::Cow, sync::Arc, time::Duration};

/// How long the client waits before each attempt to connect.
const DISCOVERY_MILLIS: u32 = 20;

/// Why a connection string cannot be used. The text does not repeat it: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no KurrentDB connection string (kurrentdb://host:port?tls=false, kurrentdb+discover://…): {0}"
)]
pub struct InvalidConnection(pub(crate) String);

/// What a [`crate::KurrentDb`] is made of.
#[derive(Clone)]
pub struct Options {
    pub(crate) settings: ClientSettings,
    pub(crate) ids: Arc<dyn IdSource>,
    pub(crate) max_event_bytes: usize,
    pub(crate) max_append_bytes: usize,
    /// The first and the longest wait before a lost subscription is asked for again.
    pub(crate) backoff: (Duration, Duration),
    pub(crate) call_time: Duration,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) derived_streams: bool,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What the others hold may be secret.
        f.debug_struct("Options").field("hosts", self.settings.hosts()).finish_non_exhaustive()
    }
}

/// Options of one of the client's calls, made as this user.
macro_rules! as_user {
    ($options:expr, $credentials:expr) => {
        match $credentials {
            Some(user) => $options.authenticated(user.clone()),
            None => $options,
        }
    };
}
pub(crate) use as_user;

impl Options {
    /// For the server that a connection string names (`kurrentdb://`, `esdb://`, each also with `+discover`). In a cluster the
    /// leader is asked, which has all that was answered.
    ///
    /// # Errors
    /// [`InvalidConnection`] if it is none, or prefers other nodes.
    pub fn connect(connection: &str) -> Result<Self, InvalidConnection> {
        let settings = prompt(connection).parse::<ClientSettings>().map_err(|e| {
            // The parser's message is the whole string where it can say nothing better.
            let reason = e.error().map_or_else(|| e.message().to_owned(), ToString::to_string);
            let repeats = reason.contains(connection) || reason.contains('@');
            InvalidConnection(if repeats { "it cannot be parsed".to_owned() } else { reason })
        })?;
        if settings.node_preference() != NodePreference::Leader {
            let reason = "nodePreference must be leader: other nodes may lack what was just written";
            return Err(InvalidConnection(reason.to_owned()));
        }
        Ok(Self {
            settings,
            ids: Arc::new(RandomIds),
            max_event_bytes: 16 << 20,
            max_append_bytes: 256 << 20,
            backoff: (Duration::from_millis(100), Duration::from_secs(10)),
            call_time: Duration::from_secs(10),
            credentials: None,
            derived_streams: false,
        })
    }

    /// The user's name and password, as they are meant. Those in a connection string go to the server as they are written:
    /// its percent-encoding is not undone.
    #[must_use]
    pub fn credentials(self, name: &str, password: &str) -> Self {
        Self { credentials: Some(Credentials::new(name.to_owned(), password.to_owned())), ..self }
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

    /// Says that the server has derived streams that keep their law ([`event_store::Derived`]). The embedded store's face does. A
    /// KurrentDB has them from its system projections, if those run: behind what is written, and open to writers.
    #[must_use]
    pub fn derived_streams(self) -> Self {
        Self { derived_streams: true, ..self }
    }

    /// How long the server may take to answer a call (10 s unless said); an append has a second more for each MiB. What it
    /// answers later is not heard: [`event_store::Error::Timeout`].
    #[must_use]
    pub fn call_time(self, time: Duration) -> Self {
        Self { call_time: time, ..self }
    }

    /// The first and the longest wait before a lost connection or subscription is tried again (0.1 and 10 s unless said);
    /// each wait doubles and is spread.
    #[must_use]
    pub fn backoff(self, first: Duration, longest: Duration) -> Self {
        Self { backoff: (first, longest), ..self }
    }
}

/// The same, without a wait of half a second before each attempt to connect: pauses are made here. Who asks for one has it.
fn prompt(connection: &str) -> Cow<'_, str> {
    let (address, query) = connection.split_once('?').unwrap_or((connection, ""));
    if query.to_ascii_lowercase().contains("discoveryinterval=") {
        return Cow::Borrowed(connection);
    }
    let query = if query.is_empty() { String::new() } else { format!("{query}&") };
    Cow::Owned(format!("{address}?{query}discoveryInterval={DISCOVERY_MILLIS}"))
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

    #[test]
    fn a_node_that_may_be_behind_is_not_asked() {
        let refused = Options::connect("kurrentdb://a:1,b:2?tls=false&nodePreference=follower").unwrap_err();
        assert!(refused.to_string().contains("nodePreference"), "{refused}");
        assert!(Options::connect("kurrentdb://a:1,b:2?tls=false&nodePreference=Leader").is_ok());
    }

    #[test]
    fn attempts_come_promptly_unless_asked_otherwise() {
        for (connection, millis) in [
            ("kurrentdb://a:1,b:2,c:3?tls=false", 20),
            ("kurrentdb+discover://db.example.org", 20),
            ("kurrentdb://localhost?tls=false&discoveryInterval=700", 700),
        ] {
            let options = Options::connect(connection).unwrap();
            assert_eq!(options.settings.discovery_interval(), Duration::from_millis(millis), "{connection}");
        }
    }
}
