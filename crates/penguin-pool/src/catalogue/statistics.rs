//! How much there is: counters that are kept as events come and go.

use super::{
    Result, Statistics,
    counts::{BYTES, Counter, EVENTS, USERS},
    schema,
    state::{Class, Kind, Stream},
};
use event_store::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};
use std::collections::BTreeMap;

/// The types of user streams, `user-{userId}-{type}` or `user-{userId}-{type}-{category}`.
const USER_STREAM_TYPES: [&str; 5] = ["profile", "preferences", "activity", "loans", "offers"];

/// Types and categories that are counted by name, those with the most events: clients make as many as they like.
const MOST_NAMES: i64 = 1000;

/// The user whose stream this is, if it is a user's: the first part that is a type ends the user's id.
pub(super) fn user_of(stream: &str) -> Option<&str> {
    let rest = stream.strip_prefix("user-")?;
    let mut end = 0_usize;
    for part in rest.split('-') {
        if USER_STREAM_TYPES.contains(&part) {
            let user = &rest[..end.saturating_sub(1)];
            let sound = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            return (1..=64).contains(&user.len()).then_some(user).filter(|user| user.chars().all(sound));
        }
        end += part.len() + 1;
    }
    None
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_stream_names_its_user_up_to_the_first_type() {
        assert_eq!(user_of("user-anna-profile"), Some("anna"));
        assert_eq!(user_of("user-anna-b-loans-profile"), Some("anna-b"));
        assert_eq!(user_of("user-profile"), None);
        assert_eq!(user_of("user--profile"), None);
        assert_eq!(user_of("user-anna"), None);
        assert_eq!(user_of("user-profile-loans"), None);
        assert_eq!(user_of("users-anna-profile"), None);
    }
}
