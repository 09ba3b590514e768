//! The segment files: where they are, how far they are safe to read, and how a group of commits is added.

use crate::{
    disk::{Disk, DiskFile, is_full, read_exactly},
    format::{HEADER_LEN, SegmentHeader},
    sync::{lock, read, write},
    telemetry,
};
use bytes::Bytes;
use event_store::{Clock, Error, Result};
use lru::LruCache;
use std::{
    io,
    num::NonZeroUsize,
    sync::{Arc, Mutex, RwLock},
};
use uuid::Uuid;

/// The folder of the segments.
pub(crate) const FOLDER: &str = "log";
/// How many segments are kept open for reading.
const OPEN_FILES: NonZeroUsize = NonZeroUsize::new(64).unwrap();

/// The file of a segment.
pub(crate) fn file_name(number: u32) -> String {
    format!("{FOLDER}/segment-{number:08}.log")
}

/// A segment, as far as readers may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) first_position: u64,
    /// Bytes that are safe on disk.
    pub(crate) len: u32,
}

/// All segments, for readers.
#[derive(Debug)]
pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    segments: RwLock<Vec<Segment>>,
    files: Mutex<LruCache<u32, Arc<dyn DiskFile>>>,
    pub(crate) store_id: Uuid,
    pub(crate) seed: u32,
}

impl Log {
    pub(crate) fn new(disk: Arc<dyn Disk>, store_id: Uuid, seed: u32, segments: Vec<Segment>) -> Self {
        let files = Mutex::new(LruCache::new(OPEN_FILES));
        Self { disk, segments: RwLock::new(segments), files, store_id, seed }
    }

    pub(crate) fn segment(&self, number: u32) -> Option<Segment> {
        read(&self.segments).get(number as usize).copied()
    }

    pub(crate) fn count(&self) -> u32 {
        u32::try_from(read(&self.segments).len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn bytes_on_disk(&self) -> u64 {
        read(&self.segments).iter().map(|s| u64::from(s.len)).sum()
    }

    pub(crate) fn set_len(&self, number: u32, len: u32) {
        if let Some(segment) = write(&self.segments).get_mut(number as usize) {
            segment.len = len;
        }
    }

    pub(crate) fn file(&self, number: u32) -> Result<Arc<dyn DiskFile>> {
        if let Some(file) = lock(&self.files).get(&number) {
            return Ok(Arc::clone(file));
        }
        let name = file_name(number);
        let file = self.disk.open(&name).map_err(|e| Error::Internal(format!("{name}: {e}")))?;
        lock(&self.files).put(number, Arc::clone(&file));
        Ok(file)
    }

    /// Reads bytes that must be there.
    pub(crate) fn read(&self, number: u32, offset: u32, len: usize) -> Result<Bytes> {
        let bytes = read_exactly(&*self.file(number)?, u64::from(offset), len);
        bytes.map(Bytes::from).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.damage(number, u64::from(offset), &error.to_string()),
            _ => Error::Internal(format!("{}: {error}", file_name(number))),
        })
    }

    /// Makes the names of all segments safe on disk.
    pub(crate) fn sync_names(&self) -> io::Result<()> {
        self.disk.sync_dir(FOLDER)?;
        self.disk.sync_dir("")
    }

    /// The error that names a damaged place.
    pub(crate) fn damage(&self, number: u32, offset: u64, why: &str) -> Error {
        Error::Corrupt(format!("{} at offset {offset}: {why}", file_name(number)))
    }
}

/// Why a group could not be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WriteFailure {
    /// No space; the log is as it was before.
    Full(String),
    /// Nothing is known of the file's end any more.
    Broken(String),
}

/// The end of the log. There is one, and only the writer's thread has it.
#[derive(Debug)]
pub(crate) struct LogWriter {
    log: Arc<Log>,
    file: Arc<dyn DiskFile>,
    number: u32,
    len: u32,
    /// A group that would make the segment longer than this begins a new one.
    max: u32,
    clock: Arc<dyn Clock>,
}

