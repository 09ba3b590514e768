//! The routes: parse, call, answer.

use super::Audit;
use crate::{
    endpoint,
    http::{ApiError, Routes, Success, ValidQuery},
    security::Caller,
};
use axum::extract::State;
use event_store::ErrorCode;
use models::{AuditPage, AuditQuery, AuditRecorded};

/// The routes of the trail; without one they say that there is none.
#[must_use]
pub fn routes(audit: Option<Audit>) -> Routes {
    Routes::new("audit", "Who did what")
        .get("/api/audit", read_audit, read_audit::DOC)
        .component::<AuditRecorded>()
        .with_state(audit)
}

endpoint! {
    /// Reads the trail of who did what, newest first, for administrators.
    ///
    /// A filtered page looks at a bounded part of the trail: go on from `nextRevision` while `hasMore`.
    [PermissionDenied, NotImplemented]
    async fn read_audit(
        State(audit): State<Option<Audit>>,
        caller: Caller,
        ValidQuery(query): ValidQuery<AuditQuery>,
    ) -> Result<Success<AuditPage>, ApiError> {
        let Some(audit) = audit else {
            let message = "No trail is kept: write AUDIT=true to have one";
            return Err(ApiError::new(ErrorCode::NotImplemented, message));
        };
        Ok(Success(audit.page(&caller, query).await?))
    }
}
