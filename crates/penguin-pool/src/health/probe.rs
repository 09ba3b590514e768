//! The checks of the event store: each is really made.

use crate::{ops::Measured, security::BoundStore};
use event_store::{
    Acl, Clock, Error, ErrorCode, ExpectedState, IdSource, NewEvent, Position, ReadStream, Result,
    StoreState, StreamMetadata, StreamName,
};
use models::{
    Backend, ConnectionStatus, DatabaseChecks, DatabaseHealth, DateTime, HealthStatus, LatencyQuantiles,
    PerformanceGrade, PerformanceThresholds, StreamDescription,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::{Mutex, OnceCell};

/// The stream that the read check reads.
pub const READ_STREAM: &str = "connection-test";
/// The stream that the write check writes, kept short by its metadata.
pub const WRITE_STREAM: &str = "system-health-check";
/// How many probes a stream keeps.
pub const KEPT: u64 = 10;
/// How long an answer is shared.
pub const SHARED_FOR: Duration = Duration::from_secs(5);

/// How long a check may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the read models may take to follow before they count as behind. Short, because readiness waits for it too, and
/// who asks for that often waits for a second only.
const SYNC_PATIENCE: Duration = Duration::from_millis(500);
/// From this share of failed operations on, the store counts as degraded: of the recent ones, so that one that answers well
/// again is well again.
const DEGRADED_FROM: f64 = 0.05;
const THRESHOLDS: PerformanceThresholds = PerformanceThresholds { excellent: 50, good: 100, acceptable: 500 };

/// The read models, as far as health asks them.
#[async_trait::async_trait]
pub trait ReadModels: Send + Sync + std::fmt::Debug + 'static {
    /// Waits until everything up to and including `position` was taken in, and says whether that came to be in time.
    async fn has_reached(&self, position: Position, patience: Duration) -> bool;

    /// Sets the metrics that say how far behind they are.
    async fn measure(&self);
}

/// What the checks need.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The store, as the service itself may use it.
    pub store: BoundStore,
    /// The same store's measurements.
    pub measured: Arc<Measured>,
    /// What must follow it.
    pub read_models: Arc<dyn ReadModels>,
    /// Where events are kept.
    pub backend: Backend,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes the probes' ids.
    pub ids: Arc<dyn IdSource>,
}

/// The checks, and their last outcome.
#[derive(Debug)]
pub struct Probe {
    parts: Parts,
    streams_made: OnceCell<()>,
    last: Mutex<Option<Last>>,
}

/// An answer, when it was found by the monotonic clock, and what the store said of itself before.
#[derive(Debug)]
struct Last {
    at: Duration,
    state: StoreState,
    health: Arc<DatabaseHealth>,
}

