//! Law 18: derived streams.

use super::bed::{Bed, caught_up, message, new_ids, plain};
use crate::{
    Acl, ContentType, Direction, Error, EventType, ExpectedState, NewEvent, ReadAll, ReadFrom, ReadStream,
    RecordedEvent, ResolvedEvent, Revision, SOFT_DELETED, StreamMetadata, StreamName, StreamWrite, SubscribeStream,
    SubscriptionMessage,
};

/// What gathers this run's streams: their names begin with the run and a dash.
fn category(bed: &Bed) -> StreamName {
    StreamName::new(format!("$ce-{}", bed.prefix())).unwrap()
}

fn of_type(event_type: &str) -> StreamName {
    StreamName::new(format!("$et-{event_type}")).unwrap()
}

/// A derived stream to its end, page by page in the direction given, as it is or with links resolved.
async fn gathered(
    bed: &Bed,
    stream: &StreamName,
    direction: Direction,
    resolve_links: bool,
) -> Vec<ResolvedEvent> {
    let mut from = if direction == Direction::Forwards { ReadFrom::Start } else { ReadFrom::End };
    let mut events = Vec::new();
    loop {
        let read = ReadStream { direction, resolve_links, ..ReadStream::forwards(3).from(from) };
        let page = bed.store.read_stream(stream, read).await.unwrap();
        events.extend(page.events);
        match page.next {
            Some(next) => from = ReadFrom::At(next),
            None => return events,
        }
    }
}

/// That these are links to the events given, in their order, numbered from a revision on.
#[track_caller]
fn assert_links(links: &[RecordedEvent], stream: &StreamName, first: Revision, events: &[RecordedEvent]) {
    assert_eq!(links.len(), events.len(), "{links:?}");
    for ((revision, link), event) in (first..).zip(links).zip(events) {
        assert_eq!((&link.stream, link.revision), (stream, revision));
        assert_eq!((link.event_type.as_str(), link.content_type), (EventType::LINK, ContentType::Binary));
        assert_eq!(link.data, format!("{}@{}", event.revision, event.stream));
        assert_eq!((link.position, link.created), (event.position, event.created));
        let metadata: serde_json::Value = serde_json::from_slice(&link.metadata).unwrap();
        assert_eq!(metadata["$causedBy"], event.id.to_string());
    }
    let mut ids: Vec<_> = links.iter().map(|link| link.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), links.len(), "each link has an id of its own");
}

/// This run's events in `$all` that a test picks.
async fn picked(bed: &Bed, pick: impl Fn(&RecordedEvent) -> bool) -> Vec<RecordedEvent> {
    bed.all().await.into_iter().filter(pick).collect()
}

pub(super) async fn a_category_holds_a_link_to_each_event_of_its_streams(bed: Bed) {
    if !bed.derives() {
        return;
    }
    let (a, b, stream) = (bed.stream("a"), bed.stream("b-c"), category(&bed));
    let read = bed.store.read_stream(&stream, ReadStream::forwards(10)).await;
    assert_eq!(read, Err(Error::StreamNotFound(stream.clone())));
    assert_eq!(bed.store.stream_info(&stream).await, Err(Error::StreamNotFound(stream.clone())));
    bed.written(&a, 2).await;
    bed.written(&StreamName::new(format!("{}x-1", bed.prefix())).unwrap(), 1).await;
    bed.written(&StreamName::new(format!("{}x", bed.prefix())).unwrap(), 1).await;
    bed.written(&b, 3).await;
    let metadata = StreamMetadata { max_count: Some(100), ..Default::default() };
    bed.store.set_metadata(&a, ExpectedState::Any, &metadata, bed.id()).await.unwrap();
    bed.add(&a, 2).await;

    let events = picked(&bed, |e| e.stream == a || e.stream == b).await;
    assert_eq!(events.len(), 7);
    let links = plain(gathered(&bed, &stream, Direction::Forwards, false).await);
    assert_links(&links, &stream, 0, &events);
    let resolved = gathered(&bed, &stream, Direction::Forwards, true).await;
    let pairs = links.iter().zip(&events);
    let expected: Vec<_> = pairs
        .map(|(link, event)| ResolvedEvent { event: Some(event.clone()), link: Some(link.clone()) })
        .collect();
    assert_eq!(resolved, expected);
    let mut backwards = plain(gathered(&bed, &stream, Direction::Backwards, false).await);
    backwards.reverse();
    assert_eq!(backwards, links);
    for from in 0..9 {
        let read = ReadStream::forwards(2).from(ReadFrom::At(from));
        let page = bed.store.read_stream(&stream, read).await.unwrap();
        let expected = &links[(from as usize).min(7)..(from as usize + 2).min(7)];
        assert_eq!((plain(page.events), page.last_revision), (expected.to_vec(), 6), "{from}");
        assert_eq!(page.next, (from < 5).then_some(from + 2), "{from}");
    }
    let info = bed.store.stream_info(&stream).await.unwrap();
    assert_eq!((info.first_revision, info.last_revision, info.events), (Some(0), 6, 7));
}

