//! Health and status: what is found, as it is answered.

use crate::{CurrentStatus, DateTime};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// All is well.
    Healthy,
    /// It works, but slowly or not all of it.
    Degraded,
    /// It does not work.
    Unhealthy,
}

/// That the process lives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceHealth {
    /// Always `healthy`: a dead process answers nothing.
    pub status: HealthStatus,
    /// When the answer was given.
    pub timestamp: DateTime,
    /// The service's name.
    #[schemars(example = &"penguin-pool")]
    pub service: String,
    /// Where KurrentDB is said to be, without credentials.
    #[schemars(example = &"http://localhost:2113")]
    pub kurrentdb_url: String,
    /// The service's version.
    #[schemars(example = &"0.1.0")]
    pub version: String,
    /// Where it runs: `dev`, `staging`, `test` or `mainnet`.
    #[schemars(example = &"dev")]
    pub environment: String,
    /// How long it has run, in milliseconds.
    pub uptime: u64,
}

/// What runs here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceStatus {
    /// Always `running`.
    #[schemars(extend("const" = "running"))]
    pub status: String,
    /// When the answer was given.
    pub timestamp: DateTime,
    /// The service's name.
    #[schemars(example = &"penguin-pool")]
    pub service: String,
    /// Where KurrentDB is said to be, without credentials.
    #[schemars(example = &"http://localhost:2113")]
    pub kurrentdb_url: String,
    /// The service's version.
    #[schemars(example = &"0.1.0")]
    pub version: String,
    /// Where it runs: `dev`, `staging`, `test` or `mainnet`.
    #[schemars(example = &"dev")]
    pub environment: String,
    /// Where events are kept.
    pub backend: Backend,
    /// How long it has run, in milliseconds.
    pub uptime: u64,
}

/// Where events are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// In the service's own store.
    Embedded,
    /// In a KurrentDB server or cluster.
    Kurrentdb,
}

/// That the process lives, and nothing else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Liveness {
    /// Always `ok`.
    #[schemars(extend("const" = "ok"))]
    pub status: String,
    /// When the answer was given.
    pub timestamp: DateTime,
}

/// Whether requests should be sent here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReadyStatus {
    /// Yes.
    Ok,
    /// No: something is down.
    Error,
    /// No: the service is stopping.
    ShuttingDown,
}

/// Whether requests should be sent here, and why not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Readiness {
    /// The verdict.
    pub status: ReadyStatus,
    /// The parts that are up.
    pub info: BTreeMap<String, ReadyPart>,
    /// The parts that are down.
    pub error: BTreeMap<String, ReadyPart>,
    /// All parts.
    pub details: BTreeMap<String, ReadyPart>,
}

/// How a part of the service is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReadyPart {
    /// Up or down.
    pub status: UpDown,
    /// What is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Up or down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UpDown {
    /// It works.
    Up,
    /// It does not.
    Down,
}

/// How the connection to the event store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionStatus {
    /// It is there.
    Connected,
    /// It is being made for the first time.
    Connecting,
    /// It was lost and is being made again.
    Reconnecting,
    /// It is not there.
    Disconnected,
}

/// How fast the event store, or a service that is watched, answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PerformanceGrade {
    /// Within `thresholds.excellent`.
    Excellent,
    /// Within `thresholds.good`.
    Good,
    /// Within `thresholds.acceptable`.
    Acceptable,
    /// It took longer.
    Slow,
    /// It did not answer.
    Disconnected,
}

/// Up to how many milliseconds a grade goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PerformanceThresholds {
    /// Excellent, up to this.
    pub excellent: u32,
    /// Good, up to this.
    pub good: u32,
    /// Acceptable, up to this; beyond it slow.
    pub acceptable: u32,
}

/// What was tried with the event store, and whether it went well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DatabaseChecks {
    /// The store can be reached.
    pub connection: bool,
    /// It takes the service for who it is: neither the read nor the write was denied.
    pub authentication: bool,
    /// An event was read.
    pub read: bool,
    /// An event was written.
    pub write: bool,
    /// The read models have taken in what was written.
    pub sync: bool,
}

