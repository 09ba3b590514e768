//! Data that is sent as it stands.
//!
//! The client takes JSON events as something to serialise, and has no other way to say that bytes are JSON. Serialising a
//! `RawValue` would do, if it did not trim and refuse: the store promises bytes back as they came, an empty event's too.
//! So this is serialised as `serde_json` serialises its own `RawValue`; a test holds it to that.

use serde::{Serialize, Serializer, ser::SerializeStruct};

/// The name by which `serde_json` knows what it is to write out unchanged.
const RAW: &str = "$serde_json::private::RawValue";

pub(crate) struct Verbatim<'a>(pub(crate) &'a str);

impl Serialize for Verbatim<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut raw = serializer.serialize_struct(RAW, 1)?;
        raw.serialize_field(RAW, self.0)?;
        raw.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in() {
        for text in ["", " {\"b\": 1,\n\"a\":9007199254740993000} ", "not json", "\"\u{1f427}\""] {
            assert_eq!(serde_json::to_vec(&Verbatim(text)).unwrap(), text.as_bytes());
        }
    }
}
