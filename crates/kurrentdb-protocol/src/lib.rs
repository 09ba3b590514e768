//! The face: what a KurrentDB node says to its clients, over any event store.
//!
//! So far that is the node's HTTP interface ([`http`]), for reading. Its gRPC services, and a listener of its own on
//! KurrentDB's port, are to come: until then nothing here speaks gRPC, and `/info` names no feature that is not there.
//!
//! Whoever serves this decides who may ask: the store that is handed in is bound to a caller already.

pub mod http;
