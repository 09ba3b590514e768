//! Lists: of a user's data, and of users. The catalogue knows the streams, the store says what is in them.

use super::{Place, Result, Users, UsersError, read};
use crate::{
    catalogue::{BrowseFilter, Freshness, View},
    security::{BoundStore, Caller},
};
use event_store::{Error, StreamName};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use models::{
    LoansQuery, OffersQuery, UserData, UserDataList, UserDataType, UserId, UserOverview, UserPage,
    UserStream, UsersQuery,
};
use serde::Deserialize;

/// How many streams are read at once.
const FETCHES: usize = 16;
/// How many streams are looked at at most for one page of what passes a filter.
const STREAMS: usize = 1000;
/// How many of each type an overview holds.
const OVERVIEW: usize = 100;
/// A page ends when it has so many bytes of data, however many things were asked for.
const PAGE_BYTES: usize = 4 << 20;
/// The same for each type of an overview.
const OVERVIEW_BYTES: usize = 1 << 20;

/// Which things of a collection to list.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Listing {
    /// At most so many.
    pub limit: usize,
    /// No more once there are so many bytes of data.
    pub bytes: usize,
    /// Go on from the page before.
    pub cursor: Option<String>,
    /// How it stands.
    pub status: Option<&'static str>,
    /// In which currency.
    pub currency: Option<String>,
    /// At least and at most so much.
    pub amount: [Option<f64>; 2],
}

macro_rules! listing {
    ($query:ty) => {
        impl From<$query> for Listing {
            fn from(query: $query) -> Self {
                Self {
                    limit: query.limit.size(),
                    bytes: PAGE_BYTES,
                    cursor: query.cursor,
                    status: query.status.map(|status| status.as_str()),
                    currency: query.currency.map(|currency| currency.as_str().to_owned()),
                    amount: [query.min_amount, query.max_amount],
                }
            }
        }
    };
}
listing!(LoansQuery);
listing!(OffersQuery);

/// What filters ask of data. Data that others wrote may lack any of it.
#[derive(Deserialize)]
struct Facts {
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    currency: Option<String>,
    #[serde(default)]
    amount: Option<f64>,
}

impl Listing {
    fn is_filtered(&self) -> bool {
        self.status.is_some() || self.currency.is_some() || self.amount != [None, None]
    }

    fn lets_through(&self, data: &UserData) -> bool {
        if !self.is_filtered() {
            return true;
        }
        let Ok(facts) = serde_json::from_str::<Facts>(data.data.get()) else { return false };
        let [least, most] = self.amount;
        let amount = |holds: &dyn Fn(f64) -> bool| facts.amount.is_some_and(holds);
        self.status.is_none_or(|status| facts.status.as_deref() == Some(status))
            && self.currency.as_ref().is_none_or(|currency| facts.currency.as_ref() == Some(currency))
            && least.is_none_or(|least| amount(&|is| is >= least))
            && most.is_none_or(|most| amount(&|is| is <= most))
    }
}

impl Users {
    /// A part of a user's data of one type: the things of a collection, or the categories.
    ///
    /// It lists what the caller may read.
    ///
    /// # Errors
    /// `Catalogue`, and what the store answers.
    pub async fn list(
        &self,
        caller: &Caller,
        user_id: &UserId,
        data_type: UserDataType,
        listing: Listing,
    ) -> Result<UserDataList> {
        let own = Self::is_own(caller, user_id);
        if own {
            self.refuse_erased(user_id).await?;
        }
        let store = self.store(caller);
        let stale = self.is_stale().await?;
        // What has no right to be seen is not looked at either: neither counts nor time tell of it.
        let view = View::of(caller);
        let of_all = UserStream { user_id: user_id.as_str(), data_type, category: Some("") };
        let prefix = Some(of_all.to_string());
        let mut list = UserDataList { stale, next_cursor: listing.cursor.clone(), ..UserDataList::default() };
        let (mut looked, mut bytes) = (0, 0);
        loop {
            // No more than are read at once: what they have in bytes only reading them tells.
            let filter = BrowseFilter {
                prefix: prefix.clone(),
                limit: (listing.limit - list.items.len()).min(STREAMS - looked).min(FETCHES),
                cursor: list.next_cursor.take(),
                ..BrowseFilter::default()
            };
            let page = self.catalogue.browse(&view, filter).await?;
            looked += page.streams.len();
            let names = page.streams.into_iter().map(|stream| stream.name);
            let found = stream::iter(names).map(|name| readable(&store, name)).buffered(FETCHES);
            let found: Vec<UserData> = found.try_filter_map(async |data| Ok(data)).try_collect().await?;
            let found = found.into_iter().filter(|data| listing.lets_through(data));
            list.items.extend(found.inspect(|data| bytes += data.data.get().len()));
            list.total = (!listing.is_filtered()).then_some(page.total);
            list.has_more = page.has_more;
            list.next_cursor = page.next_cursor;
            if !page.has_more
                || list.items.len() >= listing.limit
                || bytes >= listing.bytes
                || looked >= STREAMS
            {
                return Ok(list);
            }
        }
    }

