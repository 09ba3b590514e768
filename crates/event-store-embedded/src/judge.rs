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
        Some(first) if !compared && last.is_some_and(|last| first <= last) => {
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
