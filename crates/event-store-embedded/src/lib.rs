//! The embedded engine: an [`event_store::EventStore`] in one directory, or in memory.
//!
//! The **log** is the truth: segment files of records with checksums ([`format`](mod@format) says how they look), one
//! contiguous write and one flush for each group of commits that waited together. The **index** (which stream's revisions
//! stand at which positions, and where a position stands in the log) is derived: recent entries are in memory, the rest in a
//! SQLite file that can be deleted at any time and is rebuilt from the log.
//!
//! Where to start reading: `engine.rs` (the trait), `writer.rs` (how an append becomes durable), `cursor.rs` (how a
//! position is read), `recovery.rs` (what opening does).
//!
//! | file | what it is |
//! |---|---|
//! | `log/segment-00000000.log`, … | the events |
//! | `index.sqlite` | derived; delete it, and the next start builds it again. It is also a witness: a log that ends before an event that the index knows lost something, and is not opened |
//! | `ids.snapshot` | derived; the ids of recent events, saved at a clean stop |
//! | `LOCK` | locked while a process has the store open |

mod cursor;
pub mod disk;
mod engine;
pub mod format;
mod heads;
mod ids;
mod index;
mod judge;
mod key;
mod log;
mod look;
mod options;
mod page;
mod read;
mod recovery;
mod shared;
mod stage;
mod subscribe;
mod sync;
pub mod telemetry;
mod writer;

pub use engine::Engine;
pub use options::{OpenError, Options};
