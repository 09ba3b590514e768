//! Uptime: services are watched, what is seen is recorded as events, and history is told from the events alone.
//!
//! Where to start reading: [`history`] (what a word means).

pub mod history;
