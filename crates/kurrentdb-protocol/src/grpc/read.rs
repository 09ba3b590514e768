//! Reading: what a `Read` asks for, and the pages that answer it.

use super::{
    Services,
    convert::{self, UuidForm},
    proto::event_store::client::streams::{ReadReq, ReadResp, read_req, read_resp},
    status,
    streams::Responses,
};
use crate::Entry;
use event_store::{
    Direction, Error, EventFilter, EventStore, FilterBy, Position, ReadAll, ReadFrom, ReadStream,
    ResolvedEvent, Revision, StreamName,
};
use futures::{StreamExt, TryStreamExt, stream};
use std::{num::NonZeroU32, sync::Arc};
use tonic::Status;

/// How many events a page holds at most, and how many bytes: what one read keeps in memory.
const PAGE_EVENTS: usize = 1_000;
const PAGE_BYTES: usize = 2 << 20;

/// With a `count` window, so many events are looked at between two checkpoints (times the multiplier).
const COUNT_WINDOW: u32 = 32;

/// How much a filter may say: all of it may be looked at for each event.
const MOST_PREFIXES: usize = 1_000;
const MOST_REGEX: usize = 16 << 10;

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) target: Target,
    pub(crate) kind: Kind,
    pub(crate) resolve_links: bool,
    pub(crate) form: UuidForm,
    compatibility: u32,
}

#[derive(Debug)]
pub(crate) enum Target {
    Stream(StreamName, ReadFrom<Revision>),
    All(ReadFrom<Position>, Option<Filter>),
}

#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) filter: EventFilter,
    /// After so many events looked at a subscription brings a checkpoint; nothing where the request said 0 of them.
    pub(crate) checkpoint_interval: Option<NonZeroU32>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Page { direction: Direction, count: u64 },
    Subscription,
}

impl Request {
    pub(crate) fn parse(request: ReadReq) -> Result<Self, Status> {
        use read_req::options;
        let options = request.options.ok_or_else(|| status::invalid("options are missing"))?;
        let direction = match options.read_direction() {
            _ if read_req::Direction::try_from(options.read_direction).is_err() => {
                return Err(status::invalid(format!("{} is no direction", options.read_direction)));
            }
            read_req::Direction::Forwards => Direction::Forwards,
            read_req::Direction::Backwards => Direction::Backwards,
        };
        let kind = match options.kind {
            Some(options::Kind::Count(count)) => Kind::Page { direction, count },
            Some(options::Kind::Subscription(())) if direction == Direction::Backwards => {
                return Err(status::invalid("a subscription goes forwards"));
            }
            Some(options::Kind::Subscription(())) => Kind::Subscription,
            None => return Err(status::invalid("neither a count nor a subscription is asked for")),
        };
        let form = match options.uuid_option.and_then(|o| o.form) {
            Some(read_req::uuid_option::Form::Structured(())) => UuidForm::Structured,
            Some(read_req::uuid_option::Form::String(())) => UuidForm::Text,
            None => return Err(status::invalid("the form of ids is missing (uuid_option)")),
        };
        let filter = match options.filtering {
            Some(options::Filtering::Filter(filter)) => Some(filter),
            Some(options::Filtering::NoFilter(())) | None => None,
        };
        let target = match (options.target, filter) {
            (Some(options::Target::Stream(stream)), None) => {
                let name = convert::stream_from_wire(stream.stream_identifier.as_ref())?;
                Target::Stream(name, stream_from(stream.from, kind)?)
            }
            (Some(options::Target::Stream(_)), Some(_)) => {
                return Err(status::invalid("only $all can be read with a filter"));
            }
            (Some(options::Target::All(all)), filter) => {
                Target::All(all_from(all.from, kind)?, filter.map(|f| parse_filter(f, kind)).transpose()?)
            }
            (None, _) => return Err(status::invalid("neither a stream nor $all is asked for")),
        };
        let compatibility = options.control_option.map_or(0, |c| c.compatibility);
        Ok(Self { target, kind, resolve_links: options.resolve_links, form, compatibility })
    }
}

