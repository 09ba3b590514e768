//! Files that live and die with the process, for `:memory:`.

use super::{Disk, DiskFile, DiskLock};
use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

/// Files in memory. Two handles to one are made by cloning it.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk {
    files: Arc<Mutex<BTreeMap<String, Arc<MemoryFile>>>>,
    lock: Arc<Mutex<bool>>,
}

impl MemoryDisk {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn files<T>(&self, f: impl FnOnce(&mut BTreeMap<String, Arc<MemoryFile>>) -> T) -> T {
        f(&mut self.files.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Held(Arc<Mutex<bool>>);

impl Drop for Held {
    fn drop(&mut self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }
}

impl Disk for MemoryDisk {
    fn lock(&self) -> io::Result<DiskLock> {
        let mut taken = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *taken, true) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Held(Arc::clone(&self.lock))))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let inside =
            |name: &String| name.strip_prefix(&prefix).filter(|n| !n.contains('/')).map(str::to_owned);
        Ok(self.files(|files| files.keys().filter_map(inside).collect()))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.files(|files| files.get(name).cloned()).ok_or(io::ErrorKind::NotFound)?;
        Ok(file)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.files(|files| {
            if files.contains_key(name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let file = Arc::new(MemoryFile::default());
            files.insert(name.to_owned(), Arc::clone(&file));
            Ok(file as Arc<dyn DiskFile>)
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.files(|files| files.remove(name)).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.files(|files| {
            let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
            files.insert(to.to_owned(), file);
            Ok(())
        })
    }

    fn sync_dir(&self, _: &str) -> io::Result<()> {
        Ok(())
    }
}

/// How much of a file is allocated at once: growing never copies what is there.
const CHUNK: usize = 1 << 20;

#[derive(Debug, Default)]
struct MemoryFile(RwLock<Content>);

#[derive(Debug, Default)]
struct Content {
    chunks: Vec<Vec<u8>>,
    len: usize,
}

impl Content {
    fn grow(&mut self, len: usize) {
        self.len = len;
        while self.chunks.len() * CHUNK < len {
            self.chunks.push(vec![0; CHUNK]);
        }
    }

    fn resize(&mut self, len: usize) {
        if len < self.len {
            // What is cut must read as zeros if the file grows again.
            self.chunks.truncate(len.div_ceil(CHUNK));
            if !len.is_multiple_of(CHUNK)
                && let Some(last) = self.chunks.last_mut()
            {
                last[len % CHUNK..].fill(0);
            }
        }
        self.grow(len);
    }
}

impl DiskFile for MemoryFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let content = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len);
        let total = buffer.len().min(content.len - start);
        let mut done = 0;
        while done < total {
            let at = start + done;
            let chunk = &content.chunks[at / CHUNK][at % CHUNK..];
            let take = chunk.len().min(total - done);
            buffer[done..done + take].copy_from_slice(&chunk[..take]);
            done += take;
        }
        Ok(total)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut content = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let end = start + data.len();
        if end > content.len {
            content.grow(end);
        }
        let mut done = 0;
        while done < data.len() {
            let at = start + done;
            let chunk = &mut content.chunks[at / CHUNK][at % CHUNK..];
            let take = chunk.len().min(data.len() - done);
            chunk[..take].copy_from_slice(&data[done..done + take]);
            done += take;
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.0.write().unwrap_or_else(PoisonError::into_inner).resize(len);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).len as u64)
    }
}
