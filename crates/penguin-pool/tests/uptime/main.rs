//! Uptime over real sockets: exact bodies on a history that was written before, and a service that watches itself.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod instances;
mod kurrentdb;

use event_store::{Clock, EventStore, ExpectedState, NewEvent, RandomIds, StreamName, contract::Model};
use models::{DateTime, MonitorStopped, ServiceState, ServiceStatusChanged, ServiceStatusMetadata};
use serde_json::{Value, json};
use std::sync::Arc;
use test_support::{Line, MockClock, SeededIds, TestService};
use uuid::Uuid;

const HOUR: i64 = 3_600_000;

/// A store in which `http` was up for an hour and a half, but for 36 s an hour ago; and a clock that stands at its end.
async fn with_history() -> (Arc<MockClock>, Model) {
    let clock = Arc::new(MockClock::new());
    let now = clock.now().millis();
    let model = Model::new(clock.clone(), Arc::new(SeededIds::new(1)));
    let stream = StreamName::new("service-uptime-http").unwrap();
    let mut words = Vec::new();
    let mut minute = now - HOUR * 3 / 2;
    while minute <= now {
        words.push((minute, ServiceState::Up, None));
        minute += 60_000;
    }
    let down = words.iter().position(|(at, ..)| *at == now - HOUR).unwrap();
    let error = ServiceStatusMetadata {
        error: Some("connection refused".into()),
        ..ServiceStatusMetadata::default()
    };
    words[down] = (now - HOUR, ServiceState::Down, Some(error));
    words.insert(down + 1, (now - HOUR + 36_000, ServiceState::Up, None));
    let events = words.into_iter().zip(1..).map(|((at, status, metadata), id)| {
        let event = ServiceStatusChanged {
            service_name: "http".into(),
            status,
            timestamp: DateTime::from_millis(at),
            observed_at: None,
            duration: None,
            metadata,
            event_id: Uuid::from_u128(id).to_string(),
        };
        NewEvent::json(Uuid::from_u128(id), ServiceStatusChanged::TYPE, json!(event).to_string())
    });
    model.append(&stream, ExpectedState::NoStream, events.collect()).await.unwrap();
    (clock, model)
}

async fn get(service: &TestService, path: &str) -> (u16, Value) {
    let response = service.get(path).send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap())
}

