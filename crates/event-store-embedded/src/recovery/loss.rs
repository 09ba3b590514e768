//! What a log has lost, as far as its index can tell.

use super::{Fault, scan::Scan};
use crate::{
    format::HEADER_LEN,
    index::Mark,
    log::{Log, file_name},
};

/// Events that were safe on disk and are not there any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loss {
    /// The file that should have them, or the first of them.
    pub(crate) file: String,
    /// Where they should begin in it.
    pub(crate) offset: u32,
    /// The position of the first that is gone.
    pub(crate) first: u64,
    /// The position of the last that the index knows: those after it may be gone too.
    pub(crate) last: u64,
}

impl Loss {
    /// Looks where the log ends that should go as far as `mark`.
    pub(super) fn measure(log: &Log, mark: &Mark) -> Result<Self, Fault> {
        let last = mark.position.saturating_sub(1);
        let newest = log.count().saturating_sub(1);
        let number = mark.segment.min(newest);
        let (offset, end) = Scan::end_of(log, number)?;
        let whole = log.segment(number).is_some_and(|segment| offset >= segment.len);
        Ok(if end > last || (whole && number < newest) {
            // As many events, and others: the log went on from a copy that was older than the index.
            Self {
                file: file_name(mark.segment),
                offset: mark.last.map_or(offset, |last| last.0),
                first: last,
                last,
            }
        } else if number < mark.segment && whole {
            Self { file: file_name(number + 1), offset: HEADER_LEN as u32, first: end, last }
        } else {
            Self { file: file_name(number), offset, first: end, last }
        })
    }
}
