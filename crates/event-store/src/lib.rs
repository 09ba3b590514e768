//! The port: what an event store is, without saying how one is built.
//!
//! An event store keeps *events* in *streams*. Each event has a *revision* in its stream (0, 1, 2, …) and a
//! *position* in the order of everything that the store holds, `$all`. The semantics are KurrentDB's; the laws are
//! written on [`EventStore`] and exist once as tests in the `contract` feature, which every engine runs.
//!
//! Nothing here does I/O, and nothing here knows a particular event: only bytes, names, revisions and positions.
//!
//! Where to start reading: [`EventStore`], then [`NewEvent`] and [`RecordedEvent`], then [`Error`].

mod append;
mod capability;
mod clock;
mod code;
#[cfg(feature = "contract")]
pub mod contract;
mod derived;
mod error;
mod event;
mod filter;
mod metadata;
mod name;
mod position;
mod read;
mod store;
mod subscribe;

pub use append::{Appended, AppendedMany, Deleted, ExpectedState, StreamWrite};
pub use capability::{Capabilities, StoreState, StoreStatistics};
pub use clock::{Clock, IdSource, RandomIds, SystemClock, Timestamp};
pub use code::ErrorCode;
pub use derived::{Derived, category_of, derived_link};
pub use error::{Error, Result};
pub use event::{ContentType, EventType, NewEvent, RecordedEvent, ResolvedEvent};
pub use filter::{EventFilter, FilterBy, Matcher};
pub use metadata::{Acl, METADATA_EVENT_TYPE, SOFT_DELETED, StreamMetadata, VersionedMetadata};
pub use name::{InvalidName, MAX_NAME_BYTES, StreamName};
pub use position::{Position, Revision, StoreId, TOMBSTONE_REVISION};
pub use read::{
    AllPage, DEFAULT_PAGE_BYTES, Direction, ReadAll, ReadFrom, ReadStream, StreamInfo, StreamPage,
};
pub use store::EventStore;
pub use subscribe::{SubscribeAll, SubscribeStream, Subscription, SubscriptionMessage};
