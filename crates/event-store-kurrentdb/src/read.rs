//! Reading by pages: one event more than the page holds is asked for, and says where the next page begins.

use crate::{
    convert,
    errors::{self, Asked},
    options::as_user,
};
use event_store::{
    AllPage, Direction, Error, ReadAll, ReadFrom, ReadStream, ResolvedEvent, Result, Revision, StreamName,
    StreamPage,
};
use kurrentdb::{Client, Credentials, ReadAllOptions, ReadEvent, ReadStreamOptions, StreamPosition};

/// A page that is being filled.
struct Page {
    events: Vec<ResolvedEvent>,
    limit: usize,
    max_bytes: usize,
    bytes: usize,
}

impl Page {
    fn new(limit: usize, max_bytes: usize) -> Result<Self> {
        if limit == 0 {
            return Err(Error::InvalidArgument("a page holds at least one event".into()));
        }
        Ok(Self { events: Vec::new(), limit, max_bytes, bytes: 0 })
    }

    /// Takes an event in, or gives back the one with which the next page begins.
    fn take(&mut self, event: ResolvedEvent) -> Option<ResolvedEvent> {
        self.bytes = self.bytes.saturating_add(event.size());
        let full = self.events.len() >= self.limit;
        if full || (self.bytes > self.max_bytes && !self.events.is_empty()) {
            return Some(event);
        }
        self.events.push(event);
        None
    }
}

/// One call's way to the server.
pub(crate) struct Reader<'a> {
    pub(crate) client: Client,
    pub(crate) user: &'a Option<Credentials>,
}

