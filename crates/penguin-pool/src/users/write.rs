//! How a user's data changes.

use super::{Place, Result, Users, UsersError, check, merge, read};
use crate::{
    security::{
        BoundStore, Caller, Right,
        permission::{PUBLIC_FROM, is_open, names_everybody, public_from},
    },
    streams,
};
use event_store::{
    Acl, Appended, Error, ExpectedState, NewEvent, Revision, SOFT_DELETED, StreamMetadata, StreamName,
    StreamWrite, VersionedMetadata,
};
use models::{
    DateTime, JsonObject, StreamCreated, StreamDescription, StreamStatus, UserData, UserDataCategory,
    UserDataDeleted, UserDataDto, UserDataPatchDto, UserDataUpdated,
};
use serde_json::{Map, Value, json};

/// How often a change is tried again when another one came in between.
const ATTEMPTS: usize = 8;

/// The service that speaks, in events' metadata.
const SOURCE: &str = "penguin-pool/users";
/// The semantic version of these events' shape.
const SCHEMA_VERSION: &str = "1.0.0";

/// What the writer says of the data before it changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect<'a> {
    /// Nothing.
    Anything,
    /// There is none yet.
    Missing,
    /// There is some.
    Present,
    /// It has one of these revisions.
    At(&'a [Revision]),
}

/// What is there.
struct Found {
    metadata: VersionedMetadata,
    /// The revision of the last event; nothing where there is no stream, or it was deleted.
    last: Option<Revision>,
    /// The revision that the next event will have.
    next: Revision,
    data: Option<UserData>,
}

/// Who may read a user's stream, by what its metadata says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Visibility {
    /// Those who are named.
    Private,
    /// Everybody.
    Public,
    /// Everybody, from a revision on that was never written: it was to become public, which did not come to its end.
    Opening,
}

impl Found {
    fn visibility(&self, name: &StreamName) -> Visibility {
        let metadata = &self.metadata.metadata;
        if !is_open(metadata.acl.as_ref()) {
            Visibility::Private
        } else if public_from(name, metadata).is_some_and(|from| from >= self.next) {
            Visibility::Opening
        } else {
            Visibility::Public
        }
    }

    /// Whether the data is public where nobody says anything else.
    fn is_public(&self, name: &StreamName) -> bool {
        match self.visibility(name) {
            Visibility::Private => false,
            Visibility::Public => true,
            Visibility::Opening => self.data.as_ref().is_some_and(|data| data.is_public),
        }
    }
}

impl Users {
    /// Sets data, all of it. The stream is made at first.
    ///
    /// # Errors
    /// `Invalid`, `TooLarge`, `Archived`, `WrongExpectedRevision`, and what else the store answers.
    pub async fn put(
        &self,
        caller: &Caller,
        place: &Place,
        dto: UserDataDto,
        expect: Expect<'_>,
    ) -> Result<UserData> {
        check::check(place.data_type, dto.data.get())?;
        self.change(caller, place, expect, |_, is_public| {
            Ok((dto.data.clone(), dto.is_public.unwrap_or(is_public)))
        })
        .await
    }

    /// Changes data by a merge patch.
    ///
    /// # Errors
    /// As [`Users::put`]; `StreamNotFound` if there is none.
    pub async fn patch(
        &self,
        caller: &Caller,
        place: &Place,
        dto: UserDataPatchDto,
        expect: Expect<'_>,
    ) -> Result<UserData> {
        let name = place.stream()?;
        self.change(caller, place, expect, |found, is_public| {
            let Some(found) = found else { return Err(Error::StreamNotFound(name.clone()).into()) };
            let is_public = dto.is_public.unwrap_or(is_public);
            let Some(patch) = &dto.data else { return Ok((found.data.clone(), is_public)) };
            // What is larger than all that may come of it is not looked at.
            check::fits(patch.get())?;
            let merged = merge::merge(found.data.get(), patch.get()).and_then(JsonObject::from_text);
            let merged = merged.map_err(|e| UsersError::Invalid(vec![("data".to_owned(), e.to_string())]))?;
            check::check(place.data_type, merged.get())?;
            Ok((merged, is_public))
        })
        .await
    }

