//! Lists of streams. One filter, a prefix, an offset and a cursor are answered from the blocks, whatever the number of
//! streams; several filters, dates and expressions look at the shortest list that can hold the answer, and several long lists
//! are counted side by side.

use super::{
    BrowseFilter, BrowsePage, CatalogueError, MAX_PAGE, Result, View,
    audience::marks,
    blocks::{self, Range},
    database::Deadline,
    pattern::Pattern,
    state::{Class, Facet, Kind, Stream},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use event_store::{DEFAULT_PAGE_BYTES, Timestamp};
use models::StreamStatus;
use rusqlite::{Connection, OptionalExtension as _, params_from_iter, types::Value};
use std::fmt::Write as _;

/// What to ask instead of a query that takes too long.
pub(super) const ADVICE: &str =
    "begin the pattern with '^' and fixed text, or narrow it with prefix, tag, owner, eventType or status";

/// What a cursor begins with, before a name: by this one that was made here is told from any other text.
const AFTER: &str = "after:";

/// Names between two looks at the clock.
const NAMES_PER_LOOK: u64 = 1024;

/// How many names of a list are walked by in the time that one is looked up.
const LOOKUP: u64 = 10;

/// A filter made ready.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    view: View,
    class: Class,
    facets: Vec<Facet>,
    range: Range,
    pattern: Option<Pattern>,
    created: [Option<i64>; 2],
    event_type: Option<String>,
    after: Option<String>,
    limit: u64,
    offset: u64,
}

/// Checks a filter and makes it ready.
///
/// # Errors
/// [`CatalogueError::Invalid`] naming what makes no sense.
pub(super) fn plan(view: &View, filter: &BrowseFilter) -> Result<Plan> {
    if !(1..=MAX_PAGE).contains(&filter.limit) {
        return Err(CatalogueError::invalid("limit", format!("must be from 1 to {MAX_PAGE}")));
    }
    let mut pattern = filter.name_pattern.as_deref().map(Pattern::new).transpose()?;
    let mut range = Range::prefix(filter.prefix.as_deref().unwrap_or_default());
    let mut of_system = filter.prefix.as_ref().is_some_and(|prefix| prefix.starts_with('$'));
    if let Some(found) = &pattern {
        range = range.and(Range::prefix(&found.prefix));
        of_system |= found.prefix.starts_with('$');
        if found.is_prefix {
            pattern = None;
        }
    }
    let deleted = filter.status == Some(StreamStatus::Deleted);
    let class = match (of_system, deleted) {
        (false, false) => Class::Live,
        (false, true) => Class::Deleted,
        (true, false) => Class::SystemLive,
        (true, true) => Class::SystemDeleted,
    };
    let facet = |kind, value: &str| Facet { class, kind, value: value.to_owned() };
    let mut facets = Vec::new();
    match filter.status {
        Some(StreamStatus::Active) => facets.push(facet(Kind::Active, "")),
        Some(StreamStatus::Archived) => facets.push(facet(Kind::Archived, "")),
        Some(StreamStatus::Deleted) | None => {}
    }
    facets.extend(filter.tag.as_deref().map(|tag| facet(Kind::Tag, tag)));
    facets.extend(filter.owner.as_deref().map(|owner| facet(Kind::Owner, owner)));
    facets.extend(filter.event_type.as_deref().map(|kind| facet(Kind::Type, kind)));
    if facets.is_empty() {
        facets.push(facet(Kind::All, ""));
    }
    let after = filter.cursor.as_deref().map(|cursor| {
        let text = BASE64.decode(cursor).ok().and_then(|text| String::from_utf8(text).ok());
        let name = text.as_deref().and_then(|text| text.strip_prefix(AFTER)).map(str::to_owned);
        name.ok_or_else(|| CatalogueError::invalid("cursor", "must be the nextCursor of a page before"))
    });
    Ok(Plan {
        view: view.clone(),
        class,
        facets,
        range,
        pattern,
        created: [filter.date_from.map(Timestamp::ticks), filter.date_to.map(Timestamp::ticks)],
        event_type: filter.event_type.clone(),
        after: after.transpose()?,
        limit: filter.limit as u64,
        offset: filter.offset,
    })
}

/// The most lists that are merged. Who belongs to more audiences has all streams looked at instead.
const MERGED: usize = 64;

