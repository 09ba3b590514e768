//! The HTTP kit: extractors, answers, the error body, documents. The only module that names aide.
//!
//! A feature writes its handlers in [`endpoint!`](crate::endpoint), lists them in [`Routes`] (route and document in
//! one line), and answers with [`Success`], [`Created`] or [`ApiError`]. [`build`] makes of all routes a router and
//! its [`Documents`], and [`context`] is the layer that gives each request its id and its clock.
//!
//! Where to start reading: `routes`, then `extract`, then `error`.

mod answer;
mod context;
mod documents;
mod error;
mod etag;
mod extract;
mod feed;
mod finish;
mod query;
mod routes;
mod strict;
#[cfg(test)]
mod tests;

pub use answer::{Checked, Created, Download, Success, Svg};
pub use context::{Context, RequestId, context, now, outside};
pub use documents::{Documents, build, nothing};
pub use error::{ApiError, Detail, ErrorBody};
pub use etag::{Held, Preconditions, Tagged, Tags};
pub(crate) use extract::discard;
pub(crate) use extract::faulty;
pub use extract::{
    BODY_LIMIT, CameFrom, Presented, ValidJson, ValidPath, ValidQuery, credentials, valid_text,
};
pub use feed::{LastEventId, Sse, SseFrame};
pub(crate) use routes::camel_case;
pub use routes::{OperationDoc, Routes, is_open};