impl Probe {
    /// Nothing was checked yet.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self { parts, streams_made: OnceCell::new(), last: Mutex::new(None) }
    }

    /// How the store is: the last answer if it is fresh and the store says nothing new of itself, else a new one. Callers
    /// that come while it is made wait for it.
    pub async fn database(&self) -> Arc<DatabaseHealth> {
        let mut last = self.last.lock().await;
        let (now, state) = (self.parts.clock.monotonic(), self.parts.store.state());
        let fresh = |last: &&Last| now.saturating_sub(last.at) < SHARED_FOR && last.state == state;
        if let Some(last) = last.as_ref().filter(fresh) {
            return Arc::clone(&last.health);
        }
        let health = Arc::new(self.check().await);
        *last = Some(Last { at: self.parts.clock.monotonic(), state, health: Arc::clone(&health) });
        health
    }

    async fn check(&self) -> DatabaseHealth {
        let Parts { store, measured, read_models, backend, clock, .. } = &self.parts;
        let began = clock.monotonic();
        let read = in_time(self.read()).await;
        let written = in_time(self.write()).await;
        let took = clock.monotonic().saturating_sub(began);
        // After it was really asked: a connection that nobody used yet is being made by the first who asks.
        let connection_status = match store.state() {
            StoreState::Ready | StoreState::ReadOnly(_) => ConnectionStatus::Connected,
            StoreState::Connecting => ConnectionStatus::Connecting,
            StoreState::Reconnecting(_) => ConnectionStatus::Reconnecting,
            StoreState::Closed => ConnectionStatus::Disconnected,
        };
        let sync = match written {
            Ok(position) => read_models.has_reached(position, SYNC_PATIENCE).await,
            Err(_) => false,
        };
        let denied = |e: Option<&Error>| e.is_some_and(|e| e.code() == ErrorCode::PermissionDenied);
        let checks = DatabaseChecks {
            connection: connection_status == ConnectionStatus::Connected,
            authentication: !denied(read.as_ref().err()) && !denied(written.as_ref().err()),
            read: read.is_ok(),
            write: written.is_ok(),
            sync,
        };
        let mut errors: Vec<String> = [("read", read.as_ref().err()), ("write", written.as_ref().err())]
            .into_iter()
            .filter_map(|(check, error)| error.map(|error| describe(check, error)))
            .collect();
        if written.is_ok() && !sync {
            errors.push("sync: the read models are behind what was written".to_owned());
        }
        let recent = measured.recent();
        let performance_grade = grade(checks, took);
        DatabaseHealth {
            status: judge(checks, performance_grade, recent.failing),
            connected: checks.connection,
            connection_status,
            timestamp: DateTime::from_millis(clock.now().millis()),
            response_time: millis(took),
            performance_grade,
            thresholds: THRESHOLDS,
            checks,
            errors,
            error_rate: (recent.error_rate * 10_000.0).round() / 10_000.0,
            latency: LatencyQuantiles { p50: millis(recent.p50), p99: millis(recent.p99) },
            backend: *backend,
        }
    }

    /// Reads the probe that every store has, and makes it where it is not there yet.
    async fn read(&self) -> Result<()> {
        self.make_streams().await?;
        let stream = name(READ_STREAM)?;
        match self.parts.store.read_stream(&stream, ReadStream::backwards(1)).await {
            Err(Error::StreamNotFound(_)) => {}
            other => return other.map(|_| ()),
        }
        let probe = self.probe("ConnectionTested");
        self.parts.store.append(&stream, ExpectedState::Any, vec![probe]).await?;
        self.parts.store.read_stream(&stream, ReadStream::backwards(1)).await.map(|_| ())
    }

    async fn write(&self) -> Result<Position> {
        self.make_streams().await?;
        let probe = self.probe("HealthChecked");
        let appended = self.parts.store.append(&name(WRITE_STREAM)?, ExpectedState::Any, vec![probe]).await?;
        appended.position.ok_or_else(|| Error::Internal("an append of one event has no position".to_owned()))
    }

    fn probe(&self, event_type: &str) -> NewEvent {
        let timestamp = DateTime::from_millis(self.parts.clock.now().millis());
        let data = serde_json::json!({ "timestamp": timestamp }).to_string();
        NewEvent::json(self.parts.ids.next_id(), event_type, data)
    }

    /// Keeps the streams of the probes short, and theirs alone. Once in a process, and written only if it is not so yet.
    async fn make_streams(&self) -> Result<()> {
        let Parts { store, ids, .. } = &self.parts;
        let make = async || {
            for stream in [READ_STREAM, WRITE_STREAM] {
                let stream = name(stream)?;
                let found = store.metadata(&stream).await?;
                if found.metadata.max_count == Some(KEPT) {
                    continue;
                }
                let expected = found.revision.map_or(ExpectedState::NoStream, ExpectedState::Exact);
                match store.set_metadata(&stream, expected, &self.metadata(), ids.next_id()).await {
                    // Somebody else just did: another check of another process, say.
                    Ok(_) | Err(Error::WrongExpectedRevision { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        self.streams_made.get_or_try_init(make).await?;
        Ok(())
    }

    fn metadata(&self) -> StreamMetadata {
        let now = DateTime::from_millis(self.parts.clock.now().millis()).to_string();
        let description = StreamDescription {
            description: Some("Probes of the health checks".to_owned()),
            tags: Some(vec!["system".to_owned(), "health".to_owned()]),
            owner: Some("system".to_owned()),
            created_at: Some(now.clone()),
            updated_at: Some(now),
            version: Some(1),
            schema_version: Some("1.0.0".to_owned()),
            ..StreamDescription::default()
        };
        let custom = match serde_json::to_value(description) {
            Ok(serde_json::Value::Object(map)) => map,
            _ => serde_json::Map::new(),
        };
        StreamMetadata {
            max_count: Some(KEPT),
            acl: Some(Acl::admins()),
            custom,
            ..StreamMetadata::default()
        }
    }
}

fn name(text: &str) -> Result<StreamName> {
    StreamName::new(text).map_err(|e| Error::InvalidArgument(e.to_string()))
}

async fn in_time<T>(check: impl Future<Output = Result<T>>) -> Result<T> {
    let late = || Error::Timeout(format!("no answer within {} ms", PATIENCE.as_millis()));
    tokio::time::timeout(PATIENCE, check).await.unwrap_or_else(|_| Err(late()))
}

/// What went wrong, in words that may be shown: the parts of an internal error, and the files that the store's own
/// troubles name, are for the log alone.
fn describe(check: &str, error: &Error) -> String {
    if error.code() == ErrorCode::InternalError {
        tracing::error!(check, %error, "a health check failed inside the store");
        return format!("{check}: the store failed; the log says how");
    }
    let trouble = match error {
        Error::StorageFull(_) => "the event store's disk is full",
        Error::ReadOnly(_) => "the event store is read-only; the log says why",
        other => return format!("{check}: {other}"),
    };
    tracing::error!(check, %error, "a health check failed");
    format!("{check}: {trouble}")
}

fn grade(checks: DatabaseChecks, took: Duration) -> PerformanceGrade {
    let within = |limit: u32| took <= Duration::from_millis(limit.into());
    match THRESHOLDS {
        _ if !checks.connection || !checks.read => PerformanceGrade::Disconnected,
        t if within(t.excellent) => PerformanceGrade::Excellent,
        t if within(t.good) => PerformanceGrade::Good,
        t if within(t.acceptable) => PerformanceGrade::Acceptable,
        _ => PerformanceGrade::Slow,
    }
}

fn judge(checks: DatabaseChecks, grade: PerformanceGrade, failing: f64) -> HealthStatus {
    let DatabaseChecks { connection, authentication, read, write, sync } = checks;
    if !(connection && authentication && read && write) {
        HealthStatus::Unhealthy
    } else if !sync || grade == PerformanceGrade::Slow || failing >= DEGRADED_FROM {
        HealthStatus::Degraded
    } else {
        HealthStatus::Healthy
    }
}

/// Milliseconds with two digits after the point.
pub(super) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100_000.0).round() / 100.0
}
