//! `/api/status`.
