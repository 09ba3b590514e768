//! The way of a request to the node, and of the answer back: what is meant for one of the two alone stays behind.

use super::remote::Remote;
use crate::{
    audit::{Audit, Deed},
    config::Server,
    security::{Caller, Denied, Duty, Gate, permission},
};
use axum::{
    Router,
    body::Body,
    http::{
        HeaderMap, HeaderName, HeaderValue, Request, Response, Uri, header, request::Parts, uri::PathAndQuery,
    },
};
use event_store::{Error, ErrorCode, StreamName};
use kurrentdb_protocol::http::StoreOf;
use percent_encoding::percent_decode_str;
use std::{borrow::Cow, time::Duration};
use tower::ServiceExt as _;

/// Where the node's interface begins in ours.
pub(super) const PREFIX: &str = "/kurrentdb";

/// Headers that speak of one connection, not of the request (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What the caller shows to this service, and is no business of the node's. `Accept-Encoding` stays too: compressing is
/// done once, on the way out.
const OURS: [HeaderName; 6] = [
    header::AUTHORIZATION,
    header::COOKIE,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-forwarded-for"),
    header::FORWARDED,
    header::ACCEPT_ENCODING,
];

/// Why a request was not passed on, or no answer came back.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NotPassed {
    /// The caller may not ask the node.
    #[error(transparent)]
    Denied(Denied),
    /// It cannot be passed on, or the node is away.
    #[error(transparent)]
    Store(#[from] Error),
}

/// The way to one node, in this process or elsewhere.
#[derive(Debug, Clone)]
pub struct Passage(Way);

#[derive(Debug, Clone)]
enum Way {
    Here { node: Router, gate: Gate },
    There { node: Remote, audit: Option<Audit> },
}

impl Passage {
    /// The way to a node in this process, whose store is behind this gate.
    #[must_use]
    pub const fn new(node: Router, gate: Gate) -> Self {
        Self(Way::Here { node, gate })
    }

    /// The way to a server's node. What is passed to it is written down here, if a trail is kept: it reads and writes past
    /// the store that does that.
    ///
    /// # Errors
    /// A sentence if what is said of its certificates cannot be used.
    pub fn to_server(server: &Server, time: Duration, audit: Option<Audit>) -> Result<Self, String> {
        Ok(Self(Way::There { node: Remote::new(server, time)?, audit }))
    }

    /// Passes a request of `caller` on, and the node's answer back, whatever it is. The node shows what that caller may see.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if what follows the prefix is no path. Of a server's node also [`Error::Unavailable`] if it
    /// is away, [`Error::Timeout`] if it does not begin to answer in time, [`Error::AppendTooLarge`] if the body is larger
    /// than bodies may be, and [`NotPassed::Denied`] for who does not administer this service: a server knows nothing of its
    /// callers.
    pub async fn pass(&self, caller: &Caller, request: Request<Body>) -> Result<Response<Body>, NotPassed> {
        let (mut parts, body) = request.into_parts();
        let rest = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let rest = rest.strip_prefix(PREFIX).unwrap_or(rest);
        let rest = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
        parts.uri =
            rest.parse::<Uri>().map_err(|e| Error::InvalidArgument(format!("'{rest}' is no path: {e}")))?;
        clean(&mut parts.headers);
        for name in OURS {
            parts.headers.remove(name);
        }
        // The node writes links: they are to lead through here again.
        let host = parts.headers.get(header::HOST).cloned();
        match host {
            Some(host) => _ = parts.headers.insert("x-forwarded-host", host),
            None => _ = parts.headers.remove("x-forwarded-host"),
        }
        parts.headers.insert("x-forwarded-prefix", HeaderValue::from_static(PREFIX));
        // What this service knows of the caller stays behind as well: the store that it may use is enough.
        parts.extensions.clear();
        let request = |parts| Request::from_parts(parts, body);
        let mut response = match &self.0 {
            Way::Here { node, gate } => {
                parts.extensions.insert(StoreOf(gate.bind(caller)));
                match node.clone().oneshot(request(parts)).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            }
            Way::There { node, audit } => {
                let deed = deed(caller, &parts);
                let pending = audit.as_ref().map(|audit| audit.begin(deed)).transpose()?;
                let answer = if permission::may(caller, Duty::AskNode) {
                    node.ask(request(parts)).await.map_err(NotPassed::Store)
                } else {
                    Err(NotPassed::Denied(Denied(Duty::AskNode)))
                };
                if let Some(pending) = pending {
                    pending.end(&outcome(&answer));
                }
                answer?
            }
        };
        clean(response.headers_mut());
        response.headers_mut().remove(header::SET_COOKIE);
        Ok(response)
    }
}

/// What is passed to a server's node, as the trail has it: method and path, and the stream that the path names.
fn deed(caller: &Caller, parts: &Parts) -> Deed {
    let path = parts.uri.path();
    let named = path.strip_prefix("/streams/").and_then(|rest| rest.split('/').next());
    let named = named.map(|name| percent_decode_str(name).decode_utf8_lossy().into_owned());
    let named = named.filter(|name| StreamName::new(name.clone()).is_ok());
    Deed::new(caller.id(), "ask-node", named.into_iter().collect()).about(&format!("{} {path}", parts.method))
}