/// How long the event store's operations took, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LatencyQuantiles {
    /// Half of them took at most this long.
    pub p50: f64,
    /// 99 of 100 took at most this long.
    pub p99: f64,
}

/// How the event store is, from checks that were really made, at most once in five seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseHealth {
    /// The verdict.
    pub status: HealthStatus,
    /// Whether the store can be reached.
    pub connected: bool,
    /// How the connection is.
    pub connection_status: ConnectionStatus,
    /// When the checks were made.
    pub timestamp: DateTime,
    /// How long the read and the write took together, in milliseconds.
    pub response_time: f64,
    /// How fast that is.
    pub performance_grade: PerformanceGrade,
    /// Where the grades end.
    pub thresholds: PerformanceThresholds,
    /// What was tried.
    pub checks: DatabaseChecks,
    /// What went wrong.
    pub errors: Vec<String>,
    /// The share of the store's operations of the last five minutes that failed, from 0 to 1.
    pub error_rate: f64,
    /// How long they took.
    pub latency: LatencyQuantiles,
    /// Where events are kept.
    pub backend: Backend,
}

/// How every part of the service is; the worst decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SystemHealth {
    /// When the answer was given.
    pub timestamp: DateTime,
    /// The worst of `services`, and of those in `watched` that are not the service's own: one that is down is
    /// `unhealthy`, one of which nothing is known does not count.
    pub overall_status: HealthStatus,
    /// The service's own parts, looked at for this answer or at most five seconds before.
    pub services: SystemServices,
    /// Every service that is watched, by its name, as uptime knows it: after as many checks as a change takes.
    pub watched: BTreeMap<String, WatchedHealth>,
    /// How long it took to find out, in milliseconds.
    pub response_time: f64,
}

/// The parts of the service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SystemServices {
    /// The HTTP API.
    pub http: HttpHealth,
    /// Sockets.
    pub websocket: WebsocketHealth,
    /// The event store.
    pub kurrentdb: StoreHealth,
}

/// How a service that is watched is known to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WatchedHealth {
    /// Its state now.
    pub status: CurrentStatus,
    /// When it came into the state that it was last known to be in; missing if it was never watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_status_change: Option<DateTime>,
    /// What was wrong, as the check saw it that began this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How one of the service's own listeners answered a request through the network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListenerHealth {
    /// How it is.
    pub status: HealthStatus,
    /// How long the answer took, in milliseconds; missing if none was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_time: Option<f64>,
    /// How fast that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub performance_grade: Option<PerformanceGrade>,
    /// What is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How the HTTP API is: what a request through its own listener came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HttpHealth {
    /// How it answers.
    #[serde(flatten)]
    pub listener: ListenerHealth,
    /// The port that it listens on.
    pub port: u16,
    /// The process's memory.
    pub memory: ProcessMemory,
    /// Where the service runs.
    pub environment: String,
    /// How long it has run, in milliseconds.
    pub uptime: u64,
}

/// The process's memory in bytes, as the kernel counts it; zeros where the kernel cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ProcessMemory {
    /// In RAM now.
    pub rss: u64,
    /// The most that was in RAM at once.
    pub peak: u64,
    /// Mapped.
    pub r#virtual: u64,
}

/// How sockets are: what a whole handshake of Socket.IO came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WebsocketHealth {
    /// How they answer. While all places are taken no handshake is made, and they are degraded.
    #[serde(flatten)]
    pub listener: ListenerHealth,
    /// The port that they listen on, beside that of HTTP.
    pub port: u16,
    /// How many are open.
    pub connections: u64,
}

/// How the event store is, in short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoreHealth {
    /// How it is.
    pub status: HealthStatus,
    /// Whether it can be reached.
    pub connected: bool,
    /// How the connection is.
    pub connection_status: ConnectionStatus,
    /// Where KurrentDB is said to be, without credentials.
    pub url: String,
    /// How long the read and the write took together, in milliseconds.
    pub response_time: f64,
    /// How fast that is.
    pub performance_grade: PerformanceGrade,
    /// Where the grades end.
    pub thresholds: PerformanceThresholds,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
