//! The face over real sockets, spoken to by the official client, and by a bare one for what that does not say.
#![allow(clippy::result_large_err, reason = "tonic's clients answer with a bare `Status`")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what fails here fails the test")]

mod appends;
mod batches;
mod derived;
mod input;
mod malformed;
mod node;
mod persistent;
mod persistent_failures;
mod reads;
mod subscriptions;
mod support;
mod trail;
mod v2;
