//! One check of one service, and what it amounts to.

use crate::uptime::{history::Sight, target::Thresholds};
use event_store::{Clock, Error, ErrorCode};
use models::{PerformanceGrade, ServiceState};
use std::time::Duration;

/// Checks a service once. How long it takes is the caller's to measure and to bound.
#[async_trait::async_trait]
pub trait Check: Send + Sync + std::fmt::Debug + 'static {
    /// Checks it.
    ///
    /// # Errors
    /// What is wrong, in words that may be shown.
    async fn check(&self) -> Result<(), String>;
}

/// What one check saw.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// How it found the service.
    pub status: ServiceState,
    /// When it began, in milliseconds since the Unix epoch.
    pub at: i64,
    /// What it saw.
    pub sight: Sight,
}

/// Makes a check, and grades it: slower than acceptable is degraded, an error or no answer in time is down.
pub async fn look(check: &dyn Check, timeout: Duration, thresholds: Thresholds, clock: &dyn Clock) -> Seen {
    let at = clock.now().millis();
    let began = clock.monotonic();
    let outcome = tokio::time::timeout(timeout, check.check()).await;
    let took = millis(clock.monotonic().saturating_sub(began));
    let (status, grade, error) = match outcome {
        Ok(Ok(())) => grade(took, thresholds),
        Ok(Err(error)) => (ServiceState::Down, PerformanceGrade::Disconnected, Some(error)),
        Err(_) => {
            let late = format!("no answer within {} ms", timeout.as_millis());
            (ServiceState::Down, PerformanceGrade::Disconnected, Some(late))
        }
    };
    let sight = Sight { response_time: Some(took), error: error.map(Into::into), grade: Some(grade) };
    Seen { status, at, sight }
}

fn grade(took: f64, thresholds: Thresholds) -> (ServiceState, PerformanceGrade, Option<String>) {
    let up = |grade| (ServiceState::Up, grade, None);
    match thresholds {
        t if took <= t.excellent => up(PerformanceGrade::Excellent),
        t if took <= t.good => up(PerformanceGrade::Good),
        t if took <= t.acceptable => up(PerformanceGrade::Acceptable),
        t => {
            let slow = format!("the answer took {took} ms, and should take at most {} ms", t.acceptable);
            (ServiceState::Degraded, PerformanceGrade::Slow, Some(slow))
        }
    }
}

/// Milliseconds with two digits after the point.
pub(crate) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100_000.0).round() / 100.0
}

/// What a store's failure is, in words that may be shown: the parts of an internal error are for the log alone.
pub(crate) fn describe(error: &Error) -> String {
    if error.code() == ErrorCode::InternalError {
        tracing::error!(%error, "a check of the event store failed inside the store");
        return "the event store failed; the log says how".to_owned();
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ServiceState::{Degraded, Up};

    #[test]
    fn a_grade_follows_from_the_thresholds() {
        let thresholds = Thresholds { excellent: 100.0, good: 500.0, acceptable: 500.0 };
        for (took, status, graded) in [
            (100.0, Up, PerformanceGrade::Excellent),
            (100.01, Up, PerformanceGrade::Good),
            (500.0, Up, PerformanceGrade::Good),
            (500.01, Degraded, PerformanceGrade::Slow),
        ] {
            let (s, g, error) = grade(took, thresholds);
            assert_eq!((s, g), (status, graded), "{took}");
            assert_eq!(error.is_some(), status == Degraded);
        }
    }
}
