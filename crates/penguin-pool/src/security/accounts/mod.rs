//! Accounts and API keys: of people and of services, one store of them for HTTP, sockets and KurrentDB's protocol.
//!
//! They are kept as events in the stream `system-accounts`, through the port, so that they work the same on every store.
//! What there is now is folded in memory from a subscription to it. A change is decided on what is known, appended with
//! the revision that it was decided on, and answered when the fold has it; if another instance was faster, it is decided
//! again.

mod book;
mod events;
mod follow;
#[cfg(test)]
mod tests;

use super::{
    BoundStore,
    api_key::{self, KeyHash, NewKey},
    password::Phc,
};
use crate::audit::{Audit, Deed};
pub(super) use book::Book;
use event_store::{
    Acl, Clock, Error, ErrorCode, ExpectedState, IdSource, Revision, StreamMetadata, StreamName, Timestamp,
};
use events::{
    AccountCreated, AccountEvent, AccountNamed, AccountPasswordChanged, AccountUpdated, ApiKeyCreated,
    ApiKeyNamed,
};
use models::DateTime;
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, task::AbortHandle, time::timeout};

pub use models::KeyScope as Scope;

/// The stream that keeps them.
pub const STREAM: &str = "system-accounts";

/// How long to wait for the book to have what was written, and to be read for the first time.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a change is decided again because somebody else was faster.
const ATTEMPTS: usize = 20;

/// How many good keys an account has at most: each is kept in memory, and in a list that somebody is to look through. Those
/// that expired do not count.
pub const MOST_KEYS: usize = 100;

/// An account.
#[derive(Debug, Clone)]
pub struct Account {
    /// What it logs in as; also the user's id.
    pub login_name: String,
    /// Its name for people.
    pub full_name: String,
    /// The roles it has (`admin`, say), without `role:`.
    pub roles: Vec<String>,
    /// Whether nobody may come in with it now.
    pub disabled: bool,
    /// When it was changed last.
    pub updated_at: Timestamp,
    hash: Phc,
}

impl Account {
    /// What is kept of its password.
    #[must_use]
    pub const fn hash(&self) -> &Phc {
        &self.hash
    }
}

/// An API key, without its secret.
#[derive(Debug, Clone)]
pub struct ApiKey {
    /// What it is known by.
    pub id: String,
    /// The account that it acts for.
    pub login_name: String,
    /// What it is for, in its maker's words.
    pub label: String,
    /// How much it may do.
    pub scope: Scope,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is good no more.
    pub expires_at: Option<Timestamp>,
    hash: KeyHash,
}

impl ApiKey {
    /// What is kept of its secret.
    #[must_use]
    pub const fn hash(&self) -> KeyHash {
        self.hash
    }
}

/// Why accounts were not changed or told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// There is no account of this name.
    #[error("User '{0}' is not found.")]
    NotFound(String),
    /// There is one already.
    #[error("User '{0}' already exists.")]
    Exists(String),
    /// There is no such key.
    #[error("There is no API key '{0}'")]
    NoSuchKey(String),
    /// It makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The store's answer.
    #[error(transparent)]
    Store(#[from] Error),
}

impl AccountError {
    /// What this means to a client.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound(_) | Self::NoSuchKey(_) => ErrorCode::UserNotFound,
            Self::Exists(_) => ErrorCode::StreamAlreadyExists,
            Self::Invalid(_) => ErrorCode::ValidationFailed,
            Self::Store(error) => error.code(),
        }
    }
}

/// What is known of the stream.
#[derive(Debug, Clone, Default)]
struct Known {
    book: Arc<Book>,
    /// Whether the stream was read to its end once.
    whole: bool,
}

/// What is known of the stream, as it changes.
pub(super) struct News(watch::Receiver<Known>);

impl News {
    /// What there is now.
    pub(super) fn next(&mut self) -> Arc<Book> {
        Arc::clone(&self.0.borrow_and_update().book)
    }

    /// Waits for a change of it.
    pub(super) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // Nobody follows any more: the service ends, and what it opened with it.
            std::future::pending::<()>().await;
        }
    }
}