pub(super) async fn a_type_holds_a_link_to_each_event_of_it(bed: Bed) {
    if !bed.derives() {
        return;
    }
    let (ours, systems) = (format!("t-{}", bed.prefix()), format!("$t-{}", bed.prefix()));
    let system = StreamName::new(format!("$s-{}", bed.prefix())).unwrap();
    for (stream, event_type) in
        [(bed.stream("a"), &ours), (system.clone(), &ours), (bed.stream("b"), &systems), (bed.stream("a"), &ours)]
    {
        let events = vec![bed.event(event_type), bed.event("another")];
        bed.store.append(&stream, ExpectedState::Any, events).await.unwrap();
    }
    for (event_type, count) in [(&ours, 3), (&systems, 1)] {
        let everything = plain(bed.all_pages(ReadAll::forwards(50)).await);
        let events: Vec<_> = everything.into_iter().filter(|e| e.event_type.as_str() == event_type).collect();
        assert_eq!(events.len(), count);
        let links = plain(gathered(&bed, &of_type(event_type), Direction::Forwards, false).await);
        assert_links(&links, &of_type(event_type), 0, &events);
        let resolved = gathered(&bed, &of_type(event_type), Direction::Backwards, true).await;
        let mut found: Vec<_> = resolved.into_iter().map(|e| e.event.unwrap()).collect();
        found.reverse();
        assert_eq!(found, events);
    }
}

pub(super) async fn streams_holds_a_link_to_the_first_event_of_each(bed: Bed) {
    if !bed.derives() {
        return;
    }
    let streams = StreamName::new("$streams").unwrap();
    let (a, b) = (bed.stream("a"), bed.stream("b"));
    bed.written(&a, 2).await;
    let metadata = StreamMetadata::default();
    bed.store.set_metadata(&b, ExpectedState::Any, &metadata, bed.id()).await.unwrap();
    bed.written(&StreamName::new(format!("$s-{}", bed.prefix())).unwrap(), 1).await;
    bed.written(&b, 1).await;
    bed.add(&a, 1).await;
    let events = picked(&bed, |e| (e.stream == a || e.stream == b) && e.revision == 0).await;
    // The newest ones; whoever shares the store may have made others.
    let read = ReadStream::backwards(500);
    let page = plain(bed.store.read_stream(&streams, read).await.unwrap().events);
    assert!(page.windows(2).all(|pair| pair[0].revision == pair[1].revision + 1));
    let ours = |link: &&RecordedEvent| link.link_target().unwrap().1.as_str().contains(bed.prefix());
    let mut links: Vec<RecordedEvent> = page.iter().filter(ours).cloned().collect();
    links.reverse();
    assert_eq!(links.len(), 2, "{links:?}");
    for (link, event) in links.iter().zip(&events) {
        let (link, event) = (std::slice::from_ref(link), std::slice::from_ref(event));
        assert_links(link, &streams, link[0].revision, event);
    }
}

