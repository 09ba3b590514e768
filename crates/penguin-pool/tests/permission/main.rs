//! Who may do what, over real sockets, by each operation of the API.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

mod calls;
mod face;
mod matrix;
mod others;
mod sockets;
mod timing;
mod world;
