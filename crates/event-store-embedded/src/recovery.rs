//! Opening: find the end of the log, cut what a crash left of the last write, and bring the index up to it.

mod loss;
pub(crate) mod scan;

use crate::{
    cursor::Cursor,
    disk::{Disk, DiskLock, read_exactly},
    format::{self, HEADER_LEN, HeaderFault, RECORD_LEN, RecordHead, SegmentHeader},
    ids::{CAPACITY, RecentIds, fingerprint},
    index::{Index, IndexLimits, Mark, Opened, Sqlite, Stored},
    key::Hashing,
    log::{FOLDER, Log, LogWriter, Segment, create_segment, file_name},
    options::{OpenError, Options},
};
use event_store::Error;
use loss::Loss;
use scan::Scan;
use std::{io, path::Path, sync::Arc};

/// Where the ids of recent events are saved at a clean stop.
pub(crate) const IDS_FILE: &str = "ids.snapshot";

/// A store that is ready to go on.
pub(crate) struct Recovered {
    pub(crate) lock: DiskLock,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) log: Arc<Log>,
    pub(crate) writer: LogWriter,
    pub(crate) index: Index,
    pub(crate) ids: RecentIds,
    /// The position of the next event.
    pub(crate) end: u64,
    /// When the last event was taken, in ticks.
    pub(crate) last_created: i64,
    /// Whether the index is a file.
    pub(crate) indexed_on_disk: bool,
}

pub(crate) fn open(options: &Options) -> Result<Recovered, OpenError> {
    let failed = |error: io::Error| OpenError::Io { place: options.name(), error };
    let (disk, index_path) = options.open_disk().map_err(failed)?;
    let lock = disk.lock().map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked(options.name()),
        _ => failed(error),
    })?;
    let log =
        Arc::new(find_log(&disk, index_path.as_deref(), options).map_err(|fault| fault.explain(&failed))?);
    let (index, mark) =
        open_index(&log, index_path.as_deref(), options).map_err(|fault| fault.explain(&failed))?;
    let scanned =
        Scan::new(&log, &index, mark, options.index_batch).run().map_err(|fault| fault.explain(&failed))?;
    let end = scanned.end;
    let ids = recall_ids(&*disk, &log, &index, end).map_err(|fault| fault.explain(&failed))?;
    let last_created = match end.checked_sub(1) {
        None => i64::MIN,
        Some(last) => {
            Cursor::new(&log, &index)
                .checked(last)
                .map_err(Fault::from)
                .map_err(|f| f.explain(&failed))?
                .head
                .created
        }
    };
    let writer = LogWriter::new(Arc::clone(&log), options.segment_bytes, Arc::clone(&options.clock))
        .map_err(Fault::from)
        .map_err(|fault| fault.explain(&failed))?;
    let indexed_on_disk = index_path.is_some();
    Ok(Recovered { lock, disk, log, writer, index, ids, end, last_created, indexed_on_disk })
}

/// What stops recovery.
pub(crate) enum Fault {
    Io(io::Error),
    Version { file: String, found: u32 },
    Lost(Loss),
    Index(String),
    Store(Error),
}

