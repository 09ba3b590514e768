//! Who finds which streams.
//!
//! Each stream belongs to one *audience*: the set of keys of which a caller must have one to find it (see
//! [`audience`](crate::security::permission::audience)). There are about as many audiences as users, and most callers
//! belong to a few of them. As no stream belongs to two, what a caller may find is a sum over audiences: lists and
//! counters are kept for each, and nobody's answer depends on what they may not find.
//!
//! Of a user's stream that became public, everybody sees what was written from then on. What was written before, its *past*,
//! belongs to an audience of its own, the *insiders*: events of the past are counted for those, and found by them alone.

use super::Result;
use crate::security::{Caller, permission};
use rusqlite::{Connection, OptionalExtension as _, params, params_from_iter, types::Value};
use std::collections::BTreeSet;

/// The audience of streams that administrators alone find. It has no lists and no counters: they look at all streams.
pub(super) const NOBODY: i64 = 1;

/// Where the sums over all streams stand.
pub(super) const EVERYTHING: i64 = 0;

/// The audience of a stream of which that is not known yet.
pub(super) const UNKNOWN: i64 = -1;

/// What a question is allowed to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View(Option<Vec<String>>);

impl View {
    /// Everything.
    #[must_use]
    pub const fn everything() -> Self {
        Self(None)
    }

    /// What this caller may find.
    #[must_use]
    pub fn of(caller: &Caller) -> Self {
        Self(permission::keys(caller))
    }

    /// The condition on an audience's column, and its values; nothing where everything may be seen.
    pub(super) fn condition(&self, column: &str) -> Option<(String, Vec<Value>)> {
        let keys = self.0.as_ref()?;
        let sql = format!("{column} IN (SELECT audience FROM reader WHERE key IN ({}))", marks(keys.len()));
        Some((sql, keys.iter().cloned().map(Value::from).collect()))
    }

    /// The condition on an event `e` of a stream `s` that it is not of a past that is not shown, and its values; nothing
    /// where everything may be seen.
    pub(super) fn not_of_the_past(&self) -> Option<(String, Vec<Value>)> {
        let (insider, keys) = self.condition("s.insiders")?;
        Some((format!("(s.public_from IS NULL OR e.revision >= s.public_from OR {insider})"), keys))
    }

    /// The audiences that the caller belongs to; nothing where everything may be seen.
    pub(super) fn audiences(&self, db: &Connection) -> Result<Option<Vec<i64>>> {
        let Some(keys) = &self.0 else { return Ok(None) };
        let sql = format!("SELECT DISTINCT audience FROM reader WHERE key IN ({})", marks(keys.len()));
        let mut found = db.prepare_cached(&sql)?;
        let found = found.query_map(params_from_iter(keys), |row| row.get(0))?;
        Ok(Some(found.collect::<rusqlite::Result<_>>()?))
    }
}

/// So many question marks.
pub(super) fn marks(many: usize) -> String {
    let mut marks = "?,".repeat(many);
    marks.pop();
    marks
}

/// The number of an audience, which it is given when the first stream has it.
pub(super) fn number(db: &Connection, keys: &BTreeSet<String>) -> Result<i64> {
    if keys.is_empty() {
        return Ok(NOBODY);
    }
    let text = serde_json::Value::from(keys.iter().cloned().collect::<Vec<_>>()).to_string();
    let found = db
        .prepare_cached("SELECT id FROM audience WHERE keys = ?")?
        .query_row([&text], |row| row.get(0))
        .optional()?;
    if let Some(id) = found {
        return Ok(id);
    }
    db.prepare_cached("INSERT INTO audience (keys) VALUES (?)")?.execute([&text])?;
    let id = db.last_insert_rowid();
    for key in keys {
        db.prepare_cached("INSERT INTO reader (key, audience) VALUES (?, ?)")?.execute(params![key, id])?;
    }
    Ok(id)
}
