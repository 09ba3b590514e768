//! Where a KurrentDB server is.

use super::{Host, Secret, Value};
use secrecy::{ExposeSecret, SecretString};
use std::ops::Range;

const SCHEMES: [&str; 6] = ["http", "https", "kurrentdb", "kurrentdb+discover", "esdb", "esdb+discover"];

/// A KurrentDB server's URL or connection string. It may hold credentials, so only its shown form can be printed.
#[derive(Debug, Clone)]
pub struct StoreUrl {
    whole: SecretString,
    shown: String,
    hosts: Vec<(Host, Option<u16>)>,
    /// Where in `whole` the user's name and the password stand.
    user: Option<Range<usize>>,
    password: Option<Range<usize>>,
}

impl StoreUrl {
    /// The URL without its credentials: what may be shown.
    #[must_use]
    pub fn redacted(&self) -> &str {
        &self.shown
    }

    /// The hosts that it names.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().map(|(host, _)| host)
    }

    /// The first host that it names, and its port, if that is said.
    #[must_use]
    pub fn first_host(&self) -> (&Host, Option<u16>) {
        // There is one: a URL without is none.
        let (host, port) = &self.hosts[0];
        (host, *port)
    }

    /// What stands before `://`.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.shown.split_once("://").map_or("", |(scheme, _)| scheme)
    }

    /// What stands after the credentials: the hosts and the rest.
    #[must_use]
    pub fn after_credentials(&self) -> &str {
        self.shown.split_once("://").map_or("", |(_, rest)| rest)
    }

    /// What stands after the `?`.
    #[must_use]
    pub fn query(&self) -> &str {
        self.shown.split_once('?').map_or("", |(_, query)| query)
    }

    /// Whether it is a connection string for KurrentDB's clients, which says everything, and no plain URL.
    #[must_use]
    pub fn is_connection_string(&self) -> bool {
        !["http", "https"].iter().any(|plain| self.scheme().eq_ignore_ascii_case(plain))
    }

    /// The user's name and the password that it holds, as they are meant: percent-encoding is undone.
    #[must_use]
    pub fn credentials(&self) -> Option<(String, Secret)> {
        let text = |range: &Range<usize>| {
            let written = self.whole.expose_secret().get(range.clone()).unwrap_or_default();
            percent_encoding::percent_decode_str(written).decode_utf8_lossy().into_owned()
        };
        let name = text(self.user.as_ref()?);
        let password = self.password.as_ref().map(text).unwrap_or_default();
        Secret::parse(&password).ok().map(|password| (name, password))
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
        let start = scheme.len() + "://".len();
        let user = credentials.map(|c| start..start + c.find(':').unwrap_or(c.len()));
        let password = credentials.and_then(|c| {
            let (user, password) = c.split_once(':')?;
            let start = start + user.len() + 1;
            Some(start..start + password.len())
        });
        Ok(Self {
            whole: SecretString::from(text),
            shown: format!("{scheme}://{hosts}{tail}"),
            hosts: hosts.split(',').map(host).collect::<Result<_, _>>()?,
            user,
            password,
        })
    }

    fn show(&self) -> String {
        self.shown.clone()
    }
}

/// One `host` or `host:port`.
fn host(text: &str) -> Result<(Host, Option<u16>), String> {
    let (host, port) = match text.rsplit_once(':') {
        // The colons of a bare IPv6 address stand inside brackets.
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let number = port.and_then(|port| port.parse::<u16>().ok()).filter(|port| *port > 0);
    if port.is_some() && number.is_none() {
        return Err("has a port that is none".to_owned());
    }
    Host::parse(host).map(|host| (host, number)).map_err(|_| "names no host".to_owned())
}
