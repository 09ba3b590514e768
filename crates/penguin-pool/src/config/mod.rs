//! Settings, from the environment.
//!
//! A setting is one line of the table in `settings.rs`: its name, type, default and description. Parsing, `penguin-pool
//! config`, the help text, the README's table and `.env.example` all follow from that line. Rules that join several
//! settings are in `rules.rs`.
//!
//! Layers, the first that has a value wins: the process's environment, `.env.local`, `env.{environment}` (both in the
//! working directory), the default. A variable that is set to nothing counts as not set.

mod layers;
mod rules;
mod server;
mod settings;
mod show;
mod table;
mod value;

pub use layers::{Inputs, Origin};
pub use server::Server;
pub use settings::Settings;
pub use show::{env_example, help_section, markdown_table};
pub use table::{Preset, Setting};
pub use value::{
    Address, AuthMode, DataDir, EventStoreKind, Host, KeysUrl, LogFilter, LogFormat, Millis, Number,
    OptionalPort, Origins, Proxies, Secret, StoreUrl, Targets, Value,
};

use std::collections::BTreeMap;

/// Where the service runs. It picks the file `env.{environment}` and some defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// On a developer's machine.
    Dev,
    /// Before the public, with test data.
    Staging,
    /// In automatic tests.
    Test,
    /// Before the public, for real.
    Mainnet,
}

impl Environment {
    /// Its name, as in answers and in the name of its file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Staging => "staging",
            Self::Test => "test",
            Self::Mainnet => "mainnet",
        }
    }

    /// Whether others than its makers reach it: staging and mainnet.
    #[must_use]
    pub const fn is_public(self) -> bool {
        matches!(self, Self::Staging | Self::Mainnet)
    }

    fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "dev" | "development" => Some(Self::Dev),
            "staging" => Some(Self::Staging),
            "test" => Some(Self::Test),
            "mainnet" | "production" => Some(Self::Mainnet),
            _ => None,
        }
    }
}

/// Everything that is in force, and where it came from.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the service runs.
    pub environment: Environment,
    /// The values in force.
    pub settings: Settings,
    /// What looks like a mistake but stops nothing: a variable whose name is close to one of ours. For the log.
    pub warnings: Vec<String>,
    origins: BTreeMap<&'static str, Origin>,
}

/// Settings that cannot be used: one line for each fault, naming the variable, what is wrong and what to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Refusal(pub Vec<String>);

impl Config {
    /// Reads the settings of this process: its environment and the files in its working directory.
    ///
    /// # Errors
    /// [`Refusal`] with every fault that was found.
    pub fn load() -> Result<Self, Refusal> {
        Self::from_inputs(&Inputs::of_process()?)
    }

    /// Reads the settings from what is given.
    ///
    /// # Errors
    /// [`Refusal`] with every fault that was found.
    pub fn from_inputs(inputs: &Inputs) -> Result<Self, Refusal> {
        let layers = inputs.layers()?;
        let (settings, origins) = Settings::read(&layers).map_err(Refusal)?;
        let config = Self {
            environment: layers.environment(),
            settings,
            warnings: layers.misspelt(Settings::TABLE),
            origins,
        };
        rules::check(&config)?;
        Ok(config)
    }

    /// Where the setting of this name came from.
    #[must_use]
    pub fn origin(&self, name: &str) -> Origin {
        self.origins.get(name).cloned().unwrap_or(Origin::Default)
    }
}
