//! What a batch changes in the lists of streams and in the counters.

use super::{
    Result,
    apply::{Batch, Past, Touched},
    audience::{EVERYTHING, NOBODY},
    blocks::Change,
    state::{Class, Facet, Kind, Stream},
};
use models::UserStream;
use rusqlite::{OptionalExtension as _, params};
use std::collections::{BTreeMap, BTreeSet};

/// What is counted by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Counter {
    /// Events that are kept, by type.
    EventsOfType = 0,
    /// The same, by category.
    EventsOfCategory = 1,
    /// Streams of a user.
    StreamsOfUser = 2,
    /// Sums, by the names below.
    Sum = 3,
}

/// Users that have a stream.
pub(super) const USERS: &str = "users";
/// Events that are kept.
pub(super) const EVENTS: &str = "events";
/// Their bytes.
pub(super) const BYTES: &str = "bytes";
/// Streams that are listed, of each audience; and of them the active ones.
pub(super) const STREAMS: &str = "streams";
pub(super) const ACTIVE: &str = "active";

/// How many events of a type a stream had and has, and how many of them were and are of its past.
struct Counted {
    was: i64,
    is: i64,
    hid: i64,
    hides: i64,
}

impl<'e> Batch<'_, 'e> {
    /// Brings the lists and the counters up to what the stream has become.
    pub(super) fn count(&mut self, touched: &Touched<'e>, changes: &mut Vec<Change>) -> Result<()> {
        let stream = &touched.stream;
        let is = stream.facets();
        let created = is.as_ref().map(|(_, created)| created.ticks());
        let (from, to) = (touched.audience_was, stream.audience);
        let moved = touched.was.as_ref().map(|(_, created)| created.ticks()) != created || from != to;
        let none = BTreeSet::new();
        let old = touched.was.as_ref().map_or(&none, |(facets, _)| facets);
        let new = is.as_ref().map_or(&none, |(facets, _)| facets);
        let mut put = |facet: i64, created: Option<i64>| {
            changes.push(Change {
                facet,
                name: stream.name.as_str().to_owned(),
                stream: stream.id,
                created,
                audience: to,
            });
        };
        for gone in old.difference(new) {
            put(self.facet(gone)?, None);
        }
        for listed in new {
            if moved || !old.contains(listed) {
                put(self.facet(listed)?, created);
            }
        }
        // A deleted stream keeps no events, so its types are counted in the class in which they came.
        let class = if stream.name.is_system() { Class::SystemLive } else { Class::Live };
        let mut types: Vec<(i64, i64)> = touched.types.iter().map(|(kind, by)| (*kind, *by)).collect();
        let (past_was, past) = (touched.past_was, Past::of(stream));
        let hidden = self.past(touched)?;
        let past_moved = hidden.is_some() || past_was.insiders != past.insiders;
        if (moved || past_moved) && !stream.name.is_metastream() {
            let sql = "SELECT type FROM stream_type WHERE stream = ?";
            let mut known = self.db.prepare_cached(sql)?;
            let known = known.query_map([stream.id], |row| row.get::<_, i64>(0))?;
            for kind in known {
                let kind = kind?;
                if !touched.types.contains_key(&kind) {
                    types.push((kind, 0));
                }
            }
        }
        for (kind, by) in types {
            let hides = hidden.as_ref().map(|hidden| hidden.get(&kind).copied().unwrap_or(0));
            let Counted { was, is, hid, hides } = self.count_type(stream, kind, by, hides)?;
            if stream.name.is_metastream() {
                continue;
            }
            let value = self.type_name(kind)?;
            if (was == 0) != (is == 0) || (moved && is > 0) {
                let facet = self.facet(&Facet { class, kind: Kind::Type, value: value.clone() })?;
                put(facet, created.filter(|_| is > 0));
            }
            if class == Class::Live {
                let (insiders_were, insiders) = (past_was.insiders, past.insiders);
                let mut count = |counter, name: &str| {
                    self.shift(counter, name, (from, was - hid), (to, is - hides));
                    self.shift(counter, name, (insiders_were, hid), (insiders, hides));
                };
                count(Counter::EventsOfType, &value);
                if let Some(category) = stream.name.category() {
                    count(Counter::EventsOfCategory, category);
                }
                count(Counter::Sum, EVENTS);
            }
        }
        if class == Class::Live {
            let bytes = stream.bytes_end - stream.kept_before;
            let shown = (to, bytes - past.bytes);
            self.shift(Counter::Sum, BYTES, (from, touched.bytes_were - past_was.bytes), shown);
            self.shift(Counter::Sum, BYTES, (past_was.insiders, past_was.bytes), (past.insiders, past.bytes));
        }
        let has = |facets: &BTreeSet<Facet>, kind| {
            i64::from(facets.iter().any(|facet| facet.class == Class::Live && facet.kind == kind))
        };
        for (kind, sum) in [(Kind::All, STREAMS), (Kind::Active, ACTIVE)] {
            self.shift(Counter::Sum, sum, (from, has(old, kind)), (to, has(new, kind)));
        }
        if let Some(of_user) = UserStream::split(stream.name.as_str()) {
            let user = of_user.user_id;
            self.shift(Counter::StreamsOfUser, user, (from, has(old, Kind::All)), (to, has(new, Kind::All)));
        }
        Ok(())
    }

    /// How many events of each type are in a stream's past; nothing where that is as it was.
    fn past(&self, touched: &Touched<'e>) -> Result<Option<BTreeMap<i64, i64>>> {
        let (was, is) = (touched.past_was.until, touched.stream.public_from);
        let truncated = is.is_some_and(|until| {
            touched.kept_from_was < until && touched.kept_from_was != touched.stream.kept_from
        });
        // New events are never of the past: what is public from a later one on has none yet.
        if was == is && !truncated && !(is.is_some() && touched.metadata_changed) {
            return Ok(None);
        }
        let Some(until) = is else { return Ok(Some(BTreeMap::new())) };
        let sql = "SELECT type, count(*) FROM event WHERE stream = ? AND revision < ? GROUP BY type";
        let mut types = self.db.prepare_cached(sql)?;
        let types =
            types.query_map(params![touched.stream.id, until], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(Some(types.collect::<rusqlite::Result<_>>()?))
    }

    /// Changes how many events of a type a stream has, and how many of them are of its past where that is said.
    fn count_type(&self, stream: &Stream, kind: i64, by: i64, hides: Option<i64>) -> Result<Counted> {
        let (was, hid): (i64, i64) = self
            .db
            .prepare_cached("SELECT events, past FROM stream_type WHERE stream = ? AND type = ?")?
            .query_row(params![stream.id, kind], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?
            .unwrap_or_default();
        let hides = hides.unwrap_or(hid);
        if by != 0 && was + by == 0 {
            self.db
                .prepare_cached("DELETE FROM stream_type WHERE stream = ? AND type = ?")?
                .execute(params![stream.id, kind])?;
        } else if by != 0 || hides != hid {
            self.db
                .prepare_cached(
                    "INSERT OR REPLACE INTO stream_type (stream, type, events, past) VALUES (?, ?, ?, ?)",
                )?
                .execute(params![stream.id, kind, was + by, hides])?;
        }
        Ok(Counted { was, is: was + by, hid, hides })
    }

    fn type_name(&self, kind: i64) -> Result<String> {
        if let Some(name) = self.type_names.get(&kind) {
            return Ok(name.clone());
        }
        Ok(self
            .db
            .prepare_cached("SELECT name FROM event_type WHERE id = ?")?
            .query_row([kind], |row| row.get(0))?)
    }

    /// A facet's number, which it is given when the first stream has it.
    fn facet(&mut self, facet: &Facet) -> Result<i64> {
        if let Some(id) = self.facets.get(facet) {
            return Ok(*id);
        }
        let key = params![facet.class as i64, facet.kind as i64, facet.value];
        let found = self
            .db
            .prepare_cached("SELECT id FROM facet WHERE class = ? AND kind = ? AND value = ?")?
            .query_row(key, |row| row.get(0))
            .optional()?;
        let id = match found {
            Some(id) => id,
            None => {
                self.db
                    .prepare_cached(
                        "INSERT INTO facet (class, kind, value, total, head) VALUES (?, ?, ?, 0, 0)",
                    )?
                    .execute(key)?;
                self.db.last_insert_rowid()
            }
        };
        self.facets.insert(facet.clone(), id);
        Ok(id)
    }

    /// What a stream adds to a counter was one number for one audience, and is another for perhaps another.
    fn shift(&mut self, counter: Counter, name: &str, (from, was): (i64, i64), (to, is): (i64, i64)) {
        self.add(EVERYTHING, counter, name, is - was);
        if from == to {
            self.add(to, counter, name, is - was);
        } else {
            self.add(from, counter, name, -was);
            self.add(to, counter, name, is);
        }
    }

    fn add(&mut self, audience: i64, counter: Counter, name: &str, by: i64) {
        // What administrators alone find nobody else counts, and a new stream was no audience's.
        let is_counted = audience == EVERYTHING || audience > NOBODY;
        if by != 0 && is_counted {
            *self.counters.entry((audience, counter, name.to_owned())).or_default() += by;
        }
    }

    /// Writes what was added up, and with it how many users there are.
    pub(super) fn write_counters(&mut self) -> Result<()> {
        let mut users = 0;
        for ((audience, counter, name), by) in std::mem::take(&mut self.counters) {
            let is = self.write_counter(audience, counter, &name, by)?;
            if counter == Counter::StreamsOfUser && audience == EVERYTHING {
                users += i64::from(is > 0) - i64::from(is - by > 0);
            }
        }
        if users != 0 {
            self.write_counter(EVERYTHING, Counter::Sum, USERS, users)?;
        }
        Ok(())
    }

    fn write_counter(&self, audience: i64, counter: Counter, name: &str, by: i64) -> Result<i64> {
        if by == 0 {
            return Ok(0);
        }
        let is: i64 = self
            .db
            .prepare_cached(
                "INSERT INTO counter (audience, kind, name, value) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (audience, kind, name) DO UPDATE SET value = value + ?4 RETURNING value",
            )?
            .query_row(params![audience, counter as i64, name, by], |row| row.get(0))?;
        if is == 0 {
            self.db
                .prepare_cached("DELETE FROM counter WHERE audience = ? AND kind = ? AND name = ?")?
                .execute(params![audience, counter as i64, name])?;
        }
        Ok(is)
    }
}
