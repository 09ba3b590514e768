//! Watching: checks on an interval, and what is said of what they see.

mod check;
mod hysteresis;
mod kurrentdb;
mod network;
mod store;
mod watcher;

pub use check::{Check, Seen, look};
pub(super) use check::{describe, millis};
pub use hysteresis::{Change, Hysteresis, Patience};
pub(super) use kurrentdb::KurrentDbCheck;
pub(super) use network::{HttpCheck, SocketIoCheck, TcpCheck, client, own_client};
pub(super) use store::StoreCheck;
pub(super) use watcher::{Answer, Request, Watcher};
pub use watcher::{Pace, SAID_EVERY};
