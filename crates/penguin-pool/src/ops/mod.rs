//! Operations: request ids, logs, metrics, limits.
