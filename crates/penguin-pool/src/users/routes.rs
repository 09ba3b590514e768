//! The routes: parse, call, answer.

use super::{Expect, Place, Users, UsersError};
use crate::{
    catalogue::CatalogueError,
    endpoint,
    http::{
        ApiError, Detail, Download, Held, Preconditions, Routes, Success, Tagged, Tags, ValidJson, ValidPath,
        ValidQuery,
    },
    security::Caller,
};
use axum::extract::State;
use futures::TryStreamExt as _;
use models::{
    DataHistoryQuery, HistoryQuery, LoanDto, LoanPath, LoansQuery, NoQuery, OfferDto, OfferPath, OffersQuery,
    UserData, UserDataCategory, UserDataDeleted, UserDataDto, UserDataHistory, UserDataList,
    UserDataPatchDto, UserDataPath, UserDataQuery, UserDataType, UserErased, UserExport, UserOverview,
    UserPage, UserPath, UsersQuery,
};

/// The routes of users' data.
#[must_use]
pub fn routes(users: Users) -> Routes {
    Routes::new("users", "Users' data: profiles, preferences, activity, loans and offers")
        .get("/api/users", list_users, list_users::DOC)
        .get("/api/users/{userId}", get_user, get_user::DOC)
        .delete("/api/users/{userId}", erase_user, erase_user::DOC)
        .get("/api/users/{userId}/export", export_user, export_user::DOC)
        .get("/api/users/{userId}/loans", list_loans, list_loans::DOC)
        .get("/api/users/{userId}/loans/{loanId}", get_loan, get_loan::DOC)
        .put("/api/users/{userId}/loans/{loanId}", put_loan, put_loan::DOC)
        .patch("/api/users/{userId}/loans/{loanId}", patch_loan, patch_loan::DOC)
        .delete("/api/users/{userId}/loans/{loanId}", delete_loan, delete_loan::DOC)
        .get("/api/users/{userId}/loans/{loanId}/history", loan_history, loan_history::DOC)
        .get("/api/users/{userId}/offers", list_offers, list_offers::DOC)
        .get("/api/users/{userId}/offers/{offerId}", get_offer, get_offer::DOC)
        .put("/api/users/{userId}/offers/{offerId}", put_offer, put_offer::DOC)
        .patch("/api/users/{userId}/offers/{offerId}", patch_offer, patch_offer::DOC)
        .delete("/api/users/{userId}/offers/{offerId}", delete_offer, delete_offer::DOC)
        .get("/api/users/{userId}/offers/{offerId}/history", offer_history, offer_history::DOC)
        .get("/api/users/{userId}/{type}", get_user_data, get_user_data::DOC)
        .put("/api/users/{userId}/{type}", put_user_data, put_user_data::DOC)
        .patch("/api/users/{userId}/{type}", patch_user_data, patch_user_data::DOC)
        .get("/api/users/{userId}/{type}/history", user_data_history, user_data_history::DOC)
        .with_state(users)
}

type Answer<T> = Result<T, ApiError>;

impl From<UsersError> for ApiError {
    fn from(error: UsersError) -> Self {
        let (code, message) = (error.code(), error.to_string());
        match error {
            UsersError::Store(error) => error.into(),
            UsersError::Catalogue(CatalogueError::Store(error)) => error.into(),
            UsersError::Catalogue(CatalogueError::Invalid { path, message }) => {
                Self::invalid(vec![Detail::new(path, message)])
            }
            UsersError::Archived(stream) => Self::new(code, message).stream(stream.as_str()),
            UsersError::Invalid(faults) => {
                Self::invalid(faults.into_iter().map(|(path, message)| Detail::new(path, message)).collect())
            }
            UsersError::Catalogue(_)
            | UsersError::NotFound(_)
            | UsersError::Erased(_)
            | UsersError::Keys(_)
            | UsersError::Denied(_)
            | UsersError::TooLarge { .. } => Self::new(code, message),
        }
    }
}

endpoint! {
    /// Lists users, for administrators.
    ///
    /// A user is whoever has data here.
    [PermissionDenied]
    async fn list_users(
        State(users): State<Users>,
        caller: Caller,
        ValidQuery(query): ValidQuery<UsersQuery>,
    ) -> Answer<Success<UserPage>> {
        Ok(Success(users.users(&caller, query).await?))
    }
}

