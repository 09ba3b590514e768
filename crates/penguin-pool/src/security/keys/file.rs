//! A key store in a file of its own: a line of JSON for each user.
//!
//! A new key is a line more, flushed before it is answered. What is taken away is taken out of the file: a new file is
//! written whole, flushed, and put in the place of the old one in one step. The file is locked while it is in use, and
//! so is the one that takes its place before it does.

use super::store::{Entry, KeyStore, KeyStoreError, WrappedKey};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// The first line of the file.
const HEADER: &str = r#"{"format":"penguin-pool-keys","version":1}"#;

/// A key store in a file, or in memory alone. Cloning is cheap, and all clones are the same one.
#[derive(Debug, Clone)]
pub struct FileKeyStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: Option<PathBuf>,
    /// What is kept: whoever looks waits for no disk.
    entries: RwLock<BTreeMap<String, Entry>>,
    /// Whoever changes what is kept holds this.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The file, locked; nothing before the first entry.
    file: Option<File>,
    /// A file was to take the place of the other, and it is not known whether it did: nothing more is written.
    unsure: bool,
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    user: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<WrappedKey>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    erased: bool,
}

impl FileKeyStore {
    /// Keeps keys in memory, and loses them at the end.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::new(None, BTreeMap::new(), None)
    }

    fn new(path: Option<PathBuf>, entries: BTreeMap<String, Entry>, file: Option<File>) -> Self {
        let state = Mutex::new(State { file, unsure: false });
        Self(Arc::new(Inner { path, entries: RwLock::new(entries), state }))
    }

    /// Opens the file, if it is there; it is made with the first entry, or when it is prepared. Nothing is changed by opening.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn open(path: &Path) -> Result<Self, KeyStoreError> {
        let path = path.to_owned();
        let (entries, file) = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(mut file) => {
                lock(&path, &file)?;
                let mut text = String::new();
                file.read_to_string(&mut text).map_err(|e| unusable(&path, &e))?;
                (read(&path, &text)?, Some(file))
            }
            Err(error) if is_nothing(&error) => (BTreeMap::new(), None),
            Err(error) => return Err(unusable(&path, &error)),
        };
        Ok(Self::new(Some(path), entries, file))
    }

    /// Changes what is kept, where it may wait for the disk.
    async fn change<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Inner, &mut State) -> Result<T, KeyStoreError> + Send + 'static,
    ) -> Result<T, KeyStoreError> {
        let inner = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || {
            let mut state = inner.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.unsure {
                let message = "failed while it was written anew: start the service again";
                return Err(KeyStoreError::Unusable(message.to_owned()));
            }
            act(&inner, &mut state)
        });
        done.await.map_err(|e| KeyStoreError::Unusable(format!("failed: {e}")))?
    }
}

impl Inner {
    fn entries(&self) -> RwLockReadGuard<'_, BTreeMap<String, Entry>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn entries_mut(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Entry>> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an entry: a line more in the file.
    fn append(&self, state: &mut State, user_id: String, entry: Entry) -> Result<(), KeyStoreError> {
        if let Some(path) = &self.path {
            let Some(file) = &mut state.file else {
                // The first entry: the file is made as it is made anew.
                return self.rewrite(state, [(user_id, entry)].into());
            };
            let line = line(&user_id, &entry)?;
            // A line that was torn by the last end stands behind the last whole one: it was never answered.
            let add = |file: &mut File| -> io::Result<()> {
                let end = end_of_lines(file)?;
                file.set_len(end)?;
                file.seek(io::SeekFrom::Start(end))?;
                file.write_all(line.as_bytes())?;
                file.sync_all()
            };
            add(file).map_err(|e| unusable(path, &e))?;
        }
        self.entries_mut().insert(user_id, entry);
        Ok(())
    }

    /// Writes the whole file anew.
    fn rewrite(&self, state: &mut State, entries: BTreeMap<String, Entry>) -> Result<(), KeyStoreError> {
        if let Some(path) = &self.path {
            if state.file.is_none() && path.exists() {
                return Err(KeyStoreError::InUse(path.display().to_string()));
            }
            state.unsure = true;
            state.file = Some(write(path, &entries)?);
            state.unsure = false;
        }
        *self.entries_mut() = entries;
        Ok(())
    }
}

