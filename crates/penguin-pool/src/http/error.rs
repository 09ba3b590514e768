//! The error body: what every failure looks like to a client.

use super::context;
use aide::OperationOutput;
use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use event_store::{Error, ErrorCode, ExpectedState, StreamName};
use models::DateTime;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use std::borrow::Cow;

/// A failure on its way to the client. Its name and status come from its [`ErrorCode`].
#[derive(Debug, Clone)]
pub struct ApiError(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    code: ErrorCode,
    message: String,
    stream_name: Option<String>,
    details: Vec<Detail>,
    revisions: Option<(ExpectedState, Option<u64>)>,
    retry_after: Option<u64>,
}

impl ApiError {
    /// A failure with a message for people. The message of an internal error goes to the log alone.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let inner = Inner {
            code,
            message: message.into(),
            stream_name: None,
            details: Vec::new(),
            revisions: None,
            retry_after: None,
        };
        Self(Box::new(inner))
    }

    /// Input that breaks the rules, each broken rule a detail.
    #[must_use]
    pub fn invalid(details: Vec<Detail>) -> Self {
        let parts: Vec<_> = details.iter().map(Detail::to_string).collect();
        let mut error = Self::new(ErrorCode::ValidationFailed, parts.join("; "));
        error.0.details = details;
        error
    }

    /// The same, naming the stream that is meant.
    #[must_use]
    pub fn stream(mut self, name: impl Into<String>) -> Self {
        self.0.stream_name = Some(name.into());
        self
    }

    /// The same, saying in how many seconds to try again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.0.retry_after = Some(seconds);
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        self.0.code
    }

    /// What went wrong, for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The body that a client gets, for a feed that fails after its answer began.
    #[must_use]
    pub fn body(self) -> ErrorBody {
        self.into_body(context::now(), context::request_id())
    }

    /// The same for a client that asked by another way than a request, at the time given.
    #[must_use]
    pub fn body_at(self, timestamp: DateTime) -> ErrorBody {
        self.into_body(timestamp, None)
    }

    fn into_body(self, timestamp: DateTime, request_id: Option<String>) -> ErrorBody {
        let Inner { code, message, stream_name, details, revisions, .. } = *self.0;
        ErrorBody {
            success: false,
            error: code.name(),
            kind: Slug(code),
            message: if code == ErrorCode::InternalError { INTERNAL.to_owned() } else { message },
            stream_name,
            status_code: code.http_status(),
            timestamp,
            request_id,
            details,
            expected_revision: revisions.map(|(expected, _)| expected.into()),
            actual_revision: revisions.map(|(_, actual)| actual),
        }
    }

    /// An example of this failure, for the documents.
    pub(super) fn example(code: ErrorCode) -> ErrorBody {
        let stream = StreamName::new("loans-42").map_err(|e| Self::new(code, e.to_string()));
        let error = match (code, stream) {
            (ErrorCode::WrongExpectedRevision, Ok(stream)) => {
                let expected = ExpectedState::Exact(5);
                Error::WrongExpectedRevision { stream, expected, actual: Some(7) }.into()
            }
            (ErrorCode::StreamNotFound, Ok(stream)) => Error::StreamNotFound(stream).into(),
            (ErrorCode::StreamDeleted, Ok(stream)) => Error::StreamDeleted(stream).into(),
            (ErrorCode::PermissionDenied, Ok(stream)) => Error::AccessDenied(stream).into(),
            (ErrorCode::ValidationFailed, _) => {
                Self::invalid(vec![Detail::new("limit", "must be between 1 and 1000")])
            }
            _ => Self::new(code, describe(code)),
        };
        error.into_body(DateTime::from_millis(1_705_314_600_000), Some("0191e7a4-5c1e".to_owned()))
    }
}

/// How to say who one is, for every answer that asks for it.
const CHALLENGES: [&str; 3] = [
    r#"Bearer realm="penguin-pool""#,
    r#"Basic realm="penguin-pool", charset="UTF-8""#,
    r#"ApiKey realm="penguin-pool""#,
];

const INTERNAL: &str = "Something failed inside the service; the log has the details under this request's id";

