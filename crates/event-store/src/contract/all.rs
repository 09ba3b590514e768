//! Laws 3, 14 and 15 on `$all`, its filters, and what is known of the whole store.

use super::bed::{Bed, ids, new_ids, plain};
use crate::{
    Error, EventFilter, ExpectedState, FilterBy, NewEvent, ReadAll, ReadFrom, RecordedEvent, StreamMetadata,
};

/// Events in three streams, in turns, with metadata between.
async fn mixed(bed: &Bed) -> Vec<NewEvent> {
    let mut written = Vec::new();
    for round in 0..3 {
        for name in ["a", "b", "c"] {
            written.extend(bed.add(&bed.stream(name), 1 + round).await.0);
        }
        let event = StreamMetadata::default().to_event(bed.id());
        let metastream = bed.stream("a").metastream().unwrap();
        bed.store.append(&metastream, ExpectedState::Any, vec![event.clone()]).await.unwrap();
        written.push(event);
    }
    written
}

/// What passes a filter, of what this run wrote.
async fn filtered(bed: &Bed, filter: EventFilter) -> Vec<RecordedEvent> {
    plain(bed.all_pages(ReadAll::forwards(3).filter(filter)).await)
}

pub(super) async fn everything_comes_in_the_order_of_writing(bed: Bed) {
    let written = mixed(&bed).await;
    let everything = plain(bed.all_pages(ReadAll::forwards(4)).await);
    let own: Vec<_> = everything.into_iter().filter(|e| e.stream.as_str().contains(bed.prefix())).collect();
    assert_eq!(ids(&own), new_ids(&written));
    assert!(own.windows(2).all(|w| w[0].position < w[1].position && w[0].created <= w[1].created));
    assert_eq!(bed.all().await, own);
}

pub(super) async fn backwards_is_forwards_reversed(bed: Bed) {
    mixed(&bed).await;
    let mut forwards = bed.all().await;
    forwards.reverse();
    let mut read = ReadAll::backwards(4).filter(bed.filter());
    let mut backwards = Vec::new();
    while backwards.len() < forwards.len() {
        let page = bed.store.read_all(read.clone()).await.unwrap();
        backwards.extend(plain(page.events));
        match page.next {
            Some(next) => read = read.from(ReadFrom::At(next)),
            None => break,
        }
    }
    assert_eq!(backwards, forwards);
}

pub(super) async fn from_a_position_inclusive_and_exclusive(bed: Bed) {
    mixed(&bed).await;
    let all = bed.all().await;
    let at = all[7].position;
    let first = async |read: ReadAll| plain(bed.store.read_all(read.filter(bed.filter())).await.unwrap().events);
    assert_eq!(first(ReadAll::forwards(2).from(ReadFrom::At(at))).await, all[7..9]);
    assert_eq!(first(ReadAll::forwards(2).from(ReadFrom::Past(at))).await, all[8..10]);
    let backwards = |from| ReadAll::backwards(2).from(from);
    let reversed = |a: usize, b: usize| [all[a].clone(), all[b].clone()];
    assert_eq!(first(backwards(ReadFrom::At(at))).await, reversed(7, 6));
    assert_eq!(first(backwards(ReadFrom::Past(at))).await, reversed(6, 5));
    assert_eq!(first(backwards(ReadFrom::End)).await[0], all[all.len() - 1]);
    let end = bed.store.read_all(ReadAll::forwards(2).from(ReadFrom::End)).await.unwrap();
    assert_eq!((end.events, end.next), (vec![], None));
    let start = bed.store.read_all(ReadAll::backwards(2).from(ReadFrom::Start)).await.unwrap();
    assert!(start.events.len() <= 1 && start.next.is_none(), "at most the oldest event");
}

pub(super) async fn a_limit_of_zero_is_refused(bed: Bed) {
    bed.add(&bed.stream("s"), 1).await;
    for read in [ReadAll::forwards(0), ReadAll::backwards(0)] {
        let answer = bed.store.read_all(read).await;
        assert!(matches!(answer, Err(Error::InvalidArgument(_))), "{answer:?}");
    }
}

