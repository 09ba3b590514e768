//! Changing and deleting streams, and their metadata as it stands.

use super::{
    Streams, StreamsError, metadata, name, view, writable,
    write::{ATTEMPTS, expected, permissions},
};
use crate::security::{
    BoundStore, Caller, Right,
    permission::{PUBLIC_FROM, is_open, public_from},
};
use event_store::{Error, ExpectedState, ReadStream, SOFT_DELETED, StreamMetadata, StreamName, Timestamp};
use garde::Validate as _;
use models::{
    DATA_DEPTH, DeleteMode, DeleteQuery, DeleteResult, NewStreamName, Stream, StreamDescription,
    StreamUpdateRequestDto, deeper,
};
use serde_json::{Map, Value};

type Result<T> = std::result::Result<T, StreamsError>;

impl Streams {
    /// Changes a stream's description, permissions or status.
    ///
    /// # Errors
    /// `StreamNotFound`, `StreamDeleted`, and what else the store answers.
    pub async fn update(&self, caller: &Caller, stream: &str, dto: StreamUpdateRequestDto) -> Result<Stream> {
        let store = self.gate.bind(caller);
        let name = writable(stream)?;
        self.gate.require(caller, &name, Right::MetaWrite).await?;
        store.stream_info(&name).await?;
        let first = first_event_at(&store, &name).await?;
        let mut attempts = ATTEMPTS;
        loop {
            let current = metadata(&store, &name).await?;
            // Deleted since it was looked up: writing would bring it back.
            if current.metadata.is_soft_deleted() {
                return Err(Error::StreamNotFound(name).into());
            }
            if dto.is_empty() {
                return Ok(view::stream(&name, &current.metadata, false, first));
            }
            let metadata = self.changed(&name, current.metadata, &dto, first);
            within_limit(&metadata)?;
            let expected = current.revision.map_or(ExpectedState::NoStream, ExpectedState::Exact);
            attempts -= 1;
            match store.set_metadata(&name, expected, &metadata, self.ids.next_id()).await {
                Ok(_) => return Ok(view::stream(&name, &metadata, false, first)),
                // Somebody else changed it in between: change what is there now.
                Err(Error::WrongExpectedRevision { .. }) if attempts > 0 => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn changed(
        &self,
        name: &StreamName,
        mut metadata: StreamMetadata,
        dto: &StreamUpdateRequestDto,
        first: Option<Timestamp>,
    ) -> StreamMetadata {
        let before = view::stream(name, &metadata, false, first);
        let kept = StreamDescription::read(&metadata.custom);
        let description = StreamDescription {
            created_at: kept.created_at.or_else(|| Some(before.metadata.created_at.to_string())),
            schema_version: kept.schema_version.or(Some(before.metadata.schema_version)),
            updated_at: Some(view::date(self.clock.now()).to_string()),
            version: Some(before.metadata.version + 1),
            description: dto.description.clone(),
            data: dto.data.clone(),
            tags: dto.tags.as_ref().map(|tags| tags.iter().map(ToString::to_string).collect()),
            status: dto.status.map(Into::into),
            ..StreamDescription::default()
        };
        description.write(&mut metadata.custom);
        if let Some(given) = dto.permissions.clone() {
            let was_open = is_open(metadata.acl.as_ref());
            metadata.acl = Some(view::acl(&permissions(given, &before.permissions)));
            // What is opened by hand is open whole.
            if !(was_open && is_open(metadata.acl.as_ref())) {
                public_from_nowhere(name, &mut metadata);
            }
        }
        metadata
    }

    /// Deletes a stream, softly or for good.
    ///
    /// # Errors
    /// `StreamNotFound` if there is none (one that was deleted softly can still be ended for good), and what else the
    /// store answers.
    pub async fn delete(&self, caller: &Caller, stream: &str, query: DeleteQuery) -> Result<DeleteResult> {
        let store = self.gate.bind(caller);
        let name = writable(stream)?;
        self.gate.require(caller, &name, Right::Delete).await?;
        if let Err(error) = store.stream_info(&name).await {
            let gone = matches!(error, Error::StreamNotFound(_));
            let ending = gone && query.mode == DeleteMode::Tombstone;
            if !ending || !metadata(&store, &name).await?.metadata.is_soft_deleted() {
                return Err(error.into());
            }
        }
        let expected = expected(query.expected_revision);
        let deleted = match query.mode {
            DeleteMode::Soft => store.delete(&name, expected).await?,
            DeleteMode::Tombstone => store.tombstone(&name, expected).await?,
        };
        Ok(DeleteResult { deleted: true, mode: query.mode, position: deleted.position.raw() })
    }

    /// A stream's metadata, as the store keeps it.
    ///
    /// # Errors
    /// `StreamNotFound` if there is neither a stream nor metadata, or it was deleted, and what else the store answers.
    pub async fn metadata(&self, caller: &Caller, stream: &str) -> Result<Map<String, Value>> {
        let store = self.gate.bind(caller);
        let name = name(stream)?;
        let current = metadata(&store, &name).await?;
        if current.metadata.is_soft_deleted() {
            return Err(Error::StreamNotFound(name).into());
        }
        if current.revision.is_none() {
            store.stream_info(&name).await?;
        }
        Ok(current.metadata.to_map())
    }

    /// Sets a stream's metadata: what the store obeys and the free keys are replaced. What says whose the stream is and
    /// what it is for (its description, `$acl`, from where on it is public, and `$tb`, below which events stay hidden) keeps its value where nothing
    /// else is given, and `version` counts on by itself.
    ///
    /// # Errors
    /// `Invalid` for a key whose value makes no sense, and for a name that no stream may be given; `StreamNotFound` for a
    /// stream that was deleted, and what else the store answers.
    pub async fn set_metadata(
        &self,
        caller: &Caller,
        stream: &str,
        map: Map<String, Value>,
    ) -> Result<Map<String, Value>> {
        let store = self.gate.bind(caller);
        let name = writable(stream)?;
        self.gate.require(caller, &name, Right::MetaWrite).await?;
        let given = checked(map)?;
        if public_from(&name, &given).is_some_and(|from| from > SOFT_DELETED) {
            return Err(StreamsError::Invalid {
                path: PUBLIC_FROM.into(),
                message: "must be a revision".into(),
            });
        }
        let mut attempts = ATTEMPTS;
        loop {
            let current = metadata(&store, &name).await?;
            if current.metadata.is_soft_deleted() {
                return Err(Error::StreamNotFound(name).into());
            }
            let expected = current.revision.map_or(ExpectedState::NoStream, ExpectedState::Exact);
            let before = match first_event_at(&store, &name).await {
                Err(Error::StreamNotFound(_)) if current.revision.is_none() => {
                    to_be_made(stream)?;
                    None
                }
                Err(Error::StreamNotFound(_)) => Some((current.metadata, None)),
                first => Some((current.metadata, first?)),
            };
            let set = self.replaced(caller, &name, before, given.clone());
            within_limit(&set)?;
            attempts -= 1;
            match store.set_metadata(&name, expected, &set, self.ids.next_id()).await {
                Ok(_) => return Ok(set.to_map()),
                // Somebody else changed it in between: what is kept is what is there now.
                Err(Error::WrongExpectedRevision { .. }) if attempts > 0 => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The metadata given, with what is kept of the metadata before. Without any before, it is a stream to be.
    fn replaced(
        &self,
        caller: &Caller,
        name: &StreamName,
        before: Option<(StreamMetadata, Option<Timestamp>)>,
        mut given: StreamMetadata,
    ) -> StreamMetadata {
        let said = StreamDescription::read(&given.custom);
        let owner = || said.owner.clone().unwrap_or_else(|| caller.id().to_owned());
        let is_new = before.is_none();
        let (before, first) = before.unwrap_or_else(|| (self.first_metadata(owner()), None));
        let shown = view::stream(name, &before, false, first);
        let kept = StreamDescription::read(&before.custom);
        let first_at = first.unwrap_or_else(|| self.clock.now());
        let description = StreamDescription {
            description: said.description.or(kept.description),
            data: said.data.or(kept.data),
            tags: said.tags.or(kept.tags),
            owner: said.owner.or(kept.owner),
            created_at: said.created_at.or(kept.created_at).or(Some(view::date(first_at).to_string())),
            updated_at: Some(view::date(self.clock.now()).to_string()),
            version: Some(if is_new { 1 } else { shown.metadata.version + 1 }),
            schema_version: said.schema_version.or(Some(shown.metadata.schema_version)),
            status: said.status.or(kept.status),
        };
        description.write(&mut given.custom);
        let was_open = is_open(before.acl.as_ref());
        let kept = public_from(name, &before).filter(|_| was_open && !given.custom.contains_key(PUBLIC_FROM));
        if let Some(from) = kept {
            _ = given.custom.insert(PUBLIC_FROM.to_owned(), from.into());
        }
        let mut set = StreamMetadata {
            acl: given.acl.or(before.acl),
            truncate_before: given.truncate_before.or(before.truncate_before),
            ..given
        };
        if !is_open(set.acl.as_ref()) {
            public_from_nowhere(name, &mut set);
        }
        set
    }
}

/// What is not public, or is public whole, is public from no revision on.
fn public_from_nowhere(name: &StreamName, set: &mut StreamMetadata) {
    if public_from(name, set).is_some() {
        _ = set.custom.shift_remove(PUBLIC_FROM);
    }
}

/// Refuses a name that no stream may be given.
fn to_be_made(stream: &str) -> Result<()> {
    NewStreamName::from(stream).validate().map_err(|report| StreamsError::Invalid {
        path: "streamName".into(),
        message: report.iter().map(|(_, error)| error.to_string()).collect::<Vec<_>>().join("; "),
    })
}

/// When the oldest readable event was written, if one is readable.
async fn first_event_at(store: &BoundStore, name: &StreamName) -> event_store::Result<Option<Timestamp>> {
    let page = store.read_stream(name, ReadStream::forwards(1)).await?;
    Ok(page.events.first().and_then(|e| e.original()).map(|e| e.created))
}

/// Metadata whose known keys make sense, and which can be read back.
fn checked(map: Map<String, Value>) -> Result<StreamMetadata> {
    let refuse = |path: &str, message: &str| {
        Err(StreamsError::Invalid { path: path.to_owned(), message: message.to_owned() })
    };
    if map.values().any(|value| deeper(value, DATA_DEPTH)) {
        return refuse("", &format!("nests deeper than {DATA_DEPTH}"));
    }
    if let Some(acl) = map.get("$acl")
        && !is_acl(acl)
    {
        return refuse("$acl", "must be an object of $r, $w, $d, $mr, $mw, each a name or an array of names");
    }
    let metadata = StreamMetadata::from_map(map);
    if metadata.truncate_before == Some(SOFT_DELETED) {
        return refuse("$tb", "this value deletes the stream: use DELETE for that");
    }
    // What the store does not understand it keeps among the free keys and obeys not: say so instead.
    if let Some(key) = metadata.custom.keys().find(|key| key.starts_with('$')) {
        let message = match key.as_str() {
            "$maxAge" | "$maxCount" | "$cacheControl" => "must be a positive integer",
            "$tb" => "must be a revision",
            _ => "is no key that the store knows; free keys do not begin with '$'",
        };
        return refuse(key, message);
    }
    if let Some((path, message)) = StreamDescription::fault(&metadata.custom) {
        return refuse(&path, &message);
    }
    within_limit(&metadata)?;
    Ok(metadata)
}

/// The most bytes of metadata that the API takes: each decision on who may do what with the stream reads it.
const MAX_METADATA_BYTES: usize = 64 << 10;

/// Refuses metadata that is larger than the API takes.
pub(super) fn within_limit(metadata: &StreamMetadata) -> Result<()> {
    let size = metadata.to_event(uuid::Uuid::nil()).size();
    if size > MAX_METADATA_BYTES {
        return Err(StreamsError::EventTooLarge { path: "metadata", size, limit: MAX_METADATA_BYTES });
    }
    Ok(())
}

fn is_acl(value: &Value) -> bool {
    let names = |value: &Value| match value {
        Value::String(_) => true,
        Value::Array(names) => names.iter().all(Value::is_string),
        _ => false,
    };
    value.as_object().is_some_and(|acl| {
        acl.iter()
            .all(|(key, value)| ["$r", "$w", "$d", "$mr", "$mw"].contains(&key.as_str()) && names(value))
    })
}
