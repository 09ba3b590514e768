//! What the client's errors mean.

use event_store::{Error, ExpectedState, Revision, StreamName};
use kurrentdb::{CurrentRevision, Error as Client};

/// The text of the error that says that another node is the leader.
const REDIRECTED: &str = "another node of the cluster is its leader";

/// What was asked when it failed: the client's errors do not say.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Asked<'a> {
    Read(&'a StreamName),
    ReadAll,
    Write(&'a StreamName, ExpectedState),
}

impl Asked<'_> {
    fn stream(self) -> Option<StreamName> {
        match self {
            Self::Read(stream) | Self::Write(stream, _) => Some(stream.clone()),
            Self::ReadAll => StreamName::new("$streams").ok(),
        }
    }
}

pub(crate) fn of(error: Client, asked: Asked<'_>) -> Error {
    let text = error.to_string();
    let named = |outcome: fn(StreamName) -> Error| {
        asked.stream().map_or_else(|| Error::Internal(text.clone()), outcome)
    };
    match error {
        Client::WrongExpectedVersion { current, .. } => wrong_revision(
            asked,
            match current {
                CurrentRevision::Current(revision) => Some(revision),
                CurrentRevision::NoStream => None,
            },
            text,
        ),
        Client::ResourceDeleted => named(Error::StreamDeleted),
        Client::ResourceNotFound => named(Error::StreamNotFound),
        Client::AccessDenied => named(Error::AccessDenied),
        Client::UnsupportedFeature => Error::Unsupported("do this: its server does not".into()),
        Client::DeadlineExceeded => Error::Timeout(text),
        Client::Grpc { code, message } => of_status(code as i32, message, asked),
        Client::NotLeaderException(_) => Error::Unavailable(REDIRECTED.to_owned()),
        Client::ServerError(_)
        | Client::ConnectionClosed
        | Client::GrpcConnectionError(_)
        | Client::InitializationError(_) => Error::Unavailable(text),
        _ => Error::Internal(text),
    }
}

/// A status that the client has no error for.
fn of_status(code: i32, message: String, asked: Asked<'_>) -> Error {
    match code {
        1 | 8 | 14 => Error::Unavailable(message),
        3 => Error::InvalidArgument(message),
        4 | 10 => Error::Timeout(message),
        9 if message.contains("WrongExpectedVersion") => {
            let actual = actual_version(&message);
            wrong_revision(asked, actual, message)
        }
        9 if message.ends_with("is deleted.") => match asked.stream() {
            Some(stream) => Error::StreamDeleted(stream),
            None => Error::Internal(message),
        },
        _ => Error::Internal(message),
    }
}

fn wrong_revision(asked: Asked<'_>, actual: Option<Revision>, text: String) -> Error {
    match asked {
        Asked::Write(stream, expected) => {
            Error::WrongExpectedRevision { stream: stream.clone(), expected, actual }
        }
        Asked::Read(_) | Asked::ReadAll => Error::Internal(text),
    }
}

/// A delete's actual revision stands in its message alone (the client drops the trailers).
fn actual_version(message: &str) -> Option<Revision> {
    let (_, rest) = message.split_once("Actual version: ")?;
    let digits = rest.split(|c: char| c != '-' && !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// Whether a follower was asked for what is the leader's. Nothing was done, and the client knows the leader now.
pub(crate) fn is_redirect(error: &Error) -> bool {
    matches!(error, Error::Unavailable(text) if text == REDIRECTED)
}

/// Whether the same request may succeed once the connection is back.
pub(crate) fn is_lost(error: &Error) -> bool {
    matches!(error, Error::Unavailable(_) | Error::Timeout(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_actual_version_is_read_from_the_message() {
        let message = |actual: &str| {
            format!(
                "Append failed due to WrongExpectedVersion. Stream: s, Expected version: 7, Actual version: {actual}"
            )
        };
        assert_eq!(actual_version(&message("12")), Some(12));
        assert_eq!(actual_version(&message("12.")), Some(12));
        assert_eq!(actual_version(&message("-1")), None);
        assert_eq!(actual_version("nothing of the kind"), None);
    }
}
