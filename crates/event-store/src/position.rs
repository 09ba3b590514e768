//! Where an event stands: in its stream, and in the order of everything.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An event's number in its stream: 0 for the first, without gaps, never used twice (not even after a delete).
pub type Revision = u64;

/// The revision of the `$streamDeleted` event that ends a tombstoned stream for good (KurrentDB's `i64::MAX`).
pub const TOMBSTONE_REVISION: Revision = i64::MAX as u64;

/// An event's place in the order of everything that the store holds.
///
/// Opaque and ordered: of two events the later written has the greater position, and nobody computes with one
/// (an engine may leave gaps). The numbers of one store mean nothing to another: keep them with a [`StoreId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(u64);

impl Position {
    /// A position that a store gave out, read back from where it was kept (at most `i64::MAX`).
    #[must_use]
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// The number to keep or to show.
    #[must_use]
    pub const fn raw(self) -> u64 {
        self.0
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Which store a position belongs to: made when the store is, and never changed.
///
/// A checkpoint carries it, and one that names another store means: rebuild from nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StoreId(pub Uuid);

impl std::fmt::Display for StoreId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
