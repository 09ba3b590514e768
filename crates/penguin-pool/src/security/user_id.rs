//! What a caller's id may be: a user's id, and none that means somebody else.

use models::UserId;

/// The ids that mean somebody else.
const RESERVED: [&str; 2] = ["system", "anonymous"];

/// What is wrong with a caller's id, in words that follow it; nothing if it is one.
#[must_use]
pub fn user_id_fault(id: &str) -> Option<&'static str> {
    if UserId::new(id).is_none() {
        return Some(
            "is none: write 1 to 64 letters, digits and '._-', and no part between '-' that is a type of users' data, such as 'profile'",
        );
    }
    RESERVED.contains(&id).then_some("is reserved")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_mean_something_else_are_none() {
        for good in ["bob", "a", "svc.loans_2", "profiles", "x-y", &"a".repeat(64)] {
            assert_eq!(user_id_fault(good), None, "{good}");
        }
        for bad in [
            "",
            "a b",
            "é",
            "system",
            "anonymous",
            "*",
            "role:admin",
            "$admins",
            "bob-profile",
            "loans",
            &"a".repeat(65),
        ] {
            assert!(user_id_fault(bad).is_some(), "{bad}");
        }
    }
}
