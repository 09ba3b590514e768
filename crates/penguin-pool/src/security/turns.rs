//! Turns: of those that want the same thing at the same time, one does it while the others wait.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::OwnedMutexGuard;

type Lock = Arc<tokio::sync::Mutex<()>>;

/// What things are told apart by.
pub(super) type Tag = [u8; 32];

/// Whose turn it is, for each thing that somebody does now. What nobody does takes no room.
#[derive(Debug, Default)]
pub(super) struct Turns(Arc<Mutex<HashMap<Tag, Lock>>>);

/// A turn; the next one's comes when it is dropped.
#[derive(Debug)]
#[must_use]
pub(super) struct Turn {
    turns: Arc<Mutex<HashMap<Tag, Lock>>>,
    tag: Tag,
    lock: Option<Lock>,
    held: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    fn lock(&self, tag: Tag) -> Lock {
        Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(tag).or_default())
    }

    /// Waits for the turn.
    pub(super) async fn take(&self, tag: Tag) -> Turn {
        let lock = self.lock(tag);
        let mut turn = Turn { turns: Arc::clone(&self.0), tag, lock: Some(Arc::clone(&lock)), held: None };
        // One that is given up while it waits leaves as others do.
        turn.held = Some(lock.lock_owned().await);
        turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.held = None;
        self.lock = None;
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody else holds or waits for it, and nobody can begin to while this looks.
        if turns.get(&self.tag).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            turns.remove(&self.tag);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt as _, poll};

    #[tokio::test]
    async fn one_at_a_time_has_its_turn_and_nothing_is_kept_after() {
        let turns = Turns::default();
        let first = turns.take([1; 32]).await;
        let mut second = Box::pin(turns.take([1; 32]));
        assert!(poll!(&mut second).is_pending());
        assert!(turns.take([2; 32]).now_or_never().is_some(), "another thing waits for nobody");
        let given_up = Box::pin(turns.take([1; 32]));
        drop(first);
        drop(given_up);
        let second = second.await;
        assert_eq!(turns.0.lock().unwrap().len(), 1);
        drop(second);
        assert!(turns.0.lock().unwrap().is_empty());
    }
}
