//! The tables, and the checkpoint that stands beside them.

use super::Result;
use event_store::{Position, StoreId};
use rusqlite::{Connection, OptionalExtension as _, params};
use uuid::Uuid;

/// Counted up with every change of the tables, or of what is put into them: a file of another version is rebuilt.
const VERSION: i64 = 5;

/// Numbers are revisions, positions and ticks of 100 ns as the port gives them. What each table is for:
/// - `stream`: one row a stream that was ever written to, or has metadata.
/// - `event`: the events that can be read now (but for `$maxAge`, which queries apply). `type` is negative in system
///   streams, so that what is not asked for is passed over without looking at the stream. `bytes_before` is a running
///   sum over the stream: the bytes of any stretch are one subtraction.
/// - `event_data`, `event_text`: what is in the events that are found by content, and its words. What is taken out of
///   either leaves no bytes behind: words are taken out of the index themselves, and not marked as gone.
/// - `posting`: for each facet (`all`, a tag, an owner, …) the streams that have it, in the order of their names.
/// - `block`: how many postings stand between two names. Totals and offsets are sums over these (see `blocks`).
/// - `counter`: sums over all streams (audience 0), and over those of each audience.
/// - `audience`, `reader`: who finds which streams (see `audience`). A stream's events below `public_from`, its past, are
///   its `insiders`' alone: `past_bytes` are their bytes, and `past` their number in `stream_type`.
const TABLES: &str = "
CREATE TABLE about (
    one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL, store BLOB,
    position INTEGER, event BLOB, looked_at INTEGER,
    events INTEGER NOT NULL, system_events INTEGER NOT NULL, last_activity INTEGER
);
CREATE TABLE stream (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
    last INTEGER, kept_from INTEGER NOT NULL, kept INTEGER NOT NULL,
    bytes_end INTEGER NOT NULL, kept_before INTEGER NOT NULL, tombstoned INTEGER NOT NULL,
    metadata TEXT, metadata_revision INTEGER, metadata_at INTEGER, max_age INTEGER,
    first_at INTEGER, last_at INTEGER, audience INTEGER NOT NULL,
    public_from INTEGER, insiders INTEGER NOT NULL, past_bytes INTEGER NOT NULL
);
CREATE INDEX stream_aging ON stream (max_age) WHERE max_age IS NOT NULL;
CREATE TABLE event_type (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE event (
    position INTEGER PRIMARY KEY, stream INTEGER NOT NULL, revision INTEGER NOT NULL,
    type INTEGER NOT NULL, created INTEGER NOT NULL, bytes_before INTEGER NOT NULL
);
CREATE UNIQUE INDEX event_of_stream ON event (stream, revision);
CREATE INDEX event_of_type ON event (type);
CREATE TABLE event_data (position INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE VIRTUAL TABLE event_text USING fts5 (text, content = '');
INSERT INTO event_text (event_text, rank) VALUES ('secure-delete', 1);
CREATE TABLE stream_type (
    stream INTEGER NOT NULL, type INTEGER NOT NULL, events INTEGER NOT NULL, past INTEGER NOT NULL,
    PRIMARY KEY (stream, type)
) WITHOUT ROWID;
CREATE INDEX type_of_the_past ON stream_type (type) WHERE past = events;
CREATE TABLE facet (
    id INTEGER PRIMARY KEY, class INTEGER NOT NULL, kind INTEGER NOT NULL, value TEXT NOT NULL,
    total INTEGER NOT NULL, head INTEGER NOT NULL, UNIQUE (class, kind, value)
);
CREATE TABLE posting (
    facet INTEGER NOT NULL, name TEXT NOT NULL, stream INTEGER NOT NULL, created INTEGER NOT NULL,
    audience INTEGER NOT NULL, PRIMARY KEY (facet, name)
) WITHOUT ROWID;
CREATE TABLE block (
    facet INTEGER NOT NULL, first TEXT NOT NULL, streams INTEGER NOT NULL, PRIMARY KEY (facet, first)
) WITHOUT ROWID;
CREATE TABLE counter (
    audience INTEGER NOT NULL, kind INTEGER NOT NULL, name TEXT NOT NULL, value INTEGER NOT NULL,
    PRIMARY KEY (audience, kind, name)
) WITHOUT ROWID;
CREATE TABLE audience (id INTEGER PRIMARY KEY, keys TEXT NOT NULL UNIQUE);
INSERT INTO audience (id, keys) VALUES (1, '[]');
CREATE TABLE reader (key TEXT NOT NULL, audience INTEGER NOT NULL, PRIMARY KEY (key, audience)) WITHOUT ROWID;
";

/// How far the rows have come. Written in the same transaction as they.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Checkpoint {
    /// Whose events they are; nothing while there are none.
    pub(super) store: Option<StoreId>,
    /// The last event taken in, and its id, by which the store is recognised.
    pub(super) last: Option<(Position, Uuid)>,
    /// Up to where everything was looked at, if that is further: what was left out stands between.
    pub(super) looked_at: Option<Position>,
    /// How many events were taken in.
    pub(super) events: u64,
    /// How many of them were the system's, by their stream or by their type.
    pub(super) system_events: u64,
    /// When the newest event was written to a stream that is not the system's, in ticks.
    pub(super) last_activity: Option<i64>,
}

impl Checkpoint {
    /// Up to where it has come.
    pub(super) fn position(&self) -> Option<Position> {
        self.last.map(|(position, _)| position).max(self.looked_at)
    }
}

/// Makes the tables in a file that has none.
///
/// Answers whether the file can be used: it is new, or of this version. Otherwise it is to be thrown away.
pub(super) fn prepare(db: &Connection) -> Result<bool> {
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables == 0 {
        let tx = db.unchecked_transaction()?;
        db.execute_batch(TABLES)?;
        db.execute("INSERT INTO about (one, version, events, system_events) VALUES (1, ?, 0, 0)", [VERSION])?;
        tx.commit()?;
        return Ok(true);
    }
    let version = db.query_row("SELECT version FROM about", [], |row| row.get::<_, i64>(0)).optional();
    Ok(matches!(version, Ok(Some(VERSION))))
}

/// Reads the checkpoint.
pub(super) fn checkpoint(db: &Connection) -> Result<Checkpoint> {
    let sql = "SELECT store, position, event, events, system_events, last_activity, looked_at FROM about";
    Ok(db.query_row(sql, [], |row| {
        let position: Option<u64> = row.get(1)?;
        let event: Option<Uuid> = row.get::<_, Option<[u8; 16]>>(2)?.map(Uuid::from_bytes);
        Ok(Checkpoint {
            store: row.get::<_, Option<[u8; 16]>>(0)?.map(|id| StoreId(Uuid::from_bytes(id))),
            last: position.map(Position::from_raw).zip(event),
            events: row.get(3)?,
            system_events: row.get(4)?,
            last_activity: row.get(5)?,
            looked_at: row.get::<_, Option<u64>>(6)?.map(Position::from_raw),
        })
    })?)
}

/// Writes the checkpoint; belongs in the transaction of the rows that it covers.
pub(super) fn set_checkpoint(db: &Connection, checkpoint: &Checkpoint) -> Result<()> {
    let sql = "UPDATE about SET store = ?, position = ?, event = ?, events = ?, system_events = ?, last_activity = ?,
               looked_at = ?";
    db.prepare_cached(sql)?.execute(params![
        checkpoint.store.map(|id| id.0.into_bytes()),
        checkpoint.last.map(|(position, _)| position.raw()),
        checkpoint.last.map(|(_, id)| id.into_bytes()),
        checkpoint.events,
        checkpoint.system_events,
        checkpoint.last_activity,
        checkpoint.looked_at.map(Position::raw),
    ])?;
    Ok(())
}
