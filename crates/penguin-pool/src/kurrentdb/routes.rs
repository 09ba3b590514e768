//! The routes of `/kurrentdb`.

use super::{Passage, passage::NotPassed};
use crate::{
    endpoint,
    http::{ApiError, Routes},
    security::Caller,
};
use axum::{
    extract::{Request, State},
    response::Response,
};

impl From<NotPassed> for ApiError {
    fn from(why: NotPassed) -> Self {
        match why {
            NotPassed::Denied(denied) => denied.into(),
            NotPassed::Store(error) => error.into(),
        }
    }
}

/// The routes.
pub fn routes(passage: Passage) -> Routes {
    Routes::new("KurrentDB", "The KurrentDB node's own HTTP interface, passed through.")
        .get("/kurrentdb/{*path}", get_from_node, get_from_node::DOC)
        .post("/kurrentdb/{*path}", post_to_node, post_to_node::DOC)
        .with_state(passage)
}

endpoint! {
    /// Passes a GET on to the KurrentDB node.
    ///
    /// With the embedded store the node is in this process and serves `/health/live`, `/info`, `/ping`, `/stats`,
    /// `/gossip` and `/streams/{name}` (AtomPub in JSON, for reading); with `EVENT_STORE=kurrentdb` it is the server's first
    /// node, and 503 while that is away. What it answers is passed back as it is. Credentials, cookies and what concerns
    /// one connection alone stay behind; so a server's node, which cannot know the caller, is for administrators. The node's
    /// gRPC interface is on its own port (`KURRENTDB_PORT`).
    [PermissionDenied]
    async fn get_from_node(
        State(passage): State<Passage>,
        caller: Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        Ok(passage.pass(&caller, request).await?)
    }
}

endpoint! {
    /// Passes a POST on to the KurrentDB node.
    ///
    /// The embedded store's node can be read and not written this way: it answers 405 itself.
    [PayloadTooLarge, PermissionDenied]
    async fn post_to_node(
        State(passage): State<Passage>,
        caller: Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        Ok(passage.pass(&caller, request).await?)
    }
}
