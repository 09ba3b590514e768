//! Socket.IO's own requests: handshakes, long polls, and the upgrade to a WebSocket.

use super::{
    Sockets,
    flow::MAX_PACKETS,
    session::Session,
    transport::{Transport, Whose},
    upgrade,
};
use crate::{
    audit::Origin,
    http::ApiError,
    security::{Caller, Standing},
};
use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use event_store::ErrorCode;
use futures::future::{Ready, ready};
use socketioxide::{ParserConfig, SocketIo, SocketIoBuilder, service::SocketIoService, socket::Sid};
use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tower::Service as _;

/// The largest packet that a client may send, in bytes: what it has to say is short.
const MAX_INCOMING: usize = 64 << 10;

/// How many packets the library's queue of a connection holds. Subscriptions fill half of it at most: what is counted as
/// taken may be in it still while as much again is let in. A ping that found it full would end the connection.
const QUEUE: usize = 4 * MAX_PACKETS;

/// What stands between the packets of a long poll's answer.
const SEPARATOR: u8 = 0x1e;

/// The service behind `/socket.io`.
pub(super) type Engine = SocketIoService<NotFound>;

/// How often a client is pinged, and how long it may take to answer.
#[derive(Debug, Clone, Copy)]
pub struct Heartbeat {
    /// From ping to ping.
    pub interval: Duration,
    /// From a ping to its answer.
    pub timeout: Duration,
}

impl Default for Heartbeat {
    /// Socket.IO's own.
    fn default() -> Self {
        Self { interval: Duration::from_secs(25), timeout: Duration::from_secs(20) }
    }
}

pub(super) fn build(heartbeat: Heartbeat) -> (Engine, SocketIo) {
    // Nothing here is said in binary.
    let parser = ParserConfig::common().max_incoming_binaries(1).max_incoming_binary_buf_size(MAX_INCOMING);
    SocketIoBuilder::new()
        .with_parser(parser)
        .ping_interval(heartbeat.interval)
        .ping_timeout(heartbeat.timeout)
        .connect_timeout(Duration::from_secs(20))
        .max_buffer_size(QUEUE)
        .max_payload(MAX_INCOMING as u64)
        .ws_max_message_size(MAX_INCOMING)
        .ws_max_frame_size(MAX_INCOMING)
        .ws_read_buffer_size(2 << 10)
        .build_with_inner_svc(NotFound)
}

/// `/socket.io`: whatever the protocol asks for there.
pub(super) async fn serve(
    State(sockets): State<Sockets>,
    caller: Caller,
    mut request: Request,
) -> Result<Response, ApiError> {
    if upgrade::is_wanted(request.headers()) {
        upgrade::check_origin(request.headers(), &sockets.0.allowed_origins)?;
    }
    let asked = Asked::of(request.uri().query().unwrap_or_default());
    let standing = request.extensions().get::<Standing>().cloned().unwrap_or_default();
    if asked.websocket && asked.well_formed && request.method() == Method::GET {
        return websocket(&sockets, caller, standing, &asked, request);
    }
    let origin = Origin::of(&request);
    // The library would take up a handshake by itself, past the limits and the flow here.
    request.headers_mut().remove(header::SEC_WEBSOCKET_KEY);
    request.extensions_mut().clear();
    match (asked.id, request.method().clone()) {
        (None, Method::GET) => {
            let session = sockets.open(caller, standing, origin)?;
            request.extensions_mut().insert(session);
            answer(&sockets, request).await
        }
        (Some(id), Method::GET) => {
            let response = answer(&sockets, request).await?;
            match sockets.0.sessions.find(&id) {
                Some(session) if response.status() == StatusCode::OK => counted(response, &session).await,
                _ => Ok(response),
            }
        }
        _ => answer(&sockets, request).await,
    }
}

/// The answer to a long poll, its messages counted as taken: the next poll comes only when it was read.
async fn counted(response: Response, session: &Session) -> Result<Response, ApiError> {
    let (parts, body) = response.into_parts();
    // It is in memory already: the library makes it of what the queue holds.
    let body = to_bytes(body, usize::MAX)
        .await
        .map_err(|e| ApiError::new(ErrorCode::InternalError, format!("a long poll's answer: {e}")))?;
    let messages = body.split(|byte| *byte == SEPARATOR).filter(|packet| packet.starts_with(b"4")).count();
    session.flow.took(messages);
    Ok(Response::from_parts(parts, Body::from(body)))
}

async fn answer(sockets: &Sockets, request: Request) -> Result<Response, ApiError> {
    let Ok(response) = sockets.0.engine.clone().call(request).await;
    Ok(response.map(Body::new))
}

/// Takes up a WebSocket: a connection of its own, or one that began with long polls and goes on here.
fn websocket(
    sockets: &Sockets,
    caller: Caller,
    standing: Standing,
    asked: &Asked,
    mut request: Request,
) -> Result<Response, ApiError> {
    let (response, connection) = upgrade::accept(&mut request)?;
    let mut opening = axum::http::Request::new(());
    *opening.uri_mut() = request.uri().clone();
    let whose = match &asked.id {
        Some(id) => Whose::Later(sockets.0.sessions.clone(), id.clone()),
        None => {
            let session = sockets.open(caller, standing, Origin::of(&request))?;
            opening.extensions_mut().insert(Arc::clone(&session));
            Whose::Known(session)
        }
    };
    let mut engine = sockets.0.engine.clone();
    tokio::spawn(async move {
        if let Some(io) = connection.established().await {
            // A refusal is a query that the library reads otherwise than this module: the connection is dropped.
            let _ = engine.call((Transport::new(io, whose), opening)).await;
        }
    });
    Ok(response)
}

impl Sockets {
    /// A new connection of this caller, if there is a place for one.
    pub(super) fn open(
        &self,
        caller: Caller,
        standing: Standing,
        origin: Origin,
    ) -> Result<Arc<Session>, ApiError> {
        if self.0.ending.has_come() {
            return Err(event_store::Error::Closed.into());
        }
        self.0.sessions.open(caller, standing, origin).ok_or_else(|| {
            metrics::counter!("http_requests_refused_total", "reason" => "sockets").increment(1);
            let message = "As many sockets are open as the service takes; try again in 5 s";
            ApiError::new(ErrorCode::RateLimited, message).retry_after(5)
        })
    }
}

/// What a request's query asks for.
#[derive(Debug, Default)]
struct Asked {
    websocket: bool,
    id: Option<String>,
    /// Whether the protocol's version is the one spoken here, and the id is one.
    well_formed: bool,
}

impl Asked {
    fn of(query: &str) -> Self {
        let value = |name: &str| query.split('&').find_map(|p| p.strip_prefix(name)?.strip_prefix('='));
        let id = value("sid");
        Self {
            websocket: value("transport") == Some("websocket"),
            id: id.map(str::to_owned),
            well_formed: value("EIO") == Some("4") && id.is_none_or(|id| id.parse::<Sid>().is_ok()),
        }
    }
}

/// What stands behind the library's service. Never asked: the router brings nothing there but the service's own path.
#[derive(Debug, Clone, Copy)]
pub(super) struct NotFound;

impl tower::Service<Request> for NotFound {
    type Response = Response;
    type Error = Infallible;
    type Future = Ready<Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request) -> Self::Future {
        ready(Ok(ApiError::new(ErrorCode::RouteNotFound, "There is nothing at this path").into_response()))
    }
}
