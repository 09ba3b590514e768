//! Uptime: what is asked, and what is answered.

mod query;
mod record;
mod report;
mod status;

pub use query::{Hours, UptimeQueryDto};
pub use record::{ServiceUptimeIncident, ServiceUptimeRecord, ServiceUptimeSummary, ServiceUptimeTimeline};
pub use report::{
    CurrentStatuses, ServiceCheckResult, ServiceIncidents, ServiceTimeline, ServiceUptime, StatusCheck,
    StoreTest, StoreTestResults, UptimeStatistics, UptimeStats, UptimeStreamResult, UptimeStreams,
    UptimeSummary,
};
pub use status::CurrentStatus;
