//! The thread that moves entries from memory to SQLite.

use super::Index;
use crate::sync::lock;
use std::sync::PoisonError;

/// Runs until [`Index::stop`].
pub(crate) fn run(index: &Index) {
    loop {
        let work = lock(&index.work);
        let work = index
            .changed
            .wait_while(work, |work| !work.stop && work.rows == 0)
            .unwrap_or_else(PoisonError::into_inner);
        // The interval is counted from here on, however often the writer wakes this thread: a batch that could not be
        // written is tried again when it is over, under load too.
        let (work, _) = index
            .changed
            .wait_timeout_while(work, index.limits.interval, |work| {
                !work.stop && (work.failure.is_some() || work.rows < index.limits.batch)
            })
            .unwrap_or_else(PoisonError::into_inner);
        if work.stop {
            return;
        }
        drop(work);
        if let Err(error) = index.flush(true) {
            tracing::error!(%error, "the index could not be written; it will be tried again");
        }
    }
}
