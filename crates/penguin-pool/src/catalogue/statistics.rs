//! How much there is: counters that are kept as events come and go.

use super::{
    Result, Statistics, UserList, View,
    audience::{EVERYTHING, marks},
    counts::{ACTIVE, BYTES, Counter, EVENTS, STREAMS, USERS},
    schema,
    state::Stream,
};
use event_store::Timestamp;
use models::ListedUser;
use rusqlite::{Connection, OptionalExtension as _, params, params_from_iter, types::Value};
use std::collections::BTreeMap;

/// Types and categories that are counted by name, those with the most events: clients make as many as they like.
const MOST_NAMES: i64 = 1000;

/// All but the bytes on the store's disk, at a time of day.
pub(super) fn statistics(db: &Connection, view: &View, now: Timestamp) -> Result<Statistics> {
    let audiences = view.audiences(db)?;
    let counted = Counted(audiences.clone().unwrap_or_else(|| vec![EVERYTHING]));
    let mut statistics = Statistics {
        total_streams: counted.sum(db, STREAMS)?,
        active_streams: counted.sum(db, ACTIVE)?,
        total_events: counted.sum(db, EVENTS)?,
        total_users: match &audiences {
            None => counted.sum(db, USERS)?,
            // A user with streams of several audiences is one user.
            Some(_) => counted.names(db, Counter::StreamsOfUser)?,
        },
        storage_used: counted.sum(db, BYTES)?,
        last_activity: match &audiences {
            None => schema::checkpoint(db)?.last_activity.map(Timestamp::from_ticks),
            Some(_) => newest(db, view, now)?,
        },
        events_per_type: counted.by_name(db, Counter::EventsOfType)?,
        events_per_category: counted.by_name(db, Counter::EventsOfCategory)?,
    };
    without_aged(db, view, audiences.as_deref(), now, &mut statistics)?;
    Ok(statistics)
}

/// When the newest event that may be found was written.
fn newest(db: &Connection, view: &View, now: Timestamp) -> Result<Option<Timestamp>> {
    let Some((visible, mut values)) = view.condition("s.audience") else { return Ok(None) };
    let (shown, keys) = view.not_of_the_past().unwrap_or_else(|| ("true".to_owned(), Vec::new()));
    values.extend(keys);
    values.push(now.ticks().into());
    let sql = format!(
        "SELECT e.created FROM event e NOT INDEXED CROSS JOIN stream s ON s.id = e.stream
         WHERE e.type > 0 AND {visible} AND {shown} AND (s.max_age IS NULL OR e.created >= ? - s.max_age)
         ORDER BY e.position DESC LIMIT 1"
    );
    let created: Option<i64> =
        db.prepare_cached(&sql)?.query_row(params_from_iter(values), |row| row.get(0)).optional()?;
    Ok(created.map(Timestamp::from_ticks))
}

/// The counters of some audiences, or of everything.
struct Counted(Vec<i64>);

impl Counted {
    fn sum(&self, db: &Connection, name: &str) -> Result<u64> {
        self.one(db, "coalesce(sum(value), 0)", Counter::Sum, Some(name))
    }

    /// How many names are counted.
    fn names(&self, db: &Connection, counter: Counter) -> Result<u64> {
        self.one(db, "count(DISTINCT name)", counter, None)
    }

    fn one(&self, db: &Connection, what: &str, counter: Counter, name: Option<&str>) -> Result<u64> {
        let mut sql =
            format!("SELECT {what} FROM counter WHERE audience IN ({}) AND kind = ?", marks(self.0.len()));
        let mut values: Vec<Value> = self.0.iter().map(|audience| (*audience).into()).collect();
        values.push((counter as i64).into());
        if let Some(name) = name {
            sql.push_str(" AND name = ?");
            values.push(name.to_owned().into());
        }
        Ok(db.prepare(&sql)?.query_row(params_from_iter(values), |row| row.get(0))?)
    }

