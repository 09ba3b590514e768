//! The accounts of the service, as KurrentDB's clients manage them: the same ones that log in over HTTP.

use super::listener::{from, understood};
use crate::{
    audit::Origin,
    config::Proxies,
    ops::{Calls, Limiter, rate_limit},
    security::{
        ADMIN, Caller, Identity, Refused,
        accounts::{Account, AccountError, NewAccount},
        by_no_key,
        password::{self, PasswordError, Phc},
    },
};
use event_store::{Error, ErrorCode};
use kurrentdb_protocol::{NewUser, UserDetails, UserError, Users, Visitor};
use secrecy::{ExposeSecret as _, SecretString};
use std::sync::Arc;

/// KurrentDB's group of administrators: the role `admin`.
const ADMINS: &str = "$admins";

/// The accounts, for whom they may be.
#[derive(Debug)]
pub(super) struct Managed {
    pub(super) identity: Identity,
    pub(super) limiter: Option<Limiter>,
    pub(super) calls: Option<Calls>,
    pub(super) proxies: Proxies,
}

type Result<T> = std::result::Result<T, UserError>;

impl Managed {
    /// Does something in a visitor's name, so that the trail knows where they are.
    async fn within<T>(&self, by: &Visitor, deed: impl Future<Output = T> + Send) -> T {
        Origin::at(from(by, &self.proxies)).around(deed).await
    }

    async fn caller(&self, by: &Visitor) -> Result<Caller> {
        let credentials = understood(&by.credentials);
        let (limiter, from) = (self.limiter.as_ref(), from(by, &self.proxies));
        let admitted =
            rate_limit::admit_call(&self.identity, limiter, self.calls.as_ref(), &credentials, from).await;
        let caller = admitted.map_err(refused)?.caller;
        if caller.is_known() {
            return Ok(caller);
        }
        let message = "Say who you are: send a login name and a password".to_owned();
        Err(UserError::Refused(ErrorCode::AuthenticationFailed, message))
    }

    /// The caller, if they may manage accounts. That they may not is written down; what they do is, by the accounts.
    async fn admin(&self, by: &Visitor, action: &'static str, login_name: &str) -> Result<Caller> {
        let caller = self.caller(by).await?;
        // As over HTTP: a key that somebody found makes nothing that outlives it.
        if caller.is_admin() && caller.may_write() && by_no_key(&understood(&by.credentials)).is_ok() {
            return Ok(caller);
        }
        Err(self.denied(&caller, action, login_name))
    }

    fn denied(&self, caller: &Caller, action: &'static str, login_name: &str) -> UserError {
        self.identity.note_denied(caller, action, login_name);
        denied()
    }

    async fn hash(&self, password: SecretString) -> Result<Phc> {
        if let Some(fault) = password::fault(&password, self.identity.shortest_password()) {
            return Err(UserError::Refused(ErrorCode::ValidationFailed, fault));
        }
        self.identity.passwords().hash(password).await.map_err(|e: PasswordError| refused(e.into()))
    }
}

fn denied() -> UserError {
    UserError::Refused(ErrorCode::PermissionDenied, "Access Denied".to_owned())
}

fn refused(refused: Refused) -> UserError {
    let code = refused.code();
    if code == ErrorCode::InternalError {
        tracing::error!(error = %refused, "accounts failed");
        return UserError::Refused(code, "accounts failed; the log says why".to_owned());
    }
    UserError::Refused(code, refused.to_string())
}

fn failed(error: AccountError) -> UserError {
    match error {
        AccountError::NotFound(name) => UserError::NotFound(name),
        AccountError::Exists(name) => UserError::Conflict(name),
        AccountError::Store(error) => refused(error.into()),
        other @ (AccountError::NoSuchKey(_) | AccountError::Invalid(_)) => {
            UserError::Refused(other.code(), other.to_string())
        }
    }
}

/// Why an account is not shown.
struct Unseen(UserError);

impl From<Error> for Unseen {
    fn from(error: Error) -> Self {
        Self(refused(error.into()))
    }
}

impl Unseen {
    const fn code(&self) -> ErrorCode {
        match &self.0 {
            UserError::NotFound(_) => ErrorCode::UserNotFound,
            UserError::Conflict(_) => ErrorCode::StreamAlreadyExists,
            UserError::Refused(code, _) => *code,
        }
    }
}

fn roles(groups: Vec<String>) -> Vec<String> {
    groups.into_iter().map(|group| if group == ADMINS { ADMIN.to_owned() } else { group }).collect()
}

