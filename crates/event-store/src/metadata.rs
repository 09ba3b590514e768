//! Stream metadata: what the store obeys, and what others keep beside it.

use crate::{NewEvent, Revision};
use serde_json::{Map, Value};
use std::time::Duration;
use uuid::Uuid;

/// The type of the events in a metastream.
pub const METADATA_EVENT_TYPE: &str = "$metadata";

/// The `$tb` of a softly deleted stream (KurrentDB's `i64::MAX`).
pub const SOFT_DELETED: Revision = i64::MAX as u64;

/// A stream's metadata, as kept in its metastream as a JSON object.
///
/// Keys that the store does not know are kept in `custom`, in their order. A known key with a value that makes no sense
/// is kept there too and obeyed by nobody.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StreamMetadata {
    /// `$maxAge`: older events cannot be read (seconds, at least 1).
    pub max_age: Option<Duration>,
    /// `$maxCount`: only so many of the newest events can be read (at least 1).
    pub max_count: Option<u64>,
    /// `$tb`: events before this revision cannot be read; [`SOFT_DELETED`] deletes the stream softly.
    pub truncate_before: Option<Revision>,
    /// `$cacheControl`: how long a reader may keep a page (seconds). For others to obey.
    pub cache_control: Option<Duration>,
    /// `$acl`: who may do what.
    pub acl: Option<Acl>,
    /// Everything else.
    pub custom: Map<String, Value>,
}

/// `$acl`: for each right the users and roles that have it; nothing means the store's default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Acl {
    /// `$r`: may read events.
    pub read: Option<Vec<String>>,
    /// `$w`: may append.
    pub write: Option<Vec<String>>,
    /// `$d`: may delete.
    pub delete: Option<Vec<String>>,
    /// `$mr`: may read the metadata.
    pub meta_read: Option<Vec<String>>,
    /// `$mw`: may write the metadata.
    pub meta_write: Option<Vec<String>>,
}

impl Acl {
    /// Everything for KurrentDB's group of administrators (`$admins`), and nothing for anybody else: what a stream of the
    /// service's own says, to KurrentDB's other clients too.
    #[must_use]
    pub fn admins() -> Self {
        let admins = Some(vec!["$admins".to_owned()]);
        Self {
            read: admins.clone(),
            write: admins.clone(),
            delete: admins.clone(),
            meta_read: admins.clone(),
            meta_write: admins,
        }
    }
}

/// Metadata and where it stands in the metastream.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct VersionedMetadata {
    /// The revision in the metastream, for an [`crate::ExpectedState::Exact`] change; nothing if none was ever set.
    pub revision: Option<Revision>,
    /// The metadata; the default if none was ever set.
    pub metadata: StreamMetadata,
}

impl StreamMetadata {
    /// Whether it says that the stream is softly deleted.
    #[must_use]
    pub fn is_soft_deleted(&self) -> bool {
        self.truncate_before == Some(SOFT_DELETED)
    }

    /// From the data of a `$metadata` event. What is no JSON object counts as empty metadata.
    #[must_use]
    pub fn from_json(data: &[u8]) -> Self {
        match serde_json::from_slice(data) {
            Ok(Value::Object(map)) => Self::from_map(map),
            _ => Self::default(),
        }
    }

    /// From a JSON object.
    #[must_use]
    pub fn from_map(map: Map<String, Value>) -> Self {
        let mut metadata = Self::default();
        let seconds = |v: &Value| v.as_u64().filter(|s| *s > 0).map(Duration::from_secs);
        for (key, value) in map {
            let known = match key.as_str() {
                "$maxAge" => set(&mut metadata.max_age, seconds(&value)),
                "$maxCount" => set(&mut metadata.max_count, value.as_u64().filter(|n| *n > 0)),
                "$tb" => set(&mut metadata.truncate_before, value.as_u64().filter(|n| *n <= SOFT_DELETED)),
                "$cacheControl" => set(&mut metadata.cache_control, seconds(&value)),
                "$acl" => set(&mut metadata.acl, Acl::from_value(&value)),
                _ => false,
            };
            if !known {
                metadata.custom.insert(key, value);
            }
        }
        metadata
    }

