//! `kurrentdb.protocol.v2.streams.StreamsService`: appending to several streams, all or none.

use super::{
    Services,
    append::{Gathered, Refusal},
    convert,
    proto::kurrentdb::protocol::v2::streams::{
        AppendRecord, AppendRecordsRequest, AppendRecordsResponse, AppendRequest, AppendResponse,
        AppendSessionResponse, ConsistencyCheck, SchemaFormat, StreamRevision, consistency_check,
        streams_service_server::StreamsService,
    },
    status,
    v2_errors::{self as errors, Failure, Violation},
};
use event_store::{
    AppendedMany, ContentType, Error, EventStore, EventType, ExpectedState, IdSource, NewEvent, Position,
    StreamName, StreamWrite,
};
use prost_types::value::Kind;
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

/// Where a v1 reader finds what v2 says of a record's schema: in its metadata.
const SCHEMA_NAME: &str = "$schema.name";
const SCHEMA_FORMAT: &str = "$schema.format";
const SCHEMA_ID: &str = "$schema.id";
/// How deep a property's value may nest.
const MAX_DEPTH: usize = 64;
/// How many checks one append may have: of one that fails, each is looked at.
const MAX_CHECKS: usize = 1_000;

#[tonic::async_trait]
impl StreamsService for Services {
    async fn append_session(
        &self,
        request: Request<Streaming<AppendRequest>>,
    ) -> Result<Response<AppendSessionResponse>, Status> {
        let store = self.store(&request).await?;
        let mut messages = request.into_inner();
        let mut writes = Writes::new(self);
        while let Some(message) = messages.message().await? {
            let stream = name(&message.stream)?;
            if writes.contains(&stream) {
                return Err(Failure::AlreadyInSession(&stream).status());
            }
            let expected =
                message.expected_revision.map_or(Ok(ExpectedState::Any), convert::expected_from_version)?;
            writes.expect(&stream, expected);
            for record in message.records {
                writes.push(self, &stream, record)?;
            }
        }
        if writes.is_empty() {
            return Err(Failure::NoRequests.status());
        }
        let (names, appended) = writes.append(&*store).await?.map_err(|error| errors::of(&error))?;
        let output = names.iter().zip(&appended.streams).map(|(name, one)| AppendResponse {
            stream: name.to_string(),
            stream_revision: convert::actual_version(one.last_revision),
            position: one.position.map(signed),
        });
        Ok(Response::new(AppendSessionResponse {
            output: output.collect(),
            position: appended.position.map_or(-1, signed),
        }))
    }

    async fn append_records(
        &self,
        request: Request<AppendRecordsRequest>,
    ) -> Result<Response<AppendRecordsResponse>, Status> {
        let store = self.store(&request).await?;
        let request = request.into_inner();
        if request.records.is_empty() {
            return Err(Failure::NoRequests.status());
        }
        let mut writes = Writes::new(self);
        for record in request.records {
            let stream = name(&record.stream)?;
            writes.push(self, &stream, record)?;
        }
        if request.checks.len() > MAX_CHECKS {
            return Err(status::invalid(format!("an append has {MAX_CHECKS} checks at most")));
        }
        let checks = request.checks.into_iter().map(parse_check).collect::<Result<Vec<_>, _>>()?;
        let mut checked = HashSet::with_capacity(checks.len());
        for (stream, expected) in &checks {
            if !checked.insert(stream) {
                return Err(status::invalid(format!("stream '{stream}' is checked twice")));
            }
            writes.expect(stream, *expected);
        }
        let (names, appended) = match writes.append(&*store).await? {
            Ok(appended) => appended,
            Err(error) => return Err(violated(&*store, &checks, &error).await),
        };
        let written = names.iter().zip(&appended.streams).filter(|(_, one)| one.position.is_some());
        let revisions = written.map(|(name, one)| StreamRevision {
            stream: name.to_string(),
            revision: convert::actual_version(one.last_revision),
        });
        Ok(Response::new(AppendRecordsResponse {
            revisions: revisions.collect(),
            position: appended.position.map_or(-1, signed),
        }))
    }
}

