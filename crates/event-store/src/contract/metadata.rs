//! Laws 12 and 13: stream metadata and what it hides.

use super::append::assert_refused;
use super::bed::{Bed, binary, ids, new_ids};
use crate::{
    Acl, Appended, Error, ExpectedState, METADATA_EVENT_TYPE, ReadStream, StreamInfo, StreamMetadata, StreamName,
    VersionedMetadata,
};
use std::time::Duration;

/// Sets a stream's metadata, whatever it was.
async fn set(bed: &Bed, stream: &StreamName, metadata: &StreamMetadata) -> Appended {
    bed.store.set_metadata(stream, ExpectedState::Any, metadata, bed.id()).await.unwrap()
}

fn truncated(before: u64) -> StreamMetadata {
    StreamMetadata { truncate_before: Some(before), ..Default::default() }
}

pub(super) async fn a_stream_without_metadata_has_the_default(bed: Bed) {
    let stream = bed.stream("s");
    assert_eq!(bed.store.metadata(&stream).await, Ok(VersionedMetadata::default()), "no stream");
    bed.written(&stream, 1).await;
    assert_eq!(bed.store.metadata(&stream).await, Ok(VersionedMetadata::default()), "no metadata");
    assert_eq!(bed.store.metadata(&stream).await.unwrap().revision, None);
}

pub(super) async fn metadata_comes_back_as_it_was_set(bed: Bed) {
    let stream = bed.stream("s");
    let names = |names: &[&str]| Some(names.iter().map(|&n| n.to_owned()).collect());
    let metadata = StreamMetadata {
        max_age: Some(Duration::from_secs(86_400)),
        max_count: Some(1000),
        truncate_before: Some(3),
        cache_control: Some(Duration::from_secs(10)),
        acl: Some(Acl { read: names(&["$all"]), write: names(&["a", "role:b"]), ..Default::default() }),
        custom: [("colour".to_owned(), serde_json::json!({"a": [1, "x", null]}))].into_iter().collect(),
    };
    let appended = set(&bed, &stream, &metadata).await;
    assert_eq!(appended.last_revision, Some(0));
    let expected = VersionedMetadata { revision: Some(0), metadata };
    assert_eq!(bed.store.metadata(&stream).await, Ok(expected));

    let event = bed.read(&stream.metastream().unwrap()).await.remove(0);
    assert_eq!(event.event_type.as_str(), METADATA_EVENT_TYPE);
    assert_eq!(Some(event.position), appended.position);
}

pub(super) async fn metadata_obeys_its_expectation(bed: Bed) {
    let stream = bed.stream("s");
    let metastream = stream.metastream().unwrap();
    bed.written(&stream, 5).await;
    let wrong = ExpectedState::Exact(4);
    let answer = bed.store.set_metadata(&stream, wrong, &truncated(1), bed.id()).await;
    assert_refused(answer, &metastream, wrong, None);
    for (revision, expected) in (0..).zip([ExpectedState::NoStream, ExpectedState::Exact(0)]) {
        let answer = bed.store.set_metadata(&stream, expected, &truncated(revision + 1), bed.id()).await;
        assert_eq!(answer.unwrap().last_revision, Some(revision));
    }
    let stale = ExpectedState::Exact(0);
    let answer = bed.store.set_metadata(&stream, stale, &truncated(3), bed.id()).await;
    assert_refused(answer, &metastream, stale, Some(1));
    let now = VersionedMetadata { revision: Some(1), metadata: truncated(2) };
    assert_eq!(bed.store.metadata(&stream).await, Ok(now));
}

pub(super) async fn metadata_can_come_before_its_stream(bed: Bed) {
    let stream = bed.stream("s");
    set(&bed, &stream, &StreamMetadata { max_count: Some(2), ..Default::default() }).await;
    let answer = bed.store.read_stream(&stream, ReadStream::forwards(1)).await;
    assert_eq!(answer, Err(Error::StreamNotFound(stream.clone())));
    bed.written(&stream, 3).await;
    assert_eq!(bed.revisions(&stream).await, [1, 2]);
}