impl Reader<'_> {
    pub(crate) async fn read_stream_page(&self, stream: &StreamName, read: ReadStream) -> Result<StreamPage> {
        let mut page = Page::new(read.limit, read.max_bytes)?;
        let position = match (read.from, read.direction) {
            (ReadFrom::Start, _) => Some(StreamPosition::Start),
            (ReadFrom::End, Direction::Backwards) => Some(StreamPosition::End),
            (ReadFrom::End, Direction::Forwards) => None,
            (ReadFrom::At(at), _) => Some(StreamPosition::Position(at)),
            (ReadFrom::Past(past), Direction::Forwards) => {
                Some(past).filter(|p| *p < i64::MAX as u64).map(|p| StreamPosition::Position(p + 1))
            }
            (ReadFrom::Past(past), Direction::Backwards) => past.checked_sub(1).map(StreamPosition::Position),
        };
        let Some(position) = position else {
            return Ok(StreamPage { events: vec![], next: None, last_revision: self.newest(stream).await? });
        };
        let options = as_user!(ReadStreamOptions::default(), self.user).position(position);
        let options = match read.direction {
            Direction::Forwards => options.forwards(),
            Direction::Backwards => options.backwards(),
        };
        let options = options.max_count(read.limit.saturating_add(1));
        let options = if read.resolve_links { options.resolve_link_tos() } else { options };
        let failed = |e| errors::of(e, Asked::Read(stream));
        let mut reading = self.client.read_stream(stream.as_str(), &options).await.map_err(failed)?;
        let mut last = None;
        let mut next = None;
        while let Some(read) = reading.next_read_event().await.map_err(failed)? {
            match read {
                ReadEvent::Event(event) => {
                    next = page.take(convert::resolved(event)?);
                    if next.is_some() && page.events.len() < page.limit {
                        // Cut by its size: what would still come is not waited for.
                        break;
                    }
                }
                ReadEvent::LastStreamPosition(position) => last = Some(position),
                ReadEvent::FirstStreamPosition(_) | ReadEvent::LastAllStreamPosition(_) => {}
            }
        }
        let last_revision = match last {
            Some(last) => last,
            None => self.newest(stream).await?,
        };
        let next = next.as_ref().and_then(ResolvedEvent::original).map(|e| e.revision);
        Ok(StreamPage { events: page.events, next, last_revision })
    }

    /// The revision of a stream's last event.
    async fn newest(&self, stream: &StreamName) -> Result<Revision> {
        let failed = |e| errors::of(e, Asked::Read(stream));
        let options = as_user!(ReadStreamOptions::default(), self.user);
        let options = options.position(StreamPosition::End).backwards().max_count(1);
        let mut reading = self.client.read_stream(stream.as_str(), &options).await.map_err(failed)?;
        let mut newest = None;
        while let Some(read) = reading.next_read_event().await.map_err(failed)? {
            match read {
                ReadEvent::Event(event) => newest = Some(event.get_original_event().revision),
                ReadEvent::LastStreamPosition(position) => newest = Some(position),
                ReadEvent::FirstStreamPosition(_) | ReadEvent::LastAllStreamPosition(_) => {}
            }
        }
        newest.ok_or_else(|| Error::Internal(format!("'{stream}' was read without a last revision")))
    }

    /// KurrentDB reads everything inclusive forwards and exclusive backwards; pages are both in both directions.
    pub(crate) async fn read_all_page(&self, read: ReadAll) -> Result<AllPage> {
        let mut page = Page::new(read.limit, read.max_bytes)?;
        let (position, direction) = match (read.from, read.direction) {
            // Backwards from the start is the oldest event at most.
            (ReadFrom::Start, Direction::Backwards) => {
                let first = self.all_at(StreamPosition::Start, &read).await?;
                // A filter that passes the oldest over has nothing at the start.
                page.events.extend(first.filter(|(_, oldest)| *oldest).map(|(event, _)| event));
                return Ok(AllPage { events: page.events, next: None });
            }
            (ReadFrom::End, Direction::Forwards) => return Ok(AllPage { events: vec![], next: None }),
            (ReadFrom::Start, direction) => (StreamPosition::Start, direction),
            (ReadFrom::End, direction) => (StreamPosition::End, direction),
            (ReadFrom::At(at) | ReadFrom::Past(at), direction) => {
                (StreamPosition::Position(convert::client_position(at)), direction)
            }
        };
        let mut next = None;
        if let (ReadFrom::At(at), Direction::Backwards) = (read.from, direction) {
            let there = self.all_at(position, &read).await?.map(|(event, _)| event);
            if let Some(there) = there.filter(|e| e.original().is_some_and(|e| e.position == at)) {
                next = page.take(there);
            }
        }
        // One more than fits, and one that may stand at the place itself.
        let count = read.limit.saturating_add(2);
        let mut reading = self.read_all_from(position, direction, count, &read).await?;
        while next.is_none() {
            let Some(event) = reading.next().await.map_err(|e| errors::of(e, Asked::ReadAll))? else { break };
            let event = convert::resolved(event)?;
            let place = event.original().map(|e| e.position);
            let itself = matches!((read.from, direction), (ReadFrom::Past(past), Direction::Forwards) if place == Some(past));
            if !itself {
                next = page.take(event);
            }
        }
        let next = next.as_ref().and_then(ResolvedEvent::original).map(|e| e.position);
        Ok(AllPage { events: page.events, next })
    }

    async fn read_all_from(
        &self,
        position: StreamPosition<kurrentdb::Position>,
        direction: Direction,
        count: usize,
        read: &ReadAll,
    ) -> Result<kurrentdb::ReadStream> {
        let options = as_user!(ReadAllOptions::default(), self.user).position(position);
        let options = match direction {
            Direction::Forwards => options.forwards(),
            Direction::Backwards => options.backwards(),
        };
        let options = options.max_count(count);
        let options = if read.resolve_links { options.resolve_link_tos() } else { options };
        let options = match &read.filter {
            Some(filter) => options.filter(convert::filter(filter)),
            None => options,
        };
        self.client.read_all(&options).await.map_err(|e| errors::of(e, Asked::ReadAll))
    }

    /// The first event from a place on that passes the filter, and whether it is the oldest of all.
    async fn all_at(
        &self,
        position: StreamPosition<kurrentdb::Position>,
        read: &ReadAll,
    ) -> Result<Option<(ResolvedEvent, bool)>> {
        let failed = |e| errors::of(e, Asked::ReadAll);
        let mut reading = self.read_all_from(position, Direction::Forwards, 1, read).await?;
        let Some(event) = reading.next().await.map_err(failed)? else { return Ok(None) };
        let event = convert::resolved(event)?;
        let unfiltered = ReadAll { filter: None, ..read.clone() };
        let mut oldest =
            self.read_all_from(StreamPosition::Start, Direction::Forwards, 1, &unfiltered).await?;
        let oldest =
            oldest.next().await.map_err(failed)?.map(|e| convert::position(e.get_original_event().position));
        let is_oldest = event.original().map(|e| e.position) == oldest;
        Ok(Some((event, is_oldest)))
    }
}
