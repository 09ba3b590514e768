//! What is asked of users' data, and what is answered.

use super::{
    Currency, LoanStatus, OfferStatus, UserActivity, UserDataCategory, UserId, UserLoan, UserOffer,
    UserPreferences, UserProfile,
};
use crate::{
    DateTime, Event, JsonObject, Mark, PageLimit, ReadDirection, UserDataType,
    stream::{all_required, blank_is_none},
};
use garde::Validate;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// A user.
#[derive(Debug, Clone, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase")]
pub struct UserPath {
    #[garde(dive)]
    #[expect(missing_docs, reason = "the type says it")]
    pub user_id: UserId,
}

/// A type of a user's data.
#[derive(Debug, Clone, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase")]
pub struct UserDataPath {
    #[garde(dive)]
    #[expect(missing_docs, reason = "the type says it")]
    pub user_id: UserId,
    #[garde(skip)]
    #[serde(rename = "type")]
    #[expect(missing_docs, reason = "the type says it")]
    pub data_type: SingleDataType,
}

/// One of a user's loans.
#[derive(Debug, Clone, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase")]
pub struct LoanPath {
    #[garde(dive)]
    #[expect(missing_docs, reason = "the type says it")]
    pub user_id: UserId,
    /// The loan.
    #[garde(dive)]
    pub loan_id: UserDataCategory,
}

/// One of a user's offers.
#[derive(Debug, Clone, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase")]
pub struct OfferPath {
    #[garde(dive)]
    #[expect(missing_docs, reason = "the type says it")]
    pub user_id: UserId,
    /// The offer.
    #[garde(dive)]
    pub offer_id: UserDataCategory,
}

/// A type of data of which a user has one, or one for each category: `profile`, `preferences` or `activity`. (`loans` and
/// `offers` are collections, with paths of their own.)
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct SingleDataType(String);

impl SingleDataType {
    const ALL: [UserDataType; 3] = [UserDataType::Profile, UserDataType::Preferences, UserDataType::Activity];

    /// The type.
    ///
    /// # Errors
    /// A sentence that names all types, if it is none.
    pub fn get(&self) -> Result<UserDataType, String> {
        UserDataType::named(&self.0).filter(|named| Self::ALL.contains(named)).ok_or_else(|| {
            let all = UserDataType::ALL.map(UserDataType::as_str).join(", ");
            format!("'{}' is no type of data: there are {all}", self.0)
        })
    }
}

impl JsonSchema for SingleDataType {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "SingleDataType".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": Self::ALL.map(UserDataType::as_str), "example": "profile" })
    }
}

/// Which part of a type of data.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserDataQuery {
    /// A part of that type, kept by itself.
    #[garde(dive)]
    pub category: Option<UserDataCategory>,
}

/// Which part of a history to read.
#[derive(Debug, Clone, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HistoryQuery {
    /// At most so many.
    #[serde(default = "hundred")]
    #[garde(dive)]
    pub limit: PageLimit,
    /// Newest first unless said.
    #[serde(default = "backwards")]
    #[garde(skip)]
    pub direction: ReadDirection,
    /// The first revision to read, inclusive.
    #[garde(dive)]
    pub from: Option<Mark>,
}

/// Which part of a history to read, of a type of data that may have categories.
#[derive(Debug, Clone, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DataHistoryQuery {
    /// A part of that type, kept by itself.
    #[garde(dive)]
    pub category: Option<UserDataCategory>,
    /// At most so many.
    #[serde(default = "hundred")]
    #[garde(dive)]
    pub limit: PageLimit,
    /// Newest first unless said.
    #[serde(default = "backwards")]
    #[garde(skip)]
    pub direction: ReadDirection,
    /// The first revision to read, inclusive.
    #[garde(dive)]
    pub from: Option<Mark>,
}

impl DataHistoryQuery {
    /// The category, and the part of its history.
    #[must_use]
    pub fn into_parts(self) -> (Option<UserDataCategory>, HistoryQuery) {
        let Self { category, limit, direction, from } = self;
        (category, HistoryQuery { limit, direction, from })
    }
}

fn hundred() -> PageLimit {
    PageLimit::new(100)
}

const fn backwards() -> ReadDirection {
    ReadDirection::Backwards
}

