//! A user's stream that is ended for good is forgotten: no list, no count and no byte of the file tells of it.

use crate::{
    reference::Reference,
    world::{World, name},
};
use event_store::ExpectedState;
use models::StreamStatus;
use penguin_pool::catalogue::{BrowseFilter, Catalogue, Options, Place, SearchFilter, View};
use serde_json::json;
use std::path::Path;

/// What only the forgotten user's streams say: in a tag, a description, the stream's own data, and an event.
const WORDS: [&str; 4] = ["xylophone", "quagmire", "zeppelin", "ocarina"];

/// Of how many users there are streams.
const USERS: u64 = 400;

/// The user's streams among those of many others, all of them changed over and over, so that rows move about in the file.
async fn lived(world: &mut World, catalogue: &Catalogue) {
    for round in 0..4_u64 {
        for n in 0..USERS {
            let filler = "f".repeat(usize::try_from((n * 37 + round * 911) % 1900).unwrap());
            let other = format!("user-u{n}-profile");
            world
                .describe(
                    &other,
                    json!({ "tags": ["user"], "owner": format!("u{n}"), "data": { "x": filler } }),
                )
                .await;
            world.append(&other, "Noted", &[json!({ "note": format!("word{n} {filler}") })]).await;
            if n % 40 == 7 {
                let [tag, described, data, said] = WORDS.map(|word| format!("{word}{n}x{round}"));
                let own = format!("user-bob-loans-{n}");
                world
                    .describe(
                        &own,
                        json!({ "tags": [tag, "user"], "owner": "bob", "description": described,
                        "data": { "ssn": data, "x": filler }, "$acl": { "$r": ["bob"] } }),
                    )
                    .await;
                world.append(&own, "Noted", &[json!({ "note": format!("{said} {filler}") })]).await;
            }
        }
        world.settle(catalogue).await;
    }
}

async fn end(world: &World) {
    for n in (0..USERS).filter(|n| n % 40 == 7) {
        world.store.tombstone(&name(&format!("user-bob-loans-{n}")), ExpectedState::Any).await.unwrap();
    }
}

/// The words that stand in the catalogue's files, in any of them.
fn found(path: &Path) -> Vec<String> {
    let directory = path.parent().unwrap();
    let mut found = Vec::new();
    for file in std::fs::read_dir(directory).unwrap() {
        let file = file.unwrap();
        let bytes = std::fs::read(file.path()).unwrap();
        for word in WORDS.iter().chain(&["user-bob-loans"]) {
            let times = bytes.windows(word.len()).filter(|part| *part == word.as_bytes()).count();
            if times > 0 {
                found.push(format!("{word} in {}, {times} times", file.file_name().display()));
            }
        }
    }
    found
}

async fn knows_nothing(world: &World, catalogue: &Catalogue) {
    let reference = Reference::of(&*world.store).await;
    for status in [None, Some(StreamStatus::Deleted)] {
        for filter in [
            BrowseFilter { prefix: Some("user-bob-".to_owned()), ..BrowseFilter::default() },
            BrowseFilter { owner: Some("bob".to_owned()), ..BrowseFilter::default() },
            BrowseFilter { tag: Some("xylophone7x3".to_owned()), ..BrowseFilter::default() },
        ] {
            let filter = BrowseFilter { status, limit: 10, ..filter };
            let page = catalogue.browse(&View::everything(), filter).await.unwrap();
            assert_eq!((page.total, page.streams.len()), (0, 0));
        }
    }
    for stream in ["user-bob-loans-7", "$$user-bob-loans-7"] {
        assert_eq!(catalogue.stream(&name(stream)).await.unwrap(), None);
    }
    let text = Some("ocarina7x0".to_owned());
    let search = SearchFilter { text, limit: 10, ..SearchFilter::default() };
    assert_eq!(catalogue.search(&View::everything(), search).await.unwrap().total, 0);
    let text = Some("word8".to_owned());
    let search = SearchFilter { text, limit: 10, ..SearchFilter::default() };
    assert_eq!(catalogue.search(&View::everything(), search).await.unwrap().total, 4, "others are found");
    let counted = catalogue.statistics(&View::everything()).await.unwrap();
    let expected = reference.statistics();
    assert_eq!(counted, expected);
    assert_eq!(counted.total_users, USERS);
}

#[tokio::test]
async fn a_users_ended_streams_are_gone_from_lists_counts_and_files() {
    let mut world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalogue.sqlite");
    let catalogue = world.open_file(&path).await;
    lived(&mut world, &catalogue).await;
    assert_eq!(
        found(&path).iter().filter(|found| found.contains(".sqlite")).count().min(5),
        5,
        "{:?}",
        found(&path)
    );
    end(&world).await;
    world.settle(&catalogue).await;
    assert_eq!(found(&path), Vec::<String>::new());
    knows_nothing(&world, &catalogue).await;
    catalogue.stop().await;

    // Opened again, and made again, where the streams and their ends come together.
    let catalogue = world.open_file(&path).await;
    knows_nothing(&world, &catalogue).await;
    catalogue.stop().await;
    let (options, clock) = (Options::new(Place::File(path.clone())), world.clock.clone());
    Catalogue::rebuild(options, world.store.clone(), clock, |_| {}).await.unwrap();
    assert_eq!(found(&path), Vec::<String>::new());
    let catalogue = world.open_file(&path).await;
    knows_nothing(&world, &catalogue).await;
    catalogue.stop().await;
}