#[tokio::test]
async fn history_is_told_exactly() {
    let (clock, model) = with_history().await;
    let service = TestService::builder().clock(clock).store(Arc::new(model)).start().await;
    let now = "2024-01-15T10:30:00.000Z";
    let summary = json!({
        "serviceName": "http", "currentStatus": "up", "uptimePercentage": 99.333, "totalUptime": "1h 29m",
        "totalDowntime": "36s", "degradedDuration": 0, "lastStatusChange": "2024-01-15T09:30:36.000Z",
        "isCurrentlyUp": true, "coverage": 0.0625,
    });
    let unknown = |name: &str| {
        json!({
            "serviceName": name, "currentStatus": "unknown", "uptimePercentage": 0.0, "totalUptime": "0s",
            "totalDowntime": "0s", "degradedDuration": 0, "lastStatusChange": null, "isCurrentlyUp": false,
            "coverage": 0.0,
        })
    };
    let (status, body) = get(&service, "/api/uptime/summary").await;
    let services = [summary.clone(), unknown("websocket"), unknown("database")];
    assert_eq!((status, body), (200, json!({"timestamp": now, "period": "1 day", "services": services})));

    let (status, body) = get(&service, "/api/uptime/service/http?hours=24").await;
    assert_eq!((status, body), (200, json!({"timestamp": now, "period": "1 day", "service": summary})));

    let (status, body) = get(&service, "/api/uptime/service/http?hours=0.5").await;
    assert_eq!(
        (status, &body["period"], &body["service"]["coverage"]),
        (200, &json!("30 minutes"), &json!(1.0))
    );
    assert_eq!(body["service"]["uptimePercentage"], 100.0);

    let record = |id: u128, status: &str, timestamp: &str, duration: u64, metadata: Value| {
        json!({"id": Uuid::from_u128(id), "serviceName": "http", "status": status, "timestamp": timestamp,
            "duration": duration, "metadata": metadata})
    };
    let down = json!({"error": "connection refused"});
    let (status, body) = get(&service, "/api/uptime/timeline/http?hours=-1").await;
    let timeline = json!({
        "serviceName": "http", "totalUptime": 5_364_000, "totalDowntime": 36_000, "uptimePercentage": 99.333,
        "currentStatus": "up", "lastStatusChange": "2024-01-15T09:30:36.000Z",
        "timeline": [
            record(1, "up", "2024-01-15T09:00:00.000Z", 1_800_000, json!({})),
            record(31, "down", "2024-01-15T09:30:00.000Z", 36_000, down),
            record(32, "up", "2024-01-15T09:30:36.000Z", 3_564_000, json!({})),
        ],
        "startTime": "2024-01-15T09:00:00.000Z", "endTime": now, "coverage": 1.0,
    });
    assert_eq!((status, body), (200, json!({"timestamp": now, "period": "all time", "timeline": timeline})));

    let (status, body) = get(&service, "/api/uptime/incidents?hours=2").await;
    let incident = json!({
        "id": Uuid::from_u128(31), "serviceName": "http", "status": "down", "start": "2024-01-15T09:30:00.000Z",
        "end": "2024-01-15T09:30:36.000Z", "duration": 36_000, "cause": "connection refused",
    });
    let incidents = json!({"timestamp": now, "period": "2 hours", "incidents": [incident], "hasMore": false});
    assert_eq!((status, body), (200, incidents));

    let (status, body) = get(&service, "/api/uptime/status").await;
    let services = json!({"http": "up", "websocket": "unknown", "database": "unknown"});
    assert_eq!((status, body), (200, json!({"timestamp": now, "services": services})));

    let (status, body) = get(&service, "/api/uptime/stats").await;
    let stats = &body["stats"];
    assert_eq!((status, &stats["totalRecords"]), (200, &json!(92)));
    assert_eq!(stats["recordsPerService"], json!({"http": 92, "websocket": 0, "database": 0}));
    assert!(stats["memoryEstimate"].as_u64().unwrap() > 0);
    service.stop().await;
}

#[tokio::test]
async fn a_badge_is_an_svg_that_says_what_it_shows() {
    let (clock, model) = with_history().await;
    let service = TestService::builder().clock(clock).store(Arc::new(model)).start().await;
    let response = service.get("/api/uptime/badge/http.svg?hours=2").send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (200, &"image/svg+xml".parse().unwrap())
    );
    // A page that shows it is to show how things are now.
    assert_eq!(response.headers()["cache-control"], "no-cache, max-age=0");
    let badge = response.text().await.unwrap();
    assert!(badge.contains("<title>http: up, 99.333% uptime over 2 hours</title>"), "{badge}");
    assert!(badge.contains(r#"role="img" aria-label="http: up, 99.333% uptime over 2 hours""#), "{badge}");
    assert!(badge.starts_with("<svg xmlns=") && badge.ends_with("</svg>"));
    let (status, body) = get(&service, "/api/uptime/badge/http.png").await;
    assert_eq!((status, &body["type"]), (404, &json!("route-not-found")));
    let (status, body) = get(&service, "/api/uptime/badge/nothing.svg").await;
    assert_eq!((status, &body["type"]), (404, &json!("service-not-found")));
}

#[tokio::test]
async fn windows_and_services_that_make_no_sense_are_refused() {
    let service = TestService::start().await;
    for path in ["summary", "service/http", "timeline/http", "incidents", "badge/http.svg"] {
        for hours in ["0", "abc", "-2", "9000", "8760.1", "NaN", "inf", "-0.5", "", "24&hours=1"] {
            let (status, body) = get(&service, &format!("/api/uptime/{path}?hours={hours}")).await;
            assert_eq!((status, &body["type"]), (400, &json!("validation-failed")), "{path} {hours}: {body}");
            assert_eq!(body["details"][0]["path"], "hours", "{path} {hours}: {body}");
        }
        let (status, body) = get(&service, &format!("/api/uptime/{path}?days=1")).await;
        assert_eq!((status, &body["type"]), (400, &json!("validation-failed")), "{path}: {body}");
        let widest = service.get(&format!("/api/uptime/{path}?hours=8760")).send().await.unwrap();
        assert_eq!(widest.status(), 200);
    }
    for path in ["service/nothing", "timeline/nothing", "service/HTTP"] {
        let (status, body) = get(&service, &format!("/api/uptime/{path}")).await;
        assert_eq!((status, &body["type"]), (404, &json!("service-not-found")));
        assert_eq!(body["error"], "ServiceNotFoundError");
    }
    let response = service.get("/api/uptime/check").send().await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["allow"]), (405, &"POST".parse().unwrap()));
}

