//! A disk that forgets, tears and fails: what was answered must be there afterwards, and no half of anything.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::{
    Dice,
    book::{Book, append, everything},
    disk::{Faults, SimulatedDisk},
    work::{send, write_all},
};
use event_store::{Error, EventStore, ExpectedState, StoreState};
use event_store_embedded::{Engine, OpenError, Options};
use proptest::prelude::*;
use std::{path::Path, sync::Arc, time::Duration};
use test_support::{MockClock, SeededIds};

/// Small segments, so that a few appends cross from one to the next.
fn options(disk: &SimulatedDisk) -> Options {
    Options::on_disk(Arc::new(disk.clone()), None)
        .segment_bytes(8 << 10)
        .clock(Arc::new(MockClock::new()))
        .ids(Arc::new(SeededIds::new(1)))
}

fn open(disk: &SimulatedDisk) -> Arc<dyn EventStore> {
    Arc::new(Engine::open(options(disk)).unwrap())
}

/// The same with an index file that outlives every fall whole, and gets each event as soon as it may: the worst that can
/// happen to a log is an index that knows more than it.
fn indexed(disk: &SimulatedDisk, index: &Path) -> Options {
    Options::on_disk(Arc::new(disk.clone()), Some(index.to_owned()))
        .segment_bytes(8 << 10)
        .index_batches(1, Duration::from_millis(1))
        .clock(Arc::new(MockClock::new()))
        .ids(Arc::new(SeededIds::new(1)))
}

fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(test);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// The disk stops or fails once at any operation, also while the store is being opened; then the power fails or the
    /// process is killed; and that several times over. What was not answered is sent again.
    #[test]
    fn what_was_answered_outlives_every_fall(
        seed: u64,
        falls in proptest::collection::vec((prop_oneof![0..12_u64, 0..120_u64], any::<(bool, bool)>()), 1..6),
        with_index: bool,
    ) {
        run(async {
            let directory = tempfile::tempdir().unwrap();
            let index = directory.path().join("index.sqlite");
            let mut dice = Dice::new(seed);
            let (mut disk, mut book, mut open_orders) = (SimulatedDisk::default(), Book::default(), Vec::new());
            for (round, (at, (stops, power_fails))) in falls.into_iter().enumerate() {
                let stop = Faults { power_off_at: Some(at), ..Faults::default() };
                let fail = Faults { fail_at: Some(at), ..Faults::default() };
                disk.set(if stops { stop } else { fail });
                let options = if with_index { indexed(&disk, &index) } else { options(&disk) };
                match Engine::open(options) {
                    Ok(engine) => {
                        let store: Arc<dyn EventStore> = Arc::new(engine);
                        let mut still_open = Vec::new();
                        for order in open_orders {
                            still_open.extend(book.note(send(&*store, order).await));
                        }
                        still_open.extend(write_all(&store, &mut book, &format!("r{round}"), 3, 12, &mut dice).await);
                        open_orders = still_open;
                    }
                    Err(OpenError::Io { .. }) => {}
                    Err(error) => panic!("the store was damaged: {error}"),
                }
                disk = if power_fails { disk.after_power_loss(&mut dice) } else { disk.after_kill() };
                // Looked at on a copy, so that looking changes nothing.
                book.check(&*open(&disk.after_kill())).await;
            }
            book.check(&*open(&disk.after_power_loss(&mut dice))).await;
        });
    }

    /// One operation fails: what becomes of it, nothing is answered that is not safe.
    #[test]
    fn after_a_failed_write_or_flush_nothing_is_answered(seed: u64, fail_at in 0..100_u64) {
        run(async {
            let mut dice = Dice::new(seed);
            let (disk, mut book) = (SimulatedDisk::default(), Book::default());
            let store = open(&disk);
            disk.set(Faults { fail_at: Some(fail_at), ..Faults::default() });
            write_all(&store, &mut book, "before", 2, 30, &mut dice).await;
            if disk.operations() > fail_at {
                assert!(matches!(store.state(), StoreState::ReadOnly(_)), "{:?}", store.state());
                for number in 0..5 {
                    let name = format!("after-{number}");
                    let streams = [("shared", ExpectedState::Any, 1)];
                    let answer = append(&*store, &name, &streams).await;
                    assert!(matches!(answer, Err(Error::ReadOnly(_))), "{answer:?}");
                    book.refused.insert(name);
                }
                everything(&*store).await.unwrap();
            }
            let disk = disk.after_power_loss(&mut dice);
            book.check(&*open(&disk)).await;
        });
    }

    /// There is no space for a while: writes are refused and leave nothing, and go on when there is space.
    #[test]
    fn a_full_disk_refuses_and_goes_on_when_there_is_space(seed: u64, space in 1_000..60_000_usize) {
        run(async {
            let mut dice = Dice::new(seed);
            let (disk, mut book) = (SimulatedDisk::default(), Book::default());
            let store = open(&disk);
            disk.set(Faults { space: Some(space), ..Faults::default() });
            write_all(&store, &mut book, "full", 2, 40, &mut dice).await;
            let full = append(&*store, "too-much", &[("shared", ExpectedState::Any, 100)]).await;
            assert!(matches!(full, Err(Error::StorageFull(_))), "{full:?}");
            book.refused.insert("too-much".into());
            assert_eq!(store.state(), StoreState::Ready);
            book.check(&*store).await;

            disk.set(Faults::default());
            let before = book.answered.len();
            write_all(&store, &mut book, "free", 2, 12, &mut dice).await;
            assert!(book.answered.len() >= before + 8, "writes go on");
            book.check(&*store).await;
            let disk = disk.after_power_loss(&mut dice);
            book.check(&*open(&disk)).await;
        });
    }
}

