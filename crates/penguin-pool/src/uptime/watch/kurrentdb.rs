//! The check of a KurrentDB node: a call of its gossip by gRPC, which says whether the cluster has a leader.

use super::{check::Check, network::root};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use kurrentdb_protocol::grpc::proto::event_store::client::gossip::{ClusterInfo, member_info::State};
use prost::Message as _;
use reqwest::{
    Response,
    header::{CONTENT_TYPE, HeaderValue, TE},
};

/// What is called. Every node answers it, without credentials too.
const METHOD: &str = "/event_store.client.gossip.Gossip/Read";
/// A message without fields, in gRPC's frame: not compressed, no bytes long.
const EMPTY: &[u8] = &[0; 5];
/// The longest answer that is read: a cluster has a handful of members.
const LONGEST: usize = 64 << 10;
/// How much of a node's own words is shown.
const SHOWN: usize = 200;

/// Asks a node how its cluster is. Well is one in which somebody alive leads: only then can events be written.
#[derive(Debug)]
pub(in crate::uptime) struct KurrentDbCheck {
    client: reqwest::Client,
    url: String,
}

impl KurrentDbCheck {
    /// Of the node at a URL without a path. `verify` as in [`crate::uptime::target::Kind::KurrentDb`].
    ///
    /// # Errors
    /// A sentence if no client can be made.
    pub(in crate::uptime) fn new(url: &str, verify: bool) -> Result<Self, String> {
        // gRPC is spoken over HTTP/2 alone, and without TLS nobody could agree on it.
        let client = super::network::builder(true)
            .http2_prior_knowledge()
            .danger_accept_invalid_certs(!verify)
            .build()
            .map_err(|e| format!("no HTTP client can be made: {e}"))?;
        Ok(Self { client, url: format!("{url}{METHOD}") })
    }
}

#[async_trait::async_trait]
impl Check for KurrentDbCheck {
    async fn check(&self) -> Result<(), String> {
        let call =
            self.client.post(&self.url).header(CONTENT_TYPE, "application/grpc").header(TE, "trailers");
        let response = call.body(EMPTY).send().await.map_err(|e| root(&e))?;
        leader(&message(response).await?)
    }
}

/// The one message that a call was answered with.
async fn message(response: Response) -> Result<Bytes, String> {
    let (head, body) = axum::http::Response::<reqwest::Body>::from(response).into_parts();
    if !head.status.is_success() {
        return Err(format!("answered {} and no gRPC", head.status.as_u16()));
    }
    let body =
        Limited::new(body, LONGEST).collect().await.map_err(|e| format!("the answer broke off: {e}"))?;
    // A refusal stands in the head, the end of an answer behind its body.
    let ends = [Some(&head.headers), body.trailers()];
    match ends.into_iter().flatten().find_map(|headers| headers.get("grpc-status").map(|s| (s, headers))) {
        None => return Err("the answer is no gRPC: it has no grpc-status".to_owned()),
        Some((status, _)) if status == "0" => {}
        Some((status, headers)) => {
            let text = |value: &HeaderValue| value.to_str().unwrap_or("?").chars().take(SHOWN).collect();
            let why: String = headers.get("grpc-message").map_or_else(|| "no reason given".to_owned(), text);
            return Err(format!("the call ended with status {}: {why}", text(status)));
        }
    }
    let framed = body.to_bytes();
    match framed.split_first_chunk::<5>() {
        Some(([0, length @ ..], rest)) if usize::try_from(u32::from_be_bytes(*length)) == Ok(rest.len()) => {
            Ok(framed.slice(5..))
        }
        _ => Err("the answer is no message of gRPC".to_owned()),
    }
}

/// Whether a cluster has a leader that lives.
fn leader(gossip: &[u8]) -> Result<(), String> {
    let cluster = ClusterInfo::decode(gossip).map_err(|e| format!("the answer is no gossip: {e}"))?;
    let alive: Vec<_> = cluster.members.iter().filter(|member| member.is_alive).collect();
    if alive.iter().any(|member| member.state() == State::Leader) {
        return Ok(());
    }
    Err(format!("nobody leads the cluster: {} of {} members are alive", alive.len(), cluster.members.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Router, http::StatusCode, response::IntoResponse};
    use hyper_util::{
        rt::{TokioExecutor, TokioIo},
        server::conn::auto,
        service::TowerToHyperService,
    };
    use kurrentdb_protocol::grpc::proto::event_store::client::gossip::MemberInfo;
    use tokio::net::TcpListener;

    /// What a check comes to whose node answers so.
    async fn answered(response: impl IntoResponse + Clone + Send + Sync + 'static) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(move || std::future::ready(response.clone()));
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(router);
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
        KurrentDbCheck::new(&url, true).unwrap().check().await
    }

    fn framed(members: &[(State, bool)]) -> Vec<u8> {
        let member = |&(state, is_alive): &(State, bool)| MemberInfo {
            state: state.into(),
            is_alive,
            ..MemberInfo::default()
        };
        let gossip = ClusterInfo { members: members.iter().map(member).collect() }.encode_to_vec();
        let mut framed = vec![0];
        framed.extend(u32::try_from(gossip.len()).unwrap().to_be_bytes());
        framed.extend(gossip);
        framed
    }

    const WELL: [(&str, &str); 1] = [("grpc-status", "0")];

    #[tokio::test]
    async fn a_cluster_is_well_if_somebody_alive_leads_it() {
        use State::{Initializing, Leader};
        let answer = async |members: &[(State, bool)]| answered((WELL, framed(members))).await;
        assert_eq!(answer(&[(Leader, true)]).await, Ok(()));
        assert_eq!(answer(&[(Initializing, true), (Leader, true), (Initializing, false)]).await, Ok(()));
        let nobody = answer(&[(Initializing, true), (Leader, false)]).await;
        assert_eq!(nobody, Err("nobody leads the cluster: 1 of 2 members are alive".to_owned()));
    }

    #[tokio::test]
    async fn whatever_else_is_answered_is_a_failure_that_says_what() {
        let refused = [("grpc-status", "16"), ("grpc-message", "who are you")];
        assert_eq!(answered(refused).await, Err("the call ended with status 16: who are you".to_owned()));
        for (answer, why) in [
            (answered(StatusCode::NOT_FOUND).await, "answered 404 and no gRPC"),
            (answered("hello").await, "no grpc-status"),
            (answered((WELL, "hello")).await, "no message of gRPC"),
            (answered((WELL, vec![0, 0, 0, 0, 9, 1])).await, "no message of gRPC"),
            (answered((WELL, vec![0, 0, 0, 0, 2, 255, 255])).await, "no gossip"),
            (answered((WELL, vec![0; LONGEST + 1])).await, "broke off"),
        ] {
            let error = answer.unwrap_err();
            assert!(error.contains(why), "{why}: {error}");
        }
    }

    #[tokio::test]
    async fn what_does_not_speak_http_2_or_is_not_there_is_a_failure() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let check = KurrentDbCheck::new(&url, true).unwrap();
        let old = tokio::spawn(async move { axum::serve(listener, Router::new()).await });
        check.check().await.unwrap_err();
        old.abort();
        let _ = old.await;
        let error = check.check().await.unwrap_err();
        assert!(error.contains("refused"), "{error}");
    }
}
