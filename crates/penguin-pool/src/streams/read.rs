//! Reading streams, and everything.

use super::{Streams, StreamsError, name, view};
use crate::{
    catalogue::View,
    security::{BoundStore, Caller},
};
use event_store::{
    DEFAULT_PAGE_BYTES, Direction, EventFilter, FilterBy, Position, ReadAll, ReadFrom, ReadStream,
    RecordedEvent, ResolvedEvent, Revision, StreamInfo,
};
use models::{AllEventPage, AllEventsQuery, EventPage, EventsQuery, ReadDirection};

type Result<T> = std::result::Result<T, StreamsError>;

/// How many pages of the store are read at most for one page of everything, while the filter leaves too few events.
const PAGES: usize = 8;

/// How many events the catalogue may be behind for its count to be waited for.
const NEAR: u64 = 10_000;

impl Streams {
    /// A page of a stream.
    ///
    /// # Errors
    /// `StreamNotFound`, `StreamDeleted`, and what else the store answers.
    pub async fn events(&self, caller: &Caller, stream: &str, query: EventsQuery) -> Result<EventPage> {
        let store = self.gate.bind(caller);
        let name = name(stream)?;
        let info = store.stream_info(&name).await?;
        let total = info.events;
        let Some(from) = start(&query, info) else {
            return Ok(EventPage { events: Vec::new(), total, has_more: false, next_revision: None });
        };
        let read = ReadStream {
            from,
            direction: direction(query.direction),
            resolve_links: true,
            ..ReadStream::forwards(query.limit.size())
        };
        let page = store.read_stream(&name, read).await?;
        Ok(EventPage {
            events: page.events.into_iter().filter_map(view::event).collect(),
            total,
            has_more: page.next.is_some(),
            next_revision: page.next,
        })
    }

    /// A page of everything.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn all_events(&self, caller: &Caller, query: AllEventsQuery) -> Result<AllEventPage> {
        let store = self.gate.bind(caller);
        let direction = direction(query.direction);
        let mut next = Some(match (query.from, direction) {
            (Some(from), _) => ReadFrom::At(Position::from_raw(from.get())),
            (None, Direction::Forwards) => ReadFrom::Start,
            (None, Direction::Backwards) => ReadFrom::End,
        });
        let filter = (!query.system).then(not_the_systems).transpose()?;
        let limit = query.limit.size();
        let mut events = Vec::new();
        // All pages together are as large as one may be.
        let mut left = DEFAULT_PAGE_BYTES;
        for _ in 0..PAGES {
            let Some(from) = next.filter(|_| events.len() < limit && left > 0) else { break };
            let filter = filter.clone();
            let read = ReadAll {
                from,
                direction,
                filter,
                max_bytes: left,
                ..ReadAll::forwards(limit - events.len())
            };
            let page = store.read_all(read).await?;
            let size: usize = page.events.iter().filter_map(|e| e.original()).map(RecordedEvent::size).sum();
            left = left.saturating_sub(size);
            let shown = page.events.into_iter().filter(|e| query.system || !is_the_systems(e));
            events.extend(shown.filter_map(view::event));
            next = page.next.map(ReadFrom::At);
        }
        let next_position = match next {
            Some(ReadFrom::At(position)) => Some(position.raw()),
            _ => None,
        };
        let total = self.events_of_all(caller, &store, query.system).await?;
        Ok(AllEventPage { events, total, has_more: next_position.is_some(), next_position })
    }
}

impl Streams {
    /// How many events the store has taken; without the system's where those are not asked for, as the catalogue counts
    /// them. To whom not everything may be shown, the catalogue counts what may: how much others write is not told.
    async fn events_of_all(&self, caller: &Caller, store: &BoundStore, system: bool) -> Result<u64> {
        if system && caller.is_admin() {
            return Ok(store.statistics().await?.events);
        }
        // One that has much to catch up with is not waited for: pages of everything must not be slow then.
        let near = self.catalogue.lag().await?.events <= NEAR;
        let fresh = near && !self.is_stale(store).await?;
        if !caller.is_admin() {
            return Ok(self.catalogue.statistics(&View::of(caller)).await?.total_events);
        }
        let (taken, systems) = (self.catalogue.events(), self.catalogue.system_events());
        if fresh || !store.capabilities().counts {
            return Ok(taken.saturating_sub(systems));
        }
        Ok(store.statistics().await?.events.saturating_sub(systems))
    }
}

/// Streams whose names do not begin with `$`.
pub(super) fn not_the_systems() -> event_store::Result<EventFilter> {
    EventFilter::regex(FilterBy::StreamName, "^[^$]")
}

/// Whether an event is the system's: by its stream, or by its type (a tombstone, say).
pub(super) fn is_the_systems(event: &ResolvedEvent) -> bool {
    event.original().is_some_and(|e| e.stream.is_system() || e.event_type.is_system())
}

const fn direction(direction: ReadDirection) -> Direction {
    match direction {
        ReadDirection::Forwards => Direction::Forwards,
        ReadDirection::Backwards => Direction::Backwards,
    }
}

/// Where to begin; nothing if the offset leads past the end.
fn start(query: &EventsQuery, info: StreamInfo) -> Option<ReadFrom<Revision>> {
    let from = query.from.map(models::Mark::get);
    let at = match query.direction {
        ReadDirection::Forwards => {
            let first = info.first_revision?;
            from.map_or(first, |from| from.max(first)).checked_add(query.offset)?
        }
        ReadDirection::Backwards => {
            let last = info.last_revision;
            from.map_or(last, |from| from.min(last)).checked_sub(query.offset)?
        }
    };
    (at <= info.last_revision).then_some(ReadFrom::At(at))
}
