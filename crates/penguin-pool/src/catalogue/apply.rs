//! Taking events in: one batch of `$all`, one transaction.
//!
//! A batch is first gone through in order, which changes the streams' rows in memory alone. Then it is settled, stream
//! by stream: which events can still be read under the metadata that now holds. Events that were truncated within their
//! own batch are never written, and the order in which a stream's events and its metadata come makes no difference.

use super::{
    Result, audience, blocks, content,
    counts::Counter,
    schema::{self, Checkpoint},
    state::{Facet, Stream},
};
use event_store::{EventType, RecordedEvent, Revision, StreamName, TOMBSTONE_REVISION, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, params};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// Gives a page of a stream's events, newest first, from before the second revision down to the first: those that
/// truncation took out of the catalogue and other metadata brings back. None where the store no longer gives them.
pub(super) type Refill<'a> = dyn FnMut(&StreamName, Revision, Revision) -> Result<Vec<RecordedEvent>> + 'a;

/// Which streams are searched by content.
pub(super) type Indexed = Arc<dyn Fn(&StreamName) -> bool + Send + Sync>;

/// A stream while a batch is taken in.
pub(super) struct Touched<'e> {
    pub(super) stream: Stream,
    /// What it was listed by, and its bytes, before the batch.
    pub(super) was: Option<(BTreeSet<Facet>, Timestamp)>,
    pub(super) audience_was: i64,
    pub(super) bytes_were: i64,
    pub(super) past_was: Past,
    pub(super) kept_from_was: Revision,
    /// The batch's own events, with the running sum before each.
    new: Vec<(&'e RecordedEvent, i64)>,
    pub(super) metadata_changed: bool,
    /// By how much its events grew in number, by type.
    pub(super) types: BTreeMap<i64, i64>,
}

/// What is hidden of a stream from those who are no insiders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Past {
    pub(super) until: Option<Revision>,
    pub(super) insiders: i64,
    pub(super) bytes: i64,
}

impl Past {
    pub(super) fn of(stream: &Stream) -> Self {
        Self { until: stream.public_from, insiders: stream.insiders, bytes: stream.past_bytes }
    }
}

/// A batch on its way into the database.
pub(super) struct Batch<'a, 'e> {
    pub(super) db: &'a Connection,
    indexed: &'a Indexed,
    next_stream: i64,
    touched: HashMap<StreamName, Touched<'e>>,
    types: HashMap<String, i64>,
    pub(super) type_names: HashMap<i64, String>,
    pub(super) facets: HashMap<Facet, i64>,
    pub(super) counters: BTreeMap<(i64, Counter, String), i64>,
    audiences: HashMap<BTreeSet<String>, i64>,
    /// When the batch's last event was written: what had aged away by then is not kept.
    now: Timestamp,
}

/// Takes a batch in, checkpoint included. Belongs in a transaction. Whether something was forgotten in it, of which nothing
/// is to be left in the file.
pub(super) fn apply(
    db: &Connection,
    events: &[RecordedEvent],
    checkpoint: &mut Checkpoint,
    indexed: &Indexed,
    refill: &mut Refill<'_>,
) -> Result<bool> {
    let next_stream =
        db.prepare_cached("SELECT coalesce(max(id), 0) + 1 FROM stream")?.query_row([], |row| row.get(0))?;
    let mut batch = Batch {
        db,
        indexed,
        next_stream,
        touched: HashMap::new(),
        types: HashMap::new(),
        type_names: HashMap::new(),
        facets: HashMap::new(),
        counters: BTreeMap::new(),
        audiences: HashMap::new(),
        now: events.last().map(|event| event.created).unwrap_or_default(),
    };
    for event in events {
        batch.take(event)?;
        if !event.stream.is_system() {
            checkpoint.last_activity = Some(event.created.ticks());
        }
        checkpoint.system_events += u64::from(event.stream.is_system() || event.event_type.is_system());
    }
    let forgotten = batch.settle(refill)?;
    if let Some(last) = events.last() {
        checkpoint.last = Some((last.position, last.id));
    }
    checkpoint.events += events.len() as u64;
    schema::set_checkpoint(db, checkpoint)?;
    Ok(forgotten)
}

