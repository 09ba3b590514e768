//! The layers of the environment, and where a value came from.

use super::{Environment, Preset, Refusal, Setting, Value};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The process's environment.
    Variable,
    /// A file in the working directory, by its name.
    File(String),
    /// Nobody said anything.
    Default,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Variable => f.write_str("the environment"),
            Self::File(name) => f.write_str(name),
            Self::Default => f.write_str("the default"),
        }
    }
}

/// What settings are read from.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// The process's environment.
    pub variables: BTreeMap<String, String>,
    /// The directory that holds `.env.local` and `env.{environment}`; without one no file is read.
    pub directory: Option<PathBuf>,
}

/// The variables that pick the environment; they must not contradict each other.
const PICKERS: [&str; 2] = ["NODE_ENV", "APP_ENV"];

impl Inputs {
    /// This process's environment and working directory.
    ///
    /// # Errors
    /// [`Refusal`] if a variable of ours is not UTF-8.
    pub fn of_process() -> Result<Self, Refusal> {
        let mut variables = BTreeMap::new();
        let mut faults = Vec::new();
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => _ = variables.insert(name, value),
                Err(_) if is_ours(&name) => faults.push(format!("{name}: its value is not UTF-8")),
                Err(_) => {}
            }
        }
        if faults.is_empty() {
            Ok(Self { variables, directory: Some(PathBuf::from(".")) })
        } else {
            Err(Refusal(faults))
        }
    }

    /// The layers, strongest first.
    pub(super) fn layers(&self) -> Result<Layers, Refusal> {
        let process = (Origin::Variable, set_only(self.variables.clone()));
        let local = read_file(self.directory.as_deref(), ".env.local")?;
        let mut layers = Layers { environment: Environment::Dev, layers: vec![process, local] };
        layers.environment = layers.pick_environment()?;
        let file = format!("env.{}", layers.environment.as_str());
        layers.layers.push(read_file(self.directory.as_deref(), &file)?);
        Ok(layers)
    }
}

fn is_ours(name: &str) -> bool {
    PICKERS.contains(&name) || super::Settings::TABLE.iter().any(|s| s.name == name)
}

fn set_only(mut variables: BTreeMap<String, String>) -> BTreeMap<String, String> {
    variables.retain(|_, value| !value.trim().is_empty());
    variables
}

fn read_file(directory: Option<&Path>, name: &str) -> Result<(Origin, BTreeMap<String, String>), Refusal> {
    let refusal = |why: String| Refusal(vec![format!("{name}: {why}")]);
    let origin = Origin::File(name.to_owned());
    let Some(directory) = directory else { return Ok((origin, BTreeMap::new())) };
    let text = match std::fs::read_to_string(directory.join(name)) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok((origin, BTreeMap::new())),
        Err(e) => return Err(refusal(format!("cannot be read: {e}"))),
    };
    let mut variables = BTreeMap::new();
    for line in dotenvy::Iter::new(text.as_bytes()) {
        let (key, value) = line.map_err(|e| match e {
            // The line itself may hold a secret, so only its number is told.
            dotenvy::Error::LineParse(bad, _) => {
                let number = text.lines().position(|l| l.trim() == bad.trim()).map_or(0, |i| i + 1);
                refusal(format!(
                    "line {number} is not of the form NAME=value (quote values with spaces or #)"
                ))
            }
            other => refusal(format!("cannot be read: {other}")),
        })?;
        if variables.insert(key.clone(), value).is_some() {
            return Err(refusal(format!("{key} is set twice")));
        }
    }
    Ok((origin, set_only(variables)))
}

/// All layers, strongest first.
#[derive(Debug)]
pub(super) struct Layers {
    environment: Environment,
    layers: Vec<(Origin, BTreeMap<String, String>)>,
}

impl Layers {
    pub(super) const fn environment(&self) -> Environment {
        self.environment
    }

    fn find(&self, name: &str) -> Option<(&Origin, &str)> {
        self.layers.iter().find_map(|(origin, variables)| Some((origin, variables.get(name)?.trim())))
    }

    fn pick_environment(&self) -> Result<Environment, Refusal> {
        let mut picked: Option<(&str, Environment)> = None;
        for name in PICKERS {
            let Some((origin, text)) = self.find(name) else { continue };
            let environment = Environment::parse(text).ok_or_else(|| {
                Refusal(vec![format!(
                    "{name}: '{text}' (from {origin}) is no environment; write dev (or development), staging, test, \
                     or mainnet (or production)"
                )])
            })?;
            match picked {
                Some((other, before)) if before != environment => {
                    return Err(Refusal(vec![format!(
                        "{name}: it says {} where {other} says {}; set one of them, or both to the same",
                        environment.as_str(),
                        before.as_str()
                    )]));
                }
                _ => picked = Some((name, environment)),
            }
        }
        Ok(picked.map_or(Environment::Dev, |(_, environment)| environment))
    }

    /// Parses one setting; a fault is added to `faults`.
    pub(super) fn read<T: Value>(
        &self,
        name: &'static str,
        preset: Preset,
        origins: &mut BTreeMap<&'static str, Origin>,
        faults: &mut Vec<String>,
    ) -> Option<T> {
        let (origin, text) = self.find(name).unwrap_or((&Origin::Default, preset.text(self.environment)));
        origins.insert(name, origin.clone());
        T::parse(text)
            .map_err(|why| {
                faults.push(format!("{name}: {} (from {origin}) {why}; write {}", T::quote(text), T::form()));
            })
            .ok()
    }

    /// Variables whose names are close to one of ours, and are not ours: probably typing mistakes.
    pub(super) fn misspelt(&self, table: &[Setting]) -> Vec<String> {
        let mut warnings = Vec::new();
        for (origin, variables) in &self.layers {
            for name in variables.keys().filter(|name| !is_ours(name)) {
                let near = table.iter().filter(|s| {
                    let slack = if s.name.len() < 10 { 1 } else { 2 };
                    s.name.len() > 5 && strsim::damerau_levenshtein(name, s.name) <= slack
                });
                if let Some(meant) = near.min_by_key(|s| strsim::damerau_levenshtein(name, s.name)) {
                    warnings.push(format!(
                        "{name} (from {origin}) is no setting and is ignored; did you mean {}?",
                        meant.name
                    ));
                }
            }
        }
        warnings
    }
}
