//! What a stream's own metadata (`$$name`) says of it, beside what the store obeys (`$maxAge`, `$acl`, …).

use super::{Principal, SettableStatus, Tag, entity::shallow_map};
use crate::DateTime;
use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Whether a stream is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StreamStatus {
    /// It can be read and written.
    #[default]
    Active,
    /// It can be read.
    Archived,
    /// It was deleted.
    Deleted,
}

/// The description of a stream as persisted in the free keys of its metadata. Keys that are not known are left alone.
///
/// Every key may be missing: streams that were not made by this API have none of them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StreamDescription {
    /// What the stream is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Free descriptive data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Map<String, Value>>,
    /// Words to find it by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// When it was made (RFC 3339); the first event's time where it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// When the description last changed (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<String>,
    /// How often the description was set, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The semantic version of the stream's schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<String>,
    /// `active` or `archived`. A deleted stream is told by the store itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<StreamStatus>,
}

impl StreamDescription {
    /// From the free keys of a stream's metadata. A key whose value makes no sense counts as missing: others write
    /// there too.
    #[must_use]
    pub fn read(map: &Map<String, Value>) -> Self {
        fn get<T: for<'de> Deserialize<'de>>(map: &Map<String, Value>, key: &str) -> Option<T> {
            T::deserialize(map.get(key)?).ok()
        }
        Self {
            description: get(map, "description"),
            data: get(map, "data"),
            tags: get(map, "tags"),
            owner: get(map, "owner"),
            created_at: get(map, "createdAt"),
            updated_at: get(map, "updatedAt"),
            version: get(map, "version"),
            schema_version: get(map, "schemaVersion"),
            status: get(map, "status"),
        }
    }

    /// When the stream was made, if it says so.
    #[must_use]
    pub fn created(&self) -> Option<DateTime> {
        self.created_at.as_deref().and_then(|text| text.parse().ok())
    }

    /// When the description last changed, if it says so.
    #[must_use]
    pub fn updated(&self) -> Option<DateTime> {
        self.updated_at.as_deref().and_then(|text| text.parse().ok())
    }

    /// The stream's status. The store knows whether it was deleted, whatever stands here.
    #[must_use]
    pub const fn status(&self, deleted: bool) -> StreamStatus {
        match self.status {
            _ if deleted => StreamStatus::Deleted,
            Some(StreamStatus::Archived) => StreamStatus::Archived,
            _ => StreamStatus::Active,
        }
    }

    /// The first of its keys in a stream's metadata whose value makes no sense: where, and what is wrong there. What is
    /// [read](Self::read) passes over such a key, what is asked to be written is to have none.
    #[must_use]
    pub fn fault(map: &Map<String, Value>) -> Option<(String, String)> {
        fn typed<T: for<'de> Deserialize<'de>>(key: &str, value: &Value) -> Option<(String, String)> {
            T::deserialize(value).err().map(|error| (key.to_owned(), error.to_string()))
        }
        fn checked<T: for<'de> Deserialize<'de> + Validate<Context = ()>>(
            key: &str,
            value: &Value,
        ) -> Option<(String, String)> {
            match T::deserialize(value) {
                Err(error) => Some((key.to_owned(), error.to_string())),
                Ok(value) => {
                    let report = value.validate().err()?;
                    report.iter().next().map(|(path, error)| (format!("{key}{path}"), error.to_string()))
                }
            }
        }
        map.iter().find_map(|(key, value)| match key.as_str() {
            "description" => checked::<Description>(key, value),
            "data" => checked::<Data>(key, value),
            "tags" => checked::<Tags>(key, value),
            "owner" => checked::<Principal>(key, value),
            "createdAt" | "updatedAt" => typed::<DateTime>(key, value),
            "version" => checked::<Version>(key, value),
            "schemaVersion" => checked::<SchemaVersion>(key, value),
            "status" => typed::<SettableStatus>(key, value),
            _ => None,
        })
    }

    /// Into the free keys of a stream's metadata. Other keys, and those that say nothing here, stay as they are.
    pub fn write(&self, map: &mut Map<String, Value>) {
        if let Ok(Value::Object(keys)) = serde_json::to_value(self) {
            map.extend(keys);
        }
    }
}

/// Declares what a key's value is held to.
macro_rules! rules {
    ($($name:ident($type:ty), [$($rule:tt)*];)*) => {$(
        #[derive(Deserialize, Validate)]
        #[serde(transparent)]
        #[garde(transparent)]
        struct $name(#[garde($($rule)*)] $type);
    )*};
}

rules! {
    Description(String), [length(chars, max = 2000)];
    Data(Map<String, Value>), [custom(shallow_map)];
    Tags(Vec<Tag>), [length(max = 100), dive];
    Version(u64), [range(min = 1)];
    SchemaVersion(String), [length(chars, max = 200), pattern(r"^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)([-+][0-9A-Za-z.+-]+)?$")];
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_written_is_read_back_and_other_keys_stay() {
        let description = StreamDescription {
            description: Some("Loans".into()),
            data: json!({ "x": [1] }).as_object().cloned(),
            tags: Some(vec!["a".into()]),
            owner: Some("bob".into()),
            created_at: Some("2024-01-15T10:30:00.000Z".into()),
            updated_at: Some("2024-01-16T10:30:00.000Z".into()),
            version: Some(2),
            schema_version: Some("1.0.0".into()),
            status: Some(StreamStatus::Archived),
        };
        let mut map = json!({ "theirs": 1, "version": 1 }).as_object().cloned().unwrap();
        description.write(&mut map);
        assert_eq!(StreamDescription::read(&map), description);
        assert_eq!(map["theirs"], 1);
    }

    #[test]
    fn nonsense_counts_as_missing_and_spoils_nothing_else() {
        let map = json!({ "tags": 7, "owner": "bob" }).as_object().cloned().unwrap();
        let read = StreamDescription::read(&map);
        assert_eq!((read.tags, read.owner), (None, Some("bob".into())));
    }

    #[test]
    fn the_first_value_that_makes_no_sense_is_named() {
        for (map, path) in [
            (json!({ "description": 7 }), "description"),
            (json!({ "description": "x".repeat(2001) }), "description"),
            (json!({ "data": [] }), "data"),
            (json!({ "tags": "a" }), "tags"),
            (json!({ "tags": ["a", ""] }), "tags[1]"),
            (json!({ "owner": null }), "owner"),
            (json!({ "createdAt": "yesterday" }), "createdAt"),
            (json!({ "version": 0 }), "version"),
            (json!({ "schemaVersion": "1.0" }), "schemaVersion"),
            (json!({ "status": "deleted" }), "status"),
        ] {
            let (found, message) = StreamDescription::fault(map.as_object().unwrap()).unwrap();
            assert_eq!((found.as_str(), message.is_empty()), (path, false), "{map}");
        }
        let sound = json!({
            "description": "", "data": {}, "tags": ["a"], "owner": "bob", "createdAt": "2024-01-15T10:30:00Z",
            "updatedAt": "2024-01-15T10:30:00.000Z", "version": 3, "schemaVersion": "1.2.0-rc.1", "status": "archived",
            "team": ["lending"],
        });
        assert_eq!(StreamDescription::fault(sound.as_object().unwrap()), None);
    }
}
