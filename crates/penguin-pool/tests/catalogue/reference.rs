//! The catalogue's answers in the plainest way: everything is read from the store, and every question walks it all.

use event_store::{
    Error, EventStore, ReadAll, ReadFrom, ReadStream, RecordedEvent, Revision, StreamMetadata, StreamName,
    Timestamp, VersionedMetadata,
};
use models::{StreamStatus, UserStream};
use penguin_pool::{
    catalogue::{BrowseFilter, SearchFilter, Statistics},
    security::{Caller, Right, permission},
};
use std::collections::{BTreeMap, BTreeSet};

/// All that the store holds, at a time of day.
pub(crate) struct Reference {
    pub(crate) streams: BTreeMap<String, Stream>,
    pub(crate) last_activity: Option<Timestamp>,
}

/// A stream, as the store itself reads it.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    pub(crate) readable: Vec<RecordedEvent>,
    pub(crate) metadata: StreamMetadata,
    pub(crate) status: StreamStatus,
    pub(crate) tombstoned: bool,
    pub(crate) created_at: Timestamp,
    pub(crate) tags: Vec<String>,
    pub(crate) owner: Option<String>,
    /// Where its metadata stands, and its last event.
    described_at: Option<Revision>,
    last: Revision,
}

async fn everything(store: &dyn EventStore) -> Vec<RecordedEvent> {
    let mut all = Vec::new();
    let mut next = Some(ReadFrom::Start);
    while let Some(from) = next {
        let page = store.read_all(ReadAll::forwards(1000).from(from)).await.unwrap();
        all.extend(page.events.into_iter().filter_map(|e| e.event));
        next = page.next.map(ReadFrom::At);
    }
    all
}

impl Reference {
    pub(crate) async fn of(store: &dyn EventStore) -> Self {
        let all = everything(store).await;
        let mut streams = BTreeMap::new();
        let names: BTreeSet<StreamName> = all.iter().map(|e| e.stream.clone()).collect();
        for name in names {
            let own: Vec<&RecordedEvent> = all.iter().filter(|e| e.stream == name).collect();
            let (readable, deleted, tombstoned) =
                match store.read_stream(&name, ReadStream::forwards(1000)).await {
                    Ok(page) => (page.events.into_iter().filter_map(|e| e.event).collect(), false, false),
                    Err(Error::StreamNotFound(_)) => (Vec::new(), true, false),
                    Err(Error::StreamDeleted(_)) => (Vec::new(), true, true),
                    Err(error) => panic!("{error}"),
                };
            // Nothing is kept of a user's stream that was ended for good.
            let described = name.as_str().strip_prefix("$$").unwrap_or(name.as_str());
            if tombstoned && UserStream::split(described).is_some() {
                continue;
            }
            let metastream = name.metastream();
            let newest = all.iter().rfind(|e| Some(&e.stream) == metastream.as_ref());
            let metadata =
                newest.map_or_else(StreamMetadata::default, |e| StreamMetadata::from_json(&e.data));
            let text = |key: &str| metadata.custom.get(key).and_then(|v| v.as_str()).map(str::to_owned);
            let status = match text("status").as_deref() {
                _ if deleted => StreamStatus::Deleted,
                Some("archived") => StreamStatus::Archived,
                _ => StreamStatus::Active,
            };
            let said = text("createdAt").and_then(|at| at.parse::<jiff::Timestamp>().ok());
            let created_at =
                said.map(|at| Timestamp::from_millis(at.as_millisecond())).unwrap_or(own[0].created);
            let tags = metadata.custom.get("tags").and_then(|tags| tags.as_array());
            let tags = tags.into_iter().flatten().filter_map(|tag| tag.as_str().map(str::to_owned)).collect();
            let owner = text("owner");
            let (described_at, last) = (newest.map(|e| e.revision), own[own.len() - 1].revision);
            let stream = Stream {
                readable,
                metadata,
                status,
                tombstoned,
                created_at,
                tags,
                owner,
                described_at,
                last,
            };
            streams.insert(name.as_str().to_owned(), stream);
        }
        let last_activity = all.iter().rfind(|e| !e.stream.is_system()).map(|e| e.created);
        Self { streams, last_activity }
    }

