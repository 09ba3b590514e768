//! Streams, as the API shows them.

mod description;
mod entity;
mod event;
mod json;
mod name;
mod query;
mod state;

pub use description::{StreamDescription, StreamStatus};
pub use entity::*;
pub use event::*;
pub use json::JsonObject;
pub(crate) use json::{all_required, blank_is_none};
pub use name::{
    EventId, EventTypeName, Mark, NewStreamName, PageLimit, Principal, ReadDirection, StreamNameParam, Tag,
};
pub use query::*;
pub use state::StreamState;
