//! Where the KurrentDB server is, and as whom it is asked: from all the settings that say something about it.

use super::{Config, Host, Origin, Secret, StoreUrl};
use secrecy::{ExposeSecret, SecretString};

/// The port that KurrentDB listens on unless told otherwise.
const DEFAULT_PORT: u16 = 2113;

/// A KurrentDB server or cluster. Its shown form alone can be printed.
#[derive(Debug, Clone)]
pub struct Server {
    connection: SecretString,
    credentials: Option<(String, Secret)>,
    shown: String,
    node: String,
    verify_cert: bool,
    ca_file: Option<String>,
}

impl Server {
    /// The connection string for the official client. It holds no credentials.
    #[must_use]
    pub fn connection_string(&self) -> &str {
        self.connection.expose_secret()
    }

    /// The user's name and password, as they are meant and not as a URL writes them.
    #[must_use]
    pub fn credentials(&self) -> Option<(&str, &str)> {
        self.credentials.as_ref().map(|(name, password)| (name.as_str(), password.expose()))
    }

    /// What may be shown.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// The HTTP interface of one of its nodes: `https://host:port`.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Whether its certificate is to be verified.
    #[must_use]
    pub const fn verifies_cert(&self) -> bool {
        self.verify_cert
    }

    /// A file of certificates to be trusted instead of the system's.
    #[must_use]
    pub fn ca_file(&self) -> Option<&str> {
        self.ca_file.as_deref()
    }

    /// From a connection string, which says everything.
    #[must_use]
    pub fn from_connection_string(url: &StoreUrl) -> Self {
        let parameter = |name: &str| {
            let found = form_urlencoded::parse(url.query().as_bytes())
                .filter(|(key, _)| key.eq_ignore_ascii_case(name))
                .last();
            found.map(|(_, value)| value.into_owned())
        };
        let said = |name: &str| parameter(name).is_none_or(|value| !value.eq_ignore_ascii_case("false"));
        let tls = said("tls");
        let (host, port) = url.first_host();
        Self {
            connection: SecretString::from(format!("{}://{}", url.scheme(), url.after_credentials())),
            credentials: url.credentials(),
            shown: url.redacted().to_owned(),
            node: address(tls, host, port.unwrap_or(DEFAULT_PORT)),
            verify_cert: said("tlsVerifyCert"),
            ca_file: parameter("tlsCaFile"),
        }
    }
}

impl Config {
    /// The server that the settings name.
    #[must_use]
    pub fn kurrentdb(&self) -> Server {
        let settings = &self.settings;
        let url = &settings.kurrentdb_url;
        if url.is_connection_string() {
            return Server::from_connection_string(url);
        }
        // An address that somebody wrote goes before a host that somebody wrote, and that before the address by default.
        let by_host =
            settings.kurrentdb_host.as_ref().filter(|_| self.origin("KURRENTDB_URL") == Origin::Default);
        let (host, port) = match by_host {
            Some(host) => (host, settings.kurrentdb_port.0),
            None => url.first_host(),
        };
        let tls = settings.kurrentdb_use_tls || url.scheme().eq_ignore_ascii_case("https");
        let node = address(tls, host, port.unwrap_or(DEFAULT_PORT));
        let authority = node.split_once("://").map_or(node.as_str(), |(_, authority)| authority);
        let verify_cert = settings.kurrentdb_verify_cert;
        let written = || (settings.kurrentdb_username.clone(), settings.kurrentdb_password.clone());
        Server {
            connection: SecretString::from(format!(
                "kurrentdb://{authority}?tls={tls}&tlsVerifyCert={verify_cert}"
            )),
            credentials: Some(url.credentials().unwrap_or_else(written)),
            shown: if by_host.is_some() { node.clone() } else { url.redacted().to_owned() },
            node,
            verify_cert,
            ca_file: None,
        }
    }
}

fn address(tls: bool, host: &Host, port: u16) -> String {
    let scheme = if tls { "https" } else { "http" };
    match host.as_str() {
        v6 if v6.contains(':') => format!("{scheme}://[{v6}]:{port}"),
        host => format!("{scheme}://{host}:{port}"),
    }
}
