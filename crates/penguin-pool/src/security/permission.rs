//! The one decision: whether a caller may do something with a stream.
//!
//! It is pure: who calls, which stream, what its `$acl` says. HTTP, sockets, feeds, the catalogue and KurrentDB's protocol
//! all come here, by way of the [`Gate`](super::Gate) or of [`audience`].
//!
//! What an `$acl` does not say is decided by the stream's name:
//!
//! | stream | without an `$acl` |
//! |---|---|
//! | `user-{userId}-{type}…` | the user |
//! | `service-uptime-…`, `system-…`, `connection-test`, `$…` | nobody |
//! | any other | everybody who said who they are |
//!
//! A user's stream that became public is public from a revision on, which its metadata says ([`PUBLIC_FROM`]): see
//! [`sees_from`].
//!
//! Administrators and the service itself may do everything. A name in an `$acl` is a user's id; `role:x` is a role, and so
//! is a name that begins with `$`, as KurrentDB's groups do; `$all` and `*` are everybody. Those who did not say who they
//! are have only what `$all` may read.

use super::Caller;
use event_store::{Acl, Revision, StreamMetadata, StreamName, VersionedMetadata};
use models::UserStream;
use std::collections::BTreeSet;

/// What somebody may want to do with a stream. On a metastream, reading is [`Right::MetaRead`] of its stream, and
/// everything else [`Right::MetaWrite`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Right {
    /// Read its events (`$r`).
    Read,
    /// Append to it (`$w`).
    Write,
    /// Delete it, softly or for good (`$d`).
    Delete,
    /// Read its metadata (`$mr`; where that is not said, who may read the events).
    MetaRead,
    /// Change its metadata, and with it its permissions (`$mw`).
    MetaWrite,
}

impl Right {
    /// Whether it changes nothing.
    #[must_use]
    pub const fn is_reading(self) -> bool {
        matches!(self, Self::Read | Self::MetaRead)
    }
}

/// Something of the service itself, of which no stream's permissions speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Duty {
    /// See what is counted: administrators, and whoever has the role [`METRICS`], by any credentials.
    SeeMetrics,
    /// Have the watched services checked, which becomes their history: administrators.
    CheckServices,
    /// Make the watched services' streams: administrators.
    MakeStreams,
    /// Ask a server's node, which knows nothing of callers: administrators.
    AskNode,
}

/// The role of those who may see what is counted: a scraper's account needs no other.
pub const METRICS: &str = "metrics";

impl Duty {
    /// What it is called in the trail.
    #[must_use]
    pub const fn action(self) -> &'static str {
        match self {
            Self::SeeMetrics => "see-metrics",
            Self::CheckServices => "check-services",
            Self::MakeStreams => "make-streams",
            Self::AskNode => "ask-node",
        }
    }

    const fn refusal(self) -> &'static str {
        match self {
            Self::SeeMetrics => "Only administrators and accounts with the role metrics may see this",
            Self::CheckServices | Self::MakeStreams | Self::AskNode => "Only administrators may do this",
        }
    }
}

/// Why somebody may not do something with the service itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.refusal())]
pub struct Denied(pub Duty);

/// Whether `caller` may do something with the service itself.
#[must_use]
pub fn may(caller: &Caller, duty: Duty) -> bool {
    match duty {
        Duty::SeeMetrics => caller.is_admin() || caller.roles().iter().any(|role| role == METRICS),
        Duty::CheckServices | Duty::MakeStreams => caller.is_admin() && caller.may_write(),
        Duty::AskNode => caller.is_admin(),
    }
}

/// Whether `caller` has `right` on `stream`, of which `acl` is said.
#[must_use]
pub fn allows(caller: &Caller, stream: &StreamName, acl: Option<&Acl>, right: Right) -> bool {
    if !right.is_reading() && !caller.may_write() {
        return false;
    }
    if caller.is_admin() {
        return true;
    }
    let original = stream.original();
    let (stream, right) = match &original {
        Some(original) if right.is_reading() => (original, Right::MetaRead),
        Some(original) => (original, Right::MetaWrite),
        None => (stream, right),
    };
    match granted(stream, acl, right) {
        Granted::To(names) => {
            names.iter().filter_map(|name| Principal::of(name)).any(|p| p.is(caller, right))
        }
        Granted::Default(ByName::User(id)) => Principal::User(id).is(caller, right),
        Granted::Default(ByName::Known) => caller.is_known(),
        Granted::Default(ByName::Admins) => false,
    }
}

