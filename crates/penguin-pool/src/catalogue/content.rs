//! Looking into events' JSON as it was written, without making values of it: numbers keep every digit.

use event_store::{ContentType, RecordedEvent};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::HashMap};

/// Whether an event's data is what it says to be. KurrentDB's clients may call anything JSON.
pub(super) fn is_json(event: &RecordedEvent) -> bool {
    event.content_type == ContentType::Json && serde_json::from_slice::<IgnoredAny>(&event.data).is_ok()
}

/// The texts and numbers in sound JSON, keys left out, for the word index.
pub(super) fn words(json: &[u8]) -> String {
    let mut words = String::new();
    let mut at = 0;
    while at < json.len() {
        let end = match json[at] {
            b'"' => {
                let end = string_end(json, at);
                let is_key = json[end..].iter().find(|b| !b.is_ascii_whitespace()) == Some(&b':');
                if !is_key && let Ok(text) = serde_json::from_slice::<Cow<'_, str>>(&json[at..end]) {
                    words.push_str(&text);
                    words.push('\n');
                }
                end
            }
            b'-' | b'0'..=b'9' => {
                let more = |b: &u8| b.is_ascii_digit() || b"+-.eE".contains(b);
                let end = at + json[at..].iter().take_while(|b| more(b)).count();
                words.push_str(&String::from_utf8_lossy(&json[at..end]));
                words.push('\n');
                end
            }
            _ => at + 1,
        };
        at = end;
    }
    words
}

/// Where the text that begins with the quote at `at` ends: behind its closing quote.
fn string_end(json: &[u8], at: usize) -> usize {
    let mut end = at + 1;
    while end < json.len() && json[end] != b'"' {
        end += if json[end] == b'\\' { 2 } else { 1 };
    }
    (end + 1).min(json.len())
}

/// The value that a path of keys and indexes leads to, as it was written. Of a key that stands twice, the last counts.
pub(super) fn find<'j>(json: &'j str, path: &[String]) -> Option<Cow<'j, str>> {
    let mut value: &'j str = json.trim();
    for step in path {
        value = match value.as_bytes().first()? {
            b'{' => {
                let map: HashMap<Cow<'j, str>, &'j RawValue> = serde_json::from_str(value).ok()?;
                map.get(step.as_str())?.get()
            }
            b'[' => {
                let sound = step == "0" || !step.starts_with(['0', '+']);
                let index: usize = step.parse().ok().filter(|_| sound)?;
                let list: Vec<&'j RawValue> = serde_json::from_str(value).ok()?;
                list.get(index)?.get()
            }
            _ => return None,
        };
    }
    Some(Cow::Borrowed(value.trim()))
}

/// The elements of an array, as they were written.
pub(super) fn elements(array: &str) -> Vec<&str> {
    let list: Vec<&RawValue> = serde_json::from_str(array).unwrap_or_default();
    list.into_iter().map(RawValue::get).collect()
}

/// The members of an object, as they were written; of a key that stands twice, the last.
pub(super) fn members(object: &str) -> HashMap<Cow<'_, str>, &RawValue> {
    serde_json::from_str(object).unwrap_or_default()
}

/// The steps of a JSON Pointer (RFC 6901), or nothing if it is none.
pub(super) fn pointer(text: &str) -> Option<Vec<String>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let step = |step: &str| {
        let mut plain = String::with_capacity(step.len());
        let mut chars = step.chars();
        while let Some(c) = chars.next() {
            plain.push(match c {
                '~' => match chars.next()? {
                    '0' => '~',
                    '1' => '/',
                    _ => return None,
                },
                c => c,
            });
        }
        Some(plain)
    };
    text.strip_prefix('/')?.split('/').map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_numbers_are_words_and_keys_are_not() {
        let json = r#"{"key":"a \"quoted\" é","list":[1, -2.50e3, true, null],"n":9007199254740993, "k" : {"x":""}}"#;
        assert_eq!(words(json.as_bytes()), "a \"quoted\" é\n1\n-2.50e3\n9007199254740993\n\n");
    }

    #[test]
    fn a_pointer_leads_to_the_text_that_was_written() {
        let json = r#"{"a/b":[10, {"~":1.50}], "a":{"":7}, "twice":1, "twice":2}"#;
        let at = |path: &str| find(json, &pointer(path).unwrap()).map(Cow::into_owned);
        assert_eq!(at("/a~1b/1/~0").as_deref(), Some("1.50"));
        assert_eq!(at("/a~1b/0").as_deref(), Some("10"));
        assert_eq!(at("/a~1b/00"), None);
        assert_eq!(at("/a~1b/2"), None);
        assert_eq!(at("/a/").as_deref(), Some("7"));
        assert_eq!(at("/twice").as_deref(), Some("2"));
        assert_eq!(at("").as_deref(), Some(json));
        assert_eq!(pointer("a"), None);
        assert_eq!(pointer("/~2"), None);
    }
}
