//! What is asked, and the answers: all from the histories on the board, none from the store.

use super::{
    badge,
    board::Service,
    history::{Interval, Window},
    lease::Role,
    service::Uptime,
    watch::{Answer, Request, Seen, describe, look, millis},
    words,
};
use crate::security::{Caller, Denied, Duty};
use models::{
    CurrentStatus, CurrentStatuses, DateTime, Hours, ServiceCheckResult, ServiceIncidents, ServiceState,
    ServiceTimeline, ServiceUptime, ServiceUptimeIncident, ServiceUptimeRecord, ServiceUptimeSummary,
    ServiceUptimeTimeline, StatusCheck, StoreTest, StoreTestResults, UptimeStatistics, UptimeStats,
    UptimeStreamResult, UptimeStreams, UptimeSummary, WatchedHealth,
};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, PoisonError},
    time::Duration,
};
use tokio::sync::oneshot;

/// How many incidents are told at most.
const INCIDENTS: usize = 1_000;
/// How long an answer waits for history to be read after a start.
const LOADED_WITHIN: Duration = Duration::from_secs(5);
/// How long a check waits to be recorded.
const RECORDED_WITHIN: Duration = Duration::from_secs(2);

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UptimeError {
    /// Nothing of this name is watched.
    #[error("Service '{0}' does not exist")]
    ServiceNotFound(String),
    /// The streams were not read to their ends yet, so any sum would be wrong.
    #[error("The history of services is still being read from the event store; try again soon")]
    StillReading,
}

impl Uptime {
    /// Every service's uptime in a window that ends now.
    ///
    /// # Errors
    /// [`UptimeError::StillReading`] shortly after a start.
    pub async fn summary(&self, hours: Hours) -> Result<UptimeSummary, UptimeError> {
        self.loaded().await?;
        let (now, window) = self.window(hours);
        let services = self.board.services().iter().map(|s| summarize(s, window)).collect();
        Ok(UptimeSummary { timestamp: now, period: hours.period(), services })
    }

    /// One service's uptime in a window that ends now.
    ///
    /// # Errors
    /// [`UptimeError::ServiceNotFound`]; [`UptimeError::StillReading`] shortly after a start.
    pub async fn service(&self, name: &str, hours: Hours) -> Result<ServiceUptime, UptimeError> {
        let service = self.find(name)?;
        self.loaded().await?;
        let (now, window) = self.window(hours);
        Ok(ServiceUptime { timestamp: now, period: hours.period(), service: summarize(service, window) })
    }

    /// One service's intervals in a window that ends now.
    ///
    /// # Errors
    /// [`UptimeError::ServiceNotFound`]; [`UptimeError::StillReading`] shortly after a start.
    pub async fn timeline(&self, name: &str, hours: Hours) -> Result<ServiceTimeline, UptimeError> {
        let service = self.find(name)?;
        self.loaded().await?;
        let (now, window) = self.window(hours);
        let history = service.history();
        let totals = history.totals(window);
        let (start, end) = history.bounds(window);
        let timeline = ServiceUptimeTimeline {
            service_name: service.name().to_string(),
            total_uptime: totals.usable(),
            total_downtime: totals.down,
            uptime_percentage: totals.percentage(),
            current_status: history.at(end).map(|i| i.status).into(),
            last_status_change: history.last_change().map(DateTime::from_millis),
            timeline: history.timeline(window).map(|interval| record(service, &interval)).collect(),
            start_time: DateTime::from_millis(start),
            end_time: DateTime::from_millis(end),
            coverage: totals.coverage(),
        };
        Ok(ServiceTimeline { timestamp: now, period: hours.period(), timeline })
    }

    /// The intervals of all services in a window that ends now in which they were not up, newest first.
    ///
    /// # Errors
    /// [`UptimeError::StillReading`] shortly after a start.
    pub async fn incidents(&self, hours: Hours) -> Result<ServiceIncidents, UptimeError> {
        self.loaded().await?;
        let (now, window) = self.window(hours);
        let mut incidents = Vec::new();
        for service in self.board.services() {
            let history = service.history();
            incidents.extend(history.incidents(window).take(INCIDENTS + 1).map(|incident| {
                let Interval { id, status, start, end, sight, .. } = incident.interval;
                ServiceUptimeIncident {
                    id: id.to_string(),
                    service_name: service.name().to_string(),
                    status,
                    start: DateTime::from_millis(start),
                    end: (!incident.ongoing).then(|| DateTime::from_millis(end)),
                    duration: u64::try_from(end - start).unwrap_or(0),
                    cause: sight.error.map_or_else(|| "unknown".to_owned(), |e| e.to_string()),
                }
            }));
        }
        incidents.sort_by_key(|incident| std::cmp::Reverse(incident.start));
        let has_more = incidents.len() > INCIDENTS;
        incidents.truncate(INCIDENTS);
        Ok(ServiceIncidents { timestamp: now, period: hours.period(), incidents, has_more })
    }

