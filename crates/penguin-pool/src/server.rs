//! The listener: binds, serves, and ends without cutting anybody off.

use crate::{
    config::{Host, Settings},
    ops::{Lifecycle, Phase},
};
use axum::{Router, body::Body, extract::ConnectInfo};
use hyper::{Request, body::Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulConnection, GracefulShutdown},
    },
};
use std::{error::Error, io, net::SocketAddr, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tower::Service as _;

/// How long a connection may take to send a request's head, and stay open without one.
const IDLE: Duration = Duration::from_secs(75);

/// Binds an address. A host name is looked up, and the first of its addresses that can be bound is taken.
///
/// # Errors
/// What the system answers for the last address tried: `AddrInUse`, `PermissionDenied`, `AddrNotAvailable`, …
pub async fn bind(host: &Host, port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((host.as_str(), port)).await
}

/// Where the service listens.
#[derive(Debug)]
pub struct Listeners {
    /// For everything.
    pub http: TcpListener,
    /// For sockets alone, where they have a port of their own.
    pub sockets: Option<TcpListener>,
}

impl Listeners {
    /// Binds what the settings ask for.
    ///
    /// # Errors
    /// The setting whose port cannot be bound, the port, and what the system answers.
    pub async fn bind(settings: &Settings) -> Result<Self, (&'static str, u16, io::Error)> {
        let bound = async |name, port| bind(&settings.host, port).await.map_err(|e| (name, port, e));
        let http = bound("HTTP_PORT", settings.http_port).await?;
        let apart = settings.ws_port == 0 || settings.ws_port != settings.http_port;
        let sockets = if apart { Some(bound("WS_PORT", settings.ws_port).await?) } else { None };
        Ok(Self { http, sockets })
    }
}

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Every request under way was answered.
    Clean,
    /// So many connections were still busy when the time was over, and were cut off.
    Cut(usize),
}

impl End {
    /// Both ends as one.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Clean, end) | (end, Self::Clean) => end,
            (Self::Cut(one), Self::Cut(another)) => Self::Cut(one + another),
        }
    }
}

/// Serves until the service drains; then takes no more connections, and gives those that are busy `patience` to finish.
pub async fn serve(listener: TcpListener, router: Router, lifecycle: Lifecycle, patience: Duration) -> End {
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut draining = Box::pin(lifecycle.reached(Phase::Draining));
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut draining => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection = graceful.watch(connection(stream, peer, router.clone()));
                connections.spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::trace!(%peer, %error, "a connection ended early");
                    }
                });
            }
            Err(error) => after_failed_accept(&error).await,
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    if tokio::time::timeout(patience, graceful.shutdown()).await.is_ok() {
        return End::Clean;
    }
    while connections.try_join_next().is_some() {}
    let cut = connections.len();
    connections.shutdown().await;
    End::Cut(cut)
}

fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
) -> impl GracefulConnection<Error = Box<dyn Error + Send + Sync>> + Send + 'static {
    // An answer is written at once; waiting for more to send with it would only delay it.
    let _ = stream.set_nodelay(true);
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().call(request.map(Body::new))
    });
    let mut server = auto::Builder::new(TokioExecutor::new()).http1_only();
    server.http1().timer(TokioTimer::new()).header_read_timeout(IDLE);
    // An upgraded connection is its socket's from then on, and no longer waited for here.
    server.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned()
}

/// A connection that was gone before it was taken is nobody's trouble. With no file descriptors left, waiting for some
/// to come free is all that can be done.
async fn after_failed_accept(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        tracing::error!(%error, "a connection could not be taken; trying again in 1 s");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
