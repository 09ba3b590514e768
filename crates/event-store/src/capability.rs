//! What a store can do, how it is, and how much it holds.

/// What this store can do beyond what every store must.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Append to several streams atomically ([`crate::EventStore::append_many`] with more than one stream).
    pub multi_stream_append: bool,
    /// Read and follow derived streams ([`crate::Derived`]; law 18). Without it their names are like any other's.
    pub derived_streams: bool,
    /// Know at once how much it holds ([`crate::EventStore::statistics`]). Without it that is counted by reading, which takes
    /// its time.
    pub counts: bool,
}

/// How the store is, as far as it is known without asking it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreState {
    /// It reads and writes.
    Ready,
    /// It reads, and refuses to write, for the reason given: a flush failed, say.
    ReadOnly(String),
    /// The first connection is being made.
    Connecting,
    /// The connection was lost and is being made again, for the reason given.
    Reconnecting(String),
    /// It was closed.
    Closed,
}

/// How much a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreStatistics {
    /// Events written since the store was made, those of the system and those no longer readable included.
    pub events: u64,
    /// Bytes that the store takes on its disk (0 for one in memory).
    pub bytes_on_disk: u64,
}
