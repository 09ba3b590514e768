//! Writing: judge every expectation against one moment, then write all or nothing.

use super::{Log, MAX_APPEND_BYTES, MAX_EVENT_BYTES, Model, position};
use crate::{
    Appended, AppendedMany, Clock, ContentType, Deleted, Error, EventType, ExpectedState, IdSource, NewEvent,
    RecordedEvent, Result, Revision, SOFT_DELETED, StreamMetadata, StreamName, StreamWrite,
    TOMBSTONE_REVISION,
};
use bytes::Bytes;

/// What becomes of one write.
enum Verdict {
    /// Its expectation holds: its events are to be written.
    New,
    /// Its events were written before, and this was the answer.
    Again(Appended),
}

impl Model {
    pub(super) fn append_now(&self, writes: &[StreamWrite]) -> Result<AppendedMany> {
        check_request(writes)?;
        let mut log = self.open_log()?;
        let verdicts: Vec<Result<Verdict>> = writes.iter().map(|w| log.judge(w)).collect();

        let mut written = writes.iter().zip(&verdicts).filter(|(w, _)| !w.events.is_empty()).peekable();
        let any_events = written.peek().is_some();
        if any_events && written.all(|(_, verdict)| matches!(verdict, Ok(Verdict::Again(_)))) {
            return Ok(log.first_answer(writes, verdicts));
        }
        let mut again = None;
        for (write, verdict) in writes.iter().zip(verdicts) {
            if let Verdict::Again(_) = verdict? {
                again = again.or(Some(write));
            }
        }
        if let Some(write) = again {
            return Err(log.wrong_revision(&write.stream, write.expected));
        }

        let undeleted = log.undeleted_by(writes);
        let streams: Vec<_> = writes.iter().map(|w| log.write(&*self.clock, w)).collect();
        for (stream, first_new) in undeleted {
            let metadata = StreamMetadata { truncate_before: Some(first_new), ..log.metadata(&stream) };
            log.write_metadata(&*self.clock, &*self.ids, &stream, &metadata)?;
        }
        drop(log);
        self.changed.send_replace(());
        let position = streams.iter().filter_map(|s| s.position).max();
        Ok(AppendedMany { streams, position })
    }

    pub(super) fn delete_now(&self, stream: &StreamName, expected: ExpectedState) -> Result<Deleted> {
        refuse_unwritable(stream, "deleted")?;
        let mut log = self.open_log()?;
        log.check(stream, expected)?;
        let described = stream.metastream().is_some_and(|meta| log.last_revision(&meta).is_some());
        if log.last_revision(stream).is_none() && !described {
            return Err(log.wrong_revision(stream, expected));
        }
        let metadata = StreamMetadata { truncate_before: Some(SOFT_DELETED), ..log.metadata(stream) };
        let deleted = log.write_metadata(&*self.clock, &*self.ids, stream, &metadata)?;
        drop(log);
        self.changed.send_replace(());
        Ok(deleted)
    }

    pub(super) fn tombstone_now(&self, stream: &StreamName, expected: ExpectedState) -> Result<Deleted> {
        refuse_unwritable(stream, "tombstoned")?;
        let mut log = self.open_log()?;
        log.check(stream, expected)?;
        let event = NewEvent {
            content_type: ContentType::Binary,
            ..NewEvent::json(self.ids.next_id(), EventType::STREAM_DELETED, Bytes::new())
        };
        let position = log.push(&*self.clock, stream, TOMBSTONE_REVISION, &event);
        drop(log);
        self.changed.send_replace(());
        Ok(Deleted { position })
    }
}

impl Log {
    /// Law 4: whether an expectation holds now.
    fn check(&self, stream: &StreamName, expected: ExpectedState) -> Result<()> {
        if self.is_tombstoned(stream) {
            return Err(Error::StreamDeleted(stream.clone()));
        }
        let last = self.last_revision(stream);
        let deleted = self.metadata(stream).is_soft_deleted();
        let holds = match expected {
            ExpectedState::Any => true,
            ExpectedState::NoStream => last.is_none() || deleted,
            ExpectedState::StreamExists if deleted => return Err(Error::StreamDeleted(stream.clone())),
            ExpectedState::StreamExists => {
                let meta = stream.metastream().and_then(|meta| self.last_revision(&meta));
                last.is_some() || meta.is_some()
            }
            ExpectedState::Exact(revision) => last == Some(revision),
        };
        if holds { Ok(()) } else { Err(self.wrong_revision(stream, expected)) }
    }

    /// Laws 4 to 6: whether a write is new, was there before, or is refused.
    fn judge(&self, write: &StreamWrite) -> Result<Verdict> {
        let holds = self.check(&write.stream, write.expected);
        if write.events.is_empty() || matches!(holds, Err(Error::StreamDeleted(_))) {
            return holds.map(|()| Verdict::New);
        }
        // Where each event already stands, if it does.
        let found: Vec<Option<&RecordedEvent>> = match self.first_expected(write) {
            None => write.events.iter().map(|e| self.of(&write.stream).rfind(|r| r.id == e.id)).collect(),
            Some(first) => {
                let at = |revision, id| self.of(&write.stream).find(|r| r.revision == revision && r.id == id);
                (first..).zip(&write.events).map(|(revision, e)| at(revision, e.id)).collect()
            }
        };
        match (found.first().copied().flatten(), found.iter().copied().collect::<Option<Vec<_>>>()) {
            (None, _) => holds.map(|()| Verdict::New),
            (Some(_), None) => Err(self.wrong_revision(&write.stream, write.expected)),
            (Some(first), Some(all)) => {
                let last = all.last().copied().unwrap_or(first);
                Ok(Verdict::Again(Appended {
                    last_revision: Some(last.revision),
                    position: Some(last.position),
                }))
            }
        }
    }