/// Whether a stream is a user's, or keeps the metadata of one. To those who may not read it, it looks as if it were not
/// there.
#[must_use]
pub fn is_users(stream: &StreamName) -> bool {
    let name = stream.as_str();
    UserStream::split(name.strip_prefix("$$").unwrap_or(name)).is_some()
}

/// The free key in the metadata of a user's stream that says from which revision on it is public. Who reads the stream only
/// because everybody may sees nothing of what was written before.
pub const PUBLIC_FROM: &str = "publicFrom";

/// From which revision on a user's stream is public, if its metadata says so. Where no revision stands there, nothing of
/// it is.
#[must_use]
pub fn public_from(stream: &StreamName, metadata: &StreamMetadata) -> Option<Revision> {
    let said = metadata.custom.get(PUBLIC_FROM).filter(|_| is_users(stream))?;
    Some(said.as_u64().unwrap_or(Revision::MAX))
}

/// Whether an `$acl` lets everybody read a stream's events.
#[must_use]
pub fn is_open(acl: Option<&Acl>) -> bool {
    acl.and_then(|acl| acl.read.as_deref()).is_some_and(names_everybody)
}

/// Whether everybody is among these names.
#[must_use]
pub fn names_everybody(names: &[String]) -> bool {
    names.iter().any(|name| Principal::of(name) == Some(Principal::Everybody))
}

/// From which revision on `caller` may see a stream's events; nothing if they may see none. `found` is its metadata, or the
/// metadata of the stream that it is the metastream of.
///
/// Who has the right to read a user's stream only as everybody has it sees it from [`public_from`] on, and of its metadata
/// what holds now: what was said of it before may be of the time when it was private.
#[must_use]
pub fn sees_from(caller: &Caller, stream: &StreamName, found: &VersionedMetadata) -> Option<Revision> {
    let acl = found.metadata.acl.as_ref();
    if !allows(caller, stream, acl, Right::Read) {
        return None;
    }
    let original = stream.original();
    let (described, right) = match &original {
        Some(original) => (original, Right::MetaRead),
        None => (stream, Right::Read),
    };
    let Some(mark) = public_from(described, &found.metadata) else { return Some(0) };
    if caller.is_admin() || insiders(described, acl, right).any(|insider| insider.is(caller, right)) {
        return Some(0);
    }
    Some(if original.is_some() { found.revision.unwrap_or(0) } else { mark })
}

/// Those who have a right on a user's stream not only because everybody has it: who is named, and the user.
fn insiders<'a>(
    stream: &'a StreamName,
    acl: Option<&'a Acl>,
    right: Right,
) -> impl Iterator<Item = Principal<'a>> {
    let named = match granted(stream, acl, right) {
        Granted::To(names) => names,
        Granted::Default(_) => &[],
    };
    let user = UserStream::split(stream.as_str()).map(|of| Principal::User(of.user_id));
    named.iter().filter_map(|n| Principal::of(n)).filter(|p| *p != Principal::Everybody).chain(user)
}

/// The keys of those who see a user's stream whole where everybody sees it from a revision on (see [`sees_from`]).
#[must_use]
pub fn insider_keys(stream: &StreamName, acl: Option<&Acl>) -> BTreeSet<String> {
    insiders(stream, acl, Right::Read).map(Principal::key).collect()
}

/// Whether everybody is among those that keys mean.
#[must_use]
pub fn are_everybodys(keys: &BTreeSet<String>) -> bool {
    keys.contains(EVERYBODY)
}

