//! Law 17: subscriptions.

use super::bed::{Bed, caught_up, ids, message, new_ids, next_events, plain};
use crate::{
    Error, EventFilter, EventType, ExpectedState, Position, ReadFrom, Revision, StreamMetadata, SubscribeAll,
    SubscribeStream, Subscription, SubscriptionMessage, TOMBSTONE_REVISION,
};
use futures::StreamExt;
use std::num::NonZeroU32;

fn from(from: ReadFrom<Revision>) -> SubscribeStream {
    SubscribeStream { from, ..Default::default() }
}

/// Follows what this run writes, from its beginning.
async fn follow_all(bed: &Bed, filter: EventFilter, from: ReadFrom<Position>) -> Subscription {
    let options = SubscribeAll {
        from,
        filter: Some(filter),
        checkpoint_interval: NonZeroU32::new(32),
        ..Default::default()
    };
    bed.store.subscribe_all(options).await.unwrap()
}

pub(super) async fn a_stream_from_its_start_then_live(bed: Bed) {
    let stream = bed.stream("s");
    let old = bed.written(&stream, 10).await;
    bed.written(&bed.stream("other"), 3).await;
    let mut subscription = bed.store.subscribe_stream(&stream, from(ReadFrom::Start)).await.unwrap();
    let (events, revision, position) = caught_up(&mut subscription).await;
    assert_eq!(ids(&events), new_ids(&old));
    assert_eq!((revision, position), (Some(9), None));
    assert_eq!(events, bed.read(&stream).await);
    for _ in 0..3 {
        bed.add(&bed.stream("other"), 1).await;
        let (new, _) = bed.add(&stream, 2).await;
        assert_eq!(ids(&next_events(&mut subscription, 2).await), new_ids(&new));
    }
}

pub(super) async fn a_stream_from_a_revision(bed: Bed) {
    let stream = bed.stream("s");
    bed.written(&stream, 5).await;
    for (place, first) in [(ReadFrom::At(3), 3), (ReadFrom::Past(3), 4), (ReadFrom::Past(4), 5)] {
        let mut subscription = bed.store.subscribe_stream(&stream, from(place)).await.unwrap();
        let (events, revision, _) = caught_up(&mut subscription).await;
        assert_eq!(events.iter().map(|e| e.revision).collect::<Vec<_>>(), (first..5).collect::<Vec<_>>());
        assert_eq!(revision, Some(4));
    }
    let mut later = bed.store.subscribe_stream(&stream, from(ReadFrom::At(7))).await.unwrap();
    assert_eq!(caught_up(&mut later).await.0, []);
    let (new, _) = bed.add(&stream, 4).await;
    assert_eq!(ids(&next_events(&mut later, 2).await), new_ids(&new[2..]), "from a revision to come");
}

pub(super) async fn a_stream_from_its_end(bed: Bed) {
    let stream = bed.stream("s");
    bed.written(&stream, 5).await;
    let mut subscription = bed.store.subscribe_stream(&stream, from(ReadFrom::End)).await.unwrap();
    assert_eq!(caught_up(&mut subscription).await, (vec![], Some(4), None));
    let (new, _) = bed.add(&stream, 2).await;
    assert_eq!(ids(&next_events(&mut subscription, 2).await), new_ids(&new));
}

pub(super) async fn a_stream_that_does_not_exist_yet(bed: Bed) {
    let stream = bed.stream("s");
    let mut start = bed.store.subscribe_stream(&stream, from(ReadFrom::Start)).await.unwrap();
    let mut end = bed.store.subscribe_stream(&stream, from(ReadFrom::End)).await.unwrap();
    assert_eq!(caught_up(&mut start).await, (vec![], None, None));
    assert_eq!(caught_up(&mut end).await, (vec![], None, None));
    let new = bed.written(&stream, 3).await;
    assert_eq!(ids(&next_events(&mut start, 3).await), new_ids(&new));
    assert_eq!(ids(&next_events(&mut end, 3).await), new_ids(&new));
}