    /// All that a user has, as far as the caller may read it.
    ///
    /// # Errors
    /// `NotFound` if that is nothing, `Catalogue`, and what the store answers.
    pub async fn overview(&self, caller: &Caller, user_id: &UserId) -> Result<UserOverview> {
        let of = |data_type| self.all_of(caller, user_id, data_type);
        let overview = UserOverview {
            user_id: user_id.to_string(),
            profile: of(UserDataType::Profile).await?,
            preferences: of(UserDataType::Preferences).await?,
            activity: of(UserDataType::Activity).await?,
            loans: of(UserDataType::Loans).await?,
            offers: of(UserDataType::Offers).await?,
        };
        let UserOverview { profile, preferences, activity, loans, offers, .. } = &overview;
        if [profile, preferences, activity, loans, offers].iter().all(|list| list.items.is_empty()) {
            return Err(UsersError::NotFound(user_id.to_string()));
        }
        Ok(overview)
    }

    /// The data of one type, and its categories.
    async fn all_of(
        &self,
        caller: &Caller,
        user_id: &UserId,
        data_type: UserDataType,
    ) -> Result<UserDataList> {
        let place = Place { user_id: user_id.clone(), data_type, category: None };
        let listing = Listing { limit: OVERVIEW, bytes: OVERVIEW_BYTES, ..Listing::default() };
        let mut list = self.list(caller, user_id, data_type, listing).await?;
        if let Some(whole) = readable(&self.store(caller), place.stream()?).await? {
            list.items.insert(0, whole);
            list.total = list.total.map(|total| total + 1);
        }
        Ok(list)
    }

    /// A part of the list of users, for administrators.
    ///
    /// # Errors
    /// `Denied`, and `Catalogue`.
    pub async fn users(&self, caller: &Caller, query: UsersQuery) -> Result<UserPage> {
        self.gate.told(caller, "list-users", self.listed(caller, query), UsersError::code).await
    }

    async fn listed(&self, caller: &Caller, query: UsersQuery) -> Result<UserPage> {
        if !caller.is_admin() {
            return Err(UsersError::Denied("administrators"));
        }
        let stale = self.is_stale().await?;
        let prefix = query.prefix.unwrap_or_default();
        let page = self.catalogue.users(prefix, query.cursor, query.limit.size()).await?;
        Ok(UserPage {
            next_cursor: page.users.last().filter(|_| page.has_more).map(|user| user.user_id.clone()),
            users: page.users,
            total: page.total,
            has_more: page.has_more,
            stale,
        })
    }

    /// Waits until the catalogue has taken in what the store holds now. Whether it had not within the time.
    pub(super) async fn is_stale(&self) -> Result<bool> {
        let store = self.store(&Caller::system());
        Ok(self.catalogue.catch_up(&*store, self.patience).await? == Freshness::Stale)
    }
}

/// What a stream says now; nothing if the caller cannot read it, or it says nothing.
async fn readable(store: &BoundStore, name: StreamName) -> Result<Option<UserData>> {
    match read::newest(store, &name).await {
        Ok((_, data)) => Ok(data),
        Err(
            Error::StreamNotFound(_) | Error::StreamDeleted(_) | Error::Erased(_) | Error::AccessDenied(_),
        ) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
