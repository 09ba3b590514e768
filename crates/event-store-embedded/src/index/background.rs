//! The thread that moves entries from memory to SQLite.

use super::Index;
use crate::sync::lock;
use std::sync::PoisonError;

/// Runs until [`Index::stop`].
pub(crate) fn run(index: &Index) {
    loop {
        let mut work = lock(&index.work);
        let mut waited = false;
        loop {
            if work.stop {
                return;
            }
            if work.failure.is_none() && work.rows >= index.limits.batch {
                break;
            }
            if work.rows == 0 {
                work = index.changed.wait(work).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            if waited {
                break;
            }
            let (guard, timeout) = index
                .changed
                .wait_timeout(work, index.limits.interval)
                .unwrap_or_else(PoisonError::into_inner);
            work = guard;
            waited = timeout.timed_out();
        }
        drop(work);
        if let Err(error) = index.flush(true) {
            tracing::error!(%error, "the index could not be written; it will be tried again");
        }
    }
}
