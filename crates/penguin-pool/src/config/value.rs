//! What a setting's value may be: one type for each kind of text.

mod address;
mod auth;
mod log;
mod number;
mod target;
mod url;

pub use address::{Address, Origins, Proxies};
pub use auth::{AuthMode, KeysUrl};
pub use log::{LogFilter, LogFormat};
pub use number::{Millis, Number, OptionalPort};
pub use target::Targets;
pub use url::StoreUrl;

use secrecy::{ExposeSecret, SecretString};
use std::{net::IpAddr, path::PathBuf};

/// A value that is read from a variable.
pub trait Value: Sized {
    /// Whether it must never be shown.
    const SECRET: bool = false;

    /// What may be written, in words that follow "write" and "takes".
    fn form() -> String;

    /// Reads it.
    ///
    /// # Errors
    /// Why the text is none, in words that follow the text: "is not a number".
    fn parse(text: &str) -> Result<Self, String>;

    /// A faulty text as a refusal may repeat it.
    fn quote(text: &str) -> String {
        format!("'{text}'")
    }

    /// The value as `penguin-pool config` shows it; masked if it is secret.
    fn show(&self) -> String;
}

impl Value for bool {
    fn form() -> String {
        "true or false".to_owned()
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err("is neither true nor false".to_owned()),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for String {
    fn form() -> String {
        "a text".to_owned()
    }

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl<T: Value> Value for Option<T> {
    const SECRET: bool = T::SECRET;

    fn form() -> String {
        T::form()
    }

    fn quote(text: &str) -> String {
        T::quote(text)
    }

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() { Ok(None) } else { T::parse(text).map(Some) }
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(String::new, T::show)
    }
}

/// An IP address or a host name, without a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host(String);

impl Host {
    /// The address or name; an IPv6 address without brackets.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it means this machine and nothing else.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let name = self.0.trim_end_matches('.').to_ascii_lowercase();
        name == "localhost"
            || name.ends_with(".localhost")
            || name.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Value for Host {
    fn form() -> String {
        "an IP address or a host name, without a port".to_owned()
    }

    fn parse(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        let name = !text.is_empty()
            && text.len() <= 253
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
        if bare.parse::<IpAddr>().is_ok() || (name && !looks_like_a_broken_address(text)) {
            Ok(Self(bare.to_owned()))
        } else {
            Err("is no address".to_owned())
        }
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// `127.0.0.300` is meant as an address and would be looked up as a name.
fn looks_like_a_broken_address(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_digit() || c == '.')
}

/// Which event store is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventStoreKind {
    /// The engine in this process.
    Embedded,
    /// A KurrentDB server or cluster.
    Kurrentdb,
}

impl Value for EventStoreKind {
    fn form() -> String {
        "embedded or kurrentdb".to_owned()
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "embedded" => Ok(Self::Embedded),
            "kurrentdb" => Ok(Self::Kurrentdb),
            _ => Err("is no event store".to_owned()),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Embedded => "embedded".to_owned(),
            Self::Kurrentdb => "kurrentdb".to_owned(),
        }
    }
}

/// Where the embedded store keeps its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataDir {
    /// Nowhere: everything is in memory, and lost at the end.
    Memory,
    /// In this directory, made if it is not there.
    Directory(PathBuf),
}

impl DataDir {
    /// The directory, if there is one.
    #[must_use]
    pub fn path(&self) -> Option<&std::path::Path> {
        match self {
            Self::Memory => None,
            Self::Directory(path) => Some(path),
        }
    }
}

impl Value for DataDir {
    fn form() -> String {
        "a directory, or :memory:".to_owned()
    }

    fn parse(text: &str) -> Result<Self, String> {
        Ok(if text == ":memory:" { Self::Memory } else { Self::Directory(PathBuf::from(text)) })
    }

    fn show(&self) -> String {
        self.path().map_or_else(|| ":memory:".to_owned(), |path| path.display().to_string())
    }
}

/// A text that is never shown.
#[derive(Debug, Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// The text itself; for handing to who needs it, never for printing.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl Value for Secret {
    const SECRET: bool = true;

    fn form() -> String {
        "a secret text".to_owned()
    }

    fn quote(_: &str) -> String {
        "its value".to_owned()
    }

    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(SecretString::from(text)))
    }

    fn show(&self) -> String {
        if self.expose().is_empty() { String::new() } else { "********".to_owned() }
    }
}
