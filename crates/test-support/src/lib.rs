//! For tests alone.

mod clock;
#[cfg(all(feature = "kurrentdb", feature = "proxy"))]
mod cluster;
#[cfg(feature = "kurrentdb")]
mod kurrentdb;
#[cfg(feature = "service")]
mod line;
#[cfg(feature = "proxy")]
mod proxy;
#[cfg(feature = "service")]
mod service;

pub use clock::{MockClock, SeededIds};
#[cfg(all(feature = "kurrentdb", feature = "proxy"))]
pub use cluster::{Change, Nodes};
#[cfg(all(feature = "kurrentdb", feature = "service"))]
pub use kurrentdb::Backend;
#[cfg(feature = "kurrentdb")]
pub use kurrentdb::{Node, as_kurrentdb};
#[cfg(feature = "service")]
pub use line::Line;
#[cfg(feature = "proxy")]
pub use proxy::Proxy;
#[cfg(feature = "service")]
pub use service::{Builder, TestService};
