//! The store as one caller may use it.
//!
//! A stream's `$acl` is read from the store each time that it is needed, before and after a page: what was taken back is gone
//! at once, on every engine and however many processes write, which no cache could promise. Who may do everything gets the store
//! itself and pays nothing.
//!
//! Of a user's stream that became public, those who read it as everybody may see what was written from then on
//! (see [`sees_from`]).
//!
//! What may not be read is left out of `$all`, of followed links and of the streams that the system derives. A stream
//! that was ended for good has no `$acl` any more: what is left of it in `$all` is the administrators'.

use super::{
    Caller,
    permission::{Right, allows, is_users, sees_from},
};
use event_store::{
    AllPage, Appended, AppendedMany, Capabilities, Deleted, Direction, Error, ErrorCode, EventStore,
    ExpectedState, NewEvent, Position, ReadAll, ReadFrom, ReadStream, RecordedEvent, ResolvedEvent, Result,
    Revision, StoreId, StoreState, StoreStatistics, StreamInfo, StreamName, StreamPage, StreamWrite,
    SubscribeAll, SubscribeStream, Subscription, VersionedMetadata,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

mod follow;

/// How many `$acl`s are read at once.
const LOOKUPS: usize = 16;

/// How many pages of `$all` are looked at for one, while nothing on them may be read, and how large they are.
const PAGES: usize = 4;
const PAGE_EVENTS: usize = 512;

/// The store bound to a caller who may not do everything. Cloning is cheap.
#[derive(Debug, Clone)]
pub(super) struct Authorized {
    store: Arc<dyn EventStore>,
    /// The same store, asked what streams' metadata says.
    judged_by: Arc<dyn EventStore>,
    caller: Caller,
}

/// What is known of a stream's permissions.
enum Standing {
    /// What its metadata says.
    Found(Box<VersionedMetadata>),
    /// It was ended for good, and its metadata with it.
    Ended,
}

impl Authorized {
    pub(super) const fn new(
        store: Arc<dyn EventStore>,
        judged_by: Arc<dyn EventStore>,
        caller: Caller,
    ) -> Self {
        Self { store, judged_by, caller }
    }

    /// Refuses what the caller has no right to.
    ///
    /// Reading a user's stream is refused as if it were not there. Without an `$acl` only its user may read it, so the same
    /// is done, and answered, where it is really not there.
    pub(super) async fn require(&self, stream: &StreamName, right: Right) -> Result<()> {
        let found = match self.standing(stream).await? {
            Standing::Found(found) => found,
            // Who could read it by its name hears from the store that it was ended.
            Standing::Ended => Box::default(),
        };
        let acl = found.metadata.acl.as_ref();
        if allows(&self.caller, stream, acl, right) { Ok(()) } else { Err(refused(stream, right)) }
    }

    /// From which revision on the caller may see a stream's events. It is asked before and after they are read: they may
    /// have been written after the right to it was taken back, which was after the first look.
    async fn sees_from(&self, stream: &StreamName) -> Result<Revision> {
        let found = match self.standing(stream).await? {
            Standing::Found(found) => found,
            Standing::Ended => Box::default(),
        };
        let from = sees_from(&self.caller, stream, &found).ok_or_else(|| refused(stream, Right::Read))?;
        // Of a metastream the newest event is all that there is.
        Ok(if stream.is_metastream() { 0 } else { from })
    }

    /// Refuses to whom a stream is shown from a later event than the first on.
    pub(super) async fn require_whole(&self, stream: &StreamName) -> Result<()> {
        match self.sees_from(stream).await? {
            0 => Ok(()),
            _ => Err(refused(stream, Right::Read)),
        }
    }

    async fn standing(&self, stream: &StreamName) -> Result<Standing> {
        let described = stream.original().unwrap_or_else(|| stream.clone());
        if described.is_metastream() {
            return Ok(Standing::Found(Box::default()));
        }
        match self.judged_by.metadata(&described).await {
            Ok(found) => Ok(Standing::Found(Box::new(found))),
            Err(error) if is_end(&error) => Ok(Standing::Ended),
            Err(error) => Err(error),
        }
    }

    /// From which revision on the events of each of these streams may be shown; nothing where none may.
    async fn visible(&self, streams: HashSet<StreamName>) -> Result<HashMap<StreamName, Option<Revision>>> {
        let looked_up = stream::iter(streams).map(|stream| async move {
            let from = match self.standing(&stream).await? {
                Standing::Found(found) => sees_from(&self.caller, &stream, &found),
                Standing::Ended => None,
            };
            Ok::<_, Error>((stream, from))
        });
        looked_up.buffer_unordered(LOOKUPS).try_collect().await
    }

    /// Hides where links lead to what may not be read: the target of a link that was followed, and in streams that the
    /// system derives the link itself.
    async fn hide_targets(&self, events: Vec<ResolvedEvent>) -> Result<Vec<ResolvedEvent>> {
        let targets: HashSet<_> = events.iter().filter_map(target).map(|(_, stream)| stream).collect();
        if targets.is_empty() {
            return Ok(events);
        }
        let visible = self.visible(targets).await?;
        let hidden = |event: &ResolvedEvent| {
            target(event).is_some_and(|(revision, stream)| !is_among(&visible, &stream, revision))
        };
        let shown = events.into_iter().filter_map(|event| {
            if !hidden(&event) {
                return Some(event);
            }
            let derived = event.original().is_some_and(|e| is_derived(&e.stream));
            (!derived).then(|| ResolvedEvent { event: event.event.filter(|_| event.link.is_none()), ..event })
        });
        Ok(shown.collect())
    }

    /// The events of `$all` that may be read.
    async fn leave_out(&self, events: Vec<ResolvedEvent>) -> Result<Vec<ResolvedEvent>> {
        let streams = events.iter().filter_map(|e| Some(e.original()?.stream.clone())).collect();
        let visible = self.visible(streams).await?;
        let may = |e: &ResolvedEvent| e.original().is_some_and(|e| is_among(&visible, &e.stream, e.revision));
        self.hide_targets(events.into_iter().filter(may).collect()).await
    }
}

/// Whether an event is among what may be shown of its stream.
fn is_among(
    visible: &HashMap<StreamName, Option<Revision>>,
    stream: &StreamName,
    revision: Revision,
) -> bool {
    visible.get(stream).copied().flatten().is_some_and(|from| revision >= from)
}

/// Where a link leads, whether it was followed or not.
fn target(event: &ResolvedEvent) -> Option<(Revision, StreamName)> {
    let record: &RecordedEvent = event.original()?;
    record.link_target()
}

/// Where reading forwards begins where nothing before a revision is shown. What was truncated is passed over the same way.
fn clipped(read: ReadStream, first: Revision) -> ReadStream {
    let from = match read.from {
        ReadFrom::Start => ReadFrom::At(first),
        ReadFrom::At(at) | ReadFrom::Past(at) if at < first => ReadFrom::At(first),
        from => from,
    };
    if read.direction == Direction::Forwards { ReadStream { from, ..read } } else { read }
}

/// Whether the system itself writes the stream, of links to what others wrote.
fn is_derived(stream: &StreamName) -> bool {
    let name = stream.as_str();
    name == "$streams" || ["$ce-", "$et-", "$category-", "$bc-"].iter().any(|p| name.starts_with(p))
}

fn is_end(error: &Error) -> bool {
    matches!(error.code(), ErrorCode::StreamDeleted | ErrorCode::UserErased)
}

fn refused(stream: &StreamName, right: Right) -> Error {
    if right.is_reading() && is_users(stream) {
        Error::StreamNotFound(stream.clone())
    } else {
        Error::AccessDenied(stream.clone())
    }
}

/// The right that writing takes. Without events it is a question about the stream.
const fn to_write(events: &[NewEvent]) -> Right {
    if events.is_empty() { Right::Read } else { Right::Write }
}

#[async_trait::async_trait]
impl EventStore for Authorized {
    async fn id(&self) -> Result<StoreId> {
        self.store.id().await
    }

    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    fn state(&self) -> StoreState {
        self.store.state()
    }

    async fn statistics(&self) -> Result<StoreStatistics> {
        self.store.statistics().await
    }

    /// The newest of all, whoever may read it: positions tell everybody how much is written.
    async fn last_position(&self) -> Result<Option<Position>> {
        self.store.last_position().await
    }

    async fn append(
        &self,
        stream: &StreamName,
        expected: ExpectedState,
        events: Vec<NewEvent>,
    ) -> Result<Appended> {
        self.require(stream, to_write(&events)).await?;
        self.store.append(stream, expected, events).await
    }

    async fn append_in_turn(
        &self,
        stream: &StreamName,
        appends: Vec<(ExpectedState, Vec<NewEvent>)>,
    ) -> Vec<Result<Appended>> {
        for right in [Right::Read, Right::Write] {
            let asked = appends.iter().any(|(_, events)| to_write(events) == right);
            if asked && self.require(stream, right).await.is_err() {
                // One may be allowed and the next not: each is judged by itself.
                let mut answers = Vec::with_capacity(appends.len());
                for (expected, events) in appends {
                    answers.push(self.append(stream, expected, events).await);
                }
                return answers;
            }
        }
        self.store.append_in_turn(stream, appends).await
    }

    /// Whoever may append to a stream may make that depend on where its metadata stands, which tells them no more than that.
    async fn append_many(&self, writes: Vec<StreamWrite>) -> Result<AppendedMany> {
        let appended = writes.iter().filter(|write| !write.events.is_empty());
        let conditions: HashSet<StreamName> =
            appended.filter_map(|write| write.stream.metastream()).collect();
        let is_condition =
            |write: &&StreamWrite| write.events.is_empty() && conditions.contains(&write.stream);
        let asked = writes.iter().filter(|write| !is_condition(write));
        let asked: Vec<_> = asked.map(|write| (write.stream.clone(), to_write(&write.events))).collect();
        stream::iter(asked)
            .map(|(stream, right)| async move { self.require(&stream, right).await })
            .buffered(LOOKUPS)
            .try_collect::<()>()
            .await?;
        self.store.append_many(writes).await
    }

    async fn read_stream(&self, stream: &StreamName, read: ReadStream) -> Result<StreamPage> {
        let first = self.sees_from(stream).await?;
        let mut page =
            self.store.read_stream(stream, if first == 0 { read } else { clipped(read, first) }).await?;
        let first = if page.events.is_empty() { first } else { self.sees_from(stream).await? };
        if first > page.last_revision {
            return Err(refused(stream, Right::Read));
        }
        if first > 0 {
            page.events.retain(|e| e.original().is_some_and(|e| e.revision >= first));
            page.next = page.next.filter(|next| *next >= first);
        }
        Ok(StreamPage { events: self.hide_targets(page.events).await?, ..page })
    }

    async fn read_all(&self, read: ReadAll) -> Result<AllPage> {
        let mut page = self.store.read_all(read.clone()).await?;
        for looked_at in 1.. {
            let mut events = self.leave_out(page.events).await?;
            let next = page.next.filter(|_| events.is_empty() && looked_at < PAGES);
            let Some(next) = next else {
                let rest = events.get(read.limit).and_then(|e| Some(e.original()?.position));
                events.truncate(read.limit);
                page = AllPage { events, next: rest.or(page.next) };
                break;
            };
            let limit = read.limit.max(PAGE_EVENTS);
            page = self.store.read_all(ReadAll { from: ReadFrom::At(next), limit, ..read.clone() }).await?;
        }
        Ok(page)
    }

    async fn stream_info(&self, stream: &StreamName) -> Result<StreamInfo> {
        self.sees_from(stream).await?;
        let info = self.store.stream_info(stream).await?;
        let from = self.sees_from(stream).await?;
        if from > info.last_revision {
            return Err(refused(stream, Right::Read));
        }
        let Some(hidden) = info.first_revision.and_then(|first| from.checked_sub(first)) else {
            return Ok(info);
        };
        Ok(StreamInfo { first_revision: Some(from), events: info.events.saturating_sub(hidden), ..info })
    }

    async fn subscribe_stream(&self, stream: &StreamName, options: SubscribeStream) -> Result<Subscription> {
        self.require(stream, Right::Read).await?;
        let messages = self.store.subscribe_stream(stream, options).await?;
        Ok(follow::stream(self.clone(), stream.clone(), messages))
    }

    async fn subscribe_all(&self, options: SubscribeAll) -> Result<Subscription> {
        let is_filtered = options.filter.is_some();
        let messages = self.store.subscribe_all(options).await?;
        Ok(follow::all(self.clone(), is_filtered, messages))
    }

    async fn delete(&self, stream: &StreamName, expected: ExpectedState) -> Result<Deleted> {
        self.require(stream, Right::Delete).await?;
        self.store.delete(stream, expected).await
    }

    async fn tombstone(&self, stream: &StreamName, expected: ExpectedState) -> Result<Deleted> {
        self.require(stream, Right::Delete).await?;
        self.store.tombstone(stream, expected).await
    }

    /// A caller cannot close the store: it is everybody's.
    async fn close(&self) -> Result<()> {
        Err(Error::Unsupported("be closed by one of its callers".into()))
    }

    /// Who may not have it is refused before what is private of it is opened; what is answered is judged by what it says.
    async fn metadata(&self, stream: &StreamName) -> Result<VersionedMetadata> {
        let mut found = self.judged_by.metadata(stream).await;
        for store in [Some(&self.store), None] {
            let acl = match &found {
                Ok(found) => found.metadata.acl.as_ref(),
                Err(error) if is_end(error) => None,
                Err(_) => return found,
            };
            if !allows(&self.caller, stream, acl, Right::MetaRead) {
                return Err(refused(stream, Right::MetaRead));
            }
            if let Some(store) = store {
                found = store.metadata(stream).await;
            }
        }
        found
    }
}

#[cfg(test)]
#[path = "authorized_tests.rs"]
mod tests;
