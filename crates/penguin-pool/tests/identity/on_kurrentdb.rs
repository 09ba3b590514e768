//! Who calls, as HTTP is told, and what of it is written down, with accounts and trail kept in a KurrentDB. Sockets and
//! KurrentDB's protocol, which that has itself, ask the same accounts.
#![allow(clippy::duplicate_mod, reason = "the same tests, on another store")]

#[path = "http.rs"]
mod http;
#[path = "trail.rs"]
mod trail;

const BACKEND: test_support::Backend = test_support::Backend::Kurrentdb;