pub(super) async fn max_count_keeps_the_newest(bed: Bed) {
    let stream = bed.stream("s");
    let old = bed.written(&stream, 5).await;
    set(&bed, &stream, &StreamMetadata { max_count: Some(3), ..Default::default() }).await;
    assert_eq!(ids(&bed.read(&stream).await), new_ids(&old[2..]));
    bed.add(&stream, 2).await;
    assert_eq!(bed.revisions(&stream).await, [4, 5, 6]);
    let info = StreamInfo { first_revision: Some(4), last_revision: 6, events: 3 };
    assert_eq!(bed.store.stream_info(&stream).await, Ok(info));
    set(&bed, &stream, &StreamMetadata { max_count: Some(1), ..Default::default() }).await;
    assert_eq!(bed.revisions(&stream).await, [6]);
}

pub(super) async fn truncate_before_hides_older_events(bed: Bed) {
    let stream = bed.stream("s");
    bed.written(&stream, 5).await;
    for before in [0, 1, 4] {
        set(&bed, &stream, &truncated(before)).await;
        assert_eq!(bed.revisions(&stream).await, (before..5).collect::<Vec<_>>());
        let info = StreamInfo { first_revision: Some(before), last_revision: 4, events: 5 - before };
        assert_eq!(bed.store.stream_info(&stream).await, Ok(info));
    }
}

pub(super) async fn the_stricter_of_max_count_and_truncate_before_counts(bed: Bed) {
    let stream = bed.stream("s");
    bed.written(&stream, 6).await;
    for (count, before, first) in [(2, 1, 4), (5, 3, 3), (3, 3, 3), (100, 5, 5)] {
        let metadata = StreamMetadata { max_count: Some(count), ..truncated(before) };
        set(&bed, &stream, &metadata).await;
        assert_eq!(bed.revisions(&stream).await, (first..6).collect::<Vec<_>>(), "{count}, {before}");
    }
}

pub(super) async fn max_age_hides_older_events(bed: Bed) {
    let stream = bed.stream("s");
    let age = |seconds| StreamMetadata { max_age: Some(Duration::from_secs(seconds)), ..Default::default() };
    bed.written(&stream, 2).await;
    if !bed.subject.move_clock(60) {
        // Only the real time can make events old.
        set(&bed, &stream, &age(1)).await;
        let empty = async || bed.read(&stream).await.is_empty();
        while !empty().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bed.add(&stream, 1).await;
        set(&bed, &stream, &age(3600)).await;
        assert_eq!(bed.revisions(&stream).await.last(), Some(&2));
        return;
    }
    bed.add(&stream, 2).await;
    set(&bed, &stream, &age(60)).await;
    assert_eq!(bed.revisions(&stream).await, [0, 1, 2, 3], "exactly 60 s is not older than 60 s");
    assert!(bed.subject.move_clock(1));
    assert_eq!(bed.revisions(&stream).await, [2, 3]);
    let info = StreamInfo { first_revision: Some(2), last_revision: 3, events: 2 };
    assert_eq!(bed.store.stream_info(&stream).await, Ok(info));
    let backwards = bed.store.read_stream(&stream, ReadStream::backwards(10)).await.unwrap();
    assert_eq!((backwards.events.len(), backwards.next), (2, None));

    assert!(bed.subject.move_clock(3600));
    assert_eq!(bed.revisions(&stream).await, Vec::<u64>::new());
    bed.add(&stream, 1).await;
    assert_eq!(bed.revisions(&stream).await, [4]);
    let metadata = StreamMetadata { max_count: Some(2), ..age(10_000) };
    set(&bed, &stream, &metadata).await;
    assert_eq!(bed.revisions(&stream).await, [3, 4], "the strictest counts");
}

