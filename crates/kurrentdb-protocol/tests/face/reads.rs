//! Reading streams and everything, in both directions, filtered, over several pages.

use crate::support::{all_of, event, events, id, revisions, start, within};
use event_store::{ContentType, ExpectedState, NewEvent, StreamName};
use kurrentdb::{Error, ReadAllOptions, ReadEvent, ReadStreamOptions, StreamPosition, SubscriptionFilter};

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_read_from_every_place_in_both_directions() {
    let node = start().await;
    let client = node.client();
    client.append_to_stream("s", &Default::default(), events(10)).await.unwrap();
    let read = async |options: ReadStreamOptions| {
        let mut read = client.read_stream("s", &options).await.unwrap();
        revisions(&all_of(&mut read).await)
    };
    let forwards = || ReadStreamOptions::default().forwards();
    let backwards = || ReadStreamOptions::default().backwards();
    assert_eq!(read(forwards()).await, (0..10).collect::<Vec<_>>());
    assert_eq!(read(forwards().position(StreamPosition::Position(7))).await, [7, 8, 9]);
    assert_eq!(read(forwards().position(StreamPosition::Position(10))).await, [] as [u64; 0]);
    assert_eq!(read(forwards().max_count(3)).await, [0, 1, 2]);
    assert_eq!(read(forwards().max_count(0)).await, [] as [u64; 0]);
    assert_eq!(read(backwards().position(StreamPosition::End)).await, (0..10).rev().collect::<Vec<_>>());
    assert_eq!(read(backwards().position(StreamPosition::Position(2))).await, [2, 1, 0]);
    assert_eq!(read(backwards().position(StreamPosition::End).max_count(2)).await, [9, 8]);
    let start = ReadStreamOptions::default().position(StreamPosition::Start).backwards();
    assert_eq!(read(start).await, [0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_stream_comes_whole_over_its_pages() {
    let node = start().await;
    let client = node.client();
    client.append_to_stream("s", &Default::default(), events(2_500)).await.unwrap();
    for options in [
        ReadStreamOptions::default().forwards(),
        ReadStreamOptions::default().backwards().position(StreamPosition::End),
    ] {
        let mut read = client.read_stream("s", &options).await.unwrap();
        let mut read = revisions(&all_of(&mut read).await);
        read.sort_unstable();
        assert_eq!(read, (0..2_500).collect::<Vec<_>>());
    }
    let mut read = client.read_stream("s", &ReadStreamOptions::default().max_count(1_700)).await.unwrap();
    assert_eq!(all_of(&mut read).await.len(), 1_700);
    let mut all = client.read_all(&ReadAllOptions::default()).await.unwrap();
    assert_eq!(all_of(&mut all).await.len(), 2_500);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stream_holds_is_told_at_the_end_of_a_read() {
    let node = start().await;
    let client = node.client();
    client.append_to_stream("s", &Default::default(), events(5)).await.unwrap();
    let metadata = kurrentdb::StreamMetadataBuilder::new().truncate_before(5).build();
    let places = async |from| {
        let options = ReadStreamOptions::default().position(StreamPosition::Position(from));
        let mut read = client.read_stream("s", &options).await.unwrap();
        let (mut first, mut last) = (None, None);
        while let Some(event) = within(read.next_read_event()).await.unwrap() {
            match event {
                ReadEvent::FirstStreamPosition(position) => first = Some(position),
                ReadEvent::LastStreamPosition(position) => last = Some(position),
                _ => assert_eq!(last, None, "the last position comes last"),
            }
        }
        (first, last)
    };
    assert_eq!(places(0).await, (None, Some(4)));
    assert_eq!(places(5).await, (None, Some(4)), "where the next event will stand");
    client.set_stream_metadata("s", &Default::default(), &metadata).await.unwrap();
    assert_eq!(places(0).await, (Some(5), Some(4)), "wholly truncated: an empty read, and no error");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_not_there_is_not_found() {
    let node = start().await;
    let mut read = node.client().read_stream("absent", &Default::default()).await.unwrap();
    assert!(matches!(within(read.next()).await, Err(Error::ResourceNotFound)));
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_read_inclusive_forwards_and_exclusive_backwards() {
    let node = start().await;
    let client = node.client();
    for stream in ["a", "b", "c", "d"] {
        client.append_to_stream(stream, &Default::default(), event("one", 0)).await.unwrap();
    }
    let read = async |options: ReadAllOptions| {
        let mut read = client.read_all(&options).await.unwrap();
        let events = all_of(&mut read).await;
        events.iter().map(|e| e.get_original_stream_id().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(read(ReadAllOptions::default()).await, ["a", "b", "c", "d"]);
    let end = ReadAllOptions::default().backwards().position(StreamPosition::End);
    assert_eq!(read(end).await, ["d", "c", "b", "a"]);
    let mut all = client.read_all(&ReadAllOptions::default()).await.unwrap();
    let third = all_of(&mut all).await[2].get_original_event().position;
    assert_eq!(read(ReadAllOptions::default().position(StreamPosition::Position(third))).await, ["c", "d"]);
    let before = ReadAllOptions::default().backwards().position(StreamPosition::Position(third));
    assert_eq!(read(before).await, ["b", "a"]);
    assert_eq!(read(ReadAllOptions::default().max_count(2)).await, ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_let_through_what_they_say() {
    let node = start().await;
    let client = node.client();
    for (stream, event_type) in
        [("order-1", "placed"), ("order-2", "paid"), ("user-1", "placed"), ("$sys", "$x")]
    {
        client.append_to_stream(stream, &Default::default(), event(event_type, 0)).await.unwrap();
    }
    let read = async |filter| {
        let mut read = client.read_all(&ReadAllOptions::default().filter(filter)).await.unwrap();
        let events = all_of(&mut read).await;
        events.iter().map(|e| e.get_original_stream_id().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(read(SubscriptionFilter::on_stream_name().add_prefix("order-")).await, ["order-1", "order-2"]);
    assert_eq!(read(SubscriptionFilter::on_stream_name().regex("-1$")).await, ["order-1", "user-1"]);
    assert_eq!(
        read(SubscriptionFilter::on_event_type().add_prefix("placed").max(1)).await,
        ["order-1", "user-1"]
    );
    assert_eq!(
        read(SubscriptionFilter::on_event_type().exclude_system_events()).await,
        ["order-1", "order-2", "user-1"]
    );
    let bad = client
        .read_all(&ReadAllOptions::default().filter(SubscriptionFilter::on_event_type().regex("(")))
        .await;
    assert!(matches!(bad, Err(Error::Grpc { code: tonic::Code::InvalidArgument, .. })), "{bad:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_resolved_where_asked_and_told_where_broken() {
    let node = start().await;
    let client = node.client();
    client.append_to_stream("target", &Default::default(), events(2)).await.unwrap();
    let name = |n: &str| StreamName::new(n).unwrap();
    let broken = NewEvent { content_type: ContentType::Binary, ..NewEvent::json(id(), "$>", "7@nowhere") };
    let links = vec![NewEvent::link(id(), &name("target"), 1), broken];
    node.store.append(&name("links"), ExpectedState::Any, links).await.unwrap();

    let mut plain = client.read_stream("links", &Default::default()).await.unwrap();
    let plain = all_of(&mut plain).await;
    assert!(plain.iter().all(|e| e.link.is_none() && e.event.as_ref().unwrap().event_type == "$>"));
    let mut resolved =
        client.read_stream("links", &ReadStreamOptions::default().resolve_link_tos()).await.unwrap();
    let resolved = all_of(&mut resolved).await;
    let target = resolved[0].event.as_ref().unwrap();
    assert_eq!((target.stream_id(), target.revision), ("target", 1));
    assert_eq!(resolved[0].link.as_ref().unwrap().stream_id(), "links");
    assert!(resolved[1].event.is_none() && resolved[1].link.is_some());
}
