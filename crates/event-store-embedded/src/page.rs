//! How much a page may hold.

use event_store::{Error, Result};

/// Counts what a page holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    limit: usize,
    max_bytes: usize,
    events: usize,
    bytes: usize,
}

impl Budget {
    /// A page of at most so many events and bytes.
    pub(crate) fn new(limit: usize, max_bytes: usize) -> Result<Self> {
        if limit == 0 {
            return Err(Error::InvalidArgument("a page holds at least one event".into()));
        }
        Ok(Self { limit, max_bytes, events: 0, bytes: 0 })
    }

    /// Takes an event of so many bytes, if it fits. The first always does.
    pub(crate) fn take(&mut self, bytes: usize) -> bool {
        let bytes = self.bytes.saturating_add(bytes);
        let fits = self.events == 0 || (self.events < self.limit && bytes <= self.max_bytes);
        if fits {
            self.events += 1;
            self.bytes = bytes;
        }
        fits
    }

    pub(crate) fn is_full(&self) -> bool {
        self.events >= self.limit
    }
}