    /// How every service is now.
    #[must_use]
    pub fn statuses(&self) -> CurrentStatuses {
        let now = self.now();
        let services = self.board.services().iter().map(|s| (s.name().to_string(), status_of(s, now)));
        CurrentStatuses { timestamp: now, services: services.collect() }
    }

    /// How one service is now; nothing for one that is not watched.
    #[must_use]
    pub fn status(&self, name: &str) -> Option<CurrentStatus> {
        self.board.service(name).map(|service| status_of(service, self.now()))
    }

    /// How every service is known to be, by its name.
    #[must_use]
    pub fn known(&self) -> BTreeMap<String, WatchedHealth> {
        let now = self.now().millis();
        let known = |service: &Arc<Service>| {
            let history = service.history();
            let interval = history.at(now);
            WatchedHealth {
                status: interval.map(|i| i.status).into(),
                last_status_change: history.last_change().map(DateTime::from_millis),
                error: interval.and_then(|i| i.sight.error.as_deref()).map(str::to_owned),
            }
        };
        self.board.services().iter().map(|s| (s.name().to_string(), known(s))).collect()
    }

    /// Checks one of this process's own listeners now, within `patience`, and records nothing. Nothing for any other name,
    /// and before the service listens.
    pub async fn look_at(&self, name: &str, patience: Duration) -> Option<Seen> {
        let check = self.own.get()?.get(name)?;
        let thresholds = self.board.service(name)?.target.kind.thresholds();
        Some(look(&**check, self.pace.timeout.min(patience), thresholds, &*self.clock).await)
    }

    /// How much history is kept.
    #[must_use]
    pub fn statistics(&self) -> UptimeStatistics {
        let mut stats =
            UptimeStats { total_records: 0, records_per_service: BTreeMap::new(), memory_estimate: 0 };
        for service in self.board.services() {
            let history = service.history();
            stats.total_records += history.words();
            stats.records_per_service.insert(service.name().to_string(), history.words());
            stats.memory_estimate += history.memory();
        }
        UptimeStatistics { timestamp: self.now(), stats }
    }

    /// A picture of a service's state and uptime.
    ///
    /// # Errors
    /// [`UptimeError::ServiceNotFound`]; [`UptimeError::StillReading`] shortly after a start.
    pub async fn badge(&self, name: &str, hours: Hours) -> Result<String, UptimeError> {
        let service = self.find(name)?;
        self.loaded().await?;
        let (_, window) = self.window(hours);
        Ok(badge::svg(&summarize(service, window), &hours.period()))
    }

    /// Checks every service now, and records what is seen where this instance keeps the record.
    ///
    /// # Errors
    /// [`Denied`] to whoever does not administer the service: what is seen becomes its history.
    pub async fn check(&self, caller: &Caller) -> Result<StatusCheck, Denied> {
        self.gate.require_duty(caller, Duty::CheckServices)?;
        let _one_at_a_time = self.checking.lock().await;
        let checks = self.board.services().iter().map(async |service| {
            let sender =
                self.requests.lock().unwrap_or_else(PoisonError::into_inner).get(service.name()).cloned()?;
            let (reply, answer) = oneshot::channel();
            sender.send(Request(reply)).await.ok()?;
            let Answer { seen, word } = answer.await.ok()?;
            let recorded = match word {
                Some(word) => came_back(service, word).await && *self.role().borrow() == Role::Recording,
                None => false,
            };
            Some(result(service, seen, recorded))
        });
        let results = futures::future::join_all(checks).await.into_iter().flatten().collect();
        let message = "Manual status check completed".to_owned();
        Ok(StatusCheck { timestamp: self.now(), message, results })
    }

    /// Makes the services' streams where they are missing. Safe to repeat.
    ///
    /// # Errors
    /// [`Denied`] to whoever does not administer the service.
    pub async fn create_streams(&self, caller: &Caller) -> Result<UptimeStreams, Denied> {
        self.gate.require_duty(caller, Duty::MakeStreams)?;
        let mut results = Vec::new();
        for service in self.board.services() {
            let made = self.recorder.make_stream(service).await;
            results.push(UptimeStreamResult {
                service: service.name().to_string(),
                stream_name: service.stream.to_string(),
                success: made.is_ok(),
                stream_id: made.is_ok().then(|| service.stream.to_string()),
                error: made.err().map(|e| describe(&e)),
            });
        }
        let message = "Stream creation completed".to_owned();
        Ok(UptimeStreams { timestamp: self.now(), message, results })
    }

