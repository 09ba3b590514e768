//! Reading: take what can be read in the order asked, then cut the page.

use super::Log;
use crate::{
    AllPage, Direction, Error, EventType, ReadAll, ReadFrom, ReadStream, RecordedEvent, ResolvedEvent,
    Result, StreamName, StreamPage, Timestamp,
};

impl Log {
    pub(super) fn read_stream(
        &self,
        stream: &StreamName,
        read: &ReadStream,
        now: Timestamp,
    ) -> Result<StreamPage> {
        check_limit(read.limit)?;
        let readable = self.readable(stream, now)?;
        let wanted = from(readable.iter().collect(), read.from, read.direction, 0, |e| e.revision);
        let resolve = |e: &RecordedEvent| self.resolve(e, read.resolve_links, now);
        let (events, next) = cut(&wanted, resolve, read.limit, read.max_bytes);
        Ok(StreamPage {
            events,
            next: next.map(|e| e.revision),
            last_revision: self.last_revision(stream).unwrap_or(0),
        })
    }

    pub(super) fn read_all(&self, read: &ReadAll, now: Timestamp) -> Result<AllPage> {
        check_limit(read.limit)?;
        let start = super::position(0);
        let mut wanted = from(self.events.iter().collect(), read.from, read.direction, start, |e| e.position);
        wanted.retain(|e| read.filter.as_ref().is_none_or(|filter| filter.matches(e)));
        let resolve = |e: &RecordedEvent| self.resolve(e, read.resolve_links, now);
        let (events, next) = cut(&wanted, resolve, read.limit, read.max_bytes);
        Ok(AllPage { events, next: next.map(|e| e.position) })
    }

    /// Law 16: a link becomes what it points to, if that can be read.
    pub(super) fn resolve(&self, event: &RecordedEvent, links: bool, now: Timestamp) -> ResolvedEvent {
        if !links || event.event_type.as_str() != EventType::LINK {
            return event.clone().into();
        }
        let target = event.link_target().and_then(|(revision, stream)| {
            let readable = self.readable(&stream, now).ok()?;
            readable.into_iter().find(|e| e.revision == revision)
        });
        ResolvedEvent { event: target, link: Some(event.clone()) }
    }
}

fn check_limit(limit: usize) -> Result<()> {
    if limit == 0 {
        return Err(Error::InvalidArgument("a page holds at least one event".into()));
    }
    Ok(())
}

/// The events from where the reader wants to begin, in the order asked. `place` is an event's revision or position,
/// and `start` the first that there can be.
fn from<T: Ord + Copy>(
    mut events: Vec<&RecordedEvent>,
    from: ReadFrom<T>,
    direction: Direction,
    start: T,
    place: impl Fn(&RecordedEvent) -> T,
) -> Vec<&RecordedEvent> {
    events.retain(|e| match (from, direction) {
        (ReadFrom::Start, Direction::Forwards) | (ReadFrom::End, Direction::Backwards) => true,
        (ReadFrom::Start, Direction::Backwards) => place(e) <= start,
        (ReadFrom::End, Direction::Forwards) => false,
        (ReadFrom::At(at), Direction::Forwards) => place(e) >= at,
        (ReadFrom::At(at), Direction::Backwards) => place(e) <= at,
        (ReadFrom::Past(past), Direction::Forwards) => place(e) > past,
        (ReadFrom::Past(past), Direction::Backwards) => place(e) < past,
    });
    if direction == Direction::Backwards {
        events.reverse();
    }
    events
}

/// The first page of these events, resolved, and the event that the next one begins with.
fn cut<'a>(
    events: &[&'a RecordedEvent],
    resolve: impl Fn(&RecordedEvent) -> ResolvedEvent,
    limit: usize,
    max_bytes: usize,
) -> (Vec<ResolvedEvent>, Option<&'a RecordedEvent>) {
    let mut page: Vec<ResolvedEvent> = Vec::new();
    let mut bytes = 0;
    for event in events.iter().take(limit) {
        let resolved = resolve(event);
        bytes += resolved.size();
        if bytes > max_bytes && !page.is_empty() {
            break;
        }
        page.push(resolved);
    }
    let next = events.get(page.len()).copied();
    (page, next)
}
