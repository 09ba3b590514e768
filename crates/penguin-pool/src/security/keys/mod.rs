//! The keys of users' data: one a user, wrapped by a key that people keep, in a store of their own.
//!
//! [`Ring`] is what people keep (`ENCRYPTION_KEY`), [`KeyStore`] where wrapped keys are, [`Keys`] both together: a data
//! key for whoever reads or writes a user's events. A data key is destroyed by taking its wrapping out of the store.
//! Which keys its events need the log itself says ([`ledger`]), by their names alone: what the key store holds is held
//! against it.

mod file;
mod ledger;
mod ring;
mod settle;
mod store;

pub use file::FileKeyStore;
pub use ring::Ring;
pub use store::{Entry, KeyStore, KeyStoreError, WrappedKey};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, OsRng, Payload, rand_core::RngCore as _},
};
use event_store::{EventStore, IdSource};
use ledger::{KeyEvent, Ledger, Noted};
use ring::{KEY_BYTES, RingKey, Secret};
pub use settle::Settled;
use std::{collections::BTreeSet, sync::Arc};
use zeroize::Zeroizing;

/// How many bytes a nonce has.
pub(super) const NONCE_BYTES: usize = 24;

/// What binds a wrapping to its purpose and its user.
const PURPOSE: &[u8] = b"penguin-pool/data-key/v1\0";

/// Why there is no data key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// The user was erased.
    #[error("the user was erased")]
    Erased,
    /// The key store failed.
    #[error(transparent)]
    Store(#[from] KeyStoreError),
    /// A key is there and cannot be unwrapped.
    #[error("the key of user '{0}' cannot be unwrapped: it was changed, or is another user's")]
    Refused(String),
    /// `ENCRYPTION_KEY` does not fit the key store, or neither fits the log.
    #[error("{0}")]
    Unfit(String),
    /// The key store does not hold the key that the log names.
    #[error(
        "the key store does not hold the key that encrypts the events of user '{0}': it is older than the events, or not \
         theirs; put its newest copy in its place"
    )]
    Lost(String),
    /// The log cannot be asked which keys it needs.
    #[error(transparent)]
    Log(#[from] event_store::Error),
}

/// The key of a user's data.
pub struct DataKey {
    /// What tells it from others.
    pub(super) id: String,
    pub(super) cipher: XChaCha20Poly1305,
}

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The keys of users' data. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Keys {
    ring: Option<Arc<Ring>>,
    store: Arc<dyn KeyStore>,
    ledger: Option<Arc<Ledger>>,
}

impl Keys {
    /// The keys in a store, wrapped by those of a ring. Without a ring nothing is encrypted; users can be erased all the
    /// same.
    ///
    /// # Errors
    /// [`KeysError::Unfit`] if the store holds keys that the ring cannot unwrap. Nothing was changed then.
    pub async fn open(ring: Option<Ring>, store: Arc<dyn KeyStore>) -> Result<Self, KeysError> {
        let keys = Self { ring: ring.map(Arc::new), store, ledger: None };
        let kept = keys.store.keys().await?;
        let Some(ring) = &keys.ring else {
            return match kept.len() {
                0 => Ok(keys),
                users => Err(KeysError::Unfit(format!(
                    "ENCRYPTION_KEY: it is not set, and the key store holds keys of users ({users}); write the key that wrapped them"
                ))),
            };
        };
        for (user_id, key) in &kept {
            if ring.of_id(&key.ring).is_none() {
                return Err(KeysError::Unfit(format!(
                    "ENCRYPTION_KEY: none of its keys is the one that wrapped the keys in the key store (the one with \
                     the id {}); write that one, after the new one if it is to be replaced",
                    key.ring
                )));
            }
            unwrap(ring, user_id, key)?;
        }
        Ok(keys)
    }

    /// Keys in memory, and no encryption: for tests, and where nothing is to be kept.
    #[must_use]
    pub fn none() -> Self {
        Self { ring: None, store: Arc::new(FileKeyStore::in_memory()), ledger: None }
    }

    /// The same for the events of a store, bound to nobody: it says by itself which keys they need, and is asked.
    #[must_use]
    pub fn for_events_in(self, events: Arc<dyn EventStore>, ids: Arc<dyn IdSource>) -> Self {
        Self { ledger: Some(Arc::new(Ledger::new(events, ids))), ..self }
    }

    /// Whether users' data is encrypted.
    #[must_use]
    pub fn encrypts(&self) -> bool {
        self.ring.is_some()
    }

