//! Creating streams and appending to them.

use super::{Streams, StreamsError, change, metadata, view, writable};
use crate::security::{BoundStore, Caller, Right};
use event_store::{
    ContentType, Error, EventType, ExpectedState, NewEvent, StreamMetadata, StreamName, StreamWrite,
};
use models::{
    AppendBatchResult, AppendManyResult, AppendResult, JsonObject, NewStreamName, StreamAppendBatchDto,
    StreamAppendEventDto, StreamAppendManyDto, StreamCreateRequestDto, StreamCreateResult, StreamDescription,
    StreamEventDto, StreamPermissions, StreamPermissionsDto, StreamState, StreamWriteResult,
};
use uuid::Uuid;

/// The most that an event's data may have, and its metadata too, in bytes.
pub(super) const MAX_EVENT_BYTES: usize = 1 << 20;

/// How often a change of metadata is tried again when another one came in between.
pub(super) const ATTEMPTS: usize = 8;

type Result<T> = std::result::Result<T, StreamsError>;

impl Streams {
    /// Makes a stream: its description and its first event, in one append where the store can.
    ///
    /// # Errors
    /// `AlreadyExists`, `EventTooLarge`, and what the store answers (`StreamDeleted` for a tombstoned name).
    pub async fn create(&self, caller: &Caller, dto: StreamCreateRequestDto) -> Result<StreamCreateResult> {
        let store = self.gate.bind(caller);
        let name = writable(dto.stream_name.as_str())?;
        self.gate.require(caller, &name, Right::Write).await?;
        let event = self.new_event(StreamEventDto {
            event_type: dto.event_type,
            event_data: dto.event_data,
            metadata: dto.metadata,
            event_id: None,
        })?;
        let event_id = event.id;
        let owner = dto.owner.map_or_else(|| caller.id().to_owned(), String::from);
        if owner != caller.id() && !caller.is_admin() {
            return Err(StreamsError::Invalid {
                path: "owner".to_owned(),
                message: "is somebody else: only administrators make streams in others' names".to_owned(),
            });
        }
        let description = StreamDescription {
            description: dto.description,
            data: dto.data,
            tags: Some(dto.tags.into_iter().map(String::from).collect()),
            ..self.first_description(owner.clone())
        };
        let permissions = permissions(dto.permissions.unwrap_or_default(), &owners(owner));
        for _ in 0..ATTEMPTS {
            let Vacant { metastream, stream, mut metadata } = vacant(&store, &name).await?;
            description.write(&mut metadata.custom);
            metadata.acl = Some(view::acl(&permissions));
            change::within_limit(&metadata)?;
            let set = metadata.to_event(self.ids.next_id());
            match write_new(&store, &name, (metastream, set), (stream, event.clone())).await {
                Ok((position, revision)) => {
                    let stream = view::stream(&name, &metadata, false, None);
                    let event = AppendResult { event_id: event_id.to_string(), position, revision };
                    return Ok(StreamCreateResult { stream, event });
                }
                Err(Error::WrongExpectedRevision { stream, .. }) if stream == name => break,
                // Somebody else set the metadata in between: look again.
                Err(Error::WrongExpectedRevision { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StreamsError::AlreadyExists(name))
    }

    /// Appends one event.
    ///
    /// # Errors
    /// `Archived`, `EventTooLarge`, and what the store answers.
    pub async fn append(
        &self,
        caller: &Caller,
        stream: &NewStreamName,
        dto: StreamAppendEventDto,
    ) -> Result<AppendResult> {
        let (event, state) = dto.into_parts();
        let batch = StreamAppendBatchDto { events: vec![event], stream_state: state };
        let AppendBatchResult { event_ids, position, revision } =
            self.append_batch(caller, stream, batch).await?;
        let event_id = event_ids.into_iter().next().unwrap_or_default();
        Ok(AppendResult { event_id, position, revision })
    }

    /// Appends events to one stream, all or none.
    ///
    /// # Errors
    /// As [`Streams::append`].
    pub async fn append_batch(
        &self,
        caller: &Caller,
        stream: &NewStreamName,
        dto: StreamAppendBatchDto,
    ) -> Result<AppendBatchResult> {
        let store = self.gate.bind(caller);
        let name = writable(stream.as_str())?;
        self.gate.require(caller, &name, Right::Write).await?;
        let events = self.new_events(dto.events)?;
        let event_ids = ids(&events);
        let write = StreamWrite { stream: name, expected: expected(dto.stream_state), events };
        let appended = self.append_guarded(caller, &store, vec![write]).await?.streams.pop();
        let placed = appended.and_then(|a| Some((a.position?.raw(), a.last_revision?)));
        let (position, revision) = placed.ok_or_else(unplaced)?;
        Ok(AppendBatchResult { event_ids, position, revision })
    }

    /// Appends events to several streams, all or none.
    ///
    /// # Errors
    /// As [`Streams::append`]; `Unsupported` from a store that cannot.
    pub async fn append_many(&self, caller: &Caller, dto: StreamAppendManyDto) -> Result<AppendManyResult> {
        let store = self.gate.bind(caller);
        let mut writes = Vec::with_capacity(dto.streams.len());
        let mut results = Vec::with_capacity(dto.streams.len());
        for (index, write) in dto.streams.into_iter().enumerate() {
            let stream = writable(write.stream_name.as_str())?;
            if writes.iter().any(|other: &StreamWrite| other.stream == stream) {
                let path = format!("streams[{index}].streamName");
                return Err(StreamsError::Invalid { path, message: format!("'{stream}' is named twice") });
            }
            let events = self.new_events(write.events)?;
            let right = if events.is_empty() { Right::Read } else { Right::Write };
            self.gate.require(caller, &stream, right).await?;
            let stream_name = stream.as_str().to_owned();
            results.push(StreamWriteResult { stream_name, event_ids: ids(&events), revision: None });
            writes.push(StreamWrite { stream, expected: expected(write.stream_state), events });
        }
        let appended = self.append_guarded(caller, &store, writes).await?;
        for (result, appended) in results.iter_mut().zip(appended.streams) {
            result.revision = appended.last_revision;
        }
        Ok(AppendManyResult { streams: results, position: appended.position.map(|p| p.raw()) })
    }

    fn new_events(&self, events: Vec<StreamEventDto>) -> Result<Vec<NewEvent>> {
        events.into_iter().map(|event| self.new_event(event)).collect()
    }

    fn new_event(&self, dto: StreamEventDto) -> Result<NewEvent> {
        let bytes = |path, json: JsonObject| {
            let size = json.get().len();
            if size > MAX_EVENT_BYTES {
                return Err(StreamsError::EventTooLarge { path, size, limit: MAX_EVENT_BYTES });
            }
            Ok(json.into_text().into())
        };
        let id = match dto.event_id {
            None => self.ids.next_id(),
            Some(id) => Uuid::parse_str(id.as_str())
                .map_err(|e| StreamsError::Invalid { path: "eventId".into(), message: e.to_string() })?,
        };
        Ok(NewEvent {
            id,
            event_type: EventType::new(dto.event_type.as_str()),
            content_type: ContentType::Json,
            data: bytes("eventData", dto.event_data)?,
            metadata: dto.metadata.map_or_else(|| Ok(bytes::Bytes::new()), |json| bytes("metadata", json))?,
        })
    }
}

fn ids(events: &[NewEvent]) -> Vec<String> {
    events.iter().map(|event| event.id.to_string()).collect()
}

/// What a stream to be made begins with.
struct Vacant {
    /// What must be so of its metastream.
    metastream: ExpectedState,
    /// What must be so of the stream itself once the metadata is there: metadata brings a deleted stream back.
    stream: ExpectedState,
    metadata: StreamMetadata,
}

/// What a stream to be made begins with. Metadata set before the first event stays; of a softly deleted stream nothing but
/// the line below its old events does.
async fn vacant(store: &BoundStore, name: &StreamName) -> Result<Vacant> {
    match store.stream_info(name).await {
        Ok(_) => return Err(StreamsError::AlreadyExists(name.clone())),
        Err(Error::StreamNotFound(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let current = metadata(store, name).await?;
    let metastream = current.revision.map_or(ExpectedState::NoStream, ExpectedState::Exact);
    if !current.metadata.is_soft_deleted() {
        return Ok(Vacant { metastream, stream: ExpectedState::NoStream, metadata: current.metadata });
    }
    let last = store.append(name, ExpectedState::Any, Vec::new()).await?.last_revision;
    let truncate_before = last.map(|last| last + 1);
    let stream = last.map_or(ExpectedState::NoStream, ExpectedState::Exact);
    Ok(Vacant {
        metastream,
        stream,
        metadata: StreamMetadata { truncate_before, ..StreamMetadata::default() },
    })
}

/// Writes a new stream's metadata and first event; gives the event's position and revision.
async fn write_new(
    store: &BoundStore,
    name: &StreamName,
    (expected, metadata): (ExpectedState, NewEvent),
    (afterwards, event): (ExpectedState, NewEvent),
) -> event_store::Result<(u64, u64)> {
    let no_metastream = || Error::InvalidArgument(format!("'{name}' cannot have metadata"));
    let metastream = name.metastream().ok_or_else(no_metastream)?;
    let stream = StreamWrite { stream: name.clone(), expected: ExpectedState::NoStream, events: vec![event] };
    let metadata = StreamWrite { stream: metastream, expected, events: vec![metadata] };
    let appended = if store.capabilities().multi_stream_append {
        store.append_many(vec![metadata, stream]).await?.streams.pop()
    } else {
        // A crash between the two leaves a description that nobody sees: no stream is there.
        store.append(&metadata.stream, metadata.expected, metadata.events).await?;
        Some(store.append(&stream.stream, afterwards, stream.events).await?)
    };
    appended.and_then(|a| Some((a.position?.raw(), a.last_revision?))).ok_or_else(unplaced)
}

fn unplaced() -> Error {
    Error::Internal("the store did not say where it wrote an event".into())
}

pub(super) const fn expected(state: StreamState) -> ExpectedState {
    match state {
        StreamState::Any => ExpectedState::Any,
        StreamState::NoStream => ExpectedState::NoStream,
        StreamState::StreamExists => ExpectedState::StreamExists,
        StreamState::Revision(revision) => ExpectedState::Exact(revision),
    }
}

/// What a stream made without permissions has: it is its owner's and the administrators'.
pub(super) fn owners(owner: String) -> StreamPermissions {
    let mut names = vec![owner];
    if names != ["system"] {
        names.push("system".to_owned());
    }
    StreamPermissions { read: names.clone(), write: names.clone(), admin: names }
}

/// The permissions given, and for those that are not the ones there are.
pub(super) fn permissions(given: StreamPermissionsDto, others: &StreamPermissions) -> StreamPermissions {
    let names = |given: Option<Vec<models::Principal>>, other: &[String]| match given {
        Some(names) => names.into_iter().map(String::from).collect(),
        None => other.to_vec(),
    };
    StreamPermissions {
        read: names(given.read, &others.read),
        write: names(given.write, &others.write),
        admin: names(given.admin, &others.admin),
    }
}
