//! Users' data: whose it is, what it says, and what is asked of it.

mod api;
mod data;
mod id;

pub use api::*;
pub use data::*;
pub use id::{USER_STREAM_PREFIX, UserDataCategory, UserId, UserStream};
