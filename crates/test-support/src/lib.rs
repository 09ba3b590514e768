//! For tests alone.

mod clock;
#[cfg(feature = "service")]
mod line;
#[cfg(feature = "proxy")]
mod proxy;
#[cfg(feature = "service")]
mod service;

pub use clock::{MockClock, SeededIds};
#[cfg(feature = "service")]
pub use line::Line;
#[cfg(feature = "proxy")]
pub use proxy::Proxy;
#[cfg(feature = "service")]
pub use service::{Builder, TestService};
