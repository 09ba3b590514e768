//! Between the port's types and the client's.

use crate::verbatim::Verbatim;
use event_store::{
    ContentType, Error, EventFilter, EventType, ExpectedState, FilterBy, Matcher, NewEvent, Position,
    RecordedEvent, ResolvedEvent, Result, StreamName, Timestamp,
};
use kurrentdb::{EventData, StreamState, SubscriptionFilter};

pub(crate) fn state(expected: ExpectedState) -> StreamState {
    match expected {
        ExpectedState::Any => StreamState::Any,
        ExpectedState::NoStream => StreamState::NoStream,
        ExpectedState::StreamExists => StreamState::StreamExists,
        ExpectedState::Exact(revision) => StreamState::StreamRevision(revision),
    }
}

pub(crate) fn event_data(event: NewEvent) -> Result<EventData> {
    let event_type = event.event_type.as_str();
    let data = match event.content_type {
        ContentType::Binary => EventData::binary(event_type, event.data),
        ContentType::Json => {
            let text = std::str::from_utf8(&event.data).map_err(|_| {
                Error::InvalidArgument(format!("event {} is said to be JSON and is not UTF-8", event.id))
            })?;
            EventData::json(event_type, &Verbatim(text)).map_err(|e| Error::Internal(e.to_string()))?
        }
    };
    Ok(data.id(event.id).metadata(event.metadata))
}

pub(crate) fn position(position: kurrentdb::Position) -> Position {
    Position::from_raw(position.commit)
}

pub(crate) fn client_position(position: Position) -> kurrentdb::Position {
    kurrentdb::Position { commit: position.raw(), prepare: position.raw() }
}

pub(crate) fn filter(filter: &EventFilter) -> SubscriptionFilter {
    let begun = match filter.by {
        FilterBy::StreamName => SubscriptionFilter::on_stream_name(),
        FilterBy::EventType => SubscriptionFilter::on_event_type(),
    };
    match &filter.matcher {
        Matcher::Prefixes(prefixes) => prefixes.iter().fold(begun, |f, p| f.add_prefix(p)),
        Matcher::Regex(regex) => begun.regex(regex.as_str()),
    }
}

pub(crate) fn resolved(event: kurrentdb::ResolvedEvent) -> Result<ResolvedEvent> {
    Ok(ResolvedEvent {
        event: event.event.map(recorded).transpose()?,
        link: event.link.map(recorded).transpose()?,
    })
}

fn recorded(event: kurrentdb::RecordedEvent) -> Result<RecordedEvent> {
    let stream = StreamName::new(event.stream_id()).map_err(|e| Error::Corrupt(e.to_string()))?;
    // The client rounds to seconds; what the server sent stands beside.
    let ticks = event.metadata.get("created").and_then(|created| created.parse().ok()).unwrap_or_default();
    Ok(RecordedEvent {
        stream,
        revision: event.revision,
        position: position(event.position),
        id: event.id,
        event_type: EventType::new(event.event_type),
        content_type: if event.is_json { ContentType::Json } else { ContentType::Binary },
        created: Timestamp::from_ticks(ticks),
        data: event.data,
        metadata: event.custom_metadata,
    })
}
