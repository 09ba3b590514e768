//! `/kurrentdb/*` over a real socket: the embedded node's own answers.

#![expect(clippy::unwrap_used, reason = "a test's helpers may panic")]

use reqwest::{Method, Response};
use serde_json::Value;
use test_support::TestService;
use tokio::net::TcpListener;

#[tokio::test]
async fn the_nodes_own_answers_are_passed_back() {
    let service = TestService::start().await;
    let live = service.get("/kurrentdb/health/live").send().await.unwrap();
    assert_eq!(live.status(), 204);
    let info: Value = service.get("/kurrentdb/info").send().await.unwrap().json().await.unwrap();
    assert_eq!(info["state"], "leader");
    let gossip: Value = service.get("/kurrentdb/gossip").send().await.unwrap().json().await.unwrap();
    assert_eq!(gossip["members"][0]["httpEndPointPort"], service.service.address().port());
    let missing = service.get("/kurrentdb/streams/nobody").send().await.unwrap();
    assert_eq!(missing.status(), 404);
    assert!(missing.bytes().await.unwrap().is_empty(), "a node says an error by its status alone");
    let write = service.post("/kurrentdb/streams/nobody").body("[]").send().await.unwrap();
    assert_eq!(write.status(), 405, "the node's own refusal");
    assert!(write.bytes().await.unwrap().is_empty());
}

#[tokio::test]
async fn links_lead_through_the_service() {
    let service = TestService::start().await;
    service.get("/health/kurrentdb").send().await.unwrap();
    let page: Value = service
        .get("/kurrentdb/streams/system-health-check?embed=body")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(page["entries"][0]["eventType"], "HealthChecked");
    let id = page["entries"][0]["id"].as_str().unwrap();
    assert_eq!(id, format!("{}/kurrentdb/streams/system-health-check/0", service.url));
    let event: Value = service.client.get(id).send().await.unwrap().json().await.unwrap();
    assert_eq!(event["content"]["eventNumber"], 0);
}

#[tokio::test]
async fn other_methods_do_not_reach_the_node() {
    let service = TestService::start().await;
    let response =
        service.client.delete(format!("{}/kurrentdb/streams/x", service.url)).send().await.unwrap();
    assert_eq!(response.status(), 405);
    let allow = response.headers()["allow"].to_str().unwrap().to_owned();
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
    assert_eq!(response.json::<Value>().await.unwrap()["type"], "method-not-allowed");
}

/// A header of an answer; nothing if it is not there.
fn header(response: &Response, name: &str) -> String {
    response.headers().get(name).map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
}

const APP: &str = "https://app.example.org";

/// A service that other sites may call, and the URL of KurrentDB's own port.
async fn called_from_elsewhere(auth_mode: &str) -> (TestService, String) {
    let builder = TestService::builder().set("ALLOWED_ORIGINS", APP).set("AUTH_MODE", auth_mode);
    let mut service = builder.start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = service.service.serve_kurrentdb(listener).unwrap();
    (service, format!("http://{address}"))
}

#[tokio::test]
async fn listed_sites_may_read_the_node_on_its_own_port_and_others_may_not() {
    let (service, node) = called_from_elsewhere("off").await;
    for path in ["/info", "/gossip", "/streams/nobody"] {
        let read = async |origin: &str| {
            service.client.get(format!("{node}{path}")).header("origin", origin).send().await.unwrap()
        };
        let (listed, other) = (read(APP).await, read("https://evil.example.org").await);
        assert_eq!(header(&listed, "access-control-allow-origin"), APP, "{path}");
        assert_eq!(header(&listed, "access-control-allow-credentials"), "true", "{path}");
        assert!(header(&listed, "access-control-expose-headers").contains("etag"), "{path}");
        assert_eq!(header(&other, "access-control-allow-origin"), "", "{path}");
        // What a cache keeps for one site is not another's.
        assert!(header(&other, "vary").to_lowercase().contains("origin"), "{path}");
    }
}

#[tokio::test]
async fn a_preflight_is_answered_before_anybody_says_who_they_are() {
    let (service, node) = called_from_elsewhere("required").await;
    let ask = async |path: &str, origin: &str| {
        let request = service.client.request(Method::OPTIONS, format!("{node}{path}"));
        let request = request
            .header("origin", origin)
            .header("access-control-request-method", "GET")
            .header("access-control-request-headers", "authorization");
        request.send().await.unwrap()
    };
    let allowed = ask("/streams/loans", APP).await;
    assert_eq!(
        (allowed.status().as_u16(), header(&allowed, "access-control-allow-origin").as_str()),
        (200, APP)
    );
    assert!(header(&allowed, "access-control-allow-headers").contains("authorization"));
    assert!(header(&allowed, "access-control-allow-methods").contains("GET"));
    assert_eq!(header(&allowed, "allow"), "GET,HEAD");
    let other = ask("/streams/loans", "https://evil.example.org").await;
    assert_eq!(header(&other, "access-control-allow-origin"), "");
    assert_eq!(ask("/nowhere", APP).await.status(), 404);
    // The request itself is another matter, and a page may read why it was refused.
    let refused =
        service.client.get(format!("{node}/streams/loans")).header("origin", APP).send().await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), header(&refused, "access-control-allow-origin").as_str()),
        (401, APP)
    );
    let info =
        service.client.get(format!("{node}/info")).send().await.unwrap().json::<Value>().await.unwrap();
    assert_eq!(info["authentication"]["type"], "internal");
}
