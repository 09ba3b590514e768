//! `/metrics`: what is counted, in Prometheus' format.

use super::measured::LATENCY_STEPS;
use event_store::Clock;
use metrics::Unit;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

/// What is counted in this process. Services in one process (tests, mostly) share it.
#[derive(Debug, Clone)]
pub struct Metrics {
    handle: Option<PrometheusHandle>,
    clock: Arc<dyn Clock>,
    began: Duration,
}

impl Metrics {
    /// Begins to count, if nobody did before.
    #[must_use]
    pub fn begin(clock: Arc<dyn Clock>) -> Self {
        static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
        let handle = HANDLE.get_or_init(|| match install() {
            Ok(handle) => Some(handle),
            Err(error) => {
                tracing::error!(%error, "metrics cannot be kept");
                None
            }
        });
        Self { handle: handle.clone(), began: clock.monotonic(), clock }
    }

    /// How long ago counting began: the service's uptime.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.began)
    }

    /// Everything that was counted, as text. Histograms are settled first, so that they hold no more than they must.
    #[must_use]
    pub fn render(&self) -> String {
        #[expect(clippy::cast_precision_loss, reason = "bytes, for a gauge")]
        if let Some(memory) = Memory::read() {
            metrics::gauge!("process_resident_memory_bytes").set(memory.resident as f64);
            metrics::gauge!("process_virtual_memory_bytes").set(memory.virtual_ as f64);
        }
        metrics::gauge!("process_uptime_seconds").set(self.uptime().as_secs_f64());
        self.handle.as_ref().map(PrometheusHandle::render).unwrap_or_default()
    }

    /// Settles the histograms, every few seconds, so that they stay small when nobody asks.
    pub async fn upkeep(self) {
        let mut ticks = tokio::time::interval(Duration::from_secs(5));
        loop {
            ticks.tick().await;
            if let Some(handle) = &self.handle {
                handle.run_upkeep();
            }
        }
    }
}

fn install() -> Result<PrometheusHandle, metrics_exporter_prometheus::BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &LATENCY_STEPS)?
        .install_recorder()?;
    describe();
    // A gauge that was never moved would be missing, which says less than that nothing is open.
    for gauge in [
        "http_requests_in_flight",
        "http_feeds_open",
        "store_subscriptions_open",
        "sockets_open",
        "socket_subscriptions_open",
    ] {
        metrics::gauge!(gauge).set(0.0);
    }
    Ok(handle)
}

fn describe() {
    use metrics::{describe_counter as counter, describe_gauge as gauge, describe_histogram as histogram};
    counter!("http_requests_total", "Requests, by route template, method and status");
    histogram!("http_request_duration_seconds", Unit::Seconds, "From a request's head to its answer's");
    gauge!("http_requests_in_flight", "Requests whose answer has not begun");
    gauge!("http_feeds_open", "Server-Sent Events feeds that are open");
    counter!("http_requests_refused_total", "Requests refused for load, by reason");
    counter!("store_operations_total", "Operations of the event store, by outcome");
    histogram!(
        "store_operation_duration_seconds",
        Unit::Seconds,
        "How long an operation of the event store took"
    );
    counter!("store_events_appended_total", "Events appended");
    counter!("store_bytes_appended_total", Unit::Bytes, "Bytes of the events appended");
    counter!("store_events_read_total", "Events read");
    counter!("store_bytes_read_total", Unit::Bytes, "Bytes of the events read");
    gauge!("sockets_open", "Sockets that are open: connections of Socket.IO, and plain WebSockets");
    gauge!("socket_subscriptions_open", "Subscriptions that run over sockets");
    gauge!("store_subscriptions_open", "Subscriptions of the event store that are open");
    counter!("catalogue_events_total", "Events that the stream catalogue has taken in");
    counter!("catalogue_batches_total", "Transactions in which it did so");
    gauge!("catalogue_lag_events", "Events that the stream catalogue has not taken in yet");
    event_store_embedded::telemetry::describe();
    gauge!("process_resident_memory_bytes", Unit::Bytes, "Memory that the process holds");
    gauge!("process_virtual_memory_bytes", Unit::Bytes, "Address space that the process has mapped");
    gauge!("process_uptime_seconds", Unit::Seconds, "How long the service has run");
}

/// The process's memory, as the kernel counts it. Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// In RAM now.
    pub resident: u64,
    /// The most that was in RAM at once.
    pub peak: u64,
    /// Mapped.
    pub virtual_: u64,
}

impl Memory {
    /// Asks the kernel; nothing where it cannot be asked (not Linux).
    #[must_use]
    pub fn read() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/self/status").ok()?)
    }

    fn parse(status: &str) -> Option<Self> {
        let field = |name: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
            let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
            Some(kilobytes * 1024)
        };
        Some(Self { resident: field("VmRSS")?, peak: field("VmHWM")?, virtual_: field("VmSize")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_kernels_words() {
        let status = "Name:\tx\nVmSize:\t   20 kB\nVmHWM:\t 12 kB\nVmRSS:\t   10 kB\n";
        let memory = Memory::parse(status).unwrap();
        assert_eq!(memory, Memory { resident: 10_240, peak: 12_288, virtual_: 20_480 });
        assert!(Memory::read().unwrap().resident > 1 << 20, "this process is larger than a megabyte");
    }
}
