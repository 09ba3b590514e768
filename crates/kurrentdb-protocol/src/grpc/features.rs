//! `server_features.ServerFeatures`: what clients may call here. Nothing is named that is not served, and everybody may ask:
//! clients do before they say who they are.

use super::{
    Services,
    proto::event_store::client::server_features::{
        SupportedMethod, SupportedMethods, server_features_server::ServerFeatures,
    },
};
use crate::KURRENTDB_VERSION;
use tonic::{Request, Response, Status};

const STREAMS: &str = "event_store.client.streams.streams";
const PERSISTENT: &str = "event_store.client.persistent_subscriptions.persistentsubscriptions";
const STREAMS_V2: &str = "kurrentdb.protocol.v2.streams.streamsservice";

/// Service, method, features.
const METHODS: &[(&str, &str, &[&str])] = &[
    (STREAMS, "read", &["position", "events"]),
    (STREAMS, "append", &[]),
    (STREAMS, "batchappend", &["deadline_duration"]),
    (STREAMS, "delete", &[]),
    (STREAMS, "tombstone", &[]),
    ("event_store.client.gossip.gossip", "read", &[]),
    ("event_store.client.monitoring.monitoring", "stats", &[]),
    ("event_store.client.server_features.serverfeatures", "getsupportedmethods", &[]),
];

/// Those that need a store which appends to several streams at once.
const MULTI_STREAM_METHODS: &[(&str, &str, &[&str])] =
    &[(STREAMS_V2, "appendsession", &[]), (STREAMS_V2, "appendrecords", &[])];

/// Those that need a store of the node's own.
const PERSISTENT_METHODS: &[(&str, &str, &[&str])] = &[
    (PERSISTENT, "create", &["stream", "all"]),
    (PERSISTENT, "update", &["stream", "all"]),
    (PERSISTENT, "delete", &["stream", "all"]),
    (PERSISTENT, "read", &["stream", "all"]),
    (PERSISTENT, "getinfo", &["stream", "all"]),
    (PERSISTENT, "replayparked", &["stream", "all"]),
    (PERSISTENT, "truncateparked", &["stream", "all"]),
    (PERSISTENT, "list", &["stream", "all"]),
    (PERSISTENT, "restartsubsystem", &["stream", "all"]),
];

#[tonic::async_trait]
impl ServerFeatures for Services {
    async fn get_supported_methods(&self, _: Request<()>) -> Result<Response<SupportedMethods>, Status> {
        let several =
            if self.options.gate.capabilities().multi_stream_append { MULTI_STREAM_METHODS } else { &[] };
        let persistent = if self.persistent.is_some() { PERSISTENT_METHODS } else { &[] };
        let method = |(service, method, features): &(&str, &str, &[&str])| SupportedMethod {
            method_name: (*method).to_owned(),
            service_name: (*service).to_owned(),
            features: features.iter().map(|f| (*f).to_owned()).collect(),
        };
        Ok(Response::new(SupportedMethods {
            methods: METHODS.iter().chain(several).chain(persistent).map(method).collect(),
            event_store_server_version: KURRENTDB_VERSION.to_owned(),
        }))
    }
}
