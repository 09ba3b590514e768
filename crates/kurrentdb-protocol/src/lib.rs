//! The face: what a KurrentDB node says to its clients, over any event store, so that they work unchanged.
//!
//! [`Face`] speaks gRPC ([`grpc`]), and [`http`] is the node's HTTP interface. [`serve`] puts both on one port, HTTP/2
//! and HTTP/1.1, as KurrentDB does, in plain or over whatever wires it is given ([`serve_over`]). Neither decides who may ask: gRPC asks a [`Gate`] for every call, credentials
//! in, a store bound to their owner out; whoever serves the HTTP interface hands it a store that is bound already.
//!
//! Where to start reading: [`Face`], then `grpc/streams.rs` and `grpc/read.rs`.

mod cluster;
mod face;
mod gate;
pub mod grpc;
pub mod http;
mod persistent;
mod serve;
mod trail;
mod users;

pub use cluster::{Cluster, Member, MemberState};
pub use face::{Face, FaceOptions, Limits, NodeService};
pub use gate::{Credentials, Denial, Entry, Gate, OpenGate, Refusal, Visitor};
pub use serve::{Served, Wire, Wires, serve, serve_over};
pub use trail::{Deed, NoTrail, Trail};
pub use users::{NewUser, UserDetails, UserError, Users};

/// The version of KurrentDB whose interface this is: clients compare it with the ones that brought a feature.
pub const KURRENTDB_VERSION: &str = "26.1.0";
