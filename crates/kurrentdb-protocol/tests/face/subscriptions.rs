//! Following a stream or everything.

use crate::support::{event, events, start, start_with, within};
use kurrentdb::{
    Error, Position, StreamPosition, SubscribeToAllOptions, SubscribeToStreamOptions, Subscription,
    SubscriptionEvent, SubscriptionFilter,
};
use kurrentdb_protocol::{Limits, Served};

/// What comes next, in short.
#[derive(Debug, PartialEq)]
enum Came {
    Confirmed,
    Event(String, u64),
    Checkpoint(Position),
    CaughtUp(Option<u64>, Option<Position>),
}

async fn next(subscription: &mut Subscription) -> kurrentdb::Result<Came> {
    Ok(match within(subscription.next_subscription_event()).await? {
        SubscriptionEvent::Confirmed(id) => {
            assert!(uuid::Uuid::parse_str(&id).is_ok(), "{id}");
            Came::Confirmed
        }
        SubscriptionEvent::EventAppeared(event) => {
            let event = event.get_original_event();
            Came::Event(event.stream_id().to_owned(), event.revision)
        }
        SubscriptionEvent::Checkpoint(position) => Came::Checkpoint(position),
        SubscriptionEvent::CaughtUp(Some(at)) => Came::CaughtUp(at.stream_revision, at.position),
        other => panic!("{other:?}"),
    })
}

/// From the stream's start; the client's own default is its end.
fn start_of_stream() -> SubscribeToStreamOptions {
    SubscribeToStreamOptions::default().start_from(StreamPosition::Start)
}

