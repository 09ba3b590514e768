//! The routes of identity.

use super::{Caller, Credentials, Identity, ManageError, manage};
use crate::{
    endpoint,
    http::{ApiError, Created, Detail, Presented, Routes, Success, ValidJson, ValidPath},
};
use axum::extract::State;
use event_store::ErrorCode;
use models::{
    AccessToken, Account, AccountDeleted, AccountDto, AccountList, AccountMade, AccountPath,
    AccountUpdateDto, ApiKeyDto, ApiKeyList, ApiKeyMade, ApiKeyPath, ApiKeyRevoked, Myself, PasswordDto,
};
use secrecy::ExposeSecret as _;

/// The routes.
pub fn routes(identity: Identity) -> Routes {
    Routes::new("Identity", "Who calls: tokens, accounts and API keys.")
        .post("/api/auth/token", create_token, create_token::DOC)
        .get("/api/auth/me", get_myself, get_myself::DOC)
        .put("/api/auth/password", put_password, put_password::DOC)
        .get("/api/auth/keys", list_keys, list_keys::DOC)
        .post("/api/auth/keys", create_key, create_key::DOC)
        .delete("/api/auth/keys/{keyId}", revoke_key, revoke_key::DOC)
        .get("/api/auth/accounts", list_accounts, list_accounts::DOC)
        .post("/api/auth/accounts", create_account, create_account::DOC)
        .patch("/api/auth/accounts/{loginName}", update_account, update_account::DOC)
        .delete("/api/auth/accounts/{loginName}", delete_account, delete_account::DOC)
        .with_state(identity)
}

type Answer<T> = Result<T, ApiError>;

impl From<ManageError> for ApiError {
    fn from(error: ManageError) -> Self {
        let (code, message) = (error.code(), error.to_string());
        match error {
            ManageError::Invalid(field, message) => Self::invalid(vec![Detail::new(field, message)]),
            ManageError::Refused(refused) => refused.into(),
            ManageError::Account(super::accounts::AccountError::Store(error)) => error.into(),
            ManageError::Account(_) | ManageError::Denied(_) => Self::new(code, message),
        }
    }
}

endpoint! {
    /// Gives a token for a login name and a password.
    ///
    /// They come as `Authorization: Basic`. The token is a JSON Web Token to be sent as `Authorization: Bearer`; it ends
    /// after its time, and with the password that it was given for.
    [AuthenticationFailed]
    async fn create_token(State(identity): State<Identity>, presented: Presented) -> Answer<Success<AccessToken>> {
        let Credentials::Basic { login, password } = &presented.credentials else {
            let message = "Send a login name and a password as Authorization: Basic";
            return Err(ApiError::new(ErrorCode::AuthenticationFailed, message));
        };
        let issued = identity.issue(login, password, presented.from).await?;
        Ok(Success(AccessToken::bearer(issued.token.expose_secret(), issued.good_for)))
    }
}

endpoint! {
    /// Shows whom the service takes the caller for.
    []
    async fn get_myself(caller: Caller) -> Answer<Success<Myself>> {
        Ok(Success(manage::myself(&caller)))
    }
}

endpoint! {
    /// Gives the caller's own account another password.
    ///
    /// The one of now is asked for again. Tokens that were given for it end. API keys stay good unless `revokeKeys` says
    /// otherwise: whoever changes a password that others got to know should revoke what they may have made with it.
    [AuthenticationFailed, PermissionDenied, UserNotFound]
    async fn put_password(
        State(identity): State<Identity>,
        caller: Caller,
        presented: Presented,
        ValidJson(dto): ValidJson<PasswordDto>,
    ) -> Answer<Success<Myself>> {
        Ok(Success(identity.change_own_password(&caller, presented.from, dto).await?))
    }
}

endpoint! {
    /// Lists the caller's own API keys; for administrators, all of them.
    []
    async fn list_keys(State(identity): State<Identity>, caller: Caller) -> Answer<Success<ApiKeyList>> {
        Ok(Success(identity.list_keys(&caller).await?))
    }
}

endpoint! {
    /// Makes an API key for the caller's own account; for administrators, for any.
    ///
    /// The key is shown here, once. It can do what its account can, as far as its scope goes. A key makes no other keys. An
    /// account has at most 100 keys that are good; those that expired do not count.
    [PermissionDenied, UserNotFound]
    async fn create_key(
        State(identity): State<Identity>,
        caller: Caller,
        presented: Presented,
        ValidJson(dto): ValidJson<ApiKeyDto>,
    ) -> Answer<Created<ApiKeyMade>> {
        Ok(Created(identity.create_key(&caller, &presented.credentials, dto).await?))
    }
}

endpoint! {
    /// Revokes an API key of the caller's own; for administrators, any.
    [PermissionDenied, UserNotFound]
    async fn revoke_key(
        State(identity): State<Identity>,
        caller: Caller,
        ValidPath(path): ValidPath<ApiKeyPath>,
    ) -> Answer<Success<ApiKeyRevoked>> {
        Ok(Success(identity.revoke_key(&caller, &path.key_id).await?))
    }
}

endpoint! {
    /// Lists all accounts, for administrators.
    [PermissionDenied]
    async fn list_accounts(State(identity): State<Identity>, caller: Caller) -> Answer<Success<AccountList>> {
        Ok(Success(identity.list_accounts(&caller).await?))
    }
}

endpoint! {
    /// Makes an account, for administrators.
    ///
    /// Without a password one is made up, and shown here, once.
    [PermissionDenied, StreamAlreadyExists]
    async fn create_account(
        State(identity): State<Identity>,
        caller: Caller,
        presented: Presented,
        ValidJson(dto): ValidJson<AccountDto>,
    ) -> Answer<Created<AccountMade>> {
        Ok(Created(identity.create_account(&caller, &presented.credentials, dto).await?))
    }
}

endpoint! {
    /// Changes an account's name, roles or password, revokes its API keys, or lets nobody in with it, for administrators.
    [PermissionDenied, UserNotFound]
    async fn update_account(
        State(identity): State<Identity>,
        caller: Caller,
        presented: Presented,
        ValidPath(path): ValidPath<AccountPath>,
        ValidJson(dto): ValidJson<AccountUpdateDto>,
    ) -> Answer<Success<Account>> {
        let updated = identity.update_account(&caller, &presented.credentials, path.login_name.as_str(), dto);
        Ok(Success(updated.await?))
    }
}

endpoint! {
    /// Deletes an account and its keys, for administrators. The user's data stays: see `DELETE /api/users/{userId}`.
    [PermissionDenied, UserNotFound]
    async fn delete_account(
        State(identity): State<Identity>,
        caller: Caller,
        presented: Presented,
        ValidPath(path): ValidPath<AccountPath>,
    ) -> Answer<Success<AccountDeleted>> {
        let deleted = identity.delete_account(&caller, &presented.credentials, path.login_name.as_str());
        Ok(Success(deleted.await?))
    }
}
