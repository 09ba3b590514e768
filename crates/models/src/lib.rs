//! Entities, events and DTOs: one Rust type says each fact once, and JSON, validation, documents and examples follow.

mod stream;

pub use stream::*;
