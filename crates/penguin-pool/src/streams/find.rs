//! Finding streams and events: the questions that the catalogue answers.

use super::{Streams, StreamsError, metadata, name, view};
use crate::{
    catalogue::{
        BrowseFilter, BrowsePage, CatalogueStream, Condition, Freshness, Hit, Operator, SearchFilter, View,
    },
    security::{BoundStore, Caller, Right},
};
use event_store::{Error, ReadFrom, ReadStream, StoreState, StreamName, Timestamp};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use models::{
    BrowseQuery, ConditionDto, ConnectionStatus, DateTime, Event, HealthStatus, ListedStream, SearchDto,
    SearchOperator, SearchResult, Stream, StreamDetails, StreamPage, StreamStatistics, StreamStatus,
    StreamsHealth,
};
use std::pin::pin;

type Result<T> = std::result::Result<T, StreamsError>;

/// How many of the events found are fetched at once.
const FETCHES: usize = 16;

/// The streams that the service keeps for itself.
const OWN_STREAMS: [&str; 5] = [
    "connection-test",
    "service-uptime-database",
    "service-uptime-http",
    "service-uptime-websocket",
    "system-health-check",
];

impl Streams {
    /// A part of the list of streams.
    ///
    /// # Errors
    /// `Catalogue`, and what the store answers.
    pub async fn browse(&self, caller: &Caller, query: BrowseQuery) -> Result<StreamPage> {
        self.gate.told(caller, "browse", self.browsed(caller, query), StreamsError::code).await
    }

    async fn browsed(&self, caller: &Caller, query: BrowseQuery) -> Result<StreamPage> {
        let stale = self.is_stale(&self.gate.bind(caller)).await?;
        let filter = BrowseFilter {
            name_pattern: query.name_pattern,
            prefix: query.prefix,
            event_type: query.event_type,
            date_from: query.date_from.map(moment),
            date_to: query.date_to.map(moment),
            tag: query.tag,
            owner: query.owner,
            status: query.status,
            limit: query.limit.size(),
            offset: query.offset,
            cursor: query.cursor,
        };
        let by_offset = filter.cursor.is_none().then_some(filter.offset);
        let mut page = self.catalogue.browse(&View::of(caller), filter).await?;
        let next_offset =
            by_offset.filter(|_| page.has_more).map(|offset| offset + page.streams.len() as u64);
        if stale && !caller.is_admin() {
            self.hide_what_was_taken_back(caller, &mut page).await?;
        }
        Ok(StreamPage {
            next_offset,
            streams: page.streams.iter().map(listed).collect(),
            total: page.total,
            has_more: page.has_more,
            next_cursor: page.next_cursor,
            stale,
        })
    }

    /// A stream and what is in it. What the store knows is the store's; its size alone is the catalogue's.
    ///
    /// # Errors
    /// `StreamNotFound`, `StreamDeleted`, `Catalogue`, and what else the store answers.
    pub async fn details(&self, caller: &Caller, stream: &str) -> Result<StreamDetails> {
        let store = self.gate.bind(caller);
        let name = name(stream)?;
        let event_count = store.stream_info(&name).await?.events;
        let stale = self.is_stale(&store).await?;
        let known = self.catalogue.stream_as_seen(&View::of(caller), &name).await?;
        let metadata = if name.is_metastream() {
            event_store::StreamMetadata::default()
        } else {
            metadata(&store, &name).await?.metadata
        };
        let first_event = one(&store, &name, ReadStream::forwards(1)).await?;
        let last_event = one(&store, &name, ReadStream::backwards(1)).await?;
        let created = known.as_ref().map(|known| known.created_at);
        let created = created.or_else(|| first_event.as_ref().map(|event| moment(event.timestamp)));
        Ok(StreamDetails {
            stream: view::stream(&name, &metadata, false, created),
            event_count,
            last_event,
            first_event,
            size_bytes: known.map(|known| known.size_bytes).unwrap_or_default(),
            metadata: metadata.to_map(),
            stale,
        })
    }