    /// As a JSON object: the known keys first, then the others in their order.
    #[must_use]
    pub fn to_map(&self) -> Map<String, Value> {
        let mut map = Map::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                map.insert(key.to_owned(), value);
            }
        };
        put("$maxAge", self.max_age.map(|d| d.as_secs().into()));
        put("$maxCount", self.max_count.map(Into::into));
        put("$tb", self.truncate_before.map(Into::into));
        put("$cacheControl", self.cache_control.map(|d| d.as_secs().into()));
        put("$acl", self.acl.as_ref().map(Acl::to_value));
        map.extend(self.custom.clone());
        map
    }

    /// The `$metadata` event that sets this metadata.
    #[must_use]
    pub fn to_event(&self, id: Uuid) -> NewEvent {
        NewEvent::json(id, METADATA_EVENT_TYPE, Value::Object(self.to_map()).to_string())
    }
}

fn set<T>(place: &mut Option<T>, value: Option<T>) -> bool {
    let known = value.is_some();
    *place = value;
    known
}

impl Acl {
    /// From the value of `$acl`: an object whose values are a name or an array of names.
    #[must_use]
    pub fn from_value(value: &Value) -> Option<Self> {
        let map = value.as_object()?;
        let names = |key: &str| match map.get(key)? {
            Value::String(name) => Some(vec![name.clone()]),
            Value::Array(names) => Some(names.iter().filter_map(|n| n.as_str().map(str::to_owned)).collect()),
            _ => None,
        };
        Some(Self {
            read: names("$r"),
            write: names("$w"),
            delete: names("$d"),
            meta_read: names("$mr"),
            meta_write: names("$mw"),
        })
    }

    /// As the value of `$acl`.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let rights = [
            ("$r", &self.read),
            ("$w", &self.write),
            ("$d", &self.delete),
            ("$mr", &self.meta_read),
            ("$mw", &self.meta_write),
        ];
        let given = rights.into_iter().filter_map(|(key, names)| {
            names.as_ref().map(|names| (key.to_owned(), Value::from(names.clone())))
        });
        Value::Object(given.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names() -> impl Strategy<Value = Option<Vec<String>>> {
        proptest::option::of(proptest::collection::vec("[a-z$]{1,8}", 0..3))
    }

    prop_compose! {
        fn metadata()(
            age in proptest::option::of(1..=u64::from(u32::MAX)),
            count in proptest::option::of(1..=u64::MAX),
            tb in proptest::option::of(0..=SOFT_DELETED),
            cache in proptest::option::of(1..=u64::from(u32::MAX)),
            acl in proptest::option::of((names(), names(), names(), names(), names())),
            custom in proptest::collection::vec(("[a-z]{1,6}", any::<i64>()), 0..4),
        ) -> StreamMetadata {
            StreamMetadata {
                max_age: age.map(Duration::from_secs),
                max_count: count,
                truncate_before: tb,
                cache_control: cache.map(Duration::from_secs),
                acl: acl.map(|(read, write, delete, meta_read, meta_write)| {
                    Acl { read, write, delete, meta_read, meta_write }
                }),
                custom: custom.into_iter().map(|(k, v)| (k, v.into())).collect(),
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(metadata in metadata()) {
            let event = metadata.to_event(Uuid::nil());
            prop_assert_eq!(StreamMetadata::from_json(&event.data), metadata);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(data: Vec<u8>) {
            let _ = StreamMetadata::from_json(&data);
        }
    }

    #[test]
    fn a_name_alone_is_an_array_of_one_and_nonsense_is_kept_as_custom() {
        let read = StreamMetadata::from_json(br#"{"$acl":{"$r":"bob"},"$maxCount":"many","x":1}"#);
        assert_eq!(read.acl.unwrap().read.unwrap(), ["bob"]);
        assert_eq!(read.max_count, None);
        assert_eq!(read.custom.keys().collect::<Vec<_>>(), ["$maxCount", "x"]);
    }
}
