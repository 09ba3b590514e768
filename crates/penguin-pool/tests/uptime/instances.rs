//! Two started services on one store: one records, the other tells the same.

use crate::get;
use event_store::{EventStore as _, ExpectedState, NewEvent, ReadStream, StreamName, contract::Model};
use models::{MonitorStopped, ServiceStatusChanged, StreamCreated};
use serde_json::Value;
use std::{collections::HashSet, net::SocketAddr, sync::Arc, time::Duration};
use test_support::{Line, MockClock, SeededIds, TestService};
use tokio::{net::TcpListener, time::timeout};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(30);

async fn start(model: &Model, clock: &Arc<MockClock>, shop: SocketAddr) -> TestService {
    TestService::builder()
        .clock(Arc::<MockClock>::clone(clock))
        .shared_store(Arc::new(Line::new(Arc::new(model.clone()))))
        .set("UPTIME_WATCH", "true")
        .set("UPTIME_SERVICES", format!("shop=tcp://{shop}"))
        .start()
        .await
}

/// Checks, and says whether what was seen of the shop was recorded.
async fn check(service: &TestService) -> bool {
    let body: Value = service.post("/api/uptime/check").send().await.unwrap().json().await.unwrap();
    let result = body["results"].as_array().unwrap().iter().find(|r| r["service"] == "shop").unwrap();
    result["recorded"].as_bool().unwrap()
}

async fn check_until_recorded(service: &TestService, recorded: bool) {
    timeout(PATIENCE, async { while check(service).await != recorded {} }).await.unwrap();
}

/// What every question about history is answered with.
async fn told(service: &TestService) -> Vec<Value> {
    let mut told = Vec::new();
    for path in ["summary", "timeline/shop?hours=-1", "timeline/http", "incidents", "status"] {
        let (status, body) = get(service, &format!("/api/uptime/{path}")).await;
        assert_eq!(status, 200, "{path}: {body}");
        told.push(body);
    }
    told
}

/// Waits until both tell the same: what one writes comes to the other a moment later.
async fn agree(one: &TestService, two: &TestService) -> Vec<Value> {
    let agreed = timeout(PATIENCE, async {
        loop {
            let (a, b) = (told(one).await, told(two).await);
            if a == b {
                return a;
            }
        }
    });
    agreed.await.unwrap()
}

async fn events(model: &Model) -> Vec<event_store::RecordedEvent> {
    let stream = StreamName::new("service-uptime-shop").unwrap();
    let page = model.read_stream(&stream, ReadStream::forwards(10_000)).await.unwrap();
    page.events.into_iter().map(|e| e.event.unwrap()).collect()
}

#[tokio::test]
async fn one_records_the_other_tells_the_same_and_nothing_is_doubled() {
    let clock = Arc::new(MockClock::new());
    let model = Model::new(clock.clone(), Arc::new(SeededIds::new(9)));
    let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let shop = open.local_addr().unwrap();
    let one = start(&model, &clock, shop).await;
    check_until_recorded(&one, true).await;
    let two = start(&model, &clock, shop).await;
    assert!(!check(&two).await, "the lease is the other's");
    // In all less than the lease's time: whether it is taken again meanwhile is up to the machine.
    const STEP: Duration = Duration::from_secs(5);
    clock.advance(STEP);
    check_until_recorded(&one, true).await;
    drop(open);
    for _ in 0..2 {
        clock.advance(STEP);
        // Both see it, and one records it.
        assert!(!check(&two).await);
        check_until_recorded(&one, true).await;
    }
    clock.advance(STEP);
    let same = agree(&one, &two).await;
    assert_eq!(same[4]["services"]["shop"], "down");
    assert_eq!(same[3]["incidents"].as_array().unwrap().len(), 1, "{}", same[3]);
    assert_eq!(same[3]["incidents"][0]["duration"], 10_000);

    // Who stops hands over at once: no clock moves here.
    one.stop().await;
    check_until_recorded(&two, true).await;
    clock.advance(STEP);
    check_until_recorded(&two, true).await;
    let three = start(&model, &clock, shop).await;
    assert!(!check(&three).await);
    agree(&two, &three).await;

    let events = events(&model).await;
    let count = |kind: &str| events.iter().filter(|e| e.event_type.as_str() == kind).count();
    assert_eq!((count(StreamCreated::TYPE), count(MonitorStopped::TYPE)), (1, 1));
    let words: Vec<ServiceStatusChanged> = events
        .iter()
        .filter(|e| e.event_type.as_str() == ServiceStatusChanged::TYPE)
        .map(|e| serde_json::from_slice(&e.data).unwrap())
        .collect();
    let ids: HashSet<_> = words.iter().map(|w| &w.event_id).collect();
    assert_eq!(ids.len(), words.len(), "a word was written twice");
    let changes = words.windows(2).filter(|pair| pair[0].status != pair[1].status).count();
    assert_eq!(changes, 1, "it went down once, whoever saw it: {words:?}");
    let seen: Vec<_> = words.iter().map(|w| w.observed_at.unwrap_or(w.timestamp).millis()).collect();
    assert!(seen.is_sorted(), "{seen:?}");
    two.stop().await;
    three.stop().await;
}

#[tokio::test]
async fn who_loses_the_lease_steps_down_at_once_and_tells_on() {
    let clock = Arc::new(MockClock::new());
    let model = Model::new(clock.clone(), Arc::new(SeededIds::new(9)));
    let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let one = start(&model, &clock, open.local_addr().unwrap()).await;
    check_until_recorded(&one, true).await;
    let taken = NewEvent::json(
        Uuid::from_u128(77),
        "UptimeLeaseTaken",
        r#"{"holder":"somebody else","duration":30000}"#,
    );
    let lease = StreamName::new("system-uptime-lease").unwrap();
    model.append(&lease, ExpectedState::Any, vec![taken]).await.unwrap();
    check_until_recorded(&one, false).await;
    let recorded = events(&model).await.len();
    for _ in 0..3 {
        clock.advance(Duration::from_secs(1));
        assert!(!check(&one).await);
    }
    assert_eq!(events(&model).await.len(), recorded, "it writes nothing any more");
    assert_eq!(told(&one).await[4]["services"]["shop"], "up", "it tells what is recorded");
    one.stop().await;
}
