//! What a node says of itself, and that it speaks both protocols on its one port.

use crate::support::{client, start, start_behind, start_with, start_without_own, within};
use event_store::{Capabilities, ErrorCode, EventStore};
use futures::StreamExt;
use kurrentdb::Error;
use kurrentdb_protocol::{
    Credentials, Denial, Entry, Gate, KURRENTDB_VERSION, Limits, Visitor,
    grpc::proto::event_store::client::{
        gossip::{gossip_client::GossipClient, member_info::State},
        monitoring::{StatsReq, monitoring_client::MonitoringClient},
        persistent_subscriptions::{ListReq, persistent_subscriptions_client::PersistentSubscriptionsClient},
        server_features::server_features_client::ServerFeaturesClient,
        streams::{ReadReq, streams_client::StreamsClient},
    },
};
use secrecy::ExposeSecret as _;
use std::sync::Arc;
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn http_1_and_grpc_share_the_port() {
    let node = start().await;
    let pong = within(reqwest::get(format!("http://{}/ping", node.address))).await.unwrap();
    assert_eq!((pong.version(), pong.text().await.unwrap().as_str()), (reqwest::Version::HTTP_11, "pong"));
    let info = node.client().server_info().await.unwrap();
    let version = format!("{}.{}.{}", info.version().major(), info.version().minor(), info.version().patch());
    assert_eq!(version, KURRENTDB_VERSION);
}