#[async_trait::async_trait]
impl KeyStore for FileKeyStore {
    /// The file is made if it is not there.
    async fn prepare(&self) -> Result<(), KeyStoreError> {
        self.change(
            |inner, state| if state.file.is_none() { inner.rewrite(state, BTreeMap::new()) } else { Ok(()) },
        )
        .await
    }

    async fn find(&self, user_id: &str) -> Result<Option<Entry>, KeyStoreError> {
        Ok(self.0.entries().get(user_id).cloned())
    }

    async fn insert(&self, user_id: &str, key: WrappedKey) -> Result<Entry, KeyStoreError> {
        let user_id = user_id.to_owned();
        self.change(move |inner, state| {
            let kept = inner.entries().get(&user_id).cloned();
            if let Some(kept) = kept {
                return Ok(kept);
            }
            let entry = Entry::Key(key);
            inner.append(state, user_id, entry.clone())?;
            Ok(entry)
        })
        .await
    }

    async fn erase(&self, user_id: &str) -> Result<bool, KeyStoreError> {
        let user_id = user_id.to_owned();
        self.change(move |inner, state| {
            let mut entries = inner.entries().clone();
            let was = entries.insert(user_id, Entry::Erased);
            if was == Some(Entry::Erased) {
                return Ok(false);
            }
            inner.rewrite(state, entries)?;
            Ok(was.is_some())
        })
        .await
    }

    async fn keys(&self) -> Result<Vec<(String, WrappedKey)>, KeyStoreError> {
        let entries = self.0.entries();
        let keys = entries.iter().filter_map(|(user_id, entry)| match entry {
            Entry::Key(key) => Some((user_id.clone(), key.clone())),
            Entry::Erased => None,
        });
        Ok(keys.collect())
    }

    async fn erased(&self) -> Result<Vec<String>, KeyStoreError> {
        let entries = self.0.entries();
        let erased = entries.iter().filter(|(_, entry)| **entry == Entry::Erased);
        Ok(erased.map(|(user_id, _)| user_id.clone()).collect())
    }

    async fn replace(&self, keys: Vec<(String, WrappedKey)>) -> Result<(), KeyStoreError> {
        self.change(move |inner, state| {
            let mut entries = inner.entries().clone();
            for (user_id, key) in keys {
                if let Some(Entry::Key(kept)) = entries.get_mut(&user_id) {
                    *kept = key;
                }
            }
            inner.rewrite(state, entries)
        })
        .await
    }
}

fn line(user_id: &str, entry: &Entry) -> Result<String, KeyStoreError> {
    let (key, erased) = match entry {
        Entry::Key(key) => (Some(key.clone()), false),
        Entry::Erased => (None, true),
    };
    let json = serde_json::to_string(&Line { user: user_id.to_owned(), key, erased });
    json.map(|json| json + "\n").map_err(|e| KeyStoreError::Unusable(format!("cannot be written: {e}")))
}

/// The entries in a file's text. A last line without its end was never answered, and is left out.
fn read(path: &Path, text: &str) -> Result<BTreeMap<String, Entry>, KeyStoreError> {
    let damaged = |number: usize| {
        KeyStoreError::Damaged(format!("{} is damaged: line {number} makes no sense", path.display()))
    };
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut lines = whole.split('\n');
    if lines.next() != Some(HEADER) {
        return Err(damaged(1));
    }
    let mut entries = BTreeMap::new();
    for (index, text) in lines.enumerate() {
        let Ok(line) = serde_json::from_str::<Line>(text) else { return Err(damaged(index + 2)) };
        let entry = match (line.key, line.erased) {
            (Some(key), false) => Entry::Key(key),
            (None, true) => Entry::Erased,
            _ => return Err(damaged(index + 2)),
        };
        entries.insert(line.user, entry);
    }
    Ok(entries)
}

/// Where the last whole line ends.
fn end_of_lines(file: &mut File) -> io::Result<u64> {
    let mut end = file.seek(io::SeekFrom::End(0))?;
    let mut byte = [0];
    while end > 0 {
        file.seek(io::SeekFrom::Start(end - 1))?;
        file.read_exact(&mut byte)?;
        if byte == *b"\n" {
            break;
        }
        end -= 1;
    }
    Ok(end)
}

