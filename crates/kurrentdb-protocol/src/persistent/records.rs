//! What is written down, in KurrentDB's own form: the groups, their checkpoints, their parked messages.

use super::{Definition, GroupError, GroupKey, Place, Settings, Source, Start, Strategy};
use event_store::{
    Acl, EventFilter, EventType, FilterBy, Matcher, NewEvent, RecordedEvent, ResolvedEvent, StoreId,
    StreamMetadata, StreamName, Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::time::Duration;
use uuid::Uuid;

/// The stream that holds all groups, each event the whole of them.
pub(crate) const CONFIG_STREAM: &str = "$persistentSubscriptionConfig";
const CONFIG_TYPE: &str = "$PersistentConfig";
const CONFIG_VERSION: &str = "2";
const CHECKPOINT_TYPE: &str = "$SubscriptionCheckpoint";
/// KurrentDB wrote this one before.
const OLD_CHECKPOINT_TYPE: &str = "SubscriptionCheckpoint";
const ADMINS: &str = "$admins";

/// All groups. Fields that are not known are kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Config {
    version: String,
    #[serde(default)]
    updated: Option<String>,
    #[serde(default)]
    updated_by: Option<String>,
    #[serde(default)]
    entries: Vec<Entry>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    stream: String,
    group: String,
    #[serde(default)]
    filter: Option<Filter>,
    #[serde(default)]
    resolve_link_tos: bool,
    #[serde(default)]
    extra_statistics: bool,
    /// Milliseconds.
    message_timeout: u64,
    /// An older form of `start_position`; `i64::MIN` in `$all`.
    #[serde(default)]
    start_from: i64,
    #[serde(default)]
    start_position: Option<String>,
    /// Ours: what the end of the source was when a group was made that begins there, empty for nothing. With it what is
    /// written between the making and the first checkpoint is not lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    live_from: Option<String>,
    live_buffer_size: u32,
    history_buffer_size: u32,
    max_retry_count: u32,
    read_batch_size: u32,
    #[serde(default)]
    prefer_round_robin: bool,
    /// Milliseconds.
    check_point_after: u64,
    min_check_point_count: u32,
    max_check_point_count: u32,
    #[serde(default)]
    max_subscriber_count: u32,
    #[serde(default)]
    named_consumer_strategy: Option<String>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    context: String,
    #[serde(rename = "type")]
    kind: String,
    data: String,
    #[serde(default)]
    is_all_stream: bool,
    /// Ours: the prefixes one by one, because they may hold the comma that joins them in `data`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    prefixes: Vec<String>,
}

/// A group as it was read, or is to be written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Group {
    /// What it is.
    pub(crate) definition: Definition,
    /// For one that begins at the end: what the end was then, if it is known; the inner one nothing if there was none.
    pub(crate) live_from: Option<Option<Place>>,
}

impl Config {
    /// No groups.
    pub(crate) fn empty() -> Self {
        Self {
            version: CONFIG_VERSION.into(),
            updated: None,
            updated_by: None,
            entries: Vec::new(),
            other: Map::new(),
        }
    }

    /// From the newest event of the stream.
    ///
    /// # Errors
    /// [`GroupError::Failed`] if it cannot be understood: then nothing is overwritten either.
    pub(crate) fn read(event: &RecordedEvent) -> Result<Self, GroupError> {
        serde_json::from_slice(&event.data).map_err(|error| {
            tracing::error!(%error, "the newest event of {CONFIG_STREAM} cannot be read");
            GroupError::Failed(format!("The config data appears to be invalid: {error}"))
        })
    }

    /// Every group that can be understood; each of the others is logged, and kept.
    pub(crate) fn groups(&self) -> Vec<Group> {
        let read = |entry: &Entry| match entry.group() {
            Ok(group) => Some(group),
            Err(error) => {
                tracing::error!(
                    ?error,
                    stream = entry.stream,
                    group = entry.group,
                    "a persistent subscription is left out"
                );
                None
            }
        };
        self.entries.iter().filter_map(read).collect()
    }

    /// The same with this group in it, in the place of the one of the same name if there is one.
    pub(crate) fn with(&self, group: &Group) -> Self {
        let mut config = self.clone();
        let key = group.definition.key();
        let mut entry = Entry::of(group);
        match config.entries.iter_mut().find(|e| e.key() == key) {
            Some(old) => {
                entry.other = std::mem::take(&mut old.other);
                *old = entry;
            }
            None => config.entries.push(entry),
        }
        config
    }

