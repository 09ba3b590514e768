//! Which keys the events in the log need: the stream `system-keys`.
//!
//! A data key's name is written there before the first event that it encrypts, and, when it is destroyed, that it was;
//! never the key itself. So a key store that is gone, or older than the log, or another log's, is not taken for a new one,
//! where second keys would be made in silence for users whose events others encrypted; and whoever was erased stays so when
//! an older copy of the key store comes back.

use super::KeysError;
use event_store::{
    Acl, Error, EventStore, ExpectedState, IdSource, NewEvent, ReadStream, RecordedEvent, Revision,
    StreamMetadata, StreamName,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};
use uuid::Uuid;

/// The stream that names the keys.
const STREAM: &str = "system-keys";

/// How many events are read or written at once.
const PAGE: usize = 500;

/// How often a change is decided again because another instance was faster.
const ATTEMPTS: usize = 20;

/// What the log says of a user's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Noted {
    /// Events may be encrypted by the key of this name.
    Key(String),
    /// The user was erased.
    Erased,
}

/// Something that happened to a key. It is persisted: fields that are not known are let go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeyEvent {
    /// From here on events may be encrypted by it.
    Made(KeyNamed),
    /// The user was erased, with or without a key.
    Destroyed(UserNamed),
    /// It was given up, and what it encrypted with it: the user may have another.
    Lost(KeyNamed),
}

/// A user, and the name of their key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeyNamed {
    pub(super) user_id: String,
    pub(super) key_id: String,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UserNamed {
    pub(super) user_id: String,
}

impl KeyEvent {
    pub(super) fn made(user_id: &str, key_id: &str) -> Self {
        Self::Made(KeyNamed { user_id: user_id.to_owned(), key_id: key_id.to_owned() })
    }

    pub(super) fn lost(user_id: &str, key_id: &str) -> Self {
        Self::Lost(KeyNamed { user_id: user_id.to_owned(), key_id: key_id.to_owned() })
    }

    pub(super) fn destroyed(user_id: &str) -> Self {
        Self::Destroyed(UserNamed { user_id: user_id.to_owned() })
    }

    fn to_event(&self, id: Uuid) -> NewEvent {
        let (event_type, data) = match self {
            Self::Made(event) => ("DataKeyMade", json!(event)),
            Self::Destroyed(event) => ("DataKeyDestroyed", json!(event)),
            Self::Lost(event) => ("DataKeyLost", json!(event)),
        };
        let metadata = json!({ "schemaVersion": "1.0.0", "source": crate::status::SERVICE });
        NewEvent { metadata: metadata.to_string().into(), ..NewEvent::json(id, event_type, data.to_string()) }
    }

    /// What an event says; nothing if it says nothing of keys.
    fn read(event: &RecordedEvent) -> Result<Option<Self>, serde_json::Error> {
        Ok(Some(match event.event_type.as_str() {
            "DataKeyMade" => Self::Made(serde_json::from_slice(&event.data)?),
            "DataKeyDestroyed" => Self::Destroyed(serde_json::from_slice(&event.data)?),
            "DataKeyLost" => Self::Lost(serde_json::from_slice(&event.data)?),
            _ => return Ok(None),
        }))
    }
}

/// What is known of the stream.
#[derive(Debug, Default)]
pub(super) struct Known {
    users: BTreeMap<String, Noted>,
    last: Option<Revision>,
    /// Whether it was read to its end once.
    whole: bool,
}

impl Known {
    pub(super) fn of(&self, user_id: &str) -> Option<&Noted> {
        self.users.get(user_id)
    }

    fn take(&mut self, event: KeyEvent) {
        match event {
            // Who was erased has no key again, whatever an instance writes that has not heard of it.
            KeyEvent::Made(made) => {
                self.users.entry(made.user_id).or_insert(Noted::Key(made.key_id));
            }
            KeyEvent::Destroyed(user) => {
                self.users.insert(user.user_id, Noted::Erased);
            }
            KeyEvent::Lost(lost) => {
                if self.of(&lost.user_id) == Some(&Noted::Key(lost.key_id)) {
                    self.users.remove(&lost.user_id);
                }
            }
        }
    }
}

