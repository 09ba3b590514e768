//! Persistent subscriptions, as the official client uses them. Long, because every call and every way in which an event can
//! come again is tried here on one and the same few helpers.

use crate::support::{Started, event, events, id, start, start_over, start_refusing, start_with, within};
use event_store::{EventStore, ExpectedState, NewEvent, ReadStream, StreamName};
use event_store_embedded::{Engine, Options};
use kurrentdb::{
    Client, Error, NakAction, PersistentSubscription, PersistentSubscriptionEvent,
    PersistentSubscriptionOptions, PersistentSubscriptionToAllOptions, ReplayParkedMessagesOptions,
    ResolvedEvent, StreamPosition, SubscribeToPersistentSubscriptionOptions, SubscriptionFilter,
    SystemConsumerStrategy,
};
use kurrentdb_protocol::{
    Limits,
    grpc::proto::event_store::client::{
        StreamIdentifier,
        persistent_subscriptions::{
            GroupOptions, ParkedOptions, ReadReq, TruncateParkedReq, UpdateReq, group_options,
            parked_options, persistent_subscriptions_client::PersistentSubscriptionsClient, read_req,
        },
    },
};
use std::{sync::Arc, time::Duration};
use tonic::Code;

/// From the start, with everything written down soon.
fn from_start() -> PersistentSubscriptionOptions {
    PersistentSubscriptionOptions::default()
        .start_from(StreamPosition::Start)
        .checkpoint_lower_bound(1)
        .checkpoint_upper_bound(1)
}

async fn consume(client: &Client, stream: &str, group: &str, buffer: usize) -> PersistentSubscription {
    let options = SubscribeToPersistentSubscriptionOptions::default().buffer_size(buffer);
    let mut subscription =
        client.subscribe_to_persistent_subscription(stream, group, &options).await.unwrap();
    match within(subscription.next_subscription_event()).await.unwrap() {
        PersistentSubscriptionEvent::Confirmed(id) => assert_eq!(id, format!("{stream}::{group}")),
        other @ PersistentSubscriptionEvent::EventAppeared { .. } => panic!("{other:?}"),
    }
    subscription
}

/// The next event and how often it came before.
async fn next(subscription: &mut PersistentSubscription) -> (ResolvedEvent, usize) {
    match within(subscription.next_subscription_event()).await.unwrap() {
        PersistentSubscriptionEvent::EventAppeared { retry_count, event } => (event, retry_count),
        other @ PersistentSubscriptionEvent::Confirmed(_) => panic!("{other:?}"),
    }
}

/// The next event's revision; it is acknowledged.
async fn acknowledged(subscription: &mut PersistentSubscription) -> u64 {
    let (event, _) = next(subscription).await;
    subscription.ack(&event).await.unwrap();
    event.get_original_event().revision
}

