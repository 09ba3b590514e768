//! Pages of events as AtomPub in JSON, with KurrentDB's names and links.

use super::written;
use axum::http::{HeaderMap, header};
use event_store::{
    AllPage, ContentType, Direction, Position, ReadFrom, RecordedEvent, ResolvedEvent, StreamName,
    StreamPage, Timestamp,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

/// What a page is.
pub(super) const MEDIA_TYPE: &str = "application/vnd.eventstore.atom+json; charset=utf-8";

/// What stands unescaped in a part of a path (RFC 3986's unreserved characters).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where links lead to.
#[derive(Debug, Clone)]
pub(super) struct Base(String);

impl Base {
    /// The host that the caller asked, or what a proxy in front says it asked.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::trim);
        let scheme = text("x-forwarded-proto").filter(|p| ["http", "https"].contains(p)).unwrap_or("http");
        let host = text("x-forwarded-host").or_else(|| text(header::HOST.as_str())).unwrap_or("localhost");
        let prefix = text("x-forwarded-prefix").unwrap_or_default().trim_end_matches('/');
        Self(format!("{scheme}://{host}{prefix}"))
    }

    fn stream(&self, stream: &str) -> String {
        format!("{}/streams/{}", self.0, utf8_percent_encode(stream, ESCAPED))
    }
}

/// How much of each event a page holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Embed {
    /// Links alone.
    None,
    /// What the event is.
    Rich,
    /// The event itself too.
    Body,
}

impl Embed {
    pub(super) fn parse(text: &str) -> Self {
        match text.to_ascii_lowercase().as_str() {
            "rich" => Self::Rich,
            "body" | "prettybody" | "pretty" | "tryharder" | "content" => Self::Body,
            _ => Self::None,
        }
    }
}

/// A page.
#[derive(Debug)]
pub(super) struct Feed {
    stream: String,
    title: String,
    /// Newest first, whichever way it was read.
    events: Vec<ResolvedEvent>,
    /// The stream's last revision, where the page is that of the newest events.
    head: Option<u64>,
    is_head: bool,
    /// The relation of each link, and the rest of its path.
    links: Vec<(&'static str, String)>,
}

impl Feed {
    /// A page of a stream that was read from the revision `first`.
    pub(super) fn of_stream(
        stream: &StreamName,
        direction: Direction,
        first: u64,
        from_head: bool,
        count: u64,
        page: StreamPage,
    ) -> Self {
        let last = page.last_revision;
        let ends = page.next.is_none();
        let mut events = page.events;
        let empty = events.is_empty();
        let newest_first = direction == Direction::Backwards;
        if !newest_first {
            events.reverse();
        }
        // A page may end before it has `count` events, by its size: what follows begins where it really ended.
        let newest = events.first().and_then(ResolvedEvent::original).map_or(first, |e| e.revision);
        let newer = if newest_first {
            first.min(last) + 1
        } else {
            page.next.unwrap_or_else(|| newest.saturating_add(1))
        };
        let older = if newest_first { page.next } else { first.checked_sub(1) };
        let mut links = vec![("self", String::new()), ("first", format!("/head/backward/{count}"))];
        let has_older = if newest_first { !ends } else { older.is_some() };
        if let Some(older) = older.filter(|_| has_older) {
            links.push(("last", format!("/0/forward/{count}")));
            links.push(("next", format!("/{older}/backward/{count}")));
        }
        if newest_first || !ends || !empty {
            links.push(("previous", format!("/{newer}/forward/{count}")));
        }
        if !stream.is_metastream() {
            links.push(("metadata", "/metadata".to_owned()));
        }
        Self {
            stream: stream.to_string(),
            title: format!("Event stream '{stream}'"),
            events,
            head: from_head.then_some(last),
            is_head: if newest_first { from_head } else { ends },
            links,
        }
    }

