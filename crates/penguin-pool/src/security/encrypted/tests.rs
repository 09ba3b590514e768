use super::*;
use crate::security::keys::{FileKeyStore, KeyStore, Ring};
use event_store::{IdSource as _, ReadFrom, StreamMetadata, contract::Model};
use futures::StreamExt as _;
use proptest::prelude::*;
use test_support::{MockClock, SeededIds};
use uuid::Uuid;

fn ring(byte: u8) -> Option<Ring> {
    Ring::parse(&format!("{byte:02x}").repeat(32)).unwrap()
}

fn model() -> Arc<dyn EventStore> {
    Arc::new(Model::new(Arc::new(MockClock::new()), Arc::new(SeededIds::new(1))))
}

fn name(text: &str) -> StreamName {
    StreamName::new(text).unwrap()
}

/// An encrypted store, what it stands before, and its keys.
struct Bed {
    store: Encrypted,
    raw: Arc<dyn EventStore>,
    keys: Keys,
    kept: FileKeyStore,
}

async fn bed() -> Bed {
    let kept = FileKeyStore::in_memory();
    let keys = Keys::open(ring(1), Arc::new(kept.clone())).await.unwrap();
    let raw = model();
    Bed { store: Encrypted::new(Arc::clone(&raw), keys.clone()), raw, keys, kept }
}

fn event(n: u128) -> NewEvent {
    let metadata = Bytes::from_static(b"{\"m\":\"private\"}");
    NewEvent { metadata, ..NewEvent::json(Uuid::from_u128(n), "Said", "{\"x\": \"secret\"}") }
}

async fn first(store: &dyn EventStore, stream: &str) -> Result<RecordedEvent> {
    let page = store.read_stream(&name(stream), ReadStream::forwards(1)).await?;
    Ok(page.events.into_iter().next().unwrap().event.unwrap())
}

#[tokio::test]
async fn users_events_are_envelopes_below_and_plain_above() {
    let bed = bed().await;
    let bob = name("user-bob-profile");
    bed.store.append(&bob, ExpectedState::NoStream, vec![event(1)]).await.unwrap();
    let below = first(&*bed.raw, "user-bob-profile").await.unwrap();
    let text = String::from_utf8(below.data.to_vec()).unwrap();
    let envelope: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(envelope["$encrypted"]["alg"], "XChaCha20-Poly1305");
    assert!(!text.contains("secret") && below.metadata.is_empty());
    let above = first(&bed.store, "user-bob-profile").await.unwrap();
    assert_eq!((&above.data, &above.metadata), (&event(1).data, &event(1).metadata));

    let page = bed.store.read_all(ReadAll::forwards(10)).await.unwrap();
    assert_eq!(page.events[0].event, Some(above.clone()));
    let mut live = bed.store.subscribe_stream(&bob, SubscribeStream::default()).await.unwrap();
    assert_eq!(live.next().await.unwrap().unwrap(), SubscriptionMessage::Event(above.clone().into()));
    let mut live = bed.store.subscribe_all(SubscribeAll::default()).await.unwrap();
    assert_eq!(live.next().await.unwrap().unwrap(), SubscriptionMessage::Event(above.into()));

    // Sent again it is the same event, though no two envelopes are.
    let again = bed.store.append(&bob, ExpectedState::NoStream, vec![event(1)]).await.unwrap();
    assert_eq!(again.last_revision, Some(0));
    let others = name("loans-1");
    bed.store.append(&others, ExpectedState::NoStream, vec![event(2)]).await.unwrap();
    assert_eq!(first(&*bed.raw, "loans-1").await.unwrap().data, event(2).data);
    let metadata = StreamMetadata { max_count: Some(1), ..StreamMetadata::default() };
    bed.store.set_metadata(&bob, ExpectedState::Any, &metadata, Uuid::from_u128(3)).await.unwrap();
    assert_eq!(bed.raw.metadata(&bob).await.unwrap().metadata.max_count, Some(1), "the store obeys it");
}