/// Asks for a group's state until something is so.
async fn until<T>(
    node: &Started,
    group: &str,
    is: impl Fn(kurrentdb::PersistentSubscriptionInfo<u64>) -> Option<T>,
) -> T {
    let client = node.client();
    within(async {
        loop {
            let info =
                client.get_persistent_subscription_info("s", group, &Default::default()).await.unwrap();
            if let Some(found) = is(info) {
                break found;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

async fn until_checkpoint(node: &Started, group: &str, revision: u64) {
    until(node, group, |info| (info.stats.last_checkpointed_event_revision >= Some(revision)).then_some(()))
        .await;
}

async fn until_parked(node: &Started, group: &str, count: usize) {
    until(node, group, |info| (info.stats.parked_message_count == count).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_catches_up_and_is_followed() {
    let node = start().await;
    let client = node.client();
    client.append_to_stream("s", &Default::default(), events(3)).await.unwrap();
    client.create_persistent_subscription("s", "g", &from_start()).await.unwrap();
    let mut consumer = consume(&client, "s", "g", 10).await;
    for revision in 0..3 {
        assert_eq!(acknowledged(&mut consumer).await, revision);
    }
    client.append_to_stream("s", &Default::default(), events(2)).await.unwrap();
    for revision in 3..5 {
        assert_eq!(acknowledged(&mut consumer).await, revision);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_begins_at_the_end_gets_what_comes_even_before_anybody_consumes() {
    let store: Arc<dyn EventStore> = Arc::new(Engine::open(Options::in_memory()).unwrap());
    let node = start_over(Arc::clone(&store), Limits::default()).await;
    let client = node.client();
    client.append_to_stream("s", &Default::default(), events(3)).await.unwrap();
    let end = PersistentSubscriptionOptions::default().start_from(StreamPosition::End);
    client.create_persistent_subscription("s", "g", &end).await.unwrap();
    client.create_persistent_subscription("later", "g", &end).await.unwrap();
    client.append_to_stream("s", &Default::default(), events(1)).await.unwrap();
    client.append_to_stream("later", &Default::default(), events(1)).await.unwrap();
    node.stop().await;
    let node = start_over(store, Limits::default()).await;
    let client = node.client();
    assert_eq!(acknowledged(&mut consume(&client, "s", "g", 10).await).await, 3);
    assert_eq!(acknowledged(&mut consume(&client, "later", "g", 10).await).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_under_way_than_a_consumers_buffer_holds() {
    let node = start().await;
    let client = node.client();
    client.append_to_stream("s", &Default::default(), events(9)).await.unwrap();
    client.create_persistent_subscription("s", "g", &from_start()).await.unwrap();
    let mut consumer = consume(&client, "s", "g", 2).await;
    let (first, _) = next(&mut consumer).await;
    let (second, _) = next(&mut consumer).await;
    let waiting = until(&node, "g", |info| {
        let stats = info.stats;
        (stats.total_in_flight_messages == 2).then_some(stats.read_buffer_count + stats.live_buffer_count)
    });
    assert!(waiting.await <= 7);
    consumer.ack(&second).await.unwrap();
    assert_eq!(next(&mut consumer).await.0.get_original_event().revision, 2);
    consumer.ack(&first).await.unwrap();
    assert_eq!(next(&mut consumer).await.0.get_original_event().revision, 3);
    let info = client.get_persistent_subscription_info("s", "g", &Default::default()).await.unwrap();
    assert_eq!(info.stats.total_in_flight_messages, 2);
    assert_eq!((info.connections[0].available_slots, info.connections[0].in_flight_messages), (0, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn round_robin_deals_in_turn_and_dispatch_to_single_to_one() {
    let node = start().await;
    let client = node.client();
    for (group, strategy) in
        [("turns", SystemConsumerStrategy::RoundRobin), ("one", SystemConsumerStrategy::DispatchToSingle)]
    {
        let options = from_start().consumer_strategy_name(strategy);
        client.create_persistent_subscription("s", group, &options).await.unwrap();
    }
    let mut turns = [consume(&client, "s", "turns", 10).await, consume(&client, "s", "turns", 10).await];
    let mut one = [consume(&client, "s", "one", 3).await, consume(&client, "s", "one", 3).await];
    client.append_to_stream("s", &Default::default(), events(4)).await.unwrap();
    for revision in [0, 2] {
        assert_eq!(next(&mut turns[0]).await.0.get_original_event().revision, revision);
        assert_eq!(next(&mut turns[1]).await.0.get_original_event().revision, revision + 1);
    }
    for revision in 0..3 {
        assert_eq!(next(&mut one[0]).await.0.get_original_event().revision, revision);
    }
    assert_eq!(next(&mut one[1]).await.0.get_original_event().revision, 3, "the first was full");
}

#[tokio::test(flavor = "multi_thread")]
async fn pinned_sends_a_streams_events_to_the_same_consumer() {
    let node = start().await;
    let client = node.client();
    let options = PersistentSubscriptionToAllOptions::default()
        .start_from(StreamPosition::Start)
        .filter(SubscriptionFilter::on_stream_name().add_prefix("pin-"))
        .consumer_strategy_name(SystemConsumerStrategy::Pinned);
    client.create_persistent_subscription_to_all("g", &options).await.unwrap();
    let buffer = SubscribeToPersistentSubscriptionOptions::default().buffer_size(100);
    let mut consumers = Vec::new();
    for _ in 0..2 {
        let mut consumer = client.subscribe_to_persistent_subscription_to_all("g", &buffer).await.unwrap();
        assert!(matches!(
            within(consumer.next_subscription_event()).await.unwrap(),
            PersistentSubscriptionEvent::Confirmed(id) if id == "$all::g"
        ));
        consumers.push(consumer);
    }
    for n in 0..3 {
        for stream in 0..8 {
            client
                .append_to_stream(format!("pin-{stream}"), &Default::default(), event("e", n))
                .await
                .unwrap();
            client
                .append_to_stream(format!("other-{stream}"), &Default::default(), event("e", n))
                .await
                .unwrap();
        }
    }
    let mut owner = std::collections::HashMap::new();
    let mut counts = [0; 2];
    for _ in 0..24 {
        let ((consumer, event), ..) = within(futures::future::select_all(
            consumers.iter_mut().enumerate().map(|(i, c)| Box::pin(async move { (i, next(c).await.0) })),
        ))
        .await;
        let stream = event.get_original_stream_id().to_owned();
        assert!(stream.starts_with("pin-"), "{stream}");
        assert_eq!(*owner.entry(stream).or_insert(consumer), consumer);
        counts[consumer] += 1;
    }
    assert!(counts.iter().all(|count| *count > 0), "both have work: {counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_acknowledged_in_time_comes_again_and_is_parked_in_the_end() {
    let node = start().await;
    let client = node.client();
    let options = from_start().message_timeout(Duration::from_millis(200)).max_retry_count(2);
    client.create_persistent_subscription("s", "g", &options).await.unwrap();
    let mut consumer = consume(&client, "s", "g", 10).await;
    client.append_to_stream("s", &Default::default(), events(1)).await.unwrap();
    for expected in 0..3 {
        let (event, retries) = next(&mut consumer).await;
        assert_eq!((event.get_original_event().revision, retries), (0, expected));
    }
    until_parked(&node, "g", 1).await;
    let parked = StreamName::new("$persistentsubscription-s::g-parked").unwrap();
    let page = node.store.read_stream(&parked, ReadStream::forwards(10)).await.unwrap();
    let link = page.events[0].event.as_ref().unwrap();
    assert_eq!((link.event_type.as_str(), &link.data[..]), ("$>", &b"0@s"[..]));
    let metadata: serde_json::Value = serde_json::from_slice(&link.metadata).unwrap();
    assert_eq!(metadata["reason"], "Reached retry count of 2");
    assert_eq!(metadata["subscriptionEventNumber"], 0);
    assert!(metadata["added"].as_str().unwrap().starts_with("20"), "{metadata}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_events_are_retried_skipped_or_parked_and_replayed() {
    let node = start().await;
    let client = node.client();
    client.append_to_stream("s", &Default::default(), events(4)).await.unwrap();
    client.create_persistent_subscription("s", "g", &from_start()).await.unwrap();
    let mut consumer = consume(&client, "s", "g", 1).await;
    let (event, _) = next(&mut consumer).await;
    consumer.nack(&event, NakAction::Retry, "again").await.unwrap();
    let (event, retries) = next(&mut consumer).await;
    assert_eq!((event.get_original_event().revision, retries), (0, 1));
    consumer.nack(&event, NakAction::Skip, "no").await.unwrap();
    for revision in [1, 2] {
        let (event, _) = next(&mut consumer).await;
        assert_eq!(event.get_original_event().revision, revision);
        consumer.nack(&event, NakAction::Park, "bad").await.unwrap();
    }
    assert_eq!(acknowledged(&mut consumer).await, 3);
    until_parked(&node, "g", 2).await;
    until_checkpoint(&node, "g", 3).await;

    let until_first = ReplayParkedMessagesOptions::default().stop_at(1);
    client.replay_parked_messages("s", "g", &until_first).await.unwrap();
    let (event, retries) = next(&mut consumer).await;
    assert_eq!((event.event.as_ref().unwrap().revision, retries), (1, 0));
    assert_eq!(event.get_original_stream_id(), "$persistentsubscription-s::g-parked");
    consumer.ack(&event).await.unwrap();
    until_parked(&node, "g", 1).await;
    client.replay_parked_messages("s", "g", &Default::default()).await.unwrap();
    let (event, _) = next(&mut consumer).await;
    assert_eq!(event.event.as_ref().unwrap().revision, 2);
    consumer.nack(&event, NakAction::Park, "still bad").await.unwrap();
    until_parked(&node, "g", 1).await;
    client.append_to_stream("s", &Default::default(), events(1)).await.unwrap();
    assert_eq!(acknowledged(&mut consumer).await, 4, "nothing else comes again");
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_messages_are_given_up_when_that_is_asked() {
    let node = start().await;
    let client = node.client();
    client.append_to_stream("s", &Default::default(), events(3)).await.unwrap();
    client.create_persistent_subscription("s", "g", &from_start()).await.unwrap();
    let mut consumer = consume(&client, "s", "g", 10).await;
    for _ in 0..3 {
        let (event, _) = next(&mut consumer).await;
        consumer.nack(&event, NakAction::Park, "bad").await.unwrap();
    }
    until_parked(&node, "g", 3).await;
    let mut bare = PersistentSubscriptionsClient::new(node.channel().await);
    let truncate = |until| TruncateParkedReq {
        options: Some(ParkedOptions {
            group_name: "g".into(),
            source: Some(parked_options::Source::StreamIdentifier(StreamIdentifier {
                stream_name: "s".into(),
            })),
            until: Some(until),
        }),
    };
    bare.truncate_parked(truncate(parked_options::Until::StopAt(2))).await.unwrap();
    let parked = StreamName::new("$persistentsubscription-s::g-parked").unwrap();
    let page = node.store.read_stream(&parked, ReadStream::forwards(10)).await.unwrap();
    assert_eq!(page.events.len(), 1, "it is safe when it is answered");
    until_parked(&node, "g", 1).await;
    let refused = bare.truncate_parked(truncate(parked_options::Until::StopAt(-1))).await.unwrap_err();
    assert_eq!(refused.metadata().get("exception").unwrap(), "persistent-subscription-failed");
    bare.truncate_parked(truncate(parked_options::Until::NoLimit(()))).await.unwrap();
    until_parked(&node, "g", 0).await;
    client.replay_parked_messages("s", "g", &Default::default()).await.unwrap();
    client.append_to_stream("s", &Default::default(), events(1)).await.unwrap();
    assert_eq!(acknowledged(&mut consumer).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_from_the_checkpoint_and_loses_nothing() {
    let store: Arc<dyn EventStore> = Arc::new(Engine::open(Options::in_memory()).unwrap());
    let node = start_over(Arc::clone(&store), Limits::default()).await;
    let client = node.client();
    client.append_to_stream("s", &Default::default(), events(6)).await.unwrap();
    client.create_persistent_subscription("s", "g", &from_start()).await.unwrap();
    let mut consumer = consume(&client, "s", "g", 10).await;
    let mut came = Vec::new();
    for _ in 0..6 {
        came.push(next(&mut consumer).await.0);
    }
    consumer.ack_ids([came[0].get_original_event().id, came[1].get_original_event().id]).await.unwrap();
    consumer.nack(&came[2], NakAction::Park, "bad").await.unwrap();
    consumer.ack(&came[4]).await.unwrap();
    until_checkpoint(&node, "g", 2).await;
    let checkpoints = StreamName::new("$persistentsubscription-s::g-checkpoint").unwrap();
    assert_eq!(store.metadata(&checkpoints).await.unwrap().metadata.max_count, Some(2));
    drop(consumer);
    node.stop().await;

    let node = start_over(store, Limits::default()).await;
    let client = node.client();
    let mut consumer = consume(&client, "s", "g", 10).await;
    // 3 was never acknowledged; 4 was, but lies beyond the checkpoint, and may come again.
    let mut again = vec![acknowledged(&mut consumer).await];
    while again.last() != Some(&5) {
        again.push(acknowledged(&mut consumer).await);
    }
    assert_eq!(again, [3, 4, 5]);
    until_parked(&node, "g", 1).await;
    client.replay_parked_messages("s", "g", &Default::default()).await.unwrap();
    let (event, _) = next(&mut consumer).await;
    assert_eq!(event.event.as_ref().unwrap().revision, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_was_not_settled_is_not_lost_by_a_restart() {
    let store: Arc<dyn EventStore> = Arc::new(Engine::open(Options::in_memory()).unwrap());
    let node = start_over(Arc::clone(&store), Limits::default()).await;
    let client = node.client();
    client.append_to_stream("s", &Default::default(), events(1)).await.unwrap();
    client.create_persistent_subscription("s", "g", &from_start()).await.unwrap();
    let mut consumer = consume(&client, "s", "g", 10).await;
    let (event, _) = next(&mut consumer).await;
    consumer.nack(&event, NakAction::Park, "bad").await.unwrap();
    until_parked(&node, "g", 1).await;
    client.replay_parked_messages("s", "g", &Default::default()).await.unwrap();
    next(&mut consumer).await;
    until_parked(&node, "g", 0).await;
    node.stop().await;
    let node = start_over(store, Limits::default()).await;
    until_parked(&node, "g", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_vanished_consumer_had_goes_to_another_at_once() {
    let node = start().await;
    let client = node.client();
    let options = from_start().message_timeout(Duration::from_secs(3600));
    client.create_persistent_subscription("s", "g", &options).await.unwrap();
    let mut gone = consume(&client, "s", "g", 10).await;
    client.append_to_stream("s", &Default::default(), events(2)).await.unwrap();
    for _ in 0..2 {
        next(&mut gone).await;
    }
    let mut other = consume(&client, "s", "g", 10).await;
    drop(gone);
    for revision in 0..2 {
        let (event, retries) = next(&mut other).await;
        assert_eq!((event.get_original_event().revision, retries), (revision, 1));
    }
    until(&node, "g", |info| (info.connections.len() == 1).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_resolved_where_that_is_asked() {
    let node = start().await;
    let client = node.client();
    client.append_to_stream("linked-1", &Default::default(), event("linked", 7)).await.unwrap();
    let link = NewEvent::link(id(), &StreamName::new("linked-1").unwrap(), 0);
    let links = StreamName::new("links").unwrap();
    node.store.append(&links, ExpectedState::NoStream, vec![link]).await.unwrap();
    for (group, resolve) in [("resolved", true), ("plain", false)] {
        let options = from_start().resolve_link_tos(resolve);
        client.create_persistent_subscription("links", group, &options).await.unwrap();
        let mut consumer = consume(&client, "links", group, 10).await;
        let (event, _) = next(&mut consumer).await;
        assert_eq!(event.link.is_some(), resolve);
        let expected = if resolve { "linked" } else { "$>" };
        assert_eq!(event.event.as_ref().unwrap().event_type, expected);
        consumer.ack(&event).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_listed_told_of_changed_and_deleted() {
    let node = start().await;
    let client = node.client();
    let options = from_start().max_retry_count(7).extra_statistics(true);
    client.create_persistent_subscription("s", "a", &options).await.unwrap();
    client.create_persistent_subscription("s", "b", &from_start()).await.unwrap();
    client.create_persistent_subscription_to_all("c", &Default::default()).await.unwrap();
    let names = async || {
        let all = client.list_all_persistent_subscriptions(&Default::default()).await.unwrap();
        let mut names: Vec<_> =
            all.into_iter().map(|i| format!("{}/{}", i.event_source, i.group_name)).collect();
        names.sort();
        names
    };
    assert_eq!(names().await, ["$all/c", "s/a", "s/b"]);
    let of_s = client.list_persistent_subscriptions_for_stream("s", &Default::default()).await.unwrap();
    assert_eq!(of_s.iter().map(|i| i.group_name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let of_all = client.list_persistent_subscriptions_to_all(&Default::default()).await.unwrap();
    assert_eq!(of_all[0].settings.as_ref().unwrap().start_from, StreamPosition::End);
    let none = client.list_persistent_subscriptions_for_stream("absent", &Default::default()).await;
    assert!(matches!(none, Err(Error::ResourceNotFound)), "{none:?}");

    let mut consumer = consume(&client, "s", "a", 10).await;
    client.append_to_stream("s", &Default::default(), events(1)).await.unwrap();
    acknowledged(&mut consumer).await;
    until_checkpoint(&node, "a", 0).await;
    let info = client.get_persistent_subscription_info("s", "a", &Default::default()).await.unwrap();
    assert_eq!((info.status.as_str(), info.stats.total_items), ("Live", 1));
    let settings = info.settings.unwrap();
    assert_eq!((settings.max_retry_count, settings.start_from), (7, StreamPosition::Start));
    let measured = format!("{:?}", info.connections[0].extra_statistics);
    assert!(measured.contains("Median") || measured.contains("median"), "{measured}");

    let changed = from_start().max_retry_count(3);
    client.update_persistent_subscription("s", "a", &changed).await.unwrap();
    let dropped = within(consumer.next_subscription_event()).await;
    assert!(matches!(dropped, Err(Error::IllegalStateError(_))), "{dropped:?}");
    let info = client.get_persistent_subscription_info("s", "a", &Default::default()).await.unwrap();
    assert_eq!(info.settings.unwrap().max_retry_count, 3);
    let mut consumer = consume(&client, "s", "a", 10).await;
    client.append_to_stream("s", &Default::default(), events(1)).await.unwrap();
    assert_eq!(acknowledged(&mut consumer).await, 1, "the checkpoint stayed");

    client.delete_persistent_subscription("s", "a", &Default::default()).await.unwrap();
    let dropped = within(consumer.next_subscription_event()).await;
    assert!(matches!(dropped, Err(Error::IllegalStateError(_))), "{dropped:?}");
    assert_eq!(names().await, ["$all/c", "s/b"]);
    client.create_persistent_subscription("s", "a", &from_start()).await.unwrap();
    let mut consumer = consume(&client, "s", "a", 10).await;
    assert_eq!(acknowledged(&mut consumer).await, 0, "a group of the same name begins anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_subsystem_restarts_with_what_was_written_down() {
    let node = start().await;
    let client = node.client();
    client.append_to_stream("s", &Default::default(), events(3)).await.unwrap();
    client.create_persistent_subscription("s", "g", &from_start()).await.unwrap();
    let operator = kurrentdb::operations::Client::from(client.clone());
    for (revision, asked_of_the_node) in [(0, false), (1, true)] {
        let mut consumer = consume(&client, "s", "g", 1).await;
        assert_eq!(acknowledged(&mut consumer).await, revision);
        until_checkpoint(&node, "g", revision).await;
        if asked_of_the_node {
            operator.restart_persistent_subscriptions(&Default::default()).await.unwrap();
        } else {
            client.restart_persistent_subscription_subsystem(&Default::default()).await.unwrap();
        }
        // What was on its way still comes before the end.
        within(async { while consumer.next_subscription_event().await.is_ok() {} }).await;
    }
    assert_eq!(acknowledged(&mut consume(&client, "s", "g", 1).await).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_their_codes_and_trailers() {
    let node = start_with(Limits { persistent_subscriptions: 2, ..Limits::default() }, None).await;
    let client = node.client();
    let one = from_start().max_subscriber_count(1);
    client.create_persistent_subscription("s", "g", &one).await.unwrap();
    let again = client.create_persistent_subscription("s", "g", &one).await;
    assert!(matches!(again, Err(Error::ResourceAlreadyExists)), "{again:?}");
    let _held = consume(&client, "s", "g", 1).await;
    let full = client.subscribe_to_persistent_subscription("s", "g", &Default::default()).await;
    match full.err() {
        Some(Error::Grpc { code: Code::FailedPrecondition, message }) => {
            assert!(message.contains("Maximum subscriptions reached"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    let missing = client.subscribe_to_persistent_subscription("s", "none", &Default::default()).await;
    assert!(matches!(missing.err(), Some(Error::ResourceNotFound)));
    for answer in [
        client.delete_persistent_subscription("s", "none", &Default::default()).await,
        client.update_persistent_subscription("s", "none", &one).await,
        client.replay_parked_messages("s", "none", &Default::default()).await,
        client.get_persistent_subscription_info("s", "none", &Default::default()).await.map(drop),
    ] {
        assert!(matches!(answer, Err(Error::ResourceNotFound)), "{answer:?}");
    }
    let batch = from_start().read_batch_size(500).history_buffer_size(500);
    let failed = client.create_persistent_subscription("s", "h", &batch).await;
    assert!(matches!(&failed, Err(Error::ServerError(m)) if m.contains("ReadBatchSize")), "{failed:?}");
    let beyond = kurrentdb::Position { commit: 1 << 40, prepare: 1 << 40 };
    let beyond = PersistentSubscriptionToAllOptions::default().start_from(StreamPosition::Position(beyond));
    let failed = client.create_persistent_subscription_to_all("h", &beyond).await;
    assert!(matches!(&failed, Err(Error::ServerError(m)) if m.contains("Invalid Start From")), "{failed:?}");
    client.create_persistent_subscription("s", "second", &one).await.unwrap();
    let third = client.create_persistent_subscription("s", "third", &one).await;
    assert!(matches!(third, Err(Error::Grpc { code: Code::ResourceExhausted, .. })), "{third:?}");

    let mut bare = PersistentSubscriptionsClient::new(node.channel().await);
    let options = read_req::Options {
        source: Some(read_req::options::Source::All(())),
        group_name: "none".into(),
        buffer_size: 1,
        uuid_option: None,
    };
    let open = |options| ReadReq { content: Some(read_req::Content::Options(options)) };
    let status = bare.read(tokio_stream::iter([open(options.clone())])).await.unwrap_err();
    let trailer = |name: &str| status.metadata().get(name).unwrap().to_str().unwrap().to_owned();
    assert_eq!(
        (status.code(), trailer("exception"), trailer("stream-name"), trailer("group-name")),
        (Code::NotFound, "persistent-subscription-does-not-exist".into(), "$all".into(), "none".into())
    );
    for nonsense in [
        open(read_req::Options { buffer_size: 0, ..options.clone() }),
        open(read_req::Options { buffer_size: -1, ..options.clone() }),
        open(read_req::Options { source: None, ..options }),
        ReadReq { content: Some(read_req::Content::Ack(read_req::Ack::default())) },
        ReadReq::default(),
    ] {
        let status = bare.read(tokio_stream::iter([nonsense])).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
    let update = |settings| UpdateReq {
        options: Some(GroupOptions {
            source: None,
            stream_identifier: Some(StreamIdentifier { stream_name: "s".into() }),
            group_name: "g".into(),
            settings,
        }),
    };
    let negative = group_options::Settings { max_retry_count: -1, ..Default::default() };
    for settings in [None, Some(negative)] {
        assert_eq!(bare.update(update(settings)).await.unwrap_err().code(), Code::InvalidArgument);
    }
    let unknown = group_options::Settings {
        consumer_strategy: "Fairest".into(),
        history_buffer_size: 500,
        ..Default::default()
    };
    let status = bare.update(update(Some(unknown))).await.unwrap_err();
    assert_eq!(status.metadata().get("exception").unwrap(), "persistent-subscription-failed");
    assert_eq!(status.metadata().get("reason").unwrap(), "Consumer strategy Fairest does not exist.");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_talks_nonsense_leaves_and_its_events_go_to_another() {
    let node = start().await;
    let client = node.client();
    client.append_to_stream("s", &Default::default(), events(1)).await.unwrap();
    client.create_persistent_subscription("s", "g", &from_start()).await.unwrap();
    let (say, said) = tokio::sync::mpsc::channel(4);
    let options = read_req::Options {
        source: Some(read_req::options::Source::StreamIdentifier(StreamIdentifier {
            stream_name: "s".into(),
        })),
        group_name: "g".into(),
        buffer_size: 1,
        uuid_option: None,
    };
    say.send(ReadReq { content: Some(read_req::Content::Options(options)) }).await.unwrap();
    let mut bare = PersistentSubscriptionsClient::new(node.channel().await);
    let said = tokio_stream::wrappers::ReceiverStream::new(said);
    let mut heard = within(bare.read(said)).await.unwrap().into_inner();
    for _ in 0..2 {
        within(heard.message()).await.unwrap().unwrap();
    }
    let mut other = consume(&client, "s", "g", 1).await;
    say.send(ReadReq::default()).await.unwrap();
    let status = within(heard.message()).await.unwrap_err();
    assert_eq!(status.metadata().get("exception").unwrap(), "persistent-subscription-dropped");
    assert_eq!(acknowledged(&mut other).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_whose_stream_is_tombstoned_drops_its_consumers() {
    let node = start().await;
    let client = node.client();
    client.append_to_stream("s", &Default::default(), events(1)).await.unwrap();
    client.create_persistent_subscription("s", "g", &from_start()).await.unwrap();
    let mut consumer = consume(&client, "s", "g", 10).await;
    assert_eq!(acknowledged(&mut consumer).await, 0);
    client.tombstone_stream("s", &Default::default()).await.unwrap();
    let dropped = within(consumer.next_subscription_event()).await;
    assert!(matches!(dropped, Err(Error::IllegalStateError(_))), "{dropped:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_may_read_a_stream_consumes_it_and_only_who_may_manage_gets_what_links_lead_to() {
    // Made by somebody who may do everything, over the same store.
    let refusing = start_refusing(&["$", "secret", "user-"]).await;
    let open = start_over(Arc::clone(&refusing.store), Limits::default()).await;
    let client = open.client();
    for stream in ["plain", "secret", "user-ann-x"] {
        client.create_persistent_subscription(stream, "g", &from_start()).await.unwrap();
        client.append_to_stream(stream, &Default::default(), events(1)).await.unwrap();
    }
    client
        .create_persistent_subscription("plain", "links", &from_start().resolve_link_tos(true))
        .await
        .unwrap();
    client.create_persistent_subscription_to_all("g", &Default::default()).await.unwrap();
    open.stop().await;

    let client = refusing.client();
    assert_eq!(acknowledged(&mut consume(&client, "plain", "g", 1).await).await, 0);
    for (stream, group) in [("secret", "g"), ("plain", "links")] {
        let refused = client.subscribe_to_persistent_subscription(stream, group, &Default::default()).await;
        assert!(matches!(refused.err(), Some(Error::AccessDenied)), "{stream}/{group}");
        let refused = client.get_persistent_subscription_info(stream, group, &Default::default()).await;
        assert!(matches!(refused.err(), Some(Error::AccessDenied)), "{stream}/{group}");
    }
    let hidden = client.subscribe_to_persistent_subscription("user-ann-x", "g", &Default::default()).await;
    assert!(matches!(hidden.err(), Some(Error::ResourceNotFound)));
    let all = client.subscribe_to_persistent_subscription_to_all("g", &Default::default()).await;
    assert!(matches!(all.err(), Some(Error::AccessDenied)));
    for refused in [
        client.create_persistent_subscription("plain", "new", &from_start()).await,
        client.update_persistent_subscription("plain", "g", &from_start()).await,
        client.delete_persistent_subscription("plain", "g", &Default::default()).await,
        client.replay_parked_messages("plain", "g", &Default::default()).await,
        client.list_all_persistent_subscriptions(&Default::default()).await.map(drop),
        client.restart_persistent_subscription_subsystem(&Default::default()).await,
    ] {
        assert!(matches!(refused, Err(Error::AccessDenied)), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_that_others_hold_makes_a_group_slow_and_never_stops_it() {
    let node = start_with(Limits { persistent_bytes: 1, ..Limits::default() }, None).await;
    let client = node.client();
    client.append_to_stream("s", &Default::default(), events(3)).await.unwrap();
    for group in ["holds", "works"] {
        client.create_persistent_subscription("s", group, &from_start()).await.unwrap();
    }
    let mut holds = consume(&client, "s", "holds", 10).await;
    next(&mut holds).await;
    let mut works = consume(&client, "s", "works", 10).await;
    for revision in 0..3 {
        assert_eq!(acknowledged(&mut works).await, revision);
    }
    let info = client.get_persistent_subscription_info("s", "holds", &Default::default()).await.unwrap();
    assert_eq!(info.stats.total_in_flight_messages, 1, "it has read no further");
    assert_eq!(info.stats.read_buffer_count + info.stats.live_buffer_count, 0);
}
