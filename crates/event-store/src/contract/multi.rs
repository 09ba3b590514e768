//! Law 7, and law 2 across streams: appends to several streams.

use super::append::assert_refused;
use super::bed::{Bed, ids, new_ids, plain};
use crate::{
    Appended, Error, ExpectedState, NewEvent, ReadAll, StreamMetadata, StreamName, StreamWrite,
};

fn write(stream: &StreamName, expected: ExpectedState, events: &[NewEvent]) -> StreamWrite {
    StreamWrite { stream: stream.clone(), expected, events: events.to_vec() }
}

pub(super) async fn all_streams_are_written_or_none(bed: Bed) {
    if !bed.can_write_to_several().await {
        return;
    }
    let (a, b, c) = (bed.stream("a"), bed.stream("b"), bed.stream("c"));
    bed.written(&b, 1).await;
    let writes = |b_expected| {
        vec![
            write(&a, ExpectedState::NoStream, &bed.events(2)),
            write(&b, b_expected, &bed.events(1)),
            write(&c, ExpectedState::Any, &bed.events(1)),
        ]
    };
    let wrong = ExpectedState::Exact(5);
    assert_refused(bed.store.append_many(writes(wrong)).await, &b, wrong, Some(0));
    assert_eq!(bed.all().await.len(), 1, "nothing was written");

    let appended = bed.store.append_many(writes(ExpectedState::Exact(0))).await.unwrap();
    let revisions: Vec<_> = appended.streams.iter().map(|s| s.last_revision).collect();
    assert_eq!(revisions, [Some(1), Some(1), Some(0)]);
    assert_eq!(bed.all().await.len(), 5);
}

pub(super) async fn events_stand_together_in_the_order_of_the_writes(bed: Bed) {
    if !bed.can_write_to_several().await {
        return;
    }
    let (a, b) = (bed.stream("a"), bed.stream("b"));
    let (of_a, of_b) = (bed.events(2), bed.events(3));
    let writes =
        vec![write(&b, ExpectedState::NoStream, &of_b), write(&a, ExpectedState::NoStream, &of_a)];
    let appended = bed.store.append_many(writes).await.unwrap();
    let all = bed.all().await;
    assert_eq!(ids(&all), [new_ids(&of_b), new_ids(&of_a)].concat());
    assert!(all.windows(2).all(|w| w[0].position < w[1].position));
    let answer = |revision, event: usize| Appended {
        last_revision: Some(revision),
        position: Some(all[event].position),
    };
    assert_eq!(appended.streams, [answer(2, 2), answer(1, 4)]);
    assert_eq!(appended.position, Some(all[4].position));
    assert_eq!(ids(&bed.read(&a).await), new_ids(&of_a));
    assert_eq!(ids(&bed.read(&b).await), new_ids(&of_b));
}

pub(super) async fn a_stream_and_its_metadata_begin_together(bed: Bed) {
    if !bed.can_write_to_several().await {
        return;
    }
    let stream = bed.stream("s");
    let metastream = stream.metastream().unwrap();
    let metadata = StreamMetadata { max_count: Some(2), ..Default::default() };
    let events = bed.events(3);
    let writes = || {
        vec![
            write(&metastream, ExpectedState::NoStream, &[metadata.to_event(bed.id())]),
            write(&stream, ExpectedState::NoStream, &events),
        ]
    };
    bed.store.append_many(writes()).await.unwrap();
    assert_eq!(bed.store.metadata(&stream).await.unwrap().metadata, metadata);
    assert_eq!(bed.revisions(&stream).await, [1, 2], "it obeys the metadata that came with it");
    let again = bed.store.append_many(writes()).await;
    assert!(matches!(again, Err(Error::WrongExpectedRevision { .. })), "{again:?}");
}

pub(super) async fn expectations_are_judged_against_one_moment(bed: Bed) {
    if !bed.can_write_to_several().await {
        return;
    }
    let stream = bed.stream("s");
    let metastream = stream.metastream().unwrap();
    let metadata = StreamMetadata::default().to_event(bed.id());
    let exists = ExpectedState::StreamExists;
    let writes =
        vec![write(&metastream, ExpectedState::Any, &[metadata]), write(&stream, exists, &bed.events(1))];
    // The metadata would make the stream exist, but it was not there when the append was judged.
    assert_refused(bed.store.append_many(writes).await, &stream, exists, None);
    assert_eq!(bed.all().await, []);
}

pub(super) async fn a_check_writes_nothing_and_can_refuse(bed: Bed) {
    if !bed.can_write_to_several().await {
        return;
    }
    let (checked, written) = (bed.stream("checked"), bed.stream("written"));
    bed.written(&checked, 2).await;
    let holds = ExpectedState::Exact(1);
    let writes = |check, state| {
        vec![write(&checked, check, &[]), write(&written, state, &bed.events(1))]
    };
    let appended = bed.store.append_many(writes(holds, ExpectedState::NoStream)).await.unwrap();
    assert_eq!(appended.streams[0], Appended { last_revision: Some(1), position: None });
    assert_eq!(appended.streams[1].last_revision, Some(0));
    assert_eq!(appended.position, appended.streams[1].position);
    for fails in [ExpectedState::NoStream, ExpectedState::Exact(0), ExpectedState::Exact(2)] {
        let answer = bed.store.append_many(writes(fails, ExpectedState::Any)).await;
        assert_refused(answer, &checked, fails, Some(1));
    }
    assert_eq!(bed.all().await.len(), 3, "nothing else was written");
}

