//! Laws 5 and 6: what happens to an append that is sent again.

use super::append::assert_refused;
use super::bed::{Bed, ids, new_ids};
use crate::{Error, ExpectedState, StreamMetadata};

pub(super) async fn any_gives_the_first_answer(bed: Bed) {
    let stream = bed.stream("s");
    let (one, first) = bed.add(&stream, 1).await;
    let (batch, second) = bed.add(&stream, 4).await;
    bed.add(&stream, 2).await;
    bed.add(&bed.stream("other"), 2).await;
    for _ in 0..2 {
        assert_eq!(bed.store.append(&stream, ExpectedState::Any, one.clone()).await, Ok(first));
        assert_eq!(bed.store.append(&stream, ExpectedState::Any, batch.clone()).await, Ok(second));
    }
    assert_eq!(bed.revisions(&stream).await, (0..7).collect::<Vec<_>>(), "nothing was written twice");
    assert_eq!(bed.all().await.len(), 9);
}

pub(super) async fn stream_exists_gives_the_first_answer(bed: Bed) {
    let (stream, exists) = (bed.stream("s"), ExpectedState::StreamExists);
    bed.written(&stream, 1).await;
    let batch = bed.events(3);
    let first = bed.store.append(&stream, exists, batch.clone()).await.unwrap();
    bed.add(&stream, 1).await;
    assert_eq!(bed.store.append(&stream, exists, batch.clone()).await, Ok(first));
    assert_eq!(bed.store.append(&stream, ExpectedState::Any, batch).await, Ok(first));
    assert_eq!(bed.all().await.len(), 5);
}

pub(super) async fn any_finds_a_part_of_a_batch(bed: Bed) {
    let stream = bed.stream("s");
    let (batch, _) = bed.add(&stream, 4).await;
    let stored = bed.read(&stream).await;
    let part = bed.store.append(&stream, ExpectedState::Any, batch[1..3].to_vec()).await.unwrap();
    assert_eq!(part.last_revision, Some(2));
    assert_eq!(part.position, Some(stored[2].position));
    assert_eq!(bed.all().await.len(), 4);
}

pub(super) async fn any_with_a_new_first_id_is_a_new_append(bed: Bed) {
    let stream = bed.stream("s");
    let (known, _) = bed.add(&stream, 2).await;
    let new = bed.event("new");
    let batch = vec![new.clone(), known[0].clone()];
    let appended = bed.store.append(&stream, ExpectedState::Any, batch).await.unwrap();
    assert_eq!(appended.last_revision, Some(3));
    let expected = [known[0].id, known[1].id, new.id, known[0].id];
    assert_eq!(ids(&bed.read(&stream).await), expected);
}

pub(super) async fn any_with_a_known_first_and_a_new_later_id_is_refused(bed: Bed) {
    let stream = bed.stream("s");
    let (known, _) = bed.add(&stream, 3).await;
    for state in [ExpectedState::Any, ExpectedState::StreamExists] {
        let batch = vec![known[1].clone(), bed.event("new")];
        assert_refused(bed.store.append(&stream, state, batch).await, &stream, state, Some(2));
    }
    assert_eq!(bed.all().await.len(), 3, "nothing was written");
}

pub(super) async fn ids_of_another_stream_do_not_count(bed: Bed) {
    let (a, b) = (bed.stream("a"), bed.stream("b"));
    let batch = bed.written(&a, 2).await;
    let appended = bed.store.append(&b, ExpectedState::Any, batch.clone()).await.unwrap();
    assert_eq!(appended.last_revision, Some(1));
    assert_eq!(ids(&bed.read(&b).await), new_ids(&batch));
    assert_eq!(bed.store.append(&b, ExpectedState::Any, batch).await, Ok(appended));
    assert_eq!(bed.all().await.len(), 4);
}

