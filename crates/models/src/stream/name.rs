//! Names and other small facts that streams and events are made of: each constraint stands here once.

use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Words that stand for something else where a stream's name stands in a path.
const RESERVED: [&str; 7] = ["all", "browse", "create", "append", "search", "statistics", "health"];

/// Declares a transparent text newtype whose rules are validated and documented.
macro_rules! text {
    ($(#[$attribute:meta])* $name:ident, [$($rule:tt)*]) => {
        #[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, Validate)]
        #[serde(transparent)]
        #[garde(transparent)]
        $(#[$attribute])*
        pub struct $name(#[garde($($rule)*)] String);

        impl $name {
            /// The text. Whether it keeps the rules is for `validate` to say.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0
            }
        }
    };
}

text! {
    /// The name of a stream to be created or written: letters, digits and `._:@-`, beginning with a letter or digit. The
    /// words `all`, `browse`, `create`, `append`, `search`, `statistics` and `health` are reserved.
    #[schemars(example = &"loans-42")]
    NewStreamName,
    [length(chars, min = 1, max = 200), pattern(r"^[A-Za-z0-9][A-Za-z0-9._:@-]*$"), custom(not_reserved)]
}

text! {
    /// The name of a stream that the store may hold, percent-encoded in a path.
    #[schemars(example = &"loans-42")]
    StreamNameParam,
    [length(bytes, min = 1, max = 1024)]
}

text! {
    /// What happened, by name. Types that begin with `$` are the system's.
    #[schemars(example = &"LoanRequested")]
    EventTypeName,
    [length(chars, min = 1, max = 200), pattern(r"^[^$\x00-\x1f][^\x00-\x1f]*$")]
}

text! {
    /// The id of an event (a UUID), chosen by its writer. Sending an event again under the same id writes it once.
    #[schemars(example = &"3f2a9c1e-6b7d-4e2f-9a41-0c5d8e7b1a23", extend("format" = "uuid"))]
    EventId,
    [pattern(r"^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$")]
}

text! {
    /// A word to find a stream by.
    #[schemars(example = &"loans")]
    Tag,
    [length(chars, min = 1, max = 100)]
}

text! {
    /// A user's id, a role (`role:librarian`), `*` for everybody, or `system` for the administrators.
    #[schemars(example = &"user-7")]
    Principal,
    [length(chars, min = 1, max = 200), pattern(r"^[^\x00-\x1f]+$")]
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is garde's")]
fn not_reserved(name: &str, (): &()) -> garde::Result {
    if RESERVED.contains(&name) {
        return Err(garde::Error::new(format!("'{name}' is reserved: it names a part of the API")));
    }
    Ok(())
}

/// Declares a transparent number newtype with a range.
macro_rules! number {
    ($(#[$attribute:meta])* $name:ident, $type:ty, $min:literal, $max:literal) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Validate)]
        #[serde(transparent)]
        #[garde(transparent)]
        #[schemars(inline)]
        $(#[$attribute])*
        pub struct $name(#[garde(range(min = $min, max = $max))] $type);

        impl $name {
            /// Wraps a number. Whether it is in range is for `validate` to say.
            #[must_use]
            pub const fn new(number: $type) -> Self {
                Self(number)
            }

            /// The number.
            #[must_use]
            pub const fn get(self) -> $type {
                self.0
            }
        }
    };
}

number! {
    /// At most so many on one page.
    PageLimit, u32, 1, 1000
}

number! {
    /// A revision or a position that the service gave out.
    Mark, u64, 0, 9_223_372_036_854_775_807_u64
}

impl PageLimit {
    /// As a size.
    #[must_use]
    pub const fn size(self) -> usize {
        self.0 as usize
    }
}

/// Which way to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum ReadDirection {
    /// Oldest first.
    #[default]
    Forwards,
    /// Newest first.
    Backwards,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_to_be_created_keep_to_their_alphabet() {
        for good in ["a", "loans-42", "user:7@home.x_y", "0", "allies", &"x".repeat(200)] {
            assert!(NewStreamName::from(good).validate().is_ok(), "{good}");
        }
        for bad in ["", "$a", "-a", "a b", "é", "a/b", "all", "health", "a\n", &"x".repeat(201)] {
            assert!(NewStreamName::from(bad).validate().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_systems_event_types_are_refused() {
        assert!(EventTypeName::from("Loan requested/é").validate().is_ok());
        for bad in ["", "$metadata", "a\nb", &"x".repeat(201)] {
            assert!(EventTypeName::from(bad).validate().is_err(), "{bad}");
        }
    }
}
