//! Reading pages: laws 12 to 16. Everything here may wait for the disk.

use crate::{
    cursor::Cursor,
    heads::Spot,
    index::Run,
    key::{Kind, StreamRef},
    look,
    page::Budget,
    shared::Shared,
};
use bytes::Bytes;
use event_store::{
    AllPage, Direction, Error, EventType, NewEvent, Position, ReadAll, ReadFrom, ReadStream, RecordedEvent,
    ResolvedEvent, Result, Revision, StoreId, StreamPage, derived_link,
};
use std::time::Duration;

/// How many positions of a stream are looked up at once.
const STRETCH: u64 = 1024;
/// With a filter, a page ends after so many events or bytes looked at, or after so long, whatever it holds.
const LOOK_EVENTS: u64 = 20_000;
const LOOK_BYTES: usize = 64 << 20;
const LOOK_TIME: Duration = Duration::from_millis(100);
/// How many events are looked at between two looks at the clock.
const LOOK_AGAIN: u64 = 64;

/// What can be read of a stream at one moment.
pub(crate) struct Readable {
    /// The oldest readable revision; nothing if none is left.
    pub(crate) first: Option<Revision>,
    pub(crate) last: Revision,
    end: u64,
}

impl Readable {
    fn has(&self, revision: Revision) -> bool {
        self.first.is_some_and(|first| first <= revision) && revision <= self.last
    }
}

/// How far a stream goes.
pub(crate) struct Ends {
    pub(crate) last: Option<Revision>,
    pub(crate) tombstoned: bool,
    /// The end of the log that this goes with.
    pub(crate) end: u64,
}

impl Shared {
    pub(crate) fn read_stream(&self, stream: &StreamRef, read: &ReadStream) -> Result<StreamPage> {
        let mut budget = Budget::new(read.limit, read.max_bytes)?;
        let mut cursor = self.cursor();
        let readable = self.readable(&mut cursor, stream)?;
        let mut page = StreamPage { events: Vec::new(), next: None, last_revision: readable.last };
        let Some((mut from, to)) = range(&readable, read) else { return Ok(page) };
        let forwards = read.direction == Direction::Forwards;
        let mut links = read.resolve_links.then(|| Links::new(self));
        loop {
            let wanted = (read.limit as u64).saturating_sub(page.events.len() as u64 + 1).min(STRETCH - 1);
            let stretch = if forwards {
                (from, from.saturating_add(wanted).min(to))
            } else {
                (from.saturating_sub(wanted).max(to), from)
            };
            let mut spots = self.spots(stream, stretch, readable.end)?;
            if !forwards {
                spots.reverse();
            }
            for spot in spots {
                let event = self.resolved_at(&mut cursor, stream, spot, links.as_mut())?;
                if !budget.take(event.size()) {
                    page.next = Some(spot.revision);
                    return Ok(page);
                }
                page.events.push(event);
            }
            let done = if forwards { stretch.1 } else { stretch.0 };
            if done == to {
                return Ok(page);
            }
            from = if forwards { done + 1 } else { done - 1 };
            if budget.is_full() {
                page.next = Some(from);
                return Ok(page);
            }
        }
    }

