//! Whether an expectation holds: laws 4 to 8, as far as a stream's head can tell.

use crate::{
    heads::Head,
    key::{Kind, StreamRef},
};
use event_store::{
    Appended, AppendedMany, Error, ExpectedState, NewEvent, Result, Revision, TOMBSTONE_REVISION,
};

/// What is to be written to one stream.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) stream: StreamRef,
    pub(crate) expected: ExpectedState,
    pub(crate) events: Vec<NewEvent>,
}

/// What became of one write, and where its stream ended then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) outcome: Outcome,
    pub(crate) last: Option<Revision>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The expectation holds, and the events are not known.
    New,
    /// The events were written before, and this was the answer.
    Again(Appended),
    /// Nobody knows before the events at this revision and after it were compared. If not even the first is the same,
    /// the expectation decides, which holds or not.
    Compare { first: Revision, holds: bool },
    /// The expectation does not hold.
    Wrong,
    /// The stream is tombstoned, or softly deleted where it should exist.
    Deleted,
}

/// Law 4: [`Outcome::New`], [`Outcome::Wrong`] or [`Outcome::Deleted`].
pub(crate) fn check(head: &Head, stream: &StreamRef, expected: ExpectedState) -> Outcome {
    if head.tombstoned {
        return Outcome::Deleted;
    }
    let last = head.last_of(stream).map(|spot| spot.revision);
    let deleted = head.is_soft_deleted(stream);
    let holds = match expected {
        ExpectedState::Any => true,
        ExpectedState::NoStream => last.is_none() || deleted,
        ExpectedState::StreamExists if deleted => return Outcome::Deleted,
        ExpectedState::StreamExists => head.exists(stream),
        ExpectedState::Exact(revision) => last == Some(revision),
    };
    if holds { Outcome::New } else { Outcome::Wrong }
}

/// Laws 4 to 6. `known` finds where an event of this stream stands by its id, among the recent ones. `compared` says that
/// the caller has compared already, and the events are not the same.
pub(crate) fn judge(
    head: &Head,
    write: &Write,
    compared: bool,
    mut known: impl FnMut(&NewEvent) -> Result<Option<Appended>>,
) -> Result<Verdict> {
    let stream = &write.stream;
    // What stands before a tombstone may be forgotten; that the tombstone stands there is not.
    let ended = head.tombstoned && stream.kind == Kind::Plain;
    let last = if ended { Some(TOMBSTONE_REVISION) } else { head.last_of(stream).map(|spot| spot.revision) };
    let checked = check(head, stream, write.expected);
    let first = match write.expected {
        _ if write.events.is_empty() || checked == Outcome::Deleted => {
            return Ok(Verdict { outcome: checked, last });
        }
        ExpectedState::Any | ExpectedState::StreamExists => None,
        ExpectedState::NoStream => Some(0),
        ExpectedState::Exact(revision) => Some(revision.saturating_add(1)),
    };
    let outcome = match first {
        // What was compared and did not hold then, or does not hold any more, is compared again: the same append may have
        // been written meanwhile, sent twice at the same time.
        Some(first) if last.is_some_and(|last| first <= last) && !(compared && checked == Outcome::New) => {
            Outcome::Compare { first, holds: checked == Outcome::New }
        }
        Some(_) => checked,
        None => {
            let mut answer = None;
            let mut all = true;
            for event in &write.events {
                let found = known(event)?;
                all &= found.is_some();
                // The first decides whether the append is new, so that a new one costs one look.
                if !all {
                    break;
                }
                answer = found;
            }
            match answer {
                None => checked,
                Some(last) if all => Outcome::Again(last),
                Some(_) => Outcome::Wrong,
            }
        }
    };
    Ok(Verdict { outcome, last })
}

