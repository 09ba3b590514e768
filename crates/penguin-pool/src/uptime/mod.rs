//! Uptime: services are watched, what is seen is recorded as events, and history is told from the events alone.
//!
//! ```text
//! checks → watcher ─ word → recorder ─ event → stream service-uptime-{name}
//!                      │        └ only while it holds the lease      │
//!                      ▼                                             ▼
//!                    board ◄──────────── word ─────────────────── follower
//!                      └→ answers, badges, changes
//! ```
//!
//! Where to start reading: [`history`] (what a word means), then `watch/watcher.rs` (how words come about), then
//! `recorder.rs` (how they are kept), then [`lease`] (who keeps them).

mod answers;
mod badge;
mod board;
mod follow;
pub mod history;
pub mod lease;
mod recorder;
mod routes;
mod service;
mod snapshot;
mod streams;
pub mod target;
#[cfg(test)]
mod tests;
pub mod watch;
mod words;

pub use answers::UptimeError;
pub use board::{Board, GRACE, Service, StatusChange};
pub use routes::routes;
pub use service::{Options, Parts, Uptime};
pub use streams::LEASE_STREAM;
