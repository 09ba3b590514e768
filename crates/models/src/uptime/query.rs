//! The window of a question about uptime.

use garde::Validate;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use std::borrow::Cow;

/// The window of a question about uptime, ending now.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UptimeQueryDto {
    /// How many hours back: more than 0 and at most 8760 (fractions allowed), or −1 for all time.
    #[serde(default)]
    #[garde(dive)]
    pub hours: Hours,
}

/// A number of hours back from now, or all time.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Hours(f64);

impl Hours {
    /// All time.
    pub const ALL: Self = Self(-1.0);
    /// The most that can be asked for: 365 days.
    pub const MAX: f64 = 8760.0;

    /// The window's length in milliseconds (at least 1); nothing for all time.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "at most 8760 hours, which an i64 holds in milliseconds"
    )]
    pub fn millis(self) -> Option<i64> {
        (self.0 > 0.0).then(|| ((self.0.min(Self::MAX) * 3_600_000.0).round() as i64).max(1))
    }

    /// The window in words: `1 day`, `7 days`, `90 minutes`, `all time`.
    #[must_use]
    pub fn period(self) -> String {
        let Some(millis) = self.millis() else { return "all time".to_owned() };
        let units = [(86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second")];
        let whole = units.into_iter().find(|(unit, _)| millis % unit == 0);
        let (unit, name) = whole.unwrap_or((1, "millisecond"));
        let count = millis / unit;
        format!("{count} {name}{}", if count == 1 { "" } else { "s" })
    }
}

impl Default for Hours {
    fn default() -> Self {
        Self(24.0)
    }
}

impl Validate for Hours {
    type Context = ();
    fn validate_into(&self, (): &(), parent: &mut dyn FnMut() -> garde::Path, report: &mut garde::Report) {
        let valid = self.0 == -1.0 || (self.0 > 0.0 && self.0 <= Self::MAX);
        if !valid {
            let message = "must be more than 0 and at most 8760, or -1 for all time";
            report.append(parent(), garde::Error::new(message));
        }
    }
}

impl JsonSchema for Hours {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Hours".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": -1, "maximum": 8760, "default": 24, "examples": [24] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_windows_that_make_sense_pass() {
        for good in [-1.0, 0.001, 0.5, 24.0, 8760.0] {
            assert!(Hours(good).validate().is_ok(), "{good}");
        }
        for bad in [0.0, -0.0, -2.0, -0.5, 8760.5, 9000.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(Hours(bad).validate().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_window_is_named_by_its_largest_whole_unit() {
        for (hours, period, millis) in [
            (24.0, "1 day", Some(86_400_000)),
            (168.0, "7 days", Some(604_800_000)),
            (1.0, "1 hour", Some(3_600_000)),
            (36.0, "36 hours", Some(129_600_000)),
            (1.5, "90 minutes", Some(5_400_000)),
            (0.01, "36 seconds", Some(36_000)),
            (1e-9, "1 millisecond", Some(1)),
            (-1.0, "all time", None),
        ] {
            assert_eq!((Hours(hours).period().as_str(), Hours(hours).millis()), (period, millis));
        }
    }
}