pub(super) async fn filtered_by_stream_prefix(bed: Bed) {
    mixed(&bed).await;
    let all = bed.all().await;
    let (b, meta) = (bed.stream("b"), bed.stream("a").metastream().unwrap());
    let one = filtered(&bed, EventFilter::stream_prefix([b.as_str()])).await;
    let expected: Vec<_> = all.iter().filter(|e| e.stream == b).cloned().collect();
    assert_eq!(one, expected);
    let two = filtered(&bed, EventFilter::stream_prefix([b.as_str(), meta.as_str()])).await;
    let expected: Vec<_> = all.iter().filter(|e| e.stream == b || e.stream == meta).cloned().collect();
    assert_eq!((two.len(), two), (9, expected));
    let none = bed.stream("nobody");
    assert_eq!(filtered(&bed, EventFilter::stream_prefix([none.as_str()])).await, []);
}

pub(super) async fn filtered_by_event_type_prefix(bed: Bed) {
    let stream = bed.stream("s");
    let types = ["Made", "Moved", "made", "Ma"].map(|t| bed.event(&format!("{}{t}", bed.prefix())));
    bed.store.append(&stream, ExpectedState::NoStream, types.to_vec()).await.unwrap();
    let by = async |prefixes: &[&str]| {
        let prefixes = prefixes.iter().map(|p| format!("{}{p}", bed.prefix()));
        ids(&filtered(&bed, EventFilter::event_type_prefix(prefixes)).await)
    };
    let [made, moved, lower, short] = types.map(|e| e.id);
    assert_eq!(by(&["Ma"]).await, [made, short]);
    assert_eq!(by(&["Mo", "ma"]).await, [moved, lower]);
    assert_eq!(by(&["M"]).await, [made, moved, short]);
    assert!(by(&["x"]).await.is_empty());
}

pub(super) async fn filtered_by_expressions(bed: Bed) {
    let run = bed.prefix().to_owned();
    let mut written = Vec::new();
    for (name, event_type) in [("loan-1", "made"), ("loan-22", "Paid"), ("user-1", "paid")] {
        let event = bed.event(&format!("{run}.{event_type}"));
        bed.store.append(&bed.stream(name), ExpectedState::Any, vec![event.clone()]).await.unwrap();
        written.push(event.id);
    }
    let by = async |by, expression: String| {
        ids(&filtered(&bed, EventFilter::regex(by, &expression).unwrap()).await)
    };
    let stream = FilterBy::StreamName;
    assert_eq!(by(stream, format!("^{run}-loan-[0-9]+$")).await, written[..2]);
    assert_eq!(by(stream, format!("{run}.*-1$")).await, [written[0], written[2]]);
    assert_eq!(by(stream, format!("^(?!.*user){run}")).await, written[..2], "look-ahead");
    assert_eq!(by(FilterBy::EventType, format!("^{run}\\.[a-z]+$")).await, [written[0], written[2]]);
    assert_eq!(by(FilterBy::EventType, format!("(?i)^{run}\\.PAID$")).await, written[1..]);
}

pub(super) async fn filtered_pages_lead_to_the_end(bed: Bed) {
    let (noise, signal) = (bed.stream("noise"), bed.stream("signal"));
    let mut wanted = Vec::new();
    for _ in 0..4 {
        bed.add(&noise, 100).await;
        wanted.extend(bed.add(&signal, 2).await.0);
    }
    bed.add(&noise, 100).await;
    for limit in [1, 3, 8, 1000] {
        let filter = EventFilter::stream_prefix([signal.as_str()]);
        let events = plain(bed.all_pages(ReadAll::forwards(limit).filter(filter)).await);
        assert_eq!(ids(&events), new_ids(&wanted), "{limit}");
    }
}

pub(super) async fn the_newest_position_is_known(bed: Bed) {
    let (_, first) = bed.add(&bed.stream("s"), 2).await;
    let newest = bed.store.last_position().await.unwrap();
    assert!(newest.is_some() && newest >= first.position);
    let (_, second) = bed.add(&bed.stream("s"), 1).await;
    let newest = bed.store.last_position().await.unwrap();
    assert!(newest >= second.position && second.position > first.position);
}

pub(super) async fn statistics_count_what_is_written(bed: Bed) {
    let before = bed.store.statistics().await.unwrap().events;
    bed.add(&bed.stream("s"), 7).await;
    bed.store.delete(&bed.stream("s"), ExpectedState::Any).await.unwrap();
    let after = bed.store.statistics().await.unwrap().events;
    assert!(after >= before + 8, "{before}, {after}");
}

pub(super) async fn the_store_keeps_its_id(mut bed: Bed) {
    let id = bed.store.id().await.unwrap();
    bed.add(&bed.stream("s"), 1).await;
    assert_eq!(bed.store.id().await, Ok(id));
    if bed.restart().await {
        assert_eq!(bed.store.id().await, Ok(id));
    }
}
