//! A stream's row, and what follows from it.

use super::{
    CatalogueStream, Result,
    audience::{NOBODY, UNKNOWN},
};
use crate::security::permission;
use event_store::{RecordedEvent, Revision, StreamMetadata, StreamName, Timestamp};
use models::{DateTime, StreamDescription, StreamStatus, UserStream};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use std::collections::BTreeSet;

/// Streams that are never listed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Class {
    Live = 0,
    Deleted = 1,
    SystemLive = 2,
    SystemDeleted = 3,
}

/// What streams can be listed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    All = 0,
    Active = 1,
    Archived = 2,
    Tag = 3,
    Owner = 4,
    Type = 5,
    /// Who finds them: the audience's number.
    Audience = 6,
}

/// A property that streams share. The value is empty where the kind says all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Facet {
    pub(super) class: Class,
    pub(super) kind: Kind,
    pub(super) value: String,
}

/// A stream's row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stream {
    pub(super) id: i64,
    pub(super) name: StreamName,
    /// The last revision ever written; nothing for a stream that has only metadata.
    pub(super) last: Option<Revision>,
    /// The first revision of which there is a row in `event`; one past `last` if there is none.
    pub(super) kept_from: Revision,
    /// How many rows there are.
    pub(super) kept: u64,
    /// The running sum of bytes after the last event.
    pub(super) bytes_end: i64,
    /// The running sum before the event at `kept_from`.
    pub(super) kept_before: i64,
    pub(super) tombstoned: bool,
    /// As it was written, and as it is read.
    pub(super) metadata_json: Option<String>,
    pub(super) metadata: StreamMetadata,
    pub(super) metadata_revision: Option<Revision>,
    pub(super) metadata_at: Option<Timestamp>,
    /// When the first and the last event of all were written.
    pub(super) first_at: Option<Timestamp>,
    pub(super) last_at: Option<Timestamp>,
    /// Who finds it.
    pub(super) audience: i64,
    /// From where on those see it who are no insiders; nothing where it has no past that is hidden from anybody.
    pub(super) public_from: Option<Revision>,
    /// Who sees its past.
    pub(super) insiders: i64,
    /// The bytes of its past.
    pub(super) past_bytes: i64,
}

/// Who finds a stream and sees what of it, as keys of callers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Audiences {
    pub(super) found_by: BTreeSet<String>,
    /// From where on they see it, and who sees all of it.
    pub(super) past: Option<(Revision, BTreeSet<String>)>,
}

const COLUMNS: &str = "id, name, last, kept_from, kept, bytes_end, kept_before, tombstoned, metadata, \
                       metadata_revision, metadata_at, first_at, last_at, audience, \
                       public_from, insiders, past_bytes";

impl Stream {
    pub(super) fn new(id: i64, name: StreamName) -> Self {
        Self {
            id,
            name,
            last: None,
            kept_from: 0,
            kept: 0,
            bytes_end: 0,
            kept_before: 0,
            tombstoned: false,
            metadata_json: None,
            metadata: StreamMetadata::default(),
            metadata_revision: None,
            metadata_at: None,
            first_at: None,
            last_at: None,
            audience: UNKNOWN,
            public_from: None,
            insiders: NOBODY,
            past_bytes: 0,
        }
    }

    pub(super) fn by_name(db: &Connection, name: &str) -> Result<Option<Self>> {
        let sql = format!("SELECT {COLUMNS} FROM stream WHERE name = ?");
        Ok(db.prepare_cached(&sql)?.query_row([name], Self::from_row).optional()?)
    }

