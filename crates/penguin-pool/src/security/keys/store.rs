//! Where wrapped keys are kept: what is asked of such a place.

use serde::{Deserialize, Serialize};

/// A user's data key, as it is kept: readable by whoever has the key of the ring that wrapped it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrappedKey {
    /// What tells the data key from others.
    pub id: String,
    /// Which key of the ring wrapped it.
    pub ring: String,
    /// The nonce, base64.
    pub nonce: String,
    /// The data key, encrypted; base64.
    pub wrapped: String,
}

/// What is kept of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A key.
    Key(WrappedKey),
    /// The user was erased: there is no key any more, and there will be none.
    Erased,
}

/// Why a key store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyStoreError {
    /// It cannot be read or written.
    #[error("the key store {0}")]
    Unusable(String),
    /// Another process has it.
    #[error("the key store {0} is in use by another process")]
    InUse(String),
    /// What is in it makes no sense.
    #[error("the key store {0}")]
    Damaged(String),
}

/// A store of wrapped keys: of its own, with a backup of its own, never in the log. Whatever is answered is durable.
///
/// One that several instances share (a table of a database, say) is another implementation of this.
#[async_trait::async_trait]
pub trait KeyStore: Send + Sync + std::fmt::Debug + 'static {
    /// Makes sure that a key can be kept, before the first is needed.
    async fn prepare(&self) -> Result<(), KeyStoreError>;

    /// What is kept of a user.
    async fn find(&self, user_id: &str) -> Result<Option<Entry>, KeyStoreError>;

    /// Keeps a user's key unless something is kept of that user already, and answers what is kept now.
    async fn insert(&self, user_id: &str, key: WrappedKey) -> Result<Entry, KeyStoreError>;

    /// Destroys a user's key, if there is one, and keeps for ever that the user was erased. Whether there was a key.
    /// When this is answered, nothing in the store leads to the key.
    async fn erase(&self, user_id: &str) -> Result<bool, KeyStoreError>;

    /// All keys, by user.
    async fn keys(&self) -> Result<Vec<(String, WrappedKey)>, KeyStoreError>;

    /// All users who were erased.
    async fn erased(&self) -> Result<Vec<String>, KeyStoreError>;

    /// Puts other wrappings in the place of those that are there: all or none. Users that were erased meanwhile stay
    /// so.
    async fn replace(&self, keys: Vec<(String, WrappedKey)>) -> Result<(), KeyStoreError>;
}