    /// Makes sure that keys can be kept, where they will be.
    ///
    /// # Errors
    /// Why they cannot.
    pub async fn prepare(&self) -> Result<(), KeysError> {
        if self.encrypts() { Ok(self.store.prepare().await?) } else { Ok(()) }
    }

    /// The key to write a user's data with: a new one for a new user. Nothing where nothing is encrypted.
    ///
    /// # Errors
    /// [`KeysError::Erased`]; [`KeysError::Lost`] if the user's events are encrypted by a key that is not there; and what the
    /// stores answer.
    pub async fn for_writing(&self, user_id: &str) -> Result<Option<DataKey>, KeysError> {
        let entry = self.kept(user_id).await?;
        let Some(ring) = &self.ring else {
            return if entry == Some(Entry::Erased) { Err(KeysError::Erased) } else { Ok(None) };
        };
        let entry = match entry {
            Some(entry) => entry,
            None => self.store.insert(user_id, new_key(ring, user_id)?).await?,
        };
        let Entry::Key(key) = entry else { return Err(KeysError::Erased) };
        // Before the first event: a name without a key is a loss that is told, a key without a name one that is not.
        self.note(user_id, &key.id).await?;
        unwrap(ring, user_id, &key).map(Some)
    }

    /// The key to read a user's data with, if there is one.
    ///
    /// # Errors
    /// As [`Keys::for_writing`].
    pub async fn for_reading(&self, user_id: &str) -> Result<Option<DataKey>, KeysError> {
        match (self.kept(user_id).await?, &self.ring) {
            (Some(Entry::Erased), _) => Err(KeysError::Erased),
            (Some(Entry::Key(key)), Some(ring)) => unwrap(ring, user_id, &key).map(Some),
            (Some(Entry::Key(_)), None) | (None, _) => Ok(None),
        }
    }

    /// Whether a user was erased.
    ///
    /// # Errors
    /// What the stores answer.
    pub async fn is_erased(&self, user_id: &str) -> Result<bool, KeysError> {
        if self.store.find(user_id).await? == Some(Entry::Erased) {
            return Ok(true);
        }
        Ok(self.noted(user_id).await? == Some(Noted::Erased))
    }

    /// Whether anything is known of a user: a key, or that the user was erased.
    ///
    /// # Errors
    /// What the stores answer.
    pub async fn knows(&self, user_id: &str) -> Result<bool, KeysError> {
        Ok(self.store.find(user_id).await?.is_some() || self.noted(user_id).await?.is_some())
    }

    /// All users who were erased, by the key store or by the log: either may be an older copy.
    ///
    /// # Errors
    /// What the stores answer.
    pub async fn erased(&self) -> Result<BTreeSet<String>, KeysError> {
        let mut erased = BTreeSet::from_iter(self.store.erased().await?);
        if let Some(ledger) = &self.ledger {
            let noted = ledger.all().await?.into_iter();
            erased.extend(noted.filter(|(_, noted)| *noted == Noted::Erased).map(|(user_id, _)| user_id));
        }
        Ok(erased)
    }

    /// Destroys a user's key for good. Whether there was one.
    ///
    /// # Errors
    /// What the stores answer. After one the key may be destroyed already: doing it again finishes it.
    pub async fn erase(&self, user_id: &str) -> Result<bool, KeysError> {
        let was_there = self.store.erase(user_id).await?;
        if let Some(ledger) = &self.ledger {
            let decide = |known: &ledger::Known| match known.of(user_id) {
                Some(Noted::Erased) => Ok(Vec::new()),
                _ => Ok(vec![KeyEvent::destroyed(user_id)]),
            };
            ledger.change(decide).await?;
        }
        Ok(was_there)
    }

    /// What is kept of a user, if it is what the log says.
    async fn kept(&self, user_id: &str) -> Result<Option<Entry>, KeysError> {
        let kept = self.store.find(user_id).await?;
        match (self.noted(user_id).await?, kept) {
            (Some(Noted::Erased), _) => Ok(Some(Entry::Erased)),
            (Some(Noted::Key(_)), None) => Err(KeysError::Lost(user_id.to_owned())),
            (Some(Noted::Key(id)), Some(Entry::Key(key))) if key.id != id => {
                Err(KeysError::Lost(user_id.to_owned()))
            }
            (_, kept) => Ok(kept),
        }
    }

    /// What the log says of a user's key.
    async fn noted(&self, user_id: &str) -> Result<Option<Noted>, KeysError> {
        match &self.ledger {
            Some(ledger) => ledger.find(user_id).await,
            None => Ok(None),
        }
    }

