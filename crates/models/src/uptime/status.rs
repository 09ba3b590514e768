//! How a service is.

use crate::ServiceState;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a service is now, as far as that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CurrentStatus {
    /// It answers as it should, and in time.
    Up,
    /// It answers as it should, and slowly. Counts as up.
    Degraded,
    /// It does not answer, or not as it should.
    Down,
    /// Nobody watches it now, or it was not watched for long enough to tell.
    Unknown,
}

impl CurrentStatus {
    /// Its name, as in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Down => "down",
            Self::Unknown => "unknown",
        }
    }
}

impl From<Option<ServiceState>> for CurrentStatus {
    fn from(status: Option<ServiceState>) -> Self {
        match status {
            Some(ServiceState::Up) => Self::Up,
            Some(ServiceState::Degraded) => Self::Degraded,
            Some(ServiceState::Down) => Self::Down,
            None => Self::Unknown,
        }
    }
}
