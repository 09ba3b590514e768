//! The settings as text: for people, for programs, for the README and for `.env.example`.

use super::{Config, Preset, Setting, Settings};
use std::fmt::Write as _;

impl Config {
    /// The values in force as a table for people: name, value, where it came from. Secrets are masked.
    #[must_use]
    pub fn to_text(&self) -> String {
        let rows = self.settings.shown();
        let name_width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let value_width = rows.iter().map(|(_, value)| value.len().min(48)).max().unwrap_or(0);
        let mut text = format!("Environment: {}\n\n", self.environment.as_str());
        for (name, value) in rows {
            let origin = self.origin(name);
            let _ = writeln!(text, "{name:name_width$}  {value:value_width$}  ({origin})");
        }
        text
    }

    /// The same for programs.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let secret = |name| Settings::TABLE.iter().any(|s| s.name == name && s.secret);
        let rows: Vec<_> = self
            .settings
            .shown()
            .into_iter()
            .map(|(name, value)| {
                serde_json::json!({
                    "name": name,
                    "value": value,
                    "from": self.origin(name).to_string(),
                    "secret": secret(name),
                })
            })
            .collect();
        serde_json::json!({ "environment": self.environment.as_str(), "settings": rows })
    }
}

fn default_text(setting: &Setting) -> String {
    match setting.preset {
        Preset::Always(text) => text.to_owned(),
        Preset::ByReach { local, public } => {
            let public = if public.is_empty() { "none" } else { public };
            format!("{local} (staging, mainnet: {public})")
        }
        Preset::Unset => "none".to_owned(),
    }
}

/// Documentation comments start each line with a space.
fn doc(setting: &Setting) -> String {
    setting.doc.trim().to_owned()
}

/// The README's table of settings, in Markdown.
#[must_use]
pub fn markdown_table() -> String {
    let mut text = String::from("| variable | default | what it is |\n|---|---|---|\n");
    let _ = writeln!(
        text,
        "| `NODE_ENV` (or `APP_ENV`) | `dev` | The environment: `dev` (`development`), `staging`, `test`, `mainnet` \
         (`production`). It picks the file `env.{{environment}}`. |"
    );
    for setting in Settings::TABLE {
        let default = match setting.preset {
            Preset::Always(text) => format!("`{text}`"),
            Preset::ByReach { local, public: "" } => format!("`{local}`; staging, mainnet: none"),
            Preset::ByReach { local, public } => format!("`{local}`; staging, mainnet: `{public}`"),
            Preset::Unset => "none".to_owned(),
        };
        let _ = writeln!(
            text,
            "| `{}` | {default} | {} Takes {}. |",
            setting.name,
            doc(setting),
            (setting.form)()
        );
    }
    text
}

/// `.env.example`: every setting with its default, commented out.
#[must_use]
pub fn env_example() -> String {
    let mut text = String::from(
        "# Every setting of the service with its default. Copy to .env.local and change what you need: .env.local wins\n\
         # over env.{environment}, and the process's environment wins over both. Keep secrets out of the repository.\n\
         # This file is written by `penguin-pool config --example`.\n\n\
         # The environment: dev, staging, test or mainnet. It picks the file env.{environment}.\n\
         #NODE_ENV=dev\n",
    );
    for setting in Settings::TABLE {
        let default = match setting.preset {
            Preset::Always(text) | Preset::ByReach { local: text, .. } => text,
            Preset::Unset => "",
        };
        let _ = write!(text, "\n# {}\n# Takes {}.", doc(setting), (setting.form)());
        if let Preset::ByReach { public, .. } = setting.preset {
            let public = if public.is_empty() { "none" } else { public };
            let _ = write!(text, " In staging and mainnet: {public}.");
        }
        let _ = write!(text, "\n#{}={default}\n", setting.name);
    }
    text
}

/// The section about settings in `--help`.
#[must_use]
pub fn help_section() -> String {
    let mut text = String::from(
        "Settings (environment variables; .env.local and env.{environment} in the working directory lie under them):\n  \
         NODE_ENV\n      The environment: dev, staging, test or mainnet. [default: dev]\n",
    );
    for setting in Settings::TABLE {
        let _ =
            writeln!(text, "  {}\n      {} [default: {}]", setting.name, doc(setting), default_text(setting));
    }
    text
}
