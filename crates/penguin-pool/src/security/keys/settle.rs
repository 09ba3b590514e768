//! What the key store holds, held against what the log says that its events need.

use super::{Entry, KeyEvent, Keys, KeysError, Noted};

/// What was set right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settled {
    /// Users who were erased, and of whom the key store did not know it: it is an older copy.
    pub erased_again: usize,
    /// Keys that the log did not name yet.
    pub named: usize,
}

impl Keys {
    /// Holds the key store against the log, and sets right what can be: who was erased is erased in an older copy of the
    /// key store too, and keys from before the log named them are named.
    ///
    /// # Errors
    /// [`KeysError::Unfit`] if keys are missing, in a line that says what to do; nothing was changed then. What the stores
    /// answer.
    pub async fn settle(&self) -> Result<Settled, KeysError> {
        let Some(ledger) = &self.ledger else { return Ok(Settled::default()) };
        let lost = self.lost().await?;
        if let Some((first, _)) = lost.first() {
            let users = lost.len();
            return Err(KeysError::Unfit(format!(
                "KEY_STORE: it does not hold the keys that encrypt the events of users ({users}, the first is '{first}'): put \
                 its newest copy in its place; if there is none, their data cannot be read again, and \
                 `penguin-pool keys accept-loss` gives it up"
            )));
        }
        let noted = ledger.all().await?;
        let encrypted = noted.iter().filter(|(_, noted)| *noted != Noted::Erased).count();
        if self.ring.is_none() && encrypted > 0 {
            return Err(KeysError::Unfit(format!(
                "ENCRYPTION_KEY: it is not set, and the events of users ({encrypted}) are encrypted; write the key that \
                 wrapped theirs"
            )));
        }
        let mut settled = Settled::default();
        for (user_id, noted) in &noted {
            if *noted == Noted::Erased && self.store.find(user_id).await? != Some(Entry::Erased) {
                self.store.erase(user_id).await?;
                settled.erased_again += 1;
            }
        }
        // The end came before it was written, or the log is an older copy that says nothing of it.
        for user_id in self.store.erased().await? {
            self.erase(&user_id).await?;
        }
        let kept = self.store.keys().await?;
        let is_noted = |user: &str| noted.binary_search_by(|(noted, _)| noted.as_str().cmp(user)).is_ok();
        settled.named = kept.iter().filter(|(user_id, _)| !is_noted(user_id)).count();
        let made = |known: &super::ledger::Known| {
            let not_noted = kept.iter().filter(|(user_id, _)| known.of(user_id).is_none());
            Ok(not_noted.map(|(user_id, key)| KeyEvent::made(user_id, &key.id)).collect())
        };
        ledger.change(made).await?;
        Ok(settled)
    }

    /// The users whose keys the log names and the key store does not hold, and the names of those keys.
    ///
    /// # Errors
    /// What the stores answer.
    pub async fn lost(&self) -> Result<Vec<(String, String)>, KeysError> {
        let Some(ledger) = &self.ledger else { return Ok(Vec::new()) };
        let mut lost = Vec::new();
        for (user_id, noted) in ledger.all().await? {
            let Noted::Key(id) = noted else { continue };
            match self.store.find(&user_id).await? {
                Some(Entry::Erased) => {}
                Some(Entry::Key(key)) if key.id == id => {}
                None | Some(Entry::Key(_)) => lost.push((user_id, id)),
            }
        }
        Ok(lost)
    }

    /// Writes that keys are given up, with what they encrypted: their users may have others.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn give_up(&self, lost: &[(String, String)]) -> Result<(), KeysError> {
        let Some(ledger) = &self.ledger else { return Ok(()) };
        let decide = |known: &super::ledger::Known| {
            let still = |(user_id, key_id): &&(String, String)| matches!(known.of(user_id), Some(Noted::Key(id)) if id == key_id);
            Ok(lost.iter().filter(still).map(|(user_id, key_id)| KeyEvent::lost(user_id, key_id)).collect())
        };
        ledger.change(decide).await
    }
}