    /// A part of the events that pass a filter, newest first: no more than a page may be large.
    ///
    /// # Errors
    /// `Catalogue`, and what the store answers.
    pub async fn search(&self, caller: &Caller, dto: SearchDto) -> Result<SearchResult> {
        self.gate.told(caller, "search", self.found(caller, dto), StreamsError::code).await
    }

    async fn found(&self, caller: &Caller, dto: SearchDto) -> Result<SearchResult> {
        let store = self.gate.bind(caller);
        let filter = SearchFilter {
            text: dto.text,
            event_type: dto.event_type,
            stream_name: dto.stream_name.map(|text| name(text.as_str())).transpose()?,
            date_from: dto.date_from.map(moment),
            date_to: dto.date_to.map(moment),
            conditions: dto.r#where.into_iter().map(condition).collect(),
            limit: dto.limit.size(),
            cursor: dto.cursor.filter(|cursor| !cursor.is_empty()),
        };
        let stale = self.is_stale(&store).await?;
        let mut page = self.catalogue.search(&View::of(caller), filter).await?;
        let hits = std::mem::take(&mut page.hits);
        let mut fetched = pin!(stream::iter(hits).map(|hit| fetch(&store, hit)).buffered(FETCHES));
        let (mut events, mut bytes, mut cursor) = (Vec::new(), 0, page.cursor.clone());
        let mut before: Option<Hit> = None;
        while let Some((hit, event)) = fetched.try_next().await? {
            // What was deleted or truncated since the catalogue looked is left out.
            if let Some(event) = event {
                bytes += event.data.get().len() + event.metadata.get().len();
                if bytes > self.page_bytes
                    && !events.is_empty()
                    && let Some(before) = &before
                {
                    cursor = Some(page.cursor_after(before));
                    break;
                }
                events.push(event);
            }
            before = Some(hit);
        }
        Ok(SearchResult {
            events,
            total: page.total,
            total_is_lower_bound: page.total_is_lower_bound,
            has_more: cursor.is_some(),
            cursor,
            stale,
        })
    }

    /// How much there is.
    ///
    /// # Errors
    /// `Catalogue`, and what the store answers.
    pub async fn statistics(&self, caller: &Caller) -> Result<StreamStatistics> {
        self.gate.told(caller, "statistics", self.counted(caller), StreamsError::code).await
    }

    async fn counted(&self, caller: &Caller) -> Result<StreamStatistics> {
        let stale = self.is_stale(&self.gate.bind(caller)).await?;
        let found = self.catalogue.statistics(&View::of(caller)).await?;
        Ok(StreamStatistics {
            total_streams: found.total_streams,
            active_streams: found.active_streams,
            total_events: found.total_events,
            total_users: found.total_users,
            storage_used: found.storage_used,
            last_activity: found.last_activity.map(view::date),
            events_per_type: found.events_per_type,
            events_per_category: found.events_per_category,
            stale,
        })
    }

    /// How the store of the streams is: each of the service's own streams is really read, in the service's own name.
    pub async fn health(&self) -> StreamsHealth {
        let store = self.gate.bind(&Caller::system());
        let mut availability = std::collections::BTreeMap::new();
        let mut reached = false;
        for own in OWN_STREAMS {
            let read = match StreamName::new(own) {
                Ok(name) => store.read_stream(&name, ReadStream::backwards(1)).await.map(|_| ()),
                Err(error) => Err(Error::InvalidArgument(error.to_string())),
            };
            reached |= matches!(read, Ok(()) | Err(Error::StreamNotFound(_) | Error::StreamDeleted(_)));
            availability.insert(own.to_owned(), read.is_ok());
        }
        let (connection_status, writes) = match store.state() {
            StoreState::Ready => (ConnectionStatus::Connected, true),
            StoreState::ReadOnly(_) => (ConnectionStatus::Connected, false),
            StoreState::Connecting => (ConnectionStatus::Connecting, false),
            StoreState::Reconnecting(_) => (ConnectionStatus::Reconnecting, false),
            StoreState::Closed => (ConnectionStatus::Disconnected, false),
        };
        let health = match (reached, writes) {
            (true, true) => HealthStatus::Healthy,
            (true, false) => HealthStatus::Degraded,
            (false, _) => HealthStatus::Unhealthy,
        };
        StreamsHealth {
            health,
            connection: reached,
            is_ready: reached && writes,
            connection_status,
            availability,
        }
    }

