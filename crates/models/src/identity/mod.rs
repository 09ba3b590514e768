//! Who calls.

mod account;
mod api_key;

pub use account::*;
pub use api_key::*;

use schemars::JsonSchema;
use serde::Serialize;
use std::time::Duration;

/// A token, and for how long it is good.
#[derive(Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessToken {
    /// The token.
    #[schemars(example = &"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJib2IifQ.c2lnbmF0dXJl")]
    access_token: String,
    /// How it is to be sent: `Authorization: Bearer`.
    #[schemars(extend("const" = "Bearer"))]
    token_type: &'static str,
    /// For how long it is good, in seconds.
    #[schemars(example = 3600)]
    expires_in: u64,
}

impl AccessToken {
    /// A token to be sent as `Bearer`.
    #[must_use]
    pub fn bearer(token: &str, good_for: Duration) -> Self {
        Self { access_token: token.to_owned(), token_type: "Bearer", expires_in: good_for.as_secs() }
    }
}

impl std::fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessToken").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}