pub(super) async fn truncated_events_do_not_come(bed: Bed) {
    let stream = bed.stream("s");
    bed.written(&stream, 6).await;
    let metadata = StreamMetadata { max_count: Some(2), ..Default::default() };
    bed.store.set_metadata(&stream, ExpectedState::Any, &metadata, bed.id()).await.unwrap();
    let mut subscription = bed.store.subscribe_stream(&stream, from(ReadFrom::Start)).await.unwrap();
    let (events, revision, _) = caught_up(&mut subscription).await;
    assert_eq!(events.iter().map(|e| e.revision).collect::<Vec<_>>(), [4, 5]);
    assert_eq!(revision, Some(5));
    for revision in 6..9 {
        bed.add(&stream, 1).await;
        assert_eq!(next_events(&mut subscription, 1).await[0].revision, revision);
    }
}

pub(super) async fn all_from_a_position_then_live(bed: Bed) {
    let (a, b) = (bed.stream("a"), bed.stream("b"));
    let mut written = bed.written(&a, 4).await;
    written.extend(bed.written(&b, 4).await);
    let all = bed.all().await;
    let is_own = |e: &crate::RecordedEvent| e.stream.as_str().starts_with(bed.prefix());
    for (place, first) in [
        (bed.begin(), 0),
        (ReadFrom::At(all[3].position), 3),
        (ReadFrom::Past(all[3].position), 4),
        (ReadFrom::Past(all[7].position), 8),
    ] {
        let options = SubscribeAll { from: place, ..Default::default() };
        let mut subscription = bed.store.subscribe_all(options).await.unwrap();
        let (mut events, revision, position) = caught_up(&mut subscription).await;
        assert_eq!(revision, None);
        assert!(position.is_some_and(|p| p >= all[7].position), "{position:?}");
        events.retain(is_own);
        assert_eq!(events, all[first..], "{place:?}");
    }

    let options = SubscribeAll { from: ReadFrom::Past(all[7].position), ..Default::default() };
    let mut subscription = bed.store.subscribe_all(options).await.unwrap();
    caught_up(&mut subscription).await;
    let (new, _) = bed.add(&b, 3).await;
    let mut events = Vec::new();
    while events.len() < 3 {
        events.extend(next_events(&mut subscription, 1).await.into_iter().filter(is_own));
    }
    assert_eq!(ids(&events), new_ids(&new));
}

pub(super) async fn all_from_its_end(bed: Bed) {
    let stream = bed.stream("s");
    bed.written(&stream, 3).await;
    let mut subscription = follow_all(&bed, bed.filter(), ReadFrom::End).await;
    let (events, _, position) = caught_up(&mut subscription).await;
    assert_eq!(events, []);
    assert!(position >= bed.all().await.last().map(|e| e.position));
    let (new, _) = bed.add(&stream, 2).await;
    assert_eq!(ids(&next_events(&mut subscription, 2).await), new_ids(&new));
}

pub(super) async fn a_filter_lets_through_what_matches(bed: Bed) {
    let (wanted, noise) = (bed.stream("wanted"), bed.stream("noise"));
    let mut expected = Vec::new();
    for _ in 0..3 {
        bed.add(&noise, 5).await;
        expected.extend(bed.add(&wanted, 2).await.0);
    }
    let filter = EventFilter::stream_prefix([wanted.as_str()]);
    let mut subscription = follow_all(&bed, filter, bed.begin()).await;
    assert_eq!(ids(&caught_up(&mut subscription).await.0), new_ids(&expected));
    bed.add(&noise, 5).await;
    let (new, _) = bed.add(&wanted, 1).await;
    assert_eq!(ids(&next_events(&mut subscription, 1).await), new_ids(&new), "live");
}

