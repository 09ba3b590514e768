//! The stream catalogue against what the store itself says.
#![expect(clippy::unwrap_used, reason = "a test's helpers may panic")]

mod damage;
mod forgotten;
mod histories;
mod left_out;
mod reference;
mod scenes;
mod world;