    pub(crate) fn read_all(&self, read: &ReadAll) -> Result<AllPage> {
        let mut budget = Budget::new(read.limit, read.max_bytes)?;
        let end = self.end();
        let mut page = AllPage { events: Vec::with_capacity(read.limit.min(1024)), next: None };
        let forwards = read.direction == Direction::Forwards;
        let from = match (read.from, forwards) {
            (ReadFrom::Start, _) => Some(0),
            (ReadFrom::End, true) => None,
            (ReadFrom::End, false) => end.checked_sub(1),
            (ReadFrom::At(at), true) => Some(at.raw()),
            (ReadFrom::At(at), false) => end.checked_sub(1).map(|last| last.min(at.raw())),
            (ReadFrom::Past(past), true) => past.raw().checked_add(1),
            (ReadFrom::Past(past), false) => {
                past.raw().checked_sub(1).and_then(|at| Some(at.min(end.checked_sub(1)?)))
            }
        };
        let mut next = from.filter(|from| *from < end);
        let mut cursor = self.cursor();
        let mut links = read.resolve_links.then(|| Links::new(self));
        let (mut looked, mut looked_bytes) = (0, 0);
        let began = self.clock.monotonic();
        while let Some(position) = next {
            let too_long = || {
                looked > 0
                    && looked % LOOK_AGAIN == 0
                    && self.clock.monotonic().saturating_sub(began) >= LOOK_TIME
            };
            let enough =
                read.filter.is_some() && (looked >= LOOK_EVENTS || looked_bytes >= LOOK_BYTES || too_long());
            if budget.is_full() || enough {
                break;
            }
            let event = cursor.event(position)?;
            looked += 1;
            looked_bytes += event.size();
            if read.filter.as_ref().is_none_or(|filter| filter.matches(&event)) {
                // What lies between two events that match is nobody's: it must not live as long as they do.
                let event = if read.filter.is_some() { apart(event) } else { event };
                let event = resolve(links.as_mut(), event)?;
                if !budget.take(event.size()) {
                    break;
                }
                page.events.push(event);
            }
            next = if forwards { Some(position + 1).filter(|p| *p < end) } else { position.checked_sub(1) };
        }
        page.next = next.map(Position::from_raw);
        Ok(page)
    }

