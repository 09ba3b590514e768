//! A KurrentDB node is watched by its own protocol: here the one that the service speaks itself.

use crate::get;
use serde_json::Value;
use std::time::Duration;
use test_support::TestService;
use tokio::{net::TcpListener, time::timeout};

#[tokio::test]
async fn a_kurrentdb_node_is_watched_by_grpc() {
    let mut node = TestService::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = node.service.serve_kurrentdb(listener).unwrap();
    let service = TestService::builder()
        .set("UPTIME_WATCH", "true")
        .set(
            "UPTIME_SERVICES",
            format!(
                "store=kurrentdb://{address}?tls=false, found=esdb+discover://{address}?tls=false, api={url}",
                url = node.url
            ),
        )
        .start()
        .await;
    let check =
        async || -> Value { service.post("/api/uptime/check").send().await.unwrap().json().await.unwrap() };
    let of = |body: &Value, name: &str| {
        body["results"].as_array().unwrap().iter().find(|r| r["service"] == name).unwrap().clone()
    };
    let body = check().await;
    for name in ["store", "found"] {
        assert_ne!(of(&body, name)["status"], "down", "{body}");
        assert!(of(&body, name)["metadata"]["responseTime"].as_f64().unwrap() > 0.0, "{body}");
    }
    // The same host answers, and not as a KurrentDB node.
    assert_eq!(of(&body, "api")["status"], "down", "nothing is at the root of the API: {body}");

    node.stop().await;
    let down = timeout(Duration::from_secs(30), async {
        loop {
            let body = check().await;
            let (_, known) = get(&service, "/api/uptime/status").await;
            if known["services"]["store"] == "down" && known["services"]["found"] == "down" {
                return body;
            }
        }
    });
    let body = down.await.unwrap();
    let error = of(&body, "store")["metadata"]["error"].clone();
    assert!(error.as_str().unwrap().contains("refused"), "{body}");
    service.stop().await;
}
