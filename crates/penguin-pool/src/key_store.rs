//! Where the keys of users' data are kept, opened, and held against the events that they are for.

use crate::{
    config::{EventStoreKind, Settings},
    security::{
        Keys,
        keys::{FileKeyStore, KeyStoreError, KeysError, Ring, Settled},
    },
};
use event_store::{Error, EventStore, IdSource};
use std::{path::Path, sync::Arc, time::Duration};
use zeroize::Zeroizing;

/// How long is waited until a KurrentDB that is away is asked again.
const SETTLE_AGAIN: Duration = Duration::from_secs(1);

/// Opens the keys of users' data. Nothing is changed by that.
///
/// # Errors
/// A line that names the setting: a key that is none, or does not fit the key store.
/// [`Unopened::InUse`] if the key store of the data directory is another process's, as the directory then is.
pub async fn open(settings: &Settings) -> Result<Keys, Unopened> {
    let ring = match (&settings.encryption_key, &settings.encryption_key_file) {
        (Some(key), _) => Ring::parse(key.expose()).map_err(|e| format!("ENCRYPTION_KEY: {e}"))?,
        (None, Some(path)) => {
            let read = std::fs::read_to_string(path).map(Zeroizing::new);
            let text = read.map_err(|e| format!("ENCRYPTION_KEY_FILE: {path} cannot be read: {e}"))?;
            let ring = Ring::parse(&text).map_err(|e| format!("ENCRYPTION_KEY_FILE: {path}: {e}"))?;
            Some(ring.ok_or_else(|| format!("ENCRYPTION_KEY_FILE: there is no key in {path}"))?)
        }
        (None, None) => None,
    };
    let store = match (&settings.key_store, settings.data_dir.path()) {
        (Some(path), _) => FileKeyStore::open(Path::new(path)),
        (None, Some(directory)) => {
            let mut path = directory.components().as_path().as_os_str().to_owned();
            path.push(".keys");
            FileKeyStore::open(Path::new(&path))
        }
        (None, None) => Ok(FileKeyStore::in_memory()),
    };
    let store = match store {
        Err(KeyStoreError::InUse(_)) if settings.key_store.is_none() => return Err(Unopened::InUse),
        store => store.map_err(|e| format!("KEY_STORE: {e}"))?,
    };
    Keys::open(ring, Arc::new(store)).await.map_err(not_settled)
}

/// Holds the keys of users' data against the events of a store, which say which keys they need, and binds them to it. On a
/// KurrentDB, which may be away, it is done when the server comes: until then what needs a key waits for it too.
///
/// # Errors
/// A line that says what is missing.
pub async fn settle(
    keys: Keys,
    settings: &Settings,
    store: &Arc<dyn EventStore>,
    ids: &Arc<dyn IdSource>,
) -> Result<Keys, Unopened> {
    let keys = keys.for_events_in(Arc::clone(store), Arc::clone(ids));
    match settings.event_store {
        EventStoreKind::Embedded => {
            tell_settled(keys.settle().await.map_err(not_settled)?);
            keys.prepare().await.map_err(not_settled)?;
        }
        EventStoreKind::Kurrentdb => {
            keys.prepare().await.map_err(not_settled)?;
            let later = keys.clone();
            tokio::spawn(async move {
                loop {
                    match later.settle().await {
                        Ok(settled) => return tell_settled(settled),
                        Err(KeysError::Log(Error::Closed)) => return,
                        Err(KeysError::Log(_)) => tokio::time::sleep(SETTLE_AGAIN).await,
                        // Users whose keys are there go on meanwhile.
                        Err(error) => return tracing::error!("{}", not_settled(error)),
                    }
                }
            });
        }
    }
    Ok(keys)
}

fn not_settled(error: KeysError) -> Unopened {
    match error {
        KeysError::Unfit(line) => line.into(),
        other => format!("KEY_STORE: {other}").into(),
    }
}

fn tell_settled(Settled { erased_again, named }: Settled) {
    if erased_again > 0 {
        tracing::warn!(
            users = erased_again,
            "the key store is an older copy: users that were erased since were erased in it again"
        );
    }
    if named > 0 {
        tracing::info!(keys = named, "the log names the keys of users from here on");
    }
}

/// Why the keys of users' data cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unopened {
    /// The key store stands beside the data directory, and another process has it.
    #[error("the data directory is in use by another process")]
    InUse,
    /// A line that names the setting, and what is wrong with it.
    #[error("{0}")]
    Setting(String),
}

impl From<String> for Unopened {
    fn from(line: String) -> Self {
        Self::Setting(line)
    }
}
