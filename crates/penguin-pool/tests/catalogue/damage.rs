//! Lost, damaged, another store's, another version's: it is made again, and nobody has to say so.

use crate::world::World;
use penguin_pool::catalogue::{BrowseFilter, Catalogue, Freshness, Options, Place, Progress, View};
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

const STREAMS: u64 = 40;

async fn filled() -> (World, tempfile::TempDir, PathBuf) {
    let mut world = World::new();
    for n in 0..STREAMS {
        world.append(&format!("loan-{n}"), "Lent", &[json!({ "book": n, "text": "x".repeat(500) })]).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalogue.sqlite");
    let catalogue = world.open_file(&path).await;
    world.settle(&catalogue).await;
    catalogue.stop().await;
    (world, directory, path)
}

fn all() -> BrowseFilter {
    BrowseFilter { limit: 100, ..BrowseFilter::default() }
}

async fn is_whole(world: &World, path: &Path) {
    let catalogue = world.open_file(path).await;
    world.settle(&catalogue).await;
    let page = catalogue.browse(&View::everything(), all()).await.unwrap();
    assert_eq!((page.total, page.streams.len() as u64), (STREAMS, STREAMS));
    catalogue.stop().await;
}

#[tokio::test]
async fn a_stopped_catalogue_goes_on_where_it_was() {
    let (mut world, _directory, path) = filled().await;
    let position = world.append("loan-0", "Returned", &[json!({})]).await;
    let catalogue = world.open_file(&path).await;
    assert_eq!(catalogue.wait_for(position, Duration::from_secs(20)).await, Freshness::Fresh);
    assert_eq!(catalogue.lag().await.unwrap().events, 0);
    let stream = catalogue.stream(&crate::world::name("loan-0")).await.unwrap().unwrap();
    assert_eq!(stream.event_count, 2);
    catalogue.stop().await;
    catalogue.stop().await;
    assert!(catalogue.browse(&View::everything(), all()).await.is_err());
}

#[tokio::test]
async fn a_lost_file_is_made_again() {
    let (world, _directory, path) = filled().await;
    std::fs::remove_file(&path).unwrap();
    is_whole(&world, &path).await;
}

#[tokio::test]
async fn a_file_of_garbage_is_made_again() {
    let (world, _directory, path) = filled().await;
    std::fs::write(&path, vec![0xA5; 100_000]).unwrap();
    is_whole(&world, &path).await;
}

#[tokio::test]
async fn a_file_that_was_cut_short_is_made_again() {
    let (world, _directory, path) = filled().await;
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(file.metadata().unwrap().len() / 3).unwrap();
    drop(file);
    let catalogue = world.open_file(&path).await;
    becomes_whole(&catalogue).await;
    catalogue.stop().await;
}

#[tokio::test]
async fn damage_that_a_query_meets_is_mended() {
    let (world, _directory, path) = filled().await;
    let mut bytes = std::fs::read(&path).unwrap();
    // The first pages hold the tables' descriptions and the checkpoint: all looks well until rows are read.
    let from = 4096 * 3;
    bytes[from..].fill(0xA5);
    std::fs::write(&path, bytes).unwrap();
    let catalogue = world.open_file(&path).await;
    becomes_whole(&catalogue).await;
    catalogue.stop().await;
}

/// Asks until the answer is right: the asking itself is what finds the damage.
async fn becomes_whole(catalogue: &Catalogue) {
    let asking = async {
        loop {
            match catalogue.browse(&View::everything(), all()).await {
                Ok(page) if page.streams.len() as u64 == STREAMS => return assert_eq!(page.total, STREAMS),
                _ => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asking).await.unwrap();
}

#[tokio::test]
async fn another_versions_file_is_made_again() {
    let (world, _directory, path) = filled().await;
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute("UPDATE about SET version = 99", []).unwrap();
    db.close().unwrap();
    is_whole(&world, &path).await;
}

#[tokio::test]
async fn another_stores_file_is_made_again() {
    let (_, _directory, path) = filled().await;
    let mut other = World::seeded(8);
    other.append("other", "Lent", &[json!({})]).await;
    let catalogue = other.open_file(&path).await;
    other.settle(&catalogue).await;
    let page = catalogue.browse(&View::everything(), all()).await.unwrap();
    let names: Vec<_> = page.streams.iter().map(|s| s.name.as_str()).collect();
    assert_eq!((names, page.total), (vec!["other"], 1));
    catalogue.stop().await;
}

#[tokio::test]
async fn a_store_with_the_same_id_and_another_past_is_seen_through() {
    let (_, _directory, path) = filled().await;
    // As after a restore from a backup: fewer events, or as many others.
    for events in [1, STREAMS + 5] {
        let mut restored = World::seeded(7).with_ids_from(1_000_000 * events);
        for n in 0..events {
            restored.append(&format!("restored-{n}"), "Lent", &[json!({})]).await;
        }
        let catalogue = restored.open_file(&path).await;
        restored.settle(&catalogue).await;
        let page = catalogue.browse(&View::everything(), all()).await.unwrap();
        assert_eq!(page.total, events);
        assert!(page.streams.iter().all(|s| s.name.as_str().starts_with("restored-")));
        catalogue.stop().await;
    }
}

#[tokio::test]
async fn a_rebuild_begins_with_nothing_and_tells_how_it_goes() {
    let (world, _directory, path) = filled().await;
    std::fs::write(&path, "not a database at all").unwrap();
    let options = Options::new(Place::File(path.clone()));
    let mut told = Vec::new();
    let clock = Arc::clone(&world.clock);
    let done = Catalogue::rebuild(options, Arc::clone(&world.store), clock, |progress| told.push(progress));
    let done = done.await.unwrap();
    assert_eq!(done, Progress { events: STREAMS, of: STREAMS });
    assert_eq!(told.last(), Some(&done));
    is_whole(&world, &path).await;
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_an_error_at_once() {
    let world = World::new();
    let options = Options::new(Place::File("/proc/nowhere/catalogue.sqlite".into()));
    let clock = Arc::clone(&world.clock);
    assert!(Catalogue::open(options, Arc::clone(&world.store), clock).await.is_err());
}