/// Writes a file whole, and puts it in its place in one step; the file, locked.
fn write(path: &Path, entries: &BTreeMap<String, Entry>) -> Result<File, KeyStoreError> {
    let mut text = format!("{HEADER}\n");
    for (user_id, entry) in entries {
        text.push_str(&line(user_id, entry)?);
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let put = || -> io::Result<File> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(directory)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&beside)?;
        file.try_lock().map_err(io::Error::from)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        File::open(directory)?.sync_all()?;
        Ok(file)
    };
    put().map_err(|e| unusable(path, &e))
}

fn lock(path: &Path, file: &File) -> Result<(), KeyStoreError> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => KeyStoreError::InUse(path.display().to_string()),
        TryLockError::Error(error) => unusable(path, &error),
    })
}

fn unusable(path: &Path, error: &io::Error) -> KeyStoreError {
    KeyStoreError::Unusable(format!("{} cannot be used: {error}", path.display()))
}

/// Whether nothing can stand there: no file, or no directory to hold it. Who wants to write there will hear of it.
fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str) -> WrappedKey {
        WrappedKey { id: id.into(), ring: "r".into(), nonce: "n".into(), wrapped: format!("secret-{id}") }
    }

    #[tokio::test]
    async fn what_was_answered_is_there_after_a_restart_and_what_was_erased_is_not_in_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/keys");
        let store = FileKeyStore::open(&path).unwrap();
        assert!(!path.exists(), "opening makes nothing");
        assert_eq!(store.insert("bob", key("1")).await.unwrap(), Entry::Key(key("1")));
        assert_eq!(store.insert("bob", key("2")).await.unwrap(), Entry::Key(key("1")), "the first stays");
        store.insert("eve", key("3")).await.unwrap();
        assert!(matches!(FileKeyStore::open(&path), Err(KeyStoreError::InUse(_))));
        assert!(store.erase("bob").await.unwrap());
        assert!(!store.erase("bob").await.unwrap());
        assert_eq!(store.insert("bob", key("4")).await.unwrap(), Entry::Erased, "erased is for ever");
        assert!(
            matches!(FileKeyStore::open(&path), Err(KeyStoreError::InUse(_))),
            "the new file is locked too"
        );
        drop(store);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("secret-1") && text.contains("secret-3"), "{text}");

        let store = FileKeyStore::open(&path).unwrap();
        assert_eq!(store.find("bob").await.unwrap(), Some(Entry::Erased));
        assert_eq!(store.find("eve").await.unwrap(), Some(Entry::Key(key("3"))));
        assert_eq!(store.find("al").await.unwrap(), None);
        assert_eq!(store.erased().await.unwrap(), ["bob"]);
        let again = vec![("eve".to_owned(), key("5")), ("bob".to_owned(), key("6"))];
        store.replace(again).await.unwrap();
        assert_eq!(store.keys().await.unwrap(), [("eve".to_owned(), key("5"))]);
        assert_eq!(store.find("bob").await.unwrap(), Some(Entry::Erased));
    }

    #[tokio::test]
    async fn a_torn_line_is_cut_and_damage_before_the_end_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        let store = FileKeyStore::open(&path).unwrap();
        store.insert("bob", key("1")).await.unwrap();
        drop(store);
        let sound = std::fs::read_to_string(&path).unwrap();
        for torn in 1..20 {
            let line = line("eve", &Entry::Key(key("2"))).unwrap();
            std::fs::write(&path, format!("{sound}{}", &line[..torn])).unwrap();
            let store = FileKeyStore::open(&path).unwrap();
            assert_eq!(store.keys().await.unwrap().len(), 1);
            store.insert("al", key("3")).await.unwrap();
            drop(store);
            assert_eq!(FileKeyStore::open(&path).unwrap().keys().await.unwrap().len(), 2);
        }
        for damaged in [
            "",
            "x\n",
            &sound.replace(HEADER, "{}"),
            &sound.replace("\"key\"", "\"kex\""),
            &format!("{sound}\n"),
        ] {
            std::fs::write(&path, damaged).unwrap();
            assert!(matches!(FileKeyStore::open(&path), Err(KeyStoreError::Damaged(_))), "{damaged}");
        }
    }
}
