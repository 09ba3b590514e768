//! Subscriptions of one caller: each event is judged when it is brought, by what the streams' metadata says then.

use super::{Authorized, Right, Standing, refused, sees_from};
use event_store::{
    Position, ResolvedEvent, Result, StreamName, Subscription, SubscriptionMessage, TOMBSTONE_REVISION,
};
use futures::{StreamExt as _, stream, stream::BoxStream};
use std::collections::VecDeque;

/// How many messages that are there already are judged together.
const CHUNK: usize = 256;

/// A subscription without a filter is told how far it has come after so many events were left out.
const CHECKPOINT_EVERY: u32 = 1000;

type Message = Result<SubscriptionMessage>;

/// A subscription under way.
struct Following {
    bound: Authorized,
    of: Of,
    messages: BoxStream<'static, Vec<Message>>,
    ready: VecDeque<Message>,
    has_ended: bool,
}

/// What is followed.
enum Of {
    Stream(StreamName),
    /// Everything; with a filter the store itself says how far it has come.
    All {
        is_filtered: bool,
        left_out: u32,
    },
}

/// Follows a stream for as long as the caller may read it.
pub(super) fn stream(bound: Authorized, stream: StreamName, messages: Subscription) -> Subscription {
    run(bound, Of::Stream(stream), messages)
}

/// Follows everything that the caller may read.
pub(super) fn all(bound: Authorized, is_filtered: bool, messages: Subscription) -> Subscription {
    run(bound, Of::All { is_filtered, left_out: 0 }, messages)
}

fn run(bound: Authorized, of: Of, messages: Subscription) -> Subscription {
    let messages = messages.ready_chunks(CHUNK).boxed();
    let following = Following { bound, of, messages, ready: VecDeque::new(), has_ended: false };
    stream::unfold(following, |mut following| async move {
        loop {
            if following.has_ended {
                return None;
            }
            if let Some(message) = following.ready.pop_front() {
                following.has_ended = message.is_err();
                return Some((message, following));
            }
            let chunk = following.messages.next().await?;
            if let Err(error) = following.judge(chunk).await {
                following.ready.push_back(Err(error));
            }
        }
    })
    .boxed()
}

impl Following {
    async fn judge(&mut self, chunk: Vec<Message>) -> Result<()> {
        match &mut self.of {
            Of::Stream(stream) => {
                // What the chunk holds was written before this is asked: nothing passes that was written after the right
                // was taken back.
                let from = match self.bound.standing(stream).await? {
                    Standing::Ended => None,
                    Standing::Found(found) => Some(
                        sees_from(&self.bound.caller, stream, &found)
                            .ok_or_else(|| refused(stream, Right::Read))?,
                    ),
                };
                // Whose it was when it ended is not known any more: only that it ended is told.
                let is_told = |message: &SubscriptionMessage| match (message, from) {
                    (SubscriptionMessage::Event(event), Some(from)) => {
                        event.original().is_some_and(|e| e.revision >= from)
                    }
                    (_, Some(_)) => true,
                    (message, None) => is_the_end(message),
                };
                let chunk = chunk.into_iter().filter(|m| m.as_ref().map_or(true, is_told));
                let (chunk, shown) = self.bound.judged(chunk.collect(), false).await?;
                self.ready.extend(merged(chunk, shown, |_| None));
            }
            Of::All { is_filtered, left_out } => {
                let (chunk, shown) = self.bound.judged(chunk, true).await?;
                self.ready.extend(merged(chunk, shown, |position| {
                    *left_out += 1;
                    let due = !*is_filtered && left_out.is_multiple_of(CHECKPOINT_EVERY);
                    due.then_some(SubscriptionMessage::Checkpoint(position))
                }));
            }
        }
        Ok(())
    }
}

/// A message on its way: whatever is no event, or an event's place in the order of everything.
enum Place {
    Message(Box<Message>),
    Event(Position),
}

impl Authorized {
    /// Takes the events out of messages and judges them, all at once.
    async fn judged(
        &self,
        messages: Vec<Message>,
        of_all: bool,
    ) -> Result<(Vec<Place>, VecDeque<ResolvedEvent>)> {
        let mut places = Vec::with_capacity(messages.len());
        let mut events = Vec::new();
        for message in messages {
            match message {
                Ok(SubscriptionMessage::Event(event)) => {
                    let Some(position) = event.original().map(|e| e.position) else { continue };
                    places.push(Place::Event(position));
                    events.push(event);
                }
                other => places.push(Place::Message(Box::new(other))),
            }
        }
        let shown = if of_all { self.leave_out(events).await? } else { self.hide_targets(events).await? };
        Ok((places, shown.into()))
    }
}

/// Puts the events that are shown back in their places; for each that is not, `left_out` may say something instead.
fn merged(
    places: Vec<Place>,
    mut shown: VecDeque<ResolvedEvent>,
    mut left_out: impl FnMut(Position) -> Option<SubscriptionMessage>,
) -> Vec<Message> {
    let mut messages = Vec::with_capacity(places.len());
    for place in places {
        match place {
            Place::Message(message) => messages.push(*message),
            Place::Event(position) => {
                let is_next = shown.front().and_then(ResolvedEvent::original);
                if is_next.is_some_and(|e| e.position == position) {
                    messages.extend(shown.pop_front().map(|event| Ok(SubscriptionMessage::Event(event))));
                } else {
                    messages.extend(left_out(position).map(Ok));
                }
            }
        }
    }
    messages
}

/// Whether an event says that its stream was ended.
fn is_the_end(message: &SubscriptionMessage) -> bool {
    match message {
        SubscriptionMessage::Event(event) => {
            event.original().is_some_and(|e| e.revision == TOMBSTONE_REVISION)
        }
        _ => true,
    }
}
