//! What the command line does with the keys of users' data, in the trail of the store that the settings name.

use super::{Failure, other};
use crate::{app, audit::Deed, config::Config};
use event_store::{ErrorCode, EventStore, RandomIds, SystemClock};
use std::sync::Arc;

/// Does something that is begun in the trail before, where one is kept, and ends there before this does.
pub(super) async fn written<T>(
    config: &Config,
    store: &Arc<dyn EventStore>,
    deed: Deed,
    done: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let (clock, ids) = (Arc::new(SystemClock), Arc::new(RandomIds));
    let Some(audit) = app::trail(&config.settings, Arc::clone(store), clock, ids) else { return done.await };
    // A store that is away would let it be done and never written down.
    store.id().await.map_err(other)?;
    let pending = audit.begin(deed).map_err(other)?;
    let done = done.await;
    pending.end(done.as_ref().map_or_else(|_| ErrorCode::InternalError.slug(), |_| "ok"));
    audit.stop().await;
    done
}
