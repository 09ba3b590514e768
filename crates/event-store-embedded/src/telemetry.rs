//! The engine's metrics, by name, through the `metrics` facade.

/// Histogram: seconds that a flush of the log took.
pub const FLUSH_SECONDS: &str = "event_store_flush_seconds";
/// Counter: groups of commits that were written and flushed together.
pub const GROUP_COMMITS: &str = "event_store_group_commits_total";
/// Counter: events written.
pub const EVENTS: &str = "event_store_events_total";
/// Counter: bytes written to the log.
pub const BYTES: &str = "event_store_bytes_total";
/// Gauge: index rows that are in memory and not yet in the index's file.
pub const INDEX_LAG: &str = "event_store_index_lag_rows";

/// Says what each metric is, for a recorder that shows it.
pub fn describe() {
    use metrics::Unit::{Bytes, Count, Seconds};
    metrics::describe_histogram!(FLUSH_SECONDS, Seconds, "Time that a flush of the log took");
    metrics::describe_counter!(GROUP_COMMITS, Count, "Groups of commits written and flushed together");
    metrics::describe_counter!(EVENTS, Count, "Events written");
    metrics::describe_counter!(BYTES, Bytes, "Bytes written to the log");
    metrics::describe_gauge!(INDEX_LAG, Count, "Index rows in memory that are not yet in the index's file");
}
