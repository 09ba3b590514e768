//! How to open a store.

use crate::disk::{Disk, MemoryDisk, RealDisk};
use event_store::{Clock, IdSource, RandomIds, SystemClock};
use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// How to open a store: where it is, and its limits.
#[derive(Debug, Clone)]
pub struct Options {
    pub(crate) place: Place,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn IdSource>,
    pub(crate) segment_bytes: u32,
    pub(crate) max_event_bytes: usize,
    pub(crate) max_append_bytes: usize,
    pub(crate) group_bytes: usize,
    pub(crate) heads: NonZeroUsize,
    pub(crate) index_batch: usize,
    pub(crate) index_most: usize,
    pub(crate) index_interval: Duration,
    pub(crate) readers: usize,
    pub(crate) accept_loss: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Place {
    Directory(PathBuf),
    Disk { disk: Arc<dyn Disk>, index: Option<PathBuf> },
}

impl Options {
    /// A store in a directory (made where it does not exist). `:memory:` is [`Options::in_memory`].
    pub fn at(directory: impl AsRef<Path>) -> Self {
        let directory = directory.as_ref();
        if directory.as_os_str() == ":memory:" {
            return Self::in_memory();
        }
        Self::new(Place::Directory(directory.to_owned()))
    }

    /// A store without files, gone when it is dropped.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::on_disk(Arc::new(MemoryDisk::new()), None)
    }

    /// A store whose log is on the disk given; its index is a real file, or in memory and built at each start.
    pub fn on_disk(disk: Arc<dyn Disk>, index: Option<PathBuf>) -> Self {
        Self::new(Place::Disk { disk, index })
    }

    fn new(place: Place) -> Self {
        Self {
            place,
            clock: Arc::new(SystemClock),
            ids: Arc::new(RandomIds),
            segment_bytes: 256 << 20,
            max_event_bytes: 16 << 20,
            max_append_bytes: 256 << 20,
            group_bytes: 8 << 20,
            heads: NonZeroUsize::new(1 << 15).unwrap_or(NonZeroUsize::MIN),
            index_batch: 50_000,
            index_most: 500_000,
            index_interval: Duration::from_secs(2),
            readers: 8,
            accept_loss: false,
        }
    }

    /// The clock that dates events (the machine's unless set).
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Where ids of the store and of its own events come from (random unless set).
    #[must_use]
    pub fn ids(self, ids: Arc<dyn IdSource>) -> Self {
        Self { ids, ..self }
    }

    /// The size of a segment in bytes, 4 KiB to 1 GiB (256 MiB unless set). One append may make a segment larger.
    #[must_use]
    pub fn segment_bytes(self, bytes: u32) -> Self {
        Self { segment_bytes: bytes.clamp(4 << 10, 1 << 30), ..self }
    }

    /// The largest event that is taken, in bytes as [`event_store::NewEvent::size`] counts (16 MiB unless set, which is also the most).
    #[must_use]
    pub fn max_event_bytes(self, bytes: usize) -> Self {
        Self { max_event_bytes: bytes.min(16 << 20), ..self }
    }

    /// The largest append that is taken, in bytes (256 MiB unless set, which is also the most).
    #[must_use]
    pub fn max_append_bytes(self, bytes: usize) -> Self {
        Self { max_append_bytes: bytes.min(256 << 20), ..self }
    }

    /// How the index moves from memory to its file: after so many rows, or after so long, whichever comes first (50,000
    /// rows, 2 s unless set). What is not there after a kill is read from the log at the next start.
    #[must_use]
    pub fn index_batches(self, rows: usize, interval: Duration) -> Self {
        let rows = rows.max(1);
        Self { index_batch: rows, index_most: rows.saturating_mul(10), index_interval: interval, ..self }
    }

    /// How many streams' heads are kept in memory (32,768 unless set).
    #[must_use]
    pub fn cached_heads(self, heads: NonZeroUsize) -> Self {
        Self { heads, ..self }
    }

    /// Opens a log that lost events which its index proves to have been safe on disk, and goes on without them: where it
    /// would be [`OpenError::Lost`] otherwise. Their positions and revisions are given to new events.
    #[must_use]
    pub fn accept_loss(self) -> Self {
        Self { accept_loss: true, ..self }
    }

    pub(crate) fn open_disk(&self) -> std::io::Result<(Arc<dyn Disk>, Option<PathBuf>)> {
        match &self.place {
            Place::Directory(directory) => {
                let disk = RealDisk::new(directory)?;
                Ok((Arc::new(disk), Some(directory.join("index.sqlite"))))
            }
            Place::Disk { disk, index } => Ok((Arc::clone(disk), index.clone())),
        }
    }

    /// The place, for messages.
    pub(crate) fn name(&self) -> String {
        match &self.place {
            Place::Directory(directory) => directory.display().to_string(),
            Place::Disk { .. } => "the given disk".to_owned(),
        }
    }
}

/// Why a store cannot be opened: one line that a person can act on.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process (or another store in this one) has it open.
    #[error("the event store in {0} is in use by another process")]
    Locked(String),
    /// The directory cannot be made, read or written.
    #[error("the event store in {place} cannot be used: {error}")]
    Io {
        /// The directory.
        place: String,
        /// What the system said.
        #[source]
        error: std::io::Error,
    },
    /// It was written by a later version of this program.
    #[error("{file} has format version {found}, and this program reads {}", crate::format::VERSION)]
    Version {
        /// The file.
        file: String,
        /// The version it has.
        found: u32,
    },
    /// The log is damaged where it was once safe on disk. Restore a backup.
    #[error("the event store is damaged: {0}")]
    Corrupt(String),
    /// The log ends before an event that its index knows, and the index gets only what is safe on disk: the disk lost it,
    /// or the log is an older copy. Restore what is missing, or go on without it ([`Options::accept_loss`]).
    #[error(
        "events that were safe on disk are gone: {file} lacks what stood at offset {offset} and after it, events {first} to \
         {last} in the order of everything and whatever came later; the index knows them, and nothing was changed"
    )]
    Lost {
        /// The file of the log that lacks them.
        file: String,
        /// Where in it they should begin, in bytes.
        offset: u32,
        /// The position of the first event that is gone.
        first: u64,
        /// The position of the last event that is known to be gone.
        last: u64,
    },
    /// The index cannot be made.
    #[error("the index of the event store cannot be used: {0}")]
    Index(String),
}
