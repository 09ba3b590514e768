//! A node elsewhere: its HTTP interface, and nothing behind it.

use crate::{
    config::Server,
    http::{BODY_LIMIT, discard},
};
use axum::{
    body::{Body, HttpBody as _},
    http::{HeaderMap, Request, Response, header},
};
use event_store::{Error, Result};
use futures::{StreamExt as _, stream};
use reqwest::{Certificate, Client, redirect::Policy};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// How long connecting to it may take.
const CONNECTING: Duration = Duration::from_secs(5);
/// How long it may send nothing in the middle of an answer.
const SILENCE: Duration = Duration::from_secs(30);

/// The way to a node elsewhere.
#[derive(Debug, Clone)]
pub(super) struct Remote {
    client: Client,
    /// `http://host:port`
    node: String,
    time: Duration,
}

impl Remote {
    pub(super) fn new(server: &Server, time: Duration) -> std::result::Result<Self, String> {
        let builder = Client::builder()
            // Only this node: neither where it sends callers, nor a proxy that the environment names.
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(CONNECTING)
            .read_timeout(SILENCE)
            .danger_accept_invalid_certs(!server.verifies_cert());
        let builder = match server.ca_file() {
            Some(path) => {
                let pem = std::fs::read(path).map_err(|e| format!("KURRENTDB_URL: {path}: {e}"))?;
                let certificates =
                    Certificate::from_pem_bundle(&pem).map_err(|e| format!("KURRENTDB_URL: {path}: {e}"))?;
                certificates.into_iter().fold(builder, reqwest::ClientBuilder::add_root_certificate)
            }
            None => builder,
        };
        let client = builder.build().map_err(|e| format!("the client of KurrentDB's node: {e}"))?;
        Ok(Self { client, node: server.node().to_owned(), time })
    }

    /// Sends a request, and gives back the answer when it begins. Neither body is held: both are passed on as they come.
    pub(super) async fn ask(&self, request: Request<Body>) -> Result<Response<Body>> {
        let (mut parts, body) = request.into_parts();
        let size = body.size_hint().lower();
        let too_large = |size: usize| Error::AppendTooLarge { size, limit: BODY_LIMIT };
        if size > BODY_LIMIT as u64 {
            discard(&parts.headers, body);
            return Err(too_large(usize::try_from(size).unwrap_or(usize::MAX)));
        }
        parts.headers.remove(header::HOST);
        parts.headers.remove(header::EXPECT);
        let sent = Arc::new(AtomicUsize::new(0));
        let asked = self
            .client
            .request(parts.method, format!("{}{}", self.node, parts.uri))
            .headers(parts.headers)
            .body(counted(body, Arc::clone(&sent)));
        let answer = match tokio::time::timeout(self.time, asked.send()).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) if sent.load(Ordering::Relaxed) > BODY_LIMIT => {
                return Err(too_large(sent.load(Ordering::Relaxed)));
            }
            Ok(Err(error)) if error.is_timeout() => {
                return Err(Error::Timeout("KurrentDB's node is silent".into()));
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "KurrentDB's node cannot be reached");
                return Err(Error::Unavailable("KurrentDB's node cannot be reached".into()));
            }
            Err(_) => {
                let message = format!("KurrentDB's node did not answer within {} ms", self.time.as_millis());
                return Err(Error::Timeout(message));
            }
        };
        Ok(Response::<reqwest::Body>::from(answer).map(Body::new))
    }
}

/// A body that ends with an error when it becomes larger than bodies may be. What comes after that is read and forgotten:
/// a sender whose connection is cut in the middle of a body often never sees the answer.
fn counted(body: Body, sent: Arc<AtomicUsize>) -> reqwest::Body {
    if body.is_end_stream() {
        return reqwest::Body::default();
    }
    let chunks = stream::unfold(Some(body.into_data_stream()), move |chunks| {
        let sent = Arc::clone(&sent);
        async move {
            let mut chunks = chunks?;
            let chunk = match chunks.next().await? {
                Ok(chunk) => chunk,
                Err(error) => return Some((Err(io::Error::other(error)), None)),
            };
            let before = sent.fetch_add(chunk.len(), Ordering::Relaxed);
            if before + chunk.len() > BODY_LIMIT {
                discard(&HeaderMap::new(), Body::from_stream(chunks));
                return Some((Err(io::Error::other("the body is too large")), None));
            }
            Some((Ok(chunk), Some(chunks)))
        }
    });
    reqwest::Body::wrap_stream(chunks)
}
