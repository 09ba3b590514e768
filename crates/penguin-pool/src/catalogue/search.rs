//! Finding events, newest first. What leads is the narrowest of words, stream, type or everything; the rest is asked of
//! each event that comes by.

use super::{
    CatalogueError, Hit, MAX_PAGE, Result, SearchFilter, SearchPage, View,
    condition::{self, Ready},
    database::Deadline,
};
use event_store::{Position, StreamName, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, params, params_from_iter, types::Value};

/// What to ask instead of a query that takes too long.
pub(super) const ADVICE: &str =
    "narrow it with text, streamName, eventType, or a shorter time from dateFrom to dateTo";

/// Up to here `total` is counted.
const COUNTED: u64 = 10_000;

/// A filter made ready.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    view: View,
    words: Option<String>,
    event_type: Option<String>,
    stream: Option<StreamName>,
    created: [Option<Timestamp>; 2],
    conditions: Vec<Ready>,
    limit: usize,
    /// The newest event of the first page, and the last event of the page before.
    cursor: Option<(i64, i64)>,
}

/// Checks a filter and makes it ready.
///
/// # Errors
/// [`CatalogueError::Invalid`] naming what makes no sense.
pub(super) fn plan(view: &View, filter: &SearchFilter) -> Result<Plan> {
    if !(1..=MAX_PAGE).contains(&filter.limit) {
        return Err(CatalogueError::invalid("limit", format!("must be from 1 to {MAX_PAGE}")));
    }
    let cursor = filter.cursor.as_deref().map(|cursor| {
        let parts = cursor
            .split_once('.')
            .and_then(|(newest, last)| Some((newest.parse().ok()?, last.parse().ok()?)));
        parts.ok_or_else(|| CatalogueError::invalid("cursor", "must be the cursor of a page before"))
    });
    Ok(Plan {
        view: view.clone(),
        words: filter.text.as_deref().map(words).transpose()?,
        event_type: filter.event_type.clone(),
        stream: filter.stream_name.clone(),
        created: [filter.date_from, filter.date_to],
        conditions: condition::ready(&filter.conditions)?,
        limit: filter.limit,
        cursor: cursor.transpose()?,
    })
}

impl SearchPage {
    /// Where the next page begins if this one is to end with a hit of its own sooner than it does.
    #[must_use]
    pub fn cursor_after(&self, hit: &Hit) -> String {
        format!("{}.{}", self.newest, hit.position)
    }
}

/// The index's expression for words that must all be there. Each is quoted: what a user writes is never syntax.
fn words(text: &str) -> Result<String> {
    let quoted: Vec<String> = text
        .split(|c: char| c.is_whitespace() || c == '\0')
        .filter(|word| word.chars().any(char::is_alphanumeric))
        .map(|word| format!("\"{}\"", word.replace('"', "\"\"")))
        .collect();
    if quoted.is_empty() {
        return Err(CatalogueError::invalid("text", "must have a letter or a digit in it"));
    }
    Ok(quoted.join(" AND "))
}

/// What a pass over the events has come to.
#[derive(Default)]
struct Pass {
    hits: Vec<Hit>,
    found: u64,
}

/// Answers a filter at a time of day.
pub(super) fn run(plan: &Plan, db: &Connection, deadline: &Deadline, now: Timestamp) -> Result<SearchPage> {
    let Some(scan) = Scan::new(plan, db, now)? else { return Ok(SearchPage::default()) };
    let newest = plan.cursor.map_or(scan.newest, |(newest, _)| newest.min(scan.newest));
    let wanted = plan.limit + 1;
    let mut page = Pass::default();
    let mut all = Pass::default();
    // Where time runs out in counting, the page is still good, and the total is what was counted so far.
    let counted = if let Some((_, last)) = plan.cursor {
        scan.pass(db, last.saturating_sub(1), wanted, 0, &mut page, deadline)?;
        scan.pass(db, newest, 0, COUNTED + 1, &mut all, deadline)
    } else {
        let counted = scan.pass(db, newest, wanted, COUNTED + 1, &mut page, deadline);
        all.found = page.found;
        counted
    };
    let cut_off = match counted {
        Ok(()) => false,
        Err(_) if deadline.passed() && page.hits.len() == wanted => true,
        Err(error) => return Err(error),
    };
    let has_more = page.hits.len() == wanted;
    page.hits.truncate(plan.limit);
    let mut page = SearchPage {
        total: all.found.min(COUNTED),
        total_is_lower_bound: cut_off || all.found > COUNTED,
        has_more,
        cursor: None,
        newest,
        hits: page.hits,
    };
    page.cursor = page.hits.last().filter(|_| has_more).map(|last| page.cursor_after(last));
    Ok(page)
}

/// The events that are gone through.
struct Scan<'p> {
    plan: &'p Plan,
    sql: String,
    values: Vec<Value>,
    newest: i64,
}

