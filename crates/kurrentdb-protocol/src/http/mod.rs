//! A node's HTTP interface: `/health/live`, `/info`, `/ping`, `/stats`, `/gossip`, and streams as AtomPub in JSON.
//!
//! Names and shapes of the fields are KurrentDB's, so that what reads them from a KurrentDB node reads them here. As
//! there, an error is a status without a body. Streams can be read; other methods are answered with 405.

mod atom;
mod node;
mod streams;

use axum::{
    Router,
    body::Body,
    extract::FromRequestParts,
    http::{header, request::Parts},
    middleware,
    response::Response,
    routing::get,
};
use event_store::{Clock, EventStore, Timestamp};
use std::{convert::Infallible, sync::Arc};

/// What a node says of itself.
#[derive(Debug)]
pub struct Node {
    /// The store that it shows, to requests that bring no [`StoreOf`] their caller.
    pub store: Arc<dyn EventStore>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Where this interface is reached.
    pub host: String,
    /// The port of the same.
    pub port: u16,
    /// Since when the node runs.
    pub started: Timestamp,
    /// Whether callers must say who they are, by the accounts that clients manage.
    pub accounts: bool,
}

/// The store as one request's caller may use it: an extension of the request, put there by whoever knows the caller.
#[derive(Debug, Clone)]
pub struct StoreOf(pub Arc<dyn EventStore>);

impl FromRequestParts<Arc<Node>> for StoreOf {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, node: &Arc<Node>) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_else(|| Self(Arc::clone(&node.store))))
    }
}

/// The node's interface, as a router.
pub fn router(node: Node) -> Router {
    Router::new()
        .route("/health/live", get(node::live))
        .route("/info", get(node::info))
        .route("/ping", get(node::ping))
        .route("/stats", get(node::stats))
        .route("/gossip", get(node::gossip))
        .route("/streams/{stream}", get(streams::newest))
        .route("/streams/{stream}/metadata", get(streams::metadata))
        .route("/streams/{stream}/{event}", get(streams::event))
        .route("/streams/{stream}/{from}/{count}", get(streams::backwards))
        .route("/streams/{stream}/{from}/{direction}/{count}", get(streams::page))
        .layer(middleware::map_response(bare))
        .with_state(Arc::new(node))
}

/// An error is said by its status alone, also by what refuses a request before it is looked at.
async fn bare(mut response: Response) -> Response {
    if response.status().is_client_error() || response.status().is_server_error() {
        *response.body_mut() = Body::empty();
        response.headers_mut().remove(header::CONTENT_TYPE);
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    response
}

/// A moment as KurrentDB writes it.
fn written(moment: Timestamp) -> String {
    let microseconds = moment.ticks().div_euclid(10);
    jiff::Timestamp::from_microsecond(microseconds).map(|t| t.to_string()).unwrap_or_default()
}