    /// A catalogue that is behind may not know yet that the caller may no more find a stream.
    async fn hide_what_was_taken_back(&self, caller: &Caller, page: &mut BrowsePage) -> Result<()> {
        let found = std::mem::take(&mut page.streams);
        let asked = stream::iter(found).map(|known| async move {
            for right in [Right::Read, Right::MetaRead] {
                match self.gate.require(caller, &known.name, right).await {
                    Ok(()) => {}
                    Err(Error::AccessDenied(_) | Error::StreamNotFound(_)) => return Ok(None),
                    Err(error) => return Err(StreamsError::from(error)),
                }
            }
            Ok(Some(known))
        });
        let mut asked = pin!(asked.buffered(FETCHES));
        while let Some(known) = asked.try_next().await? {
            match known {
                Some(known) => page.streams.push(known),
                None => page.total -= 1,
            }
        }
        Ok(())
    }

    /// Waits until the catalogue has taken in what the store holds now. Whether it had not within the time.
    pub(super) async fn is_stale(&self, store: &BoundStore) -> Result<bool> {
        Ok(self.catalogue.catch_up(&**store, self.patience).await? == Freshness::Stale)
    }
}

fn moment(date: DateTime) -> Timestamp {
    Timestamp::from_millis(date.millis())
}

fn listed(known: &CatalogueStream) -> ListedStream {
    let deleted = known.status == StreamStatus::Deleted;
    let mut stream: Stream = view::stream(&known.name, &known.metadata, deleted, Some(known.created_at));
    stream.metadata.updated_at = view::date(known.updated_at);
    ListedStream {
        stream,
        event_count: known.event_count,
        size_bytes: known.size_bytes,
        last_event_at: known.last_event_at.map(view::date),
    }
}

async fn one(store: &BoundStore, name: &StreamName, read: ReadStream) -> Result<Option<Event>> {
    let page = store.read_stream(name, ReadStream { resolve_links: true, ..read }).await?;
    Ok(page.events.into_iter().find_map(view::event))
}

/// What was found, and the event; nothing if it cannot be read any more.
async fn fetch(store: &BoundStore, hit: Hit) -> Result<(Hit, Option<Event>)> {
    let read = ReadStream::forwards(1).from(ReadFrom::At(hit.revision));
    let page = match store.read_stream(&hit.stream, read).await {
        // Taken back from the caller since the catalogue looked, too.
        Err(
            Error::StreamNotFound(_) | Error::StreamDeleted(_) | Error::AccessDenied(_) | Error::Erased(_),
        ) => {
            return Ok((hit, None));
        }
        page => page?,
    };
    let event = page.events.into_iter().find_map(view::event).filter(|event| event.revision == hit.revision);
    Ok((hit, event))
}

fn condition(dto: ConditionDto) -> Condition {
    let op = match dto.op {
        SearchOperator::Eq => Operator::Eq,
        SearchOperator::Ne => Operator::Ne,
        SearchOperator::Lt => Operator::Lt,
        SearchOperator::Lte => Operator::Lte,
        SearchOperator::Gt => Operator::Gt,
        SearchOperator::Gte => Operator::Gte,
        SearchOperator::Exists => Operator::Exists,
        SearchOperator::Contains => Operator::Contains,
    };
    Condition { path: dto.path, op, value: dto.value }
}