/// Who may find a stream, as keys of which one must be among the caller's [`keys`]: those who may read its events and its
/// metadata. Administrators, who find everything, are not named.
#[must_use]
pub fn audience(stream: &StreamName, acl: Option<&Acl>) -> BTreeSet<String> {
    let of = |right| -> BTreeSet<String> {
        match granted(stream, acl, right) {
            Granted::To(names) => names.iter().filter_map(|n| Principal::of(n)).map(Principal::key).collect(),
            Granted::Default(ByName::User(id)) => [Principal::User(id).key()].into(),
            Granted::Default(ByName::Known) => [KNOWN.to_owned()].into(),
            Granted::Default(ByName::Admins) => BTreeSet::new(),
        }
    };
    if stream.is_metastream() {
        return BTreeSet::new();
    }
    let (read, described) = (of(Right::Read), of(Right::MetaRead));
    if described.contains(EVERYBODY) {
        return read;
    }
    // Who has one of them by role and the other by name is left out: nobody finds more than they may.
    read.intersection(&described).cloned().collect()
}

/// The keys that let a caller find streams (see [`audience`]); nothing for one who finds everything.
#[must_use]
pub fn keys(caller: &Caller) -> Option<Vec<String>> {
    if caller.is_admin() {
        return None;
    }
    let mut keys = vec![EVERYBODY.to_owned()];
    if caller.is_known() {
        keys.push(KNOWN.to_owned());
        keys.push(Principal::User(caller.id()).key());
        keys.extend(caller.roles().iter().map(|role| Principal::Role(role).key()));
    }
    Some(keys)
}

/// Whom the API shows for what an `$acl` does not say, in its words.
#[must_use]
pub fn default_names(stream: &StreamName) -> Vec<String> {
    match ByName::of(stream) {
        ByName::User(id) => vec![id.to_owned(), "system".to_owned()],
        ByName::Known => vec!["*".to_owned()],
        ByName::Admins => vec!["system".to_owned()],
    }
}

const EVERYBODY: &str = "*";
const KNOWN: &str = "@";

/// Somebody that an `$acl` names, administrators left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Principal<'a> {
    Everybody,
    User(&'a str),
    Role(&'a str),
}

impl<'a> Principal<'a> {
    fn of(name: &'a str) -> Option<Self> {
        match name {
            "$all" | "*" => Some(Self::Everybody),
            // The API's word for `$admins`: no user is meant by it.
            "system" => None,
            _ if name.starts_with('$') => Some(Self::Role(name)),
            _ => Some(name.strip_prefix("role:").map_or(Self::User(name), Self::Role)),
        }
    }

    /// Whether the caller, who is no administrator, is meant.
    fn is(self, caller: &Caller, right: Right) -> bool {
        match self {
            Self::Everybody => caller.is_known() || right.is_reading(),
            Self::User(id) => caller.is_known() && caller.id() == id,
            Self::Role(role) => caller.roles().iter().any(|has| has == role),
        }
    }

    fn key(self) -> String {
        match self {
            Self::Everybody => EVERYBODY.to_owned(),
            Self::User(id) => format!("u:{id}"),
            Self::Role(role) => format!("r:{role}"),
        }
    }
}

/// Who has a right: those that the `$acl` names, or those that the stream's name implies.
enum Granted<'a> {
    To(&'a [String]),
    Default(ByName<'a>),
}

/// Who may do what the `$acl` does not speak of.
enum ByName<'a> {
    User(&'a str),
    Known,
    Admins,
}

impl<'a> ByName<'a> {
    fn of(stream: &'a StreamName) -> Self {
        let name = stream.as_str();
        if let Some(user) = UserStream::split(name) {
            return Self::User(user.user_id);
        }
        let is_services = name == "connection-test" || name.starts_with("system-");
        if stream.is_system() || is_services || name.starts_with("service-uptime-") {
            Self::Admins
        } else {
            Self::Known
        }
    }
}

fn granted<'a>(stream: &'a StreamName, acl: Option<&'a Acl>, right: Right) -> Granted<'a> {
    let names = acl.and_then(|acl| match right {
        Right::Read => acl.read.as_ref(),
        Right::Write => acl.write.as_ref(),
        Right::Delete => acl.delete.as_ref(),
        Right::MetaRead => acl.meta_read.as_ref().or(acl.read.as_ref()),
        Right::MetaWrite => acl.meta_write.as_ref(),
    });
    names.map_or_else(|| Granted::Default(ByName::of(stream)), |names| Granted::To(names))
}

#[cfg(test)]
#[path = "permission_tests.rs"]
mod tests;