    /// The same without this group.
    pub(crate) fn without(&self, key: &GroupKey) -> Self {
        let mut config = self.clone();
        config.entries.retain(|e| e.key() != *key);
        config
    }

    /// The event that writes it down.
    pub(crate) fn event(&mut self, id: Uuid, now: Timestamp, by: &str) -> NewEvent {
        self.updated = Some(iso(now));
        self.updated_by = Some(by.to_owned());
        self.version = CONFIG_VERSION.into();
        NewEvent::json(id, CONFIG_TYPE, serde_json::to_vec(self).unwrap_or_default())
    }
}

impl Entry {
    fn key(&self) -> GroupKey {
        GroupKey { source: self.stream.clone(), group: self.group.clone() }
    }

    fn of(group: &Group) -> Self {
        let Definition { source, group: name, start, settings } = &group.definition;
        let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        let in_all = source.is_all();
        Self {
            stream: source.name().to_owned(),
            group: name.clone(),
            filter: match source {
                Source::All(Some(filter)) => Some(Filter::of(filter)),
                Source::All(None) | Source::Stream(_) => None,
            },
            resolve_link_tos: settings.resolve_links,
            extra_statistics: settings.extra_statistics,
            message_timeout: millis(settings.message_timeout),
            start_from: if in_all { i64::MIN } else { start.text(false).parse().unwrap_or_default() },
            start_position: Some(start.text(in_all)),
            live_from: group.live_from.map(|from| from.map(|place| place.to_string()).unwrap_or_default()),
            live_buffer_size: settings.live_buffer_size,
            history_buffer_size: settings.history_buffer_size,
            max_retry_count: settings.max_retry_count,
            read_batch_size: settings.read_batch_size,
            prefer_round_robin: false,
            check_point_after: settings.checkpoint_after.map(millis).unwrap_or_default(),
            min_check_point_count: settings.min_checkpoint_count,
            max_check_point_count: settings.max_checkpoint_count,
            max_subscriber_count: settings.max_subscriber_count,
            named_consumer_strategy: Some(settings.strategy.name().to_owned()),
            other: Map::new(),
        }
    }

    fn group(&self) -> Result<Group, GroupError> {
        let source = if self.stream == "$all" {
            Source::All(self.filter.as_ref().map(Filter::filter).transpose()?)
        } else {
            let name = StreamName::new(self.stream.as_str());
            Source::Stream(name.map_err(|error| GroupError::Failed(error.to_string()))?)
        };
        let start = self.start_position.clone().unwrap_or_else(|| self.start_from.to_string());
        let start = Start::parse(&start)
            .ok_or_else(|| GroupError::Failed(format!("'{start}' is no place to begin at")))?;
        let strategy = match self.named_consumer_strategy.as_deref() {
            None | Some("") if self.prefer_round_robin => Strategy::RoundRobin,
            None | Some("") => Strategy::DispatchToSingle,
            Some(name) => Strategy::named(name)?,
        };
        let settings = Settings {
            resolve_links: self.resolve_link_tos,
            extra_statistics: self.extra_statistics,
            message_timeout: Duration::from_millis(self.message_timeout),
            max_retry_count: self.max_retry_count,
            checkpoint_after: (self.check_point_after > 0)
                .then(|| Duration::from_millis(self.check_point_after)),
            min_checkpoint_count: self.min_check_point_count,
            max_checkpoint_count: self.max_check_point_count,
            max_subscriber_count: self.max_subscriber_count,
            live_buffer_size: self.live_buffer_size,
            read_batch_size: self.read_batch_size,
            history_buffer_size: self.history_buffer_size,
            strategy,
        };
        let definition = Definition { source, group: self.group.clone(), start, settings };
        definition.check()?;
        Ok(Group { definition, live_from: self.live_from.as_deref().map(Place::parse) })
    }
}

impl Filter {
    fn of(filter: &EventFilter) -> Self {
        let (kind, data, prefixes) = match &filter.matcher {
            Matcher::Prefixes(prefixes) => ("prefix", prefixes.join(","), prefixes.clone()),
            Matcher::Regex(regex) => ("regex", regex.as_str().to_owned(), Vec::new()),
        };
        let context = match filter.by {
            FilterBy::StreamName => "streamid",
            FilterBy::EventType => "eventtype",
        };
        Self { context: context.into(), kind: kind.into(), data, is_all_stream: true, prefixes }
    }

