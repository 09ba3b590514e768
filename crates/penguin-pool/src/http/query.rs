//! Query keys that nobody reads are refused, on operations that take no query as well.

use super::{ApiError, Detail};
use axum::{
    extract::{MatchedPath, Request, State},
    http::Method,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use serde_json::Value;
use std::{collections::HashSet, sync::Arc};

/// The operations of a document that take no query: method in lower case, a blank, path.
pub(super) type WithoutQuery = Arc<HashSet<String>>;

/// Which operations of a document take no query. What [`super::ValidQuery`] reads stands in the document, so that
/// no route has to say it a second time.
pub(super) fn without_query(document: &Value) -> WithoutQuery {
    let takes_query = |operation: &Value| {
        let parameters = operation["parameters"].as_array();
        parameters.is_some_and(|all| all.iter().any(|parameter| parameter["in"] == "query"))
    };
    // What is behind a wildcard is somebody else's, and so are its query keys.
    let own = |(path, _): &(&String, &Value)| !path.contains("{*");
    let paths = document["paths"].as_object().into_iter().flatten().filter(own);
    let operations = paths.flat_map(|(path, item)| {
        let methods = item.as_object().into_iter().flatten();
        methods.filter(|(_, op)| op.is_object() && !takes_query(op)).map(move |(m, _)| format!("{m} {path}"))
    });
    Arc::new(operations.collect())
}

/// The layer that refuses a query where none is taken.
pub(super) async fn refuse(State(known): State<WithoutQuery>, request: Request, next: Next) -> Response {
    if let Some(query) = request.uri().query().filter(|query| !query.is_empty())
        && let Some(path) = request.extensions().get::<MatchedPath>()
    {
        let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
        let operation = format!("{} {}", method.as_str().to_ascii_lowercase(), path.as_str());
        if known.contains(&operation) {
            let keys = form_urlencoded::parse(query.as_bytes());
            let unknown = |key: &str| Detail::new(key, "is no query key of this operation, which takes none");
            let details = keys.map(|(key, _)| unknown(&key)).collect();
            return ApiError::invalid(details).into_response();
        }
    }
    next.run(request).await
}