pub(super) async fn a_wholly_truncated_stream_is_an_empty_page(bed: Bed) {
    let stream = bed.stream("s");
    bed.written(&stream, 3).await;
    set(&bed, &stream, &truncated(3)).await;
    for read in [ReadStream::forwards(10), ReadStream::backwards(10)] {
        let page = bed.store.read_stream(&stream, read).await.unwrap();
        assert_eq!((page.events, page.next, page.last_revision), (vec![], None, 2));
    }
    let info = StreamInfo { first_revision: None, last_revision: 2, events: 0 };
    assert_eq!(bed.store.stream_info(&stream).await, Ok(info));
    let appended = bed.store.append(&stream, ExpectedState::Exact(2), bed.events(1)).await.unwrap();
    assert_eq!(appended.last_revision, Some(3));
    assert_eq!(bed.revisions(&stream).await, [3]);

    set(&bed, &stream, &truncated(100)).await;
    bed.add(&stream, 1).await;
    assert_eq!(bed.revisions(&stream).await, Vec::<u64>::new(), "truncated before it is written");
    assert_eq!(bed.store.stream_info(&stream).await.unwrap().last_revision, 4);
}

pub(super) async fn truncation_does_not_touch_all(bed: Bed) {
    let stream = bed.stream("s");
    let events = bed.written(&stream, 4).await;
    set(&bed, &stream, &StreamMetadata { max_count: Some(1), ..truncated(2) }).await;
    let all = bed.all().await;
    assert_eq!(ids(&all)[..4], new_ids(&events));
    assert_eq!(all.len(), 5);
}

pub(super) async fn a_metastream_shows_its_newest_event_alone(bed: Bed) {
    let stream = bed.stream("s");
    let metastream = stream.metastream().unwrap();
    for before in 1..=3 {
        set(&bed, &stream, &truncated(before)).await;
    }
    for read in [ReadStream::forwards(10), ReadStream::backwards(10)] {
        let page = bed.store.read_stream(&metastream, read).await.unwrap();
        assert_eq!((page.events.len(), page.next, page.last_revision), (1, None, 2));
        assert_eq!(page.events[0].event.as_ref().unwrap().revision, 2);
    }
    let info = StreamInfo { first_revision: Some(2), last_revision: 2, events: 1 };
    assert_eq!(bed.store.stream_info(&metastream).await, Ok(info));
    assert_eq!(bed.all().await.len(), 3, "`$all` has them all");
}

pub(super) async fn a_metastream_has_no_metadata(bed: Bed) {
    let stream = bed.stream("s");
    let metastream = stream.metastream().unwrap();
    set(&bed, &stream, &truncated(1)).await;
    let answer = bed.store.set_metadata(&metastream, ExpectedState::Any, &truncated(1), bed.id()).await;
    assert!(matches!(answer, Err(Error::InvalidArgument(_))), "{answer:?}");
    let answer = bed.store.metadata(&metastream).await;
    assert!(matches!(answer, Err(Error::InvalidArgument(_))), "{answer:?}");
    let of_metastream = StreamName::new(format!("$${metastream}")).unwrap();
    let answer = bed.store.append(&of_metastream, ExpectedState::Any, bed.events(1)).await;
    assert!(matches!(answer, Err(Error::InvalidArgument(_))), "{answer:?}");
    assert_eq!(bed.all().await.len(), 1);
}

pub(super) async fn metadata_that_is_no_json_counts_as_none(bed: Bed) {
    let stream = bed.stream("s");
    bed.written(&stream, 3).await;
    set(&bed, &stream, &truncated(2)).await;
    let metastream = stream.metastream().unwrap();
    let nonsense = binary(bed.id(), vec![0xff, 0x00]);
    bed.store.append(&metastream, ExpectedState::Any, vec![nonsense]).await.unwrap();
    assert_eq!(bed.revisions(&stream).await, [0, 1, 2]);
}

pub(super) async fn metadata_outlives_a_restart(mut bed: Bed) {
    let stream = bed.stream("s");
    bed.written(&stream, 5).await;
    let metadata = StreamMetadata { max_count: Some(3), ..truncated(1) };
    set(&bed, &stream, &metadata).await;
    if bed.restart().await {
        assert_eq!(bed.store.metadata(&stream).await.unwrap().metadata, metadata);
        assert_eq!(bed.revisions(&stream).await, [2, 3, 4]);
        bed.add(&stream, 1).await;
        assert_eq!(bed.revisions(&stream).await, [3, 4, 5]);
    }
}
