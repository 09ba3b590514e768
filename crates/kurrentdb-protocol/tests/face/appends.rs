//! Appending, deleting, metadata, and what they answer when it cannot be.

use crate::support::{all_of, event, events, id, revisions, start, within};
use kurrentdb::{
    AppendToStreamOptions, CurrentRevision, DeleteStreamOptions, Error, EventData, ReadStreamOptions,
    StreamMetadataBuilder, StreamMetadataResult, StreamPosition, StreamState, TombstoneStreamOptions,
};

fn expecting(state: StreamState) -> AppendToStreamOptions {
    AppendToStreamOptions::default().stream_state(state)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_expected_state_holds_and_fails_as_it_should() {
    let node = start().await;
    let client = node.client();
    let append = async |state, event| client.append_to_stream("s", &expecting(state), event).await;

    let first = append(StreamState::NoStream, event("a", 0)).await.unwrap();
    assert_eq!(first.next_expected_version, 0);
    let second = append(StreamState::StreamRevision(0), event("a", 1)).await.unwrap();
    assert_eq!(second.next_expected_version, 1);
    assert!(second.position > first.position);
    assert_eq!(second.position.commit, second.position.prepare);
    append(StreamState::StreamExists, event("a", 2)).await.unwrap();
    append(StreamState::Any, event("a", 3)).await.unwrap();

    for expected in [StreamState::NoStream, StreamState::StreamRevision(1), StreamState::StreamRevision(9)] {
        match append(expected, event("a", 4)).await.unwrap_err() {
            Error::WrongExpectedVersion { expected: told, current } => {
                assert_eq!(told, expected);
                assert_eq!(current, CurrentRevision::Current(3));
            }
            other => panic!("{other:?}"),
        }
    }
    let absent =
        client.append_to_stream("absent", &expecting(StreamState::StreamExists), event("a", 0)).await;
    match absent.unwrap_err() {
        Error::WrongExpectedVersion { current, .. } => assert_eq!(current, CurrentRevision::NoStream),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_read_back_as_it_was_sent() {
    let node = start().await;
    let client = node.client();
    let json = EventData::json("json", &serde_json::json!({"a": 1})).unwrap().id(id());
    let json = json.metadata_as_json(&serde_json::json!({"by": "me"})).unwrap();
    let binary_id = id();
    let binary = EventData::binary("binary", vec![0, 159, 146, 150].into()).id(binary_id);
    client.append_to_stream("Größe-1", &Default::default(), vec![json, binary]).await.unwrap();

    let mut read = client.read_stream("Größe-1", &Default::default()).await.unwrap();
    let read = all_of(&mut read).await;
    let (json, binary) = (read[0].get_original_event(), read[1].get_original_event());
    assert_eq!((json.stream_id(), json.event_type.as_str(), json.is_json), ("Größe-1", "json", true));
    assert_eq!(json.data.as_ref(), br#"{"a":1}"#);
    assert_eq!(json.custom_metadata.as_ref(), br#"{"by":"me"}"#);
    assert_eq!(
        (binary.id, binary.is_json, binary.data.as_ref()),
        (binary_id, false, &[0, 159, 146, 150][..])
    );
    assert_eq!(binary.metadata["content-type"], "application/octet-stream");
    assert!(json.created.timestamp() > 1_600_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn sent_again_with_the_same_id_it_is_written_once() {
    let node = start().await;
    let client = node.client();
    let event = event("a", 0);
    let options = expecting(StreamState::NoStream);
    let first = client.append_to_stream("s", &options, event.clone()).await.unwrap();
    let again = client.append_to_stream("s", &options, event.clone()).await.unwrap();
    assert_eq!((first.next_expected_version, first.position), (again.next_expected_version, again.position));
    let any = client.append_to_stream("s", &expecting(StreamState::Any), event).await.unwrap();
    assert_eq!((first.next_expected_version, first.position), (any.next_expected_version, any.position));
    let mut read = client.read_stream("s", &Default::default()).await.unwrap();
    assert_eq!(all_of(&mut read).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_of_nothing_is_answered_by_its_expectation() {
    let node = start().await;
    let client = node.client();
    client.append_to_stream("s", &expecting(StreamState::Any), Vec::<EventData>::new()).await.unwrap();
    assert!(matches!(
        client.read_stream("s", &Default::default()).await.unwrap().next().await,
        Err(Error::ResourceNotFound)
    ));
    let refused = client
        .append_to_stream("s", &expecting(StreamState::StreamRevision(3)), Vec::<EventData>::new())
        .await;
    assert!(matches!(refused, Err(Error::WrongExpectedVersion { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_softly_deleted_stream_is_not_found_and_goes_on() {
    let node = start().await;
    let client = node.client();
    client.append_to_stream("s", &Default::default(), events(3)).await.unwrap();
    let position = client.delete_stream("s", &DeleteStreamOptions::default()).await.unwrap();
    assert!(position.is_some());
    let mut read = client.read_stream("s", &Default::default()).await.unwrap();
    assert!(matches!(within(read.next()).await, Err(Error::ResourceNotFound)));

    let exists = client.append_to_stream("s", &expecting(StreamState::StreamExists), events(1)).await;
    assert!(matches!(exists, Err(Error::ResourceDeleted)), "{exists:?}");
    let back = client.append_to_stream("s", &expecting(StreamState::NoStream), events(1)).await.unwrap();
    assert_eq!(back.next_expected_version, 3);
    let mut read = client.read_stream("s", &Default::default()).await.unwrap();
    assert_eq!(revisions(&all_of(&mut read).await), [3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tombstoned_stream_is_deleted_for_everybody() {
    let node = start().await;
    let client = node.client();
    client.append_to_stream("s", &Default::default(), events(3)).await.unwrap();
    client.tombstone_stream("s", &TombstoneStreamOptions::default()).await.unwrap();
    // The call itself fails, not a stream that had begun.
    assert!(matches!(client.read_stream("s", &Default::default()).await, Err(Error::ResourceDeleted)));
    assert!(matches!(client.read_stream("$$s", &Default::default()).await, Err(Error::ResourceDeleted)));
    assert!(matches!(
        client.append_to_stream("s", &Default::default(), events(1)).await,
        Err(Error::ResourceDeleted)
    ));
    assert!(matches!(client.delete_stream("s", &Default::default()).await, Err(Error::ResourceDeleted)));
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_is_kept_obeyed_and_versioned() {
    let node = start().await;
    let client = node.client();
    let metadata = StreamMetadataBuilder::new().max_count(2).insert_custom_property("colour", "blue").build();
    client.set_stream_metadata("s", &Default::default(), &metadata).await.unwrap();
    client.append_to_stream("s", &Default::default(), events(5)).await.unwrap();
    let mut read = client.read_stream("s", &Default::default()).await.unwrap();
    assert_eq!(revisions(&all_of(&mut read).await), [3, 4]);
    match client.get_stream_metadata("s", &Default::default()).await.unwrap() {
        StreamMetadataResult::Success(kept) => {
            assert_eq!(kept.version(), 0);
            assert_eq!(kept.metadata(), &metadata);
        }
        _ => panic!("no metadata"),
    }
    let from_zero = ReadStreamOptions::default().position(StreamPosition::Position(0));
    let mut read = client.read_stream("s", &from_zero).await.unwrap();
    assert_eq!(revisions(&all_of(&mut read).await), [3, 4]);
}
