//! Lists of streams by name that know their length anywhere.
//!
//! A *facet* is a property that streams share: being live, a tag, an owner, an event type. Its *postings* are the names
//! of the streams that have it, in order. Counting a million of them takes a tenth of a second, so postings are counted
//! in *blocks* of up to [`LARGEST`] as they come and go: the number of names in a range, or the name at an offset, is
//! then a sum over few rows and a look into two blocks.
//!
//! A block begins at its first name and ends where the next begins. The one that begins at nothing has no row: its
//! count is the facet's `head`, so that the many small facets have no blocks at all.

use super::Result;
use rusqlite::{Connection, OptionalExtension as _, params};

/// A block that grows larger than this is split.
const LARGEST: u64 = 1024;

/// A change to the postings of a facet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Change {
    pub(super) facet: i64,
    pub(super) name: String,
    pub(super) stream: i64,
    /// When the stream was created, in ticks; nothing takes the posting away.
    pub(super) created: Option<i64>,
    /// Who finds the stream.
    pub(super) audience: i64,
}

/// The block that changes are going into.
struct Open {
    first: String,
    next: Option<String>,
    streams: u64,
}

/// Carries out the changes to one facet, in the order of their names, and answers its new total.
pub(super) fn change(db: &Connection, facet: i64, changes: &[Change]) -> Result<(u64, u64)> {
    let (before, mut head): (u64, u64) = db
        .prepare_cached("SELECT total, head FROM facet WHERE id = ?")?
        .query_row([facet], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut total = before;
    let mut open: Option<Open> = None;
    for change in changes {
        let inside = open
            .as_ref()
            .is_some_and(|block| block.next.as_ref().is_none_or(|next| change.name.as_str() < next.as_str()));
        if !inside {
            if let Some(block) = open.take() {
                close(db, facet, block, &mut head)?;
            }
            open = Some(find(db, facet, &change.name, head)?);
        }
        let Some(block) = open.as_mut() else { continue };
        match change.created {
            Some(created) => {
                let sql = "INSERT OR IGNORE INTO posting (facet, name, stream, created, audience)
                           VALUES (?, ?, ?, ?, ?)";
                let audience = change.audience;
                let new = db.prepare_cached(sql)?.execute(params![
                    facet,
                    change.name,
                    change.stream,
                    created,
                    audience
                ])?;
                if new == 0 {
                    let sql = "UPDATE posting SET created = ?, audience = ? WHERE facet = ? AND name = ?";
                    db.prepare_cached(sql)?.execute(params![created, audience, facet, change.name])?;
                }
                block.streams += new as u64;
                total += new as u64;
            }
            None => {
                let gone = db
                    .prepare_cached("DELETE FROM posting WHERE facet = ? AND name = ?")?
                    .execute(params![facet, change.name])? as u64;
                block.streams -= gone;
                total -= gone;
            }
        }
    }
    if let Some(block) = open {
        close(db, facet, block, &mut head)?;
    }
    db.prepare_cached("UPDATE facet SET total = ?, head = ? WHERE id = ?")?
        .execute(params![total, head, facet])?;
    Ok((before, total))
}

/// The block in which a name stands, or would.
fn find(db: &Connection, facet: i64, name: &str, head: u64) -> Result<Open> {
    let sql = "SELECT first, streams FROM block WHERE facet = ? AND first <= ? ORDER BY first DESC LIMIT 1";
    let (first, streams) = db
        .prepare_cached(sql)?
        .query_row(params![facet, name], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?
        .unwrap_or((String::new(), head));
    let next = db
        .prepare_cached("SELECT first FROM block WHERE facet = ? AND first > ? ORDER BY first LIMIT 1")?
        .query_row(params![facet, first], |row| row.get(0))
        .optional()?;
    Ok(Open { first, next, streams })
}

/// Writes a block's count, in several blocks if it has grown too large.
fn close(db: &Connection, facet: i64, block: Open, head: &mut u64) -> Result<()> {
    let Open { mut first, mut streams, .. } = block;
    while streams > LARGEST {
        let sql = "SELECT name FROM posting WHERE facet = ? AND name >= ? ORDER BY name LIMIT 1 OFFSET ?";
        let next: String =
            db.prepare_cached(sql)?.query_row(params![facet, first, LARGEST / 2], |row| row.get(0))?;
        write(db, facet, &first, LARGEST / 2, head)?;
        streams -= LARGEST / 2;
        first = next;
    }
    write(db, facet, &first, streams, head)
}

fn write(db: &Connection, facet: i64, first: &str, streams: u64, head: &mut u64) -> Result<()> {
    if first.is_empty() {
        *head = streams;
    } else if streams == 0 {
        db.prepare_cached("DELETE FROM block WHERE facet = ? AND first = ?")?
            .execute(params![facet, first])?;
    } else {
        db.prepare_cached("INSERT OR REPLACE INTO block (facet, first, streams) VALUES (?, ?, ?)")?
            .execute(params![facet, first, streams])?;
    }
    Ok(())
}

/// A range of names: from the first on, up to but without the second.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) from: String,
    pub(super) to: Option<String>,
}

impl Range {
    /// The names that begin with `prefix`.
    pub(super) fn prefix(prefix: &str) -> Self {
        let mut to = prefix.to_owned();
        // The next text of the same length: the last character that has a successor is raised, what follows is cut.
        while let Some(last) = to.pop() {
            if let Some(next) = successor(last) {
                to.push(next);
                return Self { from: prefix.to_owned(), to: Some(to) };
            }
        }
        Self { from: prefix.to_owned(), to: None }
    }

    /// What both have.
    pub(super) fn and(self, other: Self) -> Self {
        let to = match (self.to, other.to) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Self { from: self.from.max(other.from), to }
    }

    /// The same, but only the names after this one.
    pub(super) fn after(mut self, name: &str) -> Self {
        // No text stands between a name and that name with a zero byte behind it.
        let next = format!("{name}\0");
        if next > self.from {
            self.from = next;
        }
        self
    }

    fn is_empty(&self) -> bool {
        self.to.as_ref().is_some_and(|to| *to <= self.from)
    }
}

fn successor(c: char) -> Option<char> {
    match c {
        '\u{D7FF}' => Some('\u{E000}'),
        c => char::from_u32(u32::from(c) + 1),
    }
}

/// How many of a facet's names are in a range.
pub(super) fn count(db: &Connection, facet: i64, range: &Range) -> Result<u64> {
    if range.is_empty() {
        return Ok(0);
    }
    let head = head(db, facet)?;
    let start = find(db, facet, &range.from, head)?;
    let within = |first: &str, to: &str| -> Result<u64> {
        Ok(db
            .prepare_cached("SELECT count(*) FROM posting WHERE facet = ? AND name >= ? AND name < ?")?
            .query_row(params![facet, first, to], |row| row.get(0))?)
    };
    let Some(to) = &range.to else {
        let sql = "SELECT coalesce(sum(streams), 0) FROM block WHERE facet = ? AND first > ?";
        let after: u64 = db.prepare_cached(sql)?.query_row(params![facet, start.first], |row| row.get(0))?;
        return Ok(start.streams - within(&start.first, &range.from)? + after);
    };
    let end = find(db, facet, to, head)?;
    if end.first == start.first {
        return within(&range.from, to);
    }
    let sql = "SELECT coalesce(sum(streams), 0) FROM block WHERE facet = ? AND first > ? AND first < ?";
    let between: u64 =
        db.prepare_cached(sql)?.query_row(params![facet, start.first, end.first], |row| row.get(0))?;
    Ok(start.streams - within(&start.first, &range.from)? + between + within(&end.first, to)?)
}

/// The name at an offset from the range's beginning: the range from there on, or nothing if it is past the end.
pub(super) fn skip(db: &Connection, facet: i64, range: Range, offset: u64) -> Result<Option<Range>> {
    if offset == 0 {
        return Ok(Some(range));
    }
    let mut block = find(db, facet, &range.from, head(db, facet)?)?;
    // Counted from the beginning of the block in which the range begins.
    let sql = "SELECT count(*) FROM posting WHERE facet = ? AND name >= ? AND name < ?";
    let before: u64 =
        db.prepare_cached(sql)?.query_row(params![facet, block.first, range.from], |row| row.get(0))?;
    let mut left = offset.saturating_add(before);
    let mut rest =
        db.prepare_cached("SELECT first, streams FROM block WHERE facet = ? AND first > ? ORDER BY first")?;
    let mut rest = rest.query(params![facet, block.first])?;
    while left >= block.streams {
        let Some(row) = rest.next()? else { return Ok(None) };
        left -= block.streams;
        block = Open { first: row.get(0)?, streams: row.get(1)?, next: None };
    }
    let sql = "SELECT name FROM posting WHERE facet = ? AND name >= ? ORDER BY name LIMIT 1 OFFSET ?";
    let name: Option<String> =
        db.prepare_cached(sql)?.query_row(params![facet, block.first, left], |row| row.get(0)).optional()?;
    Ok(name.map(|from| Range { from, to: range.to }))
}

fn head(db: &Connection, facet: i64) -> Result<u64> {
    Ok(db.prepare_cached("SELECT head FROM facet WHERE id = ?")?.query_row([facet], |row| row.get(0))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::schema;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn database() -> Connection {
        let db = Connection::open_in_memory().unwrap();
        assert!(schema::prepare(&db).unwrap());
        db.execute("INSERT INTO facet (id, class, kind, value, total, head) VALUES (1, 0, 0, '', 0, 0)", [])
            .unwrap();
        db
    }

    fn name(n: u32) -> String {
        format!("{:x}", n.wrapping_mul(0x9E37_79B9))
    }

    #[test]
    fn the_names_with_a_prefix_are_a_range() {
        let of = |prefix: &str| Range::prefix(prefix).to;
        assert_eq!(of("ab").as_deref(), Some("ac"));
        assert_eq!(of("a\u{10FFFF}").as_deref(), Some("b"));
        assert_eq!(of("\u{D7FF}").as_deref(), Some("\u{E000}"));
        assert_eq!(of("\u{10FFFF}"), None);
        assert_eq!(of(""), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn blocks_count_what_is_there(
            batches in proptest::collection::vec((0_u32..6000, 1_u32..4000, any::<bool>()), 1..8),
            asked in proptest::collection::vec((0_u32..9000, 0_u32..9000, 0_u64..7000), 1..30),
        ) {
            let db = database();
            let mut names = BTreeSet::new();
            for (first, many, there) in batches {
                let mut changes: Vec<Change> = (first..first + many)
                    .map(|n| Change { facet: 1, name: name(n), stream: n.into(), created: there.then_some(5), audience: 1 })
                    .collect();
                changes.sort();
                let (_, total) = change(&db, 1, &changes).unwrap();
                for change in changes {
                    if there { names.insert(change.name) } else { names.remove(&change.name) };
                }
                prop_assert_eq!(total, names.len() as u64);
            }
            let largest: Option<u64> = db.query_row("SELECT max(streams) FROM block", [], |row| row.get(0)).unwrap();
            prop_assert!(largest.unwrap_or(0) <= LARGEST);
            for (from, to, offset) in asked {
                let prefix: String = name(from).chars().take(1 + from as usize % 3).collect();
                let open = Range { from: name(from), to: None };
                for range in [Range { from: name(from), to: Some(name(to)) }, Range::prefix(&prefix), open] {
                    let inside = |n: &&String| **n >= range.from && range.to.as_ref().is_none_or(|to| *n < to);
                    let expected: Vec<&String> = names.iter().filter(inside).collect();
                    prop_assert_eq!(count(&db, 1, &range).unwrap(), expected.len() as u64);
                    let skipped = skip(&db, 1, range.clone(), offset).unwrap();
                    let at = skipped.filter(|_| offset > 0).filter(|s| s.to.as_ref().is_none_or(|to| s.from < *to));
                    let wanted = expected.get(offset as usize).filter(|_| offset > 0).map(|n| (*n).clone());
                    prop_assert_eq!(at.map(|s| s.from), wanted);
                }
            }
        }
    }
}