/// Which users to list.
#[derive(Debug, Clone, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UsersQuery {
    /// At most so many.
    #[serde(default = "hundred")]
    #[garde(dive)]
    pub limit: PageLimit,
    /// Go on from `nextCursor` of the page before.
    #[serde(default, deserialize_with = "blank_is_none")]
    #[garde(length(chars, max = 64))]
    pub cursor: Option<String>,
    /// What the user's id begins with.
    #[serde(default, deserialize_with = "blank_is_none")]
    #[garde(length(chars, max = 64))]
    pub prefix: Option<String>,
}

/// `NaN` and infinities are read from a query as numbers, and compare with nothing.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde calls it so")]
fn a_number(amount: &f64, (): &()) -> garde::Result {
    if amount.is_finite() { Ok(()) } else { Err(garde::Error::new("is no number")) }
}

/// Declares which things of a collection to list.
macro_rules! list_query {
    ($(#[$attribute:meta])* $name:ident, $status:ty) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Deserialize, JsonSchema, Validate)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct $name {
            /// At most so many. A page may hold fewer, or none, and not be the last: it ends after 4 MiB of data too.
            #[serde(default = "hundred")]
            #[garde(dive)]
            pub limit: PageLimit,
            /// Go on from `nextCursor` of the page before.
            #[serde(default, deserialize_with = "blank_is_none")]
            #[garde(length(chars, max = 4096))]
            pub cursor: Option<String>,
            /// How it stands.
            #[serde(default, deserialize_with = "blank_is_none")]
            #[garde(skip)]
            pub status: Option<$status>,
            /// In which currency.
            #[serde(default, deserialize_with = "blank_is_none")]
            #[garde(dive)]
            pub currency: Option<Currency>,
            /// At least so much.
            #[serde(default, deserialize_with = "blank_is_none")]
            #[garde(inner(custom(a_number)))]
            pub min_amount: Option<f64>,
            /// At most so much.
            #[serde(default, deserialize_with = "blank_is_none")]
            #[garde(inner(custom(a_number)))]
            pub max_amount: Option<f64>,
        }
    };
}

list_query! {
    /// Which loans to list. Filters that are given must all hold.
    LoansQuery, LoanStatus
}

list_query! {
    /// Which offers to list. Filters that are given must all hold.
    OffersQuery, OfferStatus
}

/// A user's data to be set, all of it.
#[derive(Debug, Clone, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserDataDto {
    /// The data, at most 1 MiB. Kept as it is written, fields that are not known too.
    #[garde(skip)]
    #[schemars(with = "SingleData")]
    pub data: JsonObject,
    /// Whether everybody may read it. As before unless said, and at first not. Where it becomes public, what is written from
    /// then on is: what was written before stays private.
    #[garde(skip)]
    pub is_public: Option<bool>,
}

/// A loan to be set, all of it.
#[derive(Debug, Clone, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoanDto {
    /// The loan, at most 1 MiB. Kept as it is written, fields that are not known too.
    #[garde(skip)]
    #[schemars(with = "UserLoan")]
    pub data: JsonObject,
    /// Whether everybody may read it. As before unless said, and at first not. Where it becomes public, what is written from
    /// then on is: what was written before stays private.
    #[garde(skip)]
    pub is_public: Option<bool>,
}

/// An offer to be set, all of it.
#[derive(Debug, Clone, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OfferDto {
    /// The offer, at most 1 MiB. Kept as it is written, fields that are not known too.
    #[garde(skip)]
    #[schemars(with = "UserOffer")]
    pub data: JsonObject,
    /// Whether everybody may read it. As before unless said, and at first not. Where it becomes public, what is written from
    /// then on is: what was written before stays private.
    #[garde(skip)]
    pub is_public: Option<bool>,
}

impl From<LoanDto> for UserDataDto {
    fn from(LoanDto { data, is_public }: LoanDto) -> Self {
        Self { data, is_public }
    }
}

impl From<OfferDto> for UserDataDto {
    fn from(OfferDto { data, is_public }: OfferDto) -> Self {
        Self { data, is_public }
    }
}

/// A change of a user's data: a JSON Merge Patch (RFC 7396) of what `PUT` sets. What is left out stays, null takes away.
#[derive(Debug, Clone, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(example = serde_json::json!({ "data": { "displayName": "Bob", "bio": null } }))]
pub struct UserDataPatchDto {
    /// The change of the data.
    #[garde(skip)]
    pub data: Option<JsonObject>,
    /// Whether everybody may read it. Where it becomes public, what is written from then on is: what was written before stays
    /// private.
    #[garde(skip)]
    pub is_public: Option<bool>,
}

