//! What is logged, and how.

use super::Value;

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

impl Value for LogFormat {
    fn form() -> String {
        "pretty or json".to_owned()
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "pretty" => Ok(Self::Pretty),
            "json" => Ok(Self::Json),
            _ => Err("is no log format".to_owned()),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Pretty => "pretty".to_owned(),
            Self::Json => "json".to_owned(),
        }
    }
}

/// What is logged: a level, and exceptions by module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    /// The filter, in the form that `tracing` reads.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for LogFilter {
    fn form() -> String {
        "error, warn, info, debug, trace or off, and after it exceptions such as penguin_pool=debug, with commas \
         between"
            .to_owned()
    }

    fn parse(text: &str) -> Result<Self, String> {
        let level = |text: &str| {
            ["error", "warn", "info", "debug", "trace", "off"].contains(&text.to_ascii_lowercase().as_str())
        };
        for part in text.split(',').map(str::trim) {
            // The library would take any single word for a module's name, a misspelt level too.
            match part.split_once('=') {
                None if level(part) => {}
                Some((target, l)) if level(l) && !target.is_empty() => {}
                _ => return Err("is no log level".to_owned()),
            }
        }
        Ok(Self(text.to_ascii_lowercase().replace(' ', "")))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}