    /// Law 12.
    pub(crate) fn readable(&self, cursor: &mut Cursor<'_>, stream: &StreamRef) -> Result<Readable> {
        if stream.kind == Kind::Derived {
            let Ends { last, end, .. } = self.ends(stream)?;
            let last = last.ok_or_else(|| Error::StreamNotFound(stream.name.clone()))?;
            return Ok(Readable { first: Some(0), last, end });
        }
        let (head, end) = self.head(stream)?;
        let (first, last) = look::bounds(stream, &head)?;
        let readable = |first: Option<Revision>| Readable { first, last: last.revision, end };
        let age = head.retention.max_age.filter(|_| stream.kind == Kind::Plain);
        let (Some(first), Some(age)) = (first, age) else { return Ok(readable(first)) };
        let oldest = self.clock.now().minus(age);
        // Events are dated in the order of writing: the first that is young enough is found by halving.
        if cursor.created(last.position)? < oldest {
            return Ok(readable(None));
        }
        let (mut low, mut high) = (first, last.revision);
        while low < high {
            // Most often nothing has aged away, and the first look says so.
            let middle = if low == first && high == last.revision { first } else { low + (high - low) / 2 };
            let spots = self.spots(stream, (middle, middle), end)?;
            let spot = spots.first().ok_or_else(|| self.hole(stream, middle))?;
            if cursor.created(spot.position)? < oldest {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(readable(Some(low)))
    }

    /// Where a stream's revisions stand, all of them, in order.
    pub(crate) fn spots(
        &self,
        stream: &StreamRef,
        (from, to): (Revision, Revision),
        end: u64,
    ) -> Result<Vec<Spot>> {
        let count = usize::try_from(to - from + 1).unwrap_or(usize::MAX);
        let mut spots: Vec<Spot> = Vec::with_capacity(count.min(STRETCH as usize));
        for run in self.runs(stream, (from, to), end, count)? {
            for step in 0..run.count {
                let revision = run.first_revision + step;
                if revision == from + spots.len() as u64 && spots.len() < count {
                    spots.push(Spot { revision, position: run.first_position + step });
                }
            }
        }
        if spots.len() < count {
            return Err(self.hole(stream, from + spots.len() as u64));
        }
        Ok(spots)
    }

    fn runs(
        &self,
        stream: &StreamRef,
        range: (Revision, Revision),
        end: u64,
        limit: usize,
    ) -> Result<Vec<Run>> {
        match stream.kind {
            Kind::Derived => self.index.links(stream.own, range, end, limit),
            _ => self.index.runs(stream.own, range, end, limit),
        }
    }

    /// How far a stream goes, whether it can be read or not.
    pub(crate) fn ends(&self, stream: &StreamRef) -> Result<Ends> {
        if stream.kind == Kind::Derived {
            let end = self.end();
            let last = self.index.last_link(stream.own, end)?.map(|last| last.revision);
            return Ok(Ends { last, tombstoned: false, end });
        }
        let (head, end) = self.head(stream)?;
        Ok(Ends { last: head.last_of(stream).map(|last| last.revision), tombstoned: head.tombstoned, end })
    }

    /// What a read gives for a spot.
    fn resolved_at(
        &self,
        cursor: &mut Cursor<'_>,
        stream: &StreamRef,
        spot: Spot,
        links: Option<&mut Links<'_>>,
    ) -> Result<ResolvedEvent> {
        let Some(derived) = stream.name.derived() else {
            return resolve(links, self.event_of(cursor, stream, spot)?);
        };
        let event = cursor.event(spot.position)?;
        if !derived.gathers(&event) {
            return Err(self.hole(stream, spot.revision));
        }
        let link = derived_link(StoreId(self.log.store_id), &stream.name, spot.revision, &event);
        let Some(links) = links else { return Ok(link.into()) };
        // Most links lead to the event that is at hand.
        let target = match link.link_target() {
            Some((revision, name)) if revision == event.revision && name == event.stream => {
                links.can_be_read(&event)?.then(|| apart(event))
            }
            _ => links.target(&link)?,
        };
        Ok(ResolvedEvent { event: target, link: Some(link) })
    }

    /// The event at a spot, which must be what the index says. A stream's events may lie far apart, so each has memory of
    /// its own.
    pub(crate) fn event_of(
        &self,
        cursor: &mut Cursor<'_>,
        stream: &StreamRef,
        spot: Spot,
    ) -> Result<RecordedEvent> {
        let event = cursor.event(spot.position)?;
        if event.stream != stream.name || event.revision != spot.revision {
            return Err(self.hole(stream, spot.revision));
        }
        Ok(apart(event))
    }

    fn hole(&self, stream: &StreamRef, revision: Revision) -> Error {
        self.index.damaged(&format!("it does not know where revision {revision} of '{}' is", stream.name))
    }

    /// At most `limit` events of a stream from a revision on, whether they can be read or not, the tombstone among them.
    pub(crate) fn raw_events(
        &self,
        stream: &StreamRef,
        from: Revision,
        end: u64,
        (limit, max_bytes): (usize, usize),
        resolve_links: bool,
    ) -> Result<Vec<ResolvedEvent>> {
        let mut budget = Budget::new(limit, max_bytes)?;
        let mut cursor = self.cursor();
        let mut links = resolve_links.then(|| Links::new(self));
        let mut events = Vec::new();
        for run in self.runs(stream, (from, Revision::MAX >> 1), end, limit)? {
            for step in from.saturating_sub(run.first_revision)..run.count {
                let spot = Spot { revision: run.first_revision + step, position: run.first_position + step };
                let event = self.resolved_at(&mut cursor, stream, spot, links.as_mut())?;
                if !budget.take(event.size()) {
                    return Ok(events);
                }
                events.push(event);
            }
        }
        Ok(events)
    }

    /// Law 6: how many of these events stand, in order and with the same ids, at a revision of a stream and after it. Gives
    /// the number, and where the last of them stands.
    pub(crate) fn compare(
        &self,
        stream: &StreamRef,
        first: Revision,
        events: &[NewEvent],
    ) -> Result<(usize, Option<Spot>)> {
        let end = self.end();
        let mut cursor = self.cursor();
        let (mut same, mut last) = (0, None);
        for stretch in events.chunks(STRETCH as usize) {
            let from = first + same as u64;
            let runs =
                self.index.runs(stream.own, (from, from + stretch.len() as u64 - 1), end, stretch.len())?;
            let spots = runs.into_iter().flat_map(|run| {
                let steps = from.saturating_sub(run.first_revision)..run.count;
                steps
                    .map(move |s| Spot { revision: run.first_revision + s, position: run.first_position + s })
            });
            let before = same;
            for (spot, event) in spots.zip(stretch) {
                if spot.revision != first + same as u64 || cursor.checked(spot.position)?.head.id != event.id
                {
                    return Ok((same, last));
                }
                same += 1;
                last = Some(spot);
            }
            if same - before < stretch.len() {
                break;
            }
        }
        Ok((same, last))
    }
}

/// An event with memory of its own, where it would keep a whole window of the log alive otherwise.
fn apart(event: RecordedEvent) -> RecordedEvent {
    let (data, metadata) = (Bytes::copy_from_slice(&event.data), Bytes::copy_from_slice(&event.metadata));
    RecordedEvent { data, metadata, ..event }
}

/// The revisions to read, first and last in the order of reading.
fn range(readable: &Readable, read: &ReadStream) -> Option<(Revision, Revision)> {
    let (first, last) = (readable.first?, readable.last);
    let range = match read.direction {
        Direction::Forwards => {
            let from = match read.from {
                ReadFrom::Start => first,
                ReadFrom::End => return None,
                ReadFrom::At(at) => at.max(first),
                ReadFrom::Past(past) => past.checked_add(1)?.max(first),
            };
            (from, last)
        }
        Direction::Backwards => {
            let from = match read.from {
                ReadFrom::Start => 0,
                ReadFrom::End => last,
                ReadFrom::At(at) => at.min(last),
                ReadFrom::Past(past) => past.checked_sub(1)?.min(last),
            };
            (from, first)
        }
    };
    let forwards = read.direction == Direction::Forwards;
    let empty = if forwards { range.0 > range.1 } else { range.0 < range.1 };
    (!empty).then_some(range)
}

/// Follows links.
struct Links<'a> {
    shared: &'a Shared,
    cursor: Cursor<'a>,
}

impl<'a> Links<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self { shared, cursor: shared.cursor() }
    }

    /// Whether an event that is at hand can be read.
    fn can_be_read(&mut self, event: &RecordedEvent) -> Result<bool> {
        let stream = self.shared.index.hashing.stream(&event.stream);
        Ok(self.readable(&stream)?.is_some_and(|readable| readable.has(event.revision)))
    }

    fn readable(&mut self, stream: &StreamRef) -> Result<Option<Readable>> {
        match self.shared.readable(&mut self.cursor, stream) {
            Ok(readable) => Ok(Some(readable)),
            Err(Error::StreamNotFound(_) | Error::StreamDeleted(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What a link points to, if it can be read.
    fn target(&mut self, link: &RecordedEvent) -> Result<Option<RecordedEvent>> {
        let Some((revision, name)) = link.link_target() else { return Ok(None) };
        let stream = self.shared.index.hashing.stream(&name);
        let Some(readable) = self.readable(&stream)?.filter(|readable| readable.has(revision)) else {
            return Ok(None);
        };
        let spots = self.shared.spots(&stream, (revision, revision), readable.end)?;
        let Some(spot) = spots.first() else { return Ok(None) };
        Ok(self.shared.resolved_at(&mut self.cursor, &stream, *spot, None)?.event)
    }
}

fn resolve(links: Option<&mut Links<'_>>, event: RecordedEvent) -> Result<ResolvedEvent> {
    match links {
        Some(links) if event.event_type.as_str() == EventType::LINK => {
            Ok(ResolvedEvent { event: links.target(&event)?, link: Some(event) })
        }
        _ => Ok(event.into()),
    }
}

#[cfg(test)]
mod tests {
    use crate::{Engine, Options};
    use event_store::{
        EventFilter, EventStore, ExpectedState, NewEvent, ReadAll, ReadStream, ResolvedEvent, StreamName,
    };

    /// Thousands of feeds hold a page each: a page costs what its events do, not what lies between them in the log.
    #[tokio::test]
    async fn events_that_lie_apart_do_not_keep_what_lies_between_them() {
        let engine = Engine::open(Options::in_memory()).unwrap();
        let (wanted, other) = (StreamName::new("wanted").unwrap(), StreamName::new("other").unwrap());
        for number in 0..20_u128 {
            let stream = if number % 2 == 0 { &wanted } else { &other };
            let event =
                NewEvent::json(uuid::Uuid::from_u128(number + 1), "Lent", format!("{{\"n\":{number}}}"));
            engine.append(stream, ExpectedState::Any, vec![event]).await.unwrap();
        }
        let filter = EventFilter::stream_prefix(["wanted"]);
        let filtered = engine.read_all(ReadAll::forwards(100).filter(filter)).await.unwrap().events;
        let own = engine.read_stream(&wanted, ReadStream::forwards(100)).await.unwrap().events;
        for page in [filtered, own] {
            assert_eq!(page.len(), 10);
            let alone = |event: &ResolvedEvent| event.event.as_ref().unwrap().data.is_unique();
            assert!(page.iter().all(alone), "an event shares memory with others");
        }
    }
}
