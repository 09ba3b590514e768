//! Feeds: answers that go on (Server-Sent Events). They are limited in number instead of time, and end at shutdown.

use super::{Lifecycle, Phase};
use crate::http::ApiError;
use axum::{
    body::Body,
    extract::{Request, State},
    http::header,
    middleware::Next,
    response::{IntoResponse, Response},
};
use event_store::ErrorCode;
use futures::StreamExt as _;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// The limit on open feeds.
#[derive(Debug, Clone)]
pub struct Feeds {
    places: Arc<Semaphore>,
    lifecycle: Lifecycle,
}

impl Feeds {
    /// So many feeds at once, for as long as the service is not draining.
    #[must_use]
    pub fn new(most: usize, lifecycle: Lifecycle) -> Self {
        Self { places: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))), lifecycle }
    }
}

/// Gives each feed one of the places until it ends, and ends it when the service drains. Which answers are feeds is told
/// by their content type, so that no route can forget to say so.
pub async fn limit(State(feeds): State<Feeds>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    if !content_type.is_some_and(|t| t.starts_with("text/event-stream")) {
        return response;
    }
    let Ok(place) = Arc::clone(&feeds.places).try_acquire_owned() else {
        metrics::counter!("http_requests_refused_total", "reason" => "feeds").increment(1);
        let message = "As many subscriptions are open as the service takes; try again in 5 s";
        return ApiError::new(ErrorCode::RateLimited, message).retry_after(5).into_response();
    };
    let end = Box::pin(feeds.lifecycle.reached(Phase::Draining));
    let open = Open::begin();
    response.map(|body| {
        let held = (place, open);
        Body::from_stream(body.into_data_stream().take_until(end).inspect(move |_| _ = &held))
    })
}

/// Counts a feed as open until it is dropped.
struct Open;

impl Open {
    fn begin() -> Self {
        metrics::gauge!("http_feeds_open").increment(1);
        Self
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::gauge!("http_feeds_open").decrement(1);
    }
}
