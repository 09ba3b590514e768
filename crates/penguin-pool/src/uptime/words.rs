//! Between words and events: what stands in a stream `service-uptime-{serviceName}`.

use super::history::{Sight, Word};
use event_store::{NewEvent, RecordedEvent};
use models::{DateTime, MonitorStopped, ServiceStatusChanged, ServiceStatusMetadata};
use serde_json::json;

/// The service that speaks, in events' metadata.
const SOURCE: &str = "penguin-pool/uptime";
/// The semantic version of these events' shape.
const SCHEMA_VERSION: &str = "1.0.0";

/// The word that an event says; nothing for an event of another type, or one that cannot be read.
pub(super) fn read(event: &RecordedEvent) -> Option<Word> {
    match event.event_type.as_str() {
        ServiceStatusChanged::TYPE => {
            let changed: ServiceStatusChanged = serde_json::from_slice(&event.data).ok()?;
            let since = changed.timestamp.millis();
            Some(Word {
                id: event.id,
                status: Some(changed.status),
                since,
                seen: changed.observed_at.map_or(since, DateTime::millis).max(since),
                sight: changed.metadata.map(sight).unwrap_or_default(),
            })
        }
        MonitorStopped::TYPE => {
            let stopped: MonitorStopped = serde_json::from_slice(&event.data).ok()?;
            let since = stopped.timestamp.millis();
            Some(Word { id: event.id, status: None, since, seen: since, sight: Sight::default() })
        }
        _ => None,
    }
}

/// The event that says a word of a service. `duration` is that of the state that ended, for a change.
pub(super) fn write(service: &str, word: &Word, duration: Option<u64>) -> NewEvent {
    let timestamp = DateTime::from_millis(word.since);
    let (event_type, data) = match word.status {
        Some(status) => {
            let changed = ServiceStatusChanged {
                service_name: service.to_owned(),
                status,
                timestamp,
                observed_at: (word.seen > word.since).then(|| DateTime::from_millis(word.seen)),
                duration,
                metadata: Some(metadata(&word.sight)).filter(|m| *m != ServiceStatusMetadata::default()),
                event_id: word.id.to_string(),
            };
            (ServiceStatusChanged::TYPE, json!(changed))
        }
        None => {
            let stopped = MonitorStopped {
                service_name: service.to_owned(),
                timestamp,
                reason: "shutdown".to_owned(),
                event_id: word.id.to_string(),
            };
            (MonitorStopped::TYPE, json!(stopped))
        }
    };
    event(word.id, event_type, &data)
}

/// An event of this module's streams, with the metadata that every one of them carries.
pub(super) fn event(id: uuid::Uuid, event_type: &str, data: &serde_json::Value) -> NewEvent {
    let metadata = json!({ "schemaVersion": SCHEMA_VERSION, "source": SOURCE, "correlationId": id });
    NewEvent { metadata: metadata.to_string().into(), ..NewEvent::json(id, event_type, data.to_string()) }
}

/// What a check saw, as events and answers say it.
pub(super) fn metadata(sight: &Sight) -> ServiceStatusMetadata {
    ServiceStatusMetadata {
        response_time: sight.response_time,
        error: sight.error.as_deref().map(str::to_owned),
        performance_grade: sight.grade,
    }
}

fn sight(metadata: ServiceStatusMetadata) -> Sight {
    Sight {
        response_time: metadata.response_time,
        error: metadata.error.map(Into::into),
        grade: metadata.performance_grade,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use event_store::{Position, StreamName, Timestamp};
    use models::{PerformanceGrade, ServiceState};
    use uuid::Uuid;

    fn recorded(new: NewEvent) -> RecordedEvent {
        RecordedEvent {
            stream: StreamName::new("service-uptime-http").unwrap(),
            revision: 0,
            position: Position::from_raw(0),
            id: new.id,
            event_type: new.event_type,
            content_type: new.content_type,
            created: Timestamp::from_millis(9),
            data: new.data,
            metadata: new.metadata,
        }
    }

    #[test]
    fn a_word_that_was_written_is_read_back() {
        let sight = Sight {
            response_time: Some(1.25),
            error: Some("refused".into()),
            grade: Some(PerformanceGrade::Disconnected),
        };
        let down =
            Word { id: Uuid::from_u128(7), status: Some(ServiceState::Down), since: 1000, seen: 2500, sight };
        let said_once = Word { seen: 1000, sight: Sight::default(), ..down.clone() };
        let stopped = Word { status: None, ..said_once.clone() };
        for word in [down, said_once, stopped] {
            assert_eq!(read(&recorded(write("http", &word, Some(5)))), Some(word));
        }
    }

    #[test]
    fn what_is_no_word_says_nothing() {
        for (event_type, data) in [
            ("StreamCreated", "{}"),
            (ServiceStatusChanged::TYPE, "{}"),
            (ServiceStatusChanged::TYPE, "no json"),
            (
                ServiceStatusChanged::TYPE,
                r#"{"serviceName":"a","status":"odd","timestamp":"2024-01-15T10:30:00Z","eventId":""}"#,
            ),
            (MonitorStopped::TYPE, "[]"),
        ] {
            assert_eq!(read(&recorded(NewEvent::json(Uuid::nil(), event_type, data))), None, "{data}");
        }
    }
}
