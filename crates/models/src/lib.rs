//! Entities, events and DTOs: one Rust type says each fact once, and JSON, validation, documents and examples follow.

mod audit;
mod event;
mod health;
mod identity;
mod socket;
mod stream;
mod time;
mod uptime;
mod user;

pub use audit::*;
pub use event::*;
pub use health::*;
pub use identity::*;
pub use socket::*;
pub use stream::*;
pub use time::DateTime;
pub use uptime::*;
pub use user::*;
