//! `/api/streams`: event streams over HTTP.
