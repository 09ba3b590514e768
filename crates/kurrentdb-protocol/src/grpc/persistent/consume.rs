//! A consumer: what it says comes in on one stream, what it is sent goes out on the other.

use super::{
    super::{
        Services, convert,
        proto::event_store::client::{
            Uuid as WireUuid,
            persistent_subscriptions::{ReadReq, ReadResp, read_req, read_resp},
            streams,
        },
        status,
        subscription::until_closed,
    },
    Failure, may_consume, parse, unread, user, written,
};
use crate::{
    Entry, Gate, Refusal, Visitor,
    persistent::{Action, Delivery, GroupError, GroupKey, Handle, Joining},
};
use event_store::StreamName;
use futures::{StreamExt, stream, stream::BoxStream};
use std::sync::Arc;
use tonic::{Request, Status, Streaming};
use uuid::Uuid;

/// How many events that are there already are sent after one look at the consumer's rights.
const BATCH: usize = 256;
/// How many ids are handed to the group at a time.
const IDS_AT_ONCE: usize = 1_000;
/// How much of a reason is kept, in bytes.
const MOST_REASON: usize = 4 << 10;

/// How a consumer opens.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) key: GroupKey,
    /// How many events may be under way to it.
    pub(super) slots: usize,
    pub(super) form: convert::UuidForm,
}

/// Joins a group. It holds one of the node's permits for subscriptions until it ends or its client goes away.
pub(super) async fn consume(
    services: &Services,
    request: Request<Streaming<ReadReq>>,
) -> Result<BoxStream<'static, Result<ReadResp, Status>>, Status> {
    let visitor = Services::visitor(&request);
    let Entry { rights, trail, lost, .. } = services.enter(&request).await?;
    let (metadata, _, mut messages) = request.into_parts();
    let Some(first) = messages.message().await? else { return Ok(stream::empty().boxed()) };
    let opening = parse::opening(first);
    let asked = opening.as_ref().ok().map(|opening| opening.key.clone());
    // What is written down ends with this: who consumes for ever takes no room in the trail.
    let taken = written(&*trail, "consume", asked.as_ref(), async {
        let Opening { key, slots, form } = opening?;
        let groups = services.groups()?;
        let streams = may_consume(groups, &*rights, &key).await?;
        let permit = Arc::clone(&services.subscriptions)
            .try_acquire_owned()
            .map_err(|_| GroupError::TooMany("Maximum subscriptions reached".to_owned()))?;
        let connection = metadata.get("connection-name").and_then(|name| name.to_str().ok());
        let connection = connection.unwrap_or("<unknown>").to_owned();
        let group = groups.group(&key).await?;
        let joined = group.join(Joining { slots, user: user(&metadata), connection }).await?;
        Ok::<_, Failure>((key, form, streams, permit, group, joined))
    });
    let (key, form, streams, permit, group, joined) = taken.await?;
    let heard = tokio::spawn(listen(messages, group.clone(), joined.id));
    let confirmation = ReadResp {
        content: Some(read_resp::Content::SubscriptionConfirmation(read_resp::SubscriptionConfirmation {
            subscription_id: key.to_string(),
        })),
    };
    let gate = Arc::clone(&services.options.gate);
    let rights = Rights { gate, visitor, streams, key: key.clone() };
    // All of this goes with the stream: then the group knows that the consumer is gone.
    let held = (permit, joined.present, Listening(heard));
    let sent =
        stream::unfold((joined.deliveries, rights, held), |(mut deliveries, rights, held)| async move {
            let mut batch = Vec::new();
            if deliveries.recv_many(&mut batch, BATCH).await == 0 {
                return None;
            }
            // What is in the batch was written before this is asked: nothing passes that was written after the right was
            // taken back.
            let batch: Vec<_> = match rights.hold().await {
                Ok(()) => batch.into_iter().map(Ok).collect(),
                Err(refused) => vec![Err(refused)],
            };
            Some((stream::iter(batch), (deliveries, rights, held)))
        });
    let dropped = stream::once(async move { Err(status::of_group(&GroupError::Dropped, &key)) });
    let answers = stream::iter([Ok(confirmation)])
        .chain(sent.flatten().map(move |delivery| delivery.map(|delivery| appeared(delivery, form))))
        .chain(dropped);
    // What was refused is the last word.
    Ok(until_closed(answers, services.closing.subscribe(), lost).boxed())
}