endpoint! {
    /// Shows all that a user has, as far as the caller may read it.
    [UserNotFound, UserErased]
    async fn get_user(
        State(users): State<Users>,
        caller: Caller,
        ValidPath(path): ValidPath<UserPath>,
        ValidQuery(_): ValidQuery<NoQuery>,
    ) -> Answer<Success<UserOverview>> {
        Ok(Success(users.overview(&caller, &path.user_id).await?))
    }
}

endpoint! {
    /// Erases a user, for the user and administrators.
    ///
    /// The key of the user's data is destroyed, so that every copy and backup of it is unreadable, and the user's streams are
    /// closed for good. The id cannot be used again. Safe to repeat.
    ///
    /// What was written without a key is no longer served by anything, nor found, but its bytes stay in the log's files and
    /// their backups: `keyDestroyed` is false then. The account that the user logs in with is another thing: delete it as
    /// well (`DELETE /api/auth/accounts/{loginName}`).
    [PermissionDenied, UserNotFound, StorageFull]
    async fn erase_user(
        State(users): State<Users>,
        caller: Caller,
        ValidPath(path): ValidPath<UserPath>,
    ) -> Answer<Success<UserErased>> {
        Ok(Success(users.erase(&caller, &path.user_id).await?))
    }
}

endpoint! {
    /// Gives all that a user has as one JSON document, for the user and administrators.
    ///
    /// It is written as it is read: one that ends in the middle could not be finished.
    [PermissionDenied, UserNotFound, UserErased]
    async fn export_user(
        State(users): State<Users>,
        caller: Caller,
        ValidPath(path): ValidPath<UserPath>,
    ) -> Answer<Download<UserExport>> {
        let name = format!("{}.json", path.user_id);
        let export = users.export(&caller, &path.user_id).await?;
        Ok(Download::new(name, export.map_err(|error| std::io::Error::other(error.to_string()))))
    }
}

endpoint! {
    /// Reads a user's data of one type as it is now.
    [StreamNotFound, StreamDeleted, PermissionDenied, UserErased]
    async fn get_user_data(
        State(users): State<Users>,
        caller: Caller,
        preconditions: Preconditions,
        ValidPath(path): ValidPath<UserDataPath>,
        ValidQuery(query): ValidQuery<UserDataQuery>,
    ) -> Answer<Held<UserData>> {
        let data = users.get(&caller, &single(path, query.category)?).await?;
        Ok(tagged(data).unless(&preconditions))
    }
}

endpoint! {
    /// Sets a user's data of one type, all of it.
    ///
    /// The stream that keeps it is made at first: the user's alone, or read by everybody if it is public. Fields that
    /// are not known are kept as they come.
    [WrongExpectedRevision, StreamArchived, StreamDeleted, EventTooLarge, PermissionDenied, StreamNotFound, UserErased, StorageFull]
    async fn put_user_data(
        State(users): State<Users>,
        caller: Caller,
        preconditions: Preconditions,
        ValidPath(path): ValidPath<UserDataPath>,
        ValidQuery(query): ValidQuery<UserDataQuery>,
        ValidJson(dto): ValidJson<UserDataDto>,
    ) -> Answer<Tagged<UserData>> {
        let place = single(path, query.category)?;
        Ok(tagged(users.put(&caller, &place, dto, expect(&preconditions)?).await?))
    }
}

endpoint! {
    /// Changes a user's data of one type by a JSON Merge Patch (RFC 7396).
    [WrongExpectedRevision, StreamNotFound, StreamArchived, StreamDeleted, EventTooLarge, PermissionDenied, UserErased, StorageFull]
    async fn patch_user_data(
        State(users): State<Users>,
        caller: Caller,
        preconditions: Preconditions,
        ValidPath(path): ValidPath<UserDataPath>,
        ValidQuery(query): ValidQuery<UserDataQuery>,
        ValidJson(dto): ValidJson<UserDataPatchDto>,
    ) -> Answer<Tagged<UserData>> {
        let place = single(path, query.category)?;
        Ok(tagged(users.patch(&caller, &place, dto, expect(&preconditions)?).await?))
    }
}