/// What a new account is to be.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// What it logs in as.
    pub login_name: String,
    /// Its name for people.
    pub full_name: String,
    /// Its roles.
    pub roles: Vec<String>,
    /// What is kept of its password.
    pub hash: Phc,
}

/// The accounts of a service. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Accounts(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: BoundStore,
    ids: Arc<dyn IdSource>,
    clock: Arc<dyn Clock>,
    stream: StreamName,
    known: watch::Receiver<Known>,
    follower: AbortHandle,
    audit: Option<Audit>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

impl Accounts {
    /// The accounts that a store keeps; with a trail, changes of them are written down there. Call it within a runtime: it
    /// starts what follows them.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the stream's name is none, which it is.
    pub fn open(
        store: BoundStore,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
        audit: Option<Audit>,
    ) -> Result<Self, Error> {
        let stream = StreamName::new(STREAM).map_err(|e| Error::InvalidArgument(e.to_string()))?;
        let (known, receiver) = watch::channel(Known::default());
        let following = follow::follow(Arc::clone(&store), stream.clone(), known);
        let follower = tokio::spawn(following).abort_handle();
        Ok(Self(Arc::new(Inner { store, ids, clock, stream, known: receiver, follower, audit })))
    }

    /// What there is, once it was read.
    async fn book(&self) -> Result<Arc<Book>, Error> {
        self.wait(|known| known.whole).await
    }

    async fn wait(&self, enough: impl FnMut(&Known) -> bool) -> Result<Arc<Book>, Error> {
        let mut known = self.0.known.clone();
        match timeout(PATIENCE, known.wait_for(enough)).await {
            Ok(Ok(known)) => Ok(Arc::clone(&known.book)),
            Ok(Err(_)) => Err(Error::Closed),
            Err(_) => Err(Error::Unavailable("accounts could not be read in time".to_owned())),
        }
    }

    /// What there is, as far as it was read.
    pub(super) fn known(&self) -> Arc<Book> {
        Arc::clone(&self.0.known.borrow().book)
    }

    /// What there is, and each change of it.
    pub(super) fn news(&self) -> News {
        News(self.0.known.clone())
    }

    /// The account of this name.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if accounts cannot be read now.
    pub async fn find(&self, login_name: &str) -> Result<Option<Arc<Account>>, Error> {
        Ok(self.book().await?.account(login_name).cloned())
    }

    /// All accounts, by name.
    ///
    /// # Errors
    /// As [`Accounts::find`].
    pub async fn all(&self) -> Result<Vec<Arc<Account>>, Error> {
        Ok(self.book().await?.accounts().cloned().collect())
    }

    /// The key with this id.
    ///
    /// # Errors
    /// As [`Accounts::find`].
    pub async fn find_key(&self, id: &str) -> Result<Option<Arc<ApiKey>>, Error> {
        Ok(self.book().await?.key(id).cloned())
    }

    /// All keys, by id; expired ones too.
    ///
    /// # Errors
    /// As [`Accounts::find`].
    pub async fn all_keys(&self) -> Result<Vec<Arc<ApiKey>>, Error> {
        Ok(self.book().await?.keys().cloned().collect())
    }

    /// Makes an account.
    ///
    /// # Errors
    /// [`AccountError::Exists`]; [`AccountError::Invalid`] if a name or a role is none; the store's.
    pub async fn create(&self, account: NewAccount, by: &str) -> Result<(), AccountError> {
        check_login_name(&account.login_name)?;
        check_full_name(&account.full_name)?;
        check_roles(&account.roles)?;
        let account = NewAccount { roles: named(account.roles), ..account };
        self.change([deed(by, "create-account", &account.login_name)], |book| {
            if book.account(&account.login_name).is_some() {
                return Err(AccountError::Exists(account.login_name.clone()));
            }
            Ok(Some(created(&account, by)))
        })
        .await
    }