/// Law 7: what an append comes to when nothing is to be written; nothing if all of it is new after all. No verdict may be
/// [`Outcome::Compare`] any more.
pub(crate) fn settle(writes: &[Write], verdicts: &[Verdict]) -> Option<Result<AppendedMany>> {
    let judged = || writes.iter().zip(verdicts);
    let wrong = |write: &Write, verdict: &Verdict| Error::WrongExpectedRevision {
        stream: write.stream.name.clone(),
        expected: write.expected,
        actual: verdict.last,
    };
    let again = |verdict: &Verdict| matches!(verdict.outcome, Outcome::Again(_));
    let mut written = judged().filter(|(w, _)| !w.events.is_empty()).peekable();
    if written.peek().is_some() && written.all(|(_, v)| again(v)) {
        let streams: Vec<Appended> = verdicts
            .iter()
            .map(|verdict| match verdict.outcome {
                Outcome::Again(appended) => appended,
                _ => Appended { last_revision: verdict.last, position: None },
            })
            .collect();
        let position = streams.iter().filter_map(|s| s.position).max();
        return Some(Ok(AppendedMany { streams, position }));
    }
    for (write, verdict) in judged() {
        match verdict.outcome {
            Outcome::New | Outcome::Again(_) => {}
            Outcome::Deleted => return Some(Err(Error::StreamDeleted(write.stream.name.clone()))),
            Outcome::Wrong | Outcome::Compare { .. } => return Some(Err(wrong(write, verdict))),
        }
    }
    judged().find(|(_, v)| again(v)).map(|(write, verdict)| Err(wrong(write, verdict)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        heads::{Retention, Spot},
        key::Hashing,
    };
    use event_store::{Position, SOFT_DELETED, StreamName};

    fn write(expected: ExpectedState) -> Write {
        let stream = Hashing::new(7).stream(&StreamName::new("s").unwrap());
        Write { stream, expected, events: vec![NewEvent::json(uuid::Uuid::from_u128(1), "t", "{}")] }
    }

    fn head(last: Revision, soft_deleted: bool) -> Head {
        let truncate_before = soft_deleted.then_some(SOFT_DELETED);
        Head {
            last: Some(Spot { revision: last, position: 9 }),
            retention: Retention { truncate_before, ..Retention::default() },
            ..Head::default()
        }
    }

    #[test]
    fn an_append_that_was_compared_is_new_only_while_its_expectation_holds() {
        let outcome = |head: &Head, compared| {
            judge(head, &write(ExpectedState::NoStream), compared, |_| Ok(None)).unwrap().outcome
        };
        assert_eq!(outcome(&head(3, true), false), Outcome::Compare { first: 0, holds: true });
        assert_eq!(outcome(&head(3, true), true), Outcome::New);
        // Its twin was faster and brought the stream back: the events are to be compared with the twin's.
        assert_eq!(outcome(&head(4, false), true), Outcome::Compare { first: 0, holds: false });
    }

    #[test]
    fn what_was_written_before_and_what_is_new_do_not_go_together() {
        let again = Appended { last_revision: Some(4), position: Some(Position::from_raw(8)) };
        let verdict = |outcome| Verdict { outcome, last: Some(5) };
        let writes = || vec![write(ExpectedState::Any), write(ExpectedState::Exact(5))];
        let settled = |outcomes: [Outcome; 2]| settle(&writes(), &outcomes.map(verdict));
        assert!(settled([Outcome::New, Outcome::New]).is_none());
        assert_eq!(
            settled([Outcome::Again(again), Outcome::Again(again)]).unwrap().unwrap().streams,
            [again; 2]
        );
        let wrong = settled([Outcome::Again(again), Outcome::New]).unwrap().unwrap_err();
        assert!(matches!(
            wrong,
            Error::WrongExpectedRevision { expected: ExpectedState::Any, actual: Some(5), .. }
        ));
        let deleted = settled([Outcome::Again(again), Outcome::Deleted]).unwrap().unwrap_err();
        assert!(matches!(deleted, Error::StreamDeleted(_)));
    }
}
