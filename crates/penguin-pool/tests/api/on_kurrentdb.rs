//! The same tests on a store by way of KurrentDB's official client and its protocol. Left out are those in which the store
//! cannot matter (documents, malformed requests), and those that count all that there is: the store's own id is an event
//! there. `tests/cluster` has reading, finding and feeds, and what KurrentDB does another way.
#![allow(clippy::duplicate_mod, reason = "the same tests, on another store")]

#[path = "append.rs"]
mod append;
#[path = "change.rs"]
mod change;
#[path = "create.rs"]
mod create;
#[path = "privacy.rs"]
mod privacy;
#[path = "public.rs"]
mod public;
#[path = "users.rs"]
mod users;

const STORE: crate::support::Kind = crate::support::Kind::Kurrentdb;
