//! The WebSocket handshake, up to the bytes that follow it.

use crate::http::ApiError;
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header},
};
use event_store::ErrorCode;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Whether a request asks for a WebSocket.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(header::UPGRADE).and_then(|v| v.to_str().ok());
    upgrade.is_some_and(|v| v.split(',').any(|p| p.trim().eq_ignore_ascii_case("websocket")))
}

/// Refuses a browser's page that is not from one of the origins allowed. CORS does not cover WebSockets: without this,
/// any page could open one in its visitor's name. What is no browser sends no `Origin`.
pub(super) fn check_origin(headers: &HeaderMap, allowed: &[String]) -> Result<(), ApiError> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    if origin.to_str().is_ok_and(|origin| allowed.iter().any(|a| a == origin)) {
        return Ok(());
    }
    let message = "Pages of this origin may not open a WebSocket here; see ALLOWED_ORIGINS";
    Err(ApiError::new(ErrorCode::PermissionDenied, message))
}

/// Takes up a handshake: the answer to it, and the connection to come.
pub(super) fn accept(request: &mut Request) -> Result<(Response<Body>, Connection), ApiError> {
    let headers = request.headers();
    let refuse = |message: &str| ApiError::new(ErrorCode::ValidationFailed, message);
    if request.method() != Method::GET || !is_wanted(headers) {
        return Err(refuse("This path takes WebSockets: send Connection: Upgrade and Upgrade: websocket"));
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|v| v != "13") {
        return Err(refuse("The header Sec-WebSocket-Version must be 13"));
    }
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY) else {
        return Err(refuse("The header Sec-WebSocket-Key is missing"));
    };
    let internal = |e: &str| ApiError::new(ErrorCode::InternalError, e);
    let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes()))
        .map_err(|_| internal("the accept key is no header value"))?;
    let Some(connection) = request.extensions_mut().remove::<OnUpgrade>() else {
        return Err(refuse("This connection cannot become a WebSocket"));
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok((response, Connection(connection)))
}

/// A connection that becomes a stream of bytes once the handshake was answered.
#[derive(Debug)]
pub(super) struct Connection(OnUpgrade);

impl Connection {
    /// Waits for the answer to be sent. Nothing if the peer went away before.
    pub(super) async fn established(self) -> Option<TokioIo<Upgraded>> {
        self.0.await.ok().map(TokioIo::new)
    }
}