#[tokio::test]
async fn a_service_watches_itself_through_its_own_socket_and_says_when_it_stops() {
    let clock: Arc<dyn Clock> = Arc::new(event_store::SystemClock);
    let model = Model::new(Arc::clone(&clock), Arc::new(RandomIds));
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = closed.local_addr().unwrap();
    drop(closed);
    let service = TestService::builder()
        .store(Arc::new(model.clone()))
        .set("UPTIME_WATCH", "true")
        .set("UPTIME_SERVICES", format!("nobody=tcp://{nobody}, odd=http://{nobody}/#204"))
        .start()
        .await;

    let response = service.post("/api/uptime/check").send().await.unwrap();
    assert_eq!(response.status(), 200);
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["message"], "Manual status check completed");
    let result =
        |name: &str| body["results"].as_array().unwrap().iter().find(|r| r["service"] == name).unwrap();
    for name in ["http", "websocket", "database"] {
        // On a machine that is busy an answer may be late; it comes all the same.
        assert!(result(name)["status"] != "down" && result(name)["recorded"] == true, "{body}");
        assert!(result(name)["metadata"]["responseTime"].as_f64().unwrap() > 0.0);
    }
    for name in ["nobody", "odd"] {
        assert_eq!(result(name)["status"], "down", "{body}");
        assert!(result(name)["metadata"]["error"].as_str().unwrap().contains("refused"), "{body}");
    }
    // The first check of each was made at the start or is this one; a second makes two failures.
    service.post("/api/uptime/check").send().await.unwrap();
    let (_, body) = get(&service, "/api/uptime/status").await;
    assert_ne!(body["services"]["http"], "down", "{body}");
    assert_ne!(body["services"]["websocket"], "down", "{body}");
    assert_eq!(body["services"]["nobody"], "down", "{body}");

    let response = service.post("/api/uptime/create-streams").send().await.unwrap();
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["message"], "Stream creation completed");
    assert_eq!(
        body["results"][0],
        json!({"service": "http", "streamName": "service-uptime-http", "success": true,
            "streamId": "service-uptime-http"})
    );
    let (status, body) = get(&service, "/api/uptime/test-kurrentdb").await;
    assert_eq!((status, &body["message"]), (200, &json!("KurrentDB connection test completed")));
    assert_eq!(body["results"]["connection"], "success");

    // The stream is one as any other, and what it holds is what the contract says.
    let (_, body) = get(&service, "/api/streams/service-uptime-http/events").await;
    let events = body["data"]["events"].as_array().unwrap();
    assert_eq!(events[0]["type"], "StreamCreated");
    assert_eq!(events[0]["data"]["streamName"], "service-uptime-http");
    let said = &events[1];
    assert_eq!(
        (&said["type"], &said["data"]["serviceName"]),
        (&json!("ServiceStatusChanged"), &json!("http"))
    );
    assert_eq!(said["data"]["eventId"], said["id"]);
    assert_eq!(said["metadata"]["schemaVersion"], "1.0.0");

    service.stop().await;
    let stream = StreamName::new("service-uptime-http").unwrap();
    let reopened = model.read_stream(&stream, event_store::ReadStream::backwards(1)).await;
    assert!(reopened.is_err(), "the store was closed: {reopened:?}");
}

