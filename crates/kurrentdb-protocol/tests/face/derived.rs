//! Derived streams, as the official client reads and follows them: what KurrentDB's system projections make.

use crate::support::{all_of, event, events, start, within};
use kurrentdb::{
    Error, ReadStreamOptions, ResolvedEvent, StreamPosition, SubscribeToStreamOptions, Subscription,
    SubscriptionEvent,
};

/// A link as `N@stream` under its own revision, and the event that it leads to.
fn told(event: &ResolvedEvent) -> (u64, String, Option<(String, u64)>) {
    let link = event.link.as_ref().unwrap();
    assert_eq!(link.event_type, "$>");
    let target = event.event.as_ref().map(|e| (e.stream_id().to_owned(), e.revision));
    (link.revision, String::from_utf8(link.data.to_vec()).unwrap(), target)
}

fn link(revision: u64, stream: &str, at: u64) -> (u64, String, Option<(String, u64)>) {
    (revision, format!("{at}@{stream}"), Some((stream.to_owned(), at)))
}

async fn next(subscription: &mut Subscription) -> ResolvedEvent {
    loop {
        if let SubscriptionEvent::EventAppeared(event) =
            within(subscription.next_subscription_event()).await.unwrap()
        {
            return event;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_category_is_read_both_ways_with_its_links_resolved() {
    let node = start().await;
    let client = node.client();
    client.append_to_stream("loan-1", &Default::default(), events(2)).await.unwrap();
    client.append_to_stream("book-1", &Default::default(), events(1)).await.unwrap();
    client.append_to_stream("loan-2", &Default::default(), events(1)).await.unwrap();
    client.append_to_stream("loan-1", &Default::default(), event("Repaid", 1)).await.unwrap();
    let forwards = ReadStreamOptions::default().position(StreamPosition::Start).resolve_link_tos();
    let read = all_of(&mut client.read_stream("$ce-loan", &forwards).await.unwrap()).await;
    let expected = [link(0, "loan-1", 0), link(1, "loan-1", 1), link(2, "loan-2", 0), link(3, "loan-1", 2)];
    assert_eq!(read.iter().map(told).collect::<Vec<_>>(), expected);
    let metadata: serde_json::Value =
        serde_json::from_slice(&read[2].link.as_ref().unwrap().custom_metadata).unwrap();
    assert_eq!(metadata["$o"], "loan-2");
    assert_eq!(metadata["$causedBy"], read[2].event.as_ref().unwrap().id.to_string());
    let backwards =
        ReadStreamOptions::default().position(StreamPosition::Position(2)).backwards().resolve_link_tos();
    let read = all_of(&mut client.read_stream("$ce-loan", &backwards.max_count(2)).await.unwrap()).await;
    assert_eq!(read.iter().map(told).collect::<Vec<_>>(), [link(2, "loan-2", 0), link(1, "loan-1", 1)]);

    let by_type = all_of(&mut client.read_stream("$et-Repaid", &forwards).await.unwrap()).await;
    assert_eq!(by_type.iter().map(told).collect::<Vec<_>>(), [link(0, "loan-1", 2)]);
    let streams = all_of(&mut client.read_stream("$streams", &forwards).await.unwrap()).await;
    let expected = [link(0, "loan-1", 0), link(1, "book-1", 0), link(2, "loan-2", 0)];
    assert_eq!(streams.iter().map(told).collect::<Vec<_>>(), expected);

    // As it is, a link is an event like any other.
    let plain = ReadStreamOptions::default().position(StreamPosition::Start);
    let read = all_of(&mut client.read_stream("$ce-book", &plain).await.unwrap()).await;
    assert!(read[0].link.is_none());
    assert_eq!(read[0].event.as_ref().unwrap().data, "0@book-1");
    let mut nobody = client.read_stream("$ce-nobody", &forwards).await.unwrap();
    assert!(matches!(within(nobody.next()).await, Err(Error::ResourceNotFound)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_category_is_followed_live() {
    let node = start().await;
    let client = node.client();
    client.append_to_stream("loan-1", &Default::default(), events(1)).await.unwrap();
    let options = SubscribeToStreamOptions::default().start_from(StreamPosition::Start).resolve_link_tos();
    let mut subscription = client.subscribe_to_stream("$ce-loan", &options).await;
    assert_eq!(told(&next(&mut subscription).await), link(0, "loan-1", 0));
    let end = SubscribeToStreamOptions::default().start_from(StreamPosition::End).resolve_link_tos();
    let mut live = client.subscribe_to_stream("$ce-loan", &end).await;
    loop {
        if let SubscriptionEvent::CaughtUp(_) = within(live.next_subscription_event()).await.unwrap() {
            break;
        }
    }
    client.append_to_stream("book-1", &Default::default(), events(1)).await.unwrap();
    client.append_to_stream("loan-2", &Default::default(), events(2)).await.unwrap();
    for subscription in [&mut subscription, &mut live] {
        assert_eq!(told(&next(subscription).await), link(1, "loan-2", 0));
        assert_eq!(told(&next(subscription).await), link(2, "loan-2", 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_derived_stream_cannot_be_written() {
    let node = start().await;
    let client = node.client();
    let refused = client.append_to_stream("$ce-loan", &Default::default(), events(1)).await.unwrap_err();
    let Error::Grpc { code: tonic::Code::InvalidArgument, message } = refused else { panic!("{refused:?}") };
    assert!(message.starts_with("'$ce-loan' is derived"), "{message}");
    let refused = client.tombstone_stream("$streams", &Default::default()).await.unwrap_err();
    assert!(matches!(refused, Error::Grpc { code: tonic::Code::InvalidArgument, .. }), "{refused:?}");
}
