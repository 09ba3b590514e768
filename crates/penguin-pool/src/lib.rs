//! The Penguin Pool backend: one module a feature, wired together in [`app`].
//!
//! Where to start reading: [`app`] (what is built, in which order), then [`streams`] (a feature from its routes to the
//! store), then [`catalogue`] (a read model).

pub mod app;
pub mod audit;
pub mod catalogue;
pub mod cli;
pub mod config;
pub mod copy;
pub mod health;
pub mod http;
pub mod key_store;
pub mod kurrentdb;
pub mod limits;
pub mod ops;
pub mod security;
pub mod serve;
pub mod server;
pub mod status;
pub mod store;
pub mod streams;
pub mod uptime;
pub mod users;
pub mod websocket;
