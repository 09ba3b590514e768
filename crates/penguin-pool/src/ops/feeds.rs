//! Feeds: answers that go on (Server-Sent Events). They are limited in number instead of time, of which one caller has half at
//! most, and end at shutdown, and when what their callers were let in for is lost.

use super::{Lifecycle, Phase};
use crate::{
    http::{ApiError, CameFrom, SseFrame},
    limits::{Full, Places, Shares},
    security::{Caller, STANDING_LOST, Standing},
};
use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::header,
    middleware::Next,
    response::{IntoResponse, Response},
};
use event_store::ErrorCode;
use futures::{FutureExt as _, StreamExt as _, stream};
use std::future::ready;

/// The limit on open feeds.
#[derive(Debug, Clone)]
pub struct Feeds {
    places: Places,
    lifecycle: Lifecycle,
}

impl Feeds {
    /// So many feeds at once, for as long as the service is not draining.
    #[must_use]
    pub fn new(most: usize, lifecycle: Lifecycle) -> Self {
        Self { places: Places::new(most, Shares::among_callers(most)), lifecycle }
    }
}

/// Gives each feed one of the places until it ends, and ends it when the service drains, or with an error when its caller's
/// standing is lost. Which answers are feeds is told
/// by their content type, so that no route can forget to say so.
pub async fn limit(State(feeds): State<Feeds>, request: Request, next: Next) -> Response {
    let standing = request.extensions().get::<Standing>().cloned().unwrap_or_default();
    let caller = request.extensions().get::<Caller>().cloned().unwrap_or(Caller::anonymous());
    let from = request.extensions().get::<CameFrom>().and_then(|came| came.0);
    let response = next.run(request).await;
    let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    if !content_type.is_some_and(|t| t.starts_with("text/event-stream")) {
        return response;
    }
    let place = match feeds.places.take(feeds.places.holder(&caller, from)) {
        Ok(place) => place,
        Err(full) => {
            metrics::counter!("http_requests_refused_total", "reason" => "feeds").increment(1);
            return ApiError::new(ErrorCode::RateLimited, no_place(full)).retry_after(5).into_response();
        }
    };
    let draining = feeds.lifecycle.reached(Phase::Draining);
    let lost = standing.lost();
    let end = async move {
        tokio::select! {
            () = draining => None,
            () = lost => Some(standing_lost()),
        }
    };
    let end = end.boxed().shared();
    let open = Open::begin();
    response.map(|body| {
        let held = (place, open);
        let last = end.clone();
        let last = stream::once(async move { last.now_or_never().flatten() }).filter_map(ready).map(Ok);
        let frames = body.into_data_stream().take_until(end).chain(last);
        Body::from_stream(frames.inspect(move |_| _ = &held))
    })
}

/// Why there is no place for a feed, and what to do.
fn no_place(full: Full) -> String {
    match full {
        Full::Caller(most) => {
            format!(
                "You have {most} subscriptions open, as many as one caller may: close some, or try again in 5 s"
            )
        }
        Full::All | Full::Strangers(_) | Full::Network(_) => {
            "As many subscriptions are open as the service takes; try again in 5 s".to_owned()
        }
    }
}

/// The last frame of a feed that ends with its caller's standing.
fn standing_lost() -> Bytes {
    let error = ApiError::new(ErrorCode::AuthenticationFailed, STANDING_LOST);
    let data = serde_json::to_string(&error.body()).ok();
    SseFrame { id: None, event: Some("error"), data }.text()
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
