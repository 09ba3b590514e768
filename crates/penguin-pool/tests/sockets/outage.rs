//! The store is taken away under a running service and brought back: whoever listens is told, the service stays up, and
//! everything goes on without a restart.

use crate::{
    changes::{Listener, check_until, get},
    client::Client,
};
use event_store::{
    Clock, EventStore, ExpectedState, IdSource as _, NewEvent, RandomIds, StreamName, SystemClock,
    contract::Model,
};
use serde_json::{Value, json};
use std::sync::Arc;
use test_support::{Line, TestService};

const CUT: &str = "the line is cut";

async fn append(store: &dyn EventStore, n: u64) {
    let event = NewEvent::json(RandomIds.next_id(), "Numbered", format!("{{\"n\":{n}}}"));
    store.append(&StreamName::new("loans-1").unwrap(), ExpectedState::Any, vec![event]).await.unwrap();
}

#[tokio::test]
async fn the_store_is_taken_away_under_a_running_service_and_brought_back() {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let model = Model::new(clock, Arc::new(RandomIds));
    let line = Arc::new(Line::new(Arc::new(model.clone())));
    let service =
        TestService::builder().store(Arc::<Line>::clone(&line)).set("UPTIME_WATCH", "true").start().await;
    let mut listeners = Listener::all(&service).await;
    for listener in &mut listeners {
        listener.until("health_status", |m| m["services"]["kurrentdb"] == "healthy").await;
    }
    check_until(&service, "database", "up").await;
    append(&model, 0).await;
    let address = service.service.address();
    let mut reader = Client::websocket(address, "/ws/streams").await;
    let answer = reader.ask("subscribe", json!({ "streamName": "loans-1", "from": 0 })).await;
    assert_eq!(answer["success"], true, "{answer}");
    assert_eq!(reader.expect("event").await["data"]["n"], 0);
    reader.expect("caught_up").await;

    line.cut();
    // Found out by looking at the store, before any check fails.
    for listener in &mut listeners {
        listener.until("health_status", |m| m["services"]["kurrentdb"] == "unhealthy").await;
    }
    let response = service.get("/health/kurrentdb").send().await.unwrap();
    assert_eq!(response.status(), 503);
    let database: Value = response.json().await.unwrap();
    assert_eq!(
        (&database["status"], &database["connectionStatus"], &database["checks"]["write"]),
        (&json!("unhealthy"), &json!("reconnecting"), &json!(false)),
    );
    assert!(database["errors"][0].as_str().unwrap().contains(CUT), "{database}");
    assert_eq!(service.get("/health/ready").send().await.unwrap().status(), 503);
    check_until(&service, "database", "down").await;
    for listener in &mut listeners {
        let change = listener.change("database", "down").await;
        assert!(change["metadata"]["error"].as_str().unwrap().contains(CUT), "{change}");
    }
    // A reader of streams is told where to go on.
    let error = reader.expect("subscription_error").await;
    assert_eq!((&error["type"], &error["resume"]), (&json!("connection-error"), &json!({ "after": 0 })));

    // The service stays up, and tells what it sees.
    assert_eq!(get(&service, "/health").await["status"], "healthy");
    let whole = get(&service, "/health/comprehensive").await;
    assert_eq!(whole["overallStatus"], "unhealthy");
    assert_ne!(whole["services"]["http"]["status"], "unhealthy");
    assert!(whole["services"]["kurrentdb"]["error"].as_str().unwrap().contains(CUT), "{whole}");
    assert_eq!(whole["watched"]["database"]["status"], "down");
    let summary = get(&service, "/api/uptime/service/database").await["service"].clone();
    assert_eq!((&summary["currentStatus"], &summary["isCurrentlyUp"]), (&json!("down"), &json!(false)));
    let statuses = get(&service, "/api/uptime/status").await;
    assert_eq!(statuses["services"]["database"], "down");
    assert!(
        statuses["services"]["http"] != "down" && statuses["services"]["websocket"] != "down",
        "{statuses}"
    );
    let refused = service.get("/api/streams/loans-1/events").send().await.unwrap();
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.json::<Value>().await.unwrap()["type"], "connection-error");

    line.mend();
    for listener in &mut listeners {
        // The share of failed operations keeps it degraded for a while, which is true.
        let well =
            |m: &Value| m["services"]["kurrentdb"] == "healthy" || m["services"]["kurrentdb"] == "degraded";
        listener.until("health_status", well).await;
    }
    check_until(&service, "database", "up").await;
    for listener in &mut listeners {
        listener.change("database", "up").await;
    }
    assert_eq!(service.get("/health/kurrentdb").send().await.unwrap().status(), 200);
    assert_eq!(service.get("/health/ready").send().await.unwrap().status(), 200);
    // What was told to the reader is where nothing is missed and nothing comes twice.
    append(&model, 1).await;
    let answer = reader.ask("subscribe", json!({ "streamName": "loans-1", "after": 0 })).await;
    assert_eq!(answer["success"], true, "{answer}");
    assert_eq!(reader.expect("event").await["data"]["n"], 1);

    // What is told afterwards is what happened: a downtime with its cause and its end, and nothing unknown in between.
    let timeline = get(&service, "/api/uptime/timeline/database?hours=-1").await["timeline"].clone();
    // A machine that is busy may have been slow in between.
    let mut states: Vec<_> = timeline["timeline"].as_array().unwrap().iter().map(|r| &r["status"]).collect();
    states.retain(|status| *status != "degraded");
    states.dedup();
    assert_eq!(states, ["up", "down", "up"]);
    assert!(timeline["totalDowntime"].as_u64().unwrap() > 0, "{timeline}");
    assert_ne!(timeline["uptimePercentage"], 100.0, "{timeline}");
    assert_eq!(timeline["coverage"], 1.0, "{timeline}");
    let incidents = get(&service, "/api/uptime/incidents").await["incidents"].clone();
    let down: Vec<_> = incidents.as_array().unwrap().iter().filter(|i| i["status"] == "down").collect();
    assert_eq!(down.len(), 1, "{incidents}");
    assert_eq!(down[0]["duration"], timeline["totalDowntime"]);
    assert!(down[0]["cause"].as_str().unwrap().contains(CUT), "{incidents}");
    drop(listeners);
    service.stop().await;
}
