//! The end: who is told of it, and when everybody said what there was to say.

use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};

/// More than will ever have something to say at once.
const SPEAKERS: u32 = 1 << 24;

/// The end of the sockets, shared by all of them. Cloning shares it.
#[derive(Debug, Clone)]
pub(super) struct Ending {
    come: Arc<watch::Sender<bool>>,
    speakers: Arc<Semaphore>,
}

/// Held by what has something to say at the end, until it said it.
#[derive(Debug)]
pub(super) struct Speaker(#[expect(dead_code, reason = "held, not used")] OwnedSemaphorePermit);

impl Ending {
    pub(super) fn new() -> Self {
        let speakers = Arc::new(Semaphore::new(SPEAKERS as usize));
        Self { come: Arc::new(watch::Sender::new(false)), speakers }
    }

    /// A new speaker; nothing if there are too many, or the end is being waited for.
    pub(super) fn speaker(&self) -> Option<Speaker> {
        Arc::clone(&self.speakers).try_acquire_owned().ok().map(Speaker)
    }

    /// Whether it has come.
    pub(super) fn has_come(&self) -> bool {
        *self.come.borrow()
    }

    /// Comes at the end.
    pub(super) fn comes(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut come = self.come.subscribe();
        async move {
            // A sender that is gone means the same.
            let _ = come.wait_for(|come| *come).await;
        }
    }

    /// Lets the end come, and waits until all speakers are gone, or `patience` is over.
    pub(super) async fn come(&self, patience: Duration) {
        self.come.send_replace(true);
        let _ = timeout(patience, self.speakers.acquire_many(SPEAKERS)).await;
    }
}
