//! The one place that says what an outcome is called and which status it has, on every protocol.

use std::fmt::Write as _;

/// What a client is told went wrong. Its name, its HTTP status, its gRPC status and whether trying again can help are
/// decided here and nowhere else, so that HTTP, sockets and gRPC cannot disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the slug of each says what it is: see `slug`")]
pub enum ErrorCode {
    ValidationFailed,
    InvalidJson,
    AuthenticationFailed,
    PermissionDenied,
    StreamNotFound,
    ServiceNotFound,
    UserNotFound,
    RouteNotFound,
    MethodNotAllowed,
    StreamAlreadyExists,
    WrongExpectedRevision,
    StreamArchived,
    StreamDeleted,
    UserErased,
    PayloadTooLarge,
    EventTooLarge,
    UriTooLong,
    UnsupportedMediaType,
    RateLimited,
    HeadersTooLarge,
    InternalError,
    NotImplemented,
    ConnectionError,
    ShuttingDown,
    Timeout,
    StorageFull,
}

impl ErrorCode {
    /// All of them.
    pub const ALL: [Self; 26] = [
        Self::ValidationFailed,
        Self::InvalidJson,
        Self::AuthenticationFailed,
        Self::PermissionDenied,
        Self::StreamNotFound,
        Self::ServiceNotFound,
        Self::UserNotFound,
        Self::RouteNotFound,
        Self::MethodNotAllowed,
        Self::StreamAlreadyExists,
        Self::WrongExpectedRevision,
        Self::StreamArchived,
        Self::StreamDeleted,
        Self::UserErased,
        Self::PayloadTooLarge,
        Self::EventTooLarge,
        Self::UriTooLong,
        Self::UnsupportedMediaType,
        Self::RateLimited,
        Self::HeadersTooLarge,
        Self::InternalError,
        Self::NotImplemented,
        Self::ConnectionError,
        Self::ShuttingDown,
        Self::Timeout,
        Self::StorageFull,
    ];

    /// Its name for programs: kebab-case, never changed.
    #[must_use]
    pub const fn slug(self) -> &'static str {
        match self {
            Self::ValidationFailed => "validation-failed",
            Self::InvalidJson => "invalid-json",
            Self::AuthenticationFailed => "authentication-failed",
            Self::PermissionDenied => "permission-denied",
            Self::StreamNotFound => "stream-not-found",
            Self::ServiceNotFound => "service-not-found",
            Self::UserNotFound => "user-not-found",
            Self::RouteNotFound => "route-not-found",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::StreamAlreadyExists => "stream-already-exists",
            Self::WrongExpectedRevision => "wrong-expected-revision",
            Self::StreamArchived => "stream-archived",
            Self::StreamDeleted => "stream-deleted",
            Self::UserErased => "user-erased",
            Self::PayloadTooLarge => "payload-too-large",
            Self::EventTooLarge => "event-too-large",
            Self::UriTooLong => "uri-too-long",
            Self::UnsupportedMediaType => "unsupported-media-type",
            Self::RateLimited => "rate-limited",
            Self::HeadersTooLarge => "headers-too-large",
            Self::InternalError => "internal-error",
            Self::NotImplemented => "not-implemented",
            Self::ConnectionError => "connection-error",
            Self::ShuttingDown => "shutting-down",
            Self::Timeout => "timeout",
            Self::StorageFull => "storage-full",
        }
    }

    /// Its name for people's logs: the slug in PascalCase, ending in one `Error`.
    #[must_use]
    pub fn name(self) -> String {
        let mut name = String::new();
        for word in self.slug().split('-') {
            let (first, rest) = word.split_at(1);
            let _ = write!(name, "{}{rest}", first.to_uppercase());
        }
        if !name.ends_with("Error") {
            name.push_str("Error");
        }
        name
    }

    /// The HTTP status.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::ValidationFailed | Self::InvalidJson => 400,
            Self::AuthenticationFailed => 401,
            Self::PermissionDenied => 403,
            Self::StreamNotFound | Self::ServiceNotFound | Self::UserNotFound | Self::RouteNotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::StreamAlreadyExists | Self::WrongExpectedRevision | Self::StreamArchived => 409,
            Self::StreamDeleted | Self::UserErased => 410,
            Self::PayloadTooLarge | Self::EventTooLarge => 413,
            Self::UriTooLong => 414,
            Self::UnsupportedMediaType => 415,
            Self::RateLimited => 429,
            Self::HeadersTooLarge => 431,
            Self::InternalError => 500,
            Self::NotImplemented => 501,
            Self::ConnectionError | Self::ShuttingDown => 503,
            Self::Timeout => 504,
            Self::StorageFull => 507,
        }
    }

    /// The gRPC status (google.rpc.Code), as KurrentDB's clients expect it.
    #[must_use]
    pub const fn grpc_status(self) -> u8 {
        match self {
            Self::ValidationFailed
            | Self::InvalidJson
            | Self::PayloadTooLarge
            | Self::EventTooLarge
            | Self::UriTooLong
            | Self::HeadersTooLarge
            | Self::UnsupportedMediaType => 3,
            Self::StreamNotFound | Self::ServiceNotFound | Self::UserNotFound | Self::RouteNotFound => 5,
            Self::StreamAlreadyExists => 6,
            Self::PermissionDenied => 7,
            Self::RateLimited | Self::StorageFull => 8,
            Self::WrongExpectedRevision | Self::StreamArchived | Self::StreamDeleted | Self::UserErased => 9,
            Self::Timeout => 10,
            Self::MethodNotAllowed | Self::NotImplemented => 12,
            Self::InternalError => 13,
            Self::ConnectionError | Self::ShuttingDown => 14,
            Self::AuthenticationFailed => 16,
        }
    }

    /// Whether the very same request can succeed later.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::RateLimited
                | Self::ConnectionError
                | Self::ShuttingDown
                | Self::Timeout
                | Self::StorageFull
        )
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.slug())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_from_slugs_and_none_is_used_twice() {
        assert_eq!(ErrorCode::StreamNotFound.name(), "StreamNotFoundError");
        assert_eq!(ErrorCode::InternalError.name(), "InternalError");
        assert_eq!(ErrorCode::ConnectionError.name(), "ConnectionError");
        let slugs: std::collections::BTreeSet<_> = ErrorCode::ALL.iter().map(|c| c.slug()).collect();
        assert_eq!(slugs.len(), ErrorCode::ALL.len());
    }
}
