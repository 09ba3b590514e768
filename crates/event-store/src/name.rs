//! The lenient name: anything that a store may hold. A stricter one for creating is the API's matter.

use crate::Derived;
use std::sync::Arc;

/// The longest name that a store takes, in bytes of UTF-8.
pub const MAX_NAME_BYTES: usize = 1024;

/// A stream's name: 1 to [`MAX_NAME_BYTES`] bytes of UTF-8; a metastream's has its two more.
///
/// Names starting with `$` are the system's, and those starting with `$$` are *metastreams*: `$$x` keeps the
/// metadata of `x`. Cloning is cheap.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamName(Arc<str>);

/// Why a text is no stream name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// It has no characters.
    #[error("a stream name must not be empty")]
    Empty,
    /// It is longer than [`MAX_NAME_BYTES`], the `$$` of a metastream not counted.
    #[error("a stream name must not be longer than {MAX_NAME_BYTES} bytes, and this one has {0}")]
    TooLong(usize),
    /// It is `$all` or `$$`, which name no stream.
    #[error("this name is reserved: it names no single stream")]
    Reserved,
}

impl StreamName {
    /// Checks and wraps a name.
    ///
    /// # Errors
    /// [`InvalidName`] if it is empty, too long, or one of the reserved names `$all` and `$$`.
    pub fn new(name: impl Into<Arc<str>>) -> Result<Self, InvalidName> {
        let name = name.into();
        match name.as_ref() {
            "" => Err(InvalidName::Empty),
            "$all" | "$$" => Err(InvalidName::Reserved),
            n if n.strip_prefix("$$").unwrap_or(n).len() > MAX_NAME_BYTES => {
                Err(InvalidName::TooLong(n.len()))
            }
            _ => Ok(Self(name)),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it starts with `$`: the system's streams, metastreams among them.
    #[must_use]
    pub fn is_system(&self) -> bool {
        self.0.starts_with('$')
    }

    /// Whether it starts with `$$`: the stream of another stream's metadata.
    #[must_use]
    pub fn is_metastream(&self) -> bool {
        self.0.starts_with("$$")
    }

    /// The stream that keeps this one's metadata, or nothing for a metastream, which has none of its own.
    #[must_use]
    pub fn metastream(&self) -> Option<Self> {
        (!self.is_metastream()).then(|| Self(format!("$${}", self.0).into()))
    }

    /// For the metastream `$$x`, the stream `x`.
    #[must_use]
    pub fn original(&self) -> Option<Self> {
        self.0.strip_prefix("$$").map(|original| Self(original.into()))
    }

    /// KurrentDB's category: what stands before the first `-`, if that is anything. The system's streams have none.
    #[must_use]
    pub fn category(&self) -> Option<&str> {
        crate::category_of(self.0.as_bytes()).and_then(|category| self.0.get(..category.len()))
    }

    /// What it gathers, if it is a derived stream.
    #[must_use]
    pub fn derived(&self) -> Option<Derived<'_>> {
        Derived::named(&self.0)
    }

    /// Whether it is a derived stream, which cannot be written.
    #[must_use]
    pub fn is_derived(&self) -> bool {
        self.derived().is_some()
    }
}

impl std::fmt::Display for StreamName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for StreamName {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<Self, InvalidName> {
        Self::new(s)
    }
}

impl TryFrom<&str> for StreamName {
    type Error = InvalidName;
    fn try_from(s: &str) -> Result<Self, InvalidName> {
        Self::new(s)
    }
}

impl TryFrom<String> for StreamName {
    type Error = InvalidName;
    fn try_from(s: String) -> Result<Self, InvalidName> {
        Self::new(s)
    }
}

impl AsRef<str> for StreamName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metastream_knows_its_stream_and_has_no_metastream() {
        let name = StreamName::new("order-1").unwrap();
        let meta = name.metastream().unwrap();
        assert_eq!(meta.as_str(), "$$order-1");
        assert_eq!(meta.original().unwrap(), name);
        assert_eq!(meta.metastream(), None);
        assert_eq!(name.category(), Some("order"));
    }

    #[test]
    fn names_that_name_no_stream_are_refused() {
        assert_eq!(StreamName::new(""), Err(InvalidName::Empty));
        assert_eq!(StreamName::new("$all"), Err(InvalidName::Reserved));
        assert_eq!(StreamName::new("$$"), Err(InvalidName::Reserved));
        assert_eq!(StreamName::new("x".repeat(1025)), Err(InvalidName::TooLong(1025)));
        let longest = StreamName::new("x".repeat(1024)).unwrap().metastream().unwrap();
        assert_eq!(StreamName::new(longest.as_str()), Ok(longest), "what was made can be read back");
        assert_eq!(StreamName::new(format!("$${}", "x".repeat(1025))), Err(InvalidName::TooLong(1027)));
    }
}
