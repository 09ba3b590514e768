//! Health: what was measured, nothing assumed.
//!
//! The store is really read and written ([`probe`]), at most once in five seconds however often it is asked, and callers
//! that come meanwhile share the answer. The listeners are really asked, through the network, and what is watched besides is
//! told as uptime knows it.

mod parts;
pub mod probe;
mod routes;
mod service;

pub use parts::{Listener, OpenSockets, WatchedServices};
pub use probe::{Probe, ReadModels};
pub use routes::routes;
pub use service::Health;
