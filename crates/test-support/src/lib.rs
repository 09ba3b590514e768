//! For tests alone.

mod clock;

pub use clock::{MockClock, SeededIds};