/// The stream, as far as it was read. What it says of a user changes only here and on other instances: those are heard
/// before anything is written.
#[derive(Debug)]
pub(super) struct Ledger {
    store: Arc<dyn EventStore>,
    ids: Arc<dyn IdSource>,
    known: RwLock<Known>,
    /// One reads or writes at a time.
    turn: tokio::sync::Mutex<()>,
}

impl Ledger {
    /// In a store; nothing is read yet.
    pub(super) fn new(store: Arc<dyn EventStore>, ids: Arc<dyn IdSource>) -> Self {
        Self { store, ids, known: RwLock::default(), turn: tokio::sync::Mutex::default() }
    }

    /// What the log says of a user's key.
    pub(super) async fn find(&self, user_id: &str) -> Result<Option<Noted>, KeysError> {
        self.read_once().await?;
        Ok(self.known().of(user_id).cloned())
    }

    /// All that the log says.
    pub(super) async fn all(&self) -> Result<Vec<(String, Noted)>, KeysError> {
        self.read_once().await?;
        Ok(self.known().users.iter().map(|(user_id, noted)| (user_id.clone(), noted.clone())).collect())
    }

    /// Writes what is decided on all that there is, and decides again if another instance was faster.
    pub(super) async fn change(
        &self,
        decide: impl Fn(&Known) -> Result<Vec<KeyEvent>, KeysError>,
    ) -> Result<(), KeysError> {
        self.read_once().await?;
        // Mostly there is nothing to write, and nobody has to wait for that.
        if decide(&self.known())?.is_empty() {
            return Ok(());
        }
        let _turn = self.turn.lock().await;
        let stream = stream()?;
        let mut attempts = 0;
        loop {
            let (mut events, last) = {
                let known = self.known();
                (decide(&known)?, known.last)
            };
            if events.is_empty() {
                return Ok(());
            }
            events.truncate(PAGE);
            if last.is_none() {
                self.describe(&stream).await?;
            }
            let written = events.iter().map(|event| event.to_event(self.ids.next_id())).collect();
            let expected = last.map_or(ExpectedState::NoStream, ExpectedState::Exact);
            match self.store.append(&stream, expected, written).await {
                Ok(appended) => {
                    let mut known = self.known_mut();
                    events.into_iter().for_each(|event| known.take(event));
                    known.last = appended.last_revision;
                }
                Err(Error::WrongExpectedRevision { .. }) if attempts < ATTEMPTS => {
                    attempts += 1;
                    self.read_on().await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn read_once(&self) -> Result<(), KeysError> {
        if self.known().whole {
            return Ok(());
        }
        let _turn = self.turn.lock().await;
        if self.known().whole { Ok(()) } else { self.read_on().await }
    }

    /// Reads what came since. Whoever calls has the turn.
    async fn read_on(&self) -> Result<(), KeysError> {
        let stream = stream()?;
        loop {
            let from = self.known().last.map_or(0, |last| last + 1);
            let options = ReadStream { from: event_store::ReadFrom::At(from), ..ReadStream::forwards(PAGE) };
            let page = match self.store.read_stream(&stream, options).await {
                Ok(page) => page,
                Err(Error::StreamNotFound(_)) => break,
                Err(error) => return Err(error.into()),
            };
            let mut known = self.known_mut();
            let mut found = false;
            for event in page.events.iter().filter_map(|event| event.event.as_ref()) {
                let said = KeyEvent::read(event).map_err(|error| {
                    Error::Corrupt(format!("event {} of '{STREAM}' cannot be read: {error}", event.revision))
                })?;
                said.into_iter().for_each(|said| known.take(said));
                (known.last, found) = (Some(event.revision), true);
            }
            if !found {
                break;
            }
        }
        self.known_mut().whole = true;
        Ok(())
    }

    /// Says whose the stream is, before it has its first event.
    async fn describe(&self, stream: &StreamName) -> Result<(), KeysError> {
        if self.store.metadata(stream).await?.revision.is_some() {
            return Ok(());
        }
        let metadata = StreamMetadata { acl: Some(Acl::admins()), ..StreamMetadata::default() };
        let id = self.ids.next_id();
        match self.store.set_metadata(stream, ExpectedState::NoStream, &metadata, id).await {
            // Somebody else just did.
            Ok(_) | Err(Error::WrongExpectedRevision { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_mut(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stream() -> Result<StreamName, KeysError> {
    Ok(StreamName::new(STREAM).map_err(|e| Error::InvalidArgument(e.to_string()))?)
}
