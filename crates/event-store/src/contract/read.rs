//! Law 14: pages of a stream.

use super::bed::{Bed, ids, new_ids, plain};
use crate::{
    Direction, Error, ExpectedState, MAX_NAME_BYTES, NewEvent, ReadFrom, ReadStream, Revision, StreamInfo,
    StreamMetadata, StreamName,
};

/// The revisions of one page, and where the next begins.
async fn page(bed: &Bed, stream: &StreamName, read: ReadStream) -> (Vec<Revision>, Option<Revision>) {
    let page = bed.store.read_stream(stream, read).await.unwrap();
    (plain(page.events).iter().map(|e| e.revision).collect(), page.next)
}

pub(super) async fn forwards_in_pages(bed: Bed) {
    let stream = bed.stream("s");
    let events = bed.written(&stream, 8).await;
    let read = |from| page(&bed, &stream, ReadStream::forwards(3).from(from));
    assert_eq!(read(ReadFrom::Start).await, (vec![0, 1, 2], Some(3)));
    assert_eq!(read(ReadFrom::At(3)).await, (vec![3, 4, 5], Some(6)));
    assert_eq!(read(ReadFrom::At(6)).await, (vec![6, 7], None));
    assert_eq!(read(ReadFrom::At(5)).await, (vec![5, 6, 7], None), "a full page can be the last");
    assert_eq!(ids(&bed.read(&stream).await), new_ids(&events));
}

pub(super) async fn backwards_in_pages(bed: Bed) {
    let stream = bed.stream("s");
    bed.written(&stream, 8).await;
    let read = |from| page(&bed, &stream, ReadStream::backwards(3).from(from));
    assert_eq!(read(ReadFrom::End).await, (vec![7, 6, 5], Some(4)));
    assert_eq!(read(ReadFrom::At(4)).await, (vec![4, 3, 2], Some(1)));
    assert_eq!(read(ReadFrom::At(1)).await, (vec![1, 0], None));
    assert_eq!(read(ReadFrom::At(2)).await, (vec![2, 1, 0], None), "a full page can be the last");
}

pub(super) async fn forwards_from_every_place(bed: Bed) {
    let stream = bed.stream("s");
    bed.written(&stream, 4).await;
    let read = |from| page(&bed, &stream, ReadStream::forwards(10).from(from));
    assert_eq!(read(ReadFrom::Start).await, (vec![0, 1, 2, 3], None));
    assert_eq!(read(ReadFrom::At(2)).await, (vec![2, 3], None));
    assert_eq!(read(ReadFrom::Past(2)).await, (vec![3], None));
    for beyond in [ReadFrom::End, ReadFrom::Past(3), ReadFrom::At(4), ReadFrom::At(i64::MAX as u64)] {
        let page = bed.store.read_stream(&stream, ReadStream::forwards(10).from(beyond)).await.unwrap();
        assert_eq!((page.events, page.next, page.last_revision), (vec![], None, 3), "{beyond:?}");
    }
}

pub(super) async fn backwards_from_every_place(bed: Bed) {
    let stream = bed.stream("s");
    bed.written(&stream, 4).await;
    let read = |from| page(&bed, &stream, ReadStream::backwards(10).from(from));
    assert_eq!(read(ReadFrom::End).await, (vec![3, 2, 1, 0], None));
    assert_eq!(read(ReadFrom::At(2)).await, (vec![2, 1, 0], None));
    assert_eq!(read(ReadFrom::Past(2)).await, (vec![1, 0], None));
    assert_eq!(read(ReadFrom::Past(0)).await, (vec![], None));
    assert_eq!(read(ReadFrom::At(0)).await, (vec![0], None));
    assert_eq!(read(ReadFrom::Start).await, (vec![0], None), "the oldest event alone");
    assert_eq!(read(ReadFrom::At(1000)).await, (vec![3, 2, 1, 0], None), "beyond the end");
}

pub(super) async fn from_a_truncated_place_it_begins_at_the_next_readable(bed: Bed) {
    let stream = bed.stream("s");
    bed.written(&stream, 6).await;
    let metadata = StreamMetadata { truncate_before: Some(3), ..Default::default() };
    bed.store.set_metadata(&stream, ExpectedState::Any, &metadata, bed.id()).await.unwrap();
    let read = |from| page(&bed, &stream, ReadStream::forwards(2).from(from));
    for from in [ReadFrom::Start, ReadFrom::At(0), ReadFrom::At(3), ReadFrom::Past(0), ReadFrom::Past(2)] {
        assert_eq!(read(from).await, (vec![3, 4], Some(5)), "{from:?}");
    }
    assert_eq!(read(ReadFrom::Past(3)).await, (vec![4, 5], None));
}

