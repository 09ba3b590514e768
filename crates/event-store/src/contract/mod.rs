//! The laws as tests, and the plain model that they were first held against.

mod model;

pub use model::Model;
