//! KurrentDB's protocol on a port of its own, over the store of this process.

use super::{trail, users::Managed};
use crate::{
    audit::Origin,
    config::{Config, EventStoreKind, Host, Origins, Proxies},
    ops::{
        Calls, Limiter, headers,
        rate_limit::{self, caller, caller_behind},
    },
    security::{self, Admitted, Caller, Gate, Identity, Refused, Standing},
    server::{self, Crowd, Spoken, Tls},
};
use axum::{
    extract::{ConnectInfo, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
};
use event_store::{Capabilities, Clock, ErrorCode, IdSource, StreamName};
use kurrentdb_protocol::{
    Credentials, Denial, Entry, Face, FaceOptions, Limits, Refusal, Served, Users, Visitor, Wire, Wires, http,
};
use secrecy::ExposeSecret as _;
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

/// What is said to whoever speaks in plain where TLS is on.
const NOT_IN_PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
    connection: close\r\ncontent-length: 55\r\n\r\nThis port speaks TLS: connect with tls=true, or https.\n";

/// Where the protocol is to be served, by the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// On this host and port.
    At(Host, u16),
    /// Nowhere: `KURRENTDB_PORT` is off, or the store is not in this process.
    Off,
}

/// Where the settings want the protocol to be served.
#[must_use]
pub fn wanted(config: &Config) -> Wanted {
    let settings = &config.settings;
    match settings.kurrentdb_port.0 {
        Some(port) if settings.event_store == EventStoreKind::Embedded => {
            Wanted::At(settings.kurrentdb_listen.clone().unwrap_or_else(|| settings.host.clone()), port)
        }
        _ => Wanted::Off,
    }
}

/// What the protocol is served with.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The way to the store.
    pub gate: Gate,
    /// Finds out who calls; without it everybody is the service itself: an insecure node, as KurrentDB calls it.
    pub identity: Option<Identity>,
    /// How many credentials of an address may be refused; as many as it likes without.
    pub limiter: Option<Limiter>,
    /// How often whoever is known may call; as often as they like without.
    pub calls: Option<Calls>,
    /// What share of the connections a network may have; all of them without.
    pub crowd: Option<Crowd>,
    /// The proxies that are believed when they say for whom they ask.
    pub proxies: Proxies,
    /// What is spoken over its connections; in plain without.
    pub tls: Option<Tls>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes ids.
    pub ids: Arc<dyn IdSource>,
    /// The web origins whose pages may read the node's HTTP interface.
    pub origins: Origins,
    /// How long calls may take to finish when it stops.
    pub patience: Duration,
}

/// What connections are taken up with.
#[derive(Debug)]
struct Taken {
    tls: Option<Tls>,
    crowd: Option<Crowd>,
}

#[async_trait::async_trait]
impl Wires for Taken {
    fn admit(&self, peer: SocketAddr) -> Option<Box<dyn Send>> {
        match &self.crowd {
            Some(crowd) => crowd.admit(peer.ip()).map(|place| Box::new(place) as Box<dyn Send>),
            None => Some(Box::new(())),
        }
    }

    async fn take(&self, stream: TcpStream) -> io::Result<Box<dyn Wire>> {
        let wire = server::take(stream, self.tls.as_ref(), Spoken::Node, || NOT_IN_PLAIN.into()).await?;
        Ok(Box::new(wire))
    }

    fn are_secret(&self) -> bool {
        self.tls.is_some()
    }
}

/// Lets in whom identity knows.
#[derive(Debug)]
struct Entrance {
    gate: Gate,
    identity: Option<Identity>,
    limiter: Option<Limiter>,
    calls: Option<Calls>,
    proxies: Proxies,
}

impl Entrance {
    /// Who makes a call with these credentials, from there.
    async fn admit(&self, credentials: &Credentials, from: Option<IpAddr>) -> Result<Admitted, Refused> {
        self.admit_within(self.limiter.as_ref(), self.calls.as_ref(), credentials, from).await
    }

    /// The same with a limit for the refused, and one for calls.
    async fn admit_within(
        &self,
        limiter: Option<&Limiter>,
        calls: Option<&Calls>,
        credentials: &Credentials,
        from: Option<IpAddr>,
    ) -> Result<Admitted, Refused> {
        let Some(identity) = &self.identity else {
            return Ok(Admitted { caller: Caller::system(), standing: Standing::lasting() });
        };
        let admitted = rate_limit::admit_call(identity, limiter, calls, &understood(credentials), from).await;
        let admitted = admitted.inspect_err(|refused| {
            if let Refused::Store(error) = refused {
                tracing::warn!(%error, "nobody can be told apart now");
            }
        })?;
        if admitted.caller.is_known() {
            return Ok(admitted);
        }
        Err(Refused::Credentials("Say who you are: send a login name and a password".to_owned()))
    }
}

/// A refusal as clients of KurrentDB know it: they know the code by itself, but not when to come again.
fn denial(refused: &Refused) -> Denial {
    let code = refused.code();
    Denial { code, message: (code == ErrorCode::RateLimited).then(|| refused.to_string()) }
}

/// The node's HTTP interface for whoever may see it. What clients ask before they say who they are is told to
/// everybody.
async fn show(State(entrance): State<Arc<Entrance>>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
    let from = peer.map(|peer| caller(peer, request.headers(), &entrance.proxies));
    if !matches!(request.uri().path(), "/health/live" | "/info" | "/ping" | "/gossip") {
        let header = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        match entrance.admit(&Credentials::from_header(header), from).await {
            Ok(Admitted { caller, .. }) => {
                _ = request.extensions_mut().insert(http::StoreOf(entrance.gate.bind_at(&caller, from)));
            }
            Err(refused) => return refusal(&refused),
        }
    }
    Origin::at(from).around(next.run(request)).await
}

