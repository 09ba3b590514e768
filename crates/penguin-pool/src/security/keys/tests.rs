use super::*;
use event_store::{Error, ExpectedState, NewEvent, ReadStream, StreamName, contract::Model};
use test_support::{MockClock, SeededIds};

/// An empty store of events.
fn events() -> Arc<dyn EventStore> {
    Arc::new(Model::new(Arc::new(MockClock::new()), Arc::new(SeededIds::new(1))))
}

/// Keys in a store, for the events in another.
async fn keys_for(kept: &FileKeyStore, events: &Arc<dyn EventStore>, seed: u64) -> Keys {
    let keys = Keys::open(ring(&"07".repeat(32)), Arc::new(kept.clone())).await.unwrap();
    keys.for_events_in(Arc::clone(events), Arc::new(SeededIds::new(seed)))
}

/// What the log says of keys: type and data.
async fn said(events: &Arc<dyn EventStore>) -> Vec<(String, String)> {
    let stream = StreamName::new("system-keys").unwrap();
    match events.read_stream(&stream, ReadStream::forwards(100)).await {
        Ok(page) => {
            let event = |e: event_store::ResolvedEvent| e.event.unwrap();
            let text = |data: &[u8]| String::from_utf8(data.to_vec()).unwrap();
            page.events.into_iter().map(event).map(|e| (e.event_type.to_string(), text(&e.data))).collect()
        }
        Err(Error::StreamNotFound(_)) => Vec::new(),
        Err(error) => panic!("{error}"),
    }
}

fn ring(text: &str) -> Option<Ring> {
    Ring::parse(text).unwrap()
}

#[tokio::test]
async fn a_user_has_one_key_whoever_asks_first() {
    let store = FileKeyStore::in_memory();
    let keys = Keys::open(ring(&"07".repeat(32)), Arc::new(store)).await.unwrap();
    assert!(keys.for_reading("bob").await.unwrap().is_none(), "reading makes no key");
    let ask = || async { keys.for_writing("bob").await.unwrap().unwrap().id };
    let (a, b, c) = tokio::join!(ask(), ask(), ask());
    assert!(a == b && b == c);
    assert_eq!(keys.for_reading("bob").await.unwrap().unwrap().id, a);
    assert_ne!(keys.for_writing("eve").await.unwrap().unwrap().id, a);
}

#[tokio::test]
async fn without_a_ring_nothing_is_encrypted_and_users_are_erased_all_the_same() {
    let keys = Keys::none();
    assert!(!keys.encrypts() && keys.for_writing("bob").await.unwrap().is_none());
    assert!(!keys.erase("bob").await.unwrap());
    assert_eq!(keys.for_writing("bob").await.unwrap_err(), KeysError::Erased);
    assert!(keys.rotate().await.is_err());
}

#[tokio::test]
async fn nothing_that_is_shown_tells_of_a_key() {
    let secret = "5a".repeat(32);
    let keys = Keys::open(ring(&secret), Arc::new(FileKeyStore::in_memory())).await.unwrap();
    let key = keys.for_writing("bob").await.unwrap();
    let shown = format!("{keys:?} {key:?}");
    assert!(!shown.contains("5a5a") && !shown.contains("90, 90"), "{shown}");
}

