//! Persistent subscriptions: the node keeps for a *group* of consumers how far a stream (or `$all`) is worked off, deals its
//! events out among them, and sends each again until somebody acknowledges it, or parks it.
//!
//! Everything is reached through the port, and all state is in streams, named as KurrentDB names them ([`records`]): the
//! groups themselves, each group's checkpoint, and its parked messages. Delivery is *at least once*: a checkpoint never
//! passes an event that is not settled, and a parked message leaves its stream only when its replay is settled.
//!
//! Where to start reading: [`machine`] decides everything and does no I/O; [`group`] is the task that feeds it and does what
//! it says; [`registry`] holds the groups of a node.

mod definition;
mod feed;
mod group;
pub(crate) mod info;
mod ledger;
mod machine;
#[cfg(test)]
mod machine_tests;
mod parked;
mod place;
mod records;
mod registry;
mod strategy;

pub(crate) use definition::{Definition, GroupKey, Settings, Source, Start, Strategy};
pub(crate) use group::{Action, Delivery, Handle, Joining, Shared};
pub(crate) use place::Place;
pub(crate) use records::CONFIG_STREAM;
pub(crate) use registry::Registry;

use event_store::ErrorCode;

/// Why something could not be done with a group.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum GroupError {
    /// What was asked for makes no sense for this group.
    Failed(String),
    /// There is no such group.
    Missing,
    /// There is such a group already.
    Exists,
    /// It has as many consumers as it may have.
    Full,
    /// It was deleted, changed or broken while it was used.
    Dropped,
    /// The node has as many as it may have of something.
    TooMany(String),
    /// The store failed.
    Store(event_store::Error),
}

impl GroupError {
    /// What it is called in a trail: as KurrentDB calls it, where it is not the store's.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Failed(_) => "persistent-subscription-failed",
            Self::Missing => "persistent-subscription-does-not-exist",
            Self::Exists => "persistent-subscription-exists",
            Self::Full => "maximum-subscribers-reached",
            Self::Dropped => "persistent-subscription-dropped",
            Self::TooMany(_) => ErrorCode::RateLimited.slug(),
            Self::Store(error) => error.code().slug(),
        }
    }
}

impl From<event_store::Error> for GroupError {
    fn from(error: event_store::Error) -> Self {
        Self::Store(error)
    }
}
