//! Who calls, and the store as that caller may use it.
//!
//! [`Identity`] turns [`Credentials`] into a [`Caller`]: accounts with passwords and API keys ([`accounts`]), and tokens
//! ([`tokens`]). It knows nothing of how they come in: HTTP's layer is `ops/authenticate.rs`, KurrentDB's gate is
//! `kurrentdb/listener.rs`. The [`Gate`] is the way from a caller to the store.
//! What goes on for long ends when its caller's [`Standing`] is lost.

pub mod accounts;
pub mod api_key;
mod credentials;
mod identity;
mod lockout;
mod manage;
mod own_pass;
pub mod password;
mod random;
mod routes;
mod standing;
pub mod tokens;
mod turns;
mod user_id;

pub use accounts::Accounts;
pub use credentials::Credentials;
pub use identity::{Admitted, Identity, Parts, Refused};
pub use manage::ManageError;
pub(crate) use manage::by_no_key;
pub use own_pass::OwnPass;
pub use random::password as random_password;
pub use routes::routes;
pub use standing::{LOOK_EVERY, STANDING_LOST, Standing};
pub use tokens::Tokens;
pub use user_id::user_id_fault;

mod authorized;
mod encrypted;
pub mod keys;
pub mod permission;

pub use encrypted::Encrypted;
pub use keys::Keys;
pub use permission::{Denied, Duty, Right};

use crate::audit::{Audit, Deed};
use authorized::Authorized;
use event_store::{ErrorCode, EventStore, StreamName};
use std::{net::IpAddr, sync::Arc};

/// Who makes a call, and which roles they have. Cloning is cheap.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Caller(Kind);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Kind {
    System,
    Anonymous,
    User { id: Arc<str>, roles: Arc<[String]>, read_only: bool, has_account: bool },
}

/// The role of those who administer the service; KurrentDB's group `$admins`.
pub const ADMIN: &str = "admin";

/// Whether a role is that of administrators, by either of its names.
fn is_admins(role: &str) -> bool {
    role == ADMIN || role == "$admins"
}

/// The shortest password that an account may get where callers must say who they are, in characters.
pub const SHORTEST_PASSWORD: usize = 8;

impl Caller {
    /// The service itself, and with `AUTH_MODE=off` everybody.
    #[must_use]
    pub const fn system() -> Self {
        Self(Kind::System)
    }

    /// Somebody who did not say who they are.
    #[must_use]
    pub const fn anonymous() -> Self {
        Self(Kind::Anonymous)
    }

    /// Somebody who proved to be this user, with these roles (`admin` is one; written without `role:`). KurrentDB's name
    /// for that one, `$admins`, is the same role: whoever had it under the other name alone would have all that `$acl`s
    /// give to it, and none of the limits of administrators.
    #[must_use]
    pub fn user(id: &str, roles: &[String]) -> Self {
        let roles = roles.iter().map(|role| if is_admins(role) { ADMIN.to_owned() } else { role.clone() });
        Self(Kind::User { id: id.into(), roles: roles.collect(), read_only: false, has_account: false })
    }

    /// The same, by an account that is kept here, and not by another issuer's word.
    #[must_use]
    pub fn with_account(self) -> Self {
        match self.0 {
            Kind::User { id, roles, read_only, .. } => {
                Self(Kind::User { id, roles, read_only, has_account: true })
            }
            other => Self(other),
        }
    }

    /// Whether it was an account kept here that said who this is.
    #[must_use]
    pub const fn has_account(&self) -> bool {
        matches!(self.0, Kind::User { has_account: true, .. })
    }

    /// The same, by credentials that are good for reading alone.
    #[must_use]
    pub fn read_only(self) -> Self {
        match self.0 {
            Kind::User { id, roles, has_account, .. } => {
                Self(Kind::User { id, roles, read_only: true, has_account })
            }
            other => Self(other),
        }
    }

    /// Whether the credentials are good for more than reading. What may be written is permission's to say.
    #[must_use]
    pub const fn may_write(&self) -> bool {
        !matches!(self.0, Kind::User { read_only: true, .. })
    }

    /// The caller's id, as owners and permissions name it.
    #[must_use]
    pub fn id(&self) -> &str {
        match &self.0 {
            Kind::System => "system",
            Kind::Anonymous => "anonymous",
            Kind::User { id, .. } => id,
        }
    }

    /// Whether this is the service itself. A user whose id is `system` is not.
    #[must_use]
    pub const fn is_system(&self) -> bool {
        matches!(self.0, Kind::System)
    }

    /// Whether they said who they are.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        !matches!(self.0, Kind::Anonymous)
    }

    /// The roles they have, without `role:`. The service itself needs none.
    #[must_use]
    pub fn roles(&self) -> &[String] {
        match &self.0 {
            Kind::User { roles, .. } => roles,
            _ => &[],
        }
    }

    /// Whether they administer the service.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.is_system() || self.roles().iter().any(|role| role == ADMIN)
    }
}