/// Where a read of a stream begins: at a revision, inclusive. A subscription begins after it.
fn stream_from(
    from: Option<read_req::stream_options::From>,
    kind: Kind,
) -> Result<ReadFrom<Revision>, Status> {
    use read_req::stream_options::From;
    Ok(match from {
        Some(From::Start(())) => ReadFrom::Start,
        // Some clients say the end by its number.
        Some(From::End(()) | From::Revision(u64::MAX)) => ReadFrom::End,
        Some(From::Revision(revision)) => {
            let revision = convert::revision_from_wire(revision)?;
            if matches!(kind, Kind::Subscription) { ReadFrom::Past(revision) } else { ReadFrom::At(revision) }
        }
        None => return Err(status::invalid("where to begin is missing")),
    })
}

/// Where a read of everything begins: forwards at a position, inclusive, but backwards and in a subscription past it.
fn all_from(from: Option<read_req::all_options::From>, kind: Kind) -> Result<ReadFrom<Position>, Status> {
    use read_req::all_options::From;
    let position = match from {
        Some(From::Start(())) => return Ok(ReadFrom::Start),
        Some(From::End(())) => return Ok(ReadFrom::End),
        Some(From::Position(position)) => position,
        None => return Err(status::invalid("where to begin is missing")),
    };
    if position.commit_position == u64::MAX {
        return Ok(ReadFrom::End);
    }
    let signed = i64::try_from(position.commit_position).is_ok();
    if !signed || position.commit_position < position.prepare_position {
        return Err(status::invalid("the commit position cannot be less than the prepare position"));
    }
    let at = Position::from_raw(position.commit_position);
    let inclusive = matches!(kind, Kind::Page { direction: Direction::Forwards, .. });
    Ok(if inclusive { ReadFrom::At(at) } else { ReadFrom::Past(at) })
}

fn parse_filter(options: read_req::FilterOptions, kind: Kind) -> Result<Filter, Status> {
    use read_req::filter_options::Window;
    let filter = expression(options.by)?;
    let window = match options.window {
        Some(Window::Max(0)) | None => {
            return Err(status::invalid("the filter's window must be greater than 0"));
        }
        Some(Window::Max(max)) => max,
        Some(Window::Count(())) => COUNT_WINDOW,
    };
    let checkpoint_interval = NonZeroU32::new(window.saturating_mul(options.checkpoint_interval_multiplier));
    if checkpoint_interval.is_none() && matches!(kind, Kind::Subscription) {
        return Err(status::invalid("the checkpoint interval multiplier must be greater than 0"));
    }
    Ok(Filter { filter, checkpoint_interval })
}

/// What a filter asks, whichever window it has.
pub(crate) fn expression(by: Option<read_req::filter_options::By>) -> Result<EventFilter, Status> {
    use read_req::filter_options::By;
    let (by, expression) = match by {
        Some(By::StreamIdentifier(expression)) => (FilterBy::StreamName, expression),
        Some(By::EventType(expression)) => (FilterBy::EventType, expression),
        None => return Err(status::invalid("what the filter looks at is missing")),
    };
    if expression.regex.len() > MOST_REGEX || expression.prefix.len() > MOST_PREFIXES {
        return Err(status::invalid(format!(
            "a filter has {MOST_PREFIXES} prefixes at most, and its expression {MOST_REGEX} bytes"
        )));
    }
    Ok(match (expression.regex.as_str(), expression.prefix) {
        ("", prefixes) if prefixes.is_empty() => {
            return Err(status::invalid("a filter needs a prefix or an expression"));
        }
        ("", prefixes) if by == FilterBy::StreamName => EventFilter::stream_prefix(prefixes),
        ("", prefixes) => EventFilter::event_type_prefix(prefixes),
        (regex, _) => EventFilter::regex(by, regex).map_err(|e| status::of(&e))?,
    })
}

/// One read under way: what is left of it.
struct Reading {
    store: Arc<dyn EventStore>,
    from: From,
    direction: Direction,
    resolve_links: bool,
    left: u64,
    form: UuidForm,
    compatibility: u32,
    /// Whether nothing was brought yet.
    empty: bool,
}

/// Where the next page begins; nothing at the end.
enum From {
    Stream(StreamName, Option<ReadFrom<Revision>>),
    All(Option<ReadFrom<Position>>, Option<EventFilter>),
}

