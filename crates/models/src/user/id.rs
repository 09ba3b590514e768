//! Whose data it is, and which stream keeps it: the one rule that tells a user's streams.

use crate::UserDataType;
use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the name of every user's stream begins with.
pub const USER_STREAM_PREFIX: &str = "user-";

/// A user's id: 1 to 64 letters, digits and `._-`. No part between two `-` is the name of a type of data (`profile`,
/// `preferences`, `activity`, `loans`, `offers`): it would end the id in the name of a stream.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Validate,
)]
#[serde(transparent)]
#[garde(transparent)]
#[schemars(example = &"bob")]
pub struct UserId(
    #[garde(length(chars, min = 1, max = 64), pattern(r"^[A-Za-z0-9._-]+$"), custom(no_type))] String,
);

impl UserId {
    /// Checks and wraps an id; nothing if it is none.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let id = Self(text.to_owned());
        id.validate().is_ok().then_some(id)
    }

    /// The id as text. Whether one that was deserialized keeps the rules is for `validate` to say.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for UserId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is garde's")]
fn no_type(id: &str, (): &()) -> garde::Result {
    match id.split('-').find_map(UserDataType::named) {
        Some(found) => Err(garde::Error::new(format!("must have no part '{found}': that is a type of data"))),
        None => Ok(()),
    }
}

/// A part of a type of data, or one thing of a collection: 1 to 100 letters, digits and `._-`.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Validate,
)]
#[serde(transparent)]
#[garde(transparent)]
#[schemars(example = &"42")]
pub struct UserDataCategory(
    #[garde(length(chars, min = 1, max = 100), pattern(r"^[A-Za-z0-9._-]+$"))] String,
);

impl UserDataCategory {
    /// The text. Whether it keeps the rules is for `validate` to say.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for UserDataCategory {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// A stream that keeps a user's data: `user-{userId}-{type}` or `user-{userId}-{type}-{category}`.
///
/// [`UserStream::split`] and `to_string` are each other's inverse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UserStream<'a> {
    /// Whose it is: a text that [`UserId::new`] takes.
    pub user_id: &'a str,
    /// What kind of data it keeps.
    pub data_type: UserDataType,
    /// Which part of that kind. In a stream that others made it may be any text, and empty.
    pub category: Option<&'a str>,
}

impl<'a> UserStream<'a> {
    /// Splits a stream's name: the first of its parts that is a type ends the user's id. Nothing if it is no user's
    /// stream.
    #[must_use]
    pub fn split(stream: &'a str) -> Option<Self> {
        let rest = stream.strip_prefix(USER_STREAM_PREFIX)?;
        let mut start = 0_usize;
        for part in rest.split('-') {
            if let Some(data_type) = UserDataType::named(part) {
                let user_id = rest.get(..start.checked_sub(1)?)?;
                if !is_sound(user_id) {
                    return None;
                }
                let category = rest.get(start + part.len() + 1..);
                return Some(Self { user_id, data_type, category });
            }
            start += part.len() + 1;
        }
        None
    }
}

/// Whether a text without types among its parts is a user's id: cheap, for names are split for each event that is read.
fn is_sound(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

impl std::fmt::Display for UserStream<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { user_id, data_type, category } = self;
        write!(f, "{USER_STREAM_PREFIX}{user_id}-{data_type}")?;
        category.map_or(Ok(()), |category| write!(f, "-{category}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_keep_to_their_alphabet_and_hide_no_type() {
        for good in ["bob", "a.b_c-d", "7", "-", "..", "my-profiles", "Profile", &"x".repeat(64)] {
            assert!(UserId::new(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "profile",
            "a-loans",
            "offers-b",
            "a-activity-b",
            "a b",
            "é",
            "a/b",
            "a:b",
            "a@b",
            &"x".repeat(65),
        ] {
            assert_eq!(UserId::new(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_first_part_that_is_a_type_ends_the_id() {
        let split = |name| UserStream::split(name).map(|s| (s.user_id, s.data_type, s.category));
        assert_eq!(split("user-anna-profile"), Some(("anna", UserDataType::Profile, None)));
        assert_eq!(split("user-a-b-loans-profile"), Some(("a-b", UserDataType::Loans, Some("profile"))));
        assert_eq!(split("user-a-loans-4-2"), Some(("a", UserDataType::Loans, Some("4-2"))));
        assert_eq!(split("user-a-profile-"), Some(("a", UserDataType::Profile, Some(""))));
        assert_eq!(split("user---profile"), Some(("-", UserDataType::Profile, None)));
        for none in [
            "user-profile",
            "user--profile",
            "user-anna",
            "user-profile-loans",
            "users-a-profile",
            "user-a:b-profile",
        ] {
            assert_eq!(split(none), None, "{none}");
        }
        assert_eq!(split(&format!("user-{}-profile", "x".repeat(65))), None);
    }

    fn parts() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            "[A-Za-z0-9._]{0,5}",
            proptest::sample::select(&UserDataType::ALL).prop_map(|t| t.to_string())
        ];
        proptest::collection::vec(part, 1..6).prop_map(|parts| parts.join("-"))
    }

    proptest! {
        #[test]
        fn what_is_put_together_is_split_as_it_was(
            id in "[A-Za-z0-9._-]{1,64}", kind in proptest::sample::select(&UserDataType::ALL), category in proptest::option::of(parts()),
        ) {
            prop_assume!(UserId::new(&id).is_some());
            let stream = UserStream { user_id: &id, data_type: kind, category: category.as_deref() };
            let name = stream.to_string();
            prop_assert_eq!(UserStream::split(&name), Some(stream));
        }

        #[test]
        fn whatever_is_split_is_put_together_again(rest in parts(), other in ".{0,30}") {
            for name in [format!("user-{rest}"), format!("user-{other}"), other] {
                if let Some(stream) = UserStream::split(&name) {
                    prop_assert_eq!(stream.to_string(), name.as_str());
                    prop_assert!(UserId::new(stream.user_id).is_some());
                }
            }
        }

        #[test]
        fn no_two_users_share_a_stream(a in "[ab-]{1,4}", b in "[ab-]{1,4}", category in parts()) {
            prop_assume!(a != b);
            let name = |user_id, category| UserStream { user_id, data_type: UserDataType::Loans, category }.to_string();
            prop_assert_ne!(name(&a, Some(&category)), name(&b, Some(&category)));
            prop_assert_ne!(name(&a, Some(&category)), name(&b, None));
        }
    }
}