    /// Deletes a loan or an offer. It can come back.
    ///
    /// # Errors
    /// `StreamNotFound` if there is none, `WrongExpectedRevision`, and what else the store answers.
    pub async fn delete(
        &self,
        caller: &Caller,
        place: &Place,
        expect: Expect<'_>,
    ) -> Result<UserDataDeleted> {
        let store = self.store(caller);
        let name = place.stream()?;
        // First, so that whoever may not is told the same whether it is there or not.
        self.gate.require(caller, &name, Right::Delete).await?;
        let (last, data) = read::newest(&store, &name).await?;
        judge(&name, expect, data.as_ref())?;
        let expected = match expect {
            Expect::At(_) => ExpectedState::Exact(last),
            _ => ExpectedState::Any,
        };
        store.delete(&name, expected).await?;
        Ok(UserDataDeleted { deleted: true })
    }

    /// Writes what `make` makes of what is there, and of whether it is public; and tries again when something came in between.
    async fn change(
        &self,
        caller: &Caller,
        place: &Place,
        expect: Expect<'_>,
        make: impl Fn(Option<&UserData>, bool) -> Result<(JsonObject, bool)>,
    ) -> Result<UserData> {
        let store = self.store(caller);
        let name = place.stream()?;
        self.gate.require(caller, &name, Right::Write).await?;
        let mut attempts = ATTEMPTS;
        loop {
            let found = look(&store, &name).await?;
            judge(&name, expect, found.data.as_ref())?;
            if StreamDescription::read(&found.metadata.metadata.custom).status == Some(StreamStatus::Archived)
            {
                return Err(UsersError::Archived(name));
            }
            let (data, is_public) = make(found.data.as_ref(), found.is_public(&name))?;
            attempts -= 1;
            match self.write(&store, &name, place, found, data, is_public).await {
                Err(Error::WrongExpectedRevision { .. }) if attempts > 0 => {}
                written => return Ok(written?),
            }
        }
    }

    async fn write(
        &self,
        store: &BoundStore,
        name: &StreamName,
        place: &Place,
        found: Found,
        data: JsonObject,
        is_public: bool,
    ) -> event_store::Result<UserData> {
        let id = self.ids.next_id();
        let now = DateTime::from_millis(self.clock.now().millis());
        let category = place.category.as_ref().map(UserDataCategory::as_str);
        let updated = UserDataUpdated {
            user_id: place.user_id.to_string(),
            data_type: place.data_type,
            category: category.unwrap_or_default().to_owned(),
            data,
            is_public,
            timestamp: now,
            event_id: id.to_string(),
        };
        let mut events = Vec::with_capacity(2);
        let metadata = described(name, place, &found, is_public, now);
        if found.last.is_none() {
            let description =
                metadata.as_ref().map(|m| StreamDescription::read(&m.custom)).unwrap_or_default();
            let created = StreamCreated {
                stream_name: name.to_string(),
                description: description.description.unwrap_or_default(),
                tags: description.tags.unwrap_or_default(),
                owner: place.user_id.to_string(),
                created_at: now,
                data: Map::new(),
            };
            events.push(event(self.ids.next_id(), StreamCreated::TYPE, serde_json::to_string(&created)));
        }
        events.push(event(id, UserDataUpdated::TYPE, serde_json::to_string(&updated)));
        let events = events.into_iter().collect::<event_store::Result<Vec<_>>>()?;
        // Of one that was deleted too: from there on it may be public.
        let expected = before(found.next);
        let write = StreamWrite { stream: name.clone(), expected, events };
        let expected = found.metadata.revision.map_or(ExpectedState::NoStream, ExpectedState::Exact);
        let revision = match metadata {
            None => last_of(store.append(&write.stream, write.expected, write.events).await?)?,
            Some(metadata) => self.append(store, (expected, metadata), write).await?,
        };
        Ok(UserData {
            user_id: updated.user_id,
            data_type: place.data_type,
            category: category.map(str::to_owned),
            data: updated.data,
            is_public,
            revision,
            updated_at: now,
            event_id: updated.event_id,
        })
    }