/// What each code means, in one sentence for the documents.
pub(super) const fn describe(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::ValidationFailed => "The request breaks a rule; `details` names each",
        ErrorCode::InvalidJson => "The body is not JSON, or nests deeper than 128",
        ErrorCode::AuthenticationFailed => "The credentials are missing or wrong",
        ErrorCode::PermissionDenied => "The caller may not do this",
        ErrorCode::StreamNotFound => "The stream does not exist",
        ErrorCode::ServiceNotFound => "The service does not exist",
        ErrorCode::UserNotFound => "The user does not exist",
        ErrorCode::RouteNotFound => "There is nothing at this path",
        ErrorCode::MethodNotAllowed => {
            "The path does not take this method; `Allow` names those that it takes"
        }
        ErrorCode::StreamAlreadyExists => "The stream exists already",
        ErrorCode::WrongExpectedRevision => "The stream is not at the revision that the writer expected",
        ErrorCode::StreamArchived => "The stream is archived: it can be read and not written",
        ErrorCode::StreamDeleted => "The stream was deleted",
        ErrorCode::UserErased => "The user was erased",
        ErrorCode::PayloadTooLarge => "The body is larger than the service takes",
        ErrorCode::EventTooLarge => "An event is larger than the service takes",
        ErrorCode::UriTooLong => "The URI is longer than the service takes",
        ErrorCode::HeadersTooLarge => "The request's headers are larger than the service takes",
        ErrorCode::UnsupportedMediaType => "The content type must be application/json",
        ErrorCode::RateLimited => "Too many requests; `Retry-After` says when to come back",
        ErrorCode::InternalError => INTERNAL,
        ErrorCode::NotImplemented => "The event store in use cannot do this",
        ErrorCode::ConnectionError => "The event store cannot be reached or written now",
        ErrorCode::ShuttingDown => "The service is stopping",
        ErrorCode::Timeout => "There was no answer in time; whether a write happened is not known",
        ErrorCode::StorageFull => "The event store's disk is full",
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let code = error.code();
        match error {
            Error::WrongExpectedRevision { stream, expected, actual } => {
                let is = match actual {
                    Some(revision) => format!("is at revision {revision}"),
                    None => "has no events".to_owned(),
                };
                let message = format!("Stream '{stream}' {is}, and the writer expected {expected}");
                let mut error = Self::new(code, message).stream(stream.as_str());
                error.0.revisions = Some((expected, actual));
                error
            }
            Error::StreamNotFound(stream) => {
                Self::new(code, format!("Stream '{stream}' does not exist")).stream(stream.as_str())
            }
            Error::StreamDeleted(stream) => {
                Self::new(code, format!("Stream '{stream}' was deleted")).stream(stream.as_str())
            }
            Error::Erased(stream) => {
                Self::new(code, format!("Stream '{stream}' was its user's, who was erased"))
                    .stream(stream.as_str())
            }
            Error::AccessDenied(stream) => {
                Self::new(code, format!("Access to stream '{stream}' is denied")).stream(stream.as_str())
            }
            // Their texts name files, which are the log's.
            Error::StorageFull(detail) => {
                tracing::error!(detail, "the event store's disk is full");
                Self::new(code, describe(code))
            }
            Error::ReadOnly(detail) => {
                tracing::error!(detail, "the event store is read-only");
                Self::new(code, "The event store is read-only; the log says why")
            }
            other => Self::new(code, other.to_string()),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Inner { code, retry_after, .. } = *self.0;
        let request_id = context::request_id();
        if code == ErrorCode::InternalError {
            tracing::error!(request_id, error = self.message(), "a request failed inside the service");
        }
        let status = StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self.into_body(context::now(), request_id))).into_response();
        if code == ErrorCode::AuthenticationFailed {
            CHALLENGES.iter().for_each(|challenge| {
                let challenge = HeaderValue::from_static(challenge);
                response.headers_mut().append(header::WWW_AUTHENTICATE, challenge);
            });
        }
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(code);
        response
    }
}

/// Which failures an operation can answer is the operation's to say, not this type's: see [`super::OperationDoc`].
impl OperationOutput for ApiError {
    type Inner = ErrorBody;
}

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "ErrorDetail")]
pub struct Detail {
    /// Where, in the body, the path or the query: `events[0].eventType`. Empty for the whole.
    path: String,
    /// What is wrong there.
    message: String,
}

impl Detail {
    /// A broken rule at a path.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

impl std::fmt::Display for Detail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}

/// What every failure looks like.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    #[schemars(extend("const" = false))]
    success: bool,
    /// The failure's name for people's logs.
    #[schemars(example = &"StreamNotFoundError")]
    error: String,
    #[serde(rename = "type")]
    kind: Slug,
    /// What went wrong, for people.
    message: String,
    /// The stream that is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_name: Option<String>,
    /// The HTTP status.
    #[schemars(extend("format" = "int32"))]
    status_code: u16,
    /// When.
    timestamp: DateTime,
    /// The request's id, as in the header `x-request-id` and the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    /// Each broken rule.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    details: Vec<Detail>,
    /// What the writer expected of the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_revision: Option<Expected>,
    /// The stream's last revision; null if it has no events.
    #[serde(skip_serializing_if = "Option::is_none")]
    actual_revision: Option<Option<u64>>,
}

/// What a writer expected: a revision, or the name of a state.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
enum Expected {
    Revision(u64),
    State(String),
}

impl From<ExpectedState> for Expected {
    fn from(state: ExpectedState) -> Self {
        match state {
            ExpectedState::Exact(revision) => Self::Revision(revision),
            other => Self::State(other.to_string()),
        }
    }
}

/// The failure's name for programs.
#[derive(Debug, Clone, Copy)]
struct Slug(ErrorCode);

impl Serialize for Slug {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.slug())
    }
}

impl JsonSchema for Slug {
    fn schema_name() -> Cow<'static, str> {
        "ErrorType".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let slugs = ErrorCode::ALL.map(ErrorCode::slug);
        json_schema!({ "type": "string", "enum": slugs, "description": "The failure's name for programs; never changed." })
    }
}