endpoint! {
    /// Reads what a user's data of one type was.
    [StreamNotFound, StreamDeleted, PermissionDenied, UserErased]
    async fn user_data_history(
        State(users): State<Users>,
        caller: Caller,
        ValidPath(path): ValidPath<UserDataPath>,
        ValidQuery(query): ValidQuery<DataHistoryQuery>,
    ) -> Answer<Success<UserDataHistory>> {
        let (category, query) = query.into_parts();
        Ok(Success(users.history(&caller, &single(path, category)?, query).await?))
    }
}

endpoint! {
    /// Lists a user's loans, by id.
    ///
    /// Whoever is neither the user nor an administrator finds the public ones alone.
    []
    async fn list_loans(
        State(users): State<Users>,
        caller: Caller,
        ValidPath(path): ValidPath<UserPath>,
        ValidQuery(query): ValidQuery<LoansQuery>,
    ) -> Answer<Success<UserDataList>> {
        Ok(Success(users.list(&caller, &path.user_id, UserDataType::Loans, query.into()).await?))
    }
}

endpoint! {
    /// Reads a loan as it is now.
    [StreamNotFound, StreamDeleted, PermissionDenied, UserErased]
    async fn get_loan(
        State(users): State<Users>,
        caller: Caller,
        preconditions: Preconditions,
        ValidPath(path): ValidPath<LoanPath>,
        ValidQuery(_): ValidQuery<NoQuery>,
    ) -> Answer<Held<UserData>> {
        Ok(tagged(users.get(&caller, &loan(path)).await?).unless(&preconditions))
    }
}

endpoint! {
    /// Sets a loan, all of it.
    [WrongExpectedRevision, StreamArchived, StreamDeleted, EventTooLarge, PermissionDenied, StreamNotFound, UserErased, StorageFull]
    async fn put_loan(
        State(users): State<Users>,
        caller: Caller,
        preconditions: Preconditions,
        ValidPath(path): ValidPath<LoanPath>,
        ValidJson(dto): ValidJson<LoanDto>,
    ) -> Answer<Tagged<UserData>> {
        Ok(tagged(users.put(&caller, &loan(path), dto.into(), expect(&preconditions)?).await?))
    }
}

endpoint! {
    /// Changes a loan by a JSON Merge Patch (RFC 7396).
    [WrongExpectedRevision, StreamNotFound, StreamArchived, StreamDeleted, EventTooLarge, PermissionDenied, UserErased, StorageFull]
    async fn patch_loan(
        State(users): State<Users>,
        caller: Caller,
        preconditions: Preconditions,
        ValidPath(path): ValidPath<LoanPath>,
        ValidJson(dto): ValidJson<UserDataPatchDto>,
    ) -> Answer<Tagged<UserData>> {
        Ok(tagged(users.patch(&caller, &loan(path), dto, expect(&preconditions)?).await?))
    }
}

endpoint! {
    /// Deletes a loan. Its id can be used again.
    [WrongExpectedRevision, StreamNotFound, StreamDeleted, PermissionDenied, UserErased, StorageFull]
    async fn delete_loan(
        State(users): State<Users>,
        caller: Caller,
        preconditions: Preconditions,
        ValidPath(path): ValidPath<LoanPath>,
    ) -> Answer<Success<UserDataDeleted>> {
        Ok(Success(users.delete(&caller, &loan(path), expect(&preconditions)?).await?))
    }
}

endpoint! {
    /// Reads what a loan was.
    [StreamNotFound, StreamDeleted, PermissionDenied, UserErased]
    async fn loan_history(
        State(users): State<Users>,
        caller: Caller,
        ValidPath(path): ValidPath<LoanPath>,
        ValidQuery(query): ValidQuery<HistoryQuery>,
    ) -> Answer<Success<UserDataHistory>> {
        Ok(Success(users.history(&caller, &loan(path), query).await?))
    }
}

endpoint! {
    /// Lists a user's offers, by id.
    ///
    /// Whoever is neither the user nor an administrator finds the public ones alone.
    []
    async fn list_offers(
        State(users): State<Users>,
        caller: Caller,
        ValidPath(path): ValidPath<UserPath>,
        ValidQuery(query): ValidQuery<OffersQuery>,
    ) -> Answer<Success<UserDataList>> {
        Ok(Success(users.list(&caller, &path.user_id, UserDataType::Offers, query.into()).await?))
    }
}