    /// The revision at which the writer expects its first event to stand, if it said so.
    fn first_expected(&self, write: &StreamWrite) -> Option<Revision> {
        match write.expected {
            ExpectedState::Any | ExpectedState::StreamExists => None,
            ExpectedState::NoStream => Some(0),
            ExpectedState::Exact(revision) => Some(revision.saturating_add(1)),
        }
    }

    /// Law 7: what was answered when all this was first written.
    fn first_answer(&self, writes: &[StreamWrite], verdicts: Vec<Result<Verdict>>) -> AppendedMany {
        let answer = |(write, verdict): (&StreamWrite, Result<Verdict>)| match verdict {
            Ok(Verdict::Again(appended)) => appended,
            _ => Appended { last_revision: self.last_revision(&write.stream), position: None },
        };
        let streams: Vec<_> = writes.iter().zip(verdicts).map(answer).collect();
        let position = streams.iter().filter_map(|s| s.position).max();
        AppendedMany { streams, position }
    }

    /// Law 9: the softly deleted streams that these writes bring back, with the revision of their first new event.
    fn undeleted_by(&self, writes: &[StreamWrite]) -> Vec<(StreamName, Revision)> {
        let mut undeleted: Vec<(StreamName, Revision)> = Vec::new();
        for write in writes.iter().filter(|w| !w.events.is_empty()) {
            let stream = write.stream.original().unwrap_or_else(|| write.stream.clone());
            let known = undeleted.iter().any(|(s, _)| *s == stream);
            if !known && self.metadata(&stream).is_soft_deleted() {
                let first_new = self.of(&stream).next_back().map_or(0, |last| last.revision + 1);
                undeleted.push((stream, first_new));
            }
        }
        undeleted
    }

    fn write(&mut self, clock: &dyn Clock, write: &StreamWrite) -> Appended {
        let mut appended = Appended { last_revision: self.last_revision(&write.stream), position: None };
        for event in &write.events {
            let revision = appended.last_revision.map_or(0, |last| last + 1);
            let position = self.push(clock, &write.stream, revision, event);
            appended = Appended { last_revision: Some(revision), position: Some(position) };
        }
        appended
    }

    fn write_metadata(
        &mut self,
        clock: &dyn Clock,
        ids: &dyn IdSource,
        stream: &StreamName,
        metadata: &StreamMetadata,
    ) -> Result<Deleted> {
        let metastream = stream.metastream().ok_or(Error::Internal("metadata of a metastream".into()))?;
        let revision = self.last_revision(&metastream).map_or(0, |last| last + 1);
        let position = self.push(clock, &metastream, revision, &metadata.to_event(ids.next_id()));
        Ok(Deleted { position })
    }

    fn push(
        &mut self,
        clock: &dyn Clock,
        stream: &StreamName,
        revision: Revision,
        event: &NewEvent,
    ) -> crate::Position {
        let position = position(self.events.len());
        let newest = self.events.last().map(|e| e.created);
        self.events.push(RecordedEvent {
            stream: stream.clone(),
            revision,
            position,
            id: event.id,
            event_type: event.event_type.clone(),
            content_type: event.content_type,
            created: newest.map_or(clock.now(), |newest| newest.max(clock.now())),
            data: event.data.clone(),
            metadata: event.metadata.clone(),
        });
        position
    }

    fn wrong_revision(&self, stream: &StreamName, expected: ExpectedState) -> Error {
        let actual = self.last_revision(stream);
        Error::WrongExpectedRevision { stream: stream.clone(), expected, actual }
    }
}

/// What can be refused without looking at the store.
fn check_request(writes: &[StreamWrite]) -> Result<()> {
    let invalid = |text: String| Err(Error::InvalidArgument(text));
    if writes.is_empty() {
        return invalid("an append needs at least one stream".into());
    }
    let mut total = 0;
    for (i, write) in writes.iter().enumerate() {
        if writes[..i].iter().any(|earlier| earlier.stream == write.stream) {
            return invalid(format!("stream '{}' stands in the append twice", write.stream));
        }
        if write.stream.is_derived() {
            return Err(Error::derived(&write.stream));
        }
        if write.stream.original().is_some_and(|original| original.is_metastream()) {
            return invalid(format!("'{}' would be the metadata of a metastream", write.stream));
        }
        for event in &write.events {
            let length = event.event_type.as_str().len();
            if length == 0 || length > EventType::MAX_BYTES {
                return invalid(format!(
                    "an event type has 1 to {} bytes, not {length}",
                    EventType::MAX_BYTES
                ));
            }
            let size = event.size();
            if size > MAX_EVENT_BYTES {
                return Err(Error::EventTooLarge { id: event.id, size, limit: MAX_EVENT_BYTES });
            }
            total += size;
        }
    }
    if total > MAX_APPEND_BYTES {
        return Err(Error::AppendTooLarge { size: total, limit: MAX_APPEND_BYTES });
    }
    Ok(())
}

fn refuse_unwritable(stream: &StreamName, what: &str) -> Result<()> {
    if stream.is_derived() {
        return Err(Error::derived(stream));
    }
    if stream.is_metastream() {
        return Err(Error::InvalidArgument(format!("the metastream '{stream}' cannot be {what}")));
    }
    Ok(())
}