    /// A page of everything.
    pub(super) fn of_all(
        direction: Direction,
        from_head: bool,
        from_start: bool,
        count: u64,
        page: AllPage,
    ) -> Self {
        let mut events = page.events;
        let newest_first = direction == Direction::Backwards;
        if !newest_first {
            events.reverse();
        }
        let position =
            |event: Option<&ResolvedEvent>| event.and_then(ResolvedEvent::original).map(|e| e.position);
        let (newest, oldest) = (position(events.first()), position(events.last()));
        let mut links = vec![("self", String::new()), ("first", format!("/head/backward/{count}"))];
        let has_older = if newest_first { page.next.is_some() } else { !from_start };
        if let Some(oldest) = oldest.filter(|_| has_older) {
            links.push(("last", format!("/{}/forward/{count}", AllPoint::START)));
            links.push(("next", format!("/{}/backward/{count}", AllPoint::at(oldest))));
        }
        if let Some(newest) = newest {
            links.push(("previous", format!("/{}/forward/{count}", AllPoint::after(newest))));
        }
        links.push(("metadata", "/metadata".to_owned()));
        Self {
            stream: "$all".to_owned(),
            title: "All events".to_owned(),
            events,
            head: None,
            is_head: from_head && newest_first,
            links,
        }
    }

    /// What tells this page from a later one, for the page of the newest events.
    pub(super) fn etag(&self) -> Option<String> {
        // The number behind the semicolon stands for the media type.
        self.head.map(|last| format!("{last};248368668"))
    }

    pub(super) fn to_json(&self, base: &Base, embed: Embed) -> Value {
        let own = base.stream(&self.stream);
        let links = self.links.iter().map(|(relation, rest)| link(&format!("{own}{rest}"), relation));
        let updated =
            self.events.first().and_then(|e| e.event.as_ref()).map_or_else(nothing_yet, |e| e.created);
        let mut feed = Map::new();
        let mut put = |key: &str, value: Value| _ = feed.insert(key.to_owned(), value);
        put("title", self.title.clone().into());
        put("id", own.clone().into());
        put("updated", written(updated).into());
        if self.stream != "$all" {
            put("streamId", self.stream.clone().into());
        }
        put("author", json!({ "name": "EventStore" }));
        put("headOfStream", self.is_head.into());
        if let Some(etag) = self.etag() {
            put("selfUrl", own.clone().into());
            put("eTag", etag.into());
        }
        put("links", links.collect());
        put("entries", self.events.iter().filter_map(|event| entry(event, base, embed)).collect());
        Value::Object(feed)
    }
}

/// KurrentDB's "never": the first moment of the year 1.
const fn nothing_yet() -> Timestamp {
    Timestamp::from_ticks(-621_355_968_000_000_000)
}

fn link(uri: &str, relation: &str) -> Value {
    json!({ "uri": uri, "relation": relation })
}

/// One event of a page.
fn entry(event: &ResolvedEvent, base: &Base, embed: Embed) -> Option<Value> {
    let original = event.original()?;
    let mut entry = Map::new();
    if let Some(target) = event.event.as_ref().filter(|_| embed >= Embed::Rich) {
        rich(&mut entry, target, original, event.link.as_ref(), embed);
    }
    common(&mut entry, event.event.as_ref().unwrap_or(original), original, base);
    Some(Value::Object(entry))
}

/// What an entry says whatever is embedded. A link's entry is named by where it leads, and dated likewise.
fn common(entry: &mut Map<String, Value>, target: &RecordedEvent, original: &RecordedEvent, base: &Base) {
    let uri = format!("{}/{}", base.stream(original.stream.as_str()), original.revision);
    let mut put = |key: &str, value: Value| _ = entry.insert(key.to_owned(), value);
    put("title", format!("{}@{}", target.revision, target.stream).into());
    put("id", uri.clone().into());
    put("updated", written(target.created).into());
    put("author", json!({ "name": "EventStore" }));
    put("summary", target.event_type.as_str().into());
    put("links", json!([link(&uri, "edit"), link(&uri, "alternate")]));
}

fn rich(
    entry: &mut Map<String, Value>,
    event: &RecordedEvent,
    original: &RecordedEvent,
    link: Option<&RecordedEvent>,
    embed: Embed,
) {
    let mut put = |key: &str, value: Value| _ = entry.insert(key.to_owned(), value);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    put("eventId", event.id.to_string().into());
    put("eventType", event.event_type.as_str().into());
    put("eventNumber", event.revision.into());
    if embed == Embed::Body {
        // As KurrentDB does it, data is a text here, also where it is JSON: so it comes out byte for byte.
        if event.content_type == ContentType::Json {
            put("data", text(&event.data).into());
        }
        if !event.metadata.is_empty() {
            put("metaData", text(&event.metadata).into());
        }
        if let Some(link) = link.filter(|link| !link.metadata.is_empty()) {
            put("linkMetaData", text(&link.metadata).into());
        }
    }
    put("streamId", event.stream.as_str().into());
    put("isJson", (event.content_type == ContentType::Json).into());
    put("isMetaData", (embed == Embed::Body && !event.metadata.is_empty()).into());
    put(
        "isLinkMetaData",
        (embed == Embed::Body && link.is_some_and(|link| !link.metadata.is_empty())).into(),
    );
    put("positionEventNumber", original.revision.into());
    put("positionStreamId", original.stream.as_str().into());
}

/// One event by itself, with what it holds.
pub(super) fn entry_with_content(event: &ResolvedEvent, base: &Base) -> Option<Value> {
    let original = event.original()?;
    let target = event.event.as_ref()?;
    let value = |bytes: &[u8]| match serde_json::from_slice::<Value>(bytes) {
        Ok(value) => value,
        Err(_) => String::from_utf8_lossy(bytes).into_owned().into(),
    };
    let mut entry = Map::new();
    common(&mut entry, target, original, base);
    let content = json!({
        "eventStreamId": target.stream.as_str(),
        "eventNumber": target.revision,
        "eventType": target.event_type.as_str(),
        "eventId": target.id.to_string(),
        "data": value(&target.data),
        "metadata": if target.metadata.is_empty() { "".into() } else { value(&target.metadata) },
    });
    entry.insert("content".to_owned(), content);
    Some(Value::Object(entry))
}

/// A point between two events of `$all` as links write it: a commit and a prepare position, 16 hexadecimal digits each.
/// As with KurrentDB, reading forwards from a point begins with the event that stands at it, and reading backwards with
/// the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AllPoint {
    commit: u64,
    prepare: u64,
}

