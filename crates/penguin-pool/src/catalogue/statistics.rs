//! How much there is: counters that are kept as events come and go.

use super::{
    Result, Statistics, UserList,
    counts::{BYTES, Counter, EVENTS, USERS},
    schema,
    state::{Class, Kind, Stream},
};
use event_store::Timestamp;
use models::ListedUser;
use rusqlite::{Connection, OptionalExtension as _, params};
use std::collections::BTreeMap;

/// Types and categories that are counted by name, those with the most events: clients make as many as they like.
const MOST_NAMES: i64 = 1000;

/// All but the bytes on the store's disk, at a time of day.
pub(super) fn statistics(db: &Connection, now: Timestamp) -> Result<Statistics> {
    let mut statistics = Statistics {
        total_streams: total(db, Kind::All)?,
        active_streams: total(db, Kind::Active)?,
        total_events: sum(db, EVENTS)?,
        total_users: sum(db, USERS)?,
        storage_used: sum(db, BYTES)?,
        last_activity: schema::checkpoint(db)?.last_activity.map(Timestamp::from_ticks),
        events_per_type: by_name(db, Counter::EventsOfType)?,
        events_per_category: by_name(db, Counter::EventsOfCategory)?,
    };
    without_aged(db, now, &mut statistics)?;
    Ok(statistics)
}

/// The counters know nothing of `$maxAge`: what has aged away is taken off now.
fn without_aged(db: &Connection, now: Timestamp, statistics: &mut Statistics) -> Result<()> {
    let mut aging = db.prepare_cached("SELECT id FROM stream WHERE max_age IS NOT NULL")?;
    let aging: Vec<i64> = aging.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    for id in aging {
        let Some(stream) = Stream::by_id(db, id)? else { continue };
        if stream.name.is_system() || stream.kept == 0 {
            continue;
        }
        let readable = stream.readable(db, now)?;
        let gone = stream.kept - readable.events;
        if gone == 0 {
            continue;
        }
        let kept_bytes = u64::try_from(stream.bytes_end - stream.kept_before).unwrap_or(0);
        statistics.total_events = statistics.total_events.saturating_sub(gone);
        statistics.storage_used = statistics.storage_used.saturating_sub(kept_bytes - readable.bytes);
        if let Some(category) = stream.name.category() {
            take_off(&mut statistics.events_per_category, category, gone);
        }
        let sql = "SELECT t.name, count(*) FROM event e JOIN event_type t ON t.id = e.type
                   WHERE e.stream = ? AND e.revision < ? GROUP BY e.type";
        let first = readable.first.map_or(i64::MAX as u64, |(revision, _)| revision);
        let mut types = db.prepare_cached(sql)?;
        let mut types = types.query(params![stream.id, first])?;
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

fn total(db: &Connection, kind: Kind) -> Result<u64> {
    Ok(db
        .prepare_cached("SELECT total FROM facet WHERE class = ? AND kind = ? AND value = ''")?
        .query_row(params![Class::Live as i64, kind as i64], |row| row.get(0))
        .optional()?
        .unwrap_or(0))
}

fn sum(db: &Connection, name: &str) -> Result<u64> {
    Ok(db
        .prepare_cached("SELECT value FROM counter WHERE kind = ? AND name = ?")?
        .query_row(params![Counter::Sum as i64, name], |row| row.get(0))
        .optional()?
        .unwrap_or(0))
}

fn by_name(db: &Connection, counter: Counter) -> Result<BTreeMap<String, u64>> {
    Ok(db
        .prepare_cached("SELECT name, value FROM counter WHERE kind = ? ORDER BY value DESC, name LIMIT ?")?
        .query_map([counter as i64, MOST_NAMES], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?)
}

/// A part of the list of users, by id: those whose ids begin with the prefix and come after another.
pub(super) fn users(db: &Connection, prefix: &str, after: Option<&str>, limit: usize) -> Result<UserList> {
    let kind = Counter::StreamsOfUser as i64;
    // Ids are ASCII: below this character is every id that begins with the prefix.
    let end = format!("{prefix}\u{7f}");
    let total = db
        .prepare_cached("SELECT count(*) FROM counter WHERE kind = ? AND name >= ? AND name < ?")?
        .query_row(params![kind, prefix, end], |row| row.get(0))?;
    let sql = "SELECT name, value FROM counter
               WHERE kind = ?1 AND name >= ?2 AND name < ?3 AND (?4 IS NULL OR name > ?4) ORDER BY name LIMIT ?5";
    let user = |row: &rusqlite::Row<'_>| Ok(ListedUser { user_id: row.get(0)?, streams: row.get(1)? });
    let mut users: Vec<ListedUser> = db
        .prepare_cached(sql)?
        .query_map(params![kind, prefix, end, after, limit + 1], user)?
        .collect::<rusqlite::Result<_>>()?;
    let has_more = users.len() > limit;
    users.truncate(limit);
    Ok(UserList { users, total, has_more })
}
