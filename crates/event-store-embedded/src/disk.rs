//! The few file operations that the log needs, behind a trait, so that tests can bring a disk that forgets what was not
//! flushed, tears the last write, or fails.

mod memory;
mod real;

pub use memory::MemoryDisk;
pub use real::RealDisk;

use std::{any::Any, fmt::Debug, io, sync::Arc};

/// Held while the store is open; dropping it gives the lock back.
pub type DiskLock = Box<dyn Any + Send + Sync>;

/// A directory of files. Names are relative to it, with `/` between folders: `log/segment-00000000.log`.
pub trait Disk: Debug + Send + Sync + 'static {
    /// Takes the lock that keeps a second store out.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if it is taken; any other if the directory cannot be used.
    fn lock(&self) -> io::Result<DiskLock>;

    /// The names of the files in a folder, in no order. A folder that does not exist is empty.
    ///
    /// # Errors
    /// If it cannot be read.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;

    /// Opens a file to read and write.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if it does not exist.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Makes an empty file, and its folder where that is missing. It can be relied on after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if it exists.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Removes a file.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if it does not exist.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Gives a file another name, replacing what has that name. It can be relied on after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if it does not exist.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes files made, renamed and removed in a folder (and the folder itself) survive a loss of power.
    ///
    /// # Errors
    /// If the disk fails.
    fn sync_dir(&self, folder: &str) -> io::Result<()>;
}

/// An open file.
pub trait DiskFile: Debug + Send + Sync + 'static {
    /// Reads at an offset as much as there is, up to the buffer's length. Fewer bytes only at the file's end.
    ///
    /// # Errors
    /// If the disk fails.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all of it at an offset. After an error any part may have been written.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] (or `QuotaExceeded`) if there is no space; any other if the disk fails.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Makes what was written survive a loss of power. After an error nothing is known of what was written.
    ///
    /// # Errors
    /// If the disk fails.
    fn sync_data(&self) -> io::Result<()>;

    /// Cuts or extends (with zeros) the file.
    ///
    /// # Errors
    /// If the disk fails.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Its length in bytes.
    ///
    /// # Errors
    /// If the disk fails.
    fn len(&self) -> io::Result<u64>;

    /// Whether it holds nothing.
    ///
    /// # Errors
    /// As [`DiskFile::len`].
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// Reads exactly `len` bytes, or says how many there were.
pub(crate) fn read_exactly(file: &dyn DiskFile, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; len];
    let read = file.read_at(offset, &mut buffer)?;
    if read < len {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{read} bytes where {len} should be"),
        ));
    }
    Ok(buffer)
}

/// Whether an error says that there is no space left.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