pub(super) async fn sent_again_it_gives_the_first_answer_even_if_a_check_fails_now(bed: Bed) {
    if !bed.can_write_to_several().await {
        return;
    }
    let (a, b, checked) = (bed.stream("a"), bed.stream("b"), bed.stream("checked"));
    bed.written(&b, 1).await;
    let writes = vec![
        write(&a, ExpectedState::Any, &bed.events(2)),
        write(&checked, ExpectedState::NoStream, &[]),
        write(&b, ExpectedState::Exact(0), &bed.events(2)),
    ];
    let first = bed.store.append_many(writes.clone()).await.unwrap();
    assert_eq!(bed.store.append_many(writes.clone()).await, Ok(first.clone()));

    bed.written(&checked, 1).await;
    bed.add(&a, 1).await;
    bed.add(&b, 1).await;
    let again = bed.store.append_many(writes).await.unwrap();
    assert_eq!((&again.streams[0], &again.streams[2]), (&first.streams[0], &first.streams[2]));
    assert_eq!(again.position, first.position);
    assert_eq!(bed.all().await.len(), 8, "nothing was written twice");
}

pub(super) async fn a_mix_of_known_and_new_is_refused(bed: Bed) {
    if !bed.can_write_to_several().await {
        return;
    }
    let (a, b) = (bed.stream("a"), bed.stream("b"));
    let known = bed.written(&a, 2).await;
    for state in [ExpectedState::Any, ExpectedState::NoStream] {
        let writes = vec![write(&a, state, &known), write(&b, state, &bed.events(1))];
        let answer = bed.store.append_many(writes).await;
        assert!(matches!(answer, Err(Error::WrongExpectedRevision { .. })), "{answer:?}");
    }
    assert_eq!(bed.all().await.len(), 2, "nothing was written");
}

pub(super) async fn a_stream_named_twice_is_refused(bed: Bed) {
    if !bed.can_write_to_several().await {
        return;
    }
    let (a, b) = (bed.stream("a"), bed.stream("b"));
    let any = |stream| write(stream, ExpectedState::Any, &bed.events(1));
    let answer = bed.store.append_many(vec![any(&a), any(&b), any(&a)]).await;
    assert!(matches!(answer, Err(Error::InvalidArgument(_))), "{answer:?}");
    assert_eq!(bed.all().await, []);
}

pub(super) async fn a_tombstoned_stream_refuses_the_whole(bed: Bed) {
    if !bed.can_write_to_several().await {
        return;
    }
    let (a, ended) = (bed.stream("a"), bed.stream("ended"));
    bed.store.tombstone(&ended, ExpectedState::Any).await.unwrap();
    let any = |stream| write(stream, ExpectedState::Any, &bed.events(1));
    let answer = bed.store.append_many(vec![any(&a), any(&ended)]).await;
    assert_eq!(answer, Err(Error::StreamDeleted(ended.clone())));
    assert_eq!(bed.all().await.len(), 1, "the tombstone alone");
}

pub(super) async fn softly_deleted_streams_come_back(bed: Bed) {
    if !bed.can_write_to_several().await {
        return;
    }
    let (a, b, checked) = (bed.stream("a"), bed.stream("b"), bed.stream("checked"));
    for (stream, count) in [(&a, 2), (&b, 3), (&checked, 1)] {
        bed.written(stream, count).await;
        bed.store.delete(stream, ExpectedState::Any).await.unwrap();
    }
    let writes = vec![
        write(&a, ExpectedState::NoStream, &bed.events(1)),
        write(&checked, ExpectedState::NoStream, &[]),
        write(&b, ExpectedState::Exact(2), &bed.events(2)),
    ];
    let appended = bed.store.append_many(writes).await.unwrap();
    let last = bed.read(&b).await.pop().unwrap();
    assert_eq!(appended.position, Some(last.position));
    assert_eq!(bed.revisions(&a).await, [2]);
    assert_eq!(bed.revisions(&b).await, [3, 4]);
    let answer = bed.store.stream_info(&checked).await;
    assert_eq!(answer, Err(Error::StreamNotFound(checked)), "a check undeletes nothing");
}

pub(super) async fn readers_never_see_half(bed: Bed) {
    if !bed.can_write_to_several().await {
        return;
    }
    let (a, b) = (bed.stream("a"), bed.stream("b"));
    bed.written(&a, 1).await;
    bed.written(&b, 1).await;
    let writer = {
        let store = bed.store.clone();
        let batches: Vec<_> = (0..40)
            .map(|_| {
                let any = |stream| write(stream, ExpectedState::Any, &bed.events(1));
                vec![any(&a), any(&b)]
            })
            .collect();
        tokio::spawn(async move {
            for batch in batches {
                store.append_many(batch).await.unwrap();
            }
        })
    };
    let mut done = false;
    while !done {
        done = writer.is_finished();
        // What is read later has at least what was read before: if `a` has n events then so does `b`.
        let of_a = bed.store.stream_info(&a).await.unwrap().last_revision;
        let of_b = bed.store.stream_info(&b).await.unwrap().last_revision;
        assert!(of_b >= of_a, "a has {of_a}, b has {of_b} only");
        let all = bed.store.read_all(ReadAll::forwards(1000).from(bed.begin()).filter(bed.filter())).await;
        assert_eq!(plain(all.unwrap().events).len() % 2, 0, "half an append was read");
    }
    writer.await.unwrap();
    assert_eq!(bed.all().await.len(), 82);
}
