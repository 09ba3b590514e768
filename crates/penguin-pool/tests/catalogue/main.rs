//! The stream catalogue against what the store itself says.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

mod histories;
mod reference;
