//! Who calls, and the store as that caller may use it.

use base64::Engine as _;
use event_store::{Capabilities, ErrorCode, EventStore};
use std::sync::Arc;

/// What a call says of its caller: the `authorization` of its request.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Credentials {
    /// Nothing.
    #[default]
    Anonymous,
    /// A user and a password.
    Basic {
        /// The login name.
        user: String,
        /// The password, as it came.
        password: String,
    },
    /// A token.
    Bearer(String),
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
            return Some(Self::Bearer(rest.to_owned()));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = base64::engine::general_purpose::STANDARD.decode(rest).ok()?;
        let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
        Some(Self::Basic { user: user.to_owned(), password: password.to_owned() })
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

/// The one way from a call to the store.
#[async_trait::async_trait]
pub trait Gate: Send + Sync + std::fmt::Debug + 'static {
    /// The store as the owner of these credentials may use it.
    ///
    /// # Errors
    /// [`ErrorCode::AuthenticationFailed`] where they are needed and not good, [`ErrorCode::PermissionDenied`] where their
    /// owner may not come in at all.
    async fn enter(&self, credentials: &Credentials) -> Result<Arc<dyn EventStore>, ErrorCode>;

    /// What the store behind can do. Clients ask before they have said who they are.
    fn capabilities(&self) -> Capabilities;
}

/// Lets everybody in, as an insecure KurrentDB does: credentials are not looked at.
#[derive(Debug, Clone)]
pub struct OpenGate(pub Arc<dyn EventStore>);

#[async_trait::async_trait]
impl Gate for OpenGate {
    async fn enter(&self, _: &Credentials) -> Result<Arc<dyn EventStore>, ErrorCode> {
        Ok(Arc::clone(&self.0))
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
        assert_eq!(Credentials::from_header(None), Credentials::Anonymous);
        let basic = Credentials::Basic { user: "admin".into(), password: "change:it".into() };
        assert_eq!(Credentials::from_header(Some(b"Basic YWRtaW46Y2hhbmdlOml0")), basic);
        assert_eq!(Credentials::from_header(Some(b"bearer t.o.k")), Credentials::Bearer("t.o.k".into()));
        for bad in [&b"Basic ???"[..], b"Digest x", b"Basic", b"\xff\xff", b"Basic YQ=="] {
            assert_eq!(Credentials::from_header(Some(bad)), Credentials::Unreadable);
        }
        assert!(!format!("{basic:?}").contains("change"), "a password must not be printed");
    }
}