    /// Writes in the log that a user has this key, if it does not say so.
    async fn note(&self, user_id: &str, key_id: &str) -> Result<(), KeysError> {
        let Some(ledger) = &self.ledger else { return Ok(()) };
        let decide = |known: &ledger::Known| match known.of(user_id) {
            None => Ok(vec![KeyEvent::made(user_id, key_id)]),
            Some(Noted::Key(id)) if id == key_id => Ok(Vec::new()),
            Some(Noted::Key(_)) => Err(KeysError::Lost(user_id.to_owned())),
            Some(Noted::Erased) => Err(KeysError::Erased),
        };
        ledger.change(decide).await
    }

    /// Wraps every key by the first of the ring; no event is touched. How many were wrapped by another before.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn rotate(&self) -> Result<usize, KeysError> {
        let Some(ring) = &self.ring else {
            return Err(KeysError::Unfit(
                "ENCRYPTION_KEY: it is not set; write the new key, and after it the old one".into(),
            ));
        };
        let first = ring.first();
        let mut again = Vec::new();
        for (user_id, key) in self.store.keys().await? {
            if key.ring != first.id {
                let secret = unwrapped(ring, &user_id, &key)?;
                let key = wrap(first, &user_id, key.id, &secret)?;
                again.push((user_id, key));
            }
        }
        let count = again.len();
        if count > 0 {
            self.store.replace(again).await?;
        }
        Ok(count)
    }
}

/// Bytes that nobody can foresee.
pub(super) fn random<const N: usize>() -> Zeroizing<[u8; N]> {
    let mut bytes = Zeroizing::new([0; N]);
    OsRng.fill_bytes(bytes.as_mut_slice());
    bytes
}

fn new_key(ring: &Ring, user_id: &str) -> Result<WrappedKey, KeysError> {
    let id = random::<8>().iter().map(|byte| format!("{byte:02x}")).collect();
    wrap(ring.first(), user_id, id, &random::<KEY_BYTES>())
}

fn wrap(by: &RingKey, user_id: &str, id: String, secret: &Secret) -> Result<WrappedKey, KeysError> {
    let nonce = random::<NONCE_BYTES>();
    let aad = bound_to(user_id, &id);
    let payload = Payload { msg: secret.as_slice(), aad: &aad };
    let wrapped = XChaCha20Poly1305::new(by.secret.as_slice().into())
        .encrypt(XNonce::from_slice(nonce.as_slice()), payload)
        .map_err(|_| KeysError::Refused(user_id.to_owned()))?;
    let (nonce, wrapped) = (BASE64_STANDARD.encode(nonce.as_slice()), BASE64_STANDARD.encode(wrapped));
    Ok(WrappedKey { id, ring: by.id.clone(), nonce, wrapped })
}

fn unwrap(ring: &Ring, user_id: &str, key: &WrappedKey) -> Result<DataKey, KeysError> {
    let secret = unwrapped(ring, user_id, key)?;
    Ok(DataKey { id: key.id.clone(), cipher: XChaCha20Poly1305::new(secret.as_slice().into()) })
}

fn unwrapped(ring: &Ring, user_id: &str, key: &WrappedKey) -> Result<Secret, KeysError> {
    let refused = || KeysError::Refused(user_id.to_owned());
    let by = ring.of_id(&key.ring).ok_or_else(refused)?;
    let nonce =
        BASE64_STANDARD.decode(&key.nonce).ok().filter(|n| n.len() == NONCE_BYTES).ok_or_else(refused)?;
    let wrapped = BASE64_STANDARD.decode(&key.wrapped).map_err(|_| refused())?;
    let aad = bound_to(user_id, &key.id);
    let plain = XChaCha20Poly1305::new(by.secret.as_slice().into())
        .decrypt(XNonce::from_slice(&nonce), Payload { msg: &wrapped, aad: &aad })
        .map_err(|_| refused())?;
    let plain = Zeroizing::new(plain);
    let mut secret = Zeroizing::new([0; KEY_BYTES]);
    if plain.len() != KEY_BYTES {
        return Err(refused());
    }
    secret.copy_from_slice(&plain);
    Ok(secret)
}

fn bound_to(user_id: &str, key_id: &str) -> Vec<u8> {
    [PURPOSE, user_id.as_bytes(), b"\0", key_id.as_bytes()].concat()
}

#[cfg(test)]
mod tests;
