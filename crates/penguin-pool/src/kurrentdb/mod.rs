//! `/kurrentdb/*`: the KurrentDB node's own HTTP interface, passed through.
//!
//! With the embedded store the node is in this process ([`kurrentdb_protocol::http`]), so nothing else can be reached by
//! whatever path. This feature is about HTTP itself, so its service ([`passage`]) speaks of requests and answers.

mod passage;
mod routes;

pub use passage::Passage;
pub use routes::routes;
