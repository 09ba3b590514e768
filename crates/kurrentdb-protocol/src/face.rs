//! What one node shows: its parts, its limits, and the router that tells gRPC from plain HTTP.

use crate::{
    Cluster, Gate, Users, grpc,
    persistent::{Registry, Shared},
};
use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{StatusCode, Version},
    response::Response,
};
use event_store::{Clock, EventStore, IdSource};
use std::{convert::Infallible, sync::Arc};
use tokio::sync::{Semaphore, watch};
use tower::{Service, ServiceExt, util::BoxCloneSyncService};
use uuid::Uuid;

/// What a client may ask for at most. Each refusal says so with a proper status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest message that is decoded, in bytes.
    pub message_bytes: usize,
    /// The largest event, as [`event_store::NewEvent::size`] counts, in bytes.
    pub event_bytes: usize,
    /// The largest append, in bytes.
    pub append_bytes: usize,
    /// The events of all appends that were received and not yet written, in bytes: beyond it new ones are refused.
    pub pending_bytes: usize,
    /// How many subscriptions run at once.
    pub subscriptions: usize,
    /// How many connections are open at once; further ones wait.
    pub connections: usize,
    /// How many persistent subscriptions there are.
    pub persistent_subscriptions: usize,
    /// What the events take that persistent subscriptions have read and not settled, in bytes, roughly: beyond it each
    /// holds no more than one.
    pub persistent_bytes: usize,
}

impl Default for Limits {
    /// Messages of 17 MiB, events of 16 MiB and appends of 256 MiB, as KurrentDB 25.1; 512 MiB pending, 10,000
    /// subscriptions, 10,000 connections, 1,000 persistent subscriptions that hold 256 MiB.
    fn default() -> Self {
        Self {
            message_bytes: 17 << 20,
            event_bytes: 16 << 20,
            append_bytes: 256 << 20,
            pending_bytes: 512 << 20,
            subscriptions: 10_000,
            connections: 10_000,
            persistent_subscriptions: 1_000,
            persistent_bytes: 256 << 20,
        }
    }
}

/// What a [`Face`] is made of.
#[derive(Debug, Clone)]
pub struct FaceOptions {
    /// The way to the store.
    pub gate: Arc<dyn Gate>,
    /// The store as the node itself uses it, with every right, for what it keeps there on its own account: persistent
    /// subscriptions. Without it there are none.
    pub own: Option<Arc<dyn EventStore>>,
    /// The accounts that clients may manage; without them the service `Users` is not there.
    pub users: Option<Arc<dyn Users>>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes the ids of subscriptions, and of records that came without.
    pub ids: Arc<dyn IdSource>,
    /// What clients may ask for.
    pub limits: Limits,
    /// The host and port that gossip names; without it, those by which the asking client reached this node.
    pub advertise: Option<(String, u16)>,
    /// The cluster that the node is one of; without it, it stands alone.
    pub cluster: Option<Cluster>,
}

impl FaceOptions {
    /// A node that stands alone, with KurrentDB's limits, without persistent subscriptions, and with gossip that answers with
    /// the address it was asked at.
    pub fn new(gate: Arc<dyn Gate>, clock: Arc<dyn Clock>, ids: Arc<dyn IdSource>) -> Self {
        let (own, users, advertise, cluster) = (None, None, None, None);
        Self { gate, own, users, clock, ids, limits: Limits::default(), advertise, cluster }
    }
}

/// One node's face. Cloning is cheap, and all clones are the same node.
#[derive(Debug, Clone)]
pub struct Face {
    pub(crate) node: Arc<Node>,
}

/// What every service of the node shares.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) options: FaceOptions,
    pub(crate) instance: Uuid,
    /// One permit for each subscription that may run.
    pub(crate) subscriptions: Arc<Semaphore>,
    /// One permit for each KiB of events that may wait to be written.
    pub(crate) pending: Arc<Semaphore>,
    /// Whether the node is closing: streams that would never end watch it.
    pub(crate) closing: watch::Sender<bool>,
    /// The persistent subscriptions, if there is a store to keep them in.
    pub(crate) persistent: Option<Arc<Registry>>,
}

impl Face {
    /// A node that is not served yet.
    #[must_use]
    pub fn new(options: FaceOptions) -> Self {
        let closing = watch::Sender::new(false);
        let persistent = options.own.as_ref().map(|store| {
            let shared = Shared {
                store: Arc::clone(store),
                clock: Arc::clone(&options.clock),
                ids: Arc::clone(&options.ids),
                held: Arc::default(),
                most_held: options.limits.persistent_bytes,
                closing: closing.subscribe(),
            };
            Arc::new(Registry::new(shared, options.limits.persistent_subscriptions))
        });
        let node = Node {
            persistent,
            instance: options.ids.next_id(),
            subscriptions: Arc::new(Semaphore::new(options.limits.subscriptions.min(Semaphore::MAX_PERMITS))),
            pending: Arc::new(Semaphore::new((options.limits.pending_bytes >> 10).min(u32::MAX as usize))),
            closing,
            options,
        };
        Self { node: Arc::new(node) }
    }

    /// Ends all subscriptions with `UNAVAILABLE`; calls that come later get the same. Other calls finish.
    pub fn close(&self) {
        self.node.closing.send_replace(true);
    }

    /// Everything the node answers: gRPC here, every other request to `http`.
    pub fn router(&self, http: Router) -> NodeService {
        let grpc = grpc::router(self).into_service::<Body>();
        let http = http.into_service::<Body>();
        let service = tower::service_fn(move |request: Request| {
            let (grpc, http) = (grpc.clone(), http.clone());
            async move {
                match request.version() {
                    _ if !is_grpc(&request) => http.oneshot(request).await,
                    Version::HTTP_2 => grpc.oneshot(request).await,
                    other => Ok(needs_http_2(other)),
                }
            }
        });
        NodeService { inner: BoxCloneSyncService::new(service) }
    }
}

/// The node as a service of HTTP requests.
#[derive(Debug, Clone)]
pub struct NodeService {
    inner: BoxCloneSyncService<Request, Response, Infallible>,
}

impl Service<Request> for NodeService {
    type Response = Response;
    type Error = Infallible;
    type Future = futures::future::BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        Box::pin(self.inner.call(request))
    }
}

/// gRPC says so in its content type, `application/grpc` with or without a suffix.
fn is_grpc(request: &Request) -> bool {
    let content_type = request.headers().get(axum::http::header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// As KurrentDB says it: a status's trailers cannot be relied on before HTTP/2.
fn needs_http_2(version: Version) -> Response {
    let status = tonic::Status::internal(format!("Request protocol '{version:?}' is not supported."));
    let mut response = status.into_http();
    *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
    response
}
