//! Streams, as the API shows them.

mod description;

pub use description::{StreamDescription, StreamStatus};
