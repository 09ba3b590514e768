//! What a writer says of the stream before it writes.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use std::{borrow::Cow, fmt};

/// The greatest revision there can be.
const MAX_REVISION: u64 = i64::MAX as u64;

/// What must be so for the write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StreamState {
    /// Nothing.
    #[default]
    Any,
    /// The stream has no events.
    NoStream,
    /// The stream has events.
    StreamExists,
    /// The stream's last event has this revision.
    Revision(u64),
}

impl std::str::FromStr for StreamState {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match text {
            "any" => Ok(Self::Any),
            "no-stream" => Ok(Self::NoStream),
            "stream-exists" => Ok(Self::StreamExists),
            _ => match text.parse() {
                Ok(revision) if digits && revision <= MAX_REVISION => Ok(Self::Revision(revision)),
                _ => Err(format!("'{text}' is not any, no-stream, stream-exists, or a revision")),
            },
        }
    }
}

impl<'de> Deserialize<'de> for StreamState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = StreamState;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any, no-stream, stream-exists, or a revision")
            }
            fn visit_u64<E: de::Error>(self, revision: u64) -> Result<StreamState, E> {
                if revision > MAX_REVISION {
                    return Err(E::invalid_value(de::Unexpected::Unsigned(revision), &self));
                }
                Ok(StreamState::Revision(revision))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<StreamState, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for StreamState {
    fn schema_name() -> Cow<'static, str> {
        "StreamState".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "What must be so of the stream: `any` (nothing), `no-stream` (it has no events), \
                            `stream-exists` (it has), or the revision of its last event.",
            "anyOf": [
                { "type": "string", "enum": ["any", "no-stream", "stream-exists"] },
                { "type": "integer", "format": "int64", "minimum": 0 },
                { "type": "string", "pattern": "^[0-9]{1,19}$" },
            ],
            "examples": ["no-stream"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_words_integers_or_decimal_text() {
        let read = |json: &str| serde_json::from_str::<StreamState>(json).ok();
        assert_eq!(read("\"no-stream\""), Some(StreamState::NoStream));
        assert_eq!(read("7"), Some(StreamState::Revision(7)));
        assert_eq!(read("\"7\""), Some(StreamState::Revision(7)));
        for bad in ["-1", "1.5", "\"+7\"", "\"\"", "\"nostream\"", "9223372036854775808", "null", "true"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
