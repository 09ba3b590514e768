//! Who calls, over real sockets: with `AUTH_MODE=required`, and without.

#![expect(clippy::unwrap_used, reason = "a test's helpers may panic")]

mod bed;
mod ends;
mod face;
mod groups;
mod http;
mod limits;
mod manage;
mod on_kurrentdb;
mod places;
mod sockets;
mod trail;

/// What keeps the events of the tests in this module's files.
const BACKEND: test_support::Backend = test_support::Backend::Embedded;
