//! A user's end: the key is destroyed, then the streams are closed.

use super::{Result, Users, UsersError};
use crate::{
    audit::Deed,
    catalogue::{BrowseFilter, Freshness, MAX_PAGE, View},
    security::Caller,
};
use event_store::{Error, ExpectedState, StreamName};
use models::{StreamStatus, UserDataType, UserErased, UserId, UserStream};
use std::time::Duration;

/// How long is waited for the catalogue before somebody of whom it knows nothing is erased all the same.
const CATCH_UP: Duration = Duration::from_secs(10);

impl Users {
    /// Erases a user: the key of the user's data is destroyed, which makes every copy of it unreadable, and then the
    /// streams are closed for good. Safe to repeat: what was not done then is done now.
    ///
    /// # Errors
    /// `Denied` for whoever is neither the user nor an administrator, or comes with credentials that are good for reading
    /// alone; `NotFound` if there is nothing of such a user and never was, and nothing is written then; and what the trail, the key store and the store answer. Once the key is destroyed, reads answer `Erased`
    /// whatever happens after.
    pub async fn erase(&self, caller: &Caller, user_id: &UserId) -> Result<UserErased> {
        let deed = || Deed::new(caller.id(), "erase", vec![format!("user-{user_id}")]);
        let pending = self.audit.as_ref().map(|audit| audit.begin(deed())).transpose()?;
        let erased = self.erased(caller, user_id).await;
        if let Some(pending) = pending {
            pending.end(erased.as_ref().map_or_else(|error| error.code().slug(), |_| "ok"));
        }
        erased
    }

    async fn erased(&self, caller: &Caller, user_id: &UserId) -> Result<UserErased> {
        if !Self::is_own(caller, user_id) || !caller.may_write() {
            return Err(UsersError::Denied("the user and administrators"));
        }
        if !self.has_left_anything(user_id).await? {
            return Err(UsersError::NotFound(user_id.to_string()));
        }
        let key_destroyed = self.keys.erase(user_id.as_str()).await?;
        let stale = self.is_stale().await?;
        let streams_closed = self.close(user_id).await?;
        Ok(UserErased { erased: true, key_destroyed, streams_closed, stale })
    }

    /// Whether there is anything of a user to erase, or was before it was erased. Where the catalogue is behind there may be.
    async fn has_left_anything(&self, user_id: &UserId) -> Result<bool> {
        if self.keys.knows(user_id.as_str()).await? {
            return Ok(true);
        }
        let store = self.store(&Caller::system());
        if self.catalogue.catch_up(&*store, CATCH_UP).await? == Freshness::Stale {
            return Ok(true);
        }
        for data_type in UserDataType::ALL {
            // The catalogue has forgotten what was ended for good.
            let whole = whole(user_id, data_type)?;
            match store.stream_info(&whole).await {
                Ok(_) | Err(Error::StreamDeleted(_)) => return Ok(true),
                Err(Error::StreamNotFound(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(!self.streams_of(user_id, true).await?.is_empty())
    }

    /// Closes a user's streams for good. How many were open.
    async fn close(&self, user_id: &UserId) -> Result<u64> {
        let store = self.store(&Caller::system());
        let mut closed = 0;
        for stream in self.streams_of(user_id, true).await? {
            match store.tombstone(&stream, ExpectedState::Any).await {
                Ok(_) => closed += 1,
                Err(Error::StreamDeleted(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(closed)
    }

    /// Closes what is open of users who were erased: an older copy of the log may have been put back, or the service
    /// ended while it erased one. It waits until the catalogue knows what there is. How many streams were open.
    ///
    /// # Errors
    /// What the key store, the catalogue and the store answer.
    pub async fn close_erased(&self) -> Result<u64> {
        let erased = self.keys.erased().await?;
        if erased.is_empty() {
            return Ok(0);
        }
        while self.is_stale().await? {}
        let mut closed = 0;
        for user_id in erased.iter().filter_map(|user_id| UserId::new(user_id)) {
            closed += self.close(&user_id).await?;
        }
        Ok(closed)
    }

    /// The names of a user's streams, as far as the catalogue knows them; those that were deleted softly too, if wanted.
    pub(super) async fn streams_of(&self, user_id: &UserId, deleted: bool) -> Result<Vec<StreamName>> {
        let mut names = Vec::new();
        for data_type in UserDataType::ALL {
            let whole = whole(user_id, data_type)?;
            if let Some(known) = self.catalogue.stream(&whole).await?
                && !known.tombstoned
                && (deleted || known.status != StreamStatus::Deleted)
            {
                names.push(whole);
            }
            let of = UserStream { user_id: user_id.as_str(), data_type, category: Some("") };
            let prefix = of.to_string();
            for status in [None, Some(StreamStatus::Deleted)].into_iter().take(1 + usize::from(deleted)) {
                let mut cursor = None;
                loop {
                    let prefix = Some(prefix.clone());
                    let filter =
                        BrowseFilter { prefix, status, limit: MAX_PAGE, cursor, ..BrowseFilter::default() };
                    let page = self.catalogue.browse(&View::everything(), filter).await?;
                    names.extend(page.streams.into_iter().filter(|s| !s.tombstoned).map(|s| s.name));
                    cursor = page.next_cursor;
                    if cursor.is_none() {
                        break;
                    }
                }
            }
        }
        Ok(names)
    }
}

/// The stream of all data of a type that is of no category.
fn whole(user_id: &UserId, data_type: UserDataType) -> Result<StreamName> {
    let name = UserStream { user_id: user_id.as_str(), data_type, category: None }.to_string();
    Ok(StreamName::new(name).map_err(|e| Error::InvalidArgument(e.to_string()))?)
}
