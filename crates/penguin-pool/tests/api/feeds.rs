//! Server-Sent Events.

use crate::support::Service;
use serde_json::{Value, json};
use std::time::Duration;

/// A frame that is no comment.
#[derive(Debug, Default, PartialEq)]
struct Frame {
    id: Option<i64>,
    event: Option<String>,
    data: Option<Value>,
}

/// A feed that is being read.
struct Feed {
    response: reqwest::Response,
    text: String,
}

impl Feed {
    async fn open(service: &Service, path: &str, last: Option<&str>) -> Self {
        let mut request = service.request("GET", path);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &"text/event-stream".parse().unwrap())
        );
        Self { response, text: String::new() }
    }

    /// The next frame; nothing at the end of the feed.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, rest)) = self.text.split_once("\n\n") {
                let lines: Vec<String> =
                    frame.lines().filter(|l| !l.starts_with(':')).map(str::to_owned).collect();
                self.text = rest.to_owned();
                if lines.is_empty() {
                    continue;
                }
                let of = |field: &str| {
                    let values: Vec<_> = lines.iter().filter_map(|l| l.strip_prefix(field)).collect();
                    (!values.is_empty()).then(|| values.join("\n"))
                };
                return Some(Frame {
                    id: of("id: ").map(|id| id.parse().unwrap()),
                    event: of("event: "),
                    data: of("data: ").map(|data| serde_json::from_str(&data).unwrap()),
                });
            }
            let chunk = tokio::time::timeout(Duration::from_secs(20), self.response.chunk()).await;
            let chunk = chunk.expect("a frame within the time").unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The numbers and ids of the next events, marks left out.
    async fn events(&mut self, count: usize) -> Vec<(i64, u64)> {
        let mut events = Vec::new();
        while events.len() < count {
            let frame = self.next().await.expect("an event");
            if let Some(data) = frame.data {
                events.push((frame.id.unwrap(), data["data"]["n"].as_u64().unwrap()));
            }
        }
        events
    }

    /// The id of the next mark: a frame that only moves the id.
    async fn mark(&mut self) -> i64 {
        let frame = self.next().await.expect("a mark");
        assert_eq!((&frame.event, &frame.data), (&None, &None));
        frame.id.unwrap()
    }
}

async fn three() -> Service {
    let service = Service::start().await;
    for n in 0..3 {
        service.append("a", n).await;
    }
    service
}

#[tokio::test]
async fn a_stream_is_followed_from_what_is_there_into_what_comes() {
    let service = three().await;
    let mut feed = Feed::open(&service, "/api/streams/a/subscribe?from=1", None).await;
    assert_eq!(feed.events(2).await, [(1, 1), (2, 2)]);
    service.append("a", 3).await;
    assert_eq!(feed.events(1).await, [(3, 3)]);
}

#[tokio::test]
async fn an_event_in_a_feed_is_the_event_that_a_page_shows() {
    let service = three().await;
    let page = service.get("/api/streams/a/events?limit=1").await.data(200);
    let mut feed = Feed::open(&service, "/api/streams/a/subscribe?from=0", None).await;
    assert_eq!(feed.next().await.unwrap().data.unwrap(), page["events"][0]);
}

#[tokio::test]
async fn without_from_only_what_comes_is_brought_and_the_first_mark_says_from_where() {
    let service = three().await;
    let mut feed = Feed::open(&service, "/api/streams/a/subscribe", None).await;
    assert_eq!(feed.mark().await, 2);
    service.append("a", 3).await;
    assert_eq!(feed.events(1).await, [(3, 3)]);
}

#[tokio::test]
async fn a_feed_goes_on_after_the_last_id_with_nothing_lost_or_doubled() {
    let service = three().await;
    let mut feed = Feed::open(&service, "/api/streams/a/subscribe?from=0", Some("0")).await;
    assert_eq!(feed.events(2).await, [(1, 1), (2, 2)]);
    drop(feed);
    service.append("a", 3).await;
    let mut feed = Feed::open(&service, "/api/streams/a/subscribe", Some("2")).await;
    assert_eq!(feed.events(1).await, [(3, 3)]);
}

#[tokio::test]
async fn a_stream_that_is_not_there_yet_can_be_followed_and_resumed_from_its_beginning() {
    let service = Service::start().await;
    let mut feed = Feed::open(&service, "/api/streams/new/subscribe", None).await;
    assert_eq!(feed.mark().await, -1);
    drop(feed);
    service.append("new", 0).await;
    let mut feed = Feed::open(&service, "/api/streams/new/subscribe", Some("-1")).await;
    assert_eq!(feed.events(1).await, [(0, 0)]);
}