    fn by_name(&self, db: &Connection, counter: Counter) -> Result<BTreeMap<String, u64>> {
        let sql = format!(
            "SELECT name, sum(value) AS events FROM counter WHERE audience IN ({}) AND kind = ?
             GROUP BY name ORDER BY events DESC, name LIMIT ?",
            marks(self.0.len())
        );
        let values = self.0.iter().copied().chain([counter as i64, MOST_NAMES]);
        let mut names = db.prepare(&sql)?;
        let names = names.query_map(params_from_iter(values), |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(names.collect::<rusqlite::Result<_>>()?)
    }
}

/// The counters know nothing of `$maxAge`: what has aged away is taken off now.
fn without_aged(
    db: &Connection,
    view: &View,
    audiences: Option<&[i64]>,
    now: Timestamp,
    statistics: &mut Statistics,
) -> Result<()> {
    let (visible, values) = view.condition("audience").unwrap_or_else(|| ("true".to_owned(), Vec::new()));
    let sql = format!("SELECT id FROM stream WHERE max_age IS NOT NULL AND {visible}");
    let mut aging = db.prepare_cached(&sql)?;
    let aging = aging.query_map(params_from_iter(values), |row| row.get(0))?;
    let aging: Vec<i64> = aging.collect::<rusqlite::Result<_>>()?;
    for id in aging {
        let Some(stream) = Stream::by_id(db, id)? else { continue };
        if stream.name.is_system() || stream.kept == 0 {
            continue;
        }
        let from = stream.shown_from(audiences);
        let kept = stream.readable(db, from, Timestamp::from_ticks(i64::MIN))?;
        let readable = stream.readable(db, from, stream.oldest(now))?;
        let gone = kept.events - readable.events;
        if gone == 0 {
            continue;
        }
        statistics.total_events = statistics.total_events.saturating_sub(gone);
        statistics.storage_used = statistics.storage_used.saturating_sub(kept.bytes - readable.bytes);
        if let Some(category) = stream.name.category() {
            take_off(&mut statistics.events_per_category, category, gone);
        }
        let sql = "SELECT t.name, count(*) FROM event e JOIN event_type t ON t.id = e.type
                   WHERE e.stream = ? AND e.revision >= ? AND e.revision < ? GROUP BY e.type";
        let first = readable.first.map_or(i64::MAX as u64, |(revision, _)| revision);
        let mut types = db.prepare_cached(sql)?;
        let mut types = types.query(params![stream.id, from, first])?;
        while let Some(row) = types.next()? {
            take_off(&mut statistics.events_per_type, &row.get::<_, String>(0)?, row.get(1)?);
        }
    }
    Ok(())
}

fn take_off(counts: &mut BTreeMap<String, u64>, name: &str, by: u64) {
    if let Some(count) = counts.get_mut(name) {
        *count = count.saturating_sub(by);
        if *count == 0 {
            counts.remove(name);
        }
    }
}

/// A part of the list of users, by id: those whose ids begin with the prefix and come after another.
pub(super) fn users(db: &Connection, prefix: &str, after: Option<&str>, limit: usize) -> Result<UserList> {
    let kind = Counter::StreamsOfUser as i64;
    // Ids are ASCII: below this character is every id that begins with the prefix.
    let end = format!("{prefix}\u{7f}");
    let total = db
        .prepare_cached(
            "SELECT count(*) FROM counter WHERE audience = ? AND kind = ? AND name >= ? AND name < ?",
        )?
        .query_row(params![EVERYTHING, kind, prefix, end], |row| row.get(0))?;
    let sql = "SELECT name, value FROM counter
               WHERE audience = ?1 AND kind = ?2 AND name >= ?3 AND name < ?4 AND (?5 IS NULL OR name > ?5)
               ORDER BY name LIMIT ?6";
    let user = |row: &rusqlite::Row<'_>| Ok(ListedUser { user_id: row.get(0)?, streams: row.get(1)? });
    let mut users: Vec<ListedUser> = db
        .prepare_cached(sql)?
        .query_map(params![EVERYTHING, kind, prefix, end, after, limit + 1], user)?
        .collect::<rusqlite::Result<_>>()?;
    let has_more = users.len() > limit;
    users.truncate(limit);
    Ok(UserList { users, total, has_more })
}