#[tokio::test(flavor = "multi_thread")]
async fn features_name_what_is_served_and_nothing_else() {
    let node = start().await;
    let mut features = ServerFeaturesClient::new(node.channel().await);
    let supported = features.get_supported_methods(()).await.unwrap().into_inner();
    let features = |service: &str, method: &str| {
        let found = supported.methods.iter().find(|m| m.service_name == service && m.method_name == method);
        found.map(|m| m.features.clone())
    };
    let streams = "event_store.client.streams.streams";
    assert_eq!(features(streams, "read").unwrap(), ["position", "events"]);
    assert_eq!(features(streams, "batchappend").unwrap(), ["deadline_duration"]);
    assert!(features("kurrentdb.protocol.v2.streams.streamsservice", "appendsession").is_some());
    // Each that is named answers with something else than that it is not there.
    for method in &supported.methods {
        let paths = [
            ("event_store.client.streams.streams", "event_store.client.streams.Streams"),
            ("kurrentdb.protocol.v2.streams.streamsservice", "kurrentdb.protocol.v2.streams.StreamsService"),
            (
                "event_store.client.persistent_subscriptions.persistentsubscriptions",
                "event_store.client.persistent_subscriptions.PersistentSubscriptions",
            ),
            ("event_store.client.gossip.gossip", "event_store.client.gossip.Gossip"),
            ("event_store.client.monitoring.monitoring", "event_store.client.monitoring.Monitoring"),
            (
                "event_store.client.server_features.serverfeatures",
                "event_store.client.server_features.ServerFeatures",
            ),
        ];
        let methods = [
            "Read",
            "Append",
            "BatchAppend",
            "Delete",
            "Tombstone",
            "AppendSession",
            "AppendRecords",
            "Create",
            "Update",
            "GetInfo",
            "ReplayParked",
            "TruncateParked",
            "List",
            "RestartSubsystem",
            "Stats",
            "GetSupportedMethods",
        ];
        let service = paths.iter().find(|(lower, _)| *lower == method.service_name).unwrap().1;
        let name = methods.iter().find(|m| m.to_lowercase() == method.method_name).unwrap();
        let mut bare = tonic::client::Grpc::new(node.channel().await);
        bare.ready().await.unwrap();
        let path = axum::http::uri::PathAndQuery::try_from(format!("/{service}/{name}")).unwrap();
        let codec = tonic::codec::ProstCodec::<(), ()>::default();
        let request = tonic::Request::new(tokio_stream::iter([()]));
        let answer = within(bare.streaming(request, path, codec)).await.map(drop);
        assert_ne!(answer.map_or_else(|s| s.code(), |_| Code::Ok), Code::Unimplemented, "{service}/{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gossip_names_the_address_that_was_asked() {
    let node = start().await;
    let mut gossip = GossipClient::new(node.channel().await);
    let members = gossip.read(()).await.unwrap().into_inner().members;
    assert_eq!(members.len(), 1);
    assert_eq!((members[0].state(), members[0].is_alive), (State::Leader, true));
    let at = members[0].http_end_point.as_ref().unwrap();
    assert_eq!((at.address.as_str(), at.port), ("127.0.0.1", u32::from(node.address.port())));
    // A client that asks for a cluster finds it.
    let seeds = format!("kurrentdb://{0},{0}?tls=false&nodePreference=leader", node.address);
    client(&seeds).append_to_stream("s", &Default::default(), crate::support::events(1)).await.unwrap();

    let set = start_with(Limits::default(), Some(("events.example".into(), 443))).await;
    let mut gossip = GossipClient::new(set.channel().await);
    let at = gossip.read(()).await.unwrap().into_inner().members[0].http_end_point.clone().unwrap();
    assert_eq!((at.address.as_str(), at.port), ("events.example", 443));
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_come_at_once_and_again() {
    let node = start().await;
    let client = node.client();
    let mut monitoring = MonitoringClient::new(node.channel().await);
    let request = StatsReq { use_metadata: false, refresh_time_period_in_ms: 1 };
    let mut figures = monitoring.stats(request).await.unwrap().into_inner();
    let mut events = async || {
        let stats = within(figures.next()).await.unwrap().unwrap().stats;
        stats.iter().find(|p| p.key == "es-store-events").unwrap().value.clone()
    };
    assert_eq!(events().await, "0");
    client.append_to_stream("s", &Default::default(), crate::support::events(3)).await.unwrap();
    within(async { while events().await != "3" {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_served_says_so() {
    let node = start().await;
    let settings = format!("kurrentdb://{}?tls=false", node.address).parse().unwrap();
    let projections = kurrentdb::ProjectionClient::new(settings).unwrap();
    let refused = projections.enable("p", &Default::default()).await;
    assert!(matches!(refused, Err(Error::UnsupportedFeature)), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_store_of_its_own_has_no_persistent_subscriptions() {
    let node = start_without_own().await;
    let mut persistent = PersistentSubscriptionsClient::new(node.channel().await);
    assert!(persistent.list(ListReq::default()).await.unwrap().into_inner().subscriptions.is_empty());
    let refused = node.client().create_persistent_subscription("s", "g", &Default::default()).await;
    assert!(matches!(refused, Err(Error::UnsupportedFeature)), "{refused:?}");
}

/// Lets one user in.
#[derive(Debug)]
struct OneUser(Arc<dyn EventStore>);

#[tonic::async_trait]
impl Gate for OneUser {
    async fn enter(&self, visitor: &Visitor) -> Result<Entry, Denial> {
        assert!(visitor.peer.is_some_and(|peer| peer.is_loopback()), "{visitor:?}");
        match &visitor.credentials {
            Credentials::Basic { user, password }
                if user == "ann" && password.expose_secret() == "s3cret" =>
            {
                Ok(Entry::lasting(Arc::clone(&self.0)))
            }
            Credentials::Basic { user, .. } if user == "bob" => Err(ErrorCode::PermissionDenied.into()),
            _ => Err(ErrorCode::AuthenticationFailed.into()),
        }
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gate_decides_by_credentials() {
    let node = start_behind(|store| Arc::new(OneUser(store)), Limits::default(), None).await;
    let append = async |who: &str| {
        let client = client(&format!("kurrentdb://{who}{}?tls=false", node.address));
        client.append_to_stream("s", &Default::default(), crate::support::events(1)).await.map(drop)
    };
    append("ann:s3cret@").await.unwrap();
    for refused in ["", "ann:wrong@", "bob:s3cret@"] {
        let answer = append(refused).await;
        assert!(matches!(answer, Err(Error::AccessDenied)), "{refused}: {answer:?}");
    }
    let mut bare = StreamsClient::new(node.channel().await);
    let mut request = tonic::Request::new(ReadReq::default());
    request.metadata_mut().insert("authorization", "Basic Ym9iOng=".parse().unwrap());
    let status = within(bare.read(request)).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(status.metadata().get("exception").unwrap(), "access-denied");
    let status = within(bare.read(ReadReq::default())).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
}
