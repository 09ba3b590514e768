//! JSON Merge Patch (RFC 7396) on JSON as it was written: what is not touched keeps its order and every digit.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::HashMap, fmt};

/// The target, changed by the patch.
///
/// # Errors
/// If either is no JSON.
pub(super) fn merge(target: &str, patch: &str) -> serde_json::Result<String> {
    if !is_object(patch) {
        return Ok(patch.to_owned());
    }
    let mut merged = members(if is_object(target) { target } else { "{}" })?;
    for (key, change) in members(patch)?.places.into_iter().flatten() {
        let change = change.as_ref();
        if change == "null" {
            merged.take(&key);
        } else if is_object(change) {
            let value = merge(merged.get(&key).unwrap_or("null"), change)?;
            merged.set(key, value.into());
        } else {
            merged.set(key, change.to_owned().into());
        }
    }
    merged.write()
}

fn is_object(json: &str) -> bool {
    json.trim_start().starts_with('{')
}

/// The members of an object, in their order, as they were written; of a key that stands twice, the last. Who writes an
/// object says how many there are: nothing here looks through all of them for one.
#[derive(Default)]
struct Members<'a> {
    /// By their places; those that were taken away have left theirs empty.
    places: Vec<Option<(String, Cow<'a, str>)>>,
    known: HashMap<String, usize>,
}

fn members(json: &str) -> serde_json::Result<Members<'_>> {
    serde_json::from_str(json)
}

impl<'a> Members<'a> {
    fn get(&self, key: &str) -> Option<&str> {
        let place = self.places.get(*self.known.get(key)?)?;
        place.as_ref().map(|(_, value)| value.as_ref())
    }

    fn take(&mut self, key: &str) {
        if let Some(place) = self.known.remove(key) {
            self.places[place] = None;
        }
    }

    fn set(&mut self, key: String, value: Cow<'a, str>) {
        match self.known.get(&key) {
            Some(&place) => self.places[place] = Some((key, value)),
            None => {
                self.known.insert(key.clone(), self.places.len());
                self.places.push(Some((key, value)));
            }
        }
    }

    fn write(&self) -> serde_json::Result<String> {
        let mut text = String::from("{");
        for (key, value) in self.places.iter().flatten() {
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(&serde_json::to_string(key)?);
            text.push(':');
            text.push_str(value);
        }
        text.push('}');
        Ok(text)
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Members::default();
                while let Some((key, value)) = map.next_entry::<String, &'de RawValue>()? {
                    members.set(key, value.get().into());
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    /// The table of the RFC's appendix, as far as both are objects.
    #[test]
    fn the_examples_of_the_rfc_hold() {
        for (target, patch, result) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, r#"{}"#),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
            (r#"{}"#, r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ] {
            assert_eq!(merge(target, patch).unwrap(), result, "{target} {patch}");
        }
    }

    #[test]
    fn order_and_digits_survive() {
        let target =
            r#"{ "z": 0.10000000000000000555, "a": 12345678901234567890123, "z2": { "x" : 1e400 } }"#;
        let merged = merge(target, r#"{"new":1.0,"a":-0}"#).unwrap();
        assert_eq!(merged, r#"{"z":0.10000000000000000555,"a":-0,"z2":{ "x" : 1e400 },"new":1.0}"#);
        assert_eq!(merge(r#"{"a":1,"b":2,"\u0061":3}"#, "{}").unwrap(), r#"{"a":3,"b":2}"#);
    }

    /// As many members as a body may bring are merged one by one: a look through all for each would take hours.
    #[test]
    fn any_number_of_members_is_merged_in_one_go() {
        let object = |end: &str| {
            let members: Vec<_> = (0..100_000).map(|n| format!("\"{n}\":{end}")).collect();
            format!("{{{}}}", members.join(","))
        };
        let (ones, twos) = (object("1"), object("2"));
        assert_eq!(merge(&ones, &twos).unwrap(), twos);
        assert_eq!(merge("{}", &twos).unwrap(), twos);
        assert_eq!(merge(&ones, &object("null")).unwrap(), "{}");
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-z\"\\\\é]{0,4}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                object(inner).prop_map(Value::from)
            ]
        })
    }

    fn object(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
        proptest::collection::vec(("[a-c\"é]", inner), 0..4).prop_map(|members| members.into_iter().collect())
    }

    /// The RFC's own pseudo-code.
    fn plain(target: Value, patch: &Value) -> Value {
        let Value::Object(patch) = patch else { return patch.clone() };
        let mut target = match target {
            Value::Object(target) => target,
            _ => Map::new(),
        };
        for (key, value) in patch {
            if value.is_null() {
                target.shift_remove(key);
            } else {
                let old = target.get(key).cloned().unwrap_or(Value::Null);
                target.insert(key.clone(), plain(old, value));
            }
        }
        Value::Object(target)
    }

    proptest! {
        #[test]
        fn the_text_is_merged_as_the_values_are(target in object(json()), patch in object(json())) {
            let (target, patch) = (json!(target), json!(patch));
            let merged = merge(&target.to_string(), &patch.to_string()).unwrap();
            prop_assert_eq!(merged, plain(target, &patch).to_string());
        }
    }
}
