//! The routes of identity.

use super::{Credentials, Identity};
use crate::{
    endpoint,
    http::{ApiError, Presented, Routes, Success},
};
use axum::extract::State;
use event_store::ErrorCode;
use models::AccessToken;
use secrecy::ExposeSecret as _;

/// The routes.
pub fn routes(identity: Identity) -> Routes {
    Routes::new("Identity", "Who calls.")
        .post("/api/auth/token", create_token, create_token::DOC)
        .with_state(identity)
}

endpoint! {
    /// Gives a token for a login name and a password.
    ///
    /// They come as `Authorization: Basic`. The token is a JSON Web Token to be sent as `Authorization: Bearer`; it ends
    /// after its time, and with the password that it was given for.
    [AuthenticationFailed]
    async fn create_token(State(identity): State<Identity>, presented: Presented) -> Result<Success<AccessToken>, ApiError> {
        let Credentials::Basic { login, password } = &presented.credentials else {
            let message = "Send a login name and a password as Authorization: Basic";
            return Err(ApiError::new(ErrorCode::AuthenticationFailed, message));
        };
        let issued = identity.issue(login, password, presented.from).await?;
        Ok(Success(AccessToken::bearer(issued.token.expose_secret(), issued.good_for)))
    }
}
