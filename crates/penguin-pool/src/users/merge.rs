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
    for (key, change) in members(patch)?.0 {
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

/// The members of an object, in their order, as they were written; of a key that stands twice, the last.
struct Members<'a>(Vec<(String, Cow<'a, str>)>);

fn members(json: &str) -> serde_json::Result<Members<'_>> {
    serde_json::from_str(json)
}

impl<'a> Members<'a> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_ref())
    }

    fn take(&mut self, key: &str) {
        self.0.retain(|(known, _)| known != key);
    }

    fn set(&mut self, key: String, value: Cow<'a, str>) {
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key, value)),
        }
    }

    fn write(&self) -> serde_json::Result<String> {
        let mut text = String::from("{");
        for (index, (key, value)) in self.0.iter().enumerate() {
            if index > 0 {
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
                let mut members: Vec<(String, Cow<'de, str>)> = Vec::new();
                let mut known = HashMap::<String, usize>::new();
                while let Some((key, value)) = map.next_entry::<String, &'de RawValue>()? {
                    match known.get(&key) {
                        Some(&at) => members[at].1 = value.get().into(),
                        None => {
                            known.insert(key.clone(), members.len());
                            members.push((key, value.get().into()));
                        }
                    }
                }
                Ok(Members(members))
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
