//! The accounts of a node, as the face manages them: whoever keeps them decides who may.

use crate::Visitor;
use event_store::{ErrorCode, Timestamp};
use secrecy::SecretString;

/// What an account is to be.
#[derive(Clone)]
pub struct NewUser {
    /// What it logs in as.
    pub login_name: String,
    /// Its password; empty for none in a change of an account.
    pub password: SecretString,
    /// Its name for people.
    pub full_name: String,
    /// The groups it belongs to; `$admins` is that of administrators.
    pub groups: Vec<String>,
}

impl std::fmt::Debug for NewUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewUser").field("login_name", &self.login_name).finish_non_exhaustive()
    }
}

/// What is told of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserDetails {
    /// What it logs in as.
    pub login_name: String,
    /// Its name for people.
    pub full_name: String,
    /// The groups it belongs to.
    pub groups: Vec<String>,
    /// When it was changed last.
    pub last_updated: Timestamp,
    /// Whether nobody may come in with it now.
    pub disabled: bool,
}

/// Why an account was not changed or told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserError {
    /// There is no account of this login name.
    NotFound(String),
    /// There is one already.
    Conflict(String),
    /// Any other reason, in a sentence that the caller may read.
    Refused(ErrorCode, String),
}

/// The accounts of a node. Each call judges its caller: only administrators, and everybody for their own password and to
/// see their own account.
#[async_trait::async_trait]
pub trait Users: Send + Sync + std::fmt::Debug + 'static {
    /// Makes an account.
    async fn create(&self, by: &Visitor, user: NewUser) -> Result<(), UserError>;

    /// Changes an account's name for people and its groups, and its password if one is given.
    async fn update(&self, by: &Visitor, user: NewUser) -> Result<(), UserError>;

    /// Deletes an account.
    async fn delete(&self, by: &Visitor, login_name: &str) -> Result<(), UserError>;

    /// Lets an account in, or no longer.
    async fn set_enabled(&self, by: &Visitor, login_name: &str, enabled: bool) -> Result<(), UserError>;

    /// One account, or all where no name is given.
    async fn details(&self, by: &Visitor, login_name: Option<&str>) -> Result<Vec<UserDetails>, UserError>;

    /// Gives an account another password for whoever knows the one it has.
    async fn change_password(
        &self,
        by: &Visitor,
        login_name: &str,
        current: SecretString,
        new: SecretString,
    ) -> Result<(), UserError>;

    /// Gives an account another password.
    async fn reset_password(
        &self,
        by: &Visitor,
        login_name: &str,
        new: SecretString,
    ) -> Result<(), UserError>;
}
