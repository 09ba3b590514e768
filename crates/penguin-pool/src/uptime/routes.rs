//! The routes of `/api/uptime`. Their bodies have no envelope.

use super::{answers::UptimeError, service::Uptime};
use crate::{
    endpoint,
    http::{ApiError, Routes, Svg, ValidPath, ValidQuery},
    security::Caller,
};
use axum::{Json, extract::State};
use event_store::ErrorCode;
use garde::Validate;
use models::{
    CurrentStatuses, MonitorStopped, ServiceIncidents, ServiceTimeline, ServiceUptime, StatusCheck,
    StoreTest, UptimeQueryDto, UptimeStatistics, UptimeStreams, UptimeSummary,
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

/// The routes.
pub fn routes(uptime: Arc<Uptime>) -> Routes {
    Routes::new("Uptime", "Services watched, and their history, weighted by time.")
        .post("/api/uptime/create-streams", create_uptime_streams, create_uptime_streams::DOC)
        .get("/api/uptime/test-kurrentdb", test_event_store, test_event_store::DOC)
        .post("/api/uptime/check", check_services, check_services::DOC)
        .get("/api/uptime/summary", get_uptime_summary, get_uptime_summary::DOC)
        .get("/api/uptime/service/{serviceName}", get_service_uptime, get_service_uptime::DOC)
        .get("/api/uptime/timeline/{serviceName}", get_service_timeline, get_service_timeline::DOC)
        .get("/api/uptime/status", get_service_statuses, get_service_statuses::DOC)
        .get("/api/uptime/stats", get_uptime_stats, get_uptime_stats::DOC)
        .get("/api/uptime/incidents", get_incidents, get_incidents::DOC)
        .get("/api/uptime/badge/{file}", get_uptime_badge, get_uptime_badge::DOC)
        .component::<MonitorStopped>()
        .with_state(uptime)
}

type Service = State<Arc<Uptime>>;

impl From<UptimeError> for ApiError {
    fn from(error: UptimeError) -> Self {
        match error {
            UptimeError::ServiceNotFound(_) => Self::new(ErrorCode::ServiceNotFound, error.to_string()),
            UptimeError::StillReading => {
                Self::new(ErrorCode::ConnectionError, error.to_string()).retry_after(5)
            }
        }
    }
}

/// Which service.
#[derive(Debug, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase")]
struct ServicePath {
    /// The service's name: `http`, `websocket`, `database`, or a configured one.
    #[garde(length(chars, min = 1, max = 64))]
    service_name: String,
}

/// Which badge.
#[derive(Debug, Deserialize, JsonSchema, Validate)]
struct BadgePath {
    /// The service's name and `.svg`.
    #[garde(length(chars, min = 1, max = 68))]
    #[schemars(example = &"http.svg")]
    file: String,
}

endpoint! {
    /// Makes the services' streams where they are missing.
    ///
    /// Safe to repeat, and for administrators. The service makes them itself when it first records something.
    [PermissionDenied]
    async fn create_uptime_streams(State(uptime): Service, caller: Caller) -> Result<Json<UptimeStreams>, ApiError> {
        Ok(Json(uptime.create_streams(&caller).await?))
    }
}

endpoint! {
    /// Writes to the event store and reads back.
    []
    async fn test_event_store(State(uptime): Service) -> Json<StoreTest> {
        Json(uptime.test_store().await)
    }
}

endpoint! {
    /// Checks every service now.
    ///
    /// What is seen counts towards each service's state as any other check does, and is recorded: for administrators.
    [PermissionDenied]
    async fn check_services(State(uptime): Service, caller: Caller) -> Result<Json<StatusCheck>, ApiError> {
        Ok(Json(uptime.check(&caller).await?))
    }
}

endpoint! {
    /// Every service's uptime in a window.
    ///
    /// Weighted by time, over the part of the window that was watched: see `coverage`. Shortly after a start, for as long as
    /// the recorded history is read, this and every other question about history is answered with 503 and `Retry-After`: a
    /// sum of half of it would be wrong. How everything is now can be asked at once: `/api/uptime/status`.
    []
    async fn get_uptime_summary(State(uptime): Service, ValidQuery(query): ValidQuery<UptimeQueryDto>) -> Result<Json<UptimeSummary>, ApiError> {
        Ok(Json(uptime.summary(query.hours).await?))
    }
}

endpoint! {
    /// One service's uptime in a window.
    [ServiceNotFound]
    async fn get_service_uptime(State(uptime): Service, ValidPath(path): ValidPath<ServicePath>, ValidQuery(query): ValidQuery<UptimeQueryDto>) -> Result<Json<ServiceUptime>, ApiError> {
        Ok(Json(uptime.service(&path.service_name, query.hours).await?))
    }
}

endpoint! {
    /// One service's states in a window, one after the other.
    ///
    /// Time that lies in none of the intervals is unknown: nobody watched.
    [ServiceNotFound]
    async fn get_service_timeline(State(uptime): Service, ValidPath(path): ValidPath<ServicePath>, ValidQuery(query): ValidQuery<UptimeQueryDto>) -> Result<Json<ServiceTimeline>, ApiError> {
        Ok(Json(uptime.timeline(&path.service_name, query.hours).await?))
    }
}

endpoint! {
    /// How every service is now.
    []
    async fn get_service_statuses(State(uptime): Service) -> Json<CurrentStatuses> {
        Json(uptime.statuses())
    }
}

endpoint! {
    /// How much history is kept.
    []
    async fn get_uptime_stats(State(uptime): Service) -> Json<UptimeStatistics> {
        Json(uptime.statistics())
    }
}

endpoint! {
    /// The incidents of all services in a window, newest first.
    ///
    /// An incident is an interval in which a service was not up. One that began before the window is told whole.
    []
    async fn get_incidents(State(uptime): Service, ValidQuery(query): ValidQuery<UptimeQueryDto>) -> Result<Json<ServiceIncidents>, ApiError> {
        Ok(Json(uptime.incidents(query.hours).await?))
    }
}

endpoint! {
    /// A badge of a service's state and uptime.
    ///
    /// An SVG that says in words, too, what it shows.
    [ServiceNotFound]
    async fn get_uptime_badge(State(uptime): Service, ValidPath(path): ValidPath<BadgePath>, ValidQuery(query): ValidQuery<UptimeQueryDto>) -> Result<Svg, ApiError> {
        let name = path.file.strip_suffix(".svg").ok_or_else(|| {
            ApiError::new(ErrorCode::RouteNotFound, "There is nothing at this path: a badge's name ends in .svg")
        })?;
        Ok(Svg(uptime.badge(name, query.hours).await?))
    }
}
