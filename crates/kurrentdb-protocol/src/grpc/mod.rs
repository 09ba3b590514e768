//! The gRPC services. Each parses, calls the store and answers; what an error becomes is decided in `status` alone.
#![expect(
    clippy::result_large_err,
    reason = "tonic's traits answer with a bare `Status`: a box would be undone at every call"
)]

mod append;
mod batch;
mod convert;
mod features;
mod gossip;
mod layers;
mod monitoring;
mod operations;
mod persistent;
pub mod proto;
mod read;
mod status;
mod streams;
mod subscription;
mod upload;
mod users;
mod v2;
mod v2_errors;

use crate::{Cluster, Credentials, Deed, Entry, Face, Trail, Visitor, face::Node, persistent::GroupKey};
use axum::{Router, extract::ConnectInfo, middleware, routing::any_service};
use event_store::EventStore;
use futures::TryFutureExt as _;
use proto::{
    event_store::client::{
        gossip::gossip_server::GossipServer, monitoring::monitoring_server::MonitoringServer,
        operations::operations_server::OperationsServer,
        persistent_subscriptions::persistent_subscriptions_server::PersistentSubscriptionsServer,
        server_features::server_features_server::ServerFeaturesServer,
        streams::streams_server::StreamsServer, users::users_server::UsersServer,
    },
    kurrentdb::protocol::v2::streams::streams_service_server::StreamsServiceServer,
};
use std::{net::SocketAddr, sync::Arc};
use tonic::{
    Request, Status,
    metadata::{MetadataMap, MetadataValue},
};

/// All services of a node. What it does not serve is answered `UNIMPLEMENTED`, with a message that says what is not.
pub(crate) fn router(face: &Face) -> Router {
    let node = || Services(Arc::clone(&face.node));
    let most = face.node.options.limits.message_bytes;
    Router::new()
        .route_service(
            "/event_store.client.streams.Streams/{method}",
            StreamsServer::new(node()).max_decoding_message_size(most),
        )
        .route_service(
            "/kurrentdb.protocol.v2.streams.StreamsService/{method}",
            StreamsServiceServer::new(node()).max_decoding_message_size(most),
        )
        .route_service(
            "/event_store.client.server_features.ServerFeatures/{method}",
            ServerFeaturesServer::new(node()),
        )
        .route_service("/event_store.client.gossip.Gossip/Read", GossipServer::new(node()))
        .route_service("/event_store.client.monitoring.Monitoring/{method}", MonitoringServer::new(node()))
        .route_service("/event_store.client.users.Users/{method}", UsersServer::new(node()))
        .route_service("/event_store.client.operations.Operations/{method}", OperationsServer::new(node()))
        .route_service(
            "/event_store.client.persistent_subscriptions.PersistentSubscriptions/{method}",
            PersistentSubscriptionsServer::new(node()).max_decoding_message_size(most),
        )
        .fallback_service(any_service(tower::service_fn(layers::not_served)))
        .layer(middleware::from_fn_with_state(Arc::clone(&face.node.pending), upload::watched))
        .layer(middleware::from_fn(layers::explained))
        .layer(middleware::from_fn(layers::deadline))
        .layer(middleware::from_fn(layers::authority))
}

/// The node, as the services see it.
#[derive(Debug, Clone)]
pub(crate) struct Services(Arc<Node>);

impl std::ops::Deref for Services {
    type Target = Node;
    fn deref(&self) -> &Node {
        &self.0
    }
}

impl Services {
    /// What the caller is let in to. The request is looked at before anything is waited for: its messages cannot be shared.
    fn enter<'a, T>(
        &'a self,
        request: &Request<T>,
    ) -> impl Future<Output = Result<Entry, Status>> + Send + use<'a, T> {
        let (visitor, led) = (Self::visitor(request), self.led(request.metadata()));
        async move {
            if *self.closing.borrow() {
                return Err(status::closing());
            }
            if let Some(cluster) = led.filter(|cluster| !cluster.leads()) {
                return Err(status::not_leader(cluster.leader()));
            }
            self.options.gate.enter(&visitor).await.map_err(status::denied)
        }
    }

    /// The cluster whose leader alone may answer this call; nothing if this node may whatever it is.
    fn led(&self, metadata: &MetadataMap) -> Option<&Cluster> {
        let asked = metadata
            .get("requires-leader")
            .is_some_and(|v| v.as_encoded_bytes().eq_ignore_ascii_case(b"true"));
        self.options.cluster.as_ref().filter(|_| asked)
    }

    /// The store as the caller may use it, for what is answered at once.
    fn store<'a, T>(
        &'a self,
        request: &Request<T>,
    ) -> impl Future<Output = Result<Arc<dyn EventStore>, Status>> + Send + use<'a, T> {
        self.enter(request).map_ok(|entry| entry.store)
    }

    /// Who makes a call.
    fn visitor<T>(request: &Request<T>) -> Visitor {
        let metadata = request.metadata();
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        Visitor {
            credentials: Credentials::from_header(
                metadata.get("authorization").map(MetadataValue::as_encoded_bytes),
            ),
            peer: peer.map(|peer| peer.0.ip()),
            forwarded_for: forwarded_for(metadata),
        }
    }
}

/// Begins what is to be written down, about a group or about none.
fn begin(trail: &dyn Trail, action: &'static str, about: Option<&GroupKey>) -> Result<Box<dyn Deed>, Status> {
    let named =
        |of: fn(&GroupKey) -> &String| about.map(|key| of(key).as_str()).filter(|name| !name.is_empty());
    trail.begin(action, named(|key| &key.source), named(|key| &key.group)).map_err(|e| status::of(&e))
}

/// Those that say to have passed a call on, the last one last. What a caller made up may be any bytes, and hides nothing
/// that proxies put behind it.
fn forwarded_for(metadata: &MetadataMap) -> Vec<String> {
    let lines = metadata.get_all("x-forwarded-for");
    let hops = lines.iter().flat_map(|line| line.as_encoded_bytes().split(|byte| *byte == b','));
    hops.map(|hop| String::from_utf8_lossy(hop).trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderMap, HeaderValue};

    #[test]
    fn a_hop_that_is_no_text_hides_none_of_the_others() {
        let line = HeaderValue::from_bytes(b"1.2.3.4\xff, 198.51.100.1 ,10.0.0.1").unwrap();
        let mut headers = HeaderMap::from_iter([("x-forwarded-for".parse().unwrap(), line)]);
        headers.append("x-forwarded-for", HeaderValue::from_static("10.0.0.2"));
        let hops = forwarded_for(&MetadataMap::from_headers(headers));
        assert_eq!(hops, ["1.2.3.4\u{fffd}", "198.51.100.1", "10.0.0.1", "10.0.0.2"]);
    }
}
