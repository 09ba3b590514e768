//! How long credentials hold: what they opened ends with them.
//!
//! A feed, a socket or a subscription is judged when it is opened, and may go on for days. What its caller was let in for
//! ([`Standing`]) is kept with it: the account and the key as they were then, and until when a token or a key is good. It is
//! lost at once when accounts change so, here or on another instance, and within [`LOOK_EVERY`] when the time is over.

use super::accounts::{Account, Accounts, ApiKey, Book};
use event_store::{Clock, Timestamp};
use std::{sync::Arc, time::Duration};

/// How often the clock is looked at, for whose time will be over: it may be set, which nobody is told.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What is said where something ends with its caller's standing.
pub const STANDING_LOST: &str = "The credentials that this was opened with are good no more (they expired, were revoked, or \
     their account changed): come again with others, and go on where you are";

/// What a caller was let in for. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Standing(Option<Arc<Grounds>>);

/// What has to stay as it is.
#[derive(Debug)]
pub(super) struct Grounds {
    pub(super) accounts: Accounts,
    pub(super) clock: Arc<dyn Clock>,
    /// The account, whose roles were given to the caller.
    pub(super) account: Option<Arc<Account>>,
    pub(super) key: Option<Arc<ApiKey>>,
    /// From when on it is lost.
    pub(super) until: Option<Timestamp>,
}

impl Standing {
    /// One that is never lost: of the service itself, and of those who did not say who they are.
    #[must_use]
    pub const fn lasting() -> Self {
        Self(None)
    }

    pub(super) fn on(grounds: Grounds) -> Self {
        Self(Some(Arc::new(grounds)))
    }

    /// Whether it can be lost at all.
    #[must_use]
    pub const fn may_end(&self) -> bool {
        self.0.is_some()
    }

    /// Whether it holds now.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.0.as_ref().is_none_or(|grounds| grounds.hold(&grounds.accounts.known()))
    }

    /// Done when it is lost: the account was disabled or deleted or has another password or other roles, the key was revoked,
    /// the time is over.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + use<> {
        let grounds = self.0.clone();
        async move {
            let Some(grounds) = grounds else { return std::future::pending().await };
            let mut news = grounds.accounts.news();
            while grounds.hold(&news.next()) {
                let change = news.changed();
                let Some(until) = grounds.until else {
                    change.await;
                    continue;
                };
                let left = until.since(grounds.clock.now()).clamp(Duration::from_millis(1), LOOK_EVERY);
                // Whichever comes first is a reason to look again.
                let _ = tokio::time::timeout(left, change).await;
            }
        }
    }
}

impl Grounds {
    fn hold(&self, book: &Book) -> bool {
        let in_time = self.until.is_none_or(|until| self.clock.now() < until);
        let account = self.account.as_ref().is_none_or(|then| {
            book.account(&then.login_name).is_some_and(|now| {
                Arc::ptr_eq(then, now)
                    || (!now.disabled && now.hash() == then.hash() && now.roles == then.roles)
            })
        });
        let key = self.key.as_ref().is_none_or(|then| {
            // What is changed of a key is that it is not there any more.
            book.key(&then.id).is_some_and(|now| now.hash() == then.hash())
        });
        in_time && account && key
    }
}