    /// Writes to the event store and reads back, now.
    pub async fn test_store(&self) -> StoreTest {
        let thresholds = super::target::Kind::Store.thresholds();
        let seen = look(&*self.store_check, self.pace.timeout, thresholds, &*self.clock).await;
        let health = match seen.status {
            ServiceState::Up => "healthy",
            ServiceState::Degraded => "degraded",
            ServiceState::Down => "unhealthy",
        };
        let results = StoreTestResults {
            connection: if seen.status.is_up() { "success" } else { "failed" }.to_owned(),
            health: health.to_owned(),
            response_time: seen.sight.response_time.unwrap_or_else(|| millis(Duration::ZERO)),
            error: seen.sight.error.map(|e| e.to_string()),
        };
        StoreTest {
            timestamp: self.now(),
            message: "KurrentDB connection test completed".to_owned(),
            results,
        }
    }

    fn find(&self, name: &str) -> Result<&Arc<Service>, UptimeError> {
        self.board.service(name).ok_or_else(|| UptimeError::ServiceNotFound(name.to_owned()))
    }

    async fn loaded(&self) -> Result<(), UptimeError> {
        if self.board.loaded(LOADED_WITHIN).await { Ok(()) } else { Err(UptimeError::StillReading) }
    }

    fn window(&self, hours: Hours) -> (DateTime, Window) {
        let now = self.now();
        let start = hours.millis().map(|length| now.millis().saturating_sub(length));
        (now, Window { start, end: now.millis() })
    }
}

/// Waits until a word has come back from its stream.
async fn came_back(service: &Service, word: uuid::Uuid) -> bool {
    let back = service.wait(|_| !service.is_ahead(word));
    tokio::time::timeout(RECORDED_WITHIN, back).await.is_ok()
}

fn status_of(service: &Service, now: DateTime) -> CurrentStatus {
    service.history().at(now.millis()).map(|i| i.status).into()
}

fn summarize(service: &Service, window: Window) -> ServiceUptimeSummary {
    let history = service.history();
    let totals = history.totals(window);
    let status = history.at(window.end).map(|i| i.status);
    ServiceUptimeSummary {
        service_name: service.name().to_string(),
        current_status: status.into(),
        uptime_percentage: totals.percentage(),
        total_uptime: in_words(totals.usable()),
        total_downtime: in_words(totals.down),
        degraded_duration: totals.degraded,
        last_status_change: history.last_change().map(DateTime::from_millis),
        is_currently_up: status.is_some_and(ServiceState::is_up),
        coverage: totals.coverage(),
    }
}

fn record(service: &Service, interval: &Interval) -> ServiceUptimeRecord {
    ServiceUptimeRecord {
        id: interval.id.to_string(),
        service_name: service.name().to_string(),
        status: interval.status,
        timestamp: DateTime::from_millis(interval.start),
        duration: u64::try_from(interval.end - interval.start).unwrap_or(0),
        metadata: words::metadata(&interval.sight),
    }
}

fn result(service: &Service, seen: Seen, recorded: bool) -> ServiceCheckResult {
    ServiceCheckResult {
        service: service.name().to_string(),
        status: seen.status,
        timestamp: DateTime::from_millis(seen.at),
        metadata: words::metadata(&seen.sight),
        recorded,
    }
}

/// `1d 2h 3m`; what is nothing is left out, and less than a minute is told in seconds: `42s`.
fn in_words(millis: u64) -> String {
    let minutes = millis / 60_000;
    if minutes == 0 {
        return format!("{}s", millis / 1000);
    }
    let mut words = String::new();
    for (amount, unit) in [(minutes / 1440, 'd'), (minutes / 60 % 24, 'h'), (minutes % 60, 'm')] {
        if amount > 0 {
            let space = if words.is_empty() { "" } else { " " };
            let _ = write!(words, "{space}{amount}{unit}");
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_in_days_hours_and_minutes() {
        for (millis, words) in [
            (0, "0s"),
            (59_999, "59s"),
            (60_000, "1m"),
            (3_600_000, "1h"),
            (93_780_000, "1d 2h 3m"),
            (86_460_000, "1d 1m"),
            (400 * 86_400_000, "400d"),
        ] {
            assert_eq!(in_words(millis), words);
        }
    }
}
