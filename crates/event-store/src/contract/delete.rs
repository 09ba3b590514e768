//! Laws 9 to 11: soft deletes and tombstones.

use super::append::assert_refused;
use super::bed::{Bed, ids};
use crate::{
    Error, EventType, ExpectedState, METADATA_EVENT_TYPE, ReadStream, SOFT_DELETED, StreamMetadata, StreamName,
    TOMBSTONE_REVISION,
};

/// That nothing can be read of a stream, and why.
async fn assert_unreadable(bed: &Bed, stream: &StreamName, why: Error) {
    for read in [ReadStream::forwards(10), ReadStream::backwards(10)] {
        assert_eq!(bed.store.read_stream(stream, read).await, Err(why.clone()));
    }
    assert_eq!(bed.store.stream_info(stream).await, Err(why));
}

fn custom(key: &str) -> StreamMetadata {
    StreamMetadata { custom: [(key.to_owned(), 1.into())].into_iter().collect(), ..Default::default() }
}

pub(super) async fn a_softly_deleted_stream_is_not_found(bed: Bed) {
    let (stream, other) = (bed.stream("s"), bed.stream("other"));
    bed.written(&stream, 3).await;
    bed.written(&other, 2).await;
    bed.store.delete(&stream, ExpectedState::Any).await.unwrap();
    assert_unreadable(&bed, &stream, Error::StreamNotFound(stream.clone())).await;
    assert_eq!(bed.revisions(&other).await, [0, 1]);
}

pub(super) async fn a_soft_delete_is_metadata_and_keeps_the_rest_of_it(bed: Bed) {
    let stream = bed.stream("s");
    bed.written(&stream, 3).await;
    let metadata = StreamMetadata { max_count: Some(100), ..custom("colour") };
    bed.store.set_metadata(&stream, ExpectedState::Any, &metadata, bed.id()).await.unwrap();
    let deleted = bed.store.delete(&stream, ExpectedState::Any).await.unwrap();

    let event = bed.at(deleted.position).await;
    assert_eq!(event.stream, stream.metastream().unwrap());
    assert_eq!((event.revision, event.event_type.as_str()), (1, METADATA_EVENT_TYPE));
    let now = bed.store.metadata(&stream).await.unwrap();
    assert_eq!(now.revision, Some(1));
    assert_eq!(now.metadata, StreamMetadata { truncate_before: Some(SOFT_DELETED), ..metadata });
}