#[tokio::test]
async fn appends_in_turn_are_envelopes_each_and_an_erased_users_are_refused_each() {
    let bed = bed().await;
    let bob = name("user-bob-profile");
    let appends =
        || vec![(ExpectedState::NoStream, vec![event(1)]), (ExpectedState::Exact(0), vec![event(2)])];
    let answers = bed.store.append_in_turn(&bob, appends()).await;
    let last: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().last_revision).collect();
    assert_eq!(last, [Some(0), Some(1)]);
    let read = async |store: &dyn EventStore| {
        let page = store.read_stream(&bob, ReadStream::forwards(10)).await.unwrap();
        page.events.into_iter().map(|e| e.event.unwrap().data).collect::<Vec<_>>()
    };
    assert!(read(&*bed.raw).await.iter().all(|data| envelope::is_envelope(data)));
    assert_eq!(read(&bed.store).await, [event(1).data, event(2).data]);
    bed.keys.erase("bob").await.unwrap();
    let refused = bed.store.append_in_turn(&bob, appends()).await;
    assert_eq!(refused.len(), 2);
    assert!(refused.iter().all(|answer| matches!(answer, Err(Error::Erased(_)))), "{refused:?}");
}

#[tokio::test]
async fn what_was_written_before_is_read_as_it_stands() {
    let bed = bed().await;
    bed.raw.append(&name("user-bob-profile"), ExpectedState::Any, vec![event(1)]).await.unwrap();
    assert_eq!(first(&bed.store, "user-bob-profile").await.unwrap().data, event(1).data);
}

