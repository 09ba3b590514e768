//! Looks at how the service is, for `/ws/health`, and passes on what uptime sees.

use super::HealthFeed;
use crate::{
    health::{Health, probe::SHARED_FOR},
    ops::{Lifecycle, Phase},
    uptime::StatusChange,
};
use event_store::{EventStore, StoreState};
use models::HealthServices;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{
        Notify,
        broadcast::{Receiver, error::RecvError},
    },
    time::{Instant, sleep, sleep_until},
};

/// How often the checks are made.
const CHECK_EVERY: Duration = Duration::from_secs(30);

/// How often the store is looked at in between, which costs nothing: a change that it knows of itself is told within a
/// second.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What is watched.
#[derive(Debug)]
pub struct Watched {
    /// Makes the checks.
    pub health: Arc<Health>,
    /// The store, for what it says of itself.
    pub store: Arc<dyn EventStore>,
    /// The changes of services that uptime sees.
    pub changes: Receiver<StatusChange>,
    /// Until when.
    pub lifecycle: Lifecycle,
}

/// Tells the feed how the service is, and each change of a service that is watched, until the service stops: a stop is no
/// outage.
pub async fn watch(watched: Watched, feed: HealthFeed) {
    let Watched { health, store, mut changes, lifecycle } = watched;
    let leaving = lifecycle.reached(Phase::Leaving);
    let changed = Notify::new();
    // By itself: a store that does not answer holds up the checks, and must not hold up the news that it is down.
    let passing_on = async {
        loop {
            next(&mut changes, &feed).await;
            changed.notify_one();
        }
    };
    let looking = async {
        let (mut patience, mut news) = (CHECK_EVERY, false);
        loop {
            let state = store.state();
            let kurrentdb = health.database().await.status.into();
            let services = HealthServices { proxy: health.proxy().into(), kurrentdb };
            if std::mem::take(&mut news) {
                feed.confirmed(services);
            } else {
                feed.found(services);
            }
            let check = sleep_until(Instant::now() + std::mem::replace(&mut patience, CHECK_EVERY));
            tokio::select! {
                () = check => {}
                () = other_than(&*store, &state) => {}
                // What is known of the store may be as old as an answer is shared; then it is looked at anew.
                () = changed.notified() => (patience, news) = (SHARED_FOR, true),
            }
        }
    };
    tokio::select! {
        biased;
        () = leaving => {}
        () = passing_on => {}
        () = looking => {}
    }
}

/// Waits until the store says of itself what it did not say before.
async fn other_than(store: &dyn EventStore, before: &StoreState) {
    while store.state() == *before {
        sleep(LOOK_EVERY).await;
    }
}

/// Passes on the next change.
async fn next(changes: &mut Receiver<StatusChange>, feed: &HealthFeed) {
    match changes.recv().await {
        Ok(change) => {
            feed.changed(&change.service_name, change.status, change.timestamp, change.metadata);
        }
        Err(RecvError::Lagged(missed)) => {
            tracing::warn!(missed, "changes of services came too fast to be told")
        }
        // Uptime has ended, and nothing will come any more.
        Err(RecvError::Closed) => std::future::pending().await,
    }
}
