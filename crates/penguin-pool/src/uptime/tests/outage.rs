//! The store taken away under a running service, and brought back.

use super::bed::*;
use models::Hours;

#[tokio::test(start_paused = true)]
async fn what_is_seen_while_the_store_is_away_is_shown_at_once_and_written_later() {
    for exclusive in [true, false] {
        let clock = clock();
        let model = model(&clock);
        let one = instance(&model, &clock, 1, exclusive);
        let mut changes = one.uptime.changes();
        pass(300).await;
        let before = said(&model).await.len();
        one.line.cut();
        one.check.fails("the store is away");
        pass(1_200).await;
        assert_eq!(one.status(), "down");
        assert_eq!(said(&model).await.len(), before);
        let heard: Vec<_> =
            std::iter::from_fn(|| changes.try_recv().ok()).map(|c| c.status.as_str()).collect();
        assert_eq!(heard, ["up", "down"]);
        let shown = one.uptime.timeline("web", Hours::ALL).await.unwrap().timeline;

        one.line.mend();
        one.check.works();
        pass(100).await;
        assert_eq!(one.status(), "up");
        let events = said(&model).await;
        let down: Vec<_> = events.iter().filter(|(status, ..)| *status == "down").collect();
        assert!(down.len() <= 3, "what only says a state again lengthens the word before: {down:?}");
        assert_eq!(events.last().unwrap().0, "up");

        // Whoever reads the stream is told the same.
        one.uptime.stop().await;
        let two = instance(&model, &clock, 2, exclusive);
        pass(1).await;
        let read = two.uptime.timeline("web", Hours::ALL).await.unwrap().timeline;
        assert_eq!(read.timeline[0], shown.timeline[0]);
        assert_eq!(read.timeline[1].timestamp, shown.timeline[1].timestamp);
        assert_eq!(read.timeline.iter().map(|r| r.status.as_str()).collect::<Vec<_>>(), ["up", "down", "up"]);
        assert!(read.timeline[1].duration / 1000 >= 1_170, "{:?}", read.timeline);
        assert!(read.coverage > 0.99, "{}", read.coverage);
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_begins_without_its_store_watches_and_catches_up() {
    let clock = clock();
    let model = model(&clock);
    let one = instance(&model, &clock, 1, false);
    one.line.cut();
    pass(120).await;
    assert_eq!(one.status(), "up");
    assert!(one.uptime.summary(Hours::ALL).await.is_err(), "history was not read, so no sum can be right");
    one.line.mend();
    pass(60).await;
    let summary = one.uptime.service("web", Hours::ALL).await.unwrap().service;
    assert!(summary.coverage > 0.99);
    let first = said(&model).await[0];
    assert!(first.1 <= 10, "what was seen before the store came is in the record: {first:?}");
}
