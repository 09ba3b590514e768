//! One instance: what is recorded of a service, and what is told of it.

use super::bed::*;
use crate::security::Caller;
use event_store::{EventStore as _, StreamName};
use models::Hours;
use serde_json::json;
use std::{sync::atomic::Ordering, time::Duration};

fn hours(text: &str) -> Hours {
    serde_json::from_str(text).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_state_is_said_again_every_minute_and_no_more() {
    let clock = clock();
    let model = model(&clock);
    let one = instance(&model, &clock, 1, true);
    pass(3600).await;
    let said = said(&model).await;
    assert!((60..=72).contains(&said.len()), "{}", said.len());
    assert_eq!(said[0], ("up", 0, 0));
    for pair in said.windows(2) {
        let silence = pair[1].2 - pair[0].2;
        assert!((20..=60).contains(&silence), "{pair:?}");
    }
    let made = one.check.made.load(Ordering::SeqCst);
    assert!((120..=134).contains(&made), "{made} checks in an hour at 27 to 30 seconds");
    let summary = one.uptime.summary(hours("1")).await.unwrap();
    let service = serde_json::to_value(&summary.services[0]).unwrap();
    assert_eq!(
        service,
        json!({
            "serviceName": "web", "currentStatus": "up", "uptimePercentage": 100.0, "totalUptime": "1h",
            "totalDowntime": "0s", "degradedDuration": 0, "lastStatusChange": "2024-01-15T10:30:00.000Z",
            "isCurrentlyUp": true, "coverage": 1.0,
        })
    );
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_recorded_from_its_first_failure_to_its_first_success() {
    let clock = clock();
    let model = model(&clock);
    let one = instance(&model, &clock, 1, true);
    let mut changes = one.uptime.changes();
    pass(600).await;
    one.check.fails("connection refused");
    pass(300).await;
    one.check.works();
    pass(300).await;
    let events = stream(&model).await;
    let changed: Vec<_> = events
        .iter()
        .filter_map(|e| match e {
            Event::Said { status, since, seen, duration: Some(duration), error } => {
                Some((*status, *since, *seen, *duration, error.clone()))
            }
            _ => None,
        })
        .collect();
    let [(down, failed, confirmed, up_for, cause), (up, mended, sure, down_for, none)] = &changed[..] else {
        panic!("{events:?}")
    };
    assert_eq!(
        (*down, *up, cause.as_deref(), none.as_deref()),
        ("down", "up", Some("connection refused"), None)
    );
    assert!((600..=630).contains(failed) && (927 - 27..=930).contains(mended), "{changed:?}");
    assert!((26..=31).contains(&(confirmed - failed)), "the second failure confirms: {changed:?}");
    assert!((26..=31).contains(&(sure - mended)), "the second success confirms: {changed:?}");
    assert_eq!(i64::try_from(up_for / 1000).unwrap(), *failed);
    assert!((mended - failed - i64::try_from(down_for / 1000).unwrap()).abs() <= 1);

    // What is told is what was recorded, to the second.
    let timeline = one.uptime.timeline("web", Hours::ALL).await.unwrap().timeline;
    assert_eq!(timeline.total_downtime, *down_for);
    let states: Vec<_> = timeline.timeline.iter().map(|r| r.status.as_str()).collect();
    assert_eq!(states, ["up", "down", "up"]);
    assert_eq!(timeline.coverage, 1.0);
    let incidents = one.uptime.incidents(hours("24")).await.unwrap().incidents;
    assert_eq!(incidents.len(), 1);
    assert_eq!((incidents[0].cause.as_str(), incidents[0].duration), ("connection refused", *down_for));
    assert!(incidents[0].end.is_some());

    let heard: Vec<_> = std::iter::from_fn(|| changes.try_recv().ok()).map(|c| c.status.as_str()).collect();
    assert_eq!(heard, ["up", "down", "up"]);
}

#[tokio::test(start_paused = true)]
async fn slow_is_degraded_and_counts_as_up_and_no_answer_in_time_is_down() {
    let clock = clock();
    let model = model(&clock);
    let one = instance(&model, &clock, 1, true);
    pass(100).await;
    one.check.takes(Duration::from_millis(2_500));
    pass(100).await;
    assert_eq!(one.status(), "degraded");
    let summary = one.uptime.service("web", Hours::ALL).await.unwrap().service;
    assert_eq!((summary.uptime_percentage, summary.is_currently_up), (100.0, true));
    assert!(summary.degraded_duration > 0);
    one.check.takes(Duration::from_secs(60));
    pass(100).await;
    assert_eq!(one.status(), "down");
    let incident = one.uptime.incidents(hours("1")).await.unwrap().incidents.remove(0);
    assert_eq!((incident.cause.as_str(), incident.end), ("no answer within 5000 ms", None));
}

#[tokio::test(start_paused = true)]
async fn the_stream_begins_with_its_description_and_its_retention() {
    let clock = clock();
    let model = model(&clock);
    let one = instance(&model, &clock, 1, true);
    pass(1).await;
    assert_eq!(stream(&model).await[0], Event::Created);
    let name = StreamName::new("service-uptime-web").unwrap();
    let metadata = model.metadata(&name).await.unwrap().metadata.to_map();
    assert_eq!(metadata["$maxAge"], 400 * 86_400);
    assert_eq!(metadata["tags"], json!(["uptime", "monitoring", "web"]));
    assert_eq!(metadata["owner"], "system");
    assert_eq!(metadata["$acl"]["$r"], json!(["$admins"]));
    let again = one.uptime.create_streams(&Caller::system()).await.unwrap();
    assert!(again.results[0].success);
    assert_eq!(stream(&model).await.iter().filter(|e| **e == Event::Created).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_restart_is_no_outage_and_loses_nothing() {
    let clock = clock();
    let model = model(&clock);
    let one = instance(&model, &clock, 1, true);
    pass(600).await;
    one.uptime.stop().await;
    assert_eq!(stream(&model).await.last(), Some(&Event::Stopped(600)));
    assert_eq!(one.status(), "unknown");
    pass(600).await;
    let two = instance(&model, &clock, 2, true);
    pass(300).await;
    let timeline = two.uptime.timeline("web", Hours::ALL).await.unwrap().timeline;
    let told: Vec<_> = timeline.timeline.iter().map(|r| (r.status.as_str(), r.duration / 1000)).collect();
    assert_eq!(told, [("up", 600), ("up", 300)]);
    assert_eq!(timeline.uptime_percentage, 100.0);
    assert_eq!(timeline.coverage, 0.6);
    assert_eq!(timeline.last_status_change.unwrap().millis(), EPOCH, "a restart is no change");
    assert_eq!(two.uptime.statistics().stats.total_records, said(&model).await.len() as u64);
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_time_is_unknown_once_the_last_words_grace_is_over() {
    let clock = clock();
    let model = model(&clock);
    instance(&model, &clock, 1, true).crash();
    let one = instance(&model, &clock, 2, true);
    pass(600).await;
    let last = said(&model).await.last().unwrap().2;
    one.crash();
    pass(1000).await;
    let two = instance(&model, &clock, 3, true);
    pass(10).await;
    let timeline = two.uptime.timeline("web", Hours::ALL).await.unwrap().timeline.timeline;
    let told: Vec<_> = timeline.iter().map(|r| (r.timestamp.millis() - EPOCH) / 1000).collect();
    assert_eq!(told, [0, 1600]);
    assert_eq!(i64::try_from(timeline[0].duration / 1000).unwrap(), last + 150);
}

#[tokio::test(start_paused = true)]
async fn a_check_that_is_asked_for_is_recorded_before_it_is_answered() {
    let clock = clock();
    let model = model(&clock);
    let one = instance(&model, &clock, 1, true);
    pass(10).await;
    let before = said(&model).await.len();
    let check = one.uptime.check(&Caller::system()).await.unwrap();
    let result = serde_json::to_value(&check.results[0]).unwrap();
    assert_eq!(
        result,
        json!({
            "service": "web", "status": "up", "timestamp": "2024-01-15T10:30:10.000Z",
            "metadata": {"responseTime": 0.0, "performanceGrade": "excellent"}, "recorded": true,
        })
    );
    assert_eq!(said(&model).await.len(), before + 1);
    assert_eq!(one.uptime.statistics().stats.total_records, before as u64 + 1);

    // It counts as any other check does: of two failures the second changes the state.
    one.check.fails("refused");
    let check = one.uptime.check(&Caller::system()).await.unwrap();
    assert_eq!(check.results[0].status.as_str(), "down");
    assert_eq!(one.status(), "up");
    one.uptime.check(&Caller::system()).await.unwrap();
    assert_eq!(one.status(), "down");
}