pub(super) async fn derived_streams_are_followed(bed: Bed) {
    if !bed.derives() {
        return;
    }
    let (a, b, stream) = (bed.stream("a"), bed.stream("b"), category(&bed));
    let follow = |from, resolve_links| SubscribeStream { from, resolve_links };
    let mut early = bed.store.subscribe_stream(&stream, follow(ReadFrom::Start, false)).await.unwrap();
    assert_eq!(caught_up(&mut early).await, (vec![], None, None));
    bed.written(&a, 3).await;
    let mut late = bed.store.subscribe_stream(&stream, follow(ReadFrom::Past(0), true)).await.unwrap();
    let mut end = bed.store.subscribe_stream(&stream, follow(ReadFrom::End, true)).await.unwrap();
    assert_eq!(caught_up(&mut end).await, (vec![], Some(2), None));
    bed.written(&bed.stream("other").metastream().unwrap(), 1).await;
    bed.written(&b, 2).await;
    bed.add(&a, 1).await;
    let links = plain(gathered(&bed, &stream, Direction::Forwards, false).await);
    let resolved = gathered(&bed, &stream, Direction::Forwards, true).await;
    assert_eq!(links.len(), 6);
    for (subscription, first, with_links) in [(&mut early, 0, false), (&mut late, 1, true), (&mut end, 3, true)] {
        let mut events = Vec::new();
        while events.len() < 6 - first {
            match message(subscription).await.unwrap() {
                SubscriptionMessage::Event(event) => events.push(event),
                SubscriptionMessage::CaughtUp { revision, .. } => assert!(revision.is_some()),
                other => panic!("{other:?}"),
            }
        }
        let expected: Vec<ResolvedEvent> =
            if with_links { resolved.clone() } else { links.iter().cloned().map(Into::into).collect() };
        assert_eq!(events, expected[first..]);
    }
}

pub(super) async fn derived_streams_cannot_be_written(bed: Bed) {
    if !bed.derives() {
        return;
    }
    bed.written(&bed.stream("a"), 1).await;
    let before = bed.store.last_position().await.unwrap();
    for stream in [category(&bed), of_type("happened"), StreamName::new("$streams").unwrap()] {
        let refused = |result: Result<(), Error>| {
            assert!(matches!(result, Err(Error::InvalidArgument(_))), "{stream}: {result:?}");
        };
        for expected in [ExpectedState::Any, ExpectedState::NoStream, ExpectedState::Exact(0)] {
            refused(bed.store.append(&stream, expected, bed.events(1)).await.map(drop));
            refused(bed.store.delete(&stream, expected).await.map(drop));
            refused(bed.store.tombstone(&stream, expected).await.map(drop));
        }
        if bed.store.capabilities().multi_stream_append {
            let write = |stream: &StreamName| StreamWrite {
                stream: stream.clone(),
                expected: ExpectedState::Any,
                events: bed.events(1),
            };
            refused(bed.store.append_many(vec![write(&bed.stream("b")), write(&stream)]).await.map(drop));
        }
    }
    assert_eq!(bed.store.last_position().await.unwrap(), before, "nothing was written");
}

pub(super) async fn metadata_hides_nothing_of_a_derived_stream(bed: Bed) {
    if !bed.derives() {
        return;
    }
    let stream = category(&bed);
    bed.written(&bed.stream("a"), 4).await;
    let acl = Some(Acl { read: Some(vec!["ops".to_owned()]), ..Acl::default() });
    for hiding in [
        StreamMetadata { max_count: Some(1), acl, ..Default::default() },
        StreamMetadata { truncate_before: Some(SOFT_DELETED), ..Default::default() },
    ] {
        bed.store.set_metadata(&stream, ExpectedState::Any, &hiding, bed.id()).await.unwrap();
        assert_eq!(bed.store.metadata(&stream).await.unwrap().metadata, hiding);
        assert_eq!(gathered(&bed, &stream, Direction::Forwards, true).await.len(), 4);
        assert_eq!(bed.store.stream_info(&stream).await.unwrap().events, 4);
        let mut following = bed.store.subscribe_stream(&stream, SubscribeStream::default()).await.unwrap();
        assert_eq!(caught_up(&mut following).await.0.len(), 4);
    }
}