/// What the data of a type with one of it is.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged, inline)]
#[expect(missing_docs, reason = "the types say it")]
pub enum SingleData {
    Profile(UserProfile),
    Preferences(UserPreferences),
    Activity(UserActivity),
}

/// What the data of any type is.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged, inline)]
#[expect(missing_docs, reason = "the types say it")]
pub enum AnyUserData {
    Profile(UserProfile),
    Preferences(UserPreferences),
    Activity(UserActivity),
    Loan(UserLoan),
    Offer(UserOffer),
}

/// A user's data as it is now, or as it was at a revision.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserData {
    /// Whose it is.
    #[schemars(example = &"bob")]
    pub user_id: String,
    /// What kind of data it is.
    #[serde(rename = "type")]
    pub data_type: UserDataType,
    /// Which part of that kind; for a loan or an offer its id. Left out for all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// The data, all of it, as it was written.
    #[schemars(with = "AnyUserData")]
    pub data: JsonObject,
    /// Whether everybody could read it when it was written. Permissions that the stream was given since stand in the stream.
    pub is_public: bool,
    /// Its revision: in quotes it is the `ETag`.
    pub revision: u64,
    /// When it was written.
    pub updated_at: DateTime,
    /// The event that wrote it.
    #[schemars(extend("format" = "uuid"))]
    pub event_id: String,
}

/// A part of what a user's data was.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = all_required)]
pub struct UserDataHistory {
    /// What it was, in the order asked. A page may hold fewer than `limit`, or none, and not be the last.
    pub entries: Vec<UserData>,
    /// Whether there is more in this direction.
    pub has_more: bool,
    /// What to give as `from` for the next page; null at the end.
    pub next_revision: Option<u64>,
}

/// A part of a user's data of one type, by name.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserDataList {
    /// The data. A page may hold fewer than `limit`, or none, and not be the last.
    pub items: Vec<UserData>,
    /// How many there are on all pages; left out where filters are given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Whether there are more after this page.
    pub has_more: bool,
    /// What to give as `cursor` for the next page; left out at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// True if the newest writes may be missing.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub stale: bool,
}

/// All that a user has, as far as the caller may read it: of each type the first 100, by name.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserOverview {
    /// The user.
    #[schemars(example = &"bob")]
    pub user_id: String,
    /// Who the user is, and its categories.
    pub profile: UserDataList,
    /// What the user likes, and its categories.
    pub preferences: UserDataList,
    /// What the user did, and its categories.
    pub activity: UserDataList,
    /// What the user borrowed.
    pub loans: UserDataList,
    /// What the user lends.
    pub offers: UserDataList,
}

/// A user in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListedUser {
    /// The user.
    #[schemars(example = &"bob")]
    pub user_id: String,
    /// How many streams keep the user's data.
    pub streams: u64,
}

/// A part of the list of users.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserPage {
    /// The users, by id.
    pub users: Vec<ListedUser>,
    /// How many users there are on all pages.
    pub total: u64,
    /// Whether there are more after this page.
    pub has_more: bool,
    /// What to give as `cursor` for the next page; left out at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// True if the newest writes may be missing.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub stale: bool,
}

/// A user that was erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserErased {
    /// Always true.
    #[schemars(extend("const" = true))]
    pub erased: bool,
    /// Whether there was a key that was destroyed: what it encrypted is unreadable in every copy. What was written without
    /// one is no longer served, but its bytes stay in the log's files and their backups.
    pub key_destroyed: bool,
    /// How many streams were closed now.
    pub streams_closed: u64,
    /// True if the newest streams may not be closed yet: ask again.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub stale: bool,
}

/// All that a user has.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserExport {
    /// The user.
    #[schemars(example = &"bob")]
    pub user_id: String,
    /// When it was begun.
    pub exported_at: DateTime,
    /// The streams that keep it.
    pub streams: Vec<UserExportStream>,
}

/// A stream of a user's, whole.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = all_required)]
pub struct UserExportStream {
    /// The stream.
    #[schemars(example = &"user-bob-profile")]
    pub name: String,
    /// What kind of data it keeps.
    #[serde(rename = "type")]
    pub data_type: UserDataType,
    /// Which part of that kind; null for all of it.
    pub category: Option<String>,
    /// Its metadata, as the store keeps it.
    pub metadata: Map<String, Value>,
    /// All its events, oldest first.
    pub events: Vec<Event>,
}

/// A loan or an offer that was deleted.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct UserDataDeleted {
    /// Always true.
    #[schemars(extend("const" = true))]
    pub deleted: bool,
}