pub(super) async fn exact_gives_the_first_answer(bed: Bed) {
    let stream = bed.stream("s");
    bed.written(&stream, 2).await;
    let (batch, expected) = (bed.events(3), ExpectedState::Exact(1));
    let first = bed.store.append(&stream, expected, batch.clone()).await.unwrap();
    assert_eq!(first.last_revision, Some(4));
    assert_eq!(bed.store.append(&stream, expected, batch.clone()).await, Ok(first), "at once");
    bed.add(&stream, 3).await;
    assert_eq!(bed.store.append(&stream, expected, batch.clone()).await, Ok(first), "later");

    let stored = bed.read(&stream).await;
    let part = bed.store.append(&stream, expected, batch[..2].to_vec()).await.unwrap();
    assert_eq!((part.last_revision, part.position), (Some(3), Some(stored[3].position)), "its beginning");
    let part = bed.store.append(&stream, ExpectedState::Exact(2), batch[1..].to_vec()).await.unwrap();
    assert_eq!((part.last_revision, part.position), (first.last_revision, first.position), "its end");
    assert_eq!(bed.all().await.len(), 8);

    let (one, expected) = (bed.events(1), ExpectedState::Exact(7));
    let first = bed.store.append(&stream, expected, one.clone()).await.unwrap();
    assert_eq!(bed.store.append(&stream, expected, one).await, Ok(first), "one event alone");
}

pub(super) async fn no_stream_gives_the_first_answer(bed: Bed) {
    let (stream, state) = (bed.stream("s"), ExpectedState::NoStream);
    let batch = bed.events(2);
    let first = bed.store.append(&stream, state, batch.clone()).await.unwrap();
    assert_eq!(bed.store.append(&stream, state, batch.clone()).await, Ok(first), "at once");
    bed.add(&stream, 5).await;
    assert_eq!(bed.store.append(&stream, state, batch.clone()).await, Ok(first), "later");
    let longer = [batch, bed.events(1)].concat();
    assert_refused(bed.store.append(&stream, state, longer).await, &stream, state, Some(6));
    assert_eq!(bed.all().await.len(), 7);
}

pub(super) async fn exact_with_other_ids_is_refused(bed: Bed) {
    let (stream, expected) = (bed.stream("s"), ExpectedState::Exact(0));
    let batch = bed.written(&stream, 4).await;
    let cases = [
        ("all other", bed.events(2)),
        ("the first other", vec![bed.event("x"), batch[2].clone()]),
        ("a later one other", vec![batch[1].clone(), bed.event("x")]),
        ("one too many", [&batch[1..], &bed.events(1)].concat()),
    ];
    for (case, events) in cases {
        let answer = bed.store.append(&stream, expected, events).await;
        assert!(answer.is_err(), "{case}: {answer:?}");
        assert_refused(answer, &stream, expected, Some(3));
    }
    assert_eq!(bed.all().await.len(), 4, "nothing was written");
}

pub(super) async fn exact_with_known_ids_elsewhere_is_refused(bed: Bed) {
    let stream = bed.stream("s");
    let batch = bed.written(&stream, 5).await;
    for (expected, first) in [(0, 2), (2, 1), (1, 1)] {
        let expected = ExpectedState::Exact(expected);
        let answer = bed.store.append(&stream, expected, batch[first..=first].to_vec()).await;
        assert_refused(answer, &stream, expected, Some(4));
    }
    let swapped = vec![batch[2].clone(), batch[1].clone()];
    let expected = ExpectedState::Exact(0);
    assert_refused(bed.store.append(&stream, expected, swapped).await, &stream, expected, Some(4));
    assert_eq!(bed.all().await.len(), 5);
}

pub(super) async fn exact_at_the_last_revision_does_not_look_at_ids(bed: Bed) {
    let stream = bed.stream("s");
    let batch = bed.written(&stream, 2).await;
    let answer = bed.store.append(&stream, ExpectedState::Exact(1), batch.clone()).await.unwrap();
    assert_eq!(answer.last_revision, Some(3));
    assert_eq!(ids(&bed.read(&stream).await), [new_ids(&batch), new_ids(&batch)].concat());
}

pub(super) async fn the_first_answer_outlives_truncation(bed: Bed) {
    let stream = bed.stream("s");
    bed.written(&stream, 1).await;
    let (batch, expected) = (bed.events(2), ExpectedState::Exact(0));
    let first = bed.store.append(&stream, expected, batch.clone()).await.unwrap();
    bed.add(&stream, 2).await;
    let metadata = StreamMetadata { truncate_before: Some(4), ..Default::default() };
    bed.store.set_metadata(&stream, ExpectedState::Any, &metadata, bed.id()).await.unwrap();
    assert_eq!(bed.revisions(&stream).await, [4]);
    assert_eq!(bed.store.append(&stream, expected, batch.clone()).await, Ok(first));
    assert_eq!(bed.store.append(&stream, ExpectedState::Any, batch).await, Ok(first));
    assert_eq!(bed.revisions(&stream).await, [4]);
}