    fn filter(&self) -> Result<EventFilter, GroupError> {
        let by = match self.context.as_str() {
            "streamid" => FilterBy::StreamName,
            "eventtype" => FilterBy::EventType,
            other => return Err(GroupError::Failed(format!("a filter cannot look at '{other}'"))),
        };
        let split = || self.data.split(',').filter(|p| !p.is_empty()).map(str::to_owned).collect();
        let prefixes: Vec<String> = if self.prefixes.is_empty() { split() } else { self.prefixes.clone() };
        match self.kind.as_str() {
            "prefix" if by == FilterBy::StreamName => Ok(EventFilter::stream_prefix(prefixes)),
            "prefix" => Ok(EventFilter::event_type_prefix(prefixes)),
            "regex" => Ok(EventFilter::regex(by, &self.data)?),
            other => Err(GroupError::Failed(format!("there is no filter of type '{other}'"))),
        }
    }
}

/// The event of a checkpoint. Positions mean something to their store alone, so it names the store.
pub(crate) fn checkpoint(id: Uuid, place: Place, store: StoreId) -> NewEvent {
    let data = Value::String(place.to_string()).to_string();
    let metadata = serde_json::json!({ "storeId": store }).to_string().into();
    NewEvent { metadata, ..NewEvent::json(id, CHECKPOINT_TYPE, data) }
}

/// The place that a checkpoint says; nothing if it is none, or a position of another store.
pub(crate) fn read_checkpoint(event: &RecordedEvent, store: StoreId) -> Option<Place> {
    #[derive(Deserialize)]
    struct Metadata {
        #[serde(rename = "storeId")]
        store: StoreId,
    }
    if ![CHECKPOINT_TYPE, OLD_CHECKPOINT_TYPE].contains(&event.event_type.as_str()) {
        return None;
    }
    let place = Place::parse(&serde_json::from_slice::<String>(&event.data).ok()?)?;
    let elsewhere = serde_json::from_slice::<Metadata>(&event.metadata).is_ok_and(|m| m.store != store);
    (!(elsewhere && matches!(place, Place::Position(_)))).then_some(place)
}

/// The metadata of the stream of checkpoints.
pub(crate) fn checkpoints_metadata() -> StreamMetadata {
    let acl = Acl { meta_read: Some(vec!["$all".into()]), ..admins() };
    StreamMetadata { max_count: Some(2), acl: Some(acl), ..StreamMetadata::default() }
}

/// The metadata of the stream of all groups.
pub(crate) fn config_metadata() -> StreamMetadata {
    StreamMetadata { max_count: Some(2), ..StreamMetadata::default() }
}

/// The metadata of the stream of parked messages, of which those before this revision are settled.
pub(crate) fn parked_metadata(truncate_before: u64) -> StreamMetadata {
    StreamMetadata {
        truncate_before: Some(truncate_before),
        acl: Some(admins()),
        ..StreamMetadata::default()
    }
}

fn admins() -> Acl {
    let only = || Some(vec![ADMINS.to_owned()]);
    Acl { read: only(), write: only(), delete: only(), meta_read: only(), meta_write: only() }
}

/// The link that parks an event.
pub(crate) fn parked(id: Uuid, event: &ResolvedEvent, reason: &str, now: Timestamp) -> NewEvent {
    let number = event.original().map_or(0, |e| e.revision);
    let metadata = serde_json::json!({
        "added": iso(now),
        "reason": reason,
        "subscriptionEventNumber": number,
    });
    let link = match (&event.event, &event.link) {
        (Some(event), _) => NewEvent::link(id, &event.stream, event.revision),
        // What a link without its target said is all that is known.
        (None, link) => NewEvent {
            content_type: event_store::ContentType::Binary,
            ..NewEvent::json(id, EventType::LINK, link.as_ref().map(|l| l.data.clone()).unwrap_or_default())
        },
    };
    NewEvent { metadata: metadata.to_string().into(), ..link }
}

