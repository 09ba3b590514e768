//! The catalogue at a million streams, each question beside what SQLite itself takes for the same rows.
//!
//! `cargo bench -p penguin-pool --bench catalogue`; `CATALOGUE_STREAMS=100000` for a smaller one.
//!
//! The events come from a store that makes them up as they are read, so that what is measured is the catalogue: two
//! events a stream, its metadata and its creation, taken in by the follower as from any other store.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark speaks, and may panic")]

use bytes::Bytes;
use event_store::{
    AllPage, Appended, AppendedMany, Capabilities, Clock, ContentType, Deleted, Error, EventStore,
    ExpectedState, NewEvent, Position, ReadAll, ReadFrom, ReadStream, RecordedEvent, Result, StoreId,
    StoreState, StoreStatistics, StreamInfo, StreamName, StreamPage, StreamWrite, SubscribeAll,
    SubscribeStream, Subscription, SubscriptionMessage, SystemClock, Timestamp,
};
use futures::{StreamExt as _, stream};
use models::StreamStatus;
use penguin_pool::catalogue::{
    BrowseFilter, Catalogue, CatalogueError, Freshness, Options, Place, SearchFilter, View,
};
use std::{future::Future, path::Path, sync::Arc, time::Duration};
use tokio::sync::watch;
use uuid::Uuid;

/// Event `2n` is the metadata of stream `n`, and event `2n + 1` its creation.
#[derive(Debug)]
struct MadeUp {
    events: watch::Sender<u64>,
}

fn name(n: u64) -> String {
    // Names come in no order, as users do.
    let user = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    match n % 4 {
        0 => format!("user-{user:07x}-profile-{n}"),
        1 => format!("user-{user:07x}-loans-{n}"),
        2 => format!("loan-{user:07x}-{n}"),
        _ => format!("offer-{user:07x}-{n}"),
    }
}

fn event(position: u64) -> RecordedEvent {
    let n = position / 2;
    let name = name(n);
    let (stream, event_type, data) = if position.is_multiple_of(2) {
        let status = if n.is_multiple_of(100) { "archived" } else { "active" };
        let data = format!(
            r#"{{"$acl":{{"$r":["$all"]}},"tags":["user","t{}"],"owner":"owner-{}","status":"{status}","version":1,"schemaVersion":"1.0.0"}}"#,
            n % 1000,
            n % 50_000
        );
        (format!("$${name}"), "$metadata", data)
    } else {
        let kinds = ["StreamCreated", "UserDataUpdated", "LoanRequested", "OfferMade"];
        let data = format!(
            r#"{{"streamName":"{name}","loanId":{n},"text":"penguin {} borrows book {}","amount":{}.50}}"#,
            n % 997,
            n % 9973,
            n % 500
        );
        (name, kinds[usize::try_from(n % 4).unwrap()], data)
    };
    RecordedEvent {
        stream: StreamName::new(stream).unwrap(),
        revision: 0,
        position: Position::from_raw(position),
        id: Uuid::from_u64_pair(1, position),
        event_type: event_type.into(),
        content_type: ContentType::Json,
        created: Timestamp::from_ticks(17_053_146_000_000_000 + i64::try_from(position).unwrap() * 1000),
        data: data.into(),
        metadata: Bytes::new(),
    }
}

fn not_here<T>() -> Result<T> {
    Err(Error::Unsupported("do this: it makes events up".to_owned()))
}

