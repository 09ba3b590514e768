//! A start reads the newest snapshot and the words after it, and comes to the same as from the beginning.

use super::bed::*;
use event_store::{EventStore as _, ExpectedState, NewEvent, ReadFrom, ReadStream, Revision, StreamName};
use models::{DateTime, Hours, ServiceState, ServiceStatusChanged, ServiceTimeline};
use serde_json::json;
use std::sync::Arc;
use uuid::Uuid;

const SNAPSHOTS: &str = "system-uptime-history-web";

async fn snapshots(model: &event_store::contract::Model) -> Vec<serde_json::Value> {
    match model.read_stream(&StreamName::new(SNAPSHOTS).unwrap(), ReadStream::forwards(100)).await {
        Ok(page) => {
            page.events.into_iter().map(|e| serde_json::from_slice(&e.event.unwrap().data).unwrap()).collect()
        }
        Err(_) => Vec::new(),
    }
}

/// A record of `words` minutes before the test began, with an outage in it.
async fn recorded(model: &event_store::contract::Model, words: i64) {
    let events = (0..words).map(|n| {
        let status = if n % 500 == 7 { ServiceState::Down } else { ServiceState::Up };
        let id = Uuid::from_u64_pair(7, n.unsigned_abs());
        let event = ServiceStatusChanged {
            service_name: "web".into(),
            status,
            timestamp: DateTime::from_millis(EPOCH - (words - n) * 60_000),
            observed_at: None,
            duration: None,
            metadata: None,
            event_id: id.to_string(),
        };
        NewEvent::json(id, ServiceStatusChanged::TYPE, json!(event).to_string())
    });
    let stream = StreamName::new("service-uptime-web").unwrap();
    model.append(&stream, ExpectedState::Any, events.collect()).await.unwrap();
}

async fn told(instance: &Instance) -> ServiceTimeline {
    instance.uptime.timeline("web", Hours::ALL).await.unwrap()
}

fn followed_from(instance: &Instance) -> ReadFrom<Revision> {
    let followed = instance.line.followed();
    followed.iter().find(|(stream, _)| stream.as_str() == "service-uptime-web").unwrap().1
}

#[tokio::test(start_paused = true)]
async fn a_start_goes_on_from_the_newest_snapshot_and_tells_the_same() {
    let clock = clock();
    let model = model(&clock);
    recorded(&model, 2_500).await;
    let one = instance(&model, &clock, 1, true);
    pass(70).await;
    assert_eq!(followed_from(&one), ReadFrom::Start);
    let kept = snapshots(&model).await;
    assert_eq!(kept.len(), 1, "enough was read for a snapshot to be worth its while");
    let before = told(&one).await;
    assert_eq!(before.timeline.timeline.len(), 11, "five outages, and what lies around them");
    one.crash();

    let two = instance(&model, &clock, 2, true);
    let after = told(&two).await;
    assert_eq!(followed_from(&two), ReadFrom::Past(kept[0]["revision"].as_u64().unwrap()));
    assert_eq!(after, before);
    let statistics = two.uptime.statistics().stats.total_records;
    assert_eq!(statistics, said(&model).await.len() as u64);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_does_not_fit_is_passed_over() {
    let clock = clock();
    let model = model(&clock);
    recorded(&model, 2_500).await;
    let one = instance(&model, &clock, 1, true);
    pass(70).await;
    let before = told(&one).await;
    one.crash();
    let good = snapshots(&model).await.remove(0);
    let snapshots = StreamName::new(SNAPSHOTS).unwrap();
    let mut others =
        vec![json!({}), json!({"revision": 3, "eventId": Uuid::nil(), "history": good["history"]})];
    for (key, value) in
        [("revision", json!(1_000_000)), ("eventId", json!(Uuid::nil())), ("history", json!([]))]
    {
        let mut other = good.clone();
        other[key] = value;
        others.push(other);
    }
    for (other, seed) in others.into_iter().zip(10..) {
        let event = NewEvent::json(Uuid::from_u64_pair(8, seed), "UptimeHistoryKept", other.to_string());
        model.append(&snapshots, ExpectedState::Any, vec![event]).await.unwrap();
        let two = instance(&model, &clock, seed, false);
        assert_eq!(told(&two).await.timeline.timeline, before.timeline.timeline, "{other}");
        assert_eq!(followed_from(&two), ReadFrom::Start, "{other}");
        two.crash();
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_record_keeps_no_snapshots() {
    let clock = clock();
    let model = model(&clock);
    let one = instance(&model, &clock, 1, false);
    pass(5).await;
    recorded(&model, 2_500).await;
    let two = instance(&model, &clock, 2, false);
    pass(1).await;
    assert_eq!(told(&one).await.timeline.timeline.len(), told(&two).await.timeline.timeline.len());
    let kept = snapshots(&model).await;
    assert_eq!(kept.len(), 1);
    assert_eq!(Arc::strong_count(&two.check), 2, "it is there, and only waits");
}
