//! Reading the trail, and finding what does not fit in it.

use super::{
    Audit, Deed, STREAM,
    chain::{self, Check},
    stream,
};
use crate::security::Caller;
use event_store::{Direction, Error, EventStore, ReadFrom, ReadStream, RecordedEvent, Result, Revision};
use models::{AuditPage, AuditQuery, AuditRecord, AuditRecorded};

/// How many records are looked at for one page of what passes a filter.
const LOOKED_AT: usize = 10_000;
/// How many records are read at once.
const PAGE: usize = 1000;

/// Something in the trail that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where in the stream.
    pub revision: Revision,
    /// What is wrong there.
    pub message: String,
}

/// What a check of the trail came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// How many records there are.
    pub records: u64,
    /// The hash of the newest: whoever noted it can tell later that nothing was cut off behind.
    pub newest: Option<String>,
    /// What does not fit, at most the first thousand.
    pub faults: Vec<Fault>,
}

/// Goes along the whole trail of a store.
///
/// # Errors
/// What the store answers.
pub async fn verify(store: &dyn EventStore) -> Result<Verdict> {
    let (mut check, mut faults) = (Check::default(), Vec::new());
    let (mut next, mut expected) = (Some(0), 0);
    while let Some(at) = next {
        let page =
            match store.read_stream(&stream()?, ReadStream::forwards(PAGE).from(ReadFrom::At(at))).await {
                Err(Error::StreamNotFound(_)) => break,
                page => page?,
            };
        for event in page.events.iter().filter_map(|e| e.original()) {
            let mut tell = |message: String| {
                if faults.len() < PAGE {
                    faults.push(Fault { revision: event.revision, message });
                }
            };
            if event.revision != expected {
                tell(format!("the events from number {expected} on, up to this one, are missing"));
            }
            expected = event.revision + 1;
            if let Err(message) = check.next(event.event_type.as_str(), &event.data) {
                tell(message);
            }
        }
        next = page.next;
    }
    let (records, newest) = check.end();
    Ok(Verdict { records, newest, faults })
}

/// The last event's revision and the newest record's hash; nothing before the first.
pub(super) async fn newest(store: &dyn EventStore) -> Result<Option<(Revision, String)>> {
    let (mut from, mut last) = (ReadFrom::End, None);
    loop {
        let read = ReadStream::backwards(PAGE.min(100)).from(from);
        let page = match store.read_stream(&stream()?, read).await {
            Err(Error::StreamNotFound(_)) => return Ok(None),
            page => page?,
        };
        let last = *last.get_or_insert(page.last_revision);
        let hash = page.events.iter().filter_map(|e| e.original()).find_map(|e| chain::hash(&e.data));
        match (hash, page.next) {
            (Some(hash), _) => return Ok(Some((last, hash))),
            (None, Some(next)) => from = ReadFrom::At(next),
            (None, None) => return Ok(Some((last, String::new()))),
        }
    }
}

impl Audit {
    /// A part of the trail, newest first.
    ///
    /// # Errors
    /// `AccessDenied` for whoever is no administrator, and what the store answers.
    pub async fn page(&self, caller: &Caller, query: AuditQuery) -> Result<AuditPage> {
        if !caller.is_admin() {
            let refused = Error::AccessDenied(stream()?);
            self.note(Deed::new(caller.id(), "read", vec![STREAM.to_owned()]), refused.code().slug());
            return Err(refused);
        }
        // That somebody read it is written down as well.
        let store = self.observe(caller, None, self.0.store.clone());
        let limit = query.limit.size();
        let mut records = Vec::new();
        let mut next = Some(query.from.map_or(ReadFrom::End, |from| ReadFrom::At(from.get())));
        let mut looked_at = 0;
        while let Some(from) = next {
            if records.len() >= limit || looked_at >= LOOKED_AT {
                break;
            }
            let wanted = if is_filtered(&query) { PAGE } else { limit - records.len() };
            let read =
                ReadStream { direction: Direction::Backwards, ..ReadStream::forwards(wanted).from(from) };
            let page = match store.read_stream(&stream()?, read).await {
                Err(Error::StreamNotFound(_)) => {
                    return Ok(AuditPage { records, has_more: false, next_revision: None });
                }
                page => page?,
            };
            looked_at += page.events.len();
            next = page.next.map(ReadFrom::At);
            for event in page.events.iter().filter_map(|e| e.original()) {
                if records.len() >= limit {
                    next = Some(ReadFrom::At(event.revision));
                    break;
                }
                records.extend(record(event).filter(|record| lets_through(&query, record)));
            }
        }
        let next_revision = match next {
            Some(ReadFrom::At(revision)) => Some(revision),
            _ => None,
        };
        Ok(AuditPage { records, has_more: next_revision.is_some(), next_revision })
    }
}

fn record(event: &RecordedEvent) -> Option<AuditRecord> {
    if event.event_type.as_str() != AuditRecorded::TYPE {
        return None;
    }
    serde_json::from_slice::<AuditRecorded>(&event.data).ok().map(|recorded| recorded.record)
}

fn is_filtered(query: &AuditQuery) -> bool {
    let AuditQuery { caller, action, stream, subject, outcome, date_from, date_to, .. } = query;
    [caller, action, stream, subject, outcome].iter().any(|text| text.is_some())
        || date_from.is_some()
        || date_to.is_some()
}

fn lets_through(query: &AuditQuery, record: &AuditRecord) -> bool {
    let is = |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
    is(&query.caller, &record.caller)
        && is(&query.action, &record.action)
        && is(&query.outcome, &record.outcome)
        && query.subject.as_ref().is_none_or(|subject| record.subject.as_ref() == Some(subject))
        && query.stream.as_ref().is_none_or(|stream| record.streams.contains(stream))
        && query.date_from.is_none_or(|from| record.at >= from)
        && query.date_to.is_none_or(|to| record.at <= to)
}