    pub(super) fn by_id(db: &Connection, id: i64) -> Result<Option<Self>> {
        let sql = format!("SELECT {COLUMNS} FROM stream WHERE id = ?");
        Ok(db.prepare_cached(&sql)?.query_row([id], Self::from_row).optional()?)
    }

    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let name: String = row.get(1)?;
        let metadata_json: Option<String> = row.get(8)?;
        let moment =
            |index| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(index)?.map(Timestamp::from_ticks));
        Ok(Self {
            id: row.get(0)?,
            name: StreamName::new(name).map_err(|e| {
                rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, Box::new(e))
            })?,
            last: row.get(2)?,
            kept_from: row.get(3)?,
            kept: row.get(4)?,
            bytes_end: row.get(5)?,
            kept_before: row.get(6)?,
            tombstoned: row.get(7)?,
            metadata: metadata_json
                .as_deref()
                .map_or_else(StreamMetadata::default, |json| StreamMetadata::from_json(json.as_bytes())),
            metadata_json,
            metadata_revision: row.get(9)?,
            metadata_at: moment(10)?,
            first_at: moment(11)?,
            last_at: moment(12)?,
            audience: row.get(13)?,
            public_from: row.get(14)?,
            insiders: row.get(15)?,
            past_bytes: row.get(16)?,
        })
    }

    pub(super) fn save(&self, db: &Connection) -> Result<()> {
        let ticks = |at: Option<Timestamp>| at.map(Timestamp::ticks);
        // An upsert and not a replace, which would first delete the row from every index.
        let sql = format!(
            "INSERT INTO stream ({COLUMNS}, max_age) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)
             ON CONFLICT (id) DO UPDATE SET last = ?3, kept_from = ?4, kept = ?5, bytes_end = ?6, kept_before = ?7,
             tombstoned = ?8, metadata = ?9, metadata_revision = ?10, metadata_at = ?11, first_at = ?12, last_at = ?13,
             audience = ?14, public_from = ?15, insiders = ?16, past_bytes = ?17, max_age = ?18"
        );
        db.prepare_cached(&sql)?.execute(params![
            self.id,
            self.name.as_str(),
            self.last,
            self.kept_from,
            self.kept,
            self.bytes_end,
            self.kept_before,
            self.tombstoned,
            self.metadata_json,
            self.metadata_revision,
            ticks(self.metadata_at),
            ticks(self.first_at),
            ticks(self.last_at),
            self.audience,
            self.public_from,
            self.insiders,
            self.past_bytes,
            self.max_age_ticks(),
        ])?;
        Ok(())
    }

    /// Takes its row out. What else there is of it goes as it goes with every stream that ends.
    pub(super) fn forget(&self, db: &Connection) -> Result<()> {
        db.prepare_cached("DELETE FROM stream WHERE id = ?")?.execute([self.id])?;
        Ok(())
    }

    /// Takes over what an event of its metastream says.
    pub(super) fn set_metadata(&mut self, event: &RecordedEvent) {
        self.metadata = StreamMetadata::from_json(&event.data);
        self.metadata_json = std::str::from_utf8(&event.data).ok().map(str::to_owned);
        self.metadata_revision = Some(event.revision);
        self.metadata_at = Some(event.created);
    }

    fn max_age_ticks(&self) -> Option<i64> {
        self.metadata.max_age.map(|age| i64::try_from(age.as_nanos() / 100).unwrap_or(i64::MAX))
    }

    /// The first revision that can be read, but for `$maxAge`. May lie past the last one.
    pub(super) fn floor(&self) -> Revision {
        if self.tombstoned {
            return Revision::MAX;
        }
        let max_count = if self.name.is_metastream() { Some(1) } else { self.metadata.max_count };
        let by_count = match (self.last, max_count) {
            (Some(last), Some(count)) => (last + 1).saturating_sub(count),
            _ => 0,
        };
        by_count.max(self.metadata.truncate_before.unwrap_or(0))
    }

    /// The oldest moment from which events can be read at a time of day.
    pub(super) fn oldest(&self, now: Timestamp) -> Timestamp {
        self.metadata.max_age.map_or(Timestamp::from_ticks(i64::MIN), |age| now.minus(age))
    }

    /// Whether its metadata says that it is public from a revision on.
    pub(super) fn is_marked(&self) -> bool {
        permission::public_from(&self.name, &self.metadata).is_some()
    }

    /// Who finds it and sees what of it. What was ended for good nobody does.
    pub(super) fn audiences(&self) -> Audiences {
        if self.tombstoned {
            return Audiences::default();
        }
        let acl = self.metadata.acl.as_ref();
        let found_by = permission::audience(&self.name, acl);
        let from = permission::public_from(&self.name, &self.metadata).filter(|from| *from > 0);
        match from.filter(|_| permission::are_everybodys(&found_by)) {
            None => Audiences { found_by, past: None },
            Some(from) => {
                let insiders = permission::insider_keys(&self.name, acl);
                if self.last.is_some_and(|last| last >= from) {
                    Audiences { found_by, past: Some((from, insiders)) }
                } else {
                    Audiences { found_by: insiders, past: None }
                }
            }
        }
    }

    fn is_deleted(&self) -> bool {
        self.tombstoned || self.metadata.is_soft_deleted()
    }

    pub(super) fn class(&self) -> Class {
        match (self.name.is_system(), self.is_deleted()) {
            (false, false) => Class::Live,
            (false, true) => Class::Deleted,
            (true, false) => Class::SystemLive,
            (true, true) => Class::SystemDeleted,
        }
    }

    /// Whether there is or was such a stream: metadata alone makes none.
    pub(super) fn exists(&self) -> bool {
        !self.is_forgotten() && (self.last.is_some() || self.tombstoned)
    }

    /// Whether nothing is kept of it: a user's stream that was ended for good, and its metastream. That is how a user is
    /// erased, and what the stream was called by, tagged and described with is the user's.
    pub(super) fn is_forgotten(&self) -> bool {
        let name = self.name.as_str();
        self.tombstoned && UserStream::split(name.strip_prefix("$$").unwrap_or(name)).is_some()
    }

    /// Whether browse shows it at all. A metastream is a part of its stream.
    fn is_listed(&self) -> bool {
        !self.name.is_metastream() && self.exists()
    }

    pub(super) fn created_at(&self, description: &StreamDescription) -> Timestamp {
        let said = description.created().map(moment);
        said.or(self.first_at).or(self.metadata_at).unwrap_or_default()
    }

    /// What it is listed by, types aside, and when it was created.
    pub(super) fn facets(&self) -> Option<(BTreeSet<Facet>, Timestamp)> {
        if !self.is_listed() {
            return None;
        }
        let class = self.class();
        let description = StreamDescription::read(&self.metadata.custom);
        let facet = |kind, value: &str| Facet { class, kind, value: value.to_owned() };
        let mut facets = BTreeSet::from([facet(Kind::All, "")]);
        if !self.is_deleted() {
            let archived = description.status(false) == StreamStatus::Archived;
            facets.insert(facet(if archived { Kind::Archived } else { Kind::Active }, ""));
        }
        facets.extend(description.tags.iter().flatten().map(|tag| facet(Kind::Tag, tag)));
        facets.extend(description.owner.iter().map(|owner| facet(Kind::Owner, owner)));
        if self.audience > NOBODY {
            facets.insert(facet(Kind::Audience, &self.audience.to_string()));
        }
        Some((facets, self.created_at(&description)))
    }

    /// The first revision that may be shown to whoever belongs to these audiences; nothing stands for all of them.
    pub(super) fn shown_from(&self, audiences: Option<&[i64]>) -> Revision {
        let hidden = audiences.is_some_and(|of| !of.contains(&self.insiders));
        self.public_from.filter(|_| hidden).unwrap_or(0)
    }

    /// The stream as it is shown to whoever belongs to these audiences, at a time of day.
    pub(super) fn show(
        self,
        db: &Connection,
        audiences: Option<&[i64]>,
        now: Timestamp,
    ) -> Result<CatalogueStream> {
        let readable = self.readable(db, self.shown_from(audiences), self.oldest(now))?;
        let description = StreamDescription::read(&self.metadata.custom);
        let created_at = self.created_at(&description);
        let updated = description.updated().map(moment);
        let status = description.status(self.is_deleted());
        Ok(CatalogueStream {
            updated_at: updated.or(self.metadata_at).unwrap_or(created_at),
            created_at,
            description,
            metadata_revision: self.metadata_revision,
            status,
            tombstoned: self.tombstoned,
            event_count: readable.events,
            size_bytes: readable.bytes,
            first_revision: readable.first.map(|(revision, _)| revision),
            first_event_at: readable.first.map(|(_, at)| at),
            last_revision: self.last.filter(|_| readable.first.is_some()),
            last_event_at: self.last_at.filter(|_| readable.first.is_some()),
            metadata: self.metadata,
            name: self.name,
        })
    }

    /// What can be read of it from a revision and a moment on.
    pub(super) fn readable(&self, db: &Connection, from: Revision, young: Timestamp) -> Result<Readable> {
        let Some(last) = self.last.filter(|_| self.kept > 0) else { return Ok(Readable::default()) };
        let mut at = db.prepare_cached(
            "SELECT revision, created, bytes_before FROM event WHERE stream = ? AND revision >= ? ORDER BY revision LIMIT 1",
        )?;
        let mut event_from = |revision: Revision| -> Result<Option<(Revision, Timestamp, i64)>> {
            Ok(at
                .query_row(params![self.id, revision], |row| {
                    Ok((row.get(0)?, Timestamp::from_ticks(row.get(1)?), row.get(2)?))
                })
                .optional()?)
        };
        let Some(oldest) = event_from(self.kept_from.max(from))? else { return Ok(Readable::default()) };
        let mut first = oldest;
        if oldest.1 < young {
            // `created` never goes backwards, so the first young event is found by halving.
            let (mut from, mut to) = (oldest.0 + 1, last + 1);
            while from < to {
                let middle = from + (to - from) / 2;
                match event_from(middle)? {
                    Some(event) if event.1 < young => from = event.0 + 1,
                    _ => to = middle,
                }
            }
            match event_from(from)? {
                Some(event) => first = event,
                None => return Ok(Readable::default()),
            }
        }
        Ok(Readable {
            events: self.kept - (first.0 - self.kept_from),
            bytes: (self.bytes_end - first.2).try_into().unwrap_or(0),
            first: Some((first.0, first.1)),
        })
    }
}

/// What can be read of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Readable {
    pub(super) events: u64,
    pub(super) bytes: u64,
    /// The oldest event: its revision, and when it was written.
    pub(super) first: Option<(Revision, Timestamp)>,
}

fn moment(date: DateTime) -> Timestamp {
    Timestamp::from_millis(date.millis())
}