pub(super) async fn the_first_answer_outlives_a_restart(mut bed: Bed) {
    let stream = bed.stream("s");
    let (any, first) = bed.add(&stream, 2).await;
    let (exact, expected) = (bed.events(2), ExpectedState::Exact(1));
    let second = bed.store.append(&stream, expected, exact.clone()).await.unwrap();
    bed.add(&stream, 1).await;
    if bed.restart().await {
        assert_eq!(bed.store.append(&stream, ExpectedState::Any, any.clone()).await, Ok(first));
        assert_eq!(bed.store.append(&stream, ExpectedState::NoStream, any).await, Ok(first));
        assert_eq!(bed.store.append(&stream, expected, exact.clone()).await, Ok(second));
        assert_eq!(bed.store.append(&stream, ExpectedState::Any, exact).await, Ok(second));
        assert_eq!(bed.revisions(&stream).await, [0, 1, 2, 3, 4]);
    }
}

pub(super) async fn the_first_answer_does_not_undelete(bed: Bed) {
    let stream = bed.stream("s");
    let batch = bed.events(2);
    let first = bed.store.append(&stream, ExpectedState::NoStream, batch.clone()).await.unwrap();
    bed.add(&stream, 1).await;
    bed.store.delete(&stream, ExpectedState::Any).await.unwrap();
    for state in [ExpectedState::NoStream, ExpectedState::Any] {
        assert_eq!(bed.store.append(&stream, state, batch.clone()).await, Ok(first));
    }
    let answer = bed.store.stream_info(&stream).await;
    assert_eq!(answer, Err(Error::StreamNotFound(stream)), "it is still deleted");
}

pub(super) async fn no_stream_with_other_ids_undeletes(bed: Bed) {
    let stream = bed.stream("s");
    let old = bed.written(&stream, 3).await;
    bed.store.delete(&stream, ExpectedState::Any).await.unwrap();
    let new = vec![bed.event("new"), old[1].clone()];
    let appended = bed.store.append(&stream, ExpectedState::NoStream, new).await.unwrap();
    assert_eq!(appended.last_revision, Some(4));
    assert_eq!(bed.revisions(&stream).await, [3, 4]);
}

pub(super) async fn a_refused_append_is_not_remembered(bed: Bed) {
    let stream = bed.stream("s");
    bed.written(&stream, 1).await;
    let (batch, wrong) = (bed.events(2), ExpectedState::Exact(7));
    assert_refused(bed.store.append(&stream, wrong, batch.clone()).await, &stream, wrong, Some(0));
    let appended = bed.store.append(&stream, ExpectedState::Any, batch.clone()).await.unwrap();
    assert_eq!(appended.last_revision, Some(2));
    assert_eq!(ids(&bed.read(&stream).await)[1..], new_ids(&batch));
}

pub(super) async fn sent_many_times_at_once_it_is_written_once(bed: Bed) {
    let stream = bed.stream("s");
    bed.written(&stream, 1).await;
    for (expected, revision) in [(ExpectedState::Any, 3), (ExpectedState::Exact(3), 6)] {
        let batch = bed.events(3);
        let calls = (0..8).map(|_| {
            let (store, stream, batch) = (bed.store.clone(), stream.clone(), batch.clone());
            let call = tokio::spawn(async move { store.append(&stream, expected, batch).await });
            async { call.await.unwrap() }
        });
        let answers = futures::future::join_all(calls).await;
        let stored = bed.read(&stream).await;
        let last = stored.last().unwrap();
        assert_eq!((last.revision, last.id), (revision, batch[2].id));
        for answer in answers {
            let answer = answer.unwrap();
            assert_eq!((answer.last_revision, answer.position), (Some(revision), Some(last.position)));
        }
    }
    assert_eq!(bed.all().await.len(), 7);
}
