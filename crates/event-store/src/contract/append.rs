//! Laws 1 to 4, 8 and 15: appends to one stream.

use super::bed::{Bed, assert_same, binary, ids, new_ids, plain};
use crate::{
    Appended, Error, EventType, ExpectedState, NewEvent, ReadAll, ReadStream, StreamMetadata, StreamName,
    StoreState, Timestamp,
};
use bytes::Bytes;
use std::collections::BTreeSet;

/// The answer when nothing was written because the stream's last revision is another.
#[track_caller]
pub(super) fn assert_refused<T: std::fmt::Debug>(
    answer: crate::Result<T>,
    stream: &StreamName,
    expected: ExpectedState,
    actual: Option<u64>,
) {
    match answer {
        Err(error) => {
            assert_eq!(error, Error::WrongExpectedRevision { stream: stream.clone(), expected, actual });
        }
        Ok(answer) => panic!("expected a refusal with actual revision {actual:?}, got {answer:?}"),
    }
}

pub(super) async fn revisions_count_from_zero_and_positions_grow(bed: Bed) {
    let stream = bed.stream("s");
    let mut last = None;
    for revision in 0..5 {
        let (_, appended) = bed.add(&stream, 1).await;
        assert_eq!(appended.last_revision, Some(revision));
        assert!(appended.position > last, "positions grow");
        last = appended.position;
    }
    let (_, batch) = bed.add(&stream, 3).await;
    assert_eq!(batch.last_revision, Some(7));
    let events = bed.read(&stream).await;
    assert_eq!(events.iter().map(|e| e.revision).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    assert!(events.windows(2).all(|w| w[0].position < w[1].position));
    assert_eq!(Some(events[7].position), batch.position, "the position of the last event is answered");
}

pub(super) async fn an_event_comes_back_as_it_was_written(bed: Bed) {
    let stream = bed.stream("ключ/ 🐧");
    let written = vec![
        NewEvent { metadata: r#"{"by":"me"}"#.into(), ..NewEvent::json(bed.id(), "loan.made", r#"{"b":1,"a":2}"#) },
        NewEvent::json(bed.id(), "empty", Bytes::new()),
        NewEvent { metadata: vec![0xff, 0].into(), ..binary(bed.id(), (0..=255).collect()) },
        NewEvent::json(bed.id(), "число 🐧", "9007199254740993000"),
        binary(bed.id(), vec![7; 100_000]),
    ];
    bed.store.append(&stream, ExpectedState::NoStream, written.clone()).await.unwrap();
    let stored = bed.read(&stream).await;
    assert_eq!(stored.len(), written.len());
    for (stored, written) in stored.iter().zip(&written) {
        assert_same(stored, written);
        assert_eq!(stored.stream, stream);
        assert!(stored.created > Timestamp::default());
    }
    assert_eq!(bed.all().await, stored, "`$all` has the same");
}

pub(super) async fn created_never_goes_backwards(bed: Bed) {
    let stream = bed.stream("s");
    bed.written(&stream, 2).await;
    bed.subject.move_clock(-3600);
    bed.add(&stream, 2).await;
    bed.add(&bed.stream("other"), 1).await;
    bed.subject.move_clock(7200);
    bed.add(&stream, 1).await;
    let events = bed.all().await;
    assert_eq!(events.len(), 6);
    assert!(events.windows(2).all(|w| w[0].created <= w[1].created), "{events:?}");
}

pub(super) async fn any_always_holds(bed: Bed) {
    let stream = bed.stream("s");
    for revision in 0..3 {
        let appended = bed.store.append(&stream, ExpectedState::Any, bed.events(1)).await.unwrap();
        assert_eq!(appended.last_revision, Some(revision));
    }
}

pub(super) async fn appends_in_turn_are_judged_one_after_the_other(bed: Bed) {
    let (stream, state) = (bed.stream("s"), ExpectedState::Exact(7));
    let events: Vec<_> = (0..8).map(|n| bed.events(1 + n % 2)).collect();
    let huge = vec![NewEvent { data: vec![b'x'; bed.subject.max_event_bytes()].into(), ..bed.event("huge") }];
    let appends = vec![
        (ExpectedState::NoStream, events[0].clone()),
        (ExpectedState::Any, events[1].clone()),
        (ExpectedState::Exact(2), events[2].clone()),
        (state, events[3].clone()),
        (ExpectedState::Any, events[1].clone()),
        (ExpectedState::Any, huge),
        (ExpectedState::StreamExists, events[4].clone()),
        (ExpectedState::NoStream, events[0].clone()),
        (ExpectedState::NoStream, events[5].clone()),
        (ExpectedState::Exact(4), Vec::new()),
        (ExpectedState::Any, events[6].clone()),
    ];
    let mut answers = bed.store.append_in_turn(&stream, appends).await;
    assert!(matches!(answers.remove(5), Err(Error::EventTooLarge { .. })));
    assert_refused(answers.remove(3), &stream, state, Some(3));
    let refused = answers.remove(6);
    assert_refused(refused, &stream, ExpectedState::NoStream, Some(4));
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    let last: Vec<_> = answers.iter().map(|a| a.last_revision.unwrap()).collect();
    assert_eq!(last, [0, 2, 3, 2, 4, 0, 4, 5]);
    assert_eq!((answers[3], answers[5]), (answers[1], answers[0]), "the first answers");
    let written = [0, 1, 2, 4, 6].iter().flat_map(|n| events[*n].iter().map(|e| e.id));
    assert_eq!(ids(&bed.read(&stream).await), written.collect::<Vec<_>>());
    assert_eq!(bed.store.append_in_turn(&stream, Vec::new()).await, []);
}

pub(super) async fn appends_in_turn_keep_their_order_beside_others(bed: Bed) {
    let stream = bed.stream("s");
    let turn = |count: usize| {
        let events: Vec<_> = (0..count).map(|_| bed.events(1)).collect();
        let known: Vec<_> = events.iter().map(|e| e[0].id).collect();
        (events.into_iter().map(|e| (ExpectedState::Any, e)).collect::<Vec<_>>(), known)
    };
    let turns: Vec<_> = (0..4).map(|_| turn(100)).collect();
    let appending = turns.iter().map(|(appends, _)| bed.store.append_in_turn(&stream, appends.clone()));
    let answers = futures::future::join_all(appending).await;
    let stored = ids(&bed.read(&stream).await);
    assert_eq!(stored.len(), 400);
    for ((_, known), answers) in turns.iter().zip(answers) {
        let own: Vec<_> = stored.iter().filter(|id| known.contains(id)).copied().collect();
        assert_eq!(own, *known);
        for (id, answer) in known.iter().zip(answers) {
            let revision = answer.unwrap().last_revision.unwrap();
            assert_eq!(stored[usize::try_from(revision).unwrap()], *id);
        }
    }
}

pub(super) async fn no_stream_holds_without_events_alone(bed: Bed) {
    let (stream, state) = (bed.stream("s"), ExpectedState::NoStream);
    bed.written(&stream, 2).await;
    assert_refused(bed.store.append(&stream, state, bed.events(1)).await, &stream, state, Some(1));
    assert_eq!(bed.revisions(&stream).await, [0, 1], "nothing was written");
    assert_eq!(bed.all().await.len(), 2);
}

pub(super) async fn stream_exists_holds_with_events_or_metadata(bed: Bed) {
    let (stream, state) = (bed.stream("s"), ExpectedState::StreamExists);
    assert_refused(bed.store.append(&stream, state, bed.events(1)).await, &stream, state, None);
    bed.written(&stream, 1).await;
    assert_eq!(bed.store.append(&stream, state, bed.events(1)).await.unwrap().last_revision, Some(1));

    let described = bed.stream("metadata alone");
    let metadata = StreamMetadata::default();
    bed.store.set_metadata(&described, ExpectedState::Any, &metadata, bed.id()).await.unwrap();
    assert_eq!(bed.store.append(&described, state, bed.events(1)).await.unwrap().last_revision, Some(0));

    let truncated = bed.stream("truncated");
    bed.written(&truncated, 1).await;
    let metadata = StreamMetadata { truncate_before: Some(10), ..metadata };
    bed.store.set_metadata(&truncated, ExpectedState::Any, &metadata, bed.id()).await.unwrap();
    assert_eq!(bed.store.append(&truncated, state, bed.events(1)).await.unwrap().last_revision, Some(1));
}

pub(super) async fn exact_holds_at_the_last_revision_alone(bed: Bed) {
    let stream = bed.stream("s");
    let none = ExpectedState::Exact(0);
    assert_refused(bed.store.append(&stream, none, bed.events(1)).await, &stream, none, None);
    bed.written(&stream, 3).await;
    for wrong in [0, 1, 3, 1000, i64::MAX as u64 - 1] {
        let expected = ExpectedState::Exact(wrong);
        assert_refused(bed.store.append(&stream, expected, bed.events(1)).await, &stream, expected, Some(2));
    }
    assert_eq!(bed.all().await.len(), 3, "nothing was written");
    let appended = bed.store.append(&stream, ExpectedState::Exact(2), bed.events(2)).await.unwrap();
    assert_eq!(appended.last_revision, Some(4));
}

pub(super) async fn a_batch_stands_together_in_all(bed: Bed) {
    let writer = |name: &'static str| {
        let (store, stream) = (bed.store.clone(), bed.stream(name));
        let batches: Vec<_> = (0..10).map(|_| bed.events(5)).collect();
        tokio::spawn(async move {
            for batch in batches {
                store.append(&stream, ExpectedState::Any, batch).await.unwrap();
            }
        })
    };
    let (a, b) = (writer("a"), writer("b"));
    a.await.unwrap();
    b.await.unwrap();
    let all = bed.all().await;
    assert_eq!(all.len(), 100);
    for batch in all.chunks(5) {
        assert!(batch.iter().all(|e| e.stream == batch[0].stream), "a batch was torn apart");
        assert_eq!(batch[0].revision % 5, 0);
    }
}

pub(super) async fn an_empty_append_is_answered_by_its_expectation_alone(bed: Bed) {
    let stream = bed.stream("s");
    let empty = |expected| bed.store.append(&stream, expected, vec![]);
    let nothing = Appended { last_revision: None, position: None };
    assert_eq!(empty(ExpectedState::Any).await, Ok(nothing));
    assert_eq!(empty(ExpectedState::NoStream).await, Ok(nothing));
    let exists = ExpectedState::StreamExists;
    assert_refused(empty(exists).await, &stream, exists, None);
    bed.written(&stream, 3).await;
    let holds = Ok(Appended { last_revision: Some(2), position: None });
    assert_eq!(empty(ExpectedState::Any).await, holds);
    assert_eq!(empty(exists).await, holds);
    assert_eq!(empty(ExpectedState::Exact(2)).await, holds);
    for wrong in [ExpectedState::NoStream, ExpectedState::Exact(1), ExpectedState::Exact(3)] {
        assert_refused(empty(wrong).await, &stream, wrong, Some(2));
    }
    assert_eq!(bed.all().await.len(), 3, "nothing was written");
}

pub(super) async fn of_appends_at_one_revision_one_wins(bed: Bed) {
    let stream = bed.stream("s");
    bed.written(&stream, 1).await;
    for round in 0..5 {
        let expected = ExpectedState::Exact(round);
        let attempts = (0..8).map(|_| {
            let (store, stream, events) = (bed.store.clone(), stream.clone(), bed.events(1));
            let attempt = tokio::spawn(async move {
                let id = events[0].id;
                (id, store.append(&stream, expected, events).await)
            });
            async { attempt.await.unwrap() }
        });
        let mut winners = Vec::new();
        for (id, answer) in futures::future::join_all(attempts).await {
            match answer {
                Ok(appended) => winners.push((id, appended.last_revision)),
                refused => assert_refused(refused, &stream, expected, Some(round + 1)),
            }
        }
        let last = bed.read(&stream).await.pop().unwrap();
        assert_eq!(winners, [(last.id, Some(round + 1))]);
    }
}

pub(super) async fn appends_at_the_same_time_lose_nothing(bed: Bed) {
    let stream = bed.stream("s");
    let writers = (0..8).map(|_| {
        let (store, stream) = (bed.store.clone(), stream.clone());
        let batches: Vec<_> = (0..20).map(|i| bed.events(1 + i % 3)).collect();
        let writer = tokio::spawn(async move {
            let mut answered = Vec::new();
            for batch in batches {
                let appended = store.append(&stream, ExpectedState::Any, batch.clone()).await.unwrap();
                let first = appended.last_revision.unwrap() + 1 - batch.len() as u64;
                answered.extend((first..).zip(new_ids(&batch)));
            }
            answered
        });
        async { writer.await.unwrap() }
    });
    let answered: BTreeSet<_> = futures::future::join_all(writers).await.into_iter().flatten().collect();
    let stored: Vec<_> = bed.read(&stream).await.iter().map(|e| (e.revision, e.id)).collect();
    assert_eq!(stored, answered.into_iter().collect::<Vec<_>>());
    assert!(stored.iter().zip(0..).all(|((revision, _), i)| *revision == i), "no gap");
}

pub(super) async fn each_writer_can_rely_on_its_own_stream(bed: Bed) {
    let streams: Vec<_> = (0..8).map(|n| bed.stream(&format!("s{n}"))).collect();
    let writers = streams.iter().map(|stream| {
        let (store, stream) = (bed.store.clone(), stream.clone());
        let events = bed.events(30);
        tokio::spawn(async move {
            let mut expected = ExpectedState::NoStream;
            for (revision, event) in (0..).zip(events) {
                let appended = store.append(&stream, expected, vec![event]).await.unwrap();
                assert_eq!(appended.last_revision, Some(revision));
                let info = store.stream_info(&stream).await.unwrap();
                assert_eq!((info.last_revision, info.events), (revision, revision + 1));
                expected = ExpectedState::Exact(revision);
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    // Readers of all streams keep what the store remembers of them moving.
    while !writers.iter().all(tokio::task::JoinHandle::is_finished) {
        for stream in &streams {
            match bed.store.stream_info(stream).await {
                Ok(info) => assert_eq!(info.events, info.last_revision + 1),
                Err(error) => assert_eq!(error, Error::StreamNotFound(stream.clone())),
            }
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(bed.all().await.len(), 240);
}

pub(super) async fn a_reader_never_sees_half_a_batch(bed: Bed) {
    let stream = bed.stream("s");
    bed.written(&stream, 4).await;
    let writer = {
        let (store, stream) = (bed.store.clone(), stream.clone());
        let batches: Vec<_> = (0..30).map(|_| bed.events(4)).collect();
        tokio::spawn(async move {
            for batch in batches {
                store.append(&stream, ExpectedState::Any, batch).await.unwrap();
            }
        })
    };
    let mut done = false;
    while !done {
        done = writer.is_finished();
        let page = bed.store.read_stream(&stream, ReadStream::backwards(1000)).await.unwrap();
        assert_eq!(page.events.len() % 4, 0, "half a batch was read");
        assert_eq!(page.last_revision % 4, 3, "half a batch was counted");
        assert_eq!(bed.store.stream_info(&stream).await.unwrap().events % 4, 0);
    }
    writer.await.unwrap();
    assert_eq!(bed.read(&stream).await.len(), 124);
}

pub(super) async fn an_event_type_has_1_to_1024_bytes(bed: Bed) {
    let stream = bed.stream("s");
    for wrong in ["".to_owned(), "x".repeat(EventType::MAX_BYTES + 1)] {
        let events = vec![bed.event("good"), bed.event(&wrong)];
        let answer = bed.store.append(&stream, ExpectedState::Any, events).await;
        assert!(matches!(answer, Err(Error::InvalidArgument(_))), "{answer:?}");
    }
    assert_eq!(bed.all().await, [], "nothing was written");
    let longest = bed.event(&"x".repeat(EventType::MAX_BYTES));
    bed.store.append(&stream, ExpectedState::Any, vec![longest.clone()]).await.unwrap();
    assert_same(&bed.read(&stream).await[0], &longest);
}

pub(super) async fn an_event_too_large_is_refused(bed: Bed) {
    let (stream, limit) = (bed.stream("s"), bed.subject.max_event_bytes());
    let of_size = |size: usize| binary(bed.id(), vec![1; size - 2 * "binary".len()]);
    let large = of_size(limit + 1);
    let events = vec![bed.event("good"), large.clone()];
    let refused = bed.store.append(&stream, ExpectedState::Any, events).await;
    assert_eq!(refused, Err(Error::EventTooLarge { id: large.id, size: limit + 1, limit }));
    assert_eq!(bed.all().await, [], "nothing was written");
    let largest = of_size(limit);
    bed.store.append(&stream, ExpectedState::Any, vec![largest.clone()]).await.unwrap();
    assert_same(&bed.read(&stream).await[0], &largest);
}

pub(super) async fn an_append_too_large_is_refused(bed: Bed) {
    let (stream, limit) = (bed.stream("s"), bed.subject.max_append_bytes());
    let large = Bytes::from(vec![1; limit.min(bed.subject.max_event_bytes()) / 2]);
    let count = limit / large.len() + 1;
    let events: Vec<_> = (0..count).map(|_| NewEvent { data: large.clone(), ..bed.event("x") }).collect();
    let size = events.iter().map(NewEvent::size).sum();
    let refused = bed.store.append(&stream, ExpectedState::Any, events).await;
    assert_eq!(refused, Err(Error::AppendTooLarge { size, limit }));
    assert_eq!(bed.all().await, [], "nothing was written");
}

pub(super) async fn what_was_answered_is_read(bed: Bed) {
    let stream = bed.stream("s");
    for revision in 0..20 {
        let (events, appended) = bed.add(&stream, 1).await;
        let newest = bed.store.read_stream(&stream, ReadStream::backwards(1)).await.unwrap();
        assert_eq!(newest.last_revision, revision);
        assert_eq!(ids(&plain(newest.events)), new_ids(&events));
        let all = bed.store.read_all(ReadAll::backwards(1).filter(bed.filter())).await.unwrap();
        assert_eq!(ids(&plain(all.events)), new_ids(&events));
        assert!(bed.store.last_position().await.unwrap() >= appended.position);
        assert_eq!(bed.store.stream_info(&stream).await.unwrap().events, revision + 1);
    }
}

pub(super) async fn what_was_answered_outlives_a_restart(mut bed: Bed) {
    let (a, b) = (bed.stream("a"), bed.stream("b"));
    bed.written(&a, 3).await;
    bed.written(&b, 5).await;
    bed.add(&a, 2).await;
    let (all, of_a) = (bed.all().await, bed.read(&a).await);
    if bed.restart().await {
        assert_eq!(bed.all().await, all);
        assert_eq!(bed.read(&a).await, of_a);
        let (_, appended) = bed.add(&a, 1).await;
        assert_eq!(appended.last_revision, Some(5));
        assert!(appended.position > all.last().map(|e| e.position));
    }
}

pub(super) async fn a_dropped_call_can_be_sent_again(bed: Bed) {
    let stream = bed.stream("s");
    let events = bed.events(3);
    {
        let mut call = bed.store.append(&stream, ExpectedState::NoStream, events.clone());
        let _ = futures::poll!(call.as_mut());
    }
    let appended = bed.store.append(&stream, ExpectedState::NoStream, events.clone()).await.unwrap();
    assert_eq!(appended.last_revision, Some(2));
    assert_eq!(ids(&bed.read(&stream).await), new_ids(&events));
    assert_eq!(bed.all().await.len(), 3, "it was written once");
}

pub(super) async fn a_closed_store_refuses_appends(bed: Bed) {
    let stream = bed.stream("s");
    assert_eq!(bed.store.state(), StoreState::Ready);
    bed.written(&stream, 1).await;
    bed.store.close().await.unwrap();
    bed.store.close().await.unwrap();
    assert_eq!(bed.store.state(), StoreState::Closed);
    assert_eq!(bed.store.append(&stream, ExpectedState::Any, bed.events(1)).await, Err(Error::Closed));
    assert_eq!(bed.store.delete(&stream, ExpectedState::Any).await, Err(Error::Closed));
    assert_eq!(bed.store.tombstone(&stream, ExpectedState::Any).await, Err(Error::Closed));
}