#[tokio::test]
async fn everything_is_followed_by_position_and_through_filters() {
    let service = three().await;
    service.create("b-1").await;
    let typed = json!({ "eventType": "Other", "eventData": { "n": 9 } });
    service.post("/api/streams/b-1/events", typed).await.data(201);

    let mut feed = Feed::open(&service, "/api/streams/all/subscribe?from=0", None).await;
    let all = feed.events(5).await;
    assert_eq!(all.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [0, 1, 2, 0, 9]);
    assert!(all.is_sorted(), "{all:?}");

    let mut feed = Feed::open(&service, "/api/streams/all/subscribe", Some(&all[3].0.to_string())).await;
    assert_eq!(feed.events(1).await, all[4..]);
    let mut feed = Feed::open(&service, "/api/streams/all/subscribe?from=0&prefix=b-", None).await;
    assert_eq!(feed.events(2).await, all[3..]);
    let mut feed = Feed::open(&service, "/api/streams/all/subscribe?from=0&eventType=Other", None).await;
    assert_eq!(feed.events(1).await, all[4..]);
    let mut feed =
        Feed::open(&service, "/api/streams/all/subscribe?from=0&prefix=b-&eventType=Other", None).await;
    assert_eq!(feed.events(1).await, all[4..]);
}

#[tokio::test]
async fn a_filtered_feed_says_how_far_it_has_come_though_nothing_passes() {
    let service = three().await;
    let last =
        service.get("/api/streams/a/events?direction=backwards").await.data(200)["events"][0]["position"]
            .take();
    let mut feed = Feed::open(&service, "/api/streams/all/subscribe?from=0&prefix=nobody-", None).await;
    assert_eq!(feed.mark().await, last.as_i64().unwrap());
}

#[tokio::test]
async fn a_feed_ends_with_the_reason_when_its_stream_is_deleted_for_good() {
    let service = three().await;
    let mut feed = Feed::open(&service, "/api/streams/a/subscribe?from=2", None).await;
    assert_eq!(feed.events(1).await, [(2, 2)]);
    service.delete("/api/streams/a?mode=tombstone").await.data(200);
    let mut last = Frame::default();
    while let Some(frame) = feed.next().await {
        last = frame;
    }
    assert_eq!(
        (last.event.as_deref(), &last.data.unwrap()["type"]),
        (Some("error"), &json!("stream-deleted"))
    );
}

#[tokio::test]
async fn a_stream_that_was_deleted_for_good_is_not_followed() {
    let service = three().await;
    service.delete("/api/streams/a?mode=tombstone").await.data(200);
    for query in ["", "?from=0"] {
        let answer = service.get(&format!("/api/streams/a/subscribe{query}")).await;
        assert_eq!(answer.failure(410, "stream-deleted")["streamName"], "a");
    }
    // One that was deleted softly can come back.
    service.append("b", 0).await;
    service.delete("/api/streams/b").await.data(200);
    let mut feed = Feed::open(&service, "/api/streams/b/subscribe", None).await;
    feed.mark().await;
    service.append("b", 1).await;
    assert_eq!(feed.events(1).await, [(1, 1)]);
}

#[tokio::test]
async fn a_feed_ends_when_the_store_is_closed() {
    let service = three().await;
    let mut feed = Feed::open(&service, "/api/streams/a/subscribe", None).await;
    assert_eq!(feed.mark().await, 2);
    service.store.close().await.unwrap();
    assert_eq!(feed.next().await, None);
}

#[tokio::test]
async fn bad_beginnings_are_refused() {
    let service = three().await;
    for path in [
        "/api/streams/a/subscribe?from=x",
        "/api/streams/all/subscribe?prefix=a&prefix=b",
        "/api/streams/a/subscribe?prefix=a",
    ] {
        service.get(path).await.failure(400, "validation-failed");
    }
    for last in ["x", "-2", "1.5", "99999999999999999999"] {
        let request = service.request("GET", "/api/streams/a/subscribe").header("last-event-id", last);
        service.send(request).await.failure(400, "validation-failed");
    }
}

#[tokio::test]
async fn a_feed_that_begins_later_than_all_there_is_goes_on_there_after_a_break() {
    let service = three().await;
    let mut feed = Feed::open(&service, "/api/streams/a/subscribe?from=100", None).await;
    assert_eq!(feed.mark().await, 99);
}
