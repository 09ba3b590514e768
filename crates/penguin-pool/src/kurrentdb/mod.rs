//! KurrentDB's protocol over the store of this process: on a port of its own ([`Listening`]), and at `/kurrentdb/*` the
//! node's own HTTP interface, passed through.
//!
//! With the embedded store the node is in this process ([`kurrentdb_protocol::http`]); with a KurrentDB server it is the one
//! that the settings name. Nothing else can be reached, by whatever path. This feature is about HTTP itself, so its service ([`passage`]) speaks of requests and answers.

mod listener;
mod passage;
mod remote;
mod routes;
mod trail;
mod users;

pub use listener::{Listening, Parts, Wanted, wanted};
pub use passage::{NotPassed, Passage};
pub use routes::routes;