/// A failed append to checked streams, as the checks that do not hold: the one that the store names, as it was judged, and
/// those that do not hold now.
async fn violated(store: &dyn EventStore, checks: &[(StreamName, ExpectedState)], error: &Error) -> Status {
    let (named, actual) = match error {
        Error::WrongExpectedRevision { stream, actual, .. } => (stream, convert::actual_version(*actual)),
        // Softly deleted or tombstoned: only reading tells.
        Error::StreamDeleted(stream) => match store.stream_info(stream).await {
            Err(Error::StreamNotFound(_)) => (stream, errors::SOFTLY_DELETED),
            _ => (stream, errors::TOMBSTONED),
        },
        error => return errors::of(error),
    };
    if !checks.iter().any(|(checked, _)| checked == named) {
        return errors::of(error);
    }
    let mut violations = Vec::new();
    for (index, (stream, expected)) in checks.iter().enumerate() {
        let actual = if stream == named { Some(actual) } else { broken(store, stream, *expected).await };
        violations.extend(actual.map(|actual| Violation { index, stream, expected: *expected, actual }));
    }
    Failure::Violated(&violations).status()
}

/// The state of a stream, if it is not as expected now.
async fn broken(store: &dyn EventStore, stream: &StreamName, expected: ExpectedState) -> Option<i64> {
    let actual = match store.stream_info(stream).await {
        Ok(info) => convert::actual_version(Some(info.last_revision)),
        Err(Error::StreamDeleted(_)) => errors::TOMBSTONED,
        Err(Error::StreamNotFound(_)) => {
            let metadata = store.metadata(stream).await.ok()?;
            if metadata.metadata.is_soft_deleted() {
                errors::SOFTLY_DELETED
            } else {
                convert::actual_version(None)
            }
        }
        // What cannot be looked at is not said to be broken.
        Err(_) => return None,
    };
    let holds = match expected {
        ExpectedState::Any => true,
        ExpectedState::NoStream => actual < 0,
        ExpectedState::StreamExists => actual >= 0,
        // Of a softly deleted stream nobody tells the last revision.
        ExpectedState::Exact(revision) => {
            actual == errors::SOFTLY_DELETED || actual == convert::actual_version(Some(revision))
        }
    };
    (!holds).then_some(actual)
}

fn parse_check(check: ConsistencyCheck) -> Result<(StreamName, ExpectedState), Status> {
    let Some(consistency_check::Type::StreamState(check)) = check.r#type else {
        return Err(status::invalid("a check says nothing"));
    };
    Ok((name(&check.stream)?, convert::expected_from_version(check.expected_state)?))
}

/// What one call is to write, stream by stream in the order in which they were first named.
struct Writes {
    places: HashMap<StreamName, usize>,
    streams: Vec<(StreamName, ExpectedState)>,
    /// All events in the order received, bounded together, and for each the place of its stream.
    events: Gathered,
    targets: Vec<usize>,
}

