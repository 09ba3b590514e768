//! The port over a KurrentDB server or cluster, through the official client. The only crate that names it.
//!
//! Positions and idempotency are KurrentDB's here: a position is one of its commit positions, and how long an id is
//! remembered for `Any` is its server's setting.
//!
//! Where to start reading: [`KurrentDb`] in `store.rs`, then `connection.rs`, `read.rs` and `subscribe.rs`.

mod connection;
mod convert;
mod errors;
mod options;
mod read;
mod store;
mod subscribe;
mod verbatim;

pub use options::{InvalidConnection, Options};
pub use store::{ID_STREAM, KurrentDb};
