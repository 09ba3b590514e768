//! What every answer needs to know of its request: its id, and the time.

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use event_store::{Clock, IdSource, SystemClock};
use models::DateTime;
use std::sync::Arc;

/// The header that carries a request's id, both ways.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request's id: the caller's own if it is sane, else a new one. Also a request extension, for logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The caller's id: 1 to 128 characters that are safe in a log and a header.
    fn from_header(value: &HeaderValue) -> Option<Self> {
        let text = value.to_str().ok()?;
        let sane = (1..=128).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&b));
        sane.then(|| Self(text.into()))
    }
}

/// Where requests get their ids and answers their time from.
#[derive(Debug, Clone)]
pub struct Context {
    /// Tells the time of answers.
    pub clock: Arc<dyn Clock>,
    /// Makes ids for requests that bring none.
    pub ids: Arc<dyn IdSource>,
}

#[derive(Debug, Clone)]
struct Current {
    clock: Arc<dyn Clock>,
    request_id: RequestId,
}

tokio::task_local! {
    static CURRENT: Current;
}

/// The outermost layer (`axum::middleware::from_fn_with_state(context, http::context)`): within it every answer, an
/// error from any other layer too, carries the request's id and the clock's time.
pub async fn context(State(context): State<Context>, mut request: Request, next: Next) -> Response {
    let given = request.headers().get(X_REQUEST_ID).and_then(RequestId::from_header);
    let request_id = given.unwrap_or_else(|| RequestId(context.ids.next_id().to_string().into()));
    request.extensions_mut().insert(request_id.clone());
    let current = Current { clock: context.clock, request_id: request_id.clone() };
    let mut response = CURRENT.scope(current, next.run(request)).await;
    if let Ok(value) = HeaderValue::from_str(request_id.as_str()) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    response
}

/// Makes an answer where no request came to the router: with a new id, under which it and the clock's time are known
/// inside.
pub fn outside<T>(context: &Context, answer: impl FnOnce(&RequestId) -> T) -> T {
    let request_id = RequestId(context.ids.next_id().to_string().into());
    let current = Current { clock: Arc::clone(&context.clock), request_id: request_id.clone() };
    CURRENT.sync_scope(current, || answer(&request_id))
}

/// The time for the answer under way: the injected clock's. Outside of [`context`], where no request is, the
/// machine's.
#[must_use]
pub fn now() -> DateTime {
    let now = CURRENT.try_with(|c| c.clock.now()).unwrap_or_else(|_| SystemClock.now());
    DateTime::from_millis(now.millis())
}

/// The id of the request under way, if there is one.
pub(super) fn request_id() -> Option<String> {
    CURRENT.try_with(|c| c.request_id.as_str().to_owned()).ok()
}
