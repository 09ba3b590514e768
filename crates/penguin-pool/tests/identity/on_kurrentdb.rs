//! Who calls, as HTTP is told, with the accounts kept in a KurrentDB. Sockets and KurrentDB's protocol, which that has itself,
//! ask the same accounts.
#![allow(clippy::duplicate_mod, reason = "the same tests, on another store")]

#[path = "http.rs"]
mod http;

const BACKEND: test_support::Backend = test_support::Backend::Kurrentdb;
