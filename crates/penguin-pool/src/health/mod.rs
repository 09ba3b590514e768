//! Health: what was measured, nothing assumed.
//!
//! The store is really read and written ([`probe`]), at most once in five seconds however often it is asked, and callers
//! that come meanwhile share the answer.

pub mod probe;
mod routes;
mod service;

pub use probe::{Probe, ReadModels};
pub use routes::routes;
pub use service::{Health, OpenSockets};
