//! Live feeds: what is there, then what comes, for as long as the client stays.

use super::{Streams, StreamsError, name, read, view};
use crate::security::Caller;
use event_store::{
    Error, EventFilter, FilterBy, Position, ReadFrom, ResolvedEvent, SubscribeAll, SubscribeStream,
    Subscription, SubscriptionMessage,
};
use futures::{StreamExt as _, future, stream::BoxStream};
use models::{Event, SubscribeAllQuery};

/// Where a feed begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedStart {
    /// With what comes.
    Live,
    /// With the event of this mark.
    At(u64),
    /// After the event of this mark; nothing for the very beginning.
    After(Option<u64>),
}

/// What a feed brings.
#[derive(Debug)]
pub enum FeedFrame {
    /// An event, under its mark: its revision in the stream followed, or its position in everything.
    Event {
        /// The mark that a feed can go on after.
        mark: u64,
        /// The event.
        event: Box<Event>,
    },
    /// Everything up to this mark was looked at.
    Mark(u64),
    /// Everything that was there was brought, up to this mark; nothing before the first event. It is never before
    /// the feed's start. What follows is brought as it is written.
    CaughtUp(Option<u64>),
    /// The feed cannot go on. Nothing comes after.
    Failed(StreamsError),
}

/// What a feed is made of: dropping it ends it.
pub type Feed = BoxStream<'static, FeedFrame>;

/// How many events may be left out before a mark tells the client how far the feed has come.
const MARK_EVERY: u32 = 1000;

impl Streams {
    /// Follows a stream, which need not exist yet. It ends when the store is closed, and with a failure when the
    /// stream is deleted for good.
    ///
    /// # Errors
    /// `StreamDeleted` if it was deleted for good before, and what else the store answers.
    pub async fn follow(
        &self,
        caller: &Caller,
        stream: &str,
        start: FeedStart,
    ) -> Result<Feed, StreamsError> {
        let from = read_from(start, |revision| revision);
        let options = SubscribeStream { from, resolve_links: true };
        let store = self.gate.bind(caller);
        let name = name(stream)?;
        // One that was deleted for good would be confirmed first and fail then: say so at once.
        match store.stream_info(&name).await {
            Ok(_) | Err(Error::StreamNotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let subscription = store.subscribe_stream(&name, options).await?;
        let frames = Frames {
            mark: |event| event.original().map(|e| e.revision),
            keep: Box::new(|_| true),
            left_out: 0,
            least: least(start),
        };
        Ok(feed(subscription, frames))
    }

    /// Follows everything, or what the query lets through.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn follow_all(
        &self,
        caller: &Caller,
        query: SubscribeAllQuery,
        start: FeedStart,
    ) -> Result<Feed, StreamsError> {
        let system = query.system
            || [&query.prefix, &query.event_type].iter().any(|t| names_the_systems(t.as_deref()));
        // The store answers one question; the other is asked here.
        let filter = match (&query.prefix, &query.event_type) {
            (Some(prefix), _) => Some(EventFilter::stream_prefix([prefix.clone()])),
            (None, Some(wanted)) => {
                Some(EventFilter::regex(FilterBy::EventType, &format!("^{}$", regex::escape(wanted)))?)
            }
            (None, None) if !system => Some(read::not_the_systems()?),
            (None, None) => None,
        };
        let from = read_from(start, Position::from_raw);
        let options = SubscribeAll { from, resolve_links: false, filter, checkpoint_interval: None };
        let subscription = self.gate.bind(caller).subscribe_all(options).await?;
        let wanted = query.event_type;
        let keep = move |event: &ResolvedEvent| {
            let of_type = |wanted: &str| event.original().is_some_and(|e| e.event_type.as_str() == wanted);
            wanted.as_deref().is_none_or(of_type) && (system || !read::is_the_systems(event))
        };
        let mark = |event: &ResolvedEvent| event.original().map(|e| e.position.raw());
        Ok(feed(subscription, Frames { mark, keep: Box::new(keep), left_out: 0, least: least(start) }))
    }
}

fn feed(subscription: Subscription, mut frames: Frames) -> Feed {
    let mut failed = false;
    subscription
        .map(move |message| match message {
            Ok(message) => frames.of(message),
            Err(Error::Closed) => None,
            Err(error) => Some(FeedFrame::Failed(error.into())),
        })
        .take_while(move |frame| {
            let go_on = !failed;
            failed = matches!(frame, Some(FeedFrame::Failed(_)));
            future::ready(go_on)
        })
        .filter_map(future::ready)
        .boxed()
}

fn names_the_systems(text: Option<&str>) -> bool {
    text.is_some_and(|text| text.starts_with('$'))
}

fn read_from<T>(start: FeedStart, mark: fn(u64) -> T) -> ReadFrom<T> {
    match start {
        FeedStart::Live => ReadFrom::End,
        FeedStart::At(at) => ReadFrom::At(mark(at)),
        FeedStart::After(Some(after)) => ReadFrom::Past(mark(after)),
        FeedStart::After(None) => ReadFrom::Start,
    }
}

/// The least mark that a feed may go on after, without bringing what lies before its start.
const fn least(start: FeedStart) -> Option<u64> {
    match start {
        FeedStart::At(at) => at.checked_sub(1),
        FeedStart::After(after) => after,
        FeedStart::Live => None,
    }
}

/// Makes frames of what a subscription brings.
struct Frames {
    mark: fn(&ResolvedEvent) -> Option<u64>,
    keep: Box<dyn Fn(&ResolvedEvent) -> bool + Send>,
    left_out: u32,
    least: Option<u64>,
}

impl Frames {
    fn of(&mut self, message: SubscriptionMessage) -> Option<FeedFrame> {
        match message {
            SubscriptionMessage::Event(event) => {
                let mark = (self.mark)(&event)?;
                if (self.keep)(&event) {
                    let event = Box::new(view::event(event)?);
                    return Some(FeedFrame::Event { mark, event });
                }
                self.left_out += 1;
                self.left_out.is_multiple_of(MARK_EVERY).then_some(FeedFrame::Mark(mark))
            }
            SubscriptionMessage::Checkpoint(position) => {
                let mark = position.raw();
                Some(FeedFrame::Mark(self.least.map_or(mark, |least| mark.max(least))))
            }
            SubscriptionMessage::CaughtUp { revision, position } => {
                let mark = revision.or(position.map(Position::raw));
                Some(FeedFrame::CaughtUp(mark.max(self.least)))
            }
            SubscriptionMessage::FellBehind => None,
        }
    }
}