#[tokio::test]
async fn the_log_names_a_key_before_its_first_use_once_and_holds_none() {
    let (kept, events) = (FileKeyStore::in_memory(), events());
    let keys = keys_for(&kept, &events, 1).await;
    assert!(keys.for_reading("bob").await.unwrap().is_none());
    assert_eq!(said(&events).await, []);
    let ask = || async { keys.for_writing("bob").await.unwrap().unwrap().id };
    let (id, _, _) = tokio::join!(ask(), ask(), ask());
    let named = ("DataKeyMade".to_owned(), format!(r#"{{"userId":"bob","keyId":"{id}"}}"#));
    assert_eq!(said(&events).await, [named]);
    let acl = events.metadata(&StreamName::new("system-keys").unwrap()).await.unwrap().metadata.acl.unwrap();
    assert_eq!(acl, event_store::Acl::admins());
    assert!(!keys.erase("eve").await.unwrap());
    assert!(keys.erase("bob").await.unwrap() && !keys.erase("bob").await.unwrap());
    let types: Vec<_> = said(&events).await.into_iter().map(|(event_type, _)| event_type).collect();
    assert_eq!(types, ["DataKeyMade", "DataKeyDestroyed", "DataKeyDestroyed"]);
}

#[tokio::test]
async fn a_key_store_that_is_gone_is_no_new_one() {
    let (kept, events) = (FileKeyStore::in_memory(), events());
    keys_for(&kept, &events, 1).await.for_writing("bob").await.unwrap();

    // Gone, and another log's, in which bob has another key.
    let others = FileKeyStore::in_memory();
    keys_for(&others, &self::events(), 2).await.for_writing("bob").await.unwrap();
    for (kept, other) in [(FileKeyStore::in_memory(), "eve"), (others, "al")] {
        let keys = keys_for(&kept, &events, 3).await;
        let refused = keys.settle().await.unwrap_err().to_string();
        assert!(
            refused.starts_with("KEY_STORE: ") && refused.contains("(1, the first is 'bob')"),
            "{refused}"
        );
        assert_eq!(keys.for_writing("bob").await.unwrap_err(), KeysError::Lost("bob".into()));
        assert_eq!(keys.for_reading("bob").await.unwrap_err(), KeysError::Lost("bob".into()));
        assert!(keys.for_writing(other).await.is_ok(), "others go on");
        keys.erase(other).await.unwrap();
    }

    // Without a ring nothing that is encrypted is written into in plain.
    let plain = Keys::none().for_events_in(Arc::clone(&events), Arc::new(SeededIds::new(4)));
    assert!(plain.settle().await.is_err() && plain.for_writing("bob").await.is_err());

    // Given up, bob has another key, and the loss of that one is told again.
    let keys = keys_for(&FileKeyStore::in_memory(), &events, 5).await;
    let lost = keys.lost().await.unwrap();
    assert_eq!(lost.len(), 1);
    keys.give_up(&lost).await.unwrap();
    keys.settle().await.unwrap();
    assert!(keys.for_writing("bob").await.unwrap().is_some());
    assert!(keys_for(&FileKeyStore::in_memory(), &events, 6).await.settle().await.is_err());
}

#[tokio::test]
async fn an_older_copy_of_the_key_store_brings_nobody_back_who_was_erased() {
    let (kept, older, events) = (FileKeyStore::in_memory(), FileKeyStore::in_memory(), events());
    let keys = keys_for(&kept, &events, 1).await;
    keys.for_writing("bob").await.unwrap();
    keys.for_writing("eve").await.unwrap();
    for (user_id, key) in kept.keys().await.unwrap() {
        older.insert(&user_id, key).await.unwrap();
    }
    assert!(keys.erase("bob").await.unwrap());

    let keys = keys_for(&older, &events, 2).await;
    assert_eq!(keys.for_reading("bob").await.unwrap_err(), KeysError::Erased, "also before it is settled");
    assert!(keys.is_erased("bob").await.unwrap());
    assert_eq!(keys.settle().await.unwrap(), Settled { erased_again: 1, named: 0 });
    assert_eq!(older.find("bob").await.unwrap(), Some(Entry::Erased));
    assert!(keys.for_reading("eve").await.unwrap().is_some());
    assert_eq!(keys.settle().await.unwrap(), Settled::default());
}

#[tokio::test]
async fn keys_from_before_the_log_named_them_are_named_and_an_end_that_came_between_is_finished() {
    let (kept, events) = (FileKeyStore::in_memory(), events());
    let before = Keys::open(ring(&"07".repeat(32)), Arc::new(kept.clone())).await.unwrap();
    for n in 0..1_200 {
        before.for_writing(&format!("u{n}")).await.unwrap();
    }
    let keys = keys_for(&kept, &events, 1).await;
    assert_eq!(keys.settle().await.unwrap(), Settled { erased_again: 0, named: 1_200 });
    assert_eq!(keys_for(&kept, &events, 2).await.settle().await.unwrap(), Settled::default());

    kept.erase("u7").await.unwrap();
    let keys = keys_for(&kept, &events, 3).await;
    keys.settle().await.unwrap();
    kept.erase("unheard-of").await.unwrap();
    let keys = keys_for(&kept, &events, 3).await;
    assert_eq!(keys.erased().await.unwrap(), ["u7", "unheard-of"].map(str::to_owned).into());
    keys.settle().await.unwrap();
    let empty = keys_for(&FileKeyStore::in_memory(), &events, 4).await;
    assert_eq!(empty.erased().await.unwrap(), ["u7", "unheard-of"].map(str::to_owned).into());
    assert!(empty.knows("u7").await.unwrap() && !empty.knows("nobody").await.unwrap());
    assert!(empty.is_erased("u7").await.unwrap());
    assert_eq!(empty.lost().await.unwrap().len(), 1_199);
}

#[tokio::test]
async fn of_two_instances_with_key_stores_of_their_own_one_makes_a_users_key() {
    let events = events();
    let (a, b) = (FileKeyStore::in_memory(), FileKeyStore::in_memory());
    let (a, b) = (keys_for(&a, &events, 1).await, keys_for(&b, &events, 2).await);
    // Both know the log from before there was anything in it.
    assert!(a.for_reading("bob").await.unwrap().is_none() && b.for_reading("bob").await.unwrap().is_none());
    a.for_writing("bob").await.unwrap();
    assert_eq!(b.for_writing("bob").await.unwrap_err(), KeysError::Lost("bob".into()));
    b.for_writing("eve").await.unwrap();
    assert_eq!(a.for_writing("eve").await.unwrap_err(), KeysError::Lost("eve".into()));
}

#[tokio::test]
async fn what_cannot_be_read_of_the_log_is_no_empty_log() {
    let (kept, events) = (FileKeyStore::in_memory(), events());
    let stream = StreamName::new("system-keys").unwrap();
    let event = |n, event_type, data| NewEvent::json(uuid::Uuid::from_u128(n), event_type, data);
    let future = event(1, "SomethingElse", "{}");
    events.append(&stream, ExpectedState::NoStream, vec![future]).await.unwrap();
    let keys = keys_for(&kept, &events, 1).await;
    keys.for_writing("bob").await.unwrap();
    events.append(&stream, ExpectedState::Any, vec![event(2, "DataKeyMade", "{}")]).await.unwrap();
    let keys = keys_for(&kept, &events, 2).await;
    assert!(matches!(keys.for_reading("bob").await, Err(KeysError::Log(Error::Corrupt(_)))));
}
