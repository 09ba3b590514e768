//! One port, two protocols: HTTP/2 without TLS and HTTP/1.1, told apart by how a connection begins.

use crate::Face;
use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};
use tower::ServiceExt;

/// How long a connection may take to send a request's head.
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

/// Serves a face and, beside it, an HTTP router, until `shutdown` is done; then closes the face, takes no more
/// connections, and gives those that are busy `patience` to finish.
pub async fn serve(
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
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, mostly: the next one may fare better, but not at once.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        // Small answers are not to wait for large ones. It is only slower if it fails.
        let _ = stream.set_nodelay(true);
        let service = service
            .clone()
            .map_request(|r: axum::http::Request<hyper::body::Incoming>| r.map(axum::body::Body::new));
        let connection = builder
            .serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(service))
            .into_owned();
        let connection = graceful.watch(connection);
        connections.spawn(async move {
            let _held = permit;
            if let Err(error) = connection.await {
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
