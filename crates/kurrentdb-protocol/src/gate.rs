//! Who calls, and the store as that caller may use it.

use crate::trail::{NoTrail, Trail};
use base64::Engine as _;
use event_store::{Capabilities, Error, ErrorCode, EventStore, ReadFrom, StreamName, SubscribeStream};
use futures::{
    StreamExt as _,
    future::{BoxFuture, pending},
};
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use std::{net::IpAddr, sync::Arc};

/// What a call says of its caller: the `authorization` of its request.
#[derive(Clone, Default)]
pub enum Credentials {
    /// Nothing.
    #[default]
    Anonymous,
    /// A user and a password.
    Basic {
        /// The login name.
        user: String,
        /// The password, as it came.
        password: SecretString,
    },
    /// A token.
    Bearer(SecretString),
    /// Something that is neither, or cannot be read.
    Unreadable,
}

impl Credentials {
    /// From the value of an `authorization` header, if there is one.
    #[must_use]
    pub fn from_header(value: Option<&[u8]>) -> Self {
        let Some(value) = value else { return Self::Anonymous };
        Self::parse(value).unwrap_or(Self::Unreadable)
    }

    fn parse(value: &[u8]) -> Option<Self> {
        let (scheme, rest) = std::str::from_utf8(value).ok()?.trim().split_once(' ')?;
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(Self::Bearer(rest.into()));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = SecretSlice::from(base64::engine::general_purpose::STANDARD.decode(rest).ok()?);
        let (user, password) = std::str::from_utf8(decoded.expose_secret()).ok()?.split_once(':')?;
        Some(Self::Basic { user: user.to_owned(), password: password.into() })
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Basic { user, .. } => write!(f, "Basic({user}, …)"),
            Self::Bearer(_) => f.write_str("Bearer(…)"),
            Self::Unreadable => f.write_str("Unreadable"),
        }
    }
}

/// Who comes to the gate.
#[derive(Debug, Clone, Default)]
pub struct Visitor {
    /// What the call says of its caller.
    pub credentials: Credentials,
    /// Where its connection comes from, if that is known.
    pub peer: Option<IpAddr>,
    /// What it says of those that passed it on (`x-forwarded-for`), the last one last. Anybody can say that.
    pub forwarded_for: Vec<String>,
}

/// What a visitor was let in to.
pub struct Entry {
    /// The store as they may use it.
    pub store: Arc<dyn EventStore>,
    /// The same store, to find out what they may do there: what is asked of it is no deed of theirs.
    pub rights: Arc<dyn EventStore>,
    /// Where is written down what they do beside it.
    pub trail: Arc<dyn Trail>,
    /// Done when what they were let in for is lost: what goes on is to end then.
    pub lost: BoxFuture<'static, ()>,
}

impl Entry {
    /// A store for whoever is let in for good, of whom nothing is written down.
    #[must_use]
    pub fn lasting(store: Arc<dyn EventStore>) -> Self {
        let rights = Arc::clone(&store);
        Self { store, rights, trail: Arc::new(NoTrail), lost: Box::pin(pending()) }
    }
}

/// Why a visitor is not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// What it means to a client.
    pub code: ErrorCode,
    /// A sentence for the visitor, where there is more to say than the code's name.
    pub message: Option<String>,
}

impl From<ErrorCode> for Denial {
    fn from(code: ErrorCode) -> Self {
        Self { code, message: None }
    }
}

/// The one way from a call to the store.
#[async_trait::async_trait]
pub trait Gate: Send + Sync + std::fmt::Debug + 'static {
    /// The store as this visitor may use it. It is asked once for each call, however many messages the call has.
    ///
    /// # Errors
    /// [`ErrorCode::AuthenticationFailed`] where credentials are needed and not good, [`ErrorCode::PermissionDenied`] where
    /// their owner may not come in at all, [`ErrorCode::RateLimited`] where they came too often.
    async fn enter(&self, visitor: &Visitor) -> Result<Entry, Denial>;

    /// Whether this visitor may come in, and read a stream, which need not be there. It is asked for each
    /// batch that somebody is sent by the node itself and not by a store that is bound to them.
    ///
    /// # Errors
    /// [`Refusal`].
    async fn may_read(&self, visitor: &Visitor, stream: &StreamName) -> Result<(), Refusal> {
        let entry = self.enter(visitor).await.map_err(Refusal::Entrance)?;
        may_follow(&*entry.rights, stream).await.map_err(Refusal::Store)
    }

    /// What the store behind can do. Clients ask before they have said who they are.
    fn capabilities(&self) -> Capabilities;
}

/// Why somebody may not read a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// They may not come in.
    Entrance(Denial),
    /// They may not read it: [`Error::AccessDenied`], or [`Error::StreamNotFound`] where they are not told either that it
    /// is there. Any other error says that this cannot be told now.
    Store(Error),
}

/// Whether a store lets its caller follow a stream, which need not be there.
pub(crate) async fn may_follow(store: &dyn EventStore, stream: &StreamName) -> Result<(), Error> {
    let options = SubscribeStream { from: ReadFrom::End, resolve_links: false };
    // What stands in the way is told at once, or as the first message.
    let first = match store.subscribe_stream(stream, options).await {
        Ok(mut messages) => messages.next().await.unwrap_or(Err(Error::Closed)).map(drop),
        Err(error) => Err(error),
    };
    match first {
        Err(Error::StreamDeleted(_)) => Ok(()),
        other => other,
    }
}

/// Lets everybody in, as an insecure KurrentDB does: credentials are not looked at.
#[derive(Debug, Clone)]
pub struct OpenGate(pub Arc<dyn EventStore>);

#[async_trait::async_trait]
impl Gate for OpenGate {
    async fn enter(&self, _: &Visitor) -> Result<Entry, Denial> {
        Ok(Entry::lasting(Arc::clone(&self.0)))
    }

    async fn may_read(&self, _: &Visitor, _: &StreamName) -> Result<(), Refusal> {
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_schemes_are_read_and_anything_else_is_unreadable() {
        assert!(matches!(Credentials::from_header(None), Credentials::Anonymous));
        let basic = Credentials::from_header(Some(b"Basic YWRtaW46Y2hhbmdlOml0"));
        let Credentials::Basic { user, password } = &basic else { panic!("{basic:?}") };
        assert_eq!((user.as_str(), password.expose_secret()), ("admin", "change:it"));
        let bearer = Credentials::from_header(Some(b"bearer t.o.k"));
        assert!(
            matches!(&bearer, Credentials::Bearer(token) if token.expose_secret() == "t.o.k"),
            "{bearer:?}"
        );
        for bad in [&b"Basic ???"[..], b"Digest x", b"Basic", b"\xff\xff", b"Basic YQ=="] {
            assert!(matches!(Credentials::from_header(Some(bad)), Credentials::Unreadable));
        }
        assert!(!format!("{basic:?}").contains("change"), "a password must not be printed");
    }
}