/// A prepare position that no event has: together with an event's commit position it lies just after that event.
const AFTER: u64 = i64::MAX as u64;

impl AllPoint {
    /// Before everything.
    pub(super) const START: Self = Self { commit: 0, prepare: 0 };

    const fn at(position: Position) -> Self {
        Self { commit: position.raw(), prepare: position.raw() }
    }

    const fn after(position: Position) -> Self {
        Self { commit: position.raw(), prepare: AFTER }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (commit, prepare) = text.split_at_checked(16)?;
        let hex = |text: &str| {
            let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
            u64::from_str_radix(text, 16).ok().filter(|raw| digits && i64::try_from(*raw).is_ok())
        };
        Some(Self { commit: hex(commit)?, prepare: hex(prepare)? })
    }

    /// Where a read from here begins.
    pub(super) const fn read_from(self, direction: Direction) -> ReadFrom<Position> {
        let position = Position::from_raw(self.commit);
        match (direction, self.prepare > self.commit) {
            (Direction::Forwards, false) | (Direction::Backwards, true) => ReadFrom::At(position),
            (Direction::Forwards, true) | (Direction::Backwards, false) => ReadFrom::Past(position),
        }
    }
}

impl std::fmt::Display for AllPoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016X}{:016X}", self.commit, self.prepare)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_on_where_a_page_ended_by_its_size() {
        let stream = StreamName::new("a").unwrap();
        let link = |direction, first, relation| {
            let page = StreamPage { events: Vec::new(), next: Some(7), last_revision: 20 };
            let feed = Feed::of_stream(&stream, direction, first, false, 5, page);
            feed.links.into_iter().find(|(name, _)| *name == relation).unwrap().1
        };
        assert_eq!(link(Direction::Backwards, 10, "next"), "/7/backward/5");
        assert_eq!(link(Direction::Forwards, 6, "previous"), "/7/forward/5");
    }

    #[test]
    fn points_in_links_are_read_back() {
        for raw in [0, 17, i64::MAX as u64] {
            for point in [AllPoint::at(Position::from_raw(raw)), AllPoint::after(Position::from_raw(raw))] {
                assert_eq!(AllPoint::parse(&point.to_string()), Some(point));
            }
        }
        for bad in [
            "",
            "head",
            "0000000000000000000000000000000x",
            "FFFFFFFFFFFFFFFF0000000000000000",
            "é23456789012345é",
        ] {
            assert_eq!(AllPoint::parse(bad), None, "{bad}");
        }
    }
}