    /// Makes an account if there is none of any name. Whether it did.
    ///
    /// # Errors
    /// As [`Accounts::create`].
    pub async fn create_first(&self, account: &NewAccount) -> Result<bool, AccountError> {
        let by = "system";
        let made = self.change([deed(by, "create-account", &account.login_name)], |book| {
            if let Some(other) = book.accounts().next() {
                return Err(AccountError::Exists(other.login_name.clone()));
            }
            Ok(Some(created(account, by)))
        });
        match made.await {
            Ok(()) => Ok(true),
            Err(AccountError::Exists(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Changes an account's name for people and its roles; nothing leaves what is.
    ///
    /// # Errors
    /// [`AccountError::NotFound`]; [`AccountError::Invalid`]; the store's.
    pub async fn update(
        &self,
        login_name: &str,
        full_name: Option<String>,
        roles: Option<Vec<String>>,
        by: &str,
    ) -> Result<(), AccountError> {
        full_name.as_deref().map_or(Ok(()), check_full_name)?;
        roles.as_deref().map_or(Ok(()), check_roles)?;
        let roles = roles.map(named);
        self.change([deed(by, "update-account", login_name)], |book| {
            let account = existing(book, login_name)?;
            let updated = AccountUpdated {
                login_name: login_name.to_owned(),
                full_name: full_name.clone().unwrap_or_else(|| account.full_name.clone()),
                roles: roles.clone().unwrap_or_else(|| account.roles.clone()),
                by: by.to_owned(),
            };
            let same = updated.full_name == account.full_name && updated.roles == account.roles;
            Ok((!same).then_some(AccountEvent::Updated(updated)))
        })
        .await
    }

    /// Gives an account another password. Its keys stay good.
    ///
    /// # Errors
    /// [`AccountError::NotFound`]; the store's.
    pub async fn set_password(&self, login_name: &str, hash: Phc, by: &str) -> Result<(), AccountError> {
        self.change([deed(by, "set-password", login_name)], |book| {
            existing(book, login_name)?;
            Ok([password_changed(login_name, &hash, by)])
        })
        .await
    }

    /// Gives an account another password, and revokes all its keys in one step with it.
    ///
    /// # Errors
    /// [`AccountError::NotFound`]; the store's.
    pub async fn set_password_and_revoke_keys(
        &self,
        login_name: &str,
        hash: Phc,
        by: &str,
    ) -> Result<(), AccountError> {
        let deeds = [deed(by, "set-password", login_name), deed(by, "revoke-keys", login_name)];
        self.change(deeds, |book| {
            existing(book, login_name)?;
            let changed = password_changed(login_name, &hash, by);
            Ok(std::iter::once(changed).chain(revoked(book, login_name, by)).collect::<Vec<_>>())
        })
        .await
    }

    /// Revokes all keys of an account.
    ///
    /// # Errors
    /// [`AccountError::NotFound`]; the store's.
    pub async fn revoke_keys(&self, login_name: &str, by: &str) -> Result<(), AccountError> {
        self.change([deed(by, "revoke-keys", login_name)], |book| {
            existing(book, login_name)?;
            Ok(revoked(book, login_name, by).collect::<Vec<_>>())
        })
        .await
    }

    /// Lets an account in again, or no longer.
    ///
    /// # Errors
    /// [`AccountError::NotFound`]; the store's.
    pub async fn set_enabled(&self, login_name: &str, enabled: bool, by: &str) -> Result<(), AccountError> {
        let action = if enabled { "enable-account" } else { "disable-account" };
        self.change([deed(by, action, login_name)], |book| {
            let account = existing(book, login_name)?;
            let named = AccountNamed { login_name: login_name.to_owned(), by: by.to_owned() };
            let event = if enabled { AccountEvent::Enabled(named) } else { AccountEvent::Disabled(named) };
            Ok((account.disabled == enabled).then_some(event))
        })
        .await
    }

    /// Deletes an account, and its keys with it.
    ///
    /// # Errors
    /// [`AccountError::NotFound`]; the store's.
    pub async fn delete(&self, login_name: &str, by: &str) -> Result<(), AccountError> {
        self.change([deed(by, "delete-account", login_name)], |book| {
            existing(book, login_name)?;
            let named = AccountNamed { login_name: login_name.to_owned(), by: by.to_owned() };
            Ok(Some(AccountEvent::Deleted(named)))
        })
        .await
    }

    /// Makes a key for an account, good for so long. Its text is to be shown once: it is kept nowhere.
    ///
    /// # Errors
    /// [`AccountError::NotFound`]; [`AccountError::Invalid`] if the account has not what the scope would give, or has
    /// [`MOST_KEYS`] already; the store's.
    pub async fn create_key(
        &self,
        login_name: &str,
        label: &str,
        scope: Scope,
        good_for: Option<Duration>,
        by: &str,
    ) -> Result<NewKey, AccountError> {
        check_full_name(label)?;
        let key = api_key::generate().map_err(|e| AccountError::Store(Error::Internal(e)))?;
        let now = self.0.clock.now();
        let expires_at = good_for.map(|time| DateTime::from_millis(now.plus(time).millis()));
        self.change([deed(by, "create-key", &key.id)], |book| {
            let account = existing(book, login_name)?;
            if scope == Scope::Admin && !account.roles.iter().any(|role| role == super::ADMIN) {
                let message =
                    format!("'{login_name}' has not the role admin: its keys cannot have the scope admin");
                return Err(AccountError::Invalid(message));
            }
            let good = book.keys_of(login_name).filter(|key| key.expires_at.is_none_or(|end| end > now));
            if good.count() >= MOST_KEYS {
                return Err(AccountError::Invalid(format!(
                    "'{login_name}' has {MOST_KEYS} API keys, as many as an account may: revoke one that is not used any more"
                )));
            }
            Ok(Some(AccountEvent::KeyCreated(ApiKeyCreated {
                key_id: key.id.clone(),
                login_name: login_name.to_owned(),
                label: label.to_owned(),
                scope,
                secret_hash: key.hash,
                expires_at,
                by: by.to_owned(),
            })))
        })
        .await?;
        Ok(key)
    }

    /// Revokes a key: it is good for nothing from now on.
    ///
    /// # Errors
    /// [`AccountError::NoSuchKey`]; the store's.
    pub async fn revoke_key(&self, id: &str, by: &str) -> Result<(), AccountError> {
        self.change([deed(by, "revoke-key", id)], |book| {
            book.key(id).ok_or_else(|| AccountError::NoSuchKey(id.to_owned()))?;
            let named = ApiKeyNamed { key_id: id.to_owned(), by: by.to_owned() };
            Ok(Some(AccountEvent::KeyRevoked(named)))
        })
        .await
    }

    /// Makes a change, and writes down in the trail what was done by it, whatever came of it.
    async fn change<Events: IntoIterator<Item = AccountEvent>>(
        &self,
        deeds: impl IntoIterator<Item = Deed>,
        decide: impl FnMut(&Book) -> Result<Events, AccountError>,
    ) -> Result<(), AccountError> {
        let begun = deeds.into_iter().filter_map(|deed| Some(self.0.audit.as_ref()?.begin(deed)));
        let pending: Vec<_> = begun.collect::<Result<_, _>>()?;
        let changed = self.decide(decide).await;
        for pending in pending {
            pending.end(changed.as_ref().map_or_else(|error| error.code().slug(), |()| "ok"));
        }
        changed
    }

    /// Decides on what is known, writes what was decided, and waits until it is known.
    async fn decide<Events: IntoIterator<Item = AccountEvent>>(
        &self,
        mut decide: impl FnMut(&Book) -> Result<Events, AccountError>,
    ) -> Result<(), AccountError> {
        let Inner { store, ids, stream, .. } = &*self.0;
        let mut book = self.book().await?;
        for _ in 0..ATTEMPTS {
            let events = decide(&book)?.into_iter().map(|event| event.to_event(ids.next_id()));
            let events: Vec<_> = events.collect();
            if events.is_empty() {
                return Ok(());
            }
            if book.last().is_none() {
                self.describe().await?;
            }
            match store.append(stream, book.expected(), events).await {
                Ok(appended) => {
                    self.reach(appended.last_revision).await?;
                    return Ok(());
                }
                Err(Error::WrongExpectedRevision { actual, .. }) if actual > book.last() => {
                    book = self.reach(actual).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Unavailable("others kept changing accounts at the same time".to_owned()).into())
    }

    async fn reach(&self, revision: Option<Revision>) -> Result<Arc<Book>, Error> {
        self.wait(|known| known.whole && known.book.last() >= revision).await
    }

    /// Says whose the stream is, before it has its first event.
    async fn describe(&self) -> Result<(), Error> {
        let Inner { store, ids, stream, .. } = &*self.0;
        if store.metadata(stream).await?.revision.is_some() {
            return Ok(());
        }
        let metadata = StreamMetadata { acl: Some(Acl::admins()), ..StreamMetadata::default() };
        match store.set_metadata(stream, ExpectedState::NoStream, &metadata, ids.next_id()).await {
            // Somebody else just did.
            Ok(_) | Err(Error::WrongExpectedRevision { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// A change, as the trail has it. What it was stands in the accounts' own stream.
fn deed(by: &str, action: &'static str, subject: &str) -> Deed {
    Deed::new(by, action, vec![STREAM.to_owned()]).about(subject)
}

fn existing<'a>(book: &'a Book, login_name: &str) -> Result<&'a Arc<Account>, AccountError> {
    book.account(login_name).ok_or_else(|| AccountError::NotFound(login_name.to_owned()))
}

/// A login name is a user's id as well: it stands in permissions and in streams' names.
///
/// # Errors
/// [`AccountError::Invalid`], saying what one looks like.
pub fn check_login_name(name: &str) -> Result<(), AccountError> {
    let message = match super::user_id_fault(name) {
        None => return Ok(()),
        Some(fault) => fault,
    };
    Err(AccountError::Invalid(format!("The login name '{}' {message}", name.escape_debug())))
}

fn password_changed(login_name: &str, hash: &Phc, by: &str) -> AccountEvent {
    AccountEvent::PasswordChanged(AccountPasswordChanged {
        login_name: login_name.to_owned(),
        password_hash: hash.clone(),
        by: by.to_owned(),
    })
}

/// All keys of an account, revoked one by one: instances that are older understand that too.
fn revoked<'a>(book: &'a Book, login_name: &'a str, by: &'a str) -> impl Iterator<Item = AccountEvent> + 'a {
    let named = move |key: &Arc<ApiKey>| ApiKeyNamed { key_id: key.id.clone(), by: by.to_owned() };
    book.keys_of(login_name).map(named).map(AccountEvent::KeyRevoked)
}

fn check_full_name(name: &str) -> Result<(), AccountError> {
    if name.chars().count() <= 256 && !name.chars().any(char::is_control) {
        return Ok(());
    }
    Err(AccountError::Invalid(
        "A name for people has at most 256 characters, and no control characters".to_owned(),
    ))
}

fn created(account: &NewAccount, by: &str) -> AccountEvent {
    AccountEvent::Created(AccountCreated {
        login_name: account.login_name.clone(),
        full_name: account.full_name.clone(),
        roles: account.roles.clone(),
        password_hash: account.hash.clone(),
        by: by.to_owned(),
    })
}

/// The roles by the names that they have here.
fn named(roles: Vec<String>) -> Vec<String> {
    roles
        .into_iter()
        .map(|role| if super::is_admins(&role) { super::ADMIN.to_owned() } else { role })
        .collect()
}

fn check_roles(roles: &[String]) -> Result<(), AccountError> {
    let good = |role: &String| {
        (1..=64).contains(&role.len())
            && role.bytes().all(|b| b.is_ascii_alphanumeric() || b"$._-".contains(&b))
    };
    match roles.iter().find(|role| !good(role)) {
        None if roles.len() <= 64 => Ok(()),
        None => Err(AccountError::Invalid("An account has at most 64 roles".to_owned())),
        Some(role) => Err(AccountError::Invalid(format!(
            "The role '{}' is none: write 1 to 64 letters, digits and '$._-'",
            role.escape_debug()
        ))),
    }
}
