//! Health and status: what is answered, and that it was really measured.

#![expect(clippy::unwrap_used, reason = "a test's helpers may panic")]

use event_store::{EventStore, ReadStream, StreamName, contract::Model};
use penguin_pool::ops::Phase;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use test_support::{Line, MockClock, SeededIds, TestService};

async fn json(service: &TestService, path: &str) -> (u16, Value) {
    let response = service.get(path).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

fn model(clock: &Arc<MockClock>) -> Arc<Model> {
    Arc::new(Model::new(Arc::<MockClock>::clone(clock), Arc::new(SeededIds::new(1))))
}

async fn probes(store: &Model) -> u64 {
    let stream = StreamName::new("system-health-check").unwrap();
    store.read_stream(&stream, ReadStream::backwards(1)).await.unwrap().last_revision + 1
}

#[tokio::test]
async fn health_says_that_the_process_lives_whatever_the_credentials() {
    let clock = Arc::new(MockClock::new());
    let service = TestService::builder()
        .clock(clock.clone())
        .set("KURRENTDB_URL", "http://me:hush@localhost:2113")
        .start()
        .await;
    clock.advance(Duration::from_secs(90));
    let response =
        service.get("/health").header("authorization", "Basic bm9ib2R5Ondyb25n").send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.json::<Value>().await.unwrap(),
        json!({
            "status": "healthy",
            "timestamp": "2024-01-15T10:31:30.000Z",
            "service": "penguin-pool",
            "kurrentdb_url": "http://localhost:2113",
            "version": env!("CARGO_PKG_VERSION"),
            "environment": "test",
            "uptime": 90_000,
        })
    );
    assert_eq!(
        json(&service, "/health/live").await,
        (200, json!({"status": "ok", "timestamp": "2024-01-15T10:31:30.000Z"}))
    );
}

#[tokio::test]
async fn status_says_what_runs() {
    let service = TestService::builder().clock(Arc::new(MockClock::new())).start().await;
    let (status, body) = json(&service, "/api/status").await;
    assert_eq!(status, 200);
    assert_eq!(
        body,
        json!({
            "status": "running",
            "timestamp": "2024-01-15T10:30:00.000Z",
            "service": "penguin-pool",
            "kurrentdb_url": "http://localhost:2113",
            "version": env!("CARGO_PKG_VERSION"),
            "environment": "test",
            "backend": "embedded",
            "uptime": 0,
        })
    );
}

#[tokio::test]
async fn the_store_is_read_and_written_at_most_once_in_five_seconds() {
    let clock = Arc::new(MockClock::new());
    let store = model(&clock);
    let service = TestService::builder().clock(clock.clone()).store(store.clone()).start().await;
    let (status, body) = json(&service, "/health/kurrentdb").await;
    assert_eq!(status, 200);
    assert_eq!(
        body,
        json!({
            "status": "healthy",
            "connected": true,
            "connectionStatus": "connected",
            "timestamp": "2024-01-15T10:30:00.000Z",
            "responseTime": 0.0,
            "performanceGrade": "excellent",
            "thresholds": {"excellent": 50, "good": 100, "acceptable": 500},
            "checks": {"connection": true, "authentication": true, "read": true, "write": true, "sync": true},
            "errors": [],
            "errorRate": 0.0,
            // By the service's clock, which stands still.
            "latency": {"p50": 0.0, "p99": 0.0},
            "backend": "embedded",
        })
    );
    assert_eq!(probes(&store).await, 1);
    clock.advance(Duration::from_millis(4_999));
    let asked = futures::future::join_all((0..20).map(|_| json(&service, "/health/kurrentdb"))).await;
    assert!(asked.iter().all(|(_, again)| *again == body), "the answer is shared");
    assert_eq!(probes(&store).await, 1);
    clock.advance(Duration::from_millis(1));
    futures::future::join_all((0..20).map(|_| json(&service, "/health/comprehensive"))).await;
    assert_eq!(probes(&store).await, 2, "callers that come at once share one check");
    let readable = StreamName::new("connection-test").unwrap();
    assert_eq!(store.read_stream(&readable, ReadStream::forwards(9)).await.unwrap().events.len(), 1);
}

#[tokio::test]
async fn the_probes_streams_are_kept_short_and_to_the_system() {
    let clock = Arc::new(MockClock::new());
    let store = model(&clock);
    let service = TestService::builder().clock(clock.clone()).store(store.clone()).start().await;
    for _ in 0..15 {
        json(&service, "/health/kurrentdb").await;
        clock.advance(Duration::from_secs(5));
    }
    let stream = StreamName::new("system-health-check").unwrap();
    let info = store.stream_info(&stream).await.unwrap();
    assert_eq!((info.events, info.last_revision), (10, 14));
    let metadata = store.metadata(&stream).await.unwrap();
    assert_eq!(metadata.revision, Some(0), "set once");
    assert_eq!(metadata.metadata.acl.unwrap().read.unwrap(), ["$admins"]);
    // Another service on the same store leaves them as they are.
    let again = TestService::builder().clock(clock.clone()).store(store.clone()).start().await;
    json(&again, "/health/kurrentdb").await;
    assert_eq!(store.metadata(&stream).await.unwrap().revision, Some(0));
}