endpoint! {
    /// Reads an offer as it is now.
    [StreamNotFound, StreamDeleted, PermissionDenied, UserErased]
    async fn get_offer(
        State(users): State<Users>,
        caller: Caller,
        preconditions: Preconditions,
        ValidPath(path): ValidPath<OfferPath>,
        ValidQuery(_): ValidQuery<NoQuery>,
    ) -> Answer<Held<UserData>> {
        Ok(tagged(users.get(&caller, &offer(path)).await?).unless(&preconditions))
    }
}

endpoint! {
    /// Sets an offer, all of it.
    [WrongExpectedRevision, StreamArchived, StreamDeleted, EventTooLarge, PermissionDenied, StreamNotFound, UserErased, StorageFull]
    async fn put_offer(
        State(users): State<Users>,
        caller: Caller,
        preconditions: Preconditions,
        ValidPath(path): ValidPath<OfferPath>,
        ValidJson(dto): ValidJson<OfferDto>,
    ) -> Answer<Tagged<UserData>> {
        Ok(tagged(users.put(&caller, &offer(path), dto.into(), expect(&preconditions)?).await?))
    }
}

endpoint! {
    /// Changes an offer by a JSON Merge Patch (RFC 7396).
    [WrongExpectedRevision, StreamNotFound, StreamArchived, StreamDeleted, EventTooLarge, PermissionDenied, UserErased, StorageFull]
    async fn patch_offer(
        State(users): State<Users>,
        caller: Caller,
        preconditions: Preconditions,
        ValidPath(path): ValidPath<OfferPath>,
        ValidJson(dto): ValidJson<UserDataPatchDto>,
    ) -> Answer<Tagged<UserData>> {
        Ok(tagged(users.patch(&caller, &offer(path), dto, expect(&preconditions)?).await?))
    }
}

endpoint! {
    /// Deletes an offer. Its id can be used again.
    [WrongExpectedRevision, StreamNotFound, StreamDeleted, PermissionDenied, UserErased, StorageFull]
    async fn delete_offer(
        State(users): State<Users>,
        caller: Caller,
        preconditions: Preconditions,
        ValidPath(path): ValidPath<OfferPath>,
    ) -> Answer<Success<UserDataDeleted>> {
        Ok(Success(users.delete(&caller, &offer(path), expect(&preconditions)?).await?))
    }
}

endpoint! {
    /// Reads what an offer was.
    [StreamNotFound, StreamDeleted, PermissionDenied, UserErased]
    async fn offer_history(
        State(users): State<Users>,
        caller: Caller,
        ValidPath(path): ValidPath<OfferPath>,
        ValidQuery(query): ValidQuery<HistoryQuery>,
    ) -> Answer<Success<UserDataHistory>> {
        Ok(Success(users.history(&caller, &offer(path), query).await?))
    }
}

fn single(path: UserDataPath, category: Option<UserDataCategory>) -> Answer<Place> {
    let unknown = |message| ApiError::invalid(vec![Detail::new("type", message)]);
    let data_type = path.data_type.get().map_err(unknown)?;
    Ok(Place { user_id: path.user_id, data_type, category })
}

fn loan(path: LoanPath) -> Place {
    Place { user_id: path.user_id, data_type: UserDataType::Loans, category: Some(path.loan_id) }
}

fn offer(path: OfferPath) -> Place {
    Place { user_id: path.user_id, data_type: UserDataType::Offers, category: Some(path.offer_id) }
}

fn tagged(data: UserData) -> Tagged<UserData> {
    let revision = data.revision;
    Tagged::new(data, revision)
}

/// What a writer's headers say of what is there.
fn expect(preconditions: &Preconditions) -> Answer<Expect<'_>> {
    let refuse = |header, message| Err(ApiError::invalid(vec![Detail::new(header, message)]));
    match (&preconditions.if_match, &preconditions.if_none_match) {
        (None, None) => Ok(Expect::Anything),
        (Some(Tags::Any), None) => Ok(Expect::Present),
        (Some(Tags::Of(revisions)), None) => Ok(Expect::At(revisions)),
        (None, Some(Tags::Any)) => Ok(Expect::Missing),
        (None, Some(Tags::Of(_))) => refuse("If-None-Match", "a write takes `*` alone"),
        (Some(_), Some(_)) => refuse("If-None-Match", "cannot stand beside If-Match"),
    }
}