/// What a consumer must be able to do for as long as it is sent something.
struct Rights {
    gate: Arc<dyn Gate>,
    visitor: Visitor,
    /// The streams that it must be able to read.
    streams: Vec<StreamName>,
    key: GroupKey,
}

impl Rights {
    async fn hold(&self) -> Result<(), Status> {
        for stream in &self.streams {
            self.gate.may_read(&self.visitor, stream).await.map_err(|refusal| match refusal {
                Refusal::Entrance(denial) => status::denied(denial),
                Refusal::Store(error) => status::of_group(&unread(error), &self.key),
            })?;
        }
        Ok(())
    }
}

/// Stops listening when it is dropped.
struct Listening(tokio::task::JoinHandle<()>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Hands what a consumer says to its group. One that ends what it says may go on to be sent events; one whose connection
/// breaks, or that says what makes no sense, leaves.
async fn listen(mut messages: Streaming<ReadReq>, group: Handle, id: u64) {
    loop {
        let said = match messages.message().await {
            Ok(Some(message)) => say(message, &group, id).await,
            Ok(None) => return,
            Err(status) => Err(status),
        };
        if let Err(status) = said {
            tracing::debug!(%status, "a consumer of a persistent subscription leaves");
            return group.leave(id).await;
        }
    }
}

async fn say(message: ReadReq, group: &Handle, id: u64) -> Result<(), Status> {
    match message.content {
        Some(read_req::Content::Ack(ack)) => {
            for ids in ack.ids.chunks(IDS_AT_ONCE) {
                group.acknowledge(id, read(ids)).await;
            }
        }
        Some(read_req::Content::Nack(nack)) => {
            use read_req::nack::Action as Wire;
            let action = match Wire::try_from(nack.action) {
                Ok(Wire::Park) => Action::Park,
                Ok(Wire::Unknown | Wire::Retry) => Action::Retry,
                // KurrentDB takes a stop as: done with this one, whatever became of it.
                Ok(Wire::Skip | Wire::Stop) => Action::Skip,
                Err(_) => return Err(status::invalid(format!("{} is no action", nack.action))),
            };
            let reason: Arc<str> = shortened(&nack.reason).into();
            for ids in nack.ids.chunks(IDS_AT_ONCE) {
                group.refuse(id, read(ids), action, Arc::clone(&reason)).await;
            }
        }
        Some(read_req::Content::Options(_)) | None => {
            return Err(status::invalid("after its options a consumer acknowledges, or does not"));
        }
    }
    Ok(())
}

/// What is no id acknowledges nothing.
fn read(ids: &[WireUuid]) -> Vec<Uuid> {
    ids.iter().filter_map(|id| convert::uuid_from_wire(Some(id))).collect()
}

fn shortened(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(MOST_REASON)]
}

fn appeared(delivery: Delivery, form: convert::UuidForm) -> ReadResp {
    use read_resp::read_event::{Count, Position};
    use streams::read_resp::read_event::Position as OfStreams;
    let streams::read_resp::ReadEvent { event, link, position } =
        convert::event_to_wire(delivery.event, form);
    let position = position.map(|position| match position {
        OfStreams::CommitPosition(position) => Position::CommitPosition(position),
        OfStreams::NoPosition(()) => Position::NoPosition(()),
    });
    let retries = i32::try_from(delivery.retries).unwrap_or(i32::MAX);
    let event = read_resp::ReadEvent { event, link, position, count: Some(Count::RetryCount(retries)) };
    ReadResp { content: Some(read_resp::Content::Event(event)) }
}
