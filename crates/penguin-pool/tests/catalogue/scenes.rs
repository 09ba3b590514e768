//! The catalogue as its users meet it.

use crate::world::{World, name};
use event_store::{ExpectedState, Position};
use models::StreamStatus;
use penguin_pool::catalogue::{
    BrowseFilter, CatalogueError, Condition, Freshness, Operator, Options, Place, SearchFilter, View,
};
use serde_json::{Value, json, value::RawValue};
use std::{sync::Arc, time::Duration};

const LONG: Duration = Duration::from_secs(20);

fn search(text: &str) -> SearchFilter {
    SearchFilter { text: Some(text.to_owned()), limit: 10, ..SearchFilter::default() }
}

fn pattern(pattern: &str) -> BrowseFilter {
    BrowseFilter { name_pattern: Some(pattern.to_owned()), limit: 10, ..BrowseFilter::default() }
}

#[tokio::test]
async fn what_was_appended_is_there_when_its_position_was_waited_for() {
    let mut world = World::new();
    let catalogue = world.open_memory().await;
    for n in 0..50_u64 {
        let position = world.append("loan-1", "Lent", &[json!({ "word": format!("word{n}") })]).await;
        assert_eq!(catalogue.wait_for(position, LONG).await, Freshness::Fresh);
        assert_eq!(catalogue.stream(&name("loan-1")).await.unwrap().unwrap().event_count, n + 1);
        assert_eq!(
            catalogue.search(&View::everything(), search(&format!("word{n}"))).await.unwrap().total,
            1
        );
        assert_eq!(catalogue.statistics(&View::everything()).await.unwrap().total_events, n + 1);
    }
    catalogue.stop().await;
}

#[tokio::test]
async fn what_has_not_come_yet_is_not_waited_for_longer_than_asked() {
    let world = World::new();
    let catalogue = world.open_memory().await;
    let waited = catalogue.wait_for(Position::from_raw(1_000_000), Duration::from_millis(5)).await;
    assert_eq!(waited, Freshness::Stale);
    catalogue.stop().await;
}

#[tokio::test]
async fn a_stream_is_described_by_its_metadata_and_metadata_alone_makes_no_stream() {
    let mut world = World::new();
    let catalogue = world.open_memory().await;
    let metadata = json!({
        "description": "Who has what", "data": { "shelf": 3 }, "tags": ["loans", 7], "owner": "anna", "version": 2,
        "schemaVersion": "1.2.0", "createdAt": "2020-02-03T04:05:06.007Z", "status": "archived", "$maxCount": 2,
        "$acl": { "$r": "$all" }, "mine": [1, 2],
    });
    world.describe("loan-1", metadata).await;
    world.settle(&catalogue).await;
    assert_eq!(catalogue.stream(&name("loan-1")).await.unwrap(), None);
    assert_eq!(catalogue.browse(&View::everything(), pattern("")).await.unwrap().total, 0);

    world.append("loan-1", "Lent", &[json!({}), json!({}), json!({})]).await;
    world.settle(&catalogue).await;
    let stream = catalogue.stream(&name("loan-1")).await.unwrap().unwrap();
    // The tags are not all texts, so there are none; what stands beside them is none the worse.
    assert_eq!(stream.description.tags, None);
    assert_eq!(stream.description.description.as_deref(), Some("Who has what"));
    assert_eq!(stream.description.owner.as_deref(), Some("anna"));
    assert_eq!(stream.description.version, Some(2));
    assert_eq!(stream.description.schema_version.as_deref(), Some("1.2.0"));
    assert_eq!(stream.status, StreamStatus::Archived);
    assert_eq!(stream.created_at.millis(), 1_580_702_706_007);
    assert_eq!((stream.event_count, stream.first_revision, stream.last_revision), (2, Some(1), Some(2)));
    assert_eq!(stream.metadata.acl.unwrap().read.unwrap(), ["$all"]);
    assert_eq!(stream.metadata.custom["mine"], json!([1, 2]));
    assert_eq!(stream.metadata_revision, Some(0));
    catalogue.stop().await;
}

