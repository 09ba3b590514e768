//! A user's end: the key is destroyed, then the streams are closed.

use super::{Result, Users, UsersError};
use crate::{
    audit::Deed,
    catalogue::{BrowseFilter, MAX_PAGE, View},
    security::Caller,
};
use event_store::{Error, ExpectedState, StreamName};
use models::{StreamStatus, UserDataType, UserErased, UserId, UserStream};

impl Users {
    /// Erases a user: the key of the user's data is destroyed, which makes every copy of it unreadable, and then the
    /// streams are closed for good. Safe to repeat: what was not done then is done now.
    ///
    /// # Errors
    /// `Denied` for whoever is neither the user nor an administrator, or comes with credentials that are good for reading
    /// alone; and what the trail, the key store and the store answer. Once the key is destroyed, reads answer `Erased`
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
        let key_destroyed = self.keys.erase(user_id.as_str()).await?;
        let stale = self.is_stale().await?;
        let streams = self.streams_of(user_id, true).await?;
        let store = self.store(&Caller::system());
        let mut closed = 0;
        for stream in streams {
            match store.tombstone(&stream, ExpectedState::Any).await {
                Ok(_) => closed += 1,
                Err(Error::StreamDeleted(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(UserErased { erased: true, key_destroyed, streams_closed: closed, stale })
    }

    /// The names of a user's streams, as far as the catalogue knows them; those that were deleted softly too, if wanted.
    pub(super) async fn streams_of(&self, user_id: &UserId, deleted: bool) -> Result<Vec<StreamName>> {
        let mut names = Vec::new();
        for data_type in UserDataType::ALL {
            let of = UserStream { user_id: user_id.as_str(), data_type, category: None };
            let whole = StreamName::new(of.to_string()).map_err(|e| Error::InvalidArgument(e.to_string()))?;
            if let Some(known) = self.catalogue.stream(&whole).await?
                && !known.tombstoned
                && (deleted || known.status != StreamStatus::Deleted)
            {
                names.push(whole);
            }
            let prefix = UserStream { category: Some(""), ..of }.to_string();
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