#[tokio::test]
async fn a_store_that_is_gone_is_unhealthy_everywhere() {
    let clock = Arc::new(MockClock::new());
    let store = model(&clock);
    let service = TestService::builder().clock(clock.clone()).store(store.clone()).start().await;
    store.close().await.unwrap();
    let (status, body) = json(&service, "/health/kurrentdb").await;
    assert_eq!(status, 503);
    assert_eq!(body["status"], "unhealthy");
    assert_eq!(body["connected"], false);
    assert_eq!(body["connectionStatus"], "disconnected");
    assert_eq!(body["performanceGrade"], "disconnected");
    assert_eq!(body["checks"]["write"], false);
    assert_eq!(body["errors"].as_array().unwrap().len(), 2, "{body}");
    assert!(body["errorRate"].as_f64().unwrap() > 0.0);
    let (status, ready) = json(&service, "/health/ready").await;
    assert_eq!((status, &ready["status"]), (503, &json!("error")));
    assert_eq!(ready["error"]["eventStoreWrite"]["status"], "down");
    let (status, whole) = json(&service, "/health/comprehensive").await;
    assert_eq!((status, &whole["overallStatus"]), (200, &json!("unhealthy")));
    assert_eq!(whole["services"]["kurrentdb"]["connected"], false);
    assert_eq!(json(&service, "/health").await.0, 200, "the process lives all the same");
}

#[tokio::test]
async fn a_store_that_answers_well_again_is_well_again_whatever_it_did_before() {
    let clock = Arc::new(MockClock::new());
    let line = Arc::new(Line::new(model(&clock)));
    let service = TestService::builder().clock(clock.clone()).store(line.clone()).start().await;
    line.cut();
    for _ in 0..3 {
        clock.advance(Duration::from_secs(5));
        assert_eq!(json(&service, "/health/kurrentdb").await.1["status"], "unhealthy");
    }
    line.mend();
    clock.advance(Duration::from_secs(5));
    let (status, body) = json(&service, "/health/kurrentdb").await;
    assert_eq!((status, &body["status"]), (200, &json!("degraded")), "it failed only just: {body}");
    clock.advance(Duration::from_secs(40));
    // The read models come back by the real time: a few checks may still find them behind.
    let mut body = Value::Null;
    for _ in 0..40 {
        body = json(&service, "/health/kurrentdb").await.1;
        if body["status"] == "healthy" {
            break;
        }
        clock.advance(Duration::from_secs(5));
    }
    assert_eq!(body["status"], "healthy", "{body}");
    assert!(body["errorRate"].as_f64().unwrap() > 0.05, "what was is still told: {body}");
}

#[tokio::test]
async fn everything_together_is_measured() {
    let service = TestService::builder().clock(Arc::new(MockClock::new())).start().await;
    let (status, body) = json(&service, "/health/comprehensive").await;
    assert_eq!(status, 200);
    assert_eq!(body["overallStatus"], "healthy");
    let services = &body["services"];
    assert_eq!(services["http"]["status"], "healthy");
    assert_eq!(services["http"]["port"], service.service.address().port());
    assert!(services["http"]["memory"]["rss"].as_u64().unwrap() > 1 << 20);
    let port = service.service.sockets_address().port();
    assert_eq!(
        services["websocket"],
        json!({
            "status": "healthy", "responseTime": 0.0, "performanceGrade": "excellent", "port": port, "connections": 0,
        })
    );
    assert_eq!(services["http"]["performanceGrade"], "excellent");
    // Nobody watches here, and nothing is made of that.
    assert_eq!(
        body["watched"],
        json!({"http": {"status": "unknown"}, "websocket": {"status": "unknown"}, "database": {"status": "unknown"}})
    );
    assert_eq!(services["kurrentdb"]["status"], "healthy");
    assert_eq!(services["kurrentdb"]["url"], "http://localhost:2113");
    assert!(services["kurrentdb"].get("error").is_none());
}

#[tokio::test]
async fn sockets_that_take_nobody_are_degraded_and_a_service_that_stops_is_too() {
    let service = TestService::builder().set("MAX_SOCKETS", 0).start().await;
    let (_, body) = json(&service, "/health/comprehensive").await;
    assert_eq!(body["services"]["websocket"]["status"], "degraded", "{body}");
    assert_eq!(body["services"]["websocket"]["error"], "all places are taken: who comes now is refused");
    assert_ne!(body["services"]["http"]["status"], "unhealthy", "{body}");
    assert_eq!(body["overallStatus"], "degraded", "the worst decides");
    service.service.lifecycle().advance(Phase::Leaving);
    let (_, body) = json(&service, "/health/comprehensive").await;
    assert_eq!(body["services"]["http"]["status"], "degraded", "{body}");
}

#[tokio::test]
async fn readiness_fails_as_soon_as_the_service_is_told_to_stop() {
    let service = TestService::start().await;
    let (status, body) = json(&service, "/health/ready").await;
    assert_eq!((status, &body["status"]), (200, &json!("ok")));
    assert_eq!(body["info"], body["details"]);
    assert_eq!(body["error"], json!({}));
    service.service.lifecycle().advance(Phase::Leaving);
    let (status, body) = json(&service, "/health/ready").await;
    assert_eq!((status, &body["status"]), (503, &json!("shutting_down")));
    assert_eq!(json(&service, "/api/status").await.0, 200, "everything else goes on");
}