#[tokio::test]
async fn system_streams_are_listed_only_when_asked_for() {
    let mut world = World::new();
    let catalogue = world.open_memory().await;
    for stream in ["$settings", "loan-1", "!first"] {
        world.append(stream, "Set", &[json!({ "word": "penguin" })]).await;
    }
    world.describe("loan-1", json!({ "tags": ["penguin"] })).await;
    world.settle(&catalogue).await;
    let names = async |filter: BrowseFilter| {
        let page = catalogue.browse(&View::everything(), filter).await.unwrap();
        assert_eq!(page.total, page.streams.len() as u64);
        page.streams.into_iter().map(|s| s.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(pattern("")).await, ["!first", "loan-1"]);
    assert_eq!(names(pattern("^.*$")).await, ["!first", "loan-1"]);
    assert_eq!(names(pattern(r"^\$")).await, ["$settings"]);
    let prefix = BrowseFilter { prefix: Some("$".to_owned()), limit: 10, ..BrowseFilter::default() };
    assert_eq!(names(prefix).await, ["$settings"]);
    assert_eq!(catalogue.search(&View::everything(), search("penguin")).await.unwrap().total, 2);
    for stream in ["$settings", "$$loan-1"] {
        let filter = SearchFilter { stream_name: Some(name(stream)), ..search("penguin") };
        assert_eq!(catalogue.search(&View::everything(), filter).await.unwrap().total, 1, "{stream}");
        assert!(catalogue.stream(&name(stream)).await.unwrap().is_some());
    }
    catalogue.stop().await;
}

#[tokio::test]
async fn what_a_user_searches_for_is_text_and_never_syntax() {
    let mut world = World::new();
    let catalogue = world.open_memory().await;
    let said = r#"She said "well-known" NEAR(the, pool) col:umn 12.50 naïve* AND OR"#;
    world.append("s", "Said", &[json!({ "said": said }), json!({ "key": "other" })]).await;
    world.settle(&catalogue).await;
    for text in [
        r#""well-known""#,
        "NEAR(the",
        "col:umn",
        "12.50",
        "NAIVE*",
        "and",
        "OR",
        "said well",
        "pool)",
        "\0said",
    ] {
        assert_eq!(catalogue.search(&View::everything(), search(text)).await.unwrap().total, 1, "{text}");
    }
    for text in ["known-well", "key", "NOT", "sai*", "the said x", "said OR other", "12.5"] {
        assert_eq!(catalogue.search(&View::everything(), search(text)).await.unwrap().total, 0, "{text}");
    }
    for text in ["", "  ", "\"", "* -"] {
        let refused = catalogue.search(&View::everything(), search(text)).await;
        assert!(matches!(refused, Err(CatalogueError::Invalid { path, .. }) if path == "text"), "{text}");
    }
    catalogue.stop().await;
}

#[tokio::test]
async fn pages_of_a_search_hold_still_while_events_come() {
    let mut world = World::new();
    let catalogue = world.open_memory().await;
    let numbers: Vec<Value> = (0..25).map(|n| json!({ "word": "pool", "n": n })).collect();
    world.append("s", "Said", &numbers).await;
    world.settle(&catalogue).await;
    let mut found = Vec::new();
    let mut cursor = None;
    loop {
        let page =
            catalogue.search(&View::everything(), SearchFilter { cursor, ..search("pool") }).await.unwrap();
        assert_eq!(page.total, 25);
        found.extend(page.hits.into_iter().map(|hit| hit.revision));
        world.append("s", "Said", &[json!({ "word": "pool" }), json!({ "word": "pool" })]).await;
        world.settle(&catalogue).await;
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(found, (0..25).rev().collect::<Vec<_>>());
    catalogue.stop().await;
}

#[tokio::test]
async fn totals_of_a_search_are_exact_up_to_ten_thousand() {
    let mut world = World::new();
    let catalogue = world.open_memory().await;
    let filter = SearchFilter { limit: 1000, ..SearchFilter::default() };
    for (more, is_more) in [(10_000, false), (1, true)] {
        world.append(&format!("s{more}"), "Said", &vec![json!({}); more]).await;
        world.settle(&catalogue).await;
        let page = catalogue.search(&View::everything(), filter.clone()).await.unwrap();
        assert_eq!((page.total, page.total_is_lower_bound), (10_000, is_more));
        assert!(page.has_more);
    }
    catalogue.stop().await;
}

#[tokio::test]
async fn conditions_hold_against_the_number_that_was_written() {
    let mut world = World::new();
    let catalogue = world.open_memory().await;
    let events = ["9007199254740993", "9007199254740992", "90071992547409.925e2", "\"9007199254740993\""]
        .map(|n| world.event("Counted", &format!(r#"{{"n":{n}}}"#)));
    world.store.append(&name("s"), ExpectedState::Any, events.into()).await.unwrap();
    world.settle(&catalogue).await;
    let found = async |op, value: &str| {
        let value = Some(RawValue::from_string(value.to_owned()).unwrap());
        let conditions = vec![Condition { path: "/n".to_owned(), op, value }];
        let filter = SearchFilter { conditions, limit: 10, ..SearchFilter::default() };
        let page = catalogue.search(&View::everything(), filter).await.unwrap();
        page.hits.into_iter().map(|hit| hit.revision).collect::<Vec<_>>()
    };
    assert_eq!(found(Operator::Eq, "9007199254740993").await, [0]);
    assert_eq!(found(Operator::Lt, "9007199254740993").await, [2, 1]);
    assert_eq!(found(Operator::Gt, "9007199254740992.1").await, [2, 0]);
    assert_eq!(found(Operator::Ne, "9007199254740993").await, [3, 2, 1]);
    catalogue.stop().await;
}

#[tokio::test]
async fn a_stream_that_is_not_indexed_is_found_by_all_but_its_content() {
    let mut world = World::new();
    let options = Options {
        indexed: Arc::new(|stream| !stream.as_str().starts_with("secret-")),
        ..Options::new(Place::Memory)
    };
    let catalogue = world.open(options).await;
    for stream in ["secret-1", "open-1"] {
        world.append(stream, "Said", &[json!({ "word": "penguin" })]).await;
    }
    world.settle(&catalogue).await;
    let conditions = vec![Condition {
        path: "/x".to_owned(),
        op: Operator::Ne,
        value: Some(RawValue::from_string("1".to_owned()).unwrap()),
    }];
    let by_condition = SearchFilter { conditions, limit: 10, ..SearchFilter::default() };
    for filter in [search("penguin"), by_condition] {
        let page = catalogue.search(&View::everything(), filter).await.unwrap();
        assert_eq!(page.hits.iter().map(|hit| hit.stream.as_str()).collect::<Vec<_>>(), ["open-1"]);
    }
    let by_type = SearchFilter { event_type: Some("Said".to_owned()), limit: 10, ..SearchFilter::default() };
    assert_eq!(catalogue.search(&View::everything(), by_type).await.unwrap().total, 2);
    catalogue.stop().await;
}

#[tokio::test]
async fn a_query_that_takes_too_long_is_stopped_and_says_what_to_do() {
    let mut world = World::new();
    for n in 0..1100 {
        world.append(&format!("loan-{n}"), "Lent", &[json!({})]).await;
    }
    let options =
        Options { browse_time: Duration::ZERO, query_time: Duration::ZERO, ..Options::new(Place::Memory) };
    let catalogue = world.open(options).await;
    world.settle(&catalogue).await;
    let Err(error) = catalogue.browse(&View::everything(), pattern("7$")).await else {
        panic!("it was not stopped")
    };
    assert!(matches!(&error, CatalogueError::TooSlow { .. }), "{error}");
    assert!(error.to_string().contains("'^'"), "{error}");
    assert_eq!(error.code().http_status(), 504);
    // The connection that was stopped answers the next question.
    let one = BrowseFilter { prefix: Some("loan-7".to_owned()), limit: 1, ..BrowseFilter::default() };
    assert_eq!(catalogue.browse(&View::everything(), one).await.unwrap().total, 111);
    let none = SearchFilter { event_type: Some("Lent".to_owned()), limit: 1000, ..SearchFilter::default() };
    assert!(matches!(catalogue.search(&View::everything(), none).await, Err(CatalogueError::TooSlow { .. })));
    catalogue.stop().await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_by_name() {
    let world = World::new();
    let catalogue = world.open_memory().await;
    let filters = [
        ("limit", BrowseFilter { limit: 0, ..pattern("") }),
        ("limit", BrowseFilter { limit: 1001, ..pattern("") }),
        ("namePattern", pattern("(")),
        ("cursor", BrowseFilter { cursor: Some("%".to_owned()), ..pattern("") }),
    ];
    for (part, filter) in filters {
        let refused = catalogue.browse(&View::everything(), filter).await;
        assert!(matches!(refused, Err(CatalogueError::Invalid { path, .. }) if path == part), "{part}");
    }
    let refused = catalogue
        .search(&View::everything(), SearchFilter { cursor: Some("1".to_owned()), ..search("x") })
        .await;
    assert!(matches!(refused, Err(CatalogueError::Invalid { path, .. }) if path == "cursor"));
    catalogue.stop().await;
}

#[tokio::test]
async fn the_longest_streams_metadata_can_be_written_again() {
    let mut world = World::new();
    let catalogue = world.open_memory().await;
    let longest = "x".repeat(1024);
    for owner in ["anna", "ben"] {
        world.describe(&longest, json!({ "owner": owner })).await;
        // A batch of its own: the second one reads what the first one saved.
        world.settle(&catalogue).await;
    }
    world.append(&longest, "Lent", &[json!({})]).await;
    world.settle(&catalogue).await;
    let shown = catalogue.stream(&name(&longest)).await.unwrap().unwrap();
    assert_eq!(shown.metadata_revision, Some(1));
    catalogue.stop().await;
}

#[tokio::test]
async fn a_long_stream_comes_back_whole_when_its_truncation_is_lifted() {
    let mut world = World::new();
    let catalogue = world.open_memory().await;
    let many: Vec<Value> = (0..2500).map(|n| json!({ "n": n })).collect();
    world.append("loan-1", "Lent", &many).await;
    world.describe("loan-1", json!({ "$tb": 2500 })).await;
    world.settle(&catalogue).await;
    assert_eq!(catalogue.stream(&name("loan-1")).await.unwrap().unwrap().event_count, 0);
    world.describe("loan-1", json!({ "$tb": 100 })).await;
    world.settle(&catalogue).await;
    let shown = catalogue.stream(&name("loan-1")).await.unwrap().unwrap();
    assert_eq!((shown.event_count, shown.first_revision), (2400, Some(100)));
    assert_eq!(catalogue.statistics(&View::everything()).await.unwrap().total_events, 2400);
    catalogue.stop().await;
}

#[tokio::test]
async fn a_page_of_large_descriptions_ends_early_and_the_cursor_goes_on() {
    let mut world = World::new();
    let catalogue = world.open_memory().await;
    let large = "x".repeat(1 << 20);
    for n in 10..30 {
        world.append(&format!("loan-{n}"), "Lent", &[json!({})]).await;
        world.describe(&format!("loan-{n}"), json!({ "note": large })).await;
    }
    world.settle(&catalogue).await;
    let filter = BrowseFilter { limit: 100, ..BrowseFilter::default() };
    let first = catalogue.browse(&View::everything(), filter.clone()).await.unwrap();
    assert_eq!((first.streams.len(), first.total, first.has_more), (15, 20, true));
    let rest = catalogue
        .browse(&View::everything(), BrowseFilter { cursor: first.next_cursor, ..filter })
        .await
        .unwrap();
    assert_eq!((rest.streams.len(), rest.has_more, rest.next_cursor), (5, false, None));
    assert_eq!(rest.streams[0].name, name("loan-25"));
    catalogue.stop().await;
}

#[tokio::test]
async fn statistics_name_the_thousand_largest() {
    let mut world = World::new();
    let catalogue = world.open_memory().await;
    for n in 0..1005 {
        world.append(&format!("c{n}-1"), &format!("T{n}"), &[json!({})]).await;
    }
    world.append("c1004-1", "T1004", &[json!({})]).await;
    world.settle(&catalogue).await;
    let statistics = catalogue.statistics(&View::everything()).await.unwrap();
    assert_eq!(statistics.total_events, 1006);
    assert_eq!((statistics.events_per_type.len(), statistics.events_per_category.len()), (1000, 1000));
    assert_eq!((statistics.events_per_type["T1004"], statistics.events_per_category["c1004"]), (2, 2));
    catalogue.stop().await;
}
