//! Law 16: links.

use super::bed::{Bed, message, plain};
use crate::{
    Direction, ExpectedState, NewEvent, ReadAll, ReadFrom, ReadStream, ResolvedEvent, StreamMetadata, StreamName,
    SubscribeAll, SubscribeStream, SubscriptionMessage,
};

/// Two events in a stream, and another stream that has a plain event and links to both.
async fn linked(bed: &Bed) -> (StreamName, StreamName, Vec<NewEvent>) {
    let (target, links) = (bed.stream("target"), bed.stream("links"));
    bed.written(&target, 2).await;
    let events = vec![
        bed.event("plain"),
        NewEvent::link(bed.id(), &target, 1),
        NewEvent::link(bed.id(), &target, 0),
    ];
    bed.store.append(&links, ExpectedState::NoStream, events.clone()).await.unwrap();
    (target, links, events)
}

/// What a reader who wants links resolved sees of the streams that [`linked`] made.
async fn resolved(bed: &Bed, target: &StreamName, links: &StreamName) -> Vec<ResolvedEvent> {
    let (target, links) = (bed.read(target).await, bed.read(links).await);
    let link = |at: usize, to: usize| ResolvedEvent {
        event: Some(target[to].clone()),
        link: Some(links[at].clone()),
    };
    vec![links[0].clone().into(), link(1, 1), link(2, 0)]
}

pub(super) async fn a_link_is_resolved_where_asked(bed: Bed) {
    let (target, links, events) = linked(&bed).await;
    let mut expected = resolved(&bed, &target, &links).await;
    assert_eq!(expected[1].original().unwrap().id, events[1].id);
    let read = ReadStream { resolve_links: true, ..ReadStream::forwards(10) };
    assert_eq!(bed.store.read_stream(&links, read).await.unwrap().events, expected);
    let read = ReadStream { direction: Direction::Backwards, from: ReadFrom::End, ..read };
    expected.reverse();
    assert_eq!(bed.store.read_stream(&links, read).await.unwrap().events, expected);
    let left = bed.store.read_stream(&links, ReadStream::forwards(10)).await.unwrap();
    assert!(plain(left.events).iter().zip(&events).all(|(stored, link)| stored.data == link.data));
}

pub(super) async fn a_link_without_a_readable_target_stands_alone(bed: Bed) {
    let links = bed.stream("links");
    let [never, short, truncated, soft, hard] =
        ["never", "short", "truncated", "soft", "hard"].map(|name| bed.stream(name));
    for stream in [&short, &truncated, &soft, &hard] {
        bed.written(stream, 2).await;
    }
    let metadata = StreamMetadata { truncate_before: Some(1), ..Default::default() };
    bed.store.set_metadata(&truncated, ExpectedState::Any, &metadata, bed.id()).await.unwrap();
    bed.store.delete(&soft, ExpectedState::Any).await.unwrap();
    bed.store.tombstone(&hard, ExpectedState::Any).await.unwrap();
    let targets = [(&never, 0), (&short, 2), (&truncated, 0), (&soft, 0), (&hard, 0)];
    let events = targets.map(|(stream, revision)| NewEvent::link(bed.id(), stream, revision)).to_vec();
    bed.store.append(&links, ExpectedState::NoStream, events).await.unwrap();

    let stored = bed.read(&links).await;
    let read = ReadStream { resolve_links: true, ..ReadStream::forwards(10) };
    let page = bed.store.read_stream(&links, read).await.unwrap();
    let alone = |link| ResolvedEvent { event: None, link: Some(link) };
    assert_eq!(page.events, stored.into_iter().map(alone).collect::<Vec<_>>());
}

pub(super) async fn links_are_resolved_in_all(bed: Bed) {
    let (target, links, _) = linked(&bed).await;
    let mut expected: Vec<ResolvedEvent> = bed.read(&target).await.into_iter().map(Into::into).collect();
    expected.extend(resolved(&bed, &target, &links).await);
    let read = ReadAll { resolve_links: true, ..ReadAll::forwards(2).filter(bed.filter()) };
    assert_eq!(bed.all_pages(read).await, expected);
}

pub(super) async fn links_are_resolved_in_subscriptions(bed: Bed) {
    let (target, links, _) = linked(&bed).await;
    let expected = resolved(&bed, &target, &links).await;
    let options = SubscribeStream { resolve_links: true, ..Default::default() };
    let mut subscription = bed.store.subscribe_stream(&links, options).await.unwrap();
    for event in &expected {
        assert_eq!(message(&mut subscription).await, Ok(SubscriptionMessage::Event(event.clone())));
    }
    let options =
        SubscribeAll { from: bed.begin(), resolve_links: true, filter: Some(bed.filter()), ..Default::default() };
    let mut subscription = bed.store.subscribe_all(options).await.unwrap();
    let mut events = Vec::new();
    while events.len() < 5 {
        if let SubscriptionMessage::Event(event) = message(&mut subscription).await.unwrap() {
            events.push(event);
        }
    }
    assert_eq!(events[2..], expected);
}

pub(super) async fn a_page_counts_what_links_lead_to(bed: Bed) {
    let (target, links) = (bed.stream("target"), bed.stream("links"));
    let large = NewEvent::json(bed.id(), "large", vec![b'1'; 10_000]);
    bed.store.append(&target, ExpectedState::NoStream, vec![large]).await.unwrap();
    let events = (0..6).map(|_| NewEvent::link(bed.id(), &target, 0)).collect();
    bed.store.append(&links, ExpectedState::NoStream, events).await.unwrap();
    for (resolve_links, expected) in [(false, 6), (true, 2)] {
        let read = ReadStream { resolve_links, max_bytes: 25_000, ..ReadStream::forwards(10) };
        let page = bed.store.read_stream(&links, read).await.unwrap();
        assert_eq!((page.events.len(), page.next), (expected, (expected < 6).then_some(2)));
    }
    let filter = crate::EventFilter::stream_prefix([links.as_str()]);
    let read = ReadAll { resolve_links: true, max_bytes: 25_000, ..ReadAll::forwards(10).filter(filter) };
    let page = bed.store.read_all(read.from(bed.begin())).await.unwrap();
    assert_eq!(page.events.len(), 2);
}