fn came(stream: &str, revision: u64) -> Came {
    Came::Event(stream.to_owned(), revision)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_confirmed_caught_up_and_followed() {
    let node = start().await;
    let client = node.client();
    client.append_to_stream("s", &Default::default(), events(2)).await.unwrap();
    let mut all = client.subscribe_to_stream("s", &start_of_stream()).await;
    assert_eq!(next(&mut all).await.unwrap(), Came::Confirmed);
    assert_eq!(next(&mut all).await.unwrap(), came("s", 0));
    assert_eq!(next(&mut all).await.unwrap(), came("s", 1));
    assert_eq!(next(&mut all).await.unwrap(), Came::CaughtUp(Some(1), None));
    let after = SubscribeToStreamOptions::default().start_from(StreamPosition::Position(0));
    let mut after = client.subscribe_to_stream("s", &after).await;
    assert_eq!(next(&mut after).await.unwrap(), Came::Confirmed);
    assert_eq!(next(&mut after).await.unwrap(), came("s", 1), "the start is exclusive");
    let end = SubscribeToStreamOptions::default().start_from(StreamPosition::End);
    let mut live = client.subscribe_to_stream("s", &end).await;
    assert_eq!(next(&mut live).await.unwrap(), Came::Confirmed);
    assert_eq!(next(&mut live).await.unwrap(), Came::CaughtUp(Some(1), None));

    client.append_to_stream("s", &Default::default(), events(1)).await.unwrap();
    assert_eq!(next(&mut all).await.unwrap(), came("s", 2));
    assert_eq!(next(&mut live).await.unwrap(), came("s", 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_not_there_yet_can_be_followed() {
    let node = start().await;
    let client = node.client();
    let mut subscription = client.subscribe_to_stream("later", &start_of_stream()).await;
    assert_eq!(next(&mut subscription).await.unwrap(), Came::Confirmed);
    assert!(matches!(next(&mut subscription).await.unwrap(), Came::CaughtUp(..)));
    client.append_to_stream("later", &Default::default(), events(1)).await.unwrap();
    assert_eq!(next(&mut subscription).await.unwrap(), came("later", 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_followed_from_a_position_exclusive() {
    let node = start().await;
    let client = node.client();
    let first = client.append_to_stream("a", &Default::default(), event("one", 0)).await.unwrap().position;
    let second = client.append_to_stream("b", &Default::default(), event("one", 0)).await.unwrap().position;
    let options = SubscribeToAllOptions::default().position(StreamPosition::Position(first));
    let mut subscription = client.subscribe_to_all(&options).await;
    assert_eq!(next(&mut subscription).await.unwrap(), Came::Confirmed);
    assert_eq!(next(&mut subscription).await.unwrap(), came("b", 0));
    assert_eq!(next(&mut subscription).await.unwrap(), Came::CaughtUp(None, Some(second)));
    client.append_to_stream("a", &Default::default(), event("two", 0)).await.unwrap();
    assert_eq!(next(&mut subscription).await.unwrap(), came("a", 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_brings_checkpoints_and_never_the_same_twice() {
    let node = start().await;
    let client = node.client();
    client.append_to_stream("noise", &Default::default(), events(10)).await.unwrap();
    let wanted = client.append_to_stream("wanted", &Default::default(), events(1)).await.unwrap().position;
    let filter = SubscriptionFilter::on_stream_name().add_prefix("wanted").max(4);
    let options = SubscribeToAllOptions::default().filter(filter);
    let mut subscription = client.subscribe_to_all(&options).await;
    assert_eq!(next(&mut subscription).await.unwrap(), Came::Confirmed);
    let mut checkpoints = Vec::new();
    let mut found = 0;
    loop {
        match next(&mut subscription).await.unwrap() {
            Came::Checkpoint(position) => checkpoints.push(position),
            Came::Event(stream, _) => {
                assert_eq!(stream, "wanted");
                found += 1;
            }
            Came::CaughtUp(_, position) => {
                assert_eq!(position, Some(wanted));
                break;
            }
            Came::Confirmed => panic!("confirmed twice"),
        }
    }
    assert_eq!(found, 1);
    assert!(checkpoints.len() >= 3, "every 4 events looked at, and at the end: {checkpoints:?}");
    assert!(checkpoints.is_sorted_by(|a, b| a < b), "{checkpoints:?}");
    assert_eq!(checkpoints.last(), Some(&wanted));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tombstone_comes_and_then_its_error() {
    let node = start().await;
    let client = node.client();
    client.append_to_stream("s", &Default::default(), events(1)).await.unwrap();
    let mut subscription = client.subscribe_to_stream("s", &start_of_stream()).await;
    assert_eq!(next(&mut subscription).await.unwrap(), Came::Confirmed);
    assert_eq!(next(&mut subscription).await.unwrap(), came("s", 0));
    assert!(matches!(next(&mut subscription).await.unwrap(), Came::CaughtUp(..)));
    client.tombstone_stream("s", &Default::default()).await.unwrap();
    assert_eq!(next(&mut subscription).await.unwrap(), came("s", i64::MAX as u64));
    assert!(matches!(next(&mut subscription).await, Err(Error::ResourceDeleted)));

    let mut late = client.subscribe_to_stream("s", &start_of_stream()).await;
    assert_eq!(next(&mut late).await.unwrap(), Came::Confirmed);
    assert!(matches!(next(&mut late).await, Err(Error::ResourceDeleted)));
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_are_limited_in_number_and_given_back() {
    let node = start_with(Limits { subscriptions: 1, ..Limits::default() }, None).await;
    let client = node.client();
    let mut one = client.subscribe_to_all(&Default::default()).await;
    assert_eq!(next(&mut one).await.unwrap(), Came::Confirmed);
    let mut two = client.subscribe_to_all(&Default::default()).await;
    let refused = next(&mut two).await;
    assert!(matches!(refused, Err(Error::Grpc { code: tonic::Code::ResourceExhausted, .. })), "{refused:?}");
    drop(one);
    // The server learns of it when it does: until then it may refuse.
    within(async {
        loop {
            let mut three = client.subscribe_to_all(&Default::default()).await;
            match next(&mut three).await {
                Ok(came) => break assert_eq!(came, Came::Confirmed),
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_the_node_ends_subscriptions_and_then_serving() {
    let node = start().await;
    let client = node.client();
    let mut subscription = client.subscribe_to_all(&Default::default()).await;
    assert_eq!(next(&mut subscription).await.unwrap(), Came::Confirmed);
    assert!(matches!(next(&mut subscription).await.unwrap(), Came::CaughtUp(..)));
    let stopped = tokio::spawn(node.stop());
    assert!(matches!(next(&mut subscription).await, Err(Error::ServerError(_))));
    assert_eq!(within(stopped).await.unwrap(), Served::Finished);
}
