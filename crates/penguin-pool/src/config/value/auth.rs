//! Who must say who they are, and where the keys for that come from.

use super::{Host, Value};

/// Whether callers must say who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMode {
    /// No: everybody is the service itself.
    Off,
    /// Yes.
    Required,
}

impl Value for AuthMode {
    fn form() -> String {
        "off or required".to_owned()
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "off" => Ok(Self::Off),
            "required" => Ok(Self::Required),
            _ => Err("is no such mode".to_owned()),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Off => "off".to_owned(),
            Self::Required => "required".to_owned(),
        }
    }
}

/// Where keys are fetched from: what answers there is believed, so it must be TLS, or this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysUrl(pub reqwest::Url);

impl Value for KeysUrl {
    fn form() -> String {
        "an https:// address, or an http:// one of this machine".to_owned()
    }

    fn parse(text: &str) -> Result<Self, String> {
        let url = reqwest::Url::parse(text).map_err(|e| format!("is no address ({e})"))?;
        let here =
            || url.host_str().and_then(|host| Host::parse(host).ok()).is_some_and(|host| host.is_loopback());
        match url.scheme() {
            "https" => Ok(Self(url)),
            "http" if here() => Ok(Self(url)),
            _ => Err("is neither https:// nor on this machine".to_owned()),
        }
    }

    fn quote(_: &str) -> String {
        // It may hold a user and a password.
        "its value".to_owned()
    }

    fn show(&self) -> String {
        let mut shown = self.0.clone();
        // An address that can have no user has none to hide.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        shown.set_query(None);
        shown.to_string()
    }
}
