//! TLS over real sockets: HTTP, WebSockets and KurrentDB's protocol, a pair that is replaced, and clients that behave badly.

#![expect(clippy::unwrap_used, reason = "a test's helpers may panic")]

mod bed;
mod manners;
mod pair;
mod ports;
mod process;
