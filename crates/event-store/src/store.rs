//! The trait, and with it the laws.

use crate::{
    AllPage, Appended, AppendedMany, Capabilities, Deleted, Error, ExpectedState, NewEvent, Position,
    ReadAll, ReadStream, Result, StoreId, StoreState, StoreStatistics, StreamInfo, StreamMetadata,
    StreamName, StreamPage, StreamWrite, SubscribeAll, SubscribeStream, Subscription, VersionedMetadata,
};
use uuid::Uuid;

/// An event store, as its callers see it. The semantics are KurrentDB's.
///
/// # Laws
/// Each is a test in the `contract` feature.
///
/// **Writing.**
/// 1. *Durable*: an append is answered after its events are safe, and nothing is answered after a failed flush.
/// 2. *Atomic*: of one append, to one stream or several, readers see all events or none, at all times. The events of
///    one append stand together in `$all`, in the order of the writes.
/// 3. *Numbered*: a stream's revisions are 0, 1, 2, …; positions grow with each event; `created` never goes backwards
///    in `$all`.
/// 4. *Expected state*: `Any` always holds; `NoStream` holds if the stream has no events or was softly deleted;
///    `StreamExists` holds if it has events (truncated ones too) or metadata, and answers `StreamDeleted` if it was softly deleted; `Exact(r)` holds
///    if the last revision is `r`, softly deleted or not. What does not hold is `WrongExpectedRevision` with the actual
///    last revision, and nothing is written.
/// 5. *Idempotent* for `Any` and `StreamExists`: if all ids of the append are among the recent ones of that stream (at least the
///    store's last million events, restarts included), it is answered with the revision and position of the
///    last of them as they were first written (the newer, if that id was written twice); if the first is not known, it is a new append; if the first is known and a later one not,
///    `WrongExpectedRevision`.
/// 6. *Idempotent* for `Exact` and `NoStream` with an expectation below the last revision: if event `i` of the append stands at `expected + 1 + i` with
///    the same id, for all `i`, the first answer is given again, however old; else `WrongExpectedRevision`. (`NoStream` on a
///    softly deleted stream is a new append unless the first matches.)
/// 7. *Several streams*: all expectations are judged against one moment. If every write that has events was
///    written before (5, 6), the first answer is given again, even if checks (writes without events) fail now; if only some were, `WrongExpectedRevision`.
/// 8. *Empty append*: answered by the expectation alone, and nothing is written.
///
/// **Deleting.**
/// 9. *Soft delete* appends `$metadata` with `$tb` = `i64::MAX` to the metastream (the other metadata is kept): reads give `StreamNotFound`,
///    revisions go on at the next append, which also lifts `$tb` to its first event. Writing other metadata undeletes too, with all old events truncated. Deleting
///    what never had events is `WrongExpectedRevision` with no actual revision, unless it has metadata.
/// 10. *Tombstone* appends `$streamDeleted` at revision `i64::MAX`: from then on reads, appends, deletes and the metastream give
///    `StreamDeleted`. A stream that never had events can be tombstoned with `Any` or `NoStream`.
/// 11. Neither removes anything from `$all`.
///
/// **Metadata.**
/// 12. `$maxCount`, `$maxAge` and `$tb` decide which events can be read, from the moment they are answered: the first is
///    `max(last − maxCount + 1, tb)`, or later where `$maxAge` says so. All truncated is an empty page, not an error.
/// 13. A metastream shows its newest event alone, cannot have metadata of its own, and comes into being with the first
///    metadata, before or after its stream.
///
/// **Reading.**
/// 14. A page gives events in the order asked, none twice, none left out, at most `limit` and `max_bytes`, what links were resolved to included (but at least one); `next`
///    leads on with [`crate::ReadFrom::At`], and is nothing at the end. A limit of 0 is `InvalidArgument`.
/// 15. Reading your own writes: an append that was answered is in every read that begins after.
/// 16. Links are resolved where asked; a target that cannot be read leaves `event` empty.
///
/// **Subscriptions.**
/// 17. From any point, each event that passes the filter comes exactly once and in order, across the seam between catch-up and live, then `CaughtUp`; see
///    [`SubscribeAll`], [`SubscriptionMessage`] and [`Subscription`].
///
/// **Derived streams**, where [`Capabilities::derived_streams`] says so.
/// 18. `$ce-{category}`, `$et-{type}` and `$streams` hold a link for each event that they gather ([`crate::Derived`]), in the order of
///    `$all`, numbered 0, 1, 2, … A link stands at the position of its event and is readable and followed from the same moment; read
///    again it is the same, id and all ([`crate::derived_link`]). Nothing of them stands in `$all`. They are never truncated: where an event
///    cannot be read any more, its link stays and leads nowhere. One that gathers nothing yet is not found. Appends, deletes and tombstones are
///    `InvalidArgument`. They can be given metadata (`$acl`, for whoever judges by it), which hides nothing of them.
///
/// **Cancelling**: dropping a call's future does not undo an append that was queued: send it again with the same ids.
#[async_trait::async_trait]
pub trait EventStore: Send + Sync + std::fmt::Debug + 'static {
    /// Which store this is.
    async fn id(&self) -> Result<StoreId>;

    /// What it can do beyond what every store must.
    fn capabilities(&self) -> Capabilities;

    /// How it is, without asking it anything.
    fn state(&self) -> StoreState;

    /// How much it holds.
    async fn statistics(&self) -> Result<StoreStatistics>;

    /// Appends events to one stream, all or none.
    async fn append(
        &self,
        stream: &StreamName,
        expected: ExpectedState,
        events: Vec<NewEvent>,
    ) -> Result<Appended>;

    /// Appends events to several streams, all or none. Each stream stands in it once.
    async fn append_many(&self, writes: Vec<StreamWrite>) -> Result<AppendedMany>;

    /// Appends to one stream several times: each append has an expectation and an answer of its own, is judged when those
    /// before it were, and fails alone. A store may take them in together and make them safe at once.
    async fn append_in_turn(
        &self,
        stream: &StreamName,
        appends: Vec<(ExpectedState, Vec<NewEvent>)>,
    ) -> Vec<Result<Appended>> {
        let mut answers = Vec::with_capacity(appends.len());
        for (expected, events) in appends {
            answers.push(self.append(stream, expected, events).await);
        }
        answers
    }

    /// Reads a page of a stream. `StreamNotFound` if it has no events or is softly deleted, `StreamDeleted` if
    /// tombstoned.
    async fn read_stream(&self, stream: &StreamName, read: ReadStream) -> Result<StreamPage>;

    /// Reads a page of everything.
    async fn read_all(&self, read: ReadAll) -> Result<AllPage>;

    /// What can be read of a stream now. Errors as [`EventStore::read_stream`].
    async fn stream_info(&self, stream: &StreamName) -> Result<StreamInfo>;

    /// Follows a stream.
    async fn subscribe_stream(&self, stream: &StreamName, options: SubscribeStream) -> Result<Subscription>;

    /// Follows everything.
    async fn subscribe_all(&self, options: SubscribeAll) -> Result<Subscription>;

    /// Deletes a stream softly: it can come back.
    async fn delete(&self, stream: &StreamName, expected: ExpectedState) -> Result<Deleted>;

    /// Ends a stream for good: its name can never be used again.
    async fn tombstone(&self, stream: &StreamName, expected: ExpectedState) -> Result<Deleted>;

    /// Stops taking writes, lets those under way finish, and leaves everything clean for the next start. Safe to repeat.
    async fn close(&self) -> Result<()>;

    /// The position of the newest event, if there is one.
    async fn last_position(&self) -> Result<Option<Position>> {
        let page = self.read_all(ReadAll::backwards(1)).await?;
        Ok(page.events.first().and_then(|e| e.original()).map(|e| e.position))
    }

    /// A stream's metadata: the default if none was set. `StreamDeleted` if the stream is tombstoned.
    async fn metadata(&self, stream: &StreamName) -> Result<VersionedMetadata> {
        let page = match self.read_stream(&metastream(stream)?, ReadStream::backwards(1)).await {
            Err(Error::StreamNotFound(_)) => return Ok(VersionedMetadata::default()),
            other => other?,
        };
        let event = page.events.into_iter().find_map(|e| e.event);
        Ok(event.map_or_else(VersionedMetadata::default, |e| VersionedMetadata {
            revision: Some(e.revision),
            metadata: StreamMetadata::from_json(&e.data),
        }))
    }

    /// Sets a stream's metadata, all of it, under the id given. `expected` speaks of the metastream.
    async fn set_metadata(
        &self,
        stream: &StreamName,
        expected: ExpectedState,
        metadata: &StreamMetadata,
        event_id: Uuid,
    ) -> Result<Appended> {
        self.append(&metastream(stream)?, expected, vec![metadata.to_event(event_id)]).await
    }
}

fn metastream(stream: &StreamName) -> Result<StreamName> {
    stream
        .metastream()
        .ok_or_else(|| Error::InvalidArgument(format!("'{stream}' is a metastream and has no metadata")))
}
