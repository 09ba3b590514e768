//! One port, two protocols: HTTP/2 and HTTP/1.1, told apart by how a connection begins. Whether they are spoken in plain is
//! for whoever serves them to say ([`Wires`]).

mod opening;

use crate::Face;
use axum::{
    Router,
    extract::ConnectInfo,
    http::{HeaderName, HeaderValue, Request, header},
};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use opening::Opening;
use std::{error::Error, fmt, future::Future, io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tower::ServiceExt;

/// How long a connection may take to say what it speaks, and to send a request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a quiet HTTP/2 connection is asked whether it lives, and how long it may take to say so.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How many calls one connection runs at once, and how much of each may be under way unread.
const STREAMS_PER_CONNECTION: u32 = 1_000;
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// Every call under way was answered.
    Finished,
    /// So many connections were still busy when the time was over, and were cut off.
    Cut(usize),
}

/// A connection as it is spoken over.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// What a connection becomes before anything is said over it: one by TLS, say.
#[async_trait::async_trait]
pub trait Wires: Send + Sync + fmt::Debug + 'static {
    /// Whether a connection from there is taken at all, and if it is, what is held for as long as it lasts.
    fn admit(&self, _peer: SocketAddr) -> Option<Box<dyn Send>> {
        Some(Box::new(()))
    }

    /// Takes up a connection. Others are taken up meanwhile; how long it may take is its own to limit.
    ///
    /// # Errors
    /// Why the connection is of no use.
    async fn take(&self, stream: TcpStream) -> io::Result<Box<dyn Wire>>;

    /// Whether nobody between can read what is said: links then lead to `https`.
    fn are_secret(&self) -> bool;
}

/// Connections as they are.
#[derive(Debug)]
struct Plain;

#[async_trait::async_trait]
impl Wires for Plain {
    async fn take(&self, stream: TcpStream) -> io::Result<Box<dyn Wire>> {
        // Small answers are not to wait for large ones. It is only slower if it fails.
        let _ = stream.set_nodelay(true);
        Ok(Box::new(stream))
    }

    fn are_secret(&self) -> bool {
        false
    }
}

/// As [`serve_over`], in plain.
pub async fn serve(
    listener: TcpListener,
    face: Face,
    http: Router,
    patience: Duration,
    shutdown: impl Future<Output = ()>,
) -> Served {
    serve_over(Arc::new(Plain), listener, face, http, patience, shutdown).await
}

/// Serves a face and, beside it, an HTTP router, until `shutdown` is done; then closes the face, takes no more
/// connections, and gives those that are busy `patience` to finish. Requests know their peer by axum's [`ConnectInfo`].
pub async fn serve_over(
    wires: Arc<dyn Wires>,
    listener: TcpListener,
    face: Face,
    http: Router,
    patience: Duration,
    shutdown: impl Future<Output = ()>,
) -> Served {
    let service = face.router(http);
    let permits = Arc::new(Semaphore::new(face.node.options.limits.connections.min(Semaphore::MAX_PERMITS)));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            () = &mut shutdown => break,
            accepted = accepted => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, mostly: the next one may fare better, but not at once.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        // One that is not is hung up on: nothing was said yet.
        let Some(admitted) = wires.admit(peer) else { continue };
        let (wires, builder, watcher) = (Arc::clone(&wires), builder.clone(), graceful.watcher());
        let secret = wires.are_secret();
        let service = service.clone().map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            complete(&mut request, secret);
            request.map(axum::body::Body::new)
        });
        let mut closing = face.node.closing.subscribe();
        connections.spawn(async move {
            let _held = (permit, admitted);
            let wire = tokio::select! {
                biased;
                wire = wires.take(stream) => wire,
                // Nothing was asked yet.
                _ = closing.wait_for(|closing| *closing) => return,
            };
            let ended: Result<(), Box<dyn Error + Send + Sync>> = match wire {
                Ok(wire) => {
                    let wire = TokioIo::new(Opening::new(wire, HEADER_TIMEOUT));
                    let service = TowerToHyperService::new(service);
                    let connection = builder.serve_connection_with_upgrades(wire, service).into_owned();
                    watcher.watch(connection).await
                }
                Err(error) => Err(error.into()),
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended with an error");
            }
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    face.close();
    if tokio::time::timeout(patience, graceful.shutdown()).await.is_ok() {
        return Served::Finished;
    }
    while connections.try_join_next().is_some() {}
    let cut = connections.len();
    connections.shutdown().await;
    Served::Cut(cut)
}

/// Says in headers what else only the connection knows: the host that was asked, which HTTP/2 says elsewhere, and that it was
/// asked by TLS, as a proxy in front would.
fn complete<B>(request: &mut Request<B>, secret: bool) {
    const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
    let asked = request.uri().authority().and_then(|asked| HeaderValue::try_from(asked.as_str()).ok());
    let headers = request.headers_mut();
    if let Some(asked) = asked {
        headers.entry(header::HOST).or_insert(asked);
    }
    if secret {
        headers.entry(PROTO).or_insert(HeaderValue::from_static("https"));
    }
}
