//! Accounts, and who a caller is.

use crate::{DateTime, UserId, stream::all_required};
use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whom the service takes a caller for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Myself {
    /// The caller's id, as owners and permissions name it; `system` where nobody must say who they are.
    #[schemars(example = &"bob")]
    pub id: String,
    /// The roles that the credentials are good for, without `role:`.
    #[schemars(example = ["admin"])]
    pub roles: Vec<String>,
    /// Whether the caller may do everything.
    pub is_admin: bool,
    /// Whether the credentials are good for reading alone.
    pub read_only: bool,
}

/// An account: of a person, or of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// What it logs in as; also the user's id.
    #[schemars(example = &"bob")]
    pub login_name: String,
    /// Its name for people.
    #[schemars(example = &"Bob Builder")]
    pub full_name: String,
    /// The roles it has, without `role:`; `admin` may do everything.
    pub roles: Vec<String>,
    /// Whether nobody may come in with it now.
    pub disabled: bool,
    /// When it was changed last.
    pub updated_at: DateTime,
}

/// All accounts, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountList {
    /// The accounts.
    pub accounts: Vec<Account>,
}

/// An account to be made.
#[derive(Debug, Clone, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AccountDto {
    /// What it is to log in as.
    #[garde(dive)]
    pub login_name: UserId,
    /// Its name for people.
    #[serde(default)]
    #[garde(length(chars, max = 256))]
    pub full_name: String,
    /// Its roles, without `role:`.
    #[serde(default)]
    #[garde(length(max = 64), inner(length(bytes, min = 1, max = 64)))]
    pub roles: Vec<String>,
    /// Its password; one is made up, and shown once, if there is none here.
    #[garde(dive)]
    pub password: Option<Password>,
}

/// What to change of an account; what is left out stays.
#[derive(Debug, Clone, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AccountUpdateDto {
    /// Its name for people.
    #[garde(length(chars, max = 256))]
    pub full_name: Option<String>,
    /// Its roles, all of them.
    #[garde(inner(length(max = 64), inner(length(bytes, min = 1, max = 64))))]
    pub roles: Option<Vec<String>>,
    /// Whether nobody may come in with it.
    #[garde(skip)]
    pub disabled: Option<bool>,
    /// Another password. Its tokens end.
    #[garde(dive)]
    pub password: Option<Password>,
    /// Whether to revoke all its API keys, in one step with another password if there is one.
    #[serde(default)]
    #[garde(skip)]
    pub revoke_keys: bool,
}

/// Another password for one's own account.
#[derive(Debug, Clone, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PasswordDto {
    /// The password that is good now.
    #[garde(dive)]
    pub current_password: Password,
    /// The one that is to be.
    #[garde(dive)]
    pub new_password: Password,
    /// Whether to revoke all one's API keys in one step with it. They stay good otherwise.
    #[serde(default)]
    #[garde(skip)]
    pub revoke_keys: bool,
}

/// A password: up to 1024 bytes. How short a new one may be is the service's to say (8 characters where callers must say who
/// they are). It is never shown.
#[derive(Clone, Deserialize, JsonSchema, Validate)]
#[serde(transparent)]
#[garde(transparent)]
#[schemars(extend("format" = "password", "writeOnly" = true))]
pub struct Password(#[garde(length(bytes, min = 1, max = 1024))] String);

impl Password {
    /// The password, for whoever checks or hashes it.
    #[must_use]
    pub fn expose(self) -> String {
        self.0
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(…)")
    }
}

/// An account that was made.
#[derive(Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = all_required)]
pub struct AccountMade {
    /// The account.
    pub account: Account,
    /// The password that was made up for it: it is kept nowhere, and never shown again. Null if one was given.
    pub password: Option<String>,
}

impl std::fmt::Debug for AccountMade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccountMade").field("account", &self.account).finish_non_exhaustive()
    }
}

/// An account that was deleted, and its keys with it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountDeleted {
    /// The account.
    pub login_name: String,
}

/// The account of a path.
#[derive(Debug, Clone, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase")]
pub struct AccountPath {
    /// The account.
    #[garde(dive)]
    pub login_name: UserId,
}
