//! Security headers, and which other sites may call.

use crate::config::Origins;
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::Response,
};
use std::time::Duration;
use tower::ServiceExt as _;
use tower_http::cors::{AllowOrigin, CorsLayer};

/// Headers that callers may send from other sites.
const ALLOWED: [HeaderName; 7] = [
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-request-id"),
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    HeaderName::from_static("last-event-id"),
];

/// Headers that callers from other sites may read.
const EXPOSED: [HeaderName; 6] = [
    header::ETAG,
    HeaderName::from_static("x-request-id"),
    header::RETRY_AFTER,
    HeaderName::from_static("x-ratelimit-limit"),
    HeaderName::from_static("x-ratelimit-remaining"),
    HeaderName::from_static("x-ratelimit-reset"),
];

/// Lets the listed origins call, with credentials. Others get no permission, and their browsers refuse the answer.
pub fn cors(origins: &Origins) -> CorsLayer {
    let origins: Vec<HeaderValue> = origins.0.iter().filter_map(|o| HeaderValue::from_str(o).ok()).collect();
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers(ALLOWED)
        .expose_headers(EXPOSED)
        .max_age(Duration::from_secs(600))
}

/// CORS answers every `OPTIONS`, whatever the path. Asked first is the API itself: where there is nothing, nothing may be
/// asked for, and elsewhere it says which methods there are.
pub async fn options(State(api): State<Router>, request: Request, next: Next) -> Response {
    // A socket's path takes every method, and makes something of each.
    if request.method() != Method::OPTIONS || request.uri().path().starts_with("/socket.io") {
        return next.run(request).await;
    }
    let mut asked = Request::new(Body::empty());
    *asked.method_mut() = Method::OPTIONS;
    *asked.uri_mut() = request.uri().clone();
    let Ok(known) = api.oneshot(asked).await;
    if known.status() == StatusCode::NOT_FOUND {
        return known;
    }
    let mut response = next.run(request).await;
    if let Some(allow) = known.headers().get(header::ALLOW) {
        response.headers_mut().insert(header::ALLOW, allow.clone());
    }
    response
}

/// What every answer says, unless the answer says otherwise itself (the documents' page has a policy of its own).
const SECURITY: [(HeaderName, &str); 7] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'; base-uri 'none'"),
    (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000; includeSubDomains"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
];

/// Adds the security headers to an answer.
pub async fn secure(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in SECURITY {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
