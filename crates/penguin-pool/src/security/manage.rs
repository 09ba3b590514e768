//! Accounts and keys, as callers manage them: administrators all of them, everybody their own keys and password.

use super::{
    Caller, Credentials, Identity, Refused,
    accounts::{self, AccountError, NewAccount, Scope},
    password, random,
};
use event_store::{Error, ErrorCode};
use models::{
    Account, AccountDeleted, AccountDto, AccountList, AccountMade, AccountUpdateDto, ApiKey, ApiKeyDto,
    ApiKeyList, ApiKeyMade, ApiKeyRevoked, DateTime, Myself, PasswordDto,
};
use secrecy::{ExposeSecret as _, SecretString};
use std::{net::IpAddr, time::Duration};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Why accounts or keys were not changed or shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManageError {
    /// The caller may not. The text says who may.
    #[error("{0}")]
    Denied(&'static str),
    /// What is asked for makes no sense: the field, and what is wrong with it.
    #[error("{0}: {1}")]
    Invalid(&'static str, String),
    /// The accounts' answer.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// What identity says of a password.
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl From<Error> for ManageError {
    fn from(error: Error) -> Self {
        Self::Account(error.into())
    }
}

impl ManageError {
    /// What this means to a client.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Denied(_) => ErrorCode::PermissionDenied,
            Self::Invalid(..) => ErrorCode::ValidationFailed,
            Self::Account(error) => error.code(),
            Self::Refused(refused) => refused.code(),
        }
    }
}

/// All of them, as the trail says what somebody looked at.
const ALL: &str = "$all";

type Result<T> = std::result::Result<T, ManageError>;

/// Whom a caller is taken for.
#[must_use]
pub(super) fn myself(caller: &Caller) -> Myself {
    Myself {
        id: caller.id().to_owned(),
        roles: caller.roles().to_vec(),
        is_admin: caller.is_admin(),
        read_only: !caller.may_write(),
    }
}

impl Identity {
    /// All accounts, for administrators.
    ///
    /// # Errors
    /// [`ManageError`].
    pub async fn list_accounts(&self, caller: &Caller) -> Result<AccountList> {
        let seen = async {
            if !caller.is_admin() {
                return Err(ManageError::Denied("Accounts are the administrators' to see"));
            }
            let accounts = self.accounts().all().await?;
            Ok(AccountList { accounts: accounts.iter().map(|account| shown(account)).collect() })
        };
        self.shown(caller, "read-account", ALL, seen, ManageError::code).await
    }

    /// Makes an account, for administrators; with a password made up if none is given.
    ///
    /// # Errors
    /// [`ManageError`].
    pub async fn create_account(
        &self,
        caller: &Caller,
        by: &Credentials,
        dto: AccountDto,
    ) -> Result<AccountMade> {
        self.told(caller, "create-account", dto.login_name.as_str(), administers(caller, by))?;
        let (password, made_up) = match dto.password {
            Some(given) => (SecretString::from(given.expose()), false),
            None => (random::password().map_err(Error::Internal)?.into(), true),
        };
        let hash = self.hashed("password", &password).await?;
        let login_name = dto.login_name.as_str().to_owned();
        let account = NewAccount { login_name, full_name: dto.full_name, roles: dto.roles, hash };
        self.accounts().create(account, caller.id()).await?;
        let password = made_up.then(|| password.expose_secret().to_owned());
        Ok(AccountMade { account: self.account(dto.login_name.as_str()).await?, password })
    }

    /// Changes an account, for administrators.
    ///
    /// # Errors
    /// [`ManageError`].
    pub async fn update_account(
        &self,
        caller: &Caller,
        by: &Credentials,
        login_name: &str,
        dto: AccountUpdateDto,
    ) -> Result<Account> {
        self.told(caller, "update-account", login_name, administers(caller, by))?;
        // All that can be refused comes before the first change.
        let hash = match dto.password {
            Some(given) => Some(self.hashed("password", &given.expose().into()).await?),
            None => None,
        };
        let accounts = self.accounts();
        accounts.update(login_name, dto.full_name, dto.roles, caller.id()).await?;
        match (hash, dto.revoke_keys) {
            (Some(hash), true) => {
                accounts.set_password_and_revoke_keys(login_name, hash, caller.id()).await?;
            }
            (Some(hash), false) => accounts.set_password(login_name, hash, caller.id()).await?,
            (None, true) => accounts.revoke_keys(login_name, caller.id()).await?,
            (None, false) => {}
        }
        if let Some(disabled) = dto.disabled {
            accounts.set_enabled(login_name, !disabled, caller.id()).await?;
        }
        self.account(login_name).await
    }

    /// Deletes an account and its keys, for administrators.
    ///
    /// # Errors
    /// [`ManageError`].
    pub async fn delete_account(
        &self,
        caller: &Caller,
        by: &Credentials,
        login_name: &str,
    ) -> Result<AccountDeleted> {
        self.told(caller, "delete-account", login_name, administers(caller, by))?;
        self.accounts().delete(login_name, caller.id()).await?;
        Ok(AccountDeleted { login_name: login_name.to_owned() })
    }

    /// Gives the caller's own account another password. The one of now is asked for again: a token that somebody found is
    /// not to be enough. Tokens given for it end; API keys do if they are to.
    ///
    /// # Errors
    /// [`ManageError`].
    pub async fn change_own_password(
        &self,
        caller: &Caller,
        from: Option<IpAddr>,
        dto: PasswordDto,
    ) -> Result<Myself> {
        self.told(caller, "set-password", caller.id(), may_write(caller))?;
        if self.accounts().find(caller.id()).await?.is_none() {
            return Err(AccountError::NotFound(caller.id().to_owned()).into());
        }
        let current = SecretString::from(dto.current_password.expose());
        self.log_in(caller.id(), &current, from).await?;
        let hash = self.hashed("newPassword", &dto.new_password.expose().into()).await?;
        let (accounts, id) = (self.accounts(), caller.id());
        if dto.revoke_keys {
            accounts.set_password_and_revoke_keys(id, hash, id).await?;
        } else {
            accounts.set_password(id, hash, id).await?;
        }
        Ok(myself(caller))
    }

    /// The caller's own keys; for administrators all of them.
    ///
    /// # Errors
    /// [`ManageError`].
    pub async fn list_keys(&self, caller: &Caller) -> Result<ApiKeyList> {
        let seen = async {
            let keys = self.accounts().all_keys().await?;
            let theirs = keys.iter().filter(|key| is_for(caller, &key.login_name));
            Ok(ApiKeyList { keys: theirs.map(|key| shown_key(key)).collect() })
        };
        if caller.is_admin() {
            return self.shown(caller, "read-key", ALL, seen, ManageError::code).await;
        }
        seen.await
    }

    /// Makes a key for the caller's account, for administrators for any.
    ///
    /// # Errors
    /// [`ManageError`].
    pub async fn create_key(&self, caller: &Caller, by: &Credentials, dto: ApiKeyDto) -> Result<ApiKeyMade> {
        let login_name = dto.login_name.as_ref().map_or(caller.id(), |name| name.as_str());
        self.told(caller, "create-key", login_name, may_make(caller, by, login_name, dto.scope))?;
        let good_for = (dto.days > 0).then(|| DAY * dto.days);
        let key =
            self.accounts().create_key(login_name, &dto.label, dto.scope, good_for, caller.id()).await?;
        Ok(ApiKeyMade { id: key.id, key: key.text.expose_secret().to_owned() })
    }

    /// Revokes a key: the caller's own, or any for administrators. Another's is not there.
    ///
    /// # Errors
    /// [`ManageError`].
    pub async fn revoke_key(&self, caller: &Caller, id: &str) -> Result<ApiKeyRevoked> {
        self.told(caller, "revoke-key", id, may_write(caller))?;
        let key = self.accounts().find_key(id).await?;
        if key.is_none_or(|key| !is_for(caller, &key.login_name)) {
            return Err(AccountError::NoSuchKey(id.to_owned()).into());
        }
        self.accounts().revoke_key(id, caller.id()).await?;
        Ok(ApiKeyRevoked { id: id.to_owned() })
    }

    async fn account(&self, login_name: &str) -> Result<Account> {
        let found = self.accounts().find(login_name).await?;
        Ok(shown(&*found.ok_or_else(|| AccountError::NotFound(login_name.to_owned()))?))
    }

    async fn hashed(&self, field: &'static str, password: &SecretString) -> Result<password::Phc> {
        if let Some(fault) = password::fault(password, self.shortest_password()) {
            return Err(ManageError::Invalid(field, fault));
        }
        Ok(self.passwords().hash(password.clone()).await.map_err(Refused::from)?)
    }
}

impl Identity {
    /// Writes down a refusal.
    fn told<T>(&self, caller: &Caller, action: &'static str, about: &str, done: Result<T>) -> Result<T> {
        if let Err(ManageError::Denied(_)) = &done {
            self.note_denied(caller, action, about);
        }
        done
    }
}

fn may_write(caller: &Caller) -> Result<()> {
    if caller.may_write() {
        return Ok(());
    }
    Err(ManageError::Denied("A key of the scope read changes nothing"))
}

/// A key that somebody found is not to make others that outlive it.
pub(crate) fn by_no_key(by: &Credentials) -> Result<()> {
    match by {
        Credentials::ApiKey(_) => {
            Err(ManageError::Denied("An API key makes no accounts and no keys: send a password or a token"))
        }
        _ => Ok(()),
    }
}

/// Whether an account is the caller's own, or any for an administrator. Another issuer's word makes nobody its owner: keys
/// would outlive what that issuer takes back.
fn is_for(caller: &Caller, login_name: &str) -> bool {
    caller.is_admin() || (caller.has_account() && login_name == caller.id())
}

fn may_make(caller: &Caller, by: &Credentials, login_name: &str, scope: Scope) -> Result<()> {
    may_write(caller)?;
    by_no_key(by)?;
    if !caller.is_admin() && !caller.has_account() {
        return Err(ManageError::Denied(
            "Keys are made for accounts that are kept here, by their passwords and tokens",
        ));
    }
    if !is_for(caller, login_name) {
        return Err(ManageError::Denied("Only administrators make keys for others"));
    }
    if !caller.is_admin() && scope == Scope::Admin {
        return Err(ManageError::Denied("Only administrators make keys of the scope admin"));
    }
    Ok(())
}

fn administers(caller: &Caller, by: &Credentials) -> Result<()> {
    may_write(caller)?;
    if !caller.is_admin() {
        return Err(ManageError::Denied("Accounts are the administrators' to change"));
    }
    by_no_key(by)
}

fn shown(account: &accounts::Account) -> Account {
    Account {
        login_name: account.login_name.clone(),
        full_name: account.full_name.clone(),
        roles: account.roles.clone(),
        disabled: account.disabled,
        updated_at: DateTime::from_millis(account.updated_at.millis()),
    }
}

fn shown_key(key: &accounts::ApiKey) -> ApiKey {
    ApiKey {
        id: key.id.clone(),
        login_name: key.login_name.clone(),
        label: key.label.clone(),
        scope: key.scope,
        created_at: DateTime::from_millis(key.created_at.millis()),
        expires_at: key.expires_at.map(|end| DateTime::from_millis(end.millis())),
    }
}
