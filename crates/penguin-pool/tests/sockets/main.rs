//! Sockets, over real connections.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

mod changes;
mod client;
mod health;
mod outage;
mod serve;
mod service;
mod silent;
mod streams;
mod trail;