    /// Metadata and events in one append where the store can.
    ///
    /// Else metadata first, so that a crash between leaves nothing that readers see and nothing open that is to be closed.
    /// What becomes public is open in two steps: at first everybody may read it from nowhere on, and from the first of
    /// these events on when they are written. So whoever writes at the same time, and takes it for private, is either
    /// before these events, which are then refused, or finds that it is not private any more.
    async fn append(
        &self,
        store: &BoundStore,
        (expected, metadata): (ExpectedState, StreamMetadata),
        write: StreamWrite,
    ) -> event_store::Result<Revision> {
        let Some(stream) = write.stream.metastream() else {
            return Err(Error::InvalidArgument(format!("{} has no metadata", write.stream)));
        };
        let event = |metadata: &StreamMetadata| vec![metadata.to_event(self.ids.next_id())];
        if store.capabilities().multi_stream_append {
            let first = StreamWrite { stream, expected, events: event(&metadata) };
            let mut appended = store.append_many(vec![first, write]).await?;
            let unanswered = || Error::Internal("an append was not answered".into());
            return last_of(appended.streams.pop().ok_or_else(unanswered)?);
        }
        let becomes_public = write.expected != ExpectedState::NoStream
            && public_from(&write.stream, &metadata).is_some_and(|from| write.expected == before(from));
        let mut first = metadata.clone();
        if becomes_public {
            _ = first.custom.insert(PUBLIC_FROM.to_owned(), SOFT_DELETED.into());
        }
        let described = last_of(store.append(&stream, expected, event(&first)).await?)?;
        let revision = last_of(store.append(&write.stream, write.expected, write.events).await?)?;
        if becomes_public {
            store.append(&stream, ExpectedState::Exact(described), event(&metadata)).await?;
        }
        Ok(revision)
    }
}

/// What is there now. The events are looked at first: who writes after the last of them then knows what the metadata said
/// when that was there.
async fn look(store: &BoundStore, name: &StreamName) -> event_store::Result<Found> {
    let found = read::newest(store, name).await;
    let mut metadata = streams::metadata(store, name).await?;
    match found {
        Ok((last, data)) => Ok(Found { metadata, last: Some(last), next: last + 1, data }),
        Err(Error::StreamNotFound(_)) => {
            let mut next = 0;
            if metadata.metadata.is_soft_deleted() {
                // Of a deleted stream nothing but the line below its old events stays.
                let last = store.append(name, ExpectedState::Any, Vec::new()).await?.last_revision;
                next = last.map_or(0, |last| last + 1);
                let truncate_before = Some(next).filter(|next| *next > 0);
                metadata.metadata = StreamMetadata { truncate_before, ..StreamMetadata::default() };
            }
            Ok(Found { metadata, last: None, next, data: None })
        }
        Err(error) => Err(error),
    }
}

fn before(revision: Revision) -> ExpectedState {
    revision.checked_sub(1).map_or(ExpectedState::NoStream, ExpectedState::Exact)
}

fn last_of(appended: Appended) -> event_store::Result<Revision> {
    let unplaced = || Error::Internal("the store did not say where it wrote an event".into());
    appended.last_revision.ok_or_else(unplaced)
}