/// Answers a read. Its first page is read before the answer begins, so that its error is the call's.
pub(crate) async fn read(store: Arc<dyn EventStore>, request: Request) -> Result<Responses, Status> {
    let Kind::Page { direction, count } = request.kind else {
        return Err(status::invalid("not a read"));
    };
    let mut reading = Reading {
        store,
        direction,
        resolve_links: request.resolve_links,
        left: count,
        form: request.form,
        compatibility: request.compatibility,
        empty: true,
        from: match request.target {
            Target::Stream(name, from) => From::Stream(name, Some(from)),
            Target::All(from, filter) => From::All(Some(from), filter.map(|f| f.filter)),
        },
    };
    let first = match reading.next_page().await {
        Ok(page) => page.unwrap_or_default(),
        Err(Error::StreamNotFound(stream)) => vec![not_found(&stream)],
        Err(error) => return Err(status::of(&error)),
    };
    let rest = stream::try_unfold(reading, |mut reading| async move {
        let page = reading.next_page().await.map_err(|e| status::of(&e))?;
        Ok::<_, Status>(page.map(|page| (stream::iter(page).map(Ok), reading)))
    });
    Ok(stream::iter(first).map(Ok).chain(rest.try_flatten()).boxed())
}

impl Reading {
    /// What the next page brings; nothing after the last.
    async fn next_page(&mut self) -> Result<Option<Vec<ReadResp>>, Error> {
        let limit = usize::try_from(self.left).unwrap_or(usize::MAX).min(PAGE_EVENTS);
        match &mut self.from {
            From::Stream(name, from) => {
                let Some(begin) = from.take() else { return Ok(None) };
                let read = ReadStream {
                    from: begin,
                    direction: self.direction,
                    // A count of 0 still says whether the stream can be read.
                    limit: limit.max(1),
                    max_bytes: PAGE_BYTES,
                    resolve_links: self.resolve_links,
                };
                let mut page = self.store.read_stream(name, read).await.inspect_err(|_| self.left = 0)?;
                page.events.truncate(limit);
                self.left = self.left.saturating_sub(page.events.len() as u64);
                *from = page.next.filter(|_| self.left > 0).map(ReadFrom::At);
                let last = from.is_none();
                let mut answer = self.events(page.events);
                if last && self.compatibility >= 1 {
                    let next = page.last_revision.saturating_add(1);
                    if limit > 0
                        && self.empty
                        && self.direction == Direction::Forwards
                        && starts_before(begin, next)
                    {
                        answer.push(respond(read_resp::Content::FirstStreamPosition(next)));
                    }
                    answer.push(respond(read_resp::Content::LastStreamPosition(page.last_revision)));
                }
                Ok(Some(answer))
            }
            From::All(from, filter) => {
                let Some(begin) = from.take().filter(|_| self.left > 0) else { return Ok(None) };
                let read = ReadAll {
                    from: begin,
                    direction: self.direction,
                    limit,
                    max_bytes: PAGE_BYTES,
                    resolve_links: self.resolve_links,
                    filter: filter.clone(),
                };
                let page = self.store.read_all(read).await?;
                self.left = self.left.saturating_sub(page.events.len() as u64);
                *from = page.next.map(ReadFrom::At);
                Ok(Some(self.events(page.events)))
            }
        }
    }

    fn events(&mut self, events: Vec<ResolvedEvent>) -> Vec<ReadResp> {
        self.empty &= events.is_empty();
        let event = |e| respond(read_resp::Content::Event(convert::event_to_wire(e, self.form)));
        events.into_iter().map(event).collect()
    }
}

/// Whether a forward read of nothing began elsewhere than where the next event will stand.
fn starts_before(begin: ReadFrom<Revision>, next: Revision) -> bool {
    match begin {
        ReadFrom::Start => next != 0,
        ReadFrom::At(at) => next != at,
        ReadFrom::Past(_) | ReadFrom::End => false,
    }
}

fn not_found(stream: &StreamName) -> ReadResp {
    respond(read_resp::Content::StreamNotFound(read_resp::StreamNotFound {
        stream_identifier: Some(convert::stream_to_wire(stream)),
    }))
}

pub(crate) fn respond(content: read_resp::Content) -> ReadResp {
    ReadResp { content: Some(content) }
}

impl Services {
    /// Answers any `Read`: a page, or a subscription.
    pub(crate) async fn read(&self, entry: Entry, request: ReadReq) -> Result<Responses, Status> {
        let request = Request::parse(request)?;
        match request.kind {
            Kind::Page { .. } => read(entry.store, request).await,
            Kind::Subscription => self.subscribe(entry, request).await,
        }
    }
}