pub(super) async fn backwards_it_ends_at_the_oldest_readable(bed: Bed) {
    let stream = bed.stream("s");
    bed.written(&stream, 6).await;
    let metadata = StreamMetadata { truncate_before: Some(3), ..Default::default() };
    bed.store.set_metadata(&stream, ExpectedState::Any, &metadata, bed.id()).await.unwrap();
    let read = |from| page(&bed, &stream, ReadStream::backwards(2).from(from));
    assert_eq!(read(ReadFrom::End).await, (vec![5, 4], Some(3)));
    assert_eq!(read(ReadFrom::At(4)).await, (vec![4, 3], None));
    assert_eq!(read(ReadFrom::At(3)).await, (vec![3], None));
    assert_eq!(read(ReadFrom::At(2)).await, (vec![], None));
    assert_eq!(read(ReadFrom::Past(3)).await, (vec![], None));
}

pub(super) async fn a_limit_of_zero_is_refused(bed: Bed) {
    let stream = bed.stream("s");
    bed.written(&stream, 1).await;
    for direction in [Direction::Forwards, Direction::Backwards] {
        let read = ReadStream { direction, ..ReadStream::forwards(0) };
        let answer = bed.store.read_stream(&stream, read).await;
        assert!(matches!(answer, Err(Error::InvalidArgument(_))), "{answer:?}");
    }
}

pub(super) async fn a_page_is_bounded_in_bytes_but_holds_one_event(bed: Bed) {
    let stream = bed.stream("s");
    let large = |_| NewEvent { data: vec![b'1'; 1000].into(), ..bed.event("x") };
    let events: Vec<_> = (0..5).map(large).collect();
    bed.store.append(&stream, ExpectedState::NoStream, events).await.unwrap();
    let forwards = |max_bytes| page(&bed, &stream, ReadStream { max_bytes, ..ReadStream::forwards(10) });
    assert_eq!(forwards(1).await, (vec![0], Some(1)));
    assert_eq!(forwards(2500).await, (vec![0, 1], Some(2)));
    assert_eq!(forwards(1 << 20).await, (vec![0, 1, 2, 3, 4], None));
    let backwards = |max_bytes| page(&bed, &stream, ReadStream { max_bytes, ..ReadStream::backwards(10) });
    assert_eq!(backwards(1).await, (vec![4], Some(3)));
    assert_eq!(backwards(2500).await, (vec![4, 3], Some(2)));
}

pub(super) async fn a_stream_without_events_is_not_found(bed: Bed) {
    let stream = bed.stream("s");
    let missing = Error::StreamNotFound(stream.clone());
    for read in [ReadStream::forwards(1), ReadStream::backwards(1)] {
        assert_eq!(bed.store.read_stream(&stream, read).await, Err(missing.clone()));
    }
    assert_eq!(bed.store.stream_info(&stream).await, Err(missing));
    let metastream = stream.metastream().unwrap();
    let answer = bed.store.stream_info(&metastream).await;
    assert_eq!(answer, Err(Error::StreamNotFound(metastream)));
}

pub(super) async fn what_can_be_read_is_told(bed: Bed) {
    let stream = bed.stream("s");
    bed.written(&stream, 3).await;
    let info = StreamInfo { first_revision: Some(0), last_revision: 2, events: 3 };
    assert_eq!(bed.store.stream_info(&stream).await, Ok(info));
    bed.add(&stream, 2).await;
    let info = StreamInfo { first_revision: Some(0), last_revision: 4, events: 5 };
    assert_eq!(bed.store.stream_info(&stream).await, Ok(info));
}

pub(super) async fn names_that_look_alike_do_not_mix(bed: Bed) {
    let names = ["a", "A", "a-", "a-1", "a ", "á", "a\u{301}", "$a"].map(|name| bed.stream(name));
    let mut written = Vec::new();
    for stream in &names {
        written.push(bed.written(stream, 2).await);
    }
    for (stream, events) in names.iter().zip(&written) {
        assert_eq!(ids(&bed.read(stream).await), new_ids(events), "{stream}");
    }
}

pub(super) async fn the_longest_names_work(bed: Bed) {
    let run = bed.stream("");
    let stream = StreamName::new(format!("{run}{}", "x".repeat(MAX_NAME_BYTES - run.as_str().len()))).unwrap();
    let events = bed.written(&stream, 2).await;
    assert_eq!(ids(&bed.read(&stream).await), new_ids(&events));
    bed.store.delete(&stream, ExpectedState::Any).await.unwrap();
    bed.add(&stream, 1).await;
    assert_eq!(bed.revisions(&stream).await, [2]);
    let metastream = stream.metastream().unwrap();
    assert_eq!(bed.read(&metastream).await.len(), 1, "its metastream's name is longer still");
    let of_metastream = bed.all().await.iter().filter(|e| e.stream == metastream).count();
    assert_eq!(of_metastream, 2);
}