impl Writes {
    fn new(services: &Services) -> Self {
        Self {
            places: HashMap::new(),
            streams: Vec::new(),
            events: Gathered::new(&services.0),
            targets: Vec::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    fn contains(&self, stream: &StreamName) -> bool {
        self.places.contains_key(stream)
    }

    fn place(&mut self, stream: &StreamName) -> usize {
        *self.places.entry(stream.clone()).or_insert_with(|| {
            self.streams.push((stream.clone(), ExpectedState::Any));
            self.streams.len() - 1
        })
    }

    fn expect(&mut self, stream: &StreamName, expected: ExpectedState) {
        let place = self.place(stream);
        self.streams[place].1 = expected;
    }

    fn push(&mut self, services: &Services, stream: &StreamName, record: AppendRecord) -> Result<(), Status> {
        let event = new_event(record, &*services.options.ids)?;
        self.events.push(event).map_err(|refusal| match refusal {
            Refusal::Store(Error::EventTooLarge { id, size, limit }) => {
                Failure::RecordTooLarge { stream, id, size, limit }.status()
            }
            Refusal::Store(error) => errors::of(&error),
            Refusal::Exhausted => refusal.status(),
        })?;
        let place = self.place(stream);
        self.targets.push(place);
        Ok(())
    }

    /// Appends all of it. The names come back in the order of the answer's streams.
    async fn append(
        mut self,
        store: &dyn EventStore,
    ) -> Result<Result<(Vec<StreamName>, AppendedMany), Error>, Status> {
        let (events, _pending) = self.events.take();
        let mut writes: Vec<_> = self
            .streams
            .into_iter()
            .map(|(stream, expected)| StreamWrite { stream, expected, events: Vec::new() })
            .collect();
        for (event, place) in events.into_iter().zip(self.targets) {
            writes[place].events.push(event);
        }
        if writes.len() > 1 && !store.capabilities().multi_stream_append {
            return Err(status::of(&Error::Unsupported("append to several streams at once".into())));
        }
        loop {
            let names = writes.iter().map(|w| w.stream.clone()).collect();
            let kept = writes.iter().any(is_check_for_none).then(|| writes.clone());
            match (store.append_many(writes).await, kept) {
                // To a check a tombstoned stream is none, for ever: without it the rest is judged as before.
                (Err(Error::StreamDeleted(stream)), Some(mut kept))
                    if kept.iter().any(|w| w.stream == stream && is_check_for_none(w))
                        && matches!(store.stream_info(&stream).await, Err(Error::StreamDeleted(_))) =>
                {
                    kept.retain(|w| w.stream != stream);
                    writes = kept;
                }
                (appended, _) => return Ok(appended.map(|appended| (names, appended))),
            }
        }
    }
}

fn is_check_for_none(write: &StreamWrite) -> bool {
    write.events.is_empty() && write.expected == ExpectedState::NoStream
}

fn name(stream: &str) -> Result<StreamName, Status> {
    StreamName::new(stream).map_err(|e| status::invalid(e.to_string()))
}

fn signed(position: Position) -> i64 {
    i64::try_from(position.raw()).unwrap_or(i64::MAX)
}

/// A record as an event: its properties and what is said of its schema become the event's metadata.
fn new_event(record: AppendRecord, ids: &dyn IdSource) -> Result<NewEvent, Status> {
    let id = match record.record_id.as_deref() {
        None | Some("") => ids.next_id(),
        Some(id) => Uuid::parse_str(id)
            .ok()
            .filter(|id| !id.is_nil())
            .ok_or_else(|| status::invalid("a record's id must be a UUID, and not nil"))?,
    };
    let schema = record.schema.ok_or_else(|| status::invalid("a record needs a schema"))?;
    let format = match schema.format() {
        SchemaFormat::Json => "Json",
        SchemaFormat::Protobuf => "Protobuf",
        SchemaFormat::Avro => "Avro",
        SchemaFormat::Bytes => "Bytes",
        SchemaFormat::Unspecified => return Err(status::invalid("a record's schema needs a format")),
    };
    let mut metadata = Map::new();
    // The order of a map is lost on the wire: by name it is the same each time.
    let mut properties: Vec<_> = record.properties.into_iter().collect();
    properties.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (key, value) in properties {
        metadata.insert(key, json(value, 0)?);
    }
    metadata.insert(SCHEMA_NAME.into(), schema.name.as_str().into());
    metadata.insert(SCHEMA_FORMAT.into(), format.into());
    if let Some(schema_id) = &schema.id {
        metadata.insert(SCHEMA_ID.into(), schema_id.as_str().into());
    }
    let json_data = schema.format() == SchemaFormat::Json;
    Ok(NewEvent {
        id,
        event_type: EventType::new(schema.name),
        content_type: if json_data { ContentType::Json } else { ContentType::Binary },
        data: record.data,
        metadata: Value::Object(metadata).to_string().into(),
    })
}

fn json(value: prost_types::Value, depth: usize) -> Result<Value, Status> {
    if depth > MAX_DEPTH {
        return Err(status::invalid(format!("a property nests deeper than {MAX_DEPTH}")));
    }
    Ok(match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => value.into(),
        Some(Kind::StringValue(text)) => text.into(),
        // What is no number in JSON (NaN, infinities) becomes null, as in JSON itself.
        Some(Kind::NumberValue(number)) => number_to_json(number),
        Some(Kind::ListValue(list)) => {
            let values: Result<Vec<_>, _> = list.values.into_iter().map(|v| json(v, depth + 1)).collect();
            values?.into()
        }
        Some(Kind::StructValue(fields)) => {
            let fields: Result<Map<_, _>, _> =
                fields.fields.into_iter().map(|(k, v)| Ok((k, json(v, depth + 1)?))).collect();
            fields.map_err(|e: Status| e)?.into()
        }
    })
}

/// Whole numbers stay whole: a double says no more of them than an integer.
#[expect(clippy::cast_possible_truncation, reason = "checked to be whole and within 2^53")]
fn number_to_json(number: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT { (number as i64).into() } else { number.into() }
}