/// A write whose flush failed is there for the next start, and only in the system's memory: the power fails before that start
/// could make it safe. An index that had learnt of it would accuse the log of a loss that nobody suffered.
#[tokio::test]
async fn the_index_learns_of_nothing_that_is_not_safe_yet() {
    for seed in 0..48 {
        let directory = tempfile::tempdir().unwrap();
        let index = directory.path().join("index.sqlite");
        let (disk, mut book) = (SimulatedDisk::default(), Book::default());
        let engine = Engine::open(indexed(&disk, &index)).unwrap();
        for number in 0..3 {
            let answered =
                append(&engine, &format!("safe-{number}"), &[("s", ExpectedState::Any, 2)]).await.unwrap();
            book.answered.push(answered);
        }
        // The write is done, and its flush fails.
        disk.set(Faults { fail_at: Some(1), ..Faults::default() });
        let open = append(&engine, "open", &[("s", ExpectedState::Any, 3)]).await;
        assert!(matches!(open, Err(Error::ReadOnly(_))), "{open:?}");
        drop(engine);
        let disk = disk.after_kill();
        disk.set(Faults { power_off_at: Some(0), ..Faults::default() });
        let stopped = Engine::open(indexed(&disk, &index)).unwrap_err();
        assert!(matches!(stopped, OpenError::Io { .. }), "{stopped}");
        let disk = disk.after_power_loss(&mut Dice::new(seed));
        let engine = Engine::open(indexed(&disk, &index)).unwrap();
        book.check(&engine).await;
    }
}

/// The simulation itself forgets: without this, the tests above would prove nothing.
#[test]
fn what_was_not_flushed_can_be_lost() {
    use event_store_embedded::disk::Disk;
    let disk = SimulatedDisk::default();
    let file = disk.create("log/a").unwrap();
    file.write_at(0, &[1; 2000]).unwrap();
    file.sync_data().unwrap();
    let found = |of: &SimulatedDisk| of.open("log/a").ok().map(|f| (f.len().unwrap(), first_byte(&*f)));
    let fates = |disk: &SimulatedDisk| {
        (0..64)
            .map(|n| found(&disk.after_power_loss(&mut Dice::new(n))))
            .collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(fates(&disk), [None, Some((2000, 1))].into(), "its folder was not flushed");
    disk.sync_dir("log").unwrap();
    assert_eq!(fates(&disk), [Some((2000, 1))].into());
    file.write_at(0, &[2; 4000]).unwrap();
    let torn = fates(&disk);
    assert!(
        torn.contains(&Some((2000, 1))) && torn.contains(&Some((4000, 2))) && torn.contains(&Some((4000, 1)))
    );
    disk.set(Faults { fail_at: Some(0), ..Faults::default() });
    file.sync_data().unwrap_err();
    file.sync_data().unwrap();
    assert!(fates(&disk).contains(&Some((4000, 1))), "a later flush does not make up for a failed one");
}

fn first_byte(file: &dyn event_store_embedded::disk::DiskFile) -> u8 {
    let mut byte = [0];
    file.read_at(0, &mut byte).unwrap();
    byte[0]
}