impl<'p> Scan<'p> {
    /// Nothing if a name in the filter is not known at all.
    fn new(plan: &'p Plan, db: &Connection, now: Timestamp) -> Result<Option<Self>> {
        let mut joins = String::new();
        let mut wheres = String::new();
        let mut values = Vec::new();
        let mut of_system = false;
        let mut index = "";
        if let Some(name) = &plan.stream {
            let id = db
                .prepare_cached("SELECT id FROM stream WHERE name = ?")?
                .query_row([name.as_str()], |row| row.get::<_, i64>(0))
                .optional()?;
            let Some(id) = id else { return Ok(None) };
            of_system = name.is_system();
            wheres.push_str(" AND e.stream = ?");
            values.push(Value::from(id));
            index = " INDEXED BY event_of_stream";
        }
        if let Some(name) = &plan.event_type {
            let id = db
                .prepare_cached("SELECT id FROM event_type WHERE name = ?")?
                .query_row([name], |row| row.get::<_, i64>(0))
                .optional()?;
            let Some(id) = id else { return Ok(None) };
            wheres.push_str(" AND e.type = ?");
            values.push(Value::from(if of_system { -id } else { id }));
            if index.is_empty() {
                index = " INDEXED BY event_of_type";
            }
        } else if plan.stream.is_none() {
            wheres.push_str(" AND e.type > 0");
        }
        if let Some((visible, keys)) = plan.view.condition("s.audience") {
            wheres.push_str(" AND ");
            wheres.push_str(&visible);
            values.extend(keys);
        }
        if let Some((shown, keys)) = plan.view.not_of_the_past() {
            wheres.push_str(" AND ");
            wheres.push_str(&shown);
            values.extend(keys);
        }
        let mut from = format!("event e{index}");
        let mut order = if plan.stream.is_some() { "e.revision" } else { "e.position" };
        if let Some(words) = &plan.words {
            from = "event_text t CROSS JOIN event e ON e.position = t.rowid".to_owned();
            order = "t.rowid";
            wheres.push_str(" AND event_text MATCH ?");
            values.push(words.clone().into());
        } else if index.is_empty() {
            from.push_str(" NOT INDEXED");
        }
        let column = if plan.words.is_some() { "t.rowid" } else { "e.position" };
        let mut data = "NULL";
        if !plan.conditions.is_empty() {
            joins.push_str(" CROSS JOIN event_data d ON d.position = e.position");
            data = "d.data";
        }
        let newest = match plan.created[1] {
            Some(to) => boundary(db, |created| created > to)? - 1,
            None => i64::MAX,
        };
        let oldest = match plan.created[0] {
            Some(from) => boundary(db, |created| created >= from)?,
            None => i64::MIN,
        };
        let last: i64 = db
            .prepare_cached("SELECT coalesce(max(position), 0) FROM event")?
            .query_row([], |row| row.get(0))?;
        // `max_age` is nothing for most streams; an aged event is still in the tables.
        let sql = format!(
            "SELECT e.position, e.revision, e.created, s.name, e.type, {data}
             FROM {from} CROSS JOIN stream s ON s.id = e.stream{joins}
             WHERE (s.max_age IS NULL OR e.created >= ? - s.max_age){wheres} AND {column} >= ? AND {column} <= ?
             ORDER BY {order} DESC"
        );
        values.insert(0, now.ticks().into());
        values.push(oldest.into());
        Ok(Some(Self { plan, sql, values, newest: newest.min(last) }))
    }

    /// Goes through the events from `newest` on backwards, until it has so many hits and has found so many events.
    fn pass(
        &self,
        db: &Connection,
        newest: i64,
        hits: usize,
        found: u64,
        pass: &mut Pass,
        deadline: &Deadline,
    ) -> Result<()> {
        let mut rows = db.prepare_cached(&self.sql)?;
        let newest = newest.min(self.newest);
        let mut rows =
            rows.query(params_from_iter(self.values.iter().cloned().chain([Value::from(newest)])))?;
        let mut seen = 0_u32;
        while pass.hits.len() < hits || pass.found < found {
            let Some(row) = rows.next()? else { break };
            seen += 1;
            // A condition reads the whole event, which can be large.
            if seen.is_multiple_of(64) || !self.plan.conditions.is_empty() {
                deadline.check()?;
            }
            if !self.plan.conditions.is_empty() {
                let data = row.get_ref(5)?.as_blob().map_err(rusqlite::Error::from)?;
                let Ok(data) = std::str::from_utf8(data) else { continue };
                if !self.plan.conditions.iter().all(|condition| condition.holds(data)) {
                    continue;
                }
            }
            pass.found += 1;
            if pass.hits.len() < hits {
                let name: String = row.get(3)?;
                let kind: i64 = row.get(4)?;
                pass.hits.push(Hit {
                    position: Position::from_raw(row.get(0)?),
                    revision: row.get(1)?,
                    created: Timestamp::from_ticks(row.get(2)?),
                    stream: StreamName::new(name).map_err(|e| CatalogueError::Damaged(e.to_string()))?,
                    event_type: db
                        .prepare_cached("SELECT name FROM event_type WHERE id = ?")?
                        .query_row(params![kind.abs()], |row| row.get(0))?,
                });
            }
        }
        Ok(())
    }
}

/// The position of the first event of which `is_past` holds of its time, or one past the last: `created` never goes
/// backwards in the order of positions, so it is found by halving.
fn boundary(db: &Connection, is_past: impl Fn(Timestamp) -> bool) -> Result<i64> {
    let (mut from, mut to): (i64, i64) = db
        .prepare_cached("SELECT coalesce(min(position), 0), coalesce(max(position), -1) + 1 FROM event")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut next = db.prepare_cached(
        "SELECT position, created FROM event WHERE position >= ? ORDER BY position LIMIT 1",
    )?;
    while from < to {
        let middle = from + (to - from) / 2;
        let (position, created): (i64, i64) =
            next.query_row([middle], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if is_past(Timestamp::from_ticks(created)) {
            to = middle;
        } else {
            from = position + 1;
        }
    }
    Ok(from)
}
