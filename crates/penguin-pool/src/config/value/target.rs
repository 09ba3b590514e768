//! Services to be watched.

use super::Value;
use crate::uptime::target::Target;
use std::collections::BTreeSet;

/// Services to be watched, each name once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Targets(pub Vec<Target>);

impl Value for Targets {
    fn form() -> String {
        "name=https://host/path#status, name=tcp://host:port or name=kurrentdb://host:port, with commas between".to_owned()
    }

    fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let targets = parts.map(Target::parse).collect::<Result<Vec<_>, _>>()?;
        let mut names = BTreeSet::new();
        match targets.iter().find(|target| !names.insert(&target.name)) {
            Some(twice) => Err(format!("holds the name '{}' twice", twice.name)),
            None => Ok(Self(targets)),
        }
    }

    fn quote(text: &str) -> String {
        // An address may hold a secret by mistake; the fault's own words name the part.
        format!("a text of {} characters", text.chars().count())
    }

    fn show(&self) -> String {
        self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }
}
