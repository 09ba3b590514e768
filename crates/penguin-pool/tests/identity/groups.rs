//! What is done with persistent subscriptions and with the node, by KurrentDB's protocol, stands in the trail: each deed under
//! its own name, refused or not.

use crate::{
    bed::Bed,
    face::{self, ADA, BOB},
    trail::records,
};
use kurrentdb::Client;
use kurrentdb_protocol::grpc::proto::event_store::client::{
    StreamIdentifier,
    persistent_subscriptions::{
        ParkedOptions, TruncateParkedReq, parked_options::Source,
        persistent_subscriptions_client::PersistentSubscriptionsClient,
    },
};
use penguin_pool::security::accounts::Scope;
use serde_json::Value;
use test_support::TestService;
use tonic::{Request, transport::Endpoint};

/// What is behind the first deed of a caller, each as: action, stream, group, outcome.
async fn deeds(service: &TestService, key: &str, caller: &str, count: usize) -> Vec<String> {
    // The login comes before.
    let found = records(service, key, &format!("caller={caller}"), count + 1).await;
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let told = |record: &Value| {
        assert_eq!(record["address"], "127.0.0.1", "{record}");
        let (action, subject) = (text(&record["action"]), text(&record["subject"]));
        format!("{action} {} {subject} {}", text(&record["streams"][0]), text(&record["outcome"]))
    };
    let told: Vec<_> = found.iter().map(told).collect();
    assert_eq!(told[0], format!("login - {caller} ok"));
    told[1..].to_vec()
}

/// Whatever the options are: none that matter.
fn d<T: Default>() -> T {
    T::default()
}

async fn consume(client: &Client, stream: &str, group: &str) -> bool {
    match client.subscribe_to_persistent_subscription(stream, group, &d()).await {
        Ok(mut consumer) => consumer.next_subscription_event().await.is_ok(),
        Err(_) => false,
    }
}

#[tokio::test]
async fn each_deed_is_written_down_by_its_name_with_group_outcome_and_address() {
    let mut bed = Bed::with(crate::BACKEND, &[("AUDIT", "true"), ("RATE_LIMIT_MAX_REQUESTS", "0")]).await;
    for (name, roles) in [("ada", &["admin"][..]), ("bob", &[]), ("eve", &["admin"])] {
        bed.add(name, roles).await;
    }
    let (_, key) = bed.key("eve", Scope::Admin, None).await;
    let address = face::serve(&mut bed).await;
    let (ada, bob) = (face::client(address, ADA), face::client(address, BOB));

    ada.create_persistent_subscription("loans-1", "workers", &d()).await.unwrap();
    ada.create_persistent_subscription("loans-1", "workers", &d()).await.unwrap_err();
    ada.create_persistent_subscription("user-ada-profile", "private", &d()).await.unwrap();
    ada.create_persistent_subscription_to_all("everything", &d()).await.unwrap();
    ada.update_persistent_subscription("loans-1", "workers", &d()).await.unwrap();
    ada.get_persistent_subscription_info("loans-1", "workers", &d()).await.unwrap();
    ada.list_all_persistent_subscriptions(&d()).await.unwrap();
    ada.list_persistent_subscriptions_for_stream("loans-1", &d()).await.unwrap();
    ada.replay_parked_messages("loans-1", "workers", &d()).await.unwrap();
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let mut truncate = Request::new(TruncateParkedReq {
        options: Some(ParkedOptions {
            group_name: "workers".to_owned(),
            source: Some(Source::StreamIdentifier(StreamIdentifier { stream_name: "loans-1".into() })),
            until: None,
        }),
    });
    // ada:correct-horse
    truncate.metadata_mut().insert("authorization", "Basic YWRhOmNvcnJlY3QtaG9yc2U=".parse().unwrap());
    PersistentSubscriptionsClient::new(channel).truncate_parked(truncate).await.unwrap();
    assert!(consume(&ada, "loans-1", "workers").await);
    let operator = face::operator(address, ADA);
    operator.restart_persistent_subscriptions(&d()).await.unwrap();
    operator.shutdown(&d()).await.unwrap_err();
    operator.start_scavenge(1, 0, &d()).await.unwrap_err();
    operator.merge_indexes(&d()).await.unwrap_err();
    operator.resign_node(&d()).await.unwrap_err();
    operator.set_node_priority(1, &d()).await.unwrap_err();

    assert!(consume(&bob, "loans-1", "workers").await);
    assert!(!consume(&bob, "user-ada-profile", "private").await);
    let all = bob.subscribe_to_persistent_subscription_to_all("everything", &d()).await;
    assert!(all.is_err());
    bob.get_persistent_subscription_info("loans-1", "workers", &d()).await.unwrap();
    bob.get_persistent_subscription_info("user-ada-profile", "private", &d()).await.unwrap_err();
    bob.create_persistent_subscription("loans-1", "mine", &d()).await.unwrap_err();
    bob.delete_persistent_subscription("loans-1", "workers", &d()).await.unwrap_err();
    bob.list_all_persistent_subscriptions(&d()).await.unwrap_err();
    bob.replay_parked_messages("loans-1", "workers", &d()).await.unwrap_err();
    let operator = face::operator(address, BOB);
    operator.restart_persistent_subscriptions(&d()).await.unwrap_err();
    operator.shutdown(&d()).await.unwrap_err();

    ada.delete_persistent_subscription("loans-1", "workers", &d()).await.unwrap();
    ada.delete_persistent_subscription_to_all("everything", &d()).await.unwrap();

    let expected = [
        "create-group loans-1 workers ok",
        "create-group loans-1 workers persistent-subscription-exists",
        "create-group user-ada-profile private ok",
        "create-group $all everything ok",
        "update-group loans-1 workers ok",
        "describe-group loans-1 workers ok",
        "list-groups - - ok",
        "list-groups loans-1 - ok",
        "replay-parked loans-1 workers ok",
        "truncate-parked loans-1 workers ok",
        "consume loans-1 workers ok",
        "restart-groups - - ok",
        "shutdown - - not-implemented",
        "start-scavenge - - not-implemented",
        "merge-indexes - - not-implemented",
        "resign-node - - not-implemented",
        "set-node-priority - - not-implemented",
        "delete-group loans-1 workers ok",
        "delete-group $all everything ok",
    ];
    assert_eq!(deeds(&bed.service, &key, "ada", expected.len()).await, expected);
    let missing = "persistent-subscription-does-not-exist";
    let expected = [
        "consume loans-1 workers ok".to_owned(),
        format!("consume user-ada-profile private {missing}"),
        "consume $all everything permission-denied".to_owned(),
        "describe-group loans-1 workers ok".to_owned(),
        format!("describe-group user-ada-profile private {missing}"),
        "create-group loans-1 mine permission-denied".to_owned(),
        "delete-group loans-1 workers permission-denied".to_owned(),
        "list-groups - - permission-denied".to_owned(),
        "replay-parked loans-1 workers permission-denied".to_owned(),
        "restart-groups - - permission-denied".to_owned(),
        "shutdown - - not-implemented".to_owned(),
    ];
    assert_eq!(deeds(&bed.service, &key, "bob", expected.len()).await, expected);
}