/// A store bound to a caller: whatever is asked of it is asked in that caller's name.
pub type BoundStore = Arc<dyn EventStore>;

/// The one way from a caller to the store. Permission is a decorator that is put on here, and the trail
/// one around it; encryption stands below, in the engine that the gate is given.
#[derive(Debug, Clone)]
pub struct Gate {
    engine: Arc<dyn EventStore>,
    /// The same, for the look at a stream's metadata that decides who may use it.
    judged_by: Arc<dyn EventStore>,
    audit: Option<Audit>,
}

impl Gate {
    /// A gate before an engine.
    #[must_use]
    pub fn new(engine: Arc<dyn EventStore>) -> Self {
        Self { judged_by: Arc::clone(&engine), engine, audit: None }
    }

    /// The same, which decides by what another view of the engine says of streams.
    #[must_use]
    pub fn judging_by(self, judged_by: Arc<dyn EventStore>) -> Self {
        Self { judged_by, ..self }
    }

    /// The same, with a trail in which is written down what callers do.
    #[must_use]
    pub fn with_audit(self, audit: Option<Audit>) -> Self {
        Self { audit, ..self }
    }

    /// The store as `caller` may use it.
    #[must_use]
    pub fn bind(&self, caller: &Caller) -> BoundStore {
        self.bind_at(caller, None)
    }

    /// The same, for a caller at an address, which the trail tells where no request under way does.
    #[must_use]
    pub fn bind_at(&self, caller: &Caller, from: Option<IpAddr>) -> BoundStore {
        let store = self.bind_to_ask(caller);
        match &self.audit {
            Some(audit) => audit.observe(caller, from, store),
            None => store,
        }
    }

    /// The same, to find out what `caller` may do: what is asked of it is no deed, and is not written down.
    #[must_use]
    pub(crate) fn bind_to_ask(&self, caller: &Caller) -> BoundStore {
        if caller.is_admin() {
            return Arc::clone(&self.engine);
        }
        Arc::new(self.authorized(caller))
    }

    /// The trail, if one is kept.
    pub(crate) const fn audit(&self) -> Option<&Audit> {
        self.audit.as_ref()
    }

    /// Refuses what `caller` has no right to, as the bound store does: for what a feature does in the caller's name but
    /// with the service's own eyes.
    ///
    /// # Errors
    /// [`event_store::Error::AccessDenied`]; for reading a user's stream [`event_store::Error::StreamNotFound`], as if it
    /// were not there; and what the store answers.
    pub async fn require(
        &self,
        caller: &Caller,
        stream: &StreamName,
        right: Right,
    ) -> event_store::Result<()> {
        if caller.is_admin() {
            return Ok(());
        }
        let allowed = self.authorized(caller).require(stream, right).await;
        if let (Some(audit), Err(error)) = (&self.audit, &allowed) {
            let deed = Deed::new(caller.id(), "require", vec![stream.as_str().to_owned()]);
            audit.note(deed, error.code().slug());
        }
        allowed
    }

    /// The same for reading a stream whole, from its first event on: for what goes through all of it with the service's own
    /// eyes.
    ///
    /// # Errors
    /// As [`Gate::require`].
    pub async fn require_whole(&self, caller: &Caller, stream: &StreamName) -> event_store::Result<()> {
        self.require(caller, stream, Right::Read).await?;
        if caller.is_admin() { Ok(()) } else { self.authorized(caller).require_whole(stream).await }
    }

    /// Answers a caller from what the service itself knows of streams, and writes down that it did, and what came of it.
    ///
    /// # Errors
    /// What the answer is, and [`event_store::Error::Unavailable`] if it cannot be written down where it must be.
    pub(crate) async fn told<T, E: From<event_store::Error>>(
        &self,
        caller: &Caller,
        action: &'static str,
        answer: impl Future<Output = Result<T, E>>,
        code: impl FnOnce(&E) -> ErrorCode,
    ) -> Result<T, E> {
        let deed = || Deed::new(caller.id(), action, Vec::new());
        Audit::around(self.audit.as_ref(), deed, answer, code).await
    }

    /// Refuses what `caller` may not do with the service itself, and writes the refusal down.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn require_duty(&self, caller: &Caller, duty: Duty) -> Result<(), Denied> {
        if permission::may(caller, duty) {
            return Ok(());
        }
        if let Some(audit) = &self.audit {
            let deed = Deed::new(caller.id(), duty.action(), Vec::new());
            audit.note(deed, ErrorCode::PermissionDenied.slug());
        }
        Err(Denied(duty))
    }

    fn authorized(&self, caller: &Caller) -> Authorized {
        Authorized::new(Arc::clone(&self.engine), Arc::clone(&self.judged_by), caller.clone())
    }
}