/// Answers a filter at a time of day.
pub(super) fn run(plan: &Plan, db: &Connection, deadline: &Deadline, now: Timestamp) -> Result<BrowsePage> {
    let Some(lists) = lists(plan, db, now)? else { return page(plan, db, Vec::new(), 0, now) };
    let rest = match &plan.after {
        Some(name) => plan.range.clone().after(name),
        None => plan.range.clone(),
    };
    let (ids, total) = match &plan.pattern {
        Some(pattern) => matching(plan, pattern, db, &lists, &rest, deadline)?,
        None if lists.are_whole() && plan.created == [None, None] => {
            let mut total = 0;
            for list in &lists.first {
                total += blocks::count(db, *list, &plan.range)?;
            }
            let ids = match lists.first[..] {
                [list] => match blocks::skip(db, list, rest, plan.offset)? {
                    Some(rest) => select(plan, db, &lists, &rest, 0)?,
                    None => Vec::new(),
                },
                _ => merge(plan, db, &lists.first, &rest)?,
            };
            (ids, total)
        }
        None => {
            let ids = select(plan, db, &lists, &rest, plan.offset)?;
            (ids, count(plan, db, &lists, deadline)?)
        }
    };
    page(plan, db, ids, total, now)
}

/// The lists in which a stream must stand.
#[derive(Default)]
struct Lists {
    /// In one of these, of which no two have a stream in common; there is at least one.
    first: Vec<i64>,
    /// And in each of these.
    others: Vec<i64>,
    /// Who asks, where the first lists have streams that they may not find.
    view: Option<View>,
    /// An event type and the time of day, if there are streams of which all events of that type have aged away.
    aged: Option<[Value; 2]>,
    /// The condition that a stream is none of which only the past, which who asks may not see, has events of the type; and
    /// its values, if there are such streams.
    past: Option<(String, Vec<Value>)>,
}

impl Lists {
    /// Whether every stream of the first lists is wanted.
    fn are_whole(&self) -> bool {
        self.others.is_empty() && self.view.is_none() && self.aged.is_none() && self.past.is_none()
    }
}

/// The lists that answer a filter, the shortest first; nothing if one of them is not there.
fn lists(plan: &Plan, db: &Connection, now: Timestamp) -> Result<Option<Lists>> {
    let mut of_facets = Vec::with_capacity(plan.facets.len());
    for facet in &plan.facets {
        match list(db, facet)? {
            Some(list) => of_facets.push(list),
            None => return Ok(None),
        }
    }
    of_facets.sort_unstable_by_key(|(total, _)| *total);
    let aged = match &plan.event_type {
        Some(kind) => aged(db, kind, now)?,
        None => None,
    };
    let past = match &plan.event_type {
        Some(kind) => past(db, &plan.view, kind)?,
        None => None,
    };
    let ids = |lists: &[(u64, i64)]| lists.iter().map(|(_, id)| *id).collect::<Vec<_>>();
    let Some(audiences) = plan.view.audiences(db)? else {
        let (first, others) = of_facets.split_at(1);
        return Ok(Some(Lists { first: ids(first), others: ids(others), view: None, aged, past }));
    };
    let mut of_audiences = Vec::new();
    let merged = audiences.len() <= MERGED;
    for audience in audiences.iter().filter(|_| merged) {
        let facet = Facet { class: plan.class, kind: Kind::Audience, value: audience.to_string() };
        of_audiences.extend(list(db, &facet)?);
    }
    if merged && of_audiences.is_empty() {
        return Ok(None);
    }
    let found: u64 = of_audiences.iter().map(|(total, _)| total).sum();
    let is_all = matches!(&plan.facets[..], [facet] if facet.kind == Kind::All);
    Ok(Some(if merged && (is_all || found < of_facets[0].0) {
        let others = if is_all { Vec::new() } else { ids(&of_facets) };
        Lists { first: ids(&of_audiences), others, view: None, aged, past }
    } else {
        let (first, others) = of_facets.split_at(1);
        Lists { first: ids(first), others: ids(others), view: Some(plan.view.clone()), aged, past }
    }))
}

