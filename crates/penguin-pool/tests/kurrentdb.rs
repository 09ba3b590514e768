//! `/kurrentdb/*` over a real socket: the embedded node's own answers.

use serde_json::Value;
use test_support::TestService;

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
