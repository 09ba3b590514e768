//! API keys.

use crate::{DateTime, UserId, stream::all_required};
use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// For how many days a key is good, if it is not said.
const DAYS: u32 = 90;

/// How much of what its account may do a key is good for.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum KeyScope {
    /// Read, and nothing else.
    #[default]
    Read,
    /// Read and write, without the role `admin`.
    Write,
    /// All of it.
    Admin,
}

impl KeyScope {
    /// Every scope, the least first.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// The scope as documents and the command line write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

/// An API key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = all_required)]
pub struct ApiKey {
    /// What it is known by.
    pub id: String,
    /// The account that it acts for.
    #[schemars(example = &"bob")]
    pub login_name: String,
    /// What it is for.
    #[schemars(example = &"the nightly report")]
    pub label: String,
    /// How much it is good for.
    pub scope: KeyScope,
    /// When it was made.
    pub created_at: DateTime,
    /// From when on it is good no more; null for one without end.
    pub expires_at: Option<DateTime>,
}

/// Keys, by id; those that expired too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyList {
    /// The keys.
    pub keys: Vec<ApiKey>,
}

/// A key to be made.
#[derive(Debug, Clone, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApiKeyDto {
    /// The account that it is to act for: the caller's own unless an administrator names another.
    #[garde(dive)]
    pub login_name: Option<UserId>,
    /// What it is for.
    #[serde(default)]
    #[garde(length(chars, max = 256))]
    pub label: String,
    /// How much it is to be good for.
    #[serde(default)]
    #[garde(skip)]
    pub scope: KeyScope,
    /// For how many days it is to be good; without end if 0.
    #[serde(default = "days")]
    #[garde(range(max = 3650))]
    #[schemars(example = 90)]
    pub days: u32,
}

const fn days() -> u32 {
    DAYS
}

/// A key that was made.
#[derive(Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyMade {
    /// What it is known by.
    pub id: String,
    /// The key itself, to be sent as `x-api-key`. It is kept nowhere, and never shown again.
    pub key: String,
}

impl std::fmt::Debug for ApiKeyMade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiKeyMade").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A key that was revoked.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyRevoked {
    /// What it was known by.
    pub id: String,
}

/// The key of a path.
#[derive(Debug, Clone, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyPath {
    /// What it is known by: what stands between `pp_` and the next `_`.
    #[garde(length(bytes, min = 1, max = 64))]
    pub key_id: String,
}
