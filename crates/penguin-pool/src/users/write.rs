//! How a user's data changes.

use super::{Place, Result, Users, UsersError, check, merge, read};
use crate::{
    security::{BoundStore, Caller, Right},
    streams,
};
use event_store::{
    Acl, Error, ExpectedState, NewEvent, Revision, StreamMetadata, StreamName, StreamWrite, VersionedMetadata,
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
    data: Option<UserData>,
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
        self.change(caller, place, expect, |found| {
            let before = found.is_some_and(|found| found.is_public);
            Ok((dto.data.clone(), dto.is_public.unwrap_or(before)))
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
        self.change(caller, place, expect, |found| {
            let Some(found) = found else { return Err(Error::StreamNotFound(name.clone()).into()) };
            let is_public = dto.is_public.unwrap_or(found.is_public);
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

    /// Writes what `make` makes of what is there, and tries again when something came in between.
    async fn change(
        &self,
        caller: &Caller,
        place: &Place,
        expect: Expect<'_>,
        make: impl Fn(Option<&UserData>) -> Result<(JsonObject, bool)>,
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
            let (data, is_public) = make(found.data.as_ref())?;
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
        let metadata = described(place, &found, is_public, now);
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
        let expected = found.last.map_or(ExpectedState::NoStream, ExpectedState::Exact);
        let write = StreamWrite { stream: name.clone(), expected, events };
        let metadata = metadata.map(|metadata| {
            let expected = found.metadata.revision.map_or(ExpectedState::NoStream, ExpectedState::Exact);
            (expected, metadata.to_event(self.ids.next_id()))
        });
        let revision = append(store, metadata, write).await?;
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
}

/// What is there now.
async fn look(store: &BoundStore, name: &StreamName) -> event_store::Result<Found> {
    let mut metadata = streams::metadata(store, name).await?;
    match read::newest(store, name).await {
        Ok((last, data)) => Ok(Found { metadata, last: Some(last), data }),
        Err(Error::StreamNotFound(_)) => {
            if metadata.metadata.is_soft_deleted() {
                // Of a deleted stream nothing but the line below its old events stays.
                let last = store.append(name, ExpectedState::Any, Vec::new()).await?.last_revision;
                let truncate_before = last.map(|last| last + 1);
                metadata.metadata = StreamMetadata { truncate_before, ..StreamMetadata::default() };
            }
            Ok(Found { metadata, last: None, data: None })
        }
        Err(error) => Err(error),
    }
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
fn described(place: &Place, found: &Found, is_public: bool, now: DateTime) -> Option<StreamMetadata> {
    let before = StreamDescription::read(&found.metadata.metadata.custom);
    let is_new = found.last.is_none() || before.version.is_none();
    if !is_new && found.data.as_ref().is_some_and(|data| data.is_public == is_public) {
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

/// In one append where the store can; else metadata first, so that a crash between leaves nothing that readers see and
/// nothing open that is to be closed.
async fn append(
    store: &BoundStore,
    metadata: Option<(ExpectedState, NewEvent)>,
    write: StreamWrite,
) -> event_store::Result<Revision> {
    let metastream = write.stream.metastream();
    let appended = match metadata.zip(metastream) {
        None => store.append(&write.stream, write.expected, write.events).await?,
        Some(((expected, event), stream)) if store.capabilities().multi_stream_append => {
            let metadata = StreamWrite { stream, expected, events: vec![event] };
            let mut appended = store.append_many(vec![metadata, write]).await?;
            appended.streams.pop().ok_or_else(|| Error::Internal("an append was not answered".into()))?
        }
        Some(((expected, event), stream)) => {
            store.append(&stream, expected, vec![event]).await?;
            store.append(&write.stream, write.expected, write.events).await?
        }
    };
    let unplaced = || Error::Internal("the store did not say where it wrote an event".into());
    appended.last_revision.ok_or_else(unplaced)
}