impl LogWriter {
    /// Goes on at the end of the last segment.
    pub(crate) fn new(log: Arc<Log>, max: u32, clock: Arc<dyn Clock>) -> Result<Self> {
        let number = log.count().saturating_sub(1);
        let len = log.segment(number).map_or(0, |s| s.len);
        Ok(Self { file: log.file(number)?, log, number, len, max, clock })
    }

    /// Writes and flushes one group; says where it begins. `first_position` is the position of its first record.
    pub(crate) fn append(
        &mut self,
        group: &[u8],
        first_position: u64,
    ) -> std::result::Result<(u32, u32), WriteFailure> {
        let end = self.len as usize + group.len();
        if end > self.max as usize && self.len as usize > HEADER_LEN {
            self.roll(first_position)?;
        }
        let offset = self.len;
        let end = u32::try_from(offset as usize + group.len())
            .map_err(|_| WriteFailure::Full("a segment cannot be larger than 4 GiB".into()))?;
        if let Err(error) = self.file.write_at(u64::from(offset), group) {
            return Err(self.cut_back(&error));
        }
        self.flush().map_err(|error| self.broken("flush", &error))?;
        self.len = end;
        self.log.set_len(self.number, end);
        Ok((self.number, offset))
    }

    fn flush(&self) -> io::Result<()> {
        let before = self.clock.monotonic();
        let flushed = self.file.sync_data();
        let took = self.clock.monotonic().saturating_sub(before);
        metrics::histogram!(telemetry::FLUSH_SECONDS).record(took.as_secs_f64());
        flushed
    }

    fn broken(&self, what: &str, error: &io::Error) -> WriteFailure {
        WriteFailure::Broken(format!("{what} of {} failed: {error}", file_name(self.number)))
    }

    /// After a failed write: without space the file is cut to what it was, and the store goes on.
    fn cut_back(&self, error: &io::Error) -> WriteFailure {
        if !is_full(error) {
            return self.broken("a write", error);
        }
        match self.file.set_len(u64::from(self.len)).and_then(|()| self.flush()) {
            Ok(()) => WriteFailure::Full(error.to_string()),
            Err(cut) => self.broken("cutting back a write that found no space", &cut),
        }
    }

    /// Begins the next segment. It is safe on disk, with its name, before anything is written to it.
    fn roll(&mut self, first_position: u64) -> std::result::Result<(), WriteFailure> {
        let number = self.number + 1;
        let header = SegmentHeader {
            number,
            store_id: self.log.store_id,
            first_position,
            previous_len: u64::from(self.len),
            seed: self.log.seed,
        };
        let file = match create_segment(&*self.log.disk, &header) {
            Ok(file) => file,
            Err(error) => {
                // What is left of it is removed at the next try, or at the next start.
                let _ = self.log.disk.remove(&file_name(number));
                return Err(if is_full(&error) {
                    WriteFailure::Full(error.to_string())
                } else {
                    WriteFailure::Broken(format!("{} could not be made: {error}", file_name(number)))
                });
            }
        };
        write(&self.log.segments).push(Segment { first_position, len: HEADER_LEN as u32 });
        lock(&self.log.files).put(number, Arc::clone(&file));
        self.file = file;
        self.number = number;
        self.len = HEADER_LEN as u32;
        tracing::debug!(segment = number, first_position, "a new segment of the log");
        Ok(())
    }
}

/// Makes a segment that holds its header and nothing else, safe on disk.
pub(crate) fn create_segment(disk: &dyn Disk, header: &SegmentHeader) -> io::Result<Arc<dyn DiskFile>> {
    let name = file_name(header.number);
    let file = match disk.create(&name) {
        // Left over from a try that failed; no record was ever written to it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            disk.remove(&name)?;
            disk.create(&name)?
        }
        other => other?,
    };
    file.write_at(0, &header.encode())?;
    file.sync_data()?;
    disk.sync_dir(FOLDER)?;
    Ok(file)
}