fn judge(name: &StreamName, expect: Expect<'_>, data: Option<&UserData>) -> event_store::Result<()> {
    let actual = data.map(|data| data.revision);
    let (holds, expected) = match expect {
        Expect::Anything => (true, ExpectedState::Any),
        Expect::Missing => (actual.is_none(), ExpectedState::NoStream),
        Expect::Present => (actual.is_some(), ExpectedState::StreamExists),
        Expect::At(revisions) => {
            let state = revisions.first().map_or(ExpectedState::StreamExists, |r| ExpectedState::Exact(*r));
            (actual.is_some_and(|actual| revisions.contains(&actual)), state)
        }
    };
    if holds {
        return Ok(());
    }
    Err(Error::WrongExpectedRevision { stream: name.clone(), expected, actual })
}

/// The metadata that a user's stream is to have; nothing if it has it.
fn described(
    name: &StreamName,
    place: &Place,
    found: &Found,
    is_public: bool,
    now: DateTime,
) -> Option<StreamMetadata> {
    let before = StreamDescription::read(&found.metadata.metadata.custom);
    let is_new = found.last.is_none() || before.version.is_none();
    let acl = found.metadata.metadata.acl.as_ref();
    let told_to_all = acl.and_then(|acl| acl.meta_read.as_deref()).is_some_and(names_everybody);
    let (is_so, opens) = match found.visibility(name) {
        Visibility::Private => (!is_public && !told_to_all, true),
        Visibility::Public => (is_public, false),
        Visibility::Opening => (false, true),
    };
    if !is_new && is_so {
        return None;
    }
    let mut metadata = found.metadata.metadata.clone();
    let visibility = |is_public| if is_public { "public" } else { "private" };
    let user = place.user_id.as_str();
    let mut description = StreamDescription {
        updated_at: Some(now.to_string()),
        version: Some(before.version.unwrap_or_default() + 1),
        ..StreamDescription::default()
    };
    if is_new {
        let data_type = place.data_type.as_str();
        let category = place.category.as_ref().map(UserDataCategory::as_str);
        let tags = ["user", data_type].into_iter().chain(category).chain([visibility(is_public)]);
        let part = category.map(|category| format!(", {category}")).unwrap_or_default();
        description = StreamDescription {
            description: Some(format!("User {user}: {data_type}{part}")),
            tags: Some(tags.map(str::to_owned).collect()),
            owner: Some(user.to_owned()),
            created_at: Some(before.created_at.unwrap_or_else(|| now.to_string())),
            schema_version: Some(SCHEMA_VERSION.to_owned()),
            status: Some(StreamStatus::Active),
            ..description
        };
    } else {
        let tags = before.tags.unwrap_or_default().into_iter();
        let others = tags.filter(|tag| *tag != visibility(!is_public) && *tag != visibility(is_public));
        description.tags = Some(others.chain([visibility(is_public).to_owned()]).collect());
    }
    description.write(&mut metadata.custom);
    if !is_public {
        _ = metadata.custom.shift_remove(PUBLIC_FROM);
    } else if opens || found.last.is_none() {
        _ = metadata.custom.insert(PUBLIC_FROM.to_owned(), found.next.into());
    }
    let own = || Some(vec![user.to_owned()]);
    let read = if is_public { Some(vec!["$all".to_owned()]) } else { own() };
    let acl = metadata.acl.take().filter(|_| !is_new);
    metadata.acl = Some(match acl {
        Some(acl) => Acl { read: read.clone(), meta_read: read, ..acl },
        None => Acl { read: read.clone(), write: own(), delete: own(), meta_read: read, meta_write: own() },
    });
    Some(metadata)
}

fn event(
    id: uuid::Uuid,
    event_type: &str,
    data: serde_json::Result<String>,
) -> event_store::Result<NewEvent> {
    let data = data.map_err(|e| Error::Internal(format!("an event cannot be written as JSON: {e}")))?;
    let metadata: Value = json!({ "schemaVersion": SCHEMA_VERSION, "source": SOURCE, "correlationId": id });
    Ok(NewEvent { metadata: metadata.to_string().into(), ..NewEvent::json(id, event_type, data) })
}