#[async_trait::async_trait]
impl EventStore for MadeUp {
    async fn id(&self) -> Result<StoreId> {
        Ok(StoreId(Uuid::from_u64_pair(2, 2)))
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities { multi_stream_append: false, derived_streams: true, counts: true }
    }
    fn state(&self) -> StoreState {
        StoreState::Ready
    }
    async fn statistics(&self) -> Result<StoreStatistics> {
        Ok(StoreStatistics { events: *self.events.borrow(), bytes_on_disk: 0 })
    }
    async fn append(&self, _: &StreamName, _: ExpectedState, _: Vec<NewEvent>) -> Result<Appended> {
        not_here()
    }
    async fn append_many(&self, _: Vec<StreamWrite>) -> Result<AppendedMany> {
        not_here()
    }
    async fn read_stream(&self, _: &StreamName, _: ReadStream) -> Result<StreamPage> {
        not_here()
    }
    async fn read_all(&self, read: ReadAll) -> Result<AllPage> {
        let ReadFrom::At(at) = read.from else { return not_here() };
        Ok(AllPage { events: vec![event(at.raw()).into()], next: None })
    }
    async fn stream_info(&self, _: &StreamName) -> Result<StreamInfo> {
        not_here()
    }
    async fn subscribe_stream(&self, _: &StreamName, _: SubscribeStream) -> Result<Subscription> {
        not_here()
    }
    async fn subscribe_all(&self, options: SubscribeAll) -> Result<Subscription> {
        let next = match options.from {
            ReadFrom::Past(past) => past.raw() + 1,
            _ => 0,
        };
        let there = self.events.subscribe();
        let events = stream::unfold((next, there), |(next, mut there)| async move {
            there.wait_for(|events| *events > next).await.ok()?;
            Some((Ok(SubscriptionMessage::Event(event(next).into())), (next + 1, there)))
        });
        Ok(events.boxed())
    }
    async fn delete(&self, _: &StreamName, _: ExpectedState) -> Result<Deleted> {
        not_here()
    }
    async fn tombstone(&self, _: &StreamName, _: ExpectedState) -> Result<Deleted> {
        not_here()
    }
    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

/// How long calls took, in microseconds.
struct Times(Vec<u64>);

impl Times {
    fn at(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let index = ((sorted.len() - 1) as f64 * part).round();
        sorted[index as usize] as f64 / 1000.0
    }
}

async fn time<F: Future>(rounds: u64, mut call: impl FnMut(u64) -> F) -> Times {
    let mut times = Vec::new();
    for round in 0..rounds {
        let began = SystemClock.monotonic();
        call(round).await;
        times.push(u64::try_from((SystemClock.monotonic() - began).as_micros()).unwrap());
    }
    Times(times)
}

fn row(what: &str, times: &Times, goal_ms: f64, beside: f64) {
    let (p50, p99) = (times.at(0.5), times.at(0.99));
    let verdict = if p99 <= goal_ms { "ok" } else { "TOO SLOW" };
    println!(
        "{what:<44} p50 {p50:>8.3} ms  p99 {p99:>8.3} ms  goal {goal_ms:>5} ms {verdict:<8}  SQLite itself p50 {beside:.3} ms"
    );
}

fn main() {
    let streams: u64 =
        std::env::var("CATALOGUE_STREAMS").ok().map_or(1_000_000, |streams| streams.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(run(streams));
}

async fn run(streams: u64) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalogue.sqlite");
    let store = Arc::new(MadeUp { events: watch::Sender::new(streams * 2) });
    let clock = Arc::new(SystemClock);
    let began = clock.monotonic();
    let catalogue = Catalogue::open(
        Options::new(Place::File(path.clone())),
        Arc::<MadeUp>::clone(&store),
        Arc::<SystemClock>::clone(&clock),
    )
    .await
    .unwrap();
    let last = Position::from_raw(streams * 2 - 1);
    let mut said = 0;
    while catalogue.wait_for(last, Duration::from_secs(5)).await == Freshness::Stale {
        let now = catalogue.position().map_or(0, Position::raw);
        println!("  … {now} events, {} in 5 s", now - said);
        said = now;
    }
    let took = (clock.monotonic() - began).as_secs_f64();
    let megabytes = std::fs::metadata(&path).unwrap().len() as f64 / 1e6;
    println!(
        "taken in: {streams} streams, {} events in {took:.1} s = {:.0} events/s; {megabytes:.0} MB; inserting as many rows of \
         the same size into one table: {:.0} rows/s",
        streams * 2,
        streams as f64 * 2.0 / took,
        plain_inserts(directory.path(), streams.min(200_000) * 2),
    );

    let page = SqlitePage::new(&path, streams);
    let beside = time(500, |round| {
        page.by_key(round);
        std::future::ready(())
    })
    .await
    .at(0.5);
    let filter = |f: BrowseFilter| BrowseFilter { limit: 50, ..f };
    let browse = |f: BrowseFilter| {
        let catalogue = &catalogue;
        async move {
            match catalogue.browse(&View::everything(), f).await {
                // It took as long as it may, which the times show.
                Err(CatalogueError::TooSlow { .. }) => None,
                page => Some(page.unwrap()),
            }
        }
    };
    let all = browse(filter(BrowseFilter::default())).await;
    assert_eq!(all.unwrap().total, streams);
    let text = |text: &str| Some(text.to_owned());

    let times = time(500, |n| {
        browse(filter(BrowseFilter { prefix: text("user-"), offset: n, ..Default::default() }))
    });
    row("prefix, half of all streams, true total", &times.await, 5.0, beside);
    let times = time(500, |n| {
        browse(filter(BrowseFilter { prefix: Some(format!("loan-{:x}", n % 256)), ..Default::default() }))
    });
    row("prefix, one of 256", &times.await, 5.0, beside);
    let times =
        time(500, |n| browse(filter(BrowseFilter { offset: n * (streams / 500), ..Default::default() })));
    row("page at any offset", &times.await, 5.0, beside);
    let times = time(500, |n| {
        browse(filter(BrowseFilter { tag: Some(format!("t{}", n % 1000)), ..Default::default() }))
    });
    row("tag of one in a thousand", &times.await, 5.0, beside);
    let times = time(500, |_| browse(filter(BrowseFilter { tag: text("user"), ..Default::default() })));
    row("tag of all", &times.await, 5.0, beside);
    let times = time(500, |n| {
        browse(filter(BrowseFilter { owner: Some(format!("owner-{n}")), ..Default::default() }))
    });
    row("owner", &times.await, 5.0, beside);
    let times = time(500, |_| {
        browse(filter(BrowseFilter { status: Some(StreamStatus::Active), ..Default::default() }))
    });
    row("status active, nearly all", &times.await, 5.0, beside);
    let times = time(500, |_| {
        browse(filter(BrowseFilter { event_type: text("LoanRequested"), ..Default::default() }))
    });
    row("event type, a quarter of all", &times.await, 5.0, beside);
    let mut cursor = None;
    let mut times = Vec::new();
    for _ in 0..500 {
        let began = clock.monotonic();
        let page = browse(filter(BrowseFilter { cursor, ..Default::default() })).await;
        times.push(u64::try_from((clock.monotonic() - began).as_micros()).unwrap());
        cursor = page.and_then(|page| page.next_cursor);
    }
    row("cursor page", &Times(times), 5.0, beside);

    let scan = time(5, |_| {
        page.scan();
        std::future::ready(())
    })
    .await
    .at(0.5);
    let times = time(20, |n| {
        browse(filter(BrowseFilter { name_pattern: Some(format!("a{n}.*7$")), ..Default::default() }))
    });
    row("free expression", &times.await, 500.0, scan);
    let times = time(10, |_| {
        browse(filter(BrowseFilter {
            name_pattern: text(r"^(user|loan)-[0-9a-f]+-.*[02468]$"),
            ..Default::default()
        }))
    });
    row("free expression, that looks at whole names", &times.await, 500.0, scan);
    let times = time(10, |_| {
        browse(filter(BrowseFilter {
            tag: text("user"),
            event_type: text("OfferMade"),
            ..Default::default()
        }))
    });
    row("two filters, quarter and all", &times.await, 500.0, scan);

    let search = |f: SearchFilter| {
        let catalogue = &catalogue;
        async move { catalogue.search(&View::everything(), SearchFilter { limit: 50, ..f }).await.unwrap() }
    };
    let times =
        time(100, |n| search(SearchFilter { text: Some(format!("penguin {n}")), ..Default::default() }));
    row("search: two words, one of them rare", &times.await, 50.0, beside);
    let times = time(100, |_| search(SearchFilter { event_type: text("OfferMade"), ..Default::default() }));
    row("search: event type, 250,000 events", &times.await, 50.0, beside);

    let mut times = Vec::new();
    for n in 0..300 {
        let events = streams * 2 + n * 2 + 2;
        let began = clock.monotonic();
        store.events.send_replace(events);
        let fresh = catalogue.wait_for(Position::from_raw(events - 1), Duration::from_secs(5)).await;
        assert_eq!(fresh, Freshness::Fresh);
        times.push(u64::try_from((clock.monotonic() - began).as_micros()).unwrap());
    }
    row("a new stream is visible after", &Times(times), 20.0, beside);
    catalogue.stop().await;
}

/// Rows a second of one table with one index, in sorted transactions of the same size: what could be had at best.
fn plain_inserts(directory: &Path, rows: u64) -> f64 {
    let db = rusqlite::Connection::open(directory.join("plain.sqlite")).unwrap();
    db.execute_batch("PRAGMA journal_mode = wal; PRAGMA synchronous = normal; PRAGMA cache_size = -65536;
                      CREATE TABLE plain (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, data TEXT NOT NULL)").unwrap();
    let began = SystemClock.monotonic();
    for batch in (0..rows).step_by(32 * 1024) {
        let tx = db.unchecked_transaction().unwrap();
        let mut insert = db.prepare_cached("INSERT INTO plain VALUES (?, ?, ?)").unwrap();
        for position in batch..rows.min(batch + 32 * 1024) {
            let event = event(position);
            insert.execute(rusqlite::params![position, event.stream.as_str(), &event.data[..]]).unwrap();
        }
        drop(insert);
        tx.commit().unwrap();
    }
    rows as f64 / (SystemClock.monotonic() - began).as_secs_f64()
}

/// The same rows by SQLite alone: no totals, no limits, no threads.
struct SqlitePage {
    db: rusqlite::Connection,
    streams: u64,
}

impl SqlitePage {
    fn new(path: &Path, streams: u64) -> Self {
        Self { db: rusqlite::Connection::open(path).unwrap(), streams }
    }

    /// Fifty streams by the primary key.
    fn by_key(&self, round: u64) {
        let from = round * 7919 % self.streams;
        let mut page =
            self.db.prepare_cached("SELECT * FROM stream WHERE id >= ? ORDER BY id LIMIT 50").unwrap();
        let mut rows = page.query([from]).unwrap();
        let mut bytes = 0;
        while let Some(row) = rows.next().unwrap() {
            bytes += row.get_ref(1).unwrap().as_str().unwrap().len();
        }
        assert!(bytes > 0);
    }

    /// All names in order, looked at by nobody.
    fn scan(&self) {
        let mut names =
            self.db.prepare_cached("SELECT name FROM posting WHERE facet = 1 ORDER BY name").unwrap();
        let mut rows = names.query([]).unwrap();
        let mut bytes = 0;
        while let Some(row) = rows.next().unwrap() {
            bytes += row.get_ref(0).unwrap().as_str().unwrap().len();
        }
        assert!(bytes > 0);
    }
}