fn told(account: &Account) -> UserDetails {
    let group = |role: &String| if role == ADMIN { ADMINS.to_owned() } else { role.clone() };
    UserDetails {
        login_name: account.login_name.clone(),
        full_name: account.full_name.clone(),
        groups: account.roles.iter().map(group).collect(),
        last_updated: account.updated_at,
        disabled: account.disabled,
    }
}

#[async_trait::async_trait]
impl Users for Managed {
    async fn create(&self, by: &Visitor, user: NewUser) -> Result<()> {
        self.within(by, async {
            let by = self.admin(by, "create-account", &user.login_name).await?;
            let hash = self.hash(user.password).await?;
            let NewUser { login_name, full_name, groups, .. } =
                NewUser { password: SecretString::default(), ..user };
            let account = NewAccount { login_name, full_name, roles: roles(groups), hash };
            self.identity.accounts().create(account, by.id()).await.map_err(failed)
        })
        .await
    }

    async fn update(&self, by: &Visitor, user: NewUser) -> Result<()> {
        self.within(by, async {
            let by = self.admin(by, "update-account", &user.login_name).await?;
            let accounts = self.identity.accounts();
            let hash = if user.password.expose_secret().is_empty() {
                None
            } else {
                Some(self.hash(user.password).await?)
            };
            let updated =
                accounts.update(&user.login_name, Some(user.full_name), Some(roles(user.groups)), by.id());
            updated.await.map_err(failed)?;
            match hash {
                Some(hash) => accounts.set_password(&user.login_name, hash, by.id()).await.map_err(failed),
                None => Ok(()),
            }
        })
        .await
    }

    async fn delete(&self, by: &Visitor, login_name: &str) -> Result<()> {
        self.within(by, async {
            let by = self.admin(by, "delete-account", login_name).await?;
            self.identity.accounts().delete(login_name, by.id()).await.map_err(failed)
        })
        .await
    }

    async fn set_enabled(&self, by: &Visitor, login_name: &str, enabled: bool) -> Result<()> {
        self.within(by, async {
            let action = if enabled { "enable-account" } else { "disable-account" };
            let by = self.admin(by, action, login_name).await?;
            self.identity.accounts().set_enabled(login_name, enabled, by.id()).await.map_err(failed)
        })
        .await
    }

    async fn details(&self, by: &Visitor, login_name: Option<&str>) -> Result<Vec<UserDetails>> {
        self.within(by, async {
            let by = self.caller(by).await?;
            let seen = async {
                if !by.is_admin() && login_name != Some(by.id()) {
                    return Err(Unseen(denied()));
                }
                let all = self.identity.accounts().all().await?;
                match login_name {
                    None => Ok(all.iter().map(|account| told(account)).collect()),
                    Some(name) => match all.iter().find(|account| account.login_name == name) {
                        Some(account) => Ok(vec![told(account)]),
                        None => Err(Unseen(UserError::NotFound(name.to_owned()))),
                    },
                }
            };
            // Only what is another's is written down.
            let seen = if login_name == Some(by.id()) {
                seen.await
            } else {
                let about = login_name.unwrap_or("$all");
                self.identity.shown(&by, "read-account", about, seen, Unseen::code).await
            };
            seen.map_err(|Unseen(error)| error)
        })
        .await
    }

    async fn change_password(
        &self,
        by: &Visitor,
        login_name: &str,
        current: SecretString,
        new: SecretString,
    ) -> Result<()> {
        self.within(by, async {
            let from = from(by, &self.proxies);
            let by = self.caller(by).await?;
            // Who guesses at another's password does so under the same lock-out as who logs in.
            if !(by.is_admin() || by.id() == login_name) || !by.may_write() {
                return Err(self.denied(&by, "set-password", login_name));
            }
            let known: Option<Arc<Account>> =
                self.identity.accounts().find(login_name).await.map_err(|e| refused(e.into()))?;
            if known.is_none() {
                return Err(UserError::NotFound(login_name.to_owned()));
            }
            self.identity.log_in(login_name, &current, from).await.map_err(|error| match error {
                Refused::Credentials(_) => denied(),
                other => refused(other),
            })?;
            let hash = self.hash(new).await?;
            self.identity.accounts().set_password(login_name, hash, by.id()).await.map_err(failed)
        })
        .await
    }

    async fn reset_password(&self, by: &Visitor, login_name: &str, new: SecretString) -> Result<()> {
        self.within(by, async {
            let by = self.admin(by, "set-password", login_name).await?;
            let hash = self.hash(new).await?;
            self.identity.accounts().set_password(login_name, hash, by.id()).await.map_err(failed)
        })
        .await
    }
}
