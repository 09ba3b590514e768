//! Numbers: ports, counts, durations.

use super::Value;
use std::time::Duration;

impl Value for u16 {
    fn form() -> String {
        "a port from 0 (any free one) to 65535".to_owned()
    }

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "is no port".to_owned())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Number<MIN, MAX> {
    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number as a size.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl<const MIN: u64, const MAX: u64> Value for Number<MIN, MAX> {
    fn form() -> String {
        format!("a whole number from {MIN} to {MAX}")
    }

    fn parse(text: &str) -> Result<Self, String> {
        let number: u64 = text.parse().map_err(|_| "is no whole number".to_owned())?;
        if (MIN..=MAX).contains(&number) { Ok(Self(number)) } else { Err("is out of range".to_owned()) }
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// A duration of `MIN` to `MAX` milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Millis<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Millis<MIN, MAX> {
    /// The duration.
    #[must_use]
    pub const fn get(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl<const MIN: u64, const MAX: u64> Value for Millis<MIN, MAX> {
    fn form() -> String {
        format!("milliseconds from {MIN} to {MAX}")
    }

    fn parse(text: &str) -> Result<Self, String> {
        Number::<MIN, MAX>::parse(text).map(|number| Self(number.get()))
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// A port, or none at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionalPort(pub Option<u16>);

impl Value for OptionalPort {
    fn form() -> String {
        format!("a port up to {}, or off (as is 0)", u16::MAX)
    }

    fn parse(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("off") {
            return Ok(Self(None));
        }
        match text.parse() {
            Ok(0) => Ok(Self(None)),
            Ok(port) => Ok(Self(Some(port))),
            Err(_) => Err("is neither a port nor off".to_owned()),
        }
    }

    fn show(&self) -> String {
        self.0.map_or_else(|| "off".to_owned(), |port| port.to_string())
    }
}
