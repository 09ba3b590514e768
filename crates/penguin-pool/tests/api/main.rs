//! The API over real sockets: one file a resource.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

mod append;
mod audit;
mod change;
mod create;
mod documents;
mod faults;
mod feeds;
mod find;
mod guarded;
mod key_store;
mod on_kurrentdb;
mod privacy;
mod public;
mod read;
mod robust;
mod support;
mod users;
mod users_limits;

/// What keeps the events of the tests in this module's files.
const STORE: support::Kind = support::Kind::Model;
