//! The service with `EVENT_STORE=kurrentdb`, over real sockets: a started service, the official client, a wire that fails,
//! KurrentDB's protocol, and the embedded engine behind it, in a process of its own where it is to be killed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what fails here fails the test")]

mod away;
mod copy;
mod node;
mod outages;
mod paths;
mod support;
mod trail;