/// A moment as JSON writes it.
fn iso(time: Timestamp) -> String {
    let nanos = i128::from(time.ticks()) * 100;
    jiff::Timestamp::from_nanosecond(nanos).map(|t| t.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(source: Source) -> Definition {
        let settings = Settings {
            resolve_links: true,
            extra_statistics: false,
            message_timeout: Duration::from_secs(30),
            max_retry_count: 10,
            checkpoint_after: None,
            min_checkpoint_count: 10,
            max_checkpoint_count: 1000,
            max_subscriber_count: 0,
            live_buffer_size: 500,
            read_batch_size: 20,
            history_buffer_size: 500,
            strategy: Strategy::Pinned,
        };
        Definition { source, group: "g".into(), start: Start::End, settings }
    }

    fn recorded(event: NewEvent) -> RecordedEvent {
        RecordedEvent {
            stream: StreamName::new("s").unwrap(),
            revision: 0,
            position: event_store::Position::from_raw(0),
            id: event.id,
            event_type: event.event_type,
            content_type: event.content_type,
            created: Timestamp::default(),
            data: event.data,
            metadata: event.metadata,
        }
    }

    #[test]
    fn groups_are_read_back_as_they_were_written() {
        let group = |source, live_from| Group { definition: definition(source), live_from };
        let groups = [
            group(Source::Stream(StreamName::new("a").unwrap()), Some(Some(Place::Revision(3)))),
            group(Source::Stream(StreamName::new("b").unwrap()), Some(None)),
            group(Source::All(Some(EventFilter::stream_prefix(["a,b", "c"]))), None),
        ];
        let mut config = groups.iter().fold(Config::empty(), |config, group| config.with(group));
        let event = recorded(config.event(Uuid::nil(), Timestamp::from_millis(0), "admin"));
        let read = Config::read(&event).unwrap();
        assert_eq!(read.groups(), groups);
        assert_eq!(read.without(&groups[0].definition.key()).groups(), groups[1..]);
        let mut changed = groups[1].clone();
        changed.definition.settings.max_retry_count = 3;
        assert_eq!(read.with(&changed).groups()[1], changed);
    }

    /// As a KurrentDB server writes it; must be read for ever.
    #[test]
    fn a_servers_own_form_is_read() {
        let json = r#"{"version":"2","updated":"2024-01-15T10:30:00.1234567+00:00","updatedBy":"admin","entries":[
            {"stream":"orders","group":"billing","filter":null,"resolveLinkTos":false,"extraStatistics":true,
             "messageTimeout":30000,"startFrom":-1,"startPosition":"-1","liveBufferSize":500,"historyBufferSize":500,
             "maxRetryCount":10,"readBatchSize":20,"preferRoundRobin":false,"checkPointAfter":2000,
             "minCheckPointCount":10,"maxCheckPointCount":1000,"maxSubscriberCount":0,
             "namedConsumerStrategy":"RoundRobin"},
            {"stream":"$all","group":"audit","filter":{"context":"eventtype","type":"regex","data":"^a","isAllStream":true},
             "resolveLinkTos":false,"extraStatistics":false,"messageTimeout":30000,"startFrom":-9223372036854775808,
             "startPosition":"C:12/P:12","liveBufferSize":500,"historyBufferSize":500,"maxRetryCount":10,
             "readBatchSize":20,"preferRoundRobin":false,"checkPointAfter":0,"minCheckPointCount":10,
             "maxCheckPointCount":1000,"maxSubscriberCount":2,"namedConsumerStrategy":"Nonsense"}]}"#;
        let event = recorded(NewEvent::json(Uuid::nil(), CONFIG_TYPE, json));
        let config = Config::read(&event).unwrap();
        let groups = config.groups();
        assert_eq!(groups.len(), 1, "one has a strategy that is not known");
        assert_eq!(groups[0].definition.settings.checkpoint_after, Some(Duration::from_secs(2)));
        assert_eq!((groups[0].definition.start, groups[0].live_from), (Start::End, None));
        assert_eq!(config.entries.len(), 2, "and is kept");
    }

    #[test]
    fn a_checkpoint_of_another_store_is_none_in_all() {
        let (here, there) = (StoreId(Uuid::from_u128(1)), StoreId(Uuid::from_u128(2)));
        for place in [Place::Revision(7), Place::Position(event_store::Position::from_raw(9))] {
            let event = recorded(checkpoint(Uuid::nil(), place, here));
            assert_eq!(read_checkpoint(&event, here), Some(place));
            let in_stream = matches!(place, Place::Revision(_));
            assert_eq!(read_checkpoint(&event, there), in_stream.then_some(place));
        }
    }
}