pub(super) async fn checkpoints_grow_and_cover_what_did_not_match(bed: Bed) {
    let (wanted, noise) = (bed.stream("wanted"), bed.stream("noise"));
    bed.add(&noise, 100).await;
    bed.add(&wanted, 1).await;
    let (_, last) = bed.add(&noise, 100).await;
    let filter = EventFilter::stream_prefix([wanted.as_str()]);
    let mut subscription = follow_all(&bed, filter, bed.begin()).await;
    let (mut checkpoints, mut newest, mut events) = (Vec::new(), None, 0);
    let caught_up = loop {
        match message(&mut subscription).await.unwrap() {
            SubscriptionMessage::Checkpoint(position) => {
                assert!(newest <= Some(position), "a checkpoint covers what was brought");
                assert!(checkpoints.last() < Some(&position), "checkpoints grow");
                checkpoints.push(position);
                newest = Some(position);
            }
            SubscriptionMessage::Event(event) => {
                let position = plain(vec![event])[0].position;
                assert!(newest < Some(position), "what a checkpoint covers does not come after it");
                newest = Some(position);
                events += 1;
            }
            SubscriptionMessage::CaughtUp { position, .. } => break position,
            SubscriptionMessage::FellBehind => {}
        }
    };
    assert_eq!(events, 1);
    assert!(checkpoints.len() >= 201 / 32, "{checkpoints:?}");
    let end = checkpoints.last().copied();
    assert!(end >= last.position, "a checkpoint ends the catch-up");
    assert!(caught_up >= end);

    bed.add(&noise, 100).await;
    loop {
        if let SubscriptionMessage::Checkpoint(position) = message(&mut subscription).await.unwrap() {
            assert!(Some(position) > end, "checkpoints grow");
            break;
        }
    }
}

pub(super) async fn a_checkpoint_resumes_without_a_gap_or_a_double(bed: Bed) {
    let (wanted, noise) = (bed.stream("wanted"), bed.stream("noise"));
    let mut expected = Vec::new();
    for _ in 0..20 {
        bed.add(&noise, 7).await;
        expected.extend(bed.add(&wanted, 1).await.0);
    }
    let filter = || EventFilter::stream_prefix([wanted.as_str()]);
    let mut place = bed.begin();
    let mut events = Vec::new();
    // Each round takes up where a checkpoint was seen, and ends at the next.
    while events.len() < expected.len() {
        let mut subscription = follow_all(&bed, filter(), place).await;
        loop {
            match message(&mut subscription).await.unwrap() {
                SubscriptionMessage::Event(event) => events.extend(plain(vec![event])),
                SubscriptionMessage::Checkpoint(position) => {
                    place = ReadFrom::Past(position);
                    break;
                }
                SubscriptionMessage::CaughtUp { .. } | SubscriptionMessage::FellBehind => {}
            }
        }
    }
    assert_eq!(ids(&events), new_ids(&expected));
}

