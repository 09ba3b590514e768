//! Where a KurrentDB server is.

use super::{Host, Value};
use secrecy::{ExposeSecret, SecretString};

const SCHEMES: [&str; 6] = ["http", "https", "kurrentdb", "kurrentdb+discover", "esdb", "esdb+discover"];

/// A KurrentDB server's URL or connection string. It may hold credentials, so only its shown form can be printed.
#[derive(Debug, Clone)]
pub struct StoreUrl {
    whole: SecretString,
    shown: String,
    hosts: Vec<Host>,
    /// Where in `whole` the password stands.
    password: Option<std::ops::Range<usize>>,
}

impl StoreUrl {
    /// The URL without its credentials: what may be shown.
    #[must_use]
    pub fn redacted(&self) -> &str {
        &self.shown
    }

    /// The hosts that it names.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The password that it holds, if it holds one.
    #[must_use]
    pub fn password(&self) -> Option<&str> {
        self.whole.expose_secret().get(self.password.clone()?)
    }
}

impl Value for StoreUrl {
    fn form() -> String {
        "http://host:port, https://host:port, kurrentdb://… or kurrentdb+discover://…".to_owned()
    }

    /// It may hold a password.
    fn quote(_: &str) -> String {
        "its value".to_owned()
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").ok_or("is no URL")?;
        if !SCHEMES.contains(&scheme.to_ascii_lowercase().as_str()) {
            return Err("has a scheme that KurrentDB does not know".to_owned());
        }
        let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(authority_end);
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (Some(credentials), hosts),
            None => (None, authority),
        };
        let password = credentials.and_then(|c| {
            let (user, password) = c.split_once(':')?;
            let start = scheme.len() + "://".len() + user.len() + 1;
            Some(start..start + password.len())
        });
        Ok(Self {
            whole: SecretString::from(text),
            shown: format!("{scheme}://{hosts}{tail}"),
            hosts: hosts.split(',').map(host).collect::<Result<_, _>>()?,
            password,
        })
    }

    fn show(&self) -> String {
        self.shown.clone()
    }
}

/// One `host` or `host:port`.
fn host(text: &str) -> Result<Host, String> {
    let (host, port) = match text.rsplit_once(':') {
        // The colons of a bare IPv6 address stand inside brackets.
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    if port.is_some_and(|port| !port.parse::<u16>().is_ok_and(|port| port > 0)) {
        return Err("has a port that is none".to_owned());
    }
    Host::parse(host).map_err(|_| "names no host".to_owned())
}
