//! Holds users' data to the rules of its type.

use super::{Result, UsersError};
use crate::http::{camel_case, faulty};
use garde::Validate;
use models::{UserActivity, UserDataType, UserLoan, UserOffer, UserPreferences, UserProfile};
use serde::de::DeserializeOwned;

/// The most that a user's data of one type may have, in bytes.
pub(super) const MAX_BYTES: usize = 1 << 20;

/// Checks the size of data, or of a change of it.
///
/// # Errors
/// `TooLarge`.
pub(super) fn fits(data: &str) -> Result<()> {
    if data.len() > MAX_BYTES {
        return Err(UsersError::TooLarge { size: data.len(), limit: MAX_BYTES });
    }
    Ok(())
}

/// Checks data that is a JSON object.
///
/// # Errors
/// Every broken rule by its path; the size alone if it is too large.
pub(super) fn check(data_type: UserDataType, data: &str) -> Result<()> {
    fits(data)?;
    match data_type {
        UserDataType::Profile => held_to::<UserProfile>(data),
        UserDataType::Preferences => held_to::<UserPreferences>(data),
        UserDataType::Activity => held_to::<UserActivity>(data),
        UserDataType::Loans => held_to::<UserLoan>(data),
        UserDataType::Offers => held_to::<UserOffer>(data),
    }
}

fn held_to<T: DeserializeOwned + Validate<Context = ()>>(data: &str) -> Result<()> {
    let mut json = serde_json::Deserializer::from_str(data);
    let value: T = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let message = error.inner().to_string();
        UsersError::Invalid(vec![(within(&faulty(&error.path().to_string(), &message)), message)])
    })?;
    value.validate().map_err(|report| {
        let faults =
            report.iter().map(|(path, e)| (within(&camel_case(&path.to_string())), e.message().to_owned()));
        UsersError::Invalid(faults.collect())
    })
}

/// A path in the data, as a path in the body.
fn within(path: &str) -> String {
    match path {
        "" => "data".to_owned(),
        path if path.starts_with('[') => format!("data{path}"),
        path => format!("data.{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn faults(data_type: UserDataType, data: &str) -> Vec<String> {
        match check(data_type, data) {
            Ok(()) => Vec::new(),
            Err(UsersError::Invalid(faults)) => {
                let mut paths: Vec<_> = faults.into_iter().map(|(path, _)| path).collect();
                paths.sort_unstable();
                paths
            }
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_fault_is_named_by_its_path_in_the_body() {
        assert_eq!(faults(UserDataType::Profile, r#"{"displayName":7}"#), ["data.displayName"]);
        assert_eq!(
            faults(UserDataType::Profile, r#"{"displayName":"","country":"x"}"#),
            ["data.country", "data.displayName"]
        );
        assert_eq!(faults(UserDataType::Loans, r#"{"amount":1,"currency":"EUR"}"#), ["data.status"]);
        assert_eq!(
            faults(UserDataType::Activity, r#"{"recent":[{"action":"","at":"2024-01-15T10:30:00Z"}]}"#),
            ["data.recent[0].action"]
        );
        assert_eq!(
            faults(UserDataType::Offers, r#"{"amount":1,"currency":"EUR","status":"open","x":{"y":1e400}}"#),
            [""; 0]
        );
    }
}
