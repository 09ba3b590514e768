//! JSON that is kept as it came.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A JSON object as the client wrote it: key order, white space and every digit of its numbers are kept.
#[derive(Debug, Clone)]
pub struct JsonObject(Box<RawValue>);

impl JsonObject {
    /// Keeps a text, if it is a JSON object.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_text(text: String) -> Result<Self, serde_json::Error> {
        let raw = RawValue::from_string(text)?;
        if !raw.get().starts_with('{') {
            return Err(serde_json::Error::custom("invalid type: expected a JSON object"));
        }
        Ok(Self(raw))
    }

    /// The text.
    #[must_use]
    pub fn get(&self) -> &str {
        self.0.get()
    }

    /// The text, to keep.
    #[must_use]
    pub fn into_text(self) -> String {
        Box::<str>::from(self.0).into()
    }
}

/// The same text.
impl PartialEq for JsonObject {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl<'de> Deserialize<'de> for JsonObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        if !raw.get().starts_with('{') {
            return Err(D::Error::custom("invalid type: expected a JSON object"));
        }
        Ok(Self(raw))
    }
}

impl Serialize for JsonObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl JsonSchema for JsonObject {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "JsonObject".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": true })
    }
}

/// For answers, where every property is always there: `null` then means that there is none.
pub(crate) fn all_required(schema: &mut Schema) {
    let names: Vec<_> = schema
        .get("properties")
        .and_then(|p| p.as_object())
        .into_iter()
        .flatten()
        .map(|(k, _)| k.clone())
        .collect();
    schema.insert("required".into(), names.into());
}

/// In a query: a key that is left blank counts as not given.
pub(crate) fn blank_is_none<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    match Cow::<'de, str>::deserialize(deserializer)? {
        text if text.is_empty() => Ok(None),
        text => text.parse().map(Some).map_err(D::Error::custom),
    }
}
