//! On a KurrentDB, what its projections and statistics write does not come to the catalogue, and is not waited for.

use crate::world::{World, name};
use event_store::ReadFrom;
use penguin_pool::catalogue::{BrowseFilter, Freshness, View};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use test_support::Line;

const STATISTICS: &str = "$stats-0.0.0.0:2113";
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn it_is_left_out_by_the_server_and_a_restart_begins_after_it() {
    let mut world = World::on_a_kurrentdb().await;
    let line = Arc::new(Line::new(Arc::clone(&world.store)));
    world.store = line.clone();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalogue.sqlite");
    // Kept in a stream of the server's, as it has none that outlives its nodes: one event more.
    world.store.id().await.unwrap();
    let noise = vec![json!({ "cpu": 1 }); 700];
    world.append("loan-1", "Lent", &[json!({ "book": 1 }), json!({ "book": 2 })]).await;
    for _ in 0..3 {
        world.append(STATISTICS, "$statsCollected", &noise).await;
    }
    let catalogue = world.open_file(&path).await;
    // It has come to the end, of which the server tells it.
    let end = world.store.last_position().await.unwrap().unwrap();
    assert_eq!(catalogue.wait_for(end, PATIENCE).await, Freshness::Fresh);
    assert_eq!((catalogue.events(), catalogue.lag().await.unwrap().events), (3, 0));
    assert!(catalogue.stream(&name(STATISTICS)).await.unwrap().is_none());
    let filter = BrowseFilter { limit: 10, ..BrowseFilter::default() };
    let page = catalogue.browse(&View::everything(), filter).await.unwrap();
    assert_eq!(page.streams[0].event_count, 2);

    // What is left out makes nobody wait.
    world.append(STATISTICS, "$statsCollected", &noise[..10]).await;
    let caught_up = catalogue.catch_up(&*world.store, PATIENCE);
    assert_eq!(caught_up.await.unwrap(), Freshness::Fresh);
    assert_eq!(catalogue.lag().await.unwrap().events, 0);
    catalogue.stop().await;

    let again = world.open_file(&path).await;
    world.append("loan-2", "Lent", &[json!({ "book": 3 })]).await;
    assert_eq!(again.catch_up(&*world.store, PATIENCE).await.unwrap(), Freshness::Fresh);
    assert_eq!(again.events(), 4);
    let begun: Vec<_> = line.followed_all().into_iter().map(|followed| followed.from).collect();
    assert_eq!(begun, [ReadFrom::Start, ReadFrom::Past(end)], "nothing is read twice");
    again.stop().await;
}

#[tokio::test]
async fn where_derived_streams_are_no_part_of_everything_nothing_is_left_out() {
    let mut world = World::embedded();
    let line = Arc::new(Line::new(Arc::clone(&world.store)));
    world.store = line.clone();
    let catalogue = world.open_memory().await;
    world.append(STATISTICS, "$statsCollected", &[json!({})]).await;
    world.settle(&catalogue).await;
    assert!(catalogue.stream(&name(STATISTICS)).await.unwrap().is_some());
    assert!(line.followed_all().iter().all(|followed| followed.filter.is_none()));
    catalogue.stop().await;
}