impl Fault {
    fn explain(self, failed: &dyn Fn(io::Error) -> OpenError) -> OpenError {
        match self {
            Self::Io(error) => failed(error),
            Self::Version { file, found } => OpenError::Version { file, found },
            Self::Lost(Loss { file, offset, first, last }) => OpenError::Lost { file, offset, first, last },
            Self::Index(text) => OpenError::Index(text),
            Self::Store(Error::Corrupt(text)) => OpenError::Corrupt(text),
            Self::Store(Error::StorageFull(text)) => failed(io::Error::new(io::ErrorKind::StorageFull, text)),
            Self::Store(error) => failed(io::Error::other(error.to_string())),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

fn damaged(file: &str, why: &str) -> Fault {
    Fault::Store(Error::Corrupt(format!("{file}: {why}")))
}

/// Finds the segments and checks that they belong together; makes the first one of a new store.
fn find_log(disk: &Arc<dyn Disk>, index: Option<&Path>, options: &Options) -> Result<Log, Fault> {
    let mut numbers: Vec<u32> = disk
        .list(FOLDER)?
        .iter()
        .filter_map(|name| name.strip_prefix("segment-")?.strip_suffix(".log")?.parse().ok())
        .collect();
    numbers.sort_unstable();
    let mut headers: Vec<SegmentHeader> = Vec::with_capacity(numbers.len());
    let mut segments: Vec<Segment> = Vec::with_capacity(numbers.len());
    for (expected, number) in (0..).zip(&numbers) {
        let name = file_name(expected);
        if expected != *number {
            return Err(damaged(&name, "the file is missing"));
        }
        let file = disk.open(&name)?;
        let len = file.len()?;
        let bytes = read_exactly(&*file, 0, usize::try_from(len).unwrap_or(HEADER_LEN).min(HEADER_LEN))?;
        let header = match SegmentHeader::decode(&bytes) {
            Ok(header) => header,
            Err(HeaderFault::Version(found)) => return Err(Fault::Version { file: name, found }),
            // The header is safe on disk before the first record is written: a file without records was being made
            // when the machine stopped.
            Err(HeaderFault::Damaged)
                if len <= HEADER_LEN as u64 && expected as usize + 1 == numbers.len() =>
            {
                drop(file);
                tracing::warn!(file = name, "a segment that was never finished is removed");
                disk.remove(&name)?;
                disk.sync_dir(FOLDER)?;
                break;
            }
            Err(HeaderFault::Damaged) => {
                return Err(damaged(&name, "at offset 0: this is no segment's header"));
            }
        };
        let len =
            u32::try_from(len).map_err(|_| damaged(&name, "the file is larger than a segment can be"))?;
        if let Some(first) = headers.first() {
            let before = segments.last().map_or(0, |s| u64::from(s.len));
            if (header.store_id, header.seed, header.number) != (first.store_id, first.seed, expected) {
                return Err(damaged(&name, "it belongs to another store"));
            }
            if header.previous_len != before {
                let sealed = file_name(expected - 1);
                let why =
                    format!("at offset {before}: it has {before} bytes and had {}", header.previous_len);
                return Err(damaged(&sealed, &why));
            }
        } else if header.number != 0 {
            return Err(damaged(&name, "it says that it is another segment"));
        }
        headers.push(header);
        segments.push(Segment { first_position: header.first_position, len });
    }
    if let Some(first) = headers.first() {
        return Ok(Log::new(Arc::clone(disk), first.store_id, first.seed, segments));
    }
    if let Some(path) = index.filter(|path| path.exists())
        && let Ok(opened) = Sqlite::open(path)
        && opened.stored.mark.position > 0
    {
        // A volume that was not mounted, say: a new store in its place would hide what is only elsewhere.
        let (events, path) = (opened.stored.mark.position, path.display());
        let why = format!(
            "the log is gone, and {path} remembers {events} events: put it back, or remove that file to begin anew"
        );
        return Err(damaged(FOLDER, &why));
    }
    let seed = options.ids.next_id().as_u128();
    let header = SegmentHeader {
        number: 0,
        store_id: options.ids.next_id(),
        first_position: 0,
        previous_len: 0,
        seed: crc32fast::hash(&seed.to_le_bytes()),
    };
    create_segment(&**disk, &header)?;
    disk.sync_dir("")?;
    let segments = vec![Segment { first_position: 0, len: HEADER_LEN as u32 }];
    Ok(Log::new(Arc::clone(disk), header.store_id, header.seed, segments))
}

/// Opens the index if it belongs to this log, else makes an empty one. Gives how far it goes. An index that proves that the
/// log lost something is no index to throw away: with it would go the last trace of the loss.
fn open_index(log: &Log, path: Option<&Path>, options: &Options) -> Result<(Index, Mark), Fault> {
    let limits = IndexLimits {
        batch: options.index_batch,
        most: options.index_most,
        interval: options.index_interval,
    };
    let Some(path) = path else {
        let hashing = Hashing::new(options.ids.next_id().as_u128());
        return Ok((Index::new(None, hashing, limits, Mark::default()), Mark::default()));
    };
    let existed = path.exists();
    let why = match Sqlite::open(path) {
        Ok(Opened { stored, file }) => match (distrust(log, &stored), file) {
            (None, Some(sqlite)) => {
                let index = Index::new(Some(sqlite), stored.hashing, limits, stored.mark);
                return Ok((index, stored.mark));
            }
            (None, None) => "it was made by an earlier version, and lacks what this one looks up".into(),
            (Some(Doubt::Foreign(why)), _) => why.to_owned(),
            (Some(Doubt::Ahead), _) => {
                let loss = Loss::measure(log, &stored.mark)?;
                if !options.accept_loss {
                    return Err(Fault::Lost(loss));
                }
                let Loss { file, offset, first, last } = loss;
                tracing::warn!(
                    file,
                    offset,
                    first,
                    last,
                    "events that were safe on disk are gone, as was accepted"
                );
                "it knows events that are gone".into()
            }
        },
        Err(error) => error.to_string(),
    };
    let empty = log.count() == 1 && log.bytes_on_disk() == HEADER_LEN as u64;
    if !existed && !empty {
        tracing::warn!(file = %path.display(), "the index is missing and is built again from the log");
    }
    if existed {
        tracing::warn!(file = %path.display(), why, "the index is thrown away and built again from the log");
    }
    let hashing = Hashing::new(options.ids.next_id().as_u128());
    let stored = Stored { store_id: log.store_id, hashing, mark: Mark::default() };
    let sqlite =
        Sqlite::create(path, &stored).map_err(|e| Fault::Index(format!("{}: {e}", path.display())))?;
    Ok((Index::new(Some(sqlite), hashing, limits, Mark::default()), Mark::default()))
}

/// Why an index cannot be used with this log.
enum Doubt {
    /// It is not this log's, or nonsense.
    Foreign(&'static str),
    /// It is this log's, and its last event is not there. The index gets only what was flushed: something was lost.
    Ahead,
}

fn distrust(log: &Log, stored: &Stored) -> Option<Doubt> {
    if stored.store_id != log.store_id {
        return Some(Doubt::Foreign("it belongs to another store"));
    }
    let mark = stored.mark;
    let Some((offset, crc)) = mark.last else {
        return (mark.position != 0).then_some(Doubt::Foreign("its checkpoint makes no sense"));
    };
    if mark.offset < offset {
        return Some(Doubt::Foreign("its checkpoint makes no sense"));
    }
    let whole = log.segment(mark.segment).is_some_and(|segment| segment.len >= mark.offset);
    let bytes = whole.then(|| log.read(mark.segment, offset, (mark.offset - offset) as usize).ok()).flatten();
    let same = bytes.is_some_and(|bytes| {
        bytes.len() >= RECORD_LEN
            && RecordHead::decode(&bytes)
                .is_some_and(|h| h.position + 1 == mark.position && h.total() == bytes.len())
            && format::u32_at(&bytes, 0) == crc
            && format::is_intact(&bytes, log.seed)
    });
    (!same).then_some(Doubt::Ahead)
}

/// The ids of recent events: from the snapshot as far as it goes, the rest from the log.
fn recall_ids(disk: &dyn Disk, log: &Log, index: &Index, end: u64) -> Result<RecentIds, Fault> {
    let oldest = end.saturating_sub(CAPACITY as u64);
    let mut ids = match read_snapshot(disk, snapshot_tag(log, index)) {
        Some(ids) if ids.end() <= end && ids.end() >= oldest => ids,
        _ => RecentIds::new(oldest),
    };
    let mut cursor = Cursor::new(log, index);
    let mut name: Vec<u8> = Vec::new();
    let mut key = index.hashing.key(&name);
    for position in ids.end()..end {
        let raw = cursor.raw(position)?;
        if raw.stream() != name {
            name = raw.stream().to_vec();
            key = index.hashing.key(&name);
        }
        ids.push(fingerprint(raw.head.id, key));
    }
    Ok(ids)
}

/// What a snapshot of ids must be of: this store, hashed with this secret.
pub(crate) fn snapshot_tag(log: &Log, index: &Index) -> [u8; 16] {
    let key = index.hashing.key(log.store_id.as_bytes());
    uuid::Uuid::from_u64_pair(key.high, key.low).into_bytes()
}

fn read_snapshot(disk: &dyn Disk, tag: [u8; 16]) -> Option<RecentIds> {
    let file = disk.open(IDS_FILE).ok()?;
    let len = file.len().ok()?;
    let most = 64 + 8 * CAPACITY;
    let bytes = read_exactly(&*file, 0, usize::try_from(len).ok().filter(|len| *len <= most)?).ok()?;
    RecentIds::decode(&bytes, tag)
}
