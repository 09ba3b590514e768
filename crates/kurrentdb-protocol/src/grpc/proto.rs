//! The messages and services, made from `proto/` at build time. The clients are here too, for what speaks to a node.
#![allow(
    missing_docs,
    unreachable_pub,
    rust_2018_idioms,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]

include!(concat!(env!("OUT_DIR"), "/protocol.rs"));
