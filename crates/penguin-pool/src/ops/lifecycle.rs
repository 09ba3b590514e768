//! How the service begins and ends.

use std::sync::Arc;
use tokio::sync::watch;

/// Where in its life the service is. It only ever goes forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It is opening its store.
    Starting,
    /// It serves.
    Running,
    /// It was told to stop: readiness fails, and everything else goes on as before, so that whoever sends requests
    /// here can stop sending.
    Leaving,
    /// It takes no more connections, feeds end, and running requests finish.
    Draining,
}

/// The service's phase, shared by all who need to know. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Lifecycle(Arc<watch::Sender<Phase>>);

impl Lifecycle {
    /// A service that is starting.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Phase::Starting)))
    }

    /// Where it is now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Goes on to a phase; does nothing if it is there already, or past it.
    pub fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let on = phase > *now;
            if on {
                *now = phase;
            }
            on
        });
    }

    /// Waits until the service is in this phase, or past it.
    pub fn reached(&self, phase: Phase) -> impl Future<Output = ()> + Send + use<> {
        let mut receiver = self.0.subscribe();
        async move {
            // The sender lives as long as a clone of this does; without any, nobody can tell the end any more.
            if receiver.wait_for(|now| *now >= phase).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}
