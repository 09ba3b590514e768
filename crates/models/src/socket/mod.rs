//! What is said over Socket.IO and plain WebSockets.

mod health;
mod subscription;

pub use health::*;
pub use subscription::*;
