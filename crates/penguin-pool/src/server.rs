//! The listener: binds, serves, and ends without cutting anybody off.

mod crowd;
mod refused;
mod stalled;
mod tls;
mod wire;

pub use crowd::Crowd;
pub use tls::{LOOK_EVERY, Spoken, Tls};
pub(crate) use wire::{Wire, take};

use crate::{
    config::{Host, Settings},
    http::Context,
    ops::{Lifecycle, Phase},
};
use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{HeaderName, HeaderValue},
};
use hyper::{Request, body::Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulConnection, GracefulShutdown},
    },
};
use refused::{Refused, not_in_plain};
use std::{error::Error, io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};
use tower::Service as _;

/// How long a connection may take to send a request's head, and stay open without one.
const IDLE: Duration = Duration::from_secs(75);
/// How many HTTP connections a listener serves at one time. Those beyond wait in the system's queue until others end; a
/// connection that became a socket is counted by the sockets' own limits instead.
pub const MOST_CONNECTIONS: usize = 10_000;

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
    /// What is spoken over all of them, and over KurrentDB's protocol's as well; in plain without.
    pub tls: Option<Tls>,
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
        Ok(Self { http, sockets, tls: None })
    }

    /// The same, spoken over by TLS if there is one.
    #[must_use]
    pub fn with_tls(self, tls: Option<Tls>) -> Self {
        Self { tls, ..self }
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
/// What cannot be read as a request is answered with an id and a time of the context's; a connection that `crowd` does not
/// admit is hung up on.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    router: Router,
    context: Context,
    crowd: Option<Crowd>,
    lifecycle: Lifecycle,
    patience: Duration,
) -> End {
    let serving = Serving { tls, router, context };
    serve_at_most(MOST_CONNECTIONS, listener, serving, crowd, lifecycle, patience).await
}

/// What a connection is served with.
#[derive(Debug, Clone)]
struct Serving {
    tls: Option<Tls>,
    router: Router,
    context: Context,
}

async fn serve_at_most(
    most: usize,
    listener: TcpListener,
    serving: Serving,
    crowd: Option<Crowd>,
    lifecycle: Lifecycle,
    patience: Duration,
) -> End {
    let places = Arc::new(Semaphore::new(most));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut draining = Box::pin(lifecycle.reached(Phase::Draining));
    loop {
        let place_and_accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            biased;
            () = &mut draining => break,
            both = place_and_accepted => both,
        };
        match accepted {
            Ok((stream, peer)) => {
                let own = crowd.as_ref().map(|crowd| crowd.admit(peer.ip()));
                if matches!(own, Some(None)) {
                    continue;
                }
                let (serving, watcher) = (serving.clone(), graceful.watcher());
                let draining = lifecycle.reached(Phase::Draining);
                connections.spawn(async move {
                    let _places = (place, own);
                    let Serving { tls, context, .. } = &serving;
                    let taken = take(stream, tls.as_ref(), Spoken::Http, || not_in_plain(context));
                    let wire = tokio::select! {
                        biased;
                        wire = taken => wire,
                        // Nobody asked anything yet.
                        () = draining => return,
                    };
                    let ended = match wire {
                        Ok(wire) => watcher.watch(connection(wire, peer, serving)).await,
                        Err(error) => Err(error.into()),
                    };
                    if let Err(error) = ended {
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
    wire: Wire,
    peer: SocketAddr,
    Serving { tls, router, context }: Serving,
) -> impl GracefulConnection<Error = Box<dyn Error + Send + Sync>> + Send + 'static {
    let secret = tls.is_some();
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        if secret {
            came_by_tls(&mut request);
        }
        router.clone().call(request.map(Body::new))
    });
    let mut server = auto::Builder::new(TokioExecutor::new()).http1_only();
    server.http1().timer(TokioTimer::new()).header_read_timeout(IDLE);
    // An upgraded connection is its socket's from then on, and no longer waited for here.
    let stream = Refused::new(wire, context);
    server.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned()
}

/// Says of a request that it came by TLS, as a proxy before the service would, unless one did: links lead where the caller
/// came from.
fn came_by_tls<B>(request: &mut Request<B>) {
    const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
    request.headers_mut().entry(PROTO).or_insert(HeaderValue::from_static("https"));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Proxies, limits::Shares};
    use test_support::MockClock;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    const GENEROUS: Duration = Duration::from_secs(30);

    async fn ask(address: SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n").await.unwrap();
        stream
    }

    async fn answered(stream: &mut TcpStream) {
        let mut start = [0; 12];
        tokio::time::timeout(GENEROUS, stream.read_exact(&mut start)).await.unwrap().unwrap();
        assert_eq!(&start, b"HTTP/1.1 200");
    }

    #[tokio::test]
    async fn a_network_beyond_its_share_is_hung_up_on_until_one_ends() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", axum::routing::get(|| async { "here" }));
        let context =
            Context { clock: Arc::new(MockClock::new()), ids: Arc::new(test_support::SeededIds::new(1)) };
        let serving = Serving { tls: None, router, context };
        let crowd = Crowd::of(Shares::of_connections(4), Proxies::default());
        let serving = serve_at_most(4, listener, serving, Some(crowd), Lifecycle::new(), GENEROUS);
        let serving = tokio::spawn(serving);
        let mut first = ask(address).await;
        answered(&mut first).await;
        let mut second = TcpStream::connect(address).await.unwrap();
        let gone = tokio::time::timeout(GENEROUS, second.read(&mut [0])).await.unwrap();
        assert!(matches!(gone, Ok(0) | Err(_)), "{gone:?}");
        drop(first);
        let again = async {
            loop {
                let mut third = ask(address).await;
                if third.read_u8().await.is_ok() {
                    return;
                }
            }
        };
        tokio::time::timeout(GENEROUS, again).await.expect("a place comes back");
        serving.abort();
    }

    #[tokio::test]
    async fn a_connection_beyond_the_most_waits_for_another_to_end() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", axum::routing::get(|| async { "here" }));
        let lifecycle = Lifecycle::new();
        let context =
            Context { clock: Arc::new(MockClock::new()), ids: Arc::new(test_support::SeededIds::new(1)) };
        let serving = Serving { tls: None, router, context };
        let serving = tokio::spawn(serve_at_most(1, listener, serving, None, lifecycle.clone(), GENEROUS));
        let mut first = ask(address).await;
        answered(&mut first).await;
        let mut second = ask(address).await;
        let soon = tokio::time::timeout(Duration::from_millis(200), second.readable()).await;
        assert!(soon.is_err(), "it was served while the first was open");
        drop(first);
        answered(&mut second).await;
        drop(second);
        // Whoever waits for a place does not keep the service from ending.
        lifecycle.advance(Phase::Draining);
        assert_eq!(tokio::time::timeout(GENEROUS, serving).await.unwrap().unwrap(), End::Clean);
    }
}
