//! The accounts and keys that there are: what the events come to.

use super::{Account, ApiKey, events::AccountEvent};
use event_store::{ExpectedState, RecordedEvent, Revision, Timestamp};
use std::{collections::BTreeMap, sync::Arc};

/// All accounts and keys, as far as they were read.
#[derive(Debug, Clone, Default)]
pub(in crate::security) struct Book {
    accounts: BTreeMap<String, Arc<Account>>,
    keys: BTreeMap<String, Arc<ApiKey>>,
    last: Option<Revision>,
}

impl Book {
    pub(in crate::security) fn account(&self, login_name: &str) -> Option<&Arc<Account>> {
        self.accounts.get(login_name)
    }

    pub(super) fn accounts(&self) -> impl Iterator<Item = &Arc<Account>> {
        self.accounts.values()
    }

    pub(in crate::security) fn key(&self, id: &str) -> Option<&Arc<ApiKey>> {
        self.keys.get(id)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Arc<ApiKey>> {
        self.keys.values()
    }

    pub(super) fn keys_of<'a>(&'a self, login_name: &'a str) -> impl Iterator<Item = &'a Arc<ApiKey>> {
        self.keys().filter(move |key| key.login_name == login_name)
    }

    /// The revision of the last event that is in it.
    pub(super) fn last(&self) -> Option<Revision> {
        self.last
    }

    /// What a writer who decided by this book expects of the stream.
    pub(super) fn expected(&self) -> ExpectedState {
        self.last.map_or(ExpectedState::NoStream, ExpectedState::Exact)
    }

    /// Takes the stream's next event. One that cannot be read is passed over: the others count still.
    pub(super) fn take(&mut self, event: &RecordedEvent) {
        self.last = Some(event.revision);
        match AccountEvent::read(event) {
            Ok(Some(known)) => self.apply(known, event.created),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(stream = %event.stream, revision = event.revision, %error, "an event about accounts cannot be read and is passed over");
            }
        }
    }

    fn apply(&mut self, event: AccountEvent, at: Timestamp) {
        match event {
            AccountEvent::Created(created) => {
                let account = Account {
                    login_name: created.login_name.clone(),
                    full_name: created.full_name,
                    roles: created.roles,
                    disabled: false,
                    updated_at: at,
                    hash: created.password_hash,
                };
                // What belonged to an account of the same name before is not the new one's.
                self.forget_keys(&created.login_name);
                self.accounts.insert(created.login_name, Arc::new(account));
            }
            AccountEvent::Updated(updated) => self.change(&updated.login_name, at, |account| {
                account.full_name = updated.full_name;
                account.roles = updated.roles;
            }),
            AccountEvent::PasswordChanged(changed) => {
                self.change(&changed.login_name, at, |account| account.hash = changed.password_hash);
            }
            AccountEvent::Enabled(named) => {
                self.change(&named.login_name, at, |account| account.disabled = false);
            }
            AccountEvent::Disabled(named) => {
                self.change(&named.login_name, at, |account| account.disabled = true);
            }
            AccountEvent::Deleted(named) => {
                self.accounts.remove(&named.login_name);
                self.forget_keys(&named.login_name);
            }
            AccountEvent::KeyCreated(created) => {
                let key = ApiKey {
                    id: created.key_id.clone(),
                    login_name: created.login_name,
                    label: created.label,
                    scope: created.scope,
                    created_at: at,
                    expires_at: created.expires_at.map(|time| Timestamp::from_millis(time.millis())),
                    hash: created.secret_hash,
                };
                self.keys.insert(created.key_id, Arc::new(key));
            }
            AccountEvent::KeyRevoked(named) => {
                self.keys.remove(&named.key_id);
            }
        }
    }

    fn change(&mut self, login_name: &str, at: Timestamp, change: impl FnOnce(&mut Account)) {
        if let Some(account) = self.accounts.get_mut(login_name) {
            let account = Arc::make_mut(account);
            change(account);
            account.updated_at = at;
        }
    }

    fn forget_keys(&mut self, login_name: &str) {
        self.keys.retain(|_, key| key.login_name != login_name);
    }
}