    /// The part of it that a caller may find.
    pub(crate) fn seen_by(&self, caller: &Caller) -> Self {
        let may = |(name, stream): &(&String, &Stream)| {
            let named = StreamName::new(name.as_str()).unwrap();
            let acl = stream.metadata.acl.as_ref();
            let rights = [Right::Read, Right::MetaRead];
            !stream.tombstoned
                && !named.is_metastream()
                && rights.into_iter().all(|right| permission::allows(caller, &named, acl, right))
        };
        // Of what became public only what was written from then on, and nothing of what nothing was written of since.
        let part = |(name, stream): (&String, &Stream)| {
            let metadata =
                VersionedMetadata { revision: stream.described_at, metadata: stream.metadata.clone() };
            let from = permission::sees_from(caller, &StreamName::new(name.as_str()).unwrap(), &metadata)?;
            let mut seen = stream.clone();
            seen.readable.retain(|event| event.revision >= from);
            (from <= stream.last).then(|| (name.clone(), seen))
        };
        let streams: BTreeMap<_, _> = self.streams.iter().filter(may).filter_map(part).collect();
        let found = streams.iter().filter(|(name, _)| !name.starts_with('$'));
        let last_activity = found.flat_map(|(_, s)| &s.readable).map(|e| e.created).max();
        Self { streams, last_activity }
    }

    /// The names that a browse without limit, offset and cursor gives.
    pub(crate) fn browse(&self, filter: &BrowseFilter) -> Vec<&str> {
        let pattern = filter.name_pattern.as_deref().map(|p| regex::Regex::new(p).unwrap());
        let system = |text: &Option<String>, sign: &str| text.as_ref().is_some_and(|t| t.starts_with(sign));
        let of_system = system(&filter.prefix, "$") || system(&filter.name_pattern, r"^\$");
        let wanted = |(name, stream): &(&String, &Stream)| {
            let status = match filter.status {
                None => stream.status != StreamStatus::Deleted,
                Some(status) => stream.status == status,
            };
            status
                && !name.starts_with("$$")
                && name.starts_with('$') == of_system
                && filter.prefix.as_ref().is_none_or(|p| name.starts_with(p.as_str()))
                && pattern.as_ref().is_none_or(|p| p.is_match(name))
                && filter.date_from.is_none_or(|from| stream.created_at >= from)
                && filter.date_to.is_none_or(|to| stream.created_at <= to)
                && filter.tag.as_ref().is_none_or(|tag| stream.tags.contains(tag))
                && filter.owner.as_ref().is_none_or(|owner| stream.owner.as_ref() == Some(owner))
                && filter
                    .event_type
                    .as_ref()
                    .is_none_or(|kind| stream.readable.iter().any(|e| e.event_type.as_str() == kind))
        };
        self.streams.iter().filter(wanted).map(|(name, _)| name.as_str()).collect()
    }

    /// The events that a search without limit and cursor gives, where `holds` stands for text and conditions.
    pub(crate) fn search(
        &self,
        filter: &SearchFilter,
        holds: impl Fn(&RecordedEvent) -> bool,
    ) -> Vec<&RecordedEvent> {
        let wanted = |event: &&RecordedEvent| {
            let stream = match &filter.stream_name {
                Some(name) => event.stream == *name,
                None => !event.stream.is_system(),
            };
            stream
                && filter.event_type.as_ref().is_none_or(|kind| event.event_type.as_str() == kind)
                && filter.date_from.is_none_or(|from| event.created >= from)
                && filter.date_to.is_none_or(|to| event.created <= to)
                && holds(event)
        };
        let mut found: Vec<_> = self.streams.values().flat_map(|s| &s.readable).filter(wanted).collect();
        found.sort_by_key(|event| std::cmp::Reverse(event.position));
        found
    }

    /// How much there is.
    pub(crate) fn statistics(&self) -> Statistics {
        let live = || {
            let live = |(name, stream): &(&String, &Stream)| {
                !name.starts_with('$') && stream.status != StreamStatus::Deleted
            };
            self.streams.iter().filter(live)
        };
        let mut statistics = Statistics { last_activity: self.last_activity, ..Statistics::default() };
        let mut users = BTreeSet::new();
        for (name, stream) in live() {
            statistics.total_streams += 1;
            statistics.active_streams += u64::from(stream.status == StreamStatus::Active);
            if let Some(rest) = name.strip_prefix("user-") {
                users.extend(rest.split('-').next());
            }
            for event in &stream.readable {
                statistics.total_events += 1;
                statistics.storage_used += event.size() as u64;
                let kind = event.event_type.as_str().to_owned();
                *statistics.events_per_type.entry(kind).or_default() += 1;
                if let Some((category, _)) = name.split_once('-') {
                    *statistics.events_per_category.entry(category.to_owned()).or_default() += 1;
                }
            }
        }
        statistics.total_users = users.len() as u64;
        statistics
    }
}