pub(super) async fn revisions_go_on_after_a_soft_delete(bed: Bed) {
    for state in [ExpectedState::Any, ExpectedState::NoStream, ExpectedState::Exact(2)] {
        let stream = bed.stream(&state.to_string());
        bed.written(&stream, 3).await;
        let described = custom("colour");
        bed.store.set_metadata(&stream, ExpectedState::Any, &described, bed.id()).await.unwrap();
        bed.store.delete(&stream, ExpectedState::Any).await.unwrap();
        let appended = bed.store.append(&stream, state, bed.events(2)).await.unwrap();
        assert_eq!(appended.last_revision, Some(4), "{state}");

        let events = bed.read(&stream).await;
        assert_eq!(events.iter().map(|e| e.revision).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(appended.position, Some(events[1].position), "the position of the last event written");
        let metadata = bed.store.metadata(&stream).await.unwrap().metadata;
        assert_eq!(metadata, StreamMetadata { truncate_before: Some(3), ..described });
        let backwards = bed.store.read_stream(&stream, ReadStream::backwards(10)).await.unwrap();
        assert_eq!((backwards.events.len(), backwards.next), (2, None));
        bed.add(&stream, 1).await;
        assert_eq!(bed.revisions(&stream).await, [3, 4, 5]);
    }
}

pub(super) async fn stream_exists_does_not_hold_on_a_softly_deleted_stream(bed: Bed) {
    let stream = bed.stream("s");
    let known = bed.written(&stream, 1).await;
    bed.store.delete(&stream, ExpectedState::Any).await.unwrap();
    for events in [bed.events(1), known, vec![]] {
        let answer = bed.store.append(&stream, ExpectedState::StreamExists, events).await;
        assert_eq!(answer, Err(Error::StreamDeleted(stream.clone())));
    }
    assert_unreadable(&bed, &stream, Error::StreamNotFound(stream.clone())).await;
}

pub(super) async fn exact_is_judged_on_a_softly_deleted_stream(bed: Bed) {
    let stream = bed.stream("s");
    bed.written(&stream, 3).await;
    bed.store.delete(&stream, ExpectedState::Exact(2)).await.unwrap();
    for wrong in [ExpectedState::Exact(1), ExpectedState::Exact(3)] {
        assert_refused(bed.store.append(&stream, wrong, bed.events(1)).await, &stream, wrong, Some(2));
    }
    assert_unreadable(&bed, &stream, Error::StreamNotFound(stream.clone())).await;
}

pub(super) async fn other_metadata_undeletes_with_all_old_events_truncated(bed: Bed) {
    let stream = bed.stream("s");
    bed.written(&stream, 3).await;
    bed.store.delete(&stream, ExpectedState::Any).await.unwrap();
    let metadata = custom("colour");
    bed.store.set_metadata(&stream, ExpectedState::Any, &metadata, bed.id()).await.unwrap();

    let page = bed.store.read_stream(&stream, ReadStream::forwards(10)).await.unwrap();
    assert_eq!((page.events, page.next, page.last_revision), (vec![], None, 2));
    let now = bed.store.metadata(&stream).await.unwrap().metadata;
    assert_eq!(now, StreamMetadata { truncate_before: Some(3), ..metadata });
    let exists = bed.store.append(&stream, ExpectedState::StreamExists, bed.events(1)).await.unwrap();
    assert_eq!(exists.last_revision, Some(3));
    assert_eq!(bed.revisions(&stream).await, [3]);
}

pub(super) async fn a_stream_that_never_was_cannot_be_deleted(bed: Bed) {
    let stream = bed.stream("s");
    let states =
        [ExpectedState::Any, ExpectedState::NoStream, ExpectedState::StreamExists, ExpectedState::Exact(0)];
    for state in states {
        assert_refused(bed.store.delete(&stream, state).await, &stream, state, None);
    }
    assert_eq!(bed.all().await, []);
}

pub(super) async fn a_stream_with_metadata_alone_can_be_deleted(bed: Bed) {
    for state in [ExpectedState::Any, ExpectedState::NoStream, ExpectedState::StreamExists] {
        let stream = bed.stream(&state.to_string());
        bed.store.set_metadata(&stream, ExpectedState::Any, &custom("colour"), bed.id()).await.unwrap();
        let wrong = ExpectedState::Exact(0);
        assert_refused(bed.store.delete(&stream, wrong).await, &stream, wrong, None);
        let deleted = bed.store.delete(&stream, state).await.unwrap();
        assert_eq!(bed.at(deleted.position).await.stream, stream.metastream().unwrap());
        let metadata = bed.store.metadata(&stream).await.unwrap().metadata;
        let expected = StreamMetadata { truncate_before: Some(SOFT_DELETED), ..custom("colour") };
        assert_eq!(metadata, expected, "{state}");
        assert_unreadable(&bed, &stream, Error::StreamNotFound(stream.clone())).await;
        let exists = bed.store.append(&stream, ExpectedState::StreamExists, bed.events(1)).await;
        assert_eq!(exists, Err(Error::StreamDeleted(stream.clone())));
        bed.store.append(&stream, ExpectedState::NoStream, bed.events(2)).await.unwrap();
        assert_eq!(bed.revisions(&stream).await, [0, 1], "{state}");
    }
}

pub(super) async fn a_delete_obeys_its_expectation(bed: Bed) {
    let stream = bed.stream("s");
    bed.written(&stream, 3).await;
    for wrong in [ExpectedState::NoStream, ExpectedState::Exact(1), ExpectedState::Exact(3)] {
        assert_refused(bed.store.delete(&stream, wrong).await, &stream, wrong, Some(2));
    }
    assert_eq!(bed.revisions(&stream).await, [0, 1, 2]);
    bed.store.delete(&stream, ExpectedState::StreamExists).await.unwrap();
    bed.add(&stream, 1).await;
    bed.store.delete(&stream, ExpectedState::Exact(3)).await.unwrap();
    assert_unreadable(&bed, &stream, Error::StreamNotFound(stream.clone())).await;
}

pub(super) async fn a_deleted_stream_can_be_deleted_again(bed: Bed) {
    let stream = bed.stream("s");
    bed.written(&stream, 1).await;
    let first = bed.store.delete(&stream, ExpectedState::Any).await.unwrap();
    let second = bed.store.delete(&stream, ExpectedState::Any).await.unwrap();
    assert!(second.position > first.position);
    let exists = bed.store.delete(&stream, ExpectedState::StreamExists).await;
    assert_eq!(exists, Err(Error::StreamDeleted(stream.clone())));
    assert_unreadable(&bed, &stream, Error::StreamNotFound(stream.clone())).await;
    bed.add(&stream, 1).await;
    assert_eq!(bed.revisions(&stream).await, [1]);
}

pub(super) async fn a_tombstoned_stream_is_deleted_for_good(bed: Bed) {
    let (stream, other) = (bed.stream("s"), bed.stream("other"));
    let metastream = stream.metastream().unwrap();
    let known = bed.written(&stream, 3).await;
    bed.written(&other, 1).await;
    bed.store.set_metadata(&stream, ExpectedState::Any, &custom("x"), bed.id()).await.unwrap();
    let deleted = bed.store.tombstone(&stream, ExpectedState::Exact(2)).await.unwrap();

    let event = bed.at(deleted.position).await;
    assert_eq!((&event.stream, event.revision), (&stream, TOMBSTONE_REVISION));
    assert_eq!(event.event_type.as_str(), EventType::STREAM_DELETED);

    let gone = Error::StreamDeleted(stream.clone());
    assert_unreadable(&bed, &stream, gone.clone()).await;
    assert_unreadable(&bed, &metastream, Error::StreamDeleted(metastream.clone())).await;
    let states =
        [ExpectedState::Any, ExpectedState::NoStream, ExpectedState::StreamExists, ExpectedState::Exact(2)];
    for state in states {
        for events in [bed.events(1), known.clone(), vec![]] {
            assert_eq!(bed.store.append(&stream, state, events).await, Err(gone.clone()), "{state}");
        }
        assert_eq!(bed.store.delete(&stream, state).await, Err(gone.clone()), "{state}");
        assert_eq!(bed.store.tombstone(&stream, state).await, Err(gone.clone()), "{state}");
    }
    assert!(matches!(bed.store.metadata(&stream).await, Err(Error::StreamDeleted(_))));
    let set = bed.store.set_metadata(&stream, ExpectedState::Any, &custom("x"), bed.id()).await;
    assert!(matches!(set, Err(Error::StreamDeleted(_))), "{set:?}");
    assert_eq!(bed.revisions(&other).await, [0]);
}

pub(super) async fn a_tombstone_obeys_its_expectation(bed: Bed) {
    let stream = bed.stream("s");
    bed.written(&stream, 3).await;
    for wrong in [ExpectedState::NoStream, ExpectedState::Exact(1), ExpectedState::Exact(3)] {
        assert_refused(bed.store.tombstone(&stream, wrong).await, &stream, wrong, Some(2));
    }
    assert_eq!(bed.revisions(&stream).await, [0, 1, 2]);
    bed.store.tombstone(&stream, ExpectedState::StreamExists).await.unwrap();
    assert_unreadable(&bed, &stream, Error::StreamDeleted(stream.clone())).await;
}

pub(super) async fn a_stream_that_never_was_can_be_tombstoned(bed: Bed) {
    for state in [ExpectedState::Any, ExpectedState::NoStream] {
        let stream = bed.stream(&state.to_string());
        bed.store.tombstone(&stream, state).await.unwrap();
        let answer = bed.store.append(&stream, ExpectedState::Any, bed.events(1)).await;
        assert_eq!(answer, Err(Error::StreamDeleted(stream)));
    }
    let stream = bed.stream("s");
    for state in [ExpectedState::StreamExists, ExpectedState::Exact(0)] {
        assert_refused(bed.store.tombstone(&stream, state).await, &stream, state, None);
    }
    bed.written(&stream, 1).await;
}

pub(super) async fn a_softly_deleted_stream_can_be_tombstoned(bed: Bed) {
    let stream = bed.stream("s");
    bed.written(&stream, 2).await;
    bed.store.delete(&stream, ExpectedState::Any).await.unwrap();
    bed.store.tombstone(&stream, ExpectedState::Any).await.unwrap();
    assert_unreadable(&bed, &stream, Error::StreamDeleted(stream.clone())).await;
}

pub(super) async fn a_delete_removes_nothing_from_all(bed: Bed) {
    let (soft, hard) = (bed.stream("soft"), bed.stream("hard"));
    bed.written(&soft, 2).await;
    bed.written(&hard, 2).await;
    let before = bed.all().await;
    bed.store.delete(&soft, ExpectedState::Any).await.unwrap();
    bed.store.tombstone(&hard, ExpectedState::Any).await.unwrap();
    let after = bed.all().await;
    assert_eq!(after[..4], before);
    assert_eq!(after.len(), 6);
    assert_eq!((&after[4].stream, &after[5].stream), (&soft.metastream().unwrap(), &hard));
}

pub(super) async fn a_metastream_cannot_be_deleted(bed: Bed) {
    let stream = bed.stream("s");
    let metastream = stream.metastream().unwrap();
    bed.store.set_metadata(&stream, ExpectedState::Any, &custom("x"), bed.id()).await.unwrap();
    let soft = bed.store.delete(&metastream, ExpectedState::Any).await;
    assert!(matches!(soft, Err(Error::InvalidArgument(_))), "{soft:?}");
    let hard = bed.store.tombstone(&metastream, ExpectedState::Any).await;
    assert!(matches!(hard, Err(Error::InvalidArgument(_))), "{hard:?}");
    assert_eq!(bed.store.metadata(&stream).await.unwrap().metadata, custom("x"));
}

pub(super) async fn an_event_named_as_a_tombstone_is_none(bed: Bed) {
    let stream = bed.stream("s");
    let events = vec![bed.event(EventType::STREAM_DELETED), bed.event("after")];
    bed.store.append(&stream, ExpectedState::NoStream, events.clone()).await.unwrap();
    let (more, appended) = bed.add(&stream, 1).await;
    assert_eq!(appended.last_revision, Some(2));
    assert_eq!(ids(&bed.read(&stream).await), [events[0].id, events[1].id, more[0].id]);
}

pub(super) async fn deletes_outlive_a_restart(mut bed: Bed) {
    let (soft, hard) = (bed.stream("soft"), bed.stream("hard"));
    bed.written(&soft, 2).await;
    bed.written(&hard, 2).await;
    bed.store.delete(&soft, ExpectedState::Any).await.unwrap();
    bed.store.tombstone(&hard, ExpectedState::Any).await.unwrap();
    if bed.restart().await {
        assert_unreadable(&bed, &soft, Error::StreamNotFound(soft.clone())).await;
        assert_unreadable(&bed, &hard, Error::StreamDeleted(hard.clone())).await;
        let answer = bed.store.append(&hard, ExpectedState::Any, bed.events(1)).await;
        assert_eq!(answer, Err(Error::StreamDeleted(hard)));
        bed.add(&soft, 1).await;
        assert_eq!(bed.revisions(&soft).await, [2]);
    }
}
