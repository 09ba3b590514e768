//! Entities, events and DTOs: one Rust type says each fact once, and JSON, validation, documents and examples follow.

mod stream;
mod time;

pub use stream::*;
pub use time::DateTime;