/// Ciphertext that is moved, whatever of its place is another, or changed, is not read.
#[tokio::test]
async fn ciphertext_elsewhere_is_refused() {
    let bed = bed().await;
    let bob = name("user-bob-profile");
    bed.store.append(&bob, ExpectedState::NoStream, vec![event(1)]).await.unwrap();
    bed.store.append(&name("user-eve-profile"), ExpectedState::NoStream, vec![event(2)]).await.unwrap();
    let RecordedEvent { data, .. } = first(&*bed.raw, "user-bob-profile").await.unwrap();
    let of =
        |id, event_type: &str, data: &[u8]| NewEvent::json(Uuid::from_u128(id), event_type, data.to_vec());
    let mut broken = data.to_vec();
    let at = broken.len() - 10;
    broken[at] = if broken[at] == b'A' { b'B' } else { b'A' };
    let moved = [
        ("user-bob-profile-x", of(1, "Said", &data)),
        ("user-bob-loans-1", of(1, "Said", &data)),
        ("user-eve-loans-1", of(1, "Said", &data)),
        ("user-bob-loans-4", of(1, "Said", &broken)),
        ("user-bob-loans-5", of(1, "Said", br#"{"$encrypted":{}}"#)),
    ];
    for (stream, moved) in moved {
        bed.raw.append(&name(stream), ExpectedState::Any, vec![moved]).await.unwrap();
        let refused = first(&bed.store, stream).await.unwrap_err();
        assert!(matches!(refused, Error::Corrupt(_)), "{stream}: {refused}");
        let mut live = bed.store.subscribe_stream(&name(stream), SubscribeStream::default()).await.unwrap();
        assert!(matches!(live.next().await, Some(Err(Error::Corrupt(_)))), "{stream}");
    }
    // The same stream, with another id or another type.
    let copy = model();
    let kept = bed.keys.clone();
    copy.append(
        &bob,
        ExpectedState::Any,
        vec![of(5, "Said", &data), of(1, "Other", &data), of(1, "Said", &data)],
    )
    .await
    .unwrap();
    let store = Encrypted::new(copy, kept);
    for (revision, opens) in [(0, false), (1, false), (2, true)] {
        let read = ReadStream::forwards(1).from(ReadFrom::At(revision));
        assert_eq!(store.read_stream(&bob, read).await.is_ok(), opens, "{revision}");
    }
    // Whoever reads everything sees the others, and of these the envelope.
    let all = bed.store.read_all(ReadAll::forwards(100)).await.unwrap();
    let plain = all.events.iter().filter(|e| e.event.as_ref().unwrap().data == event(1).data).count();
    assert_eq!((plain, all.events.len()), (2, 7));
}

#[tokio::test]
async fn an_erased_user_is_gone_for_good_also_from_an_older_copy() {
    let bed = bed().await;
    let bob = name("user-bob-profile");
    bed.store.append(&bob, ExpectedState::NoStream, vec![event(1)]).await.unwrap();
    bed.store.append(&name("user-eve-profile"), ExpectedState::NoStream, vec![event(2)]).await.unwrap();
    assert!(bed.keys.erase("bob").await.unwrap());
    let erased = |e: Error| matches!(e, Error::Erased(_));
    assert!(first(&bed.store, "user-bob-profile").await.is_err_and(erased));
    for stream in ["user-bob-profile", "user-bob-loans-new", "$$user-bob-profile"] {
        let refused = bed.store.append(&name(stream), ExpectedState::Any, vec![event(7)]).await;
        assert!(refused.is_err_and(erased), "{stream}");
    }
    assert!(bed.store.stream_info(&bob).await.is_err_and(erased));
    assert!(bed.store.metadata(&bob).await.is_err_and(erased));
    assert!(bed.store.delete(&bob, ExpectedState::Any).await.is_err_and(erased));
    let metadata = StreamMetadata::default();
    let set = bed.store.set_metadata(&bob, ExpectedState::Any, &metadata, Uuid::from_u128(8)).await;
    assert!(set.is_err_and(erased));

    // The log is the older copy: nothing was taken out of it. It stays unread, and others are read.
    let all = bed.store.read_all(ReadAll::forwards(10)).await.unwrap();
    let data: Vec<_> = all.events.iter().map(|e| e.event.as_ref().unwrap().data.clone()).collect();
    assert_eq!(data, [Bytes::from_static(ERASED.as_bytes()), event(2).data]);
    let keys = Keys::open(ring(1), Arc::new(bed.kept.clone())).await.unwrap();
    let again = Encrypted::new(Arc::clone(&bed.raw), keys);
    assert!(first(&again, "user-bob-profile").await.is_err_and(erased), "a restart changes nothing");
    bed.store.tombstone(&bob, ExpectedState::Any).await.unwrap();
}

fn metadata(json: serde_json::Value) -> StreamMetadata {
    StreamMetadata::from_json(json.to_string().as_bytes())
}

/// The newest event of bob's profile's metastream, as text.
async fn described(store: &dyn EventStore) -> String {
    let read = ReadStream::backwards(1);
    let page = store.read_stream(&name("$$user-bob-profile"), read).await.unwrap();
    String::from_utf8(page.events[0].event.as_ref().unwrap().data.to_vec()).unwrap()
}

#[tokio::test]
async fn what_is_private_of_a_streams_metadata_is_an_envelope_below_and_plain_above() {
    let bed = bed().await;
    let (bob, meta) = (name("user-bob-profile"), name("$$user-bob-profile"));
    let said = metadata(serde_json::json!({
        "$acl": { "$r": ["bob"] }, "$maxCount": 7, "owner": "bob", "tags": ["user"], "version": 3, "publicFrom": 4,
        "description": "secret", "data": { "ssn": "secret" }, "$encrypted": "their own", "free": 1.50,
    }));
    bed.store.append(&bob, ExpectedState::NoStream, vec![event(1)]).await.unwrap();
    let by_append = said.to_event(Uuid::from_u128(12));
    let many = StreamWrite {
        stream: meta.clone(),
        expected: ExpectedState::Any,
        events: vec![said.to_event(Uuid::from_u128(13))],
    };
    for way in 0..3 {
        match way {
            0 => bed.store.set_metadata(&bob, ExpectedState::Any, &said, Uuid::from_u128(11)).await.map(drop),
            1 => bed.store.append(&meta, ExpectedState::Any, vec![by_append.clone()]).await.map(drop),
            _ => bed.store.append_many(vec![many.clone()]).await.map(drop),
        }
        .unwrap();
        let below = bed.raw.metadata(&bob).await.unwrap();
        assert_eq!(below.revision, Some(way));
        let StreamMetadata { acl, max_count, custom, .. } = below.metadata;
        assert_eq!((acl, max_count), (said.acl.clone(), Some(7)), "the store obeys it");
        assert_eq!(
            custom.keys().collect::<Vec<_>>(),
            ["owner", "tags", "version", "publicFrom", "$encrypted"]
        );
        assert!(!described(&*bed.raw).await.contains("secret"));

        let above = bed.store.metadata(&bob).await.unwrap();
        assert_eq!(above, VersionedMetadata { revision: Some(way), metadata: said.clone() });
        let judged = bed.store.without_private_metadata().metadata(&bob).await.unwrap().metadata;
        assert_eq!((judged.acl, judged.custom.len()), (said.acl.clone(), 4), "what is decided by is plain");
        let shown = described(&bed.store).await;
        assert_eq!(StreamMetadata::from_json(shown.as_bytes()), said);
        let all = bed.store.read_all(ReadAll::backwards(1)).await.unwrap();
        assert_eq!(all.events[0].event.as_ref().unwrap().data, shown);
    }
    // The store writes the free keys again by itself, in an event of its own.
    bed.store.delete(&bob, ExpectedState::Any).await.unwrap();
    let deleted = bed.store.metadata(&bob).await.unwrap().metadata;
    assert!(deleted.is_soft_deleted() && deleted.custom["description"] == "secret");
    bed.store.append(&bob, ExpectedState::Any, vec![event(2)]).await.unwrap();
    assert_eq!(bed.store.metadata(&bob).await.unwrap().metadata.custom["data"]["ssn"], "secret");
    bed.keys.erase("bob").await.unwrap();
    assert!(matches!(bed.store.metadata(&bob).await, Err(Error::Erased(_))));
}

/// What nobody can open leaves the stream manageable: what the store obeys still holds.
#[tokio::test]
async fn private_metadata_elsewhere_is_not_shown() {
    let bed = bed().await;
    let said = metadata(serde_json::json!({ "$maxCount": 7, "owner": "bob", "description": "secret" }));
    let bob = name("user-bob-profile");
    bed.store.set_metadata(&bob, ExpectedState::Any, &said, Uuid::from_u128(1)).await.unwrap();
    bed.store.append(&name("user-eve-profile"), ExpectedState::Any, vec![event(2)]).await.unwrap();
    let taken = bed.raw.metadata(&bob).await.unwrap().metadata;
    for (id, stream) in [(3, "user-bob-activity"), (4, "user-eve-profile")] {
        bed.raw.set_metadata(&name(stream), ExpectedState::Any, &taken, Uuid::from_u128(id)).await.unwrap();
        let found = bed.store.metadata(&name(stream)).await.unwrap().metadata;
        assert_eq!((found.max_count, found.custom.len()), (Some(7), 1), "{stream}: {found:?}");
    }
    assert_eq!(bed.store.metadata(&bob).await.unwrap().metadata, said);
    // What was written before there was a key is read as it stands.
    let plain = name("user-al-profile");
    bed.raw.set_metadata(&plain, ExpectedState::Any, &said, Uuid::from_u128(5)).await.unwrap();
    assert_eq!(bed.store.metadata(&plain).await.unwrap().metadata, said);
}

/// Without a key, too, and what was written before there was one: by whichever way it is come by.
#[tokio::test]
async fn of_an_erased_user_nothing_is_served_that_was_written_in_plain() {
    let (raw, keys) = (model(), Keys::none());
    let store = Encrypted::new(Arc::clone(&raw), keys.clone());
    let bob = name("user-bob-profile");
    let said = StreamMetadata {
        custom: serde_json::json!({ "description": "secret" }).as_object().unwrap().clone(),
        ..StreamMetadata::default()
    };
    store.append(&bob, ExpectedState::NoStream, vec![event(1)]).await.unwrap();
    store.set_metadata(&bob, ExpectedState::Any, &said, Uuid::from_u128(2)).await.unwrap();
    store.append(&name("user-eve-profile"), ExpectedState::NoStream, vec![event(3)]).await.unwrap();
    let link = |id, to: &str| NewEvent::json(Uuid::from_u128(id), EventType::LINK, to.to_owned());
    let gathered = name("gathered");
    store.append(&gathered, ExpectedState::NoStream, vec![link(4, "0@user-bob-profile")]).await.unwrap();
    store.append(&bob, ExpectedState::Any, vec![link(5, "0@user-eve-profile")]).await.unwrap();
    let mut own = store.subscribe_stream(&bob, SubscribeStream::default()).await.unwrap();
    assert!(matches!(own.next().await, Some(Ok(SubscriptionMessage::Event(_)))));
    keys.erase("bob").await.unwrap();

    let resolving = || ReadAll { resolve_links: true, ..ReadAll::forwards(10) };
    let blank = Bytes::from_static(ERASED.as_bytes());
    for read in [ReadAll::forwards(10), resolving()] {
        let is_resolving = read.resolve_links;
        let page = store.read_all(read).await.unwrap();
        assert_eq!(page.events.len(), 5, "each has its place");
        for at in [0, 1, 4] {
            let shown = page.events[at].original().unwrap();
            assert_eq!((&shown.data, &shown.metadata), (&blank, &Bytes::new()), "{shown:?}");
        }
        assert_eq!(page.events[2].event.as_ref().unwrap().data, event(3).data);
        if is_resolving {
            assert_eq!(page.events[3].event.as_ref().unwrap().data, blank, "at the end of a link, too");
            assert_eq!(page.events[4].event, None, "what the user's own link led to is part of it");
        }
    }
    let read = ReadStream { resolve_links: true, ..ReadStream::forwards(10) };
    let page = store.read_stream(&gathered, read).await.unwrap();
    assert_eq!(page.events[0].event.as_ref().unwrap().data, blank);
    let mut all = store.subscribe_all(SubscribeAll::default()).await.unwrap();
    let Some(Ok(SubscriptionMessage::Event(shown))) = all.next().await else { panic!("no event") };
    assert_eq!(shown.original().unwrap().data, blank);

    // Whoever followed the user's own stream hears that the user was erased, and not only that it was ended.
    store.tombstone(&bob, ExpectedState::Any).await.unwrap();
    let end = async {
        loop {
            match own.next().await {
                Some(Ok(_)) => {}
                end => return end,
            }
        }
    };
    assert!(matches!(end.await, Some(Err(Error::Erased(_)))));
    let page = store.read_all(ReadAll::backwards(1)).await.unwrap();
    let last = page.events[0].original().unwrap();
    assert_eq!(last.event_type.as_str(), EventType::STREAM_DELETED, "the end is told as an end");
    assert!(last.data.is_empty());
}

#[tokio::test]
async fn keys_are_wrapped_again_and_events_stay() {
    let bed = bed().await;
    bed.store.append(&name("user-bob-profile"), ExpectedState::NoStream, vec![event(1)]).await.unwrap();
    let below = first(&*bed.raw, "user-bob-profile").await.unwrap();
    let both = || Ring::parse(&format!("{},{}", "02".repeat(32), "01".repeat(32))).unwrap();
    let keys = Keys::open(both(), Arc::new(bed.kept.clone())).await.unwrap();
    assert_eq!(keys.rotate().await.unwrap(), 1);
    assert_eq!(keys.rotate().await.unwrap(), 0);
    assert!(matches!(Keys::open(ring(1), Arc::new(bed.kept.clone())).await, Err(KeysError::Unfit(_))));
    let keys = Keys::open(ring(2), Arc::new(bed.kept.clone())).await.unwrap();
    let store = Encrypted::new(Arc::clone(&bed.raw), keys);
    assert_eq!(first(&store, "user-bob-profile").await.unwrap().data, event(1).data);
    assert_eq!(first(&*bed.raw, "user-bob-profile").await.unwrap(), below);
    let wrong = Keys::open(None, Arc::new(bed.kept.clone())).await.unwrap_err();
    assert!(wrong.to_string().starts_with("ENCRYPTION_KEY: it is not set"), "{wrong}");
}

#[tokio::test]
async fn a_key_that_was_given_to_another_user_is_refused() {
    let bed = bed().await;
    bed.store.append(&name("user-bob-profile"), ExpectedState::NoStream, vec![event(1)]).await.unwrap();
    let (_, bobs) = bed.kept.keys().await.unwrap().remove(0);
    bed.kept.insert("eve", bobs).await.unwrap();
    assert_eq!(bed.keys.for_reading("eve").await.unwrap_err(), KeysError::Refused("eve".into()));
    assert!(Keys::open(ring(1), Arc::new(bed.kept.clone())).await.is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_event_is_read_as_it_was_written(
        data in proptest::collection::vec(any::<u8>(), 0..200),
        metadata in proptest::collection::vec(any::<u8>(), 0..50),
        binary: bool, seed: u64,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bed = bed().await;
            let id = SeededIds::new(seed).next_id();
            let content_type = if binary { ContentType::Binary } else { ContentType::Json };
            let event = NewEvent { id, event_type: "T".into(), content_type, data: data.into(), metadata: metadata.into() };
            bed.store.append(&name("user-a-b-activity"), ExpectedState::Any, vec![event.clone()]).await.unwrap();
            let read = first(&bed.store, "user-a-b-activity").await.unwrap();
            assert_eq!((read.data, read.metadata, read.content_type), (event.data, event.metadata, event.content_type));
        });
    }
}