/// What came of it: what the node answered counts.
fn outcome(answer: &Result<Response<Body>, NotPassed>) -> Cow<'static, str> {
    match answer {
        Ok(response) if response.status().is_client_error() || response.status().is_server_error() => {
            format!("http-{}", response.status().as_u16()).into()
        }
        Ok(_) => "ok".into(),
        Err(NotPassed::Denied(_)) => ErrorCode::PermissionDenied.slug().into(),
        Err(NotPassed::Store(error)) => error.code().slug().into(),
    }
}

/// Takes away what speaks of one connection: the known headers, and those that `Connection` names.
fn clean(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.into_iter().chain(named) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audit,
        config::{StoreUrl, Value as _},
    };
    use axum::routing::any;
    use event_store::contract::Model;
    use std::sync::Arc;
    use test_support::{MockClock, SeededIds};

    /// A node that says what came to it.
    fn mirror() -> Passage {
        let says = async |request: Request<Body>| {
            let headers = request.headers().iter().map(|(n, v)| format!("{n}={}", v.to_str().unwrap()));
            let headers: Vec<_> = headers.collect();
            let text = format!("{} {} {}", request.method(), request.uri(), headers.join(" "));
            ([("set-cookie", "node=1"), ("connection", "x-hop"), ("x-hop", "1"), ("x-kept", "1")], text)
        };
        let ids = Arc::new(SeededIds::new(1));
        let gate = Gate::new(Arc::new(Model::new(Arc::new(MockClock::new()), ids)));
        Passage::new(Router::new().fallback(any(says)), gate)
    }

    async fn passed(request: axum::http::request::Builder) -> (HeaderMap, String) {
        let response =
            mirror().pass(&Caller::anonymous(), request.body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
        (parts.headers, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn the_path_and_the_query_come_as_they_were_sent_and_lead_nowhere_else() {
        for (sent, comes) in [
            ("/kurrentdb/streams/a%2Fb?embed=body", "/streams/a%2Fb?embed=body"),
            ("/kurrentdb", "/"),
            ("/kurrentdb?x=1", "/?x=1"),
            ("/kurrentdb//evil.example.org/x", "//evil.example.org/x"),
            ("/kurrentdb/http://evil.example.org/", "/http://evil.example.org/"),
        ] {
            let (_, text) = passed(Request::get(sent)).await;
            assert!(text.starts_with(&format!("GET {comes} ")), "{sent}: {text}");
        }
    }

    #[tokio::test]
    async fn what_is_meant_for_this_service_or_one_connection_stays_behind() {
        let request = Request::post("/kurrentdb/x")
            .header("host", "pool.example.org")
            .header("authorization", "Basic c2VjcmV0")
            .header("cookie", "session=secret")
            .header("x-api-key", "secret")
            .header("connection", "keep-alive, x-mine")
            .header("x-mine", "1")
            .header("te", "trailers")
            .header("upgrade", "websocket")
            .header("x-forwarded-host", "evil.example.org")
            .header("accept", "application/json")
            .header("es-resolvelinktos", "false");
        let (headers, text) = passed(request).await;
        let mut came: Vec<_> = text.split(' ').skip(2).collect();
        came.sort_unstable();
        assert_eq!(
            came,
            [
                "accept=application/json",
                "es-resolvelinktos=false",
                "host=pool.example.org",
                "x-forwarded-host=pool.example.org",
                "x-forwarded-prefix=/kurrentdb",
            ]
        );
        assert_eq!(headers["x-kept"], "1");
        for gone in ["set-cookie", "connection", "x-hop"] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
    }

    #[tokio::test]
    async fn what_a_servers_node_is_asked_is_written_down_refused_or_not() {
        let (clock, ids) = (Arc::new(MockClock::new()), Arc::new(SeededIds::new(1)));
        let store: Arc<dyn event_store::EventStore> = Arc::new(Model::new(clock.clone(), ids.clone()));
        let trail = || {
            let store = Arc::clone(&store);
            Audit::begin_writing(audit::Parts { store, clock: clock.clone(), ids: ids.clone(), strict: true })
        };
        // Nobody listens there: the port was given back.
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let server = StoreUrl::parse(&format!("kurrentdb://{closed}?tls=false")).unwrap();
        let audit = trail();
        let time = Duration::from_secs(30);
        let passage =
            Passage::to_server(&Server::from_connection_string(&server), time, Some(audit.clone())).unwrap();
        let ask = || Request::get("/kurrentdb/streams/loan%2D1/0?secret=1").body(Body::empty()).unwrap();
        assert!(matches!(passage.pass(&Caller::anonymous(), ask()).await, Err(NotPassed::Denied(_))));
        assert!(matches!(
            passage.pass(&Caller::system(), ask()).await,
            Err(NotPassed::Store(Error::Unavailable(_)))
        ));
        audit.stop().await;
        let page = trail().page(&Caller::system(), serde_json::from_str("{}").unwrap()).await.unwrap();
        let told: Vec<_> = page.records.iter().map(|r| [&*r.caller, &*r.action, &*r.outcome]).collect();
        assert_eq!(
            told[..2],
            [["system", "ask-node", "connection-error"], ["anonymous", "ask-node", "permission-denied"]]
        );
        for record in &page.records[..2] {
            assert_eq!(record.streams, ["loan-1"]);
            assert_eq!(record.subject.as_deref(), Some("GET /streams/loan%2D1/0"));
        }
    }
}
