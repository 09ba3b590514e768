//! The server is away when the service starts.

use crate::support::{Node, eventually, get, post, service};
use serde_json::json;
use test_support::Proxy;

#[tokio::test(flavor = "multi_thread")]
async fn the_service_starts_without_its_server_and_finds_it_when_it_comes() {
    let directory = tempfile::tempdir().unwrap();
    // A port where nobody listens any more.
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let wire = Proxy::to(nobody).await.unwrap();
    let service = service(&wire).await;

    assert_eq!(get(&service, "/health").await.0, 200, "the process lives");
    let health = eventually(&service, "/health/kurrentdb", |status, body| {
        status == 503 && body["connectionStatus"] == "reconnecting"
    })
    .await;
    assert_eq!((&health["status"], &health["connected"]), (&json!("unhealthy"), &json!(false)));
    assert_eq!(
        (&health["backend"], &health["performanceGrade"]),
        (&json!("kurrentdb"), &json!("disconnected"))
    );
    assert_eq!(get(&service, "/health/ready").await.0, 503);
    let (status, refused) = get(&service, "/api/streams/loans/events").await;
    assert_eq!((status, &refused["type"]), (503, &json!("connection-error")), "{refused}");
    let (status, refused) = post(&service, "/api/streams/loans/events", crate::support::event(0)).await;
    assert_eq!((status, &refused["type"]), (503, &json!("connection-error")), "{refused}");
    let (status, refused) = get(&service, "/kurrentdb/info").await;
    assert_eq!((status, &refused["type"]), (503, &json!("connection-error")), "{refused}");

    let node = Node::start(directory.path()).await;
    wire.lead_to(node.address);
    eventually(&service, "/health/ready", |status, _| status == 200).await;
    // Degraded while the failures are recent, or this machine slow.
    let health = eventually(&service, "/health/kurrentdb", |status, body| {
        status == 200 && body["errors"] == json!([])
    })
    .await;
    assert_eq!(health["connectionStatus"], "connected");
    assert_eq!(post(&service, "/api/streams/loans/events", crate::support::event(0)).await.0, 201);
    // The catalogue found it as well.
    eventually(&service, "/api/streams/browse?prefix=loans", |_, body| body["data"]["total"] == 1).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_never_found_its_server_stops_in_order() {
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let wire = Proxy::to(nobody).await.unwrap();
    let service = service(&wire).await;
    tokio::time::timeout(crate::support::PATIENCE, service.stop()).await.expect("an end");
}