pub(super) async fn nothing_is_lost_or_doubled_between_catch_up_and_live(bed: Bed) {
    let writers = (0..3).map(|writer| {
        let (store, stream) = (bed.store.clone(), bed.stream(&format!("s{writer}")));
        let batches: Vec<_> = (0..60).map(|i| bed.events(1 + i % 4)).collect();
        tokio::spawn(async move {
            for batch in batches {
                store.append(&stream, ExpectedState::Any, batch).await.unwrap();
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let total = 3 * 15 * (1 + 2 + 3 + 4);
    // Subscriptions that begin at different times of the writing, each over its own seam.
    let mut readers = Vec::new();
    for round in 0..6_u32 {
        while bed.all().await.len() < total * round as usize / 8 {
            tokio::task::yield_now().await;
        }
        let mut subscription = follow_all(&bed, bed.filter(), bed.begin()).await;
        readers.push(tokio::spawn(async move { next_events(&mut subscription, total).await }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let all = bed.all().await;
    assert_eq!(all.len(), total);
    for reader in readers {
        let events = reader.await.unwrap();
        assert_eq!(ids(&events), ids(&all));
    }
}

pub(super) async fn a_stream_seam_is_seamless_too(bed: Bed) {
    let stream = bed.stream("s");
    let writer = {
        let (store, stream) = (bed.store.clone(), stream.clone());
        let batches: Vec<_> = (0..100).map(|i| bed.events(1 + i % 2)).collect();
        tokio::spawn(async move {
            for batch in batches {
                store.append(&stream, ExpectedState::Any, batch).await.unwrap();
            }
        })
    };
    let mut readers = Vec::new();
    for _ in 0..6 {
        let mut subscription = bed.store.subscribe_stream(&stream, from(ReadFrom::Start)).await.unwrap();
        next_events(&mut subscription, 20 * readers.len()).await;
        let mut again = bed.store.subscribe_stream(&stream, from(ReadFrom::Start)).await.unwrap();
        readers.push(tokio::spawn(async move { next_events(&mut again, 150).await }));
    }
    writer.await.unwrap();
    let stored = bed.read(&stream).await;
    assert_eq!(stored.len(), 150);
    for reader in readers {
        assert_eq!(ids(&reader.await.unwrap()), ids(&stored));
    }
}

pub(super) async fn each_event_wakes_a_waiting_reader(bed: Bed) {
    let stream = bed.stream("s");
    let of_stream = bed.store.subscribe_stream(&stream, from(ReadFrom::Start)).await.unwrap();
    let of_all = follow_all(&bed, bed.filter(), bed.begin()).await;
    let (seen, mut seen_by) = tokio::sync::mpsc::unbounded_channel();
    for mut subscription in [of_stream, of_all] {
        let seen = seen.clone();
        tokio::spawn(async move {
            while seen.send(next_events(&mut subscription, 1).await[0].revision).is_ok() {}
        });
    }
    // Each append follows at once on the last event's arrival, when the readers are about to wait again.
    for revision in 0..300 {
        bed.add(&stream, 1).await;
        for _ in 0..2 {
            assert_eq!(seen_by.recv().await, Some(revision));
        }
    }
}

pub(super) async fn a_tombstone_comes_and_ends_the_subscription(bed: Bed) {
    let stream = bed.stream("s");
    bed.written(&stream, 2).await;
    let mut subscription = bed.store.subscribe_stream(&stream, from(ReadFrom::Start)).await.unwrap();
    assert_eq!(caught_up(&mut subscription).await.0.len(), 2);
    let deleted = bed.store.tombstone(&stream, ExpectedState::Any).await.unwrap();
    let event = next_events(&mut subscription, 1).await.remove(0);
    assert_eq!(event.event_type.as_str(), EventType::STREAM_DELETED);
    assert_eq!((event.revision, event.position), (TOMBSTONE_REVISION, deleted.position));
    assert_eq!(message(&mut subscription).await, Err(Error::StreamDeleted(stream)));
    assert_eq!(subscription.next().await, None);
}

pub(super) async fn a_tombstoned_stream_cannot_be_followed(bed: Bed) {
    let stream = bed.stream("s");
    bed.written(&stream, 2).await;
    bed.store.tombstone(&stream, ExpectedState::Any).await.unwrap();
    for place in [ReadFrom::Start, ReadFrom::End, ReadFrom::At(1)] {
        let mut subscription = bed.store.subscribe_stream(&stream, from(place)).await.unwrap();
        assert_eq!(message(&mut subscription).await, Err(Error::StreamDeleted(stream.clone())));
        assert_eq!(subscription.next().await, None);
    }
}

pub(super) async fn a_softly_deleted_stream_goes_on_when_it_comes_back(bed: Bed) {
    let stream = bed.stream("s");
    bed.written(&stream, 2).await;
    let mut before = bed.store.subscribe_stream(&stream, from(ReadFrom::Start)).await.unwrap();
    caught_up(&mut before).await;
    bed.store.delete(&stream, ExpectedState::Any).await.unwrap();
    let mut after = bed.store.subscribe_stream(&stream, from(ReadFrom::Start)).await.unwrap();
    assert_eq!(caught_up(&mut after).await.0, [], "nothing can be read of it");
    let (new, _) = bed.add(&stream, 2).await;
    assert_eq!(ids(&next_events(&mut before, 2).await), new_ids(&new));
    assert_eq!(ids(&next_events(&mut after, 2).await), new_ids(&new));
}

pub(super) async fn closing_the_store_ends_subscriptions(bed: Bed) {
    let stream = bed.stream("s");
    bed.written(&stream, 1).await;
    let mut of_stream = bed.store.subscribe_stream(&stream, from(ReadFrom::Start)).await.unwrap();
    let mut of_all = follow_all(&bed, bed.filter(), bed.begin()).await;
    assert_eq!(caught_up(&mut of_stream).await.0.len(), 1);
    assert_eq!(caught_up(&mut of_all).await.0.len(), 1);
    let waiting = tokio::spawn(async move { (of_stream.next().await, of_stream.next().await) });
    bed.store.close().await.unwrap();
    assert_eq!(waiting.await.unwrap(), (Some(Err(Error::Closed)), None));
    assert_eq!(message(&mut of_all).await, Err(Error::Closed));
    assert_eq!(of_all.next().await, None);
}