/// A refusal as the node's HTTP interface says it: by its status alone, and what to do about it in a header.
fn refusal(refused: &Refused) -> Response {
    let code = refused.code();
    let status = StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = status.into_response();
    if code == ErrorCode::AuthenticationFailed {
        let challenge = HeaderValue::from_static(r#"Basic realm="KurrentDB""#);
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    if let Some(seconds) = refused.retry_after() {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

#[async_trait::async_trait]
impl kurrentdb_protocol::Gate for Entrance {
    async fn enter(&self, visitor: &Visitor) -> Result<Entry, Denial> {
        let from = from(visitor, &self.proxies);
        let admitted = self.admit(&visitor.credentials, from).await;
        let Admitted { caller, standing } = admitted.map_err(|refused| denial(&refused))?;
        Ok(Entry {
            store: self.gate.bind_at(&caller, from),
            rights: self.gate.bind_to_ask(&caller),
            trail: trail::of(self.gate.audit(), &caller, Origin::at(from)),
            lost: Box::pin(standing.lost()),
        })
    }

    async fn may_read(&self, visitor: &Visitor, stream: &StreamName) -> Result<(), Refusal> {
        // Who asks was let in before: what others at their address guess does not end what they follow, and a batch of theirs
        // is no call.
        let from = from(visitor, &self.proxies);
        let admitted = self.admit_within(None, None, &visitor.credentials, from).await;
        let Admitted { caller, .. } = admitted.map_err(|refused| Refusal::Entrance(denial(&refused)))?;
        // A group reads the stream whole, whoever its consumers are.
        let right = self.gate.require_whole(&caller, stream);
        Origin::at(from).around(right).await.map_err(Refusal::Store)
    }

    fn capabilities(&self) -> Capabilities {
        self.gate.bind(&Caller::system()).capabilities()
    }
}

/// Where a visitor comes from.
pub(super) fn from(visitor: &Visitor, proxies: &Proxies) -> Option<IpAddr> {
    visitor.peer.map(|peer| caller_behind(peer, &visitor.forwarded_for, proxies))
}

/// The same credentials, in the service's words.
pub(super) fn understood(credentials: &Credentials) -> security::Credentials {
    match credentials {
        Credentials::Anonymous => security::Credentials::None,
        Credentials::Basic { user, password } => security::Credentials::basic(user, password.expose_secret())
            .unwrap_or(security::Credentials::Unreadable),
        // An API key may stand where a token does: clients of KurrentDB have no other place for one.
        Credentials::Bearer(token) => security::Credentials::token(token.expose_secret()),
        Credentials::Unreadable => security::Credentials::Unreadable,
    }
}

/// The protocol, being served.
#[derive(Debug)]
pub struct Listening {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Served>,
}

impl Listening {
    /// Serves the protocol on a listener, gRPC and the node's HTTP interface.
    ///
    /// # Errors
    /// If the listener has no address.
    pub fn start(listener: TcpListener, parts: Parts) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let node = http::router(http::Node {
            store: parts.gate.bind(&Caller::system()),
            clock: Arc::clone(&parts.clock),
            host: address.ip().to_string(),
            port: address.port(),
            started: parts.clock.now(),
            accounts: parts.identity.as_ref().is_some_and(Identity::is_required),
        });
        let own = Some(parts.gate.bind(&Caller::system()));
        let Parts { identity, limiter, calls, proxies, .. } = parts;
        let managed = |identity| {
            let (limiter, calls, proxies) = (limiter.clone(), calls.clone(), proxies.clone());
            Arc::new(Managed { identity, limiter, calls, proxies }) as Arc<dyn Users>
        };
        let users = identity.clone().map(managed);
        let entrance = Arc::new(Entrance { gate: parts.gate, identity, limiter, calls, proxies });
        // A browser's preflight brings no credentials, and which methods there are is told to everybody.
        let known = node.clone();
        let node = node
            .layer(from_fn_with_state(Arc::clone(&entrance), show))
            .layer(headers::cors(&parts.origins))
            .layer(from_fn_with_state(known, headers::options));
        let options = FaceOptions {
            own,
            users,
            limits: Limits::default(),
            ..FaceOptions::new(entrance, parts.clock, parts.ids)
        };
        let (stop, stopped) = oneshot::channel();
        let told = async {
            // A stop that is dropped is a stop.
            let _ = stopped.await;
        };
        let wires = Arc::new(Taken { tls: parts.tls, crowd: parts.crowd });
        let face = Face::new(options);
        let serving = kurrentdb_protocol::serve_over(wires, listener, face, node, parts.patience, told);
        Ok(Self { address, stop, served: tokio::spawn(serving) })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops: subscriptions end, calls finish. How many connections had to be cut off.
    ///
    /// # Errors
    /// A sentence if serving failed.
    pub async fn stop(self) -> Result<usize, String> {
        // If nobody hears it, it has stopped.
        let _ = self.stop.send(());
        match self.served.await {
            Ok(Served::Finished) => Ok(0),
            Ok(Served::Cut(connections)) => Ok(connections),
            Err(failed) => Err(format!("KurrentDB's protocol failed: {failed}")),
        }
    }
}
