//! The routes of `/api/status`.

use super::About;
use crate::{endpoint, http::Routes};
use axum::{Json, extract::State};
use models::ServiceStatus;
use std::sync::Arc;

/// The routes.
pub fn routes(about: Arc<About>) -> Routes {
    Routes::new("Status", "What runs here.").get("/api/status", get_status, get_status::DOC).with_state(about)
}

endpoint! {
    /// What runs here, and for how long.
    []
    async fn get_status(State(about): State<Arc<About>>) -> Json<ServiceStatus> {
        Json(about.status())
    }
}
