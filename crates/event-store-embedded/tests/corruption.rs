//! Damage, by name: what can be healed is healed, and what cannot is an error that names the file and the offset.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::{
    Dice,
    book::{Book, append, everything},
    work::write_all,
};
use event_store::{Error, EventStore, ExpectedState, ReadAll, ReadFrom};
use event_store_embedded::{
    Engine, OpenError, Options,
    format::{self, FIRST_OF_COMMIT, HEADER_LEN, LAST_OF_COMMIT, Record, RecordHead, SegmentHeader},
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;
use uuid::Uuid;

/// Small segments, and an index that is written at a clean stop alone.
fn options(directory: &Path) -> Options {
    Options::at(directory).segment_bytes(8 << 10).index_batches(1_000_000, Duration::from_secs(3600))
}

/// A store with several segments, and the book of what is in it.
struct Filled {
    directory: TempDir,
    book: Book,
}

impl Filled {
    /// Stopped cleanly, with its index, or as a killed process leaves it.
    async fn new(clean: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut book = Book::default();
        fill(directory.path(), &mut book, "first", clean).await;
        Self { directory, book }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn segments(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> =
            fs::read_dir(self.path().join("log")).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        assert!(files.len() >= 4, "{files:?}");
        files
    }

    /// A record in the midst of a sealed segment. How many records a segment has depends on which appends waited together.
    fn sealed_record(&self) -> (PathBuf, usize, RecordHead) {
        let segments = self.segments();
        let sealed = &segments[1..segments.len() - 1];
        let found = sealed.iter().find_map(|file| {
            let records = records(&fs::read(file).unwrap());
            (records.len() > 4).then(|| (file.clone(), records[3].0, records[3].1))
        });
        found.unwrap()
    }

    fn remove_index(&self) {
        for entry in fs::read_dir(self.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_str().unwrap().starts_with("index.sqlite") {
                fs::remove_file(path).unwrap();
            }
        }
    }

    /// That the store opens and has everything, and that it goes on and still has everything after another start.
    async fn assert_whole(&mut self) {
        {
            let store = Engine::open(options(self.path())).unwrap();
            self.book.check(&store).await;
            let more = append(&store, "one-more", &[("shared", ExpectedState::Any, 3)]).await.unwrap();
            self.book.answered.push(more);
        }
        let store = Engine::open(options(self.path())).unwrap();
        self.book.check(&store).await;
        store.close().await.unwrap();
    }

    /// As the first version of the index left it.
    fn make_index_old(&self) {
        let index = rusqlite::Connection::open(self.path().join("index.sqlite")).unwrap();
        index.pragma_update(None, "user_version", 1).unwrap();
    }

    /// That the store does not open, and that the error says what is missing where.
    #[track_caller]
    fn assert_lost(&self, file: &Path, offset: usize, first: u64, last: u64) {
        let error = Engine::open(options(self.path())).unwrap_err();
        let OpenError::Lost { file: named, offset: at, first: f, last: l } = &error else {
            panic!("{error}")
        };
        assert!(named.ends_with(file.file_name().unwrap().to_str().unwrap()), "{error}");
        assert_eq!((*at as usize, *f, *l), (offset, first, last), "{error}");
    }

    /// That the store does not open, and that the error names a file and, if one is given, an offset.
    #[track_caller]
    fn assert_damaged(&self, file: &Path, offset: Option<usize>) {
        let error = Engine::open(options(self.path())).unwrap_err();
        assert!(matches!(error, OpenError::Corrupt(_)), "{error}");
        assert_names(&error.to_string(), file, offset);
    }
}

async fn fill(directory: &Path, book: &mut Book, run: &str, clean: bool) {
    let store: Arc<dyn EventStore> = Arc::new(Engine::open(options(directory)).unwrap());
    let open = write_all(&store, book, run, 2, 25, &mut Dice::new(3)).await;
    assert!(open.is_empty());
    if clean {
        store.close().await.unwrap();
    }
}

#[track_caller]
fn assert_names(error: &str, file: &Path, offset: Option<usize>) {
    let file = file.file_name().unwrap().to_str().unwrap();
    assert!(error.contains(file), "'{error}' does not name {file}");
    if let Some(offset) = offset {
        assert!(error.contains(&format!("offset {offset}:")), "'{error}' does not name offset {offset}");
    }
}

/// Where the records of a segment begin, and what they say.
fn records(bytes: &[u8]) -> Vec<(usize, RecordHead)> {
    let (mut at, mut records) = (HEADER_LEN, Vec::new());
    while let Some(head) = RecordHead::decode(&bytes[at..]) {
        records.push((at, head));
        at += head.total();
    }
    assert_eq!(at, bytes.len());
    records
}

fn flip(file: &Path, offset: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[offset] ^= 0x10;
    fs::write(file, bytes).unwrap();
}

fn cut(file: &Path, len: usize) {
    let bytes = fs::read(file).unwrap();
    fs::write(file, &bytes[..len]).unwrap();
}

#[tokio::test]
async fn a_torn_tail_is_cut() {
    for clean in [true, false] {
        // A whole record of a commit that goes on, parts of it, and bytes of nothing.
        for kept in [0, 1, 30, 67, 100, usize::MAX] {
            let mut filled = Filled::new(clean).await;
            let last = filled.segments().pop().unwrap();
            let mut bytes = fs::read(&last).unwrap();
            let len = bytes.len();
            let seed = SegmentHeader::decode(&bytes).unwrap().seed;
            let (_, newest) = records(&bytes).pop().unwrap();
            let half = Record {
                flags: FIRST_OF_COMMIT,
                json: true,
                position: newest.position + 1,
                revision: 0,
                created: newest.created,
                id: Uuid::from_u128(1),
                stream: "torn",
                event_type: "torn",
                data: b"{\"commit\":\"torn\",\"index\":0,\"size\":2}",
                metadata: b"",
            };
            let mut record = Vec::new();
            half.encode(&mut record, seed);
            match kept {
                0 => bytes.extend([0; 700]),
                _ => bytes.extend(&record[..kept.min(record.len())]),
            }
            fs::write(&last, bytes).unwrap();
            let store = Engine::open(options(filled.path())).unwrap();
            assert_eq!(fs::metadata(&last).unwrap().len(), len as u64, "it was cut to its last whole commit");
            drop(store);
            filled.assert_whole().await;
        }
    }
}

#[tokio::test]
async fn a_flipped_byte_in_the_last_write_is_a_torn_tail() {
    let mut filled = Filled::new(false).await;
    let last = filled.segments().pop().unwrap();
    let (offset, head) = records(&fs::read(&last).unwrap()).pop().unwrap();
    let newest = offset - head.distance as usize;
    flip(&last, offset + 70);
    // One write may hold several commits; those that the damaged one does not touch are kept.
    let store = Engine::open(options(filled.path())).unwrap();
    let end = fs::metadata(&last).unwrap().len() as usize;
    assert!((newest..=offset).contains(&end), "{newest} {end} {offset}");
    let kept = everything(&store).await.unwrap();
    let last_kept = kept.last().unwrap().position.raw();
    filled.book.answered.retain(|answered| answered.parts.iter().all(|part| part.position <= last_kept));
    drop(store);
    filled.assert_whole().await;
}

#[tokio::test]
async fn a_flipped_byte_in_a_last_write_that_the_index_knows_is_no_torn_tail() {
    let filled = Filled::new(true).await;
    let last = filled.segments().pop().unwrap();
    let bytes = fs::read(&last).unwrap();
    let (offset, head) = records(&bytes).pop().unwrap();
    flip(&last, offset + 70);
    let error = Engine::open(options(filled.path())).unwrap_err();
    let OpenError::Lost { last: position, .. } = error else { panic!("{error}") };
    assert_eq!(position, head.position);
    assert_eq!(fs::metadata(&last).unwrap().len(), bytes.len() as u64, "nothing was cut");
}

#[tokio::test]
async fn a_flipped_byte_in_a_sealed_segment_is_named_when_it_is_read() {
    let filled = Filled::new(true).await;
    let (file, offset, damaged) = filled.sealed_record();
    for place in [offset + damaged.total() - 1, offset + 2, offset + 41] {
        flip(&file, place);
        let store = Engine::open(options(filled.path())).unwrap();
        let read = |position| {
            store.read_all(ReadAll::forwards(1).from(ReadFrom::At(event_store::Position::from_raw(position))))
        };
        let error = read(damaged.position).await.unwrap_err();
        assert!(matches!(error, Error::Corrupt(_)), "{error}");
        assert_names(&error.to_string(), &file, Some(offset));
        read(damaged.position - 1).await.unwrap();
        read(damaged.position + 1).await.unwrap();
        assert!(everything(&store).await.is_err());
        append(&store, &format!("on-{place}"), &[("goes-on", ExpectedState::Any, 1)]).await.unwrap();
        store.close().await.unwrap();
        flip(&file, place);
    }
}

#[tokio::test]
async fn a_flipped_byte_in_a_sealed_segment_is_named_at_the_start_without_an_index() {
    let filled = Filled::new(true).await;
    let (file, offset, head) = filled.sealed_record();
    // In its checksum, length, position, id and data.
    for place in [0, 5, 17, 45, head.total() - 1] {
        flip(&file, offset + place);
        filled.remove_index();
        filled.assert_damaged(&file, Some(offset));
        flip(&file, offset + place);
    }
    filled.remove_index();
    drop(Engine::open(options(filled.path())).unwrap());
}

#[tokio::test]
async fn a_flipped_byte_in_the_middle_of_the_last_segment_is_damage_and_no_torn_tail() {
    let filled = Filled::new(false).await;
    // Appends one after the other: each is a write of its own.
    {
        let store = Engine::open(options(filled.path())).unwrap();
        let mut number = 0;
        while number < 6 || records(&fs::read(filled.segments().pop().unwrap()).unwrap()).len() < 3 {
            append(&store, &format!("alone-{number}"), &[("alone", ExpectedState::Any, 1)]).await.unwrap();
            number += 1;
        }
    }
    filled.remove_index();
    let last = filled.segments().pop().unwrap();
    let bytes = fs::read(&last).unwrap();
    let records = records(&bytes);
    for (offset, head) in &records[..records.len() - 1] {
        for place in [0, 5, 17, 45, head.total() - 1] {
            let mut damaged = bytes.clone();
            damaged[offset + place] ^= 0x10;
            fs::write(&last, &damaged).unwrap();
            let followed = records.iter().any(|(o, h)| *o - h.distance as usize > *offset);
            if followed {
                filled.assert_damaged(&last, Some(*offset));
                assert_eq!(fs::read(&last).unwrap(), damaged, "nothing was cut");
            }
        }
    }
}

#[tokio::test]
async fn a_missing_index_is_built_again() {
    for clean in [true, false] {
        let mut filled = Filled::new(clean).await;
        filled.remove_index();
        filled.assert_whole().await;
    }
}

#[tokio::test]
async fn an_index_that_is_garbage_is_built_again() {
    for garbage in [vec![], vec![7; 5000], b"SQLite format 3\0 and nothing else".to_vec()] {
        let mut filled = Filled::new(true).await;
        fs::write(filled.path().join("index.sqlite"), &garbage).unwrap();
        filled.assert_whole().await;
    }
}

#[tokio::test]
async fn an_index_of_another_store_is_built_again() {
    let other = Filled::new(true).await;
    let mut filled = Filled::new(true).await;
    filled.remove_index();
    fs::copy(other.path().join("index.sqlite"), filled.path().join("index.sqlite")).unwrap();
    fs::copy(other.path().join("ids.snapshot"), filled.path().join("ids.snapshot")).unwrap();
    filled.assert_whole().await;
}

/// An older copy of the log was put back, and the index was not. What the index proves to be gone is not given up in silence.
#[tokio::test]
async fn a_log_that_ends_before_its_index_is_refused_until_the_loss_is_accepted() {
    for old_index in [false, true] {
        let mut filled = Filled::new(true).await;
        let before: Vec<_> = filled.segments().into_iter().map(|f| (fs::read(&f).unwrap(), f)).collect();
        let kept = filled.book.events();
        let mut all = filled.book.clone();
        fill(filled.path(), &mut all, "second", true).await;
        let after: Vec<_> = filled.segments().into_iter().map(|f| (fs::read(&f).unwrap(), f)).collect();
        let put = |files: &[(Vec<u8>, PathBuf)]| {
            fs::remove_dir_all(filled.path().join("log")).unwrap();
            fs::create_dir(filled.path().join("log")).unwrap();
            files.iter().for_each(|(bytes, file)| fs::write(file, bytes).unwrap());
        };
        if old_index {
            filled.make_index_old();
        }
        put(&before);
        // The first file that is not there at all; whether the one before was longer nobody can say.
        let missing = &after[before.len()].1;
        let (first_gone, last_gone) = (kept, all.events() - 1);
        filled.assert_lost(missing, HEADER_LEN, first_gone, last_gone);
        // Asked again it says the same: nothing that tells of the loss was thrown away.
        filled.assert_lost(missing, HEADER_LEN, first_gone, last_gone);
        put(&before[..2]);
        let records_in = |bytes: &[u8]| records(bytes).len() as u64;
        let first_gone = records_in(&before[0].0) + records_in(&before[1].0);
        filled.assert_lost(&before[2].1, HEADER_LEN, first_gone, last_gone);
        // Put back, everything is there; that needs no permission.
        put(&after);
        all.check(&Engine::open(options(filled.path())).unwrap()).await;
        put(&before);
        drop(Engine::open(options(filled.path()).accept_loss()).unwrap());
        filled.assert_whole().await;
    }
}

/// The log went on from an older copy while its index was away: as many events, and others.
#[tokio::test]
async fn a_log_that_went_on_without_what_its_index_knows_is_refused() {
    let mut filled = Filled::new(false).await;
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join("log")).unwrap();
    for file in filled.segments() {
        fs::copy(&file, copy.path().join("log").join(file.file_name().unwrap())).unwrap();
    }
    fill(copy.path(), &mut Book::default(), "elsewhere", true).await;
    fill(filled.directory.path(), &mut filled.book, "here", false).await;
    fill(filled.directory.path(), &mut filled.book, "and here", false).await;
    filled.remove_index();
    fs::copy(copy.path().join("index.sqlite"), filled.path().join("index.sqlite")).unwrap();
    let error = Engine::open(options(filled.path())).unwrap_err();
    assert!(matches!(error, OpenError::Lost { .. }), "{error}");
    drop(Engine::open(options(filled.path()).accept_loss()).unwrap());
    filled.assert_whole().await;
}

#[tokio::test]
async fn an_index_of_an_earlier_version_is_built_again() {
    let mut filled = Filled::new(true).await;
    filled.make_index_old();
    filled.assert_whole().await;
}

#[tokio::test]
async fn a_log_that_is_gone_beside_its_index_is_not_taken_for_a_new_store() {
    let filled = Filled::new(true).await;
    let log = filled.path().join("log");
    let elsewhere = filled.path().join("elsewhere");
    fs::rename(&log, &elsewhere).unwrap();
    let error = Engine::open(options(filled.path())).unwrap_err().to_string();
    assert!(error.contains("the log is gone") && error.contains("index.sqlite"), "{error}");
    // Put back, all is as it was; with the index removed too, a new store is meant.
    let _ = fs::remove_dir_all(&log);
    fs::rename(&elsewhere, &log).unwrap();
    drop(Engine::open(options(filled.path())).unwrap());
    fs::remove_dir_all(&log).unwrap();
    filled.remove_index();
    let store = Engine::open(options(filled.path())).unwrap();
    assert_eq!(store.last_position().await.unwrap(), None);
}

#[tokio::test]
async fn an_index_behind_the_log_catches_up() {
    let mut filled = Filled::new(true).await;
    let index = fs::read(filled.path().join("index.sqlite")).unwrap();
    fill(filled.directory.path(), &mut filled.book, "second", true).await;
    filled.remove_index();
    fs::write(filled.path().join("index.sqlite"), index).unwrap();
    filled.assert_whole().await;
}

#[tokio::test]
async fn remembered_ids_that_are_damaged_or_gone_are_read_from_the_log() {
    let mut filled = Filled::new(true).await;
    let snapshot = filled.path().join("ids.snapshot");
    flip(&snapshot, 60);
    let resend = common::book::commit("again", &[("again", ExpectedState::Any, 2)]).remove(0);
    let store = Engine::open(options(filled.path())).unwrap();
    let first = append(&store, "again", &[("again", ExpectedState::Any, 2)]).await.unwrap();
    filled.book.answered.push(first.clone());
    store.close().await.unwrap();
    drop(store);
    for damage in [true, false] {
        if damage {
            flip(&snapshot, 30);
        } else {
            fs::remove_file(&snapshot).unwrap();
        }
        let store = Engine::open(options(filled.path())).unwrap();
        let again = store.append(&resend.stream, ExpectedState::Any, resend.events.clone()).await.unwrap();
        assert_eq!(again.last_revision, Some(first.parts[0].last_revision));
        store.close().await.unwrap();
    }
    filled.assert_whole().await;
}

/// Without an index nobody can tell a file that was cut from a write that was torn, and its whole commits are kept. An index
/// that knows better says so.
#[tokio::test]
async fn a_truncated_last_file_is_a_torn_tail_unless_the_index_knows_better() {
    for indexed in [false, true] {
        truncate_last_file(indexed).await;
    }
}

async fn truncate_last_file(indexed: bool) {
    let mut filled = Filled::new(indexed).await;
    let last = filled.segments().pop().unwrap();
    let bytes = fs::read(&last).unwrap();
    let records = records(&bytes);
    let (cut_at, _) = records[records.len() / 2];
    cut(&last, cut_at + 40);
    let good = records.iter().rfind(|(at, h)| at + h.total() <= cut_at && h.flags & LAST_OF_COMMIT != 0);
    let end = good.map_or(HEADER_LEN, |(at, h)| at + h.total());
    let next = good.map_or(records[0].1.position, |(_, h)| h.position + 1);
    let last_position = records.last().unwrap().1.position;
    filled.book.answered.retain(|answered| answered.parts.iter().all(|part| part.position < next));
    if indexed {
        filled.assert_lost(&last, end, next, last_position);
        assert_eq!(fs::metadata(&last).unwrap().len(), cut_at as u64 + 40, "nothing was cut");
        drop(Engine::open(options(filled.path()).accept_loss()).unwrap());
    } else {
        drop(Engine::open(options(filled.path())).unwrap());
    }
    assert_eq!(fs::metadata(&last).unwrap().len(), end as u64);
    filled.assert_whole().await;
}

#[tokio::test]
async fn a_truncated_sealed_file_is_named() {
    for without_index in [false, true] {
        let filled = Filled::new(true).await;
        let file = filled.segments().remove(1);
        let bytes = fs::read(&file).unwrap();
        let last = records(&bytes).pop().unwrap().0;
        if without_index {
            filled.remove_index();
        }
        // In the middle of a record, between two, and in the header.
        for len in [last + 20, last, 20, 0] {
            cut(&file, len);
            filled.assert_damaged(&file, None);
            fs::write(&file, &bytes).unwrap();
        }
    }
}

#[tokio::test]
async fn a_missing_segment_is_named() {
    for number in [0, 1] {
        let filled = Filled::new(true).await;
        let file = filled.segments().remove(number);
        fs::remove_file(&file).unwrap();
        filled.assert_damaged(&file, None);
    }
}

#[tokio::test]
async fn a_later_version_is_named_and_left_alone() {
    for number in [0, 2] {
        let filled = Filled::new(true).await;
        let file = filled.segments().remove(number);
        let mut bytes = fs::read(&file).unwrap();
        bytes[8] = 2;
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        fs::write(&file, &bytes).unwrap();
        let error = Engine::open(options(filled.path())).unwrap_err();
        assert!(matches!(error, OpenError::Version { found: 2, .. }), "{error}");
        assert_names(&error.to_string(), &file, None);
        assert_eq!(fs::read(&file).unwrap(), bytes);
    }
}

#[tokio::test]
async fn garbage_in_place_of_a_header_is_named() {
    for (number, garbage) in [(0, 0_u8), (1, 0xFF), (2, b'x')] {
        let filled = Filled::new(true).await;
        let file = filled.segments().remove(number);
        let mut bytes = fs::read(&file).unwrap();
        bytes[..HEADER_LEN].fill(garbage);
        fs::write(&file, bytes).unwrap();
        filled.assert_damaged(&file, Some(0));
    }
}

#[tokio::test]
async fn a_segment_of_another_store_is_named() {
    let other = Filled::new(true).await;
    let filled = Filled::new(true).await;
    let file = filled.segments().remove(1);
    fs::copy(other.segments().remove(1), &file).unwrap();
    filled.assert_damaged(&file, None);
}

#[tokio::test]
async fn an_empty_last_file_was_never_begun() {
    let mut filled = Filled::new(true).await;
    let next = filled.path().join("log").join(format!("segment-{:08}.log", filled.segments().len()));
    for len in [0, 10, HEADER_LEN] {
        fs::write(&next, vec![0; len]).unwrap();
        drop(Engine::open(options(filled.path())).unwrap());
    }
    filled.assert_whole().await;
}

#[tokio::test]
async fn a_directory_in_use_is_refused_and_is_free_afterwards() {
    let filled = Filled::new(true).await;
    let first = Engine::open(options(filled.path())).unwrap();
    let error = Engine::open(options(filled.path())).unwrap_err();
    assert!(matches!(error, OpenError::Locked(_)), "{error}");
    first.close().await.unwrap();
    drop(Engine::open(options(filled.path())).unwrap());
}

#[test]
fn the_version_that_is_written_is_the_one_of_the_fixtures() {
    assert_eq!(format::VERSION, 1, "a new version needs a fixture of its own in tests/fixtures");
}
