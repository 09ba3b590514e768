//! Streams that nobody writes: their events are links, and follow from what other streams hold. KurrentDB's system
//! projections keep the same ones.

use crate::{ContentType, EventType, RecordedEvent, Revision, StoreId, StreamName};
use bytes::Bytes;
use uuid::Uuid;

/// A derived stream (law 18), by what it gathers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Derived<'a> {
    /// `$ce-{category}`: every event of the streams of a category.
    Category(&'a str),
    /// `$et-{type}`: every event of a type, the system's too, wherever it stands. Links are not gathered by their type.
    EventType(&'a str),
    /// `$streams`: the first event of every stream that is not the system's.
    Streams,
}

impl<'a> Derived<'a> {
    /// The prefix of the streams that gather categories.
    pub const CATEGORY: &'static str = "$ce-";
    /// The prefix of the streams that gather types.
    pub const EVENT_TYPE: &'static str = "$et-";
    /// The stream that gathers streams.
    pub const STREAMS: &'static str = "$streams";

    /// The derived stream of this name, if it names one.
    #[must_use]
    pub fn named(name: &'a str) -> Option<Self> {
        if name == Self::STREAMS {
            return Some(Self::Streams);
        }
        let category = name.strip_prefix(Self::CATEGORY).map(Self::Category);
        category.or_else(|| name.strip_prefix(Self::EVENT_TYPE).map(Self::EventType))
    }

    /// Whether it gathers an event.
    #[must_use]
    pub fn gathers(self, event: &RecordedEvent) -> bool {
        match self {
            Self::Category(category) => {
                category_of(event.stream.as_str().as_bytes()) == Some(category.as_bytes())
            }
            Self::EventType(event_type) => {
                event.event_type.as_str() == event_type && event_type != EventType::LINK
            }
            Self::Streams => event.revision == 0 && !event.stream.is_system(),
        }
    }
}

/// The category of the stream of this name: what stands before the first `-`, if that is anything. The system's streams have
/// none.
#[must_use]
pub fn category_of(name: &[u8]) -> Option<&[u8]> {
    let end = name.iter().position(|byte| *byte == b'-').filter(|end| *end > 0)?;
    (name[0] != b'$').then(|| &name[..end])
}

/// The link with which a derived stream gathers an event, at a revision of its own. Made again it is the same, with the same
/// id. It stands where the event stands, and was made when the event was.
#[must_use]
pub fn derived_link(
    store: StoreId,
    stream: &StreamName,
    revision: Revision,
    event: &RecordedEvent,
) -> RecordedEvent {
    let by_category = matches!(Derived::named(stream.as_str()), Some(Derived::Category(_)));
    // A link that is gathered is copied: a reader gets to the event, and not to another link.
    let copied = by_category && event.event_type.as_str() == EventType::LINK;
    let data =
        if copied { event.data.clone() } else { Bytes::from(format!("{}@{}", event.revision, event.stream)) };
    RecordedEvent {
        stream: stream.clone(),
        revision,
        position: event.position,
        id: link_id(store, stream, event),
        event_type: EventType::from(EventType::LINK),
        content_type: ContentType::Binary,
        created: event.created,
        data,
        metadata: Bytes::from(link_metadata(by_category, event)),
    }
}

/// What KurrentDB notes of a link, as far as it is known here: there is no projection whose version could be told.
fn link_metadata(by_category: bool, event: &RecordedEvent) -> String {
    let position = event.position.raw();
    let mut metadata = format!(r#"{{"$c":{position},"$p":{position}"#);
    if by_category {
        metadata += &format!(r#","$o":{}"#, serde_json::Value::from(event.stream.as_str()));
        if event.revision == crate::TOMBSTONE_REVISION {
            metadata += r#","$deleted":-1"#;
        }
    }
    metadata + &format!(r#","$causedBy":"{}"}}"#, event.id)
}

/// An id that this link alone has: FNV-1a over the store, the stream and the position, marked as made by a rule of one's own
/// (version 8).
fn link_id(store: StoreId, stream: &StreamName, event: &RecordedEvent) -> Uuid {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let position = event.position.raw().to_le_bytes();
    let bytes = store.0.as_bytes().iter().chain(stream.as_str().as_bytes()).chain(&position);
    let hash = bytes.fold(BASIS, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME));
    uuid::Builder::from_custom_bytes(hash.to_be_bytes()).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Position, Timestamp};

    fn event(stream: &str, revision: Revision, event_type: &str) -> RecordedEvent {
        RecordedEvent {
            stream: StreamName::new(stream).unwrap(),
            revision,
            position: Position::from_raw(7),
            id: Uuid::from_u128(5),
            event_type: event_type.into(),
            content_type: ContentType::Json,
            created: Timestamp::from_ticks(9),
            data: Bytes::from_static(b"3@elsewhere"),
            metadata: Bytes::new(),
        }
    }

    #[test]
    fn a_category_stands_before_the_first_dash_of_a_stream_that_is_not_the_systems() {
        let category =
            |name: &str| category_of(name.as_bytes()).map(|c| String::from_utf8(c.to_vec()).unwrap());
        assert_eq!(category("loan-4-2").as_deref(), Some("loan"));
        assert_eq!(category("loan-").as_deref(), Some("loan"));
        for none in ["loan", "-loan", "-", "$ce-loan", "$$loan-1"] {
            assert_eq!(category(none), None, "{none}");
        }
    }

    #[test]
    fn each_gathers_its_own() {
        fn named(name: &str) -> Derived<'_> {
            Derived::named(name).unwrap()
        }
        assert_eq!(named("$ce-a-b"), Derived::Category("a-b"), "which no stream has");
        for none in ["$ce", "$all", "ce-a", "$streams-a", "$$$ce-a"] {
            assert_eq!(Derived::named(none), None);
        }
        let gathers =
            |name, stream, revision, event_type| named(name).gathers(&event(stream, revision, event_type));
        assert!(gathers("$ce-a", "a-1", 3, "$>") && !gathers("$ce-a", "aa-1", 3, "T"));
        assert!(gathers("$et-T", "$x", 3, "T") && gathers("$et-$metadata", "$$a", 0, "$metadata"));
        assert!(!gathers("$et-$>", "a-1", 0, "$>"));
        assert!(gathers("$streams", "a", 0, "$>") && !gathers("$streams", "a", 1, "T"));
        assert!(!gathers("$streams", "$$a", 0, "$metadata"));
    }

    #[test]
    fn a_link_says_what_it_is_of_and_is_made_again_the_same() {
        let store = StoreId(Uuid::from_u128(1));
        let stream = |name| StreamName::new(name).unwrap();
        let link = |name| derived_link(store, &stream(name), 2, &event("a-\"1", 4, "T"));
        let by_category = link("$ce-a");
        assert_eq!(by_category, link("$ce-a"));
        assert_ne!(by_category.id, link("$et-T").id);
        assert_eq!(by_category.data, "4@a-\"1");
        let metadata: serde_json::Value = serde_json::from_slice(&by_category.metadata).unwrap();
        let id = Uuid::from_u128(5).to_string();
        assert_eq!(metadata, serde_json::json!({ "$c": 7, "$p": 7, "$o": "a-\"1", "$causedBy": id }));
        let metadata: serde_json::Value = serde_json::from_slice(&link("$et-T").metadata).unwrap();
        assert_eq!(metadata, serde_json::json!({ "$c": 7, "$p": 7, "$causedBy": id }));
        let copied = derived_link(store, &stream("$ce-a"), 2, &event("a-1", 4, "$>"));
        assert_eq!(copied.data, "3@elsewhere");
        let of_a_stream = derived_link(store, &stream("$streams"), 2, &event("a-1", 0, "$>"));
        assert_eq!(of_a_stream.data, "0@a-1");
    }
}
