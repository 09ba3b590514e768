//! Who calls, over real sockets: with `AUTH_MODE=required`, and without.

#![expect(clippy::unwrap_used, reason = "a test's helpers may panic")]

mod bed;
mod face;
mod http;
mod limits;
mod sockets;
mod trail;
