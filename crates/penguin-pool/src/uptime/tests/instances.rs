//! Several instances on one store: one records, the others tell the same.

use super::bed::*;
use crate::{security::Caller, uptime::lease::Role};
use event_store::{EventStore as _, ExpectedState, NewEvent, StreamName};
use models::Hours;
use std::sync::atomic::Ordering;
use uuid::Uuid;

fn role(instance: &Instance) -> Role {
    *instance.uptime.role().borrow()
}

#[tokio::test(start_paused = true)]
async fn one_records_and_the_other_tells_the_same() {
    let clock = clock();
    let model = model(&clock);
    let one = instance(&model, &clock, 1, false);
    pass(1).await;
    let two = instance(&model, &clock, 2, false);
    let mut changes = two.uptime.changes();
    pass(299).await;
    assert_eq!((role(&one), role(&two)), (Role::Recording, Role::Following));
    assert_eq!(two.check.made.load(Ordering::SeqCst), 0, "who does not record does not watch");
    one.check.fails("refused");
    pass(300).await;
    for hours in [Hours::ALL, Hours::default()] {
        let (a, b) = (one.uptime.timeline("web", hours).await, two.uptime.timeline("web", hours).await);
        assert_eq!(a.unwrap(), b.unwrap());
    }
    assert_eq!(changes.try_recv().unwrap().status.as_str(), "down", "it hears of changes too");
    let check = two.uptime.check(&Caller::system()).await.unwrap();
    assert_eq!((check.results[0].status.as_str(), check.results[0].recorded), ("up", false));
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_stops_hands_over_at_once_and_one_that_crashes_after_its_time() {
    let clock = clock();
    let model = model(&clock);
    let one = instance(&model, &clock, 1, false);
    pass(1).await;
    let two = instance(&model, &clock, 2, false);
    pass(100).await;
    one.uptime.stop().await;
    pass(1).await;
    assert_eq!(role(&two), Role::Recording);
    let three = instance(&model, &clock, 3, false);
    pass(100).await;
    assert_eq!(role(&three), Role::Following);
    two.crash();
    pass(20).await;
    assert_eq!(role(&three), Role::Following);
    pass(40).await;
    assert_eq!(role(&three), Role::Recording);
    let summary = three.uptime.service("web", Hours::ALL).await.unwrap().service;
    assert_eq!(summary.uptime_percentage, 100.0);
    assert!(summary.coverage > 0.99, "{}", summary.coverage);
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_is_cut_off_is_followed_by_another_and_adds_nothing_when_it_comes_back() {
    let clock = clock();
    let model = model(&clock);
    let one = instance(&model, &clock, 1, false);
    pass(1).await;
    let two = instance(&model, &clock, 2, false);
    pass(100).await;
    one.line.cut();
    one.check.fails("cut off");
    pass(300).await;
    assert_eq!((role(&one), role(&two)), (Role::Away, Role::Recording));
    assert_eq!((one.status(), two.status()), ("down", "up"), "who is cut off tells what it sees");
    one.line.mend();
    pass(60).await;
    assert_eq!((role(&one), role(&two)), (Role::Following, Role::Recording));
    assert_eq!(one.status(), "up", "it tells what is recorded, and not what only it saw");
    let down = said(&model).await.iter().filter(|(status, ..)| *status == "down").count();
    assert_eq!(down, 0);
    let (a, b) = (one.uptime.timeline("web", Hours::ALL).await, two.uptime.timeline("web", Hours::ALL).await);
    assert_eq!(a.unwrap(), b.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_holder_whose_lease_was_taken_steps_down_at_once() {
    let clock = clock();
    let model = model(&clock);
    let one = instance(&model, &clock, 1, false);
    pass(5).await;
    assert_eq!(role(&one), Role::Recording);
    let lease = StreamName::new("system-uptime-lease").unwrap();
    let taken = br#"{"holder":"somebody else","duration":30000}"#.to_vec();
    let taken = NewEvent::json(Uuid::from_u128(77), "UptimeLeaseTaken", taken);
    model.append(&lease, ExpectedState::Any, vec![taken]).await.unwrap();
    pass(1).await;
    assert_eq!(role(&one), Role::Following);
    let recorded = said(&model).await.len();
    pass(25).await;
    assert_eq!(said(&model).await.len(), recorded);
    pass(40).await;
    assert_eq!(role(&one), Role::Recording, "somebody else did not take it again");
}

#[tokio::test(start_paused = true)]
async fn of_many_that_begin_at_once_one_records() {
    let clock = clock();
    let model = model(&clock);
    let all: Vec<_> = (1..=8).map(|seed| instance(&model, &clock, seed, false)).collect();
    pass(120).await;
    let recording = all.iter().filter(|i| role(i) == Role::Recording).count();
    let following = all.iter().filter(|i| role(i) == Role::Following).count();
    assert_eq!((recording, following), (1, 7));
}

#[tokio::test(start_paused = true)]
async fn an_event_that_another_wrote_to_the_stream_does_not_stop_the_holder() {
    let clock = clock();
    let model = model(&clock);
    let one = instance(&model, &clock, 1, false);
    pass(60).await;
    let name = StreamName::new("service-uptime-web").unwrap();
    let note = NewEvent::json(Uuid::from_u128(78), "Note", "{}");
    model.append(&name, ExpectedState::Any, vec![note]).await.unwrap();
    pass(120).await;
    assert_eq!(role(&one), Role::Recording);
    assert!(said(&model).await.last().unwrap().2 > 100);
}