pub(super) async fn links_to_what_cannot_be_read_stand_alone(bed: Bed) {
    if !bed.derives() {
        return;
    }
    let stream = category(&bed);
    let [cut, soft, hard] = ["cut", "soft", "hard"].map(|name| bed.stream(name));
    for stream in [&cut, &soft, &hard] {
        bed.written(stream, 2).await;
    }
    let metadata = StreamMetadata { truncate_before: Some(1), ..Default::default() };
    bed.store.set_metadata(&cut, ExpectedState::Any, &metadata, bed.id()).await.unwrap();
    bed.store.delete(&soft, ExpectedState::Any).await.unwrap();
    bed.store.tombstone(&hard, ExpectedState::Any).await.unwrap();
    let found = |events: &[ResolvedEvent]| -> Vec<bool> { events.iter().map(|e| e.event.is_some()).collect() };
    let resolved = gathered(&bed, &stream, Direction::Forwards, true).await;
    // The tombstone is an event of its stream.
    assert_eq!(found(&resolved), [false, true, false, false, false, false, false]);
    assert!(resolved.iter().all(|e| e.link.is_some()));
    bed.add(&soft, 1).await;
    let resolved = gathered(&bed, &stream, Direction::Forwards, true).await;
    assert_eq!(found(&resolved), [false, true, false, false, false, false, false, true]);
}

pub(super) async fn a_link_that_is_gathered_leads_to_its_event(bed: Bed) {
    if !bed.derives() {
        return;
    }
    let (target, links, stream) = (bed.stream("target"), bed.stream("links"), category(&bed));
    bed.written(&target, 2).await;
    let link = NewEvent::link(bed.id(), &target, 1);
    bed.store.append(&links, ExpectedState::NoStream, vec![link]).await.unwrap();
    let events = bed.read(&target).await;
    let resolved = gathered(&bed, &stream, Direction::Forwards, true).await;
    let found: Vec<_> = resolved.iter().map(|e| e.event.clone().unwrap()).collect();
    assert_eq!(found, [events[0].clone(), events[1].clone(), events[1].clone()]);
    assert_eq!(resolved[2].link.as_ref().unwrap().data, format!("1@{target}"));
}

pub(super) async fn derived_streams_add_nothing_to_all(bed: Bed) {
    if !bed.derives() {
        return;
    }
    let stream = bed.stream("a");
    let written = bed.written(&stream, 3).await;
    let before = bed.store.statistics().await.unwrap().events;
    let last = bed.store.last_position().await.unwrap();
    assert_eq!(gathered(&bed, &category(&bed), Direction::Forwards, true).await.len(), 3);
    assert_eq!(super::bed::ids(&bed.all().await), new_ids(&written));
    assert_eq!(bed.store.last_position().await.unwrap(), last);
    assert_eq!(bed.store.statistics().await.unwrap().events, before);
}

pub(super) async fn derived_streams_outlive_a_restart(mut bed: Bed) {
    if !bed.derives() {
        return;
    }
    let stream = category(&bed);
    for count in [1, 4] {
        bed.add(&bed.stream("a"), count).await;
        bed.add(&bed.stream("b"), count).await;
    }
    let before = gathered(&bed, &stream, Direction::Forwards, true).await;
    assert_eq!(before.len(), 10);
    if bed.restart().await {
        assert_eq!(gathered(&bed, &stream, Direction::Forwards, true).await, before);
        bed.add(&bed.stream("b"), 1).await;
        let after = gathered(&bed, &stream, Direction::Forwards, true).await;
        assert_eq!(after[..10], before);
        assert_eq!(after[10].link.as_ref().unwrap().revision, 10);
    }
}