/// The streams of a page of several lists, and one more if there is one. Each list is in order, and no more of it is read
/// than the page takes.
fn merge(plan: &Plan, db: &Connection, lists: &[i64], range: &Range) -> Result<Vec<i64>> {
    let one = match range.to {
        Some(_) => "SELECT name, stream FROM posting WHERE facet = ? AND name >= ? AND name < ?",
        None => "SELECT name, stream FROM posting WHERE facet = ? AND name >= ?",
    };
    let mut sql = vec![one; lists.len()].join(" UNION ALL ");
    sql.push_str(" ORDER BY name LIMIT ? OFFSET ?");
    let mut values: Vec<Value> = Vec::with_capacity(3 * lists.len() + 2);
    for list in lists {
        values.extend([(*list).into(), range.from.clone().into()]);
        values.extend(range.to.clone().map(Value::from));
    }
    values.push(i64::try_from(plan.limit + 1).unwrap_or(i64::MAX).into());
    values.push(i64::try_from(plan.offset).unwrap_or(i64::MAX).into());
    let mut ids = db.prepare_cached(&sql)?;
    let ids = ids.query_map(params_from_iter(values), |row| row.get(1))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

/// The streams that have events of a type, and of them none that is young enough to be read.
const AGED: &str = "SELECT s.id FROM event_type k JOIN stream s ON s.max_age IS NOT NULL WHERE k.name = ?
    AND EXISTS (SELECT 1 FROM stream_type t WHERE t.stream = s.id AND t.type = k.id)
    AND NOT EXISTS (SELECT 1 FROM event e INDEXED BY event_of_stream
                    WHERE e.stream = s.id AND e.type IN (k.id, -k.id) AND e.created >= ? - s.max_age)";

/// Whether the lists know too many streams for this type. They seldom do: a stream is looked at with each new event.
fn aged(db: &Connection, event_type: &str, now: Timestamp) -> Result<Option<[Value; 2]>> {
    let values = [event_type.to_owned().into(), now.ticks().into()];
    let any = db.prepare_cached(AGED)?.exists(params_from_iter(&values))?;
    Ok(any.then_some(values))
}

/// Whether the lists know streams for this type that are not to be told by it: see [`Lists::past`].
fn past(db: &Connection, view: &View, event_type: &str) -> Result<Option<(String, Vec<Value>)>> {
    let Some((insider, keys)) = view.condition("s.insiders") else { return Ok(None) };
    let sql = format!(
        "SELECT t.stream FROM event_type k
         CROSS JOIN stream_type t INDEXED BY type_of_the_past ON t.type = k.id AND t.past = t.events
         CROSS JOIN stream s ON s.id = t.stream
         WHERE k.name = ? AND NOT {insider}"
    );
    let mut values = vec![event_type.to_owned().into()];
    values.extend(keys);
    let any = db.prepare_cached(&sql)?.exists(params_from_iter(&values))?;
    Ok(any.then_some((format!("p.stream NOT IN ({sql})"), values)))
}

/// How many streams there are on all pages.
fn count(plan: &Plan, db: &Connection, lists: &Lists, deadline: &Deadline) -> Result<u64> {
    if let ([first], None, None, None, [None, None]) =
        (&lists.first[..], &lists.view, &lists.aged, &lists.past, plan.created)
    {
        let looked_up = LOOKUP * blocks::count(db, *first, &plan.range)? * lists.others.len() as u64;
        let mut walked = 0;
        for list in lists.first.iter().chain(&lists.others) {
            walked += blocks::count(db, *list, &plan.range)?;
        }
        if walked < looked_up {
            return intersect(*first, &lists.others, &plan.range, db, deadline);
        }
    }
    let (sql, values) = query("count(*)", plan, lists, &plan.range);
    Ok(db.prepare_cached(&sql)?.query_row(params_from_iter(values), |row| row.get(0))?)
}

/// How many names stand in all lists: each is walked once, side by side. Where the lists are long, that is quicker than to
/// look each name of the shortest up in the others.
fn intersect(first: i64, others: &[i64], range: &Range, db: &Connection, deadline: &Deadline) -> Result<u64> {
    let sql = match range.to {
        Some(_) => "SELECT name FROM posting WHERE facet = ? AND name >= ? AND name < ? ORDER BY name",
        None => "SELECT name FROM posting WHERE facet = ? AND name >= ? ORDER BY name",
    };
    let values = |list: i64| {
        let ends = [Some(range.from.clone()), range.to.clone()].into_iter().flatten().map(Value::from);
        params_from_iter([list.into()].into_iter().chain(ends))
    };
    let mut names = db.prepare_cached(sql)?;
    let mut names = names.query(values(first))?;
    let mut walks = others.iter().map(|_| db.prepare_cached(sql)).collect::<rusqlite::Result<Vec<_>>>()?;
    let mut walks = walks
        .iter_mut()
        .zip(others)
        .map(|(walk, list)| Ok((walk.query(values(*list))?, String::new())))
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let (mut total, mut seen) = (0, 0_u64);
    'names: while let Some(row) = names.next()? {
        let name = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
        for (walk, reached) in &mut walks {
            while reached.as_str() < name {
                seen += 1;
                if seen.is_multiple_of(NAMES_PER_LOOK) {
                    deadline.check()?;
                }
                let Some(row) = walk.next()? else { break 'names };
                reached.clear();
                reached.push_str(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?);
            }
            if reached != name {
                continue 'names;
            }
        }
        total += 1;
    }
    Ok(total)
}

/// A facet's length and id, if any stream ever had it.
fn list(db: &Connection, facet: &Facet) -> Result<Option<(u64, i64)>> {
    Ok(db
        .prepare_cached("SELECT total, id FROM facet WHERE class = ? AND kind = ? AND value = ?")?
        .query_row(rusqlite::params![facet.class as i64, facet.kind as i64, facet.value], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?)
}

/// The postings of the first lists in a range of names that stand in the others too.
fn query(columns: &str, plan: &Plan, lists: &Lists, range: &Range) -> (String, Vec<Value>) {
    let first = match lists.first.len() {
        1 => "= ?".to_owned(),
        many => format!("IN ({})", marks(many)),
    };
    let mut sql = format!("SELECT {columns} FROM posting p WHERE p.facet {first} AND p.name >= ?");
    let mut values: Vec<Value> = lists.first.iter().map(|list| (*list).into()).collect();
    values.push(range.from.clone().into());
    if let Some(to) = &range.to {
        sql.push_str(" AND p.name < ?");
        values.push(to.clone().into());
    }
    for (created, sign) in plan.created.iter().zip([">=", "<="]) {
        if let Some(created) = created {
            let _ = write!(sql, " AND p.created {sign} ?");
            values.push((*created).into());
        }
    }
    for other in &lists.others {
        sql.push_str(" AND EXISTS (SELECT 1 FROM posting q WHERE q.facet = ? AND q.name = p.name)");
        values.push((*other).into());
    }
    if let Some((visible, keys)) = lists.view.as_ref().and_then(|view| view.condition("p.audience")) {
        let _ = write!(sql, " AND {visible}");
        values.extend(keys);
    }
    if let Some(aged) = &lists.aged {
        let _ = write!(sql, " AND p.stream NOT IN ({AGED})");
        values.extend(aged.iter().cloned());
    }
    if let Some((shown, of)) = &lists.past {
        let _ = write!(sql, " AND {shown}");
        values.extend(of.iter().cloned());
    }
    (sql, values)
}

/// The streams of a page, and one more if there is one.
fn select(plan: &Plan, db: &Connection, lists: &Lists, range: &Range, offset: u64) -> Result<Vec<i64>> {
    let (mut sql, mut values) = query("p.stream", plan, lists, range);
    sql.push_str(" ORDER BY p.name LIMIT ? OFFSET ?");
    values.push(i64::try_from(plan.limit + 1).unwrap_or(i64::MAX).into());
    values.push(i64::try_from(offset).unwrap_or(i64::MAX).into());
    let mut ids = db.prepare_cached(&sql)?;
    let ids = ids.query_map(params_from_iter(values), |row| row.get(0))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

/// The same where an expression must match too, and how many there are on all pages.
fn matching(
    plan: &Plan,
    pattern: &Pattern,
    db: &Connection,
    lists: &Lists,
    rest: &Range,
    deadline: &Deadline,
) -> Result<(Vec<i64>, u64)> {
    let (mut sql, values) = query("p.name, p.stream", plan, lists, &plan.range);
    sql.push_str(" ORDER BY p.name");
    let mut names = db.prepare_cached(&sql)?;
    let mut names = names.query(params_from_iter(values))?;
    let (mut ids, mut total, mut skipped, mut seen) = (Vec::new(), 0, 0, 0_u64);
    while let Some(row) = names.next()? {
        seen += 1;
        if seen.is_multiple_of(NAMES_PER_LOOK) {
            deadline.check()?;
        }
        let name = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
        if !pattern.regex.is_match(name) {
            continue;
        }
        total += 1;
        if ids.len() as u64 > plan.limit || name < rest.from.as_str() {
            continue;
        }
        skipped += 1;
        if skipped > plan.offset {
            ids.push(row.get(1)?);
        }
    }
    Ok((ids, total))
}

fn page(plan: &Plan, db: &Connection, mut ids: Vec<i64>, total: u64, now: Timestamp) -> Result<BrowsePage> {
    let mut has_more = ids.len() as u64 > plan.limit;
    if has_more {
        ids.pop();
    }
    let audiences = plan.view.audiences(db)?;
    let mut streams = Vec::with_capacity(ids.len());
    let mut bytes = 0;
    for id in ids {
        if let Some(stream) = Stream::by_id(db, id)? {
            bytes += stream.name.as_str().len() + stream.metadata_json.as_ref().map_or(0, String::len);
            if bytes > DEFAULT_PAGE_BYTES && !streams.is_empty() {
                has_more = true;
                break;
            }
            streams.push(stream.show(db, audiences.as_deref(), now)?);
        }
    }
    let last = streams.last().filter(|_| has_more);
    let next_cursor = last.map(|stream| BASE64.encode(format!("{AFTER}{}", stream.name)));
    Ok(BrowsePage { streams, total, has_more, next_cursor })
}
