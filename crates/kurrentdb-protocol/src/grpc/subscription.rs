//! Following a stream or everything: a confirmation, then what the store's subscription brings.

use super::{
    Services, convert,
    proto::event_store::client::streams::{ReadResp, read_resp},
    read::{Request, Target, respond},
    status,
    streams::Responses,
};
use crate::Entry;
use event_store::{Clock, ErrorCode, Position, Revision, SubscribeAll, SubscribeStream, SubscriptionMessage};
use futures::{FutureExt, Stream, StreamExt, future::ready, stream};
use std::sync::Arc;
use tokio::sync::watch;
use tonic::Status;

impl Services {
    /// Begins a subscription. It holds one of the node's permits until it ends or its client goes away.
    pub(crate) async fn subscribe(&self, entry: Entry, request: Request) -> Result<Responses, Status> {
        let Entry { store, lost, .. } = entry;
        let permit = Arc::clone(&self.subscriptions)
            .try_acquire_owned()
            .map_err(|_| status::exhausted("Maximum subscriptions reached"))?;
        let resolve_links = request.resolve_links;
        let (messages, of_stream) = match request.target {
            Target::Stream(name, from) => {
                (store.subscribe_stream(&name, SubscribeStream { from, resolve_links }).await, true)
            }
            Target::All(from, filter) => {
                let interval = filter.as_ref().and_then(|f| f.checkpoint_interval);
                let options = SubscribeAll {
                    from,
                    resolve_links,
                    filter: filter.map(|f| f.filter),
                    checkpoint_interval: interval,
                };
                (store.subscribe_all(options).await, false)
            }
        };
        // What stands in a subscription's way is told after its confirmation, whichever way the store tells it.
        let messages = messages.unwrap_or_else(|error| stream::iter([Err(error)]).boxed());
        let clock = Arc::clone(&self.options.clock);
        let answers = messages.map(move |message| {
            let _held = &permit;
            match message {
                Ok(message) => Ok(answer(message, &*clock, of_stream, request.form)),
                Err(error) => Err(status::of(&error)),
            }
        });
        let confirmation = respond(read_resp::Content::Confirmation(read_resp::SubscriptionConfirmation {
            subscription_id: self.options.ids.next_id().to_string(),
        }));
        let begun = stream::iter([Ok(confirmation)]).chain(answers);
        Ok(until_closed(begun, self.closing.subscribe(), lost).boxed())
    }
}

fn answer(
    message: SubscriptionMessage,
    clock: &dyn Clock,
    of_stream: bool,
    form: convert::UuidForm,
) -> ReadResp {
    let timestamp = || Some(convert::timestamp_to_wire(clock.now()));
    let place = |revision: Option<Revision>, position: Option<Position>| read_resp::CaughtUp {
        timestamp: timestamp(),
        stream_revision: of_stream.then(|| convert::actual_version(revision)),
        position: position.map(convert::position_to_wire),
    };
    respond(match message {
        SubscriptionMessage::Event(event) => read_resp::Content::Event(convert::event_to_wire(event, form)),
        SubscriptionMessage::Checkpoint(position) => read_resp::Content::Checkpoint(read_resp::Checkpoint {
            commit_position: position.raw(),
            prepare_position: position.raw(),
            timestamp: timestamp(),
        }),
        SubscriptionMessage::CaughtUp { revision, position } => {
            read_resp::Content::CaughtUp(place(revision, position))
        }
        SubscriptionMessage::FellBehind => read_resp::Content::FellBehind(read_resp::CaughtUp {
            timestamp: timestamp(),
            stream_revision: None,
            position: None,
        }),
    })
}

/// The same stream, ended with `UNAVAILABLE` when the node closes, and with `UNAUTHENTICATED` when what its caller was let in
/// for is lost.
pub(crate) fn until_closed<T: Send + 'static>(
    messages: impl Stream<Item = Result<T, Status>> + Send + 'static,
    mut closing: watch::Receiver<bool>,
    lost: impl Future<Output = ()> + Send + 'static,
) -> impl Stream<Item = Result<T, Status>> + Send + 'static {
    let end = async move {
        tokio::select! {
            biased;
            // An error means that the node is gone, which is as closed as it gets.
            _ = closing.wait_for(|closing| *closing) => status::closing(),
            () = lost => status::refused(ErrorCode::AuthenticationFailed),
        }
    };
    until(messages, end)
}

/// The same stream until it says its first error, or until the end, which is then said. What comes to its own end is not
/// ended by anything.
pub(crate) fn until<T: Send + 'static>(
    messages: impl Stream<Item = Result<T, Status>> + Send + 'static,
    end: impl Future<Output = Status> + Send + 'static,
) -> impl Stream<Item = Result<T, Status>> + Send + 'static {
    let end = end.boxed().shared();
    let last = end.clone();
    let last = stream::once(async move { last.now_or_never().map(Err) }).filter_map(ready);
    let mut ended = false;
    messages.take_until(end).chain(last).take_while(move |message| {
        let go_on = !ended;
        ended = message.is_err();
        ready(go_on)
    })
}