impl<'e> Batch<'_, 'e> {
    fn touch(&mut self, name: &StreamName) -> Result<&mut Touched<'e>> {
        if !self.touched.contains_key(name) {
            let stream = Stream::by_name(self.db, name.as_str())?.unwrap_or_else(|| {
                self.next_stream += 1;
                Stream::new(self.next_stream - 1, name.clone())
            });
            let touched = Touched {
                was: stream.facets(),
                audience_was: stream.audience,
                bytes_were: stream.bytes_end - stream.kept_before,
                past_was: Past::of(&stream),
                kept_from_was: stream.kept_from,
                stream,
                new: Vec::new(),
                metadata_changed: false,
                types: BTreeMap::new(),
            };
            self.touched.insert(name.clone(), touched);
        }
        #[expect(clippy::expect_used, reason = "it was put there above if it was not there before")]
        let touched = self.touched.get_mut(name).expect("the stream is among the touched");
        Ok(touched)
    }

    fn take(&mut self, event: &'e RecordedEvent) -> Result<()> {
        if event.revision == TOMBSTONE_REVISION && event.event_type.as_str() == EventType::STREAM_DELETED {
            let stream = &mut self.touch(&event.stream)?.stream;
            stream.tombstoned = true;
            stream.first_at.get_or_insert(event.created);
            if let Some(metastream) = event.stream.metastream() {
                self.touch(&metastream)?.stream.tombstoned = true;
            }
            return Ok(());
        }
        if let Some(described) = event.stream.original() {
            let touched = self.touch(&described)?;
            touched.metadata_changed = true;
            touched.stream.set_metadata(event);
        }
        let touched = self.touch(&event.stream)?;
        let stream = &mut touched.stream;
        if stream.last.is_none() {
            stream.kept_from = event.revision;
        }
        stream.first_at.get_or_insert(event.created);
        stream.last_at = Some(event.created);
        stream.last = Some(event.revision);
        touched.new.push((event, stream.bytes_end));
        stream.bytes_end += i64::try_from(event.size()).unwrap_or(i64::MAX);
        Ok(())
    }

    fn settle(&mut self, refill: &mut Refill<'_>) -> Result<bool> {
        let mut all: Vec<Touched<'e>> = std::mem::take(&mut self.touched).into_values().collect();
        // By name, so that neighbours in the index of names are written one after the other.
        all.sort_unstable_by(|a, b| a.stream.name.cmp(&b.stream.name));
        let mut rows: Vec<(&'e RecordedEvent, i64, i64, i64)> = Vec::new();
        for touched in &mut all {
            self.prune(touched)?;
            let floor = touched.stream.floor();
            let oldest = touched.stream.oldest(self.now);
            for (event, before) in std::mem::take(&mut touched.new) {
                if event.revision < floor || event.created < oldest {
                    continue;
                }
                let stream = &mut touched.stream;
                if stream.kept == 0 {
                    (stream.kept_from, stream.kept_before) = (event.revision, before);
                }
                stream.kept += 1;
                let kind = self.event_type(event.event_type.as_str())?;
                *touched.types.entry(kind).or_default() += 1;
                rows.push((event, touched.stream.id, kind, before));
            }
            if touched.stream.kept == 0 {
                touched.stream.kept_from = touched.stream.last.map_or(0, |last| last + 1);
                touched.stream.kept_before = touched.stream.bytes_end;
            }
            self.bring_back(touched, refill)?;
        }
        // In the order of positions, so that rows go to the end of their tables.
        rows.sort_unstable_by_key(|row| row.0.position);
        for (event, stream, kind, before) in rows {
            self.insert(event, stream, kind, before)?;
        }
        let mut changes = Vec::new();
        let mut forgotten = false;
        for touched in &mut all {
            let stream = &mut touched.stream;
            let changed = touched.metadata_changed || stream.tombstoned || stream.is_marked();
            if stream.audience == audience::UNKNOWN || changed {
                self.judge(stream)?;
            }
            if touched.stream.is_forgotten() {
                touched.stream.forget(self.db)?;
                forgotten = true;
            } else {
                touched.stream.save(self.db)?;
            }
            self.count(touched, &mut changes)?;
        }
        changes.sort_unstable();
        for of_one in changes.chunk_by(|a, b| a.facet == b.facet) {
            let (_, total) = blocks::change(self.db, of_one[0].facet, of_one)?;
            if total == 0 {
                // A tag that nothing has any more is nobody's to find in the file.
                self.db.prepare_cached("DELETE FROM facet WHERE id = ?")?.execute([of_one[0].facet])?;
            }
        }
        self.write_counters()?;
        Ok(forgotten)
    }

    /// Takes out the rows that can no longer be read.
    fn prune(&mut self, touched: &mut Touched<'e>) -> Result<()> {
        let stream = &mut touched.stream;
        let mut floor = stream.floor().min(i64::MAX as u64);
        if stream.metadata.max_age.is_some() {
            // What is young enough stays; of the others there are few, as they go with each new event.
            let young = stream
                .readable(self.db, 0, stream.oldest(self.now))?
                .first
                .map_or(i64::MAX as u64, |(first, _)| first);
            floor = floor.max(young);
        }
        if stream.kept == 0 || stream.kept_from >= floor {
            return Ok(());
        }
        let sql = "SELECT position, type FROM event WHERE stream = ? AND revision < ?";
        let gone: Vec<(i64, i64)> = self
            .db
            .prepare_cached(sql)?
            .query_map(params![stream.id, floor], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        for (position, kind) in &gone {
            *touched.types.entry(kind.abs()).or_default() -= 1;
            self.db.prepare_cached("DELETE FROM event WHERE position = ?")?.execute([position])?;
            let data: Option<Vec<u8>> = self
                .db
                .prepare_cached("DELETE FROM event_data WHERE position = ? RETURNING data")?
                .query_row([position], |row| row.get(0))
                .optional()?;
            if let Some(data) = data {
                // The index of words keeps no texts: it is told which words to take out.
                self.db
                    .prepare_cached(
                        "INSERT INTO event_text (event_text, rowid, text) VALUES ('delete', ?, ?)",
                    )?
                    .execute(params![position, content::words(&data)])?;
            }
        }
        stream.kept -= gone.len() as u64;
        let sql = "SELECT revision, bytes_before FROM event WHERE stream = ? ORDER BY revision LIMIT 1";
        let first: Option<(Revision, i64)> = self
            .db
            .prepare_cached(sql)?
            .query_row([stream.id], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        if let Some((revision, before)) = first {
            (stream.kept_from, stream.kept_before) = (revision, before);
        }
        Ok(())
    }

    /// Other metadata may let events be read again that were taken out: the store is asked for them.
    fn bring_back(&mut self, touched: &mut Touched<'e>, refill: &mut Refill<'_>) -> Result<()> {
        let floor = touched.stream.floor();
        if !touched.metadata_changed || touched.stream.last.is_none() || floor >= touched.stream.kept_from {
            return Ok(());
        }
        // Page by page: the whole stream may be far larger than memory.
        while floor < touched.stream.kept_from {
            let events = refill(&touched.stream.name, floor, touched.stream.kept_from)?;
            if events.is_empty() {
                break;
            }
            for event in &events {
                let stream = &mut touched.stream;
                stream.kept_from = event.revision;
                stream.kept_before -= i64::try_from(event.size()).unwrap_or(i64::MAX);
                stream.kept += 1;
                let (id, before) = (stream.id, stream.kept_before);
                let kind = self.event_type(event.event_type.as_str())?;
                *touched.types.entry(kind).or_default() += 1;
                self.insert(event, id, kind, before)?;
            }
        }
        Ok(())
    }

    fn insert(&self, event: &RecordedEvent, stream: i64, kind: i64, before: i64) -> Result<()> {
        let position = event.position.raw();
        let kind = if event.stream.is_system() { -kind } else { kind };
        self.db
            .prepare_cached(
                "INSERT INTO event (position, stream, revision, type, created, bytes_before) VALUES (?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![position, stream, event.revision, kind, event.created.ticks(), before])?;
        if !content::is_json(event) || !(self.indexed)(&event.stream) {
            return Ok(());
        }
        self.db
            .prepare_cached("INSERT INTO event_data (position, data) VALUES (?, ?)")?
            .execute(params![position, &event.data[..]])?;
        self.db
            .prepare_cached("INSERT INTO event_text (rowid, text) VALUES (?, ?)")?
            .execute(params![position, content::words(&event.data)])?;
        Ok(())
    }

    /// Decides who finds a stream, and who sees its past.
    fn judge(&mut self, stream: &mut Stream) -> Result<()> {
        let audiences = stream.audiences();
        stream.audience = self.audience(audiences.found_by)?;
        (stream.public_from, stream.insiders, stream.past_bytes) = (None, audience::NOBODY, 0);
        if let Some((from, insiders)) = audiences.past {
            stream.public_from = Some(from);
            stream.insiders = self.audience(insiders)?;
            let sql =
                "SELECT bytes_before FROM event WHERE stream = ? AND revision >= ? ORDER BY revision LIMIT 1";
            let end: Option<i64> = self
                .db
                .prepare_cached(sql)?
                .query_row(params![stream.id, from], |row| row.get(0))
                .optional()?;
            stream.past_bytes = (end.unwrap_or(stream.bytes_end) - stream.kept_before).max(0);
        }
        Ok(())
    }

    fn audience(&mut self, keys: BTreeSet<String>) -> Result<i64> {
        if let Some(number) = self.audiences.get(&keys) {
            return Ok(*number);
        }
        let number = audience::number(self.db, &keys)?;
        self.audiences.insert(keys, number);
        Ok(number)
    }

    fn event_type(&mut self, name: &str) -> Result<i64> {
        if let Some(id) = self.types.get(name) {
            return Ok(*id);
        }
        self.db.prepare_cached("INSERT OR IGNORE INTO event_type (name) VALUES (?)")?.execute([name])?;
        let id = self
            .db
            .prepare_cached("SELECT id FROM event_type WHERE name = ?")?
            .query_row([name], |row| row.get(0))?;
        self.types.insert(name.to_owned(), id);
        self.type_names.insert(id, name.to_owned());
        Ok(id)
    }
}
