//! Socket.IO's own requests: handshakes, long polls, and the upgrade to a WebSocket.

use super::{
    Sockets,
    flow::MAX_PACKETS,
    session::{Comer, Session},
    transport::{Transport, Whose},
    upgrade,
};
use crate::{
    http::ApiError,
    limits::Full,
    security::{Caller, Standing},
};
use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{Method, StatusCode, header, response::Parts},
    response::{IntoResponse as _, Response},
};
use event_store::ErrorCode;
use futures::future::{Ready, ready};
use serde::Deserialize;
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

/// How often a client is pinged, and how long it may take to answer, and to say what it came for.
#[derive(Debug, Clone, Copy)]
pub struct Heartbeat {
    /// From ping to ping.
    pub interval: Duration,
    /// From a ping to its answer.
    pub timeout: Duration,
    /// From a handshake of Socket.IO to the connect to a namespace.
    pub connect: Duration,
}

impl Default for Heartbeat {
    /// Socket.IO's own; for the connect less, since it holds a place and says nothing.
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { interval: seconds(25), timeout: seconds(20), connect: seconds(20) }
    }
}

pub(super) fn build(heartbeat: Heartbeat) -> (Engine, SocketIo) {
    // Nothing here is said in binary.
    let parser = ParserConfig::common().max_incoming_binaries(1).max_incoming_binary_buf_size(MAX_INCOMING);
    SocketIoBuilder::new()
        .with_parser(parser)
        .ping_interval(heartbeat.interval)
        .ping_timeout(heartbeat.timeout)
        .connect_timeout(heartbeat.connect)
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
    let comer = Comer::of(&request, caller, standing);
    // The library would take up a handshake by itself, past the limits and the flow here.
    request.headers_mut().remove(header::SEC_WEBSOCKET_KEY);
    request.extensions_mut().clear();
    match (asked.id, request.method().clone()) {
        (None, Method::GET) => {
            let session = sockets.open(comer)?;
            request.extensions_mut().insert(Arc::clone(&session));
            opened(answer(&sockets, request).await?, &sockets, &session).await
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

/// The answer to the handshake of long polls, the connection known by the id that stands in it.
async fn opened(response: Response, sockets: &Sockets, session: &Arc<Session>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Open<'a> {
        sid: &'a str,
    }
    let (parts, body) = whole(response).await?;
    if let Some(open) = body.strip_prefix(b"0").and_then(|json| serde_json::from_slice::<Open<'_>>(json).ok())
    {
        sockets.0.sessions.register(open.sid, session);
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

/// The answer to a long poll, its messages counted as taken: the next poll comes only when it was read.
async fn counted(response: Response, session: &Session) -> Result<Response, ApiError> {
    let (parts, body) = whole(response).await?;
    let messages = body.split(|byte| *byte == SEPARATOR).filter(|packet| packet.starts_with(b"4")).count();
    session.flow.took(messages);
    Ok(Response::from_parts(parts, Body::from(body)))
}

/// An answer of the library's, which is in memory already: it makes it of what its queue holds.
async fn whole(response: Response) -> Result<(Parts, Bytes), ApiError> {
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX)
        .await
        .map_err(|e| ApiError::new(ErrorCode::InternalError, format!("a long poll's answer: {e}")))?;
    Ok((parts, body))
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
        Some(id) => {
            // It has no place of its own: one that began with long polls goes on over one WebSocket, and over no more. One
            // that is not known is let go by the library.
            if sockets.0.sessions.find(id).is_some_and(|session| !session.upgrade()) {
                let message = "This connection goes on over a WebSocket already";
                return Err(ApiError::new(ErrorCode::ValidationFailed, message));
            }
            Whose::Later(sockets.0.sessions.clone(), id.clone())
        }
        None => {
            let session = sockets.open(Comer::of(&request, caller, standing))?;
            opening.extensions_mut().insert(Arc::clone(&session));
            Whose::Known(session)
        }
    };
    let (sockets, upgraded) = (sockets.clone(), asked.id.clone());
    tokio::spawn(async move {
        if let Some(io) = connection.established().await {
            let (transport, ended) = Transport::watched(io, whose);
            // A refusal is a query that the library reads otherwise than this module: the connection is dropped.
            let _ = sockets.0.engine.clone().call((transport, opening)).await;
            if upgraded.is_some() {
                ended.await;
            }
        }
        if let Some(id) = upgraded {
            hang_up(&sockets, &id).await;
        }
    });
    Ok(response)
}

/// Ends a connection that was to go on over a WebSocket which is gone, where it did not come to that. The library would leave
/// it as it is, neither polled nor pinged any more, and its place with it.
async fn hang_up(sockets: &Sockets, id: &str) {
    let close = Request::post(format!("/socket.io/?EIO=4&transport=polling&sid={id}")).body(Body::from("1"));
    if let Ok(close) = close {
        // One that went on over the WebSocket ended with it, and there is nothing to close.
        let _ = answer(sockets, close).await;
    }
}

impl Sockets {
    /// A new connection, if there is a place for one.
    pub(super) fn open(&self, comer: Comer) -> Result<Arc<Session>, ApiError> {
        if self.0.ending.has_come() {
            return Err(event_store::Error::Closed.into());
        }
        self.0.sessions.open(comer).map_err(|full| {
            metrics::counter!("http_requests_refused_total", "reason" => "sockets").increment(1);
            ApiError::new(ErrorCode::RateLimited, no_place(full)).retry_after(5)
        })
    }
}

/// Why there is no place for a socket, and what to do.
pub(super) fn no_place(full: Full) -> String {
    const PROVE: &str = "say who you are (Authorization or x-api-key), or try again in 5 s";
    match full {
        Full::All => "As many sockets are open as the service takes; try again in 5 s".to_owned(),
        Full::Strangers(most) => {
            format!(
                "Callers who did not say who they are have {most} sockets open, as many as they may: {PROVE}"
            )
        }
        Full::Network(most) => format!(
            "Callers of your network who did not say who they are have {most} sockets open, as many as they may: {PROVE}"
        ),
        Full::Caller(most) => {
            format!(
                "You have {most} sockets open, as many as one caller may: close some, or try again in 5 s"
            )
        }
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
