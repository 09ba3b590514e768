//! From credentials to a caller.
//!
//! Where a trail is kept, each login is in it when the password is really checked, or when a token is given for it, and so
//! is each refusal of a token, of a key, or of what is none of these. Good tokens and keys are not: what is done with them
//! is.

use super::{
    ADMIN, Caller,
    accounts::{self, Account, AccountError, Accounts, ApiKey, NewAccount, Scope},
    api_key,
    credentials::Credentials,
    is_admins,
    lockout::Lockout,
    password::{PasswordError, Passwords, Phc},
    random,
    standing::{Grounds, Standing},
    tokens::{Issued, TokenError, Tokens},
    turns::{Tag, Turns},
};
use crate::{
    audit::{Audit, Deed, Pending},
    limits::{Allowances, Whose, network},
};
use aws_lc_rs::hmac;
use event_store::{Clock, Error, ErrorCode, Timestamp};
use lru::LruCache;
use secrecy::{ExposeSecret as _, SecretString};
use std::{
    net::IpAddr,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// For how long, and for how many at once, it is remembered that a password was right: clients of KurrentDB send it with
/// every call. What is remembered is a keyed hash, and good only while the account's own hash is the same.
const REMEMBERED_FOR: Duration = Duration::from_secs(600);
const REMEMBERED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);

/// The account that the first start makes.
const FIRST_ADMIN: &str = "admin";

/// Why somebody is not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The credentials are not good. The text says what kind they are, and no more.
    #[error("{0}")]
    Credentials(String),
    /// Too many wrong ones came before: again after this time.
    #[error("Too many failed logins; try again in {} s", seconds(*.0))]
    Locked(Duration),
    /// Too many passwords are being checked.
    #[error("Too many logins at once; try again in 1 s")]
    Busy,
    /// Too many logins came from the address: again after this time.
    #[error("Too many logins; try again in {} s", seconds(*.0))]
    TooOften(Duration),
    /// The address has nothing left of its allowance, and the credentials were not looked at: again after this time.
    #[error("Too many requests; try again in {} s", seconds(*.0).max(1))]
    TooMany(Duration),
    /// The store's answer.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Whole seconds, rounded up.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

impl Refused {
    /// What this means to a client.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Credentials(_) => ErrorCode::AuthenticationFailed,
            Self::Locked(_) | Self::Busy | Self::TooOften(_) | Self::TooMany(_) => ErrorCode::RateLimited,
            Self::Store(error) => error.code(),
        }
    }

    /// In how many seconds to try again, if that can help.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Locked(time) | Self::TooOften(time) | Self::TooMany(time) => Some(seconds(*time).max(1)),
            Self::Busy => Some(1),
            Self::Credentials(_) | Self::Store(_) => None,
        }
    }
}

impl From<PasswordError> for Refused {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => Self::Busy,
            PasswordError::Failed(error) => Self::Store(error),
        }
    }
}

/// Somebody who was let in.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// Who it is.
    pub caller: Caller,
    /// For what they were let in: it may be lost while what they opened goes on.
    pub standing: Standing,
}

impl Admitted {
    /// Somebody whose standing is never lost.
    const fn lasting(caller: Caller) -> Self {
        Self { caller, standing: Standing::lasting() }
    }
}

/// What identity is made of.
#[derive(Debug)]
pub struct Parts {
    /// Whether callers must say who they are; else everybody is the service itself.
    pub required: bool,
    /// The accounts and keys.
    pub accounts: Accounts,
    /// Which tokens are believed, and how this service's own are signed.
    pub tokens: Tokens,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// How many logins an address may try; nothing for as many as it likes.
    pub logins: Option<Allowances>,
    /// Where logins and refusals are written down, if they are.
    pub audit: Option<Audit>,
}

/// Finds out who calls. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Identity(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    required: bool,
    accounts: Accounts,
    tokens: Tokens,
    passwords: Passwords,
    lockout: Lockout,
    clock: Arc<dyn Clock>,
    logins: Option<Allowances>,
    audit: Option<Audit>,
    key: hmac::Key,
    remembered: Mutex<LruCache<Tag, (Phc, Duration)>>,
    turns: Turns,
}

