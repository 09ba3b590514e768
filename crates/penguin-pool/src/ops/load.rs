//! How many requests are worked on at once, and for how long.

use crate::http::ApiError;
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use event_store::ErrorCode;
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// The limits on requests under way. A feed counts only until its answer begins.
#[derive(Debug, Clone)]
pub struct Load {
    places: Arc<Semaphore>,
    timeout: Duration,
}

impl Load {
    /// So many requests at once, each for so long.
    #[must_use]
    pub fn new(most: usize, timeout: Duration) -> Self {
        Self { places: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))), timeout }
    }
}

/// Refuses a request beyond the limit at once (a queue would only hide the overload), and one that takes too long with
/// 504. What a timed-out write came to is not known; sending it again with the same ids does no harm.
pub async fn limit(State(load): State<Load>, request: Request, next: Next) -> Response {
    let place = load.places.try_acquire();
    if place.is_err() && !super::is_probe(request.uri().path()) {
        metrics::counter!("http_requests_refused_total", "reason" => "concurrency").increment(1);
        let message = "The service is working on as many requests as it can; try again in 1 s";
        return ApiError::new(ErrorCode::RateLimited, message).retry_after(1).into_response();
    }
    let answer = tokio::time::timeout(load.timeout, next.run(request)).await;
    drop(place);
    answer.unwrap_or_else(|_| {
        metrics::counter!("http_requests_refused_total", "reason" => "timeout").increment(1);
        let message = format!("There was no answer within {} ms", load.timeout.as_millis());
        ApiError::new(ErrorCode::Timeout, message).into_response()
    })
}