#[tokio::test]
async fn the_last_event_of_a_stopped_service_says_that_it_stopped() {
    let clock: Arc<dyn Clock> = Arc::new(event_store::SystemClock);
    let model = Model::new(Arc::clone(&clock), Arc::new(RandomIds));
    let service =
        TestService::builder().store(Arc::new(model.clone())).set("UPTIME_WATCH", "true").start().await;
    service.post("/api/uptime/check").send().await.unwrap();
    let stream = StreamName::new("service-uptime-http").unwrap();
    let follow = event_store::SubscribeStream::default();
    let mut events = model.subscribe_stream(&stream, follow).await.unwrap();
    let stopped = tokio::spawn(async move {
        use futures::StreamExt as _;
        while let Some(Ok(message)) = events.next().await {
            if let event_store::SubscriptionMessage::Event(event) = message {
                let event = event.event.unwrap();
                if event.event_type.as_str() == MonitorStopped::TYPE {
                    return serde_json::from_slice::<MonitorStopped>(&event.data).unwrap();
                }
            }
        }
        panic!("it did not say that it stopped");
    });
    service.stop().await;
    let stopped = stopped.await.unwrap();
    assert_eq!((stopped.service_name.as_str(), stopped.reason.as_str()), ("http", "shutdown"));
}

#[tokio::test]
async fn the_store_is_taken_away_under_a_running_service_and_brought_back() {
    let clock: Arc<dyn Clock> = Arc::new(event_store::SystemClock);
    let model = Model::new(clock, Arc::new(RandomIds));
    let line = Arc::new(Line::new(Arc::new(model.clone())));
    let service =
        TestService::builder().store(Arc::<Line>::clone(&line)).set("UPTIME_WATCH", "true").start().await;
    let check =
        async || -> Value { service.post("/api/uptime/check").send().await.unwrap().json().await.unwrap() };
    let database = |body: &Value| {
        body["results"].as_array().unwrap().iter().find(|r| r["service"] == "database").cloned().unwrap()
    };
    assert_eq!(database(&check().await)["recorded"], true);

    line.cut();
    for _ in 0..2 {
        let seen = database(&check().await);
        assert_eq!((&seen["status"], &seen["recorded"]), (&json!("down"), &json!(false)));
        assert_eq!(seen["metadata"]["error"], "write: the event store is unreachable: the line is cut");
    }
    // The service stays up, and tells what it sees.
    assert_eq!(service.get("/health").send().await.unwrap().status(), 200);
    let (_, body) = get(&service, "/api/uptime/status").await;
    assert_eq!(body["services"]["database"], "down");
    assert_ne!(body["services"]["http"], "down");
    let (_, body) = get(&service, "/api/uptime/incidents").await;
    let incident = body["incidents"]
        .as_array()
        .unwrap()
        .iter()
        .find(|i| i["status"] == "down" && i["serviceName"] == "database")
        .unwrap();
    assert_eq!(incident["end"], Value::Null);
    assert_eq!(incident["cause"], "write: the event store is unreachable: the line is cut");

    line.mend();
    // Recorded once all that waited is: what was seen while the store was away comes first.
    while database(&check().await)["recorded"] != true {}
    while get(&service, "/api/uptime/status").await.1["services"]["database"] != "up" {
        check().await;
    }
    let stream = StreamName::new("service-uptime-database").unwrap();
    let page = model.read_stream(&stream, event_store::ReadStream::forwards(100)).await.unwrap();
    let words = page
        .events
        .into_iter()
        .filter_map(|e| serde_json::from_slice::<ServiceStatusChanged>(&e.event.unwrap().data).ok());
    let mut states: Vec<_> =
        words.map(|w| w.status.as_str()).filter(|status| *status != "degraded").collect();
    states.dedup();
    assert_eq!(states, ["up", "down", "up"]);
    service.stop().await;
}
