//! What a token claims, and whether it holds now.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// How far the clocks of issuers may be off, in seconds.
const LEEWAY: i64 = 30;

/// The most roles that a token may name.
const MOST_ROLES: usize = 64;

/// The claims that matter here.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    #[serde(default)]
    iss: Option<String>,
    #[serde(default, deserialize_with = "texts")]
    aud: Vec<String>,
    #[serde(default)]
    sub: Option<String>,
    #[serde(default, deserialize_with = "seconds")]
    exp: Option<i64>,
    #[serde(default, deserialize_with = "seconds")]
    nbf: Option<i64>,
    #[serde(default, deserialize_with = "seconds")]
    iat: Option<i64>,
    #[serde(default, deserialize_with = "texts")]
    roles: Vec<String>,
    #[serde(default)]
    pub(super) ver: Option<String>,
}

/// What must be claimed.
#[derive(Debug)]
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) audience: &'a str,
}

/// One text or several.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    use serde::de::Error as _;
    let text = |value: Value| match value {
        Value::String(text) => Ok(text),
        _ => Err(D::Error::custom("no text")),
    };
    match Value::deserialize(deserializer)? {
        Value::Array(values) => values.into_iter().map(text).collect(),
        Value::Null => Ok(Vec::new()),
        one => text(one).map(|text| vec![text]),
    }
}

/// Seconds since the Unix epoch; a fraction is cut.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    use serde::de::Error as _;
    let value = Value::deserialize(deserializer)?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the cast saturates, and a time so far away is for ever"
    )]
    let number = value.as_i64().or_else(|| value.as_f64().map(|float| float as i64));
    number.map(Some).ok_or_else(|| D::Error::custom("no number of seconds"))
}

impl Claims {
    /// The subject, its roles and when all this ends, if it holds at the time `now`. Times are in seconds since the Unix
    /// epoch.
    pub(super) fn check(
        self,
        expected: &Expected<'_>,
        now: i64,
    ) -> Result<(String, Vec<String>, i64), &'static str> {
        if self.iss.as_deref() != Some(expected.issuer) {
            return Err("it was issued by another");
        }
        if !self.aud.iter().any(|aud| aud == expected.audience) {
            return Err("it is for another audience");
        }
        let Some(exp) = self.exp else { return Err("it does not say when it ends") };
        let until = exp.saturating_add(LEEWAY);
        if until <= now {
            return Err("it has expired");
        }
        if [self.nbf, self.iat].into_iter().flatten().any(|from| from.saturating_sub(LEEWAY) > now) {
            return Err("it is not good yet");
        }
        let Some(subject) = self.sub else { return Err("it does not say whom it is about") };
        if crate::security::user_id_fault(&subject).is_some() {
            return Err("its subject is no user id");
        }
        let good = |role: &String| !role.is_empty() && role.len() <= 64;
        if self.roles.len() > MOST_ROLES || !self.roles.iter().all(good) {
            return Err("its roles are too many, or no roles");
        }
        Ok((subject, self.roles, until))
    }
}
