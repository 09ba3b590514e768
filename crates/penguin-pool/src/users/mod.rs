//! `/api/users`: users' profiles, preferences, activity, loans and offers.
//!
//! Each is a stream `user-{userId}-{type}` or `user-{userId}-{type}-{category}`, whose newest `UserDataUpdated` says all
//! that it is now: the state is one event, however long the history. A loan or an offer is a category of its type.
//!
//! Where to start reading: `routes`, then `read` (the state) and `write` (how it changes), then `list`.

mod check;
mod erase;
mod error;
mod export;
mod list;
mod merge;
mod read;
mod routes;
mod write;

pub use error::{Result, UsersError};
pub use export::Export;
pub use list::Listing;
pub use routes::routes;
pub use write::Expect;

use crate::{
    audit::{Audit, Deed},
    catalogue::Catalogue,
    security::{BoundStore, Caller, Gate, Keys},
};
use event_store::{Clock, IdSource, StreamName};
use models::{UserDataCategory, UserDataType, UserId, UserStream};
use std::{sync::Arc, time::Duration};

/// Users' data: what the API does, for a caller. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Users {
    gate: Gate,
    catalogue: Catalogue,
    keys: Keys,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    audit: Option<Audit>,
    patience: Duration,
}

/// How long a list waits for the catalogue unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(2);

impl Users {
    /// The service before a gate, with the catalogue of the same store and the keys of its users.
    #[must_use]
    pub fn new(
        gate: Gate,
        catalogue: Catalogue,
        keys: Keys,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
    ) -> Self {
        Self { gate, catalogue, keys, clock, ids, audit: None, patience: PATIENCE }
    }

    /// The same, with a trail to write erasures down in.
    #[must_use]
    pub fn with_audit(self, audit: Option<Audit>) -> Self {
        Self { audit, ..self }
    }

    /// The same, with another time that lists wait for the catalogue to take in what was written before the question.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    fn note(&self, caller: &Caller, action: &'static str, streams: Vec<String>, outcome: &str) {
        if let Some(audit) = &self.audit {
            audit.note(Deed::new(caller.id(), action, streams), outcome);
        }
    }

    fn store(&self, caller: &Caller) -> BoundStore {
        self.gate.bind(caller)
    }

    /// Whether a user's data is the caller's to do with as they like: their own, or an administrator's.
    fn is_own(caller: &Caller, user_id: &UserId) -> bool {
        caller.is_admin() || (caller.is_known() && caller.id() == user_id.as_str())
    }

    async fn refuse_erased(&self, user_id: &UserId) -> Result<()> {
        if self.keys.is_erased(user_id.as_str()).await? {
            return Err(UsersError::Erased(user_id.to_string()));
        }
        Ok(())
    }
}

/// Where a part of a user's data is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Whose it is.
    pub user_id: UserId,
    /// What kind it is.
    pub data_type: UserDataType,
    /// Which part of that kind; for a loan or an offer its id.
    pub category: Option<UserDataCategory>,
}

impl Place {
    /// The stream's name.
    ///
    /// # Errors
    /// [`UsersError::Invalid`] if it makes none: its parts were not checked.
    fn stream(&self) -> Result<StreamName> {
        let category = self.category.as_ref().map(UserDataCategory::as_str);
        let name =
            UserStream { user_id: self.user_id.as_str(), data_type: self.data_type, category }.to_string();
        StreamName::new(name).map_err(|e| UsersError::Invalid(vec![("userId".to_owned(), e.to_string())]))
    }
}
