//! A history as it is kept, so that a start need not read years of words: merged intervals, and nothing that follows
//! from them.

use super::{History, Interval, Sight, Sums, length};
use models::{PerformanceGrade, ServiceState};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A history to be kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    grace: i64,
    words: u64,
    intervals: Vec<KeptInterval>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeptInterval {
    id: Uuid,
    status: ServiceState,
    start: i64,
    end: i64,
    same_since: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    response_time: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grade: Option<PerformanceGrade>,
}

impl History {
    /// The history to be kept.
    #[must_use]
    pub fn keep(&self) -> Kept {
        let intervals = self.intervals.iter().map(|i| KeptInterval {
            id: i.id,
            status: i.status,
            start: i.start,
            end: i.end,
            same_since: i.same_since,
            response_time: i.sight.response_time,
            error: i.sight.error.as_deref().map(str::to_owned),
            grade: i.sight.grade,
        });
        Kept { grace: self.grace, words: self.words, intervals: intervals.collect() }
    }

    /// A history that was kept, to be painted on. Nothing if it was painted with another grace, or is none: intervals
    /// that are empty or overlap.
    #[must_use]
    pub fn restore(grace: i64, kept: Kept) -> Option<Self> {
        let mut history = Self { words: kept.words, ..Self::new(grace) };
        if history.grace != kept.grace {
            return None;
        }
        let (mut before, mut last_end) = (Sums::default(), i64::MIN);
        for KeptInterval { id, status, start, end, same_since, response_time, error, grade } in kept.intervals
        {
            if start >= end || start < last_end {
                return None;
            }
            let sight = Sight { response_time, error: error.map(Into::into), grade };
            history.intervals.push_back(Interval { id, status, start, end, sight, same_since, before });
            before = before.plus(status, length(start, end));
            last_end = end;
        }
        Some(history)
    }
}