impl Identity {
    /// Nobody is known yet.
    ///
    /// # Errors
    /// A sentence if the system gives no random numbers.
    pub fn new(parts: Parts) -> Result<Self, String> {
        let Parts { required, accounts, tokens, clock, logins, audit } = parts;
        Ok(Self(Arc::new(Inner {
            required,
            accounts,
            tokens,
            passwords: Passwords::default(),
            lockout: Lockout::new(Arc::clone(&clock)),
            clock,
            logins,
            audit,
            key: hmac::Key::new(hmac::HMAC_SHA256, &random::bytes::<32>()?),
            remembered: Mutex::new(LruCache::new(REMEMBERED)),
            turns: Turns::default(),
        })))
    }

    /// Whether callers must say who they are.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.0.required
    }

    /// The accounts and keys.
    #[must_use]
    pub fn accounts(&self) -> &Accounts {
        &self.0.accounts
    }

    /// What hashes passwords.
    #[must_use]
    pub fn passwords(&self) -> &Passwords {
        &self.0.passwords
    }

    /// The shortest password that an account may get, in characters.
    #[must_use]
    pub fn shortest_password(&self) -> usize {
        if self.0.required { super::SHORTEST_PASSWORD } else { 1 }
    }

    /// Who these credentials are: with `AUTH_MODE=off` the service itself, whatever they are; else their owner, or
    /// [`Caller::anonymous`] where there are none.
    ///
    /// # Errors
    /// [`Refused`] for credentials that are not good: they are never nobody's.
    pub async fn identify(&self, credentials: &Credentials, from: Option<IpAddr>) -> Result<Caller, Refused> {
        self.admit(credentials, from).await.map(|admitted| admitted.caller)
    }

    /// The same, for what goes on: with the standing that it ends with.
    ///
    /// # Errors
    /// As [`Identity::identify`].
    pub async fn admit(&self, credentials: &Credentials, from: Option<IpAddr>) -> Result<Admitted, Refused> {
        if !self.0.required {
            return Ok(Admitted::lasting(Caller::system()));
        }
        self.examine(credentials, from).await
    }

    /// Who these credentials are, whether anybody must have some or not.
    ///
    /// # Errors
    /// As [`Identity::identify`].
    pub async fn judge(&self, credentials: &Credentials, from: Option<IpAddr>) -> Result<Caller, Refused> {
        self.examine(credentials, from).await.map(|admitted| admitted.caller)
    }

    async fn examine(&self, credentials: &Credentials, from: Option<IpAddr>) -> Result<Admitted, Refused> {
        let mut about = None;
        let (action, judged) = match credentials {
            Credentials::None => return Ok(Admitted::lasting(Caller::anonymous())),
            Credentials::Unreadable => (
                Some("credentials"),
                Err(refuse(
                    "The credentials cannot be read: send one of Authorization: Bearer, Basic or ApiKey, or x-api-key",
                )),
            ),
            Credentials::Basic { login, password } => {
                let account = self.log_in(login, password, from).await;
                let admitted = account.map(|account| Admitted {
                    caller: Caller::user(&account.login_name, &account.roles).with_account(),
                    standing: self.standing(Some(account), None, None),
                });
                // It was written down there.
                (None, admitted)
            }
            Credentials::Bearer(token) => (Some("token"), self.bearer(token, &mut about).await),
            Credentials::ApiKey(key) => (Some("api-key"), self.api_key(key, &mut about).await),
        };
        if let Err(refused) = &judged {
            metrics::counter!("auth_refused_total", "reason" => refused.code().slug()).increment(1);
            if let Some(action) = action
                && let Some(pending) = self.begin(action, about.as_deref(), from)?
            {
                pending.end(refused.code().slug());
            }
        }
        judged
    }

    fn standing(
        &self,
        account: Option<Arc<Account>>,
        key: Option<Arc<ApiKey>>,
        until: Option<Timestamp>,
    ) -> Standing {
        let (accounts, clock) = (self.0.accounts.clone(), Arc::clone(&self.0.clock));
        Standing::on(Grounds { accounts, clock, account, key, until })
    }

    /// Begins what is to be written down, of somebody who is nobody yet.
    fn begin(
        &self,
        action: &'static str,
        about: Option<&str>,
        from: Option<IpAddr>,
    ) -> Result<Option<Pending>, Error> {
        let Some(audit) = &self.0.audit else { return Ok(None) };
        let deed = Deed::new(Caller::anonymous().id(), action, Vec::new()).with_address(from);
        let deed = match about {
            Some(subject) => deed.about(subject),
            None => deed,
        };
        audit.begin(deed).map(Some)
    }

    /// Shows a caller what is kept of others, accounts or keys, and writes down that they looked, and what came of it.
    ///
    /// # Errors
    /// What comes of it, and [`Error::Unavailable`] if it cannot be written down where it must be.
    pub(crate) async fn shown<T, E: From<Error>>(
        &self,
        caller: &Caller,
        action: &'static str,
        about: &str,
        seen: impl Future<Output = Result<T, E>>,
        code: impl FnOnce(&E) -> ErrorCode,
    ) -> Result<T, E> {
        let deed = || Deed::new(caller.id(), action, vec![accounts::STREAM.to_owned()]).about(about);
        Audit::around(self.0.audit.as_ref(), deed, seen, code).await
    }

    /// Writes down that somebody was not let do something with an account.
    pub(crate) fn note_denied(&self, caller: &Caller, action: &'static str, login_name: &str) {
        if let Some(audit) = &self.0.audit {
            let deed = Deed::new(caller.id(), action, vec![accounts::STREAM.to_owned()]).about(login_name);
            audit.note(deed, ErrorCode::PermissionDenied.slug());
        }
    }

    /// The account with this login name, if this is its password and it is enabled. That it was not long ago is remembered.
    ///
    /// # Errors
    /// [`Refused`]; of a wrong name, a wrong password and a disabled account the same.
    pub async fn log_in(
        &self,
        login_name: &str,
        password: &SecretString,
        from: Option<IpAddr>,
    ) -> Result<Arc<Account>, Refused> {
        let tag = self.tag(login_name, password, from);
        if let Some(account) = self.remembered(login_name, &tag).await? {
            return Ok(account);
        }
        // A client that sends many calls at once is one that logs in: the others wait for the first.
        let _turn = self.0.turns.take(tag).await;
        match self.remembered(login_name, &tag).await? {
            Some(account) => Ok(account),
            None => self.attempt(login_name, password, from).await,
        }
    }

    /// The same, counted and written down.
    async fn attempt(
        &self,
        login_name: &str,
        password: &SecretString,
        from: Option<IpAddr>,
    ) -> Result<Arc<Account>, Refused> {
        let pending = self.begin("login", Some(login_name), from)?;
        let checked = self.check(login_name, password, from).await;
        if let Some(pending) = pending {
            match &checked {
                Ok(account) => pending.end_as(&account.login_name, "ok"),
                Err(refused) => pending.end(refused.code().slug()),
            }
        }
        checked
    }

    async fn check(
        &self,
        login_name: &str,
        password: &SecretString,
        from: Option<IpAddr>,
    ) -> Result<Arc<Account>, Refused> {
        if let Some((logins, from)) = self.0.logins.as_ref().zip(from)
            && let Some(wait) = logins.take(Whose::address(from)).refused
        {
            return Err(Refused::TooOften(wait));
        }
        let tag = self.tag(login_name, password, from);
        if let Some(account) = self.remembered(login_name, &tag).await? {
            return Ok(account);
        }
        let attempt = self.0.lockout.attempt(login_name, from).map_err(Refused::Locked)?;
        let account = self.0.accounts.find(login_name).await?;
        let hash = account.as_ref().map(|account| account.hash().clone());
        let right = match self.0.passwords.verify(password.clone(), hash.as_ref()).await {
            Ok(right) => right,
            Err(error) => {
                attempt.was_none();
                return Err(error.into());
            }
        };
        match (account.filter(|account| !account.disabled), hash) {
            (Some(account), Some(hash)) if right => {
                attempt.succeeded();
                self.remember(tag, hash);
                Ok(account)
            }
            _ => Err(refuse("The login name or the password is wrong")),
        }
    }

    /// The account with this login name, if it is enabled and it is remembered that this is its password.
    async fn remembered(&self, login_name: &str, tag: &Tag) -> Result<Option<Arc<Account>>, Refused> {
        let account = self.0.accounts.find(login_name).await?.filter(|account| !account.disabled);
        Ok(account.filter(|account| self.remembers(tag, account.hash())))
    }

    /// What a right password is remembered by: also by where it came from, or whoever guesses from elsewhere would not be
    /// held to any limit when the guess is right.
    fn tag(&self, login_name: &str, password: &SecretString, from: Option<IpAddr>) -> Tag {
        let mut context = hmac::Context::with_key(&self.0.key);
        context.update(format!("{:?} ", from.map(network)).as_bytes());
        context.update(&(login_name.len() as u64).to_be_bytes());
        context.update(login_name.as_bytes());
        context.update(password.expose_secret().as_bytes());
        let mut tag = [0; 32];
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }

    fn remembers(&self, tag: &Tag, hash: &Phc) -> bool {
        let now = self.0.clock.monotonic();
        let mut remembered = self.0.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        match remembered.get(tag) {
            Some((right, since)) if right == hash && now.saturating_sub(*since) < REMEMBERED_FOR => true,
            Some(_) => {
                remembered.pop(tag);
                false
            }
            None => false,
        }
    }

    fn remember(&self, tag: Tag, hash: Phc) {
        let now = self.0.clock.monotonic();
        self.0.remembered.lock().unwrap_or_else(PoisonError::into_inner).put(tag, (hash, now));
    }

    async fn api_key(&self, text: &SecretString, about: &mut Option<String>) -> Result<Admitted, Refused> {
        let wrong = || refuse("The API key is unknown, revoked or expired");
        let (id, secret) = api_key::parse(text).ok_or_else(wrong)?;
        *about = Some(id.to_owned());
        let key = self.0.accounts.find_key(id).await?.ok_or_else(wrong)?;
        if !key.hash().fits(&secret) || key.expires_at.is_some_and(|end| end <= self.0.clock.now()) {
            return Err(wrong());
        }
        let account = self.0.accounts.find(&key.login_name).await?;
        let account = account.filter(|account| !account.disabled).ok_or_else(wrong)?;
        let mut roles = account.roles.clone();
        if key.scope != Scope::Admin {
            roles.retain(|role| !is_admins(role));
        }
        let caller = Caller::user(&account.login_name, &roles).with_account();
        let caller = if key.scope == Scope::Read { caller.read_only() } else { caller };
        let until = key.expires_at;
        Ok(Admitted { caller, standing: self.standing(Some(account), Some(key), until) })
    }

    async fn bearer(&self, token: &SecretString, about: &mut Option<String>) -> Result<Admitted, Refused> {
        let wrong = |error: TokenError| match error {
            TokenError::Refused(reason) => refuse(&format!("The token is refused: {reason}")),
            TokenError::Unavailable(reason) => Refused::Store(Error::Unavailable(reason)),
        };
        let verified = self.0.tokens.verify(token).await.map_err(wrong)?;
        if !verified.own {
            let caller = Caller::user(&verified.subject, &verified.roles);
            return Ok(Admitted { caller, standing: self.standing(None, None, Some(verified.until)) });
        }
        // A token of this service's own says who; what they may do is what their account says now.
        *about = Some(verified.subject.clone());
        let account = self.0.accounts.find(&verified.subject).await?;
        let account = account
            .filter(|account| !account.disabled && verified.version == Some(account.hash().fingerprint()))
            .ok_or_else(|| {
                refuse("The token is refused: its account was disabled, deleted, or got another password")
            })?;
        let caller = Caller::user(&account.login_name, &account.roles).with_account();
        Ok(Admitted { caller, standing: self.standing(Some(account), None, Some(verified.until)) })
    }

    /// A token for the owner of a login name and a password. It counts as a login also where the password is remembered.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn issue(
        &self,
        login_name: &str,
        password: &SecretString,
        from: Option<IpAddr>,
    ) -> Result<Issued, Refused> {
        let _turn = self.0.turns.take(self.tag(login_name, password, from)).await;
        let account = self.attempt(login_name, password, from).await?;
        let version = account.hash().fingerprint();
        self.0
            .tokens
            .issue(&account.login_name, &account.roles, version)
            .map_err(|e| Refused::Store(Error::Internal(e)))
    }

    /// Makes the first account, an administrator with a password made up for it, if there is none of any name. Its login
    /// name and password, to be shown once.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn first_admin(&self) -> Result<Option<(&'static str, SecretString)>, AccountError> {
        if !self.0.accounts.all().await?.is_empty() {
            return Ok(None);
        }
        let internal = |e: String| AccountError::Store(Error::Internal(e));
        let password = SecretString::from(random::password().map_err(internal)?);
        let hash = self.0.passwords.hash(password.clone()).await.map_err(|e| internal(e.to_string()))?;
        let account = NewAccount {
            login_name: FIRST_ADMIN.to_owned(),
            full_name: "Administrator".to_owned(),
            roles: vec![ADMIN.to_owned()],
            hash,
        };
        let made = self.0.accounts.create_first(&account).await?;
        Ok(made.then_some((FIRST_ADMIN, password)))
    }
}

fn refuse(message: &str) -> Refused {
    Refused::Credentials(message.to_owned())
}
