//! What is watched: three services of this process, and those that `UPTIME_SERVICES` names.

use std::{fmt, sync::Arc};

/// The names of this process's own services.
pub const OWN: [&str; 3] = ["http", "websocket", "database"];

/// The port of a KurrentDB node whose address names none.
const KURRENTDB_PORT: u16 = 2113;

/// The longest name of a service.
const MAX_NAME: usize = 64;

/// A service to be watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What it is called: letters, digits and `._-`, at most 64, the first a letter or digit.
    pub name: Arc<str>,
    /// How it is checked.
    pub kind: Kind,
}

/// How a service is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A request through this process's own listener.
    OwnHttp,
    /// A handshake of Engine.IO and Socket.IO through this process's own listener for sockets.
    OwnWebsocket,
    /// A write and a read in the event store.
    Store,
    /// A request to a URL.
    Http {
        /// The URL, without a fragment.
        url: String,
        /// The status that is right; nothing for any of 200 to 299.
        status: Option<u16>,
    },
    /// A connection to `host:port`.
    Tcp(String),
    /// A KurrentDB node, asked by gRPC how its cluster is.
    KurrentDb {
        /// The address as it was written: `kurrentdb://host:port?tls=false`.
        address: String,
        /// Where its gRPC is: `http://host:port` or `https://host:port`.
        url: String,
        /// Whether the node's certificate must be one that is trusted.
        verify: bool,
    },
}

/// From how many milliseconds on an answer is no longer excellent, good, or in time at all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// Excellent up to here.
    pub excellent: f64,
    /// Good up to here.
    pub good: f64,
    /// Acceptable up to here; slower is degraded.
    pub acceptable: f64,
}

impl Kind {
    /// The thresholds of its kind. Our own http and websocket have no merely acceptable: slower than good is slow.
    #[must_use]
    pub const fn thresholds(&self) -> Thresholds {
        match self {
            Self::OwnHttp | Self::OwnWebsocket => {
                Thresholds { excellent: 100.0, good: 500.0, acceptable: 500.0 }
            }
            Self::Store => Thresholds { excellent: 50.0, good: 100.0, acceptable: 500.0 },
            // Others' services are reached over networks that are not ours.
            Self::Http { .. } | Self::Tcp(_) | Self::KurrentDb { .. } => {
                Thresholds { excellent: 100.0, good: 500.0, acceptable: 2_000.0 }
            }
        }
    }
}

impl Target {
    /// The services of this process.
    #[must_use]
    pub fn own() -> Vec<Self> {
        let kinds = [Kind::OwnHttp, Kind::OwnWebsocket, Kind::Store];
        OWN.into_iter().zip(kinds).map(|(name, kind)| Self { name: name.into(), kind }).collect()
    }

    /// Reads `name=address`: `explorer=https://explorer.example.org/health#204`, `node=tcp://10.0.0.5:4001`,
    /// `store=kurrentdb://10.0.0.6:2113?tls=false`.
    ///
    /// # Errors
    /// What is wrong, in words that name the part.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, address) = text
            .split_once('=')
            .map(|(name, address)| (name.trim(), address.trim()))
            .ok_or("holds a part that is no name=address")?;
        let plain = name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        if !plain || name.len() > MAX_NAME {
            return Err(format!(
                "holds the name '{name}', which is not 1 to {MAX_NAME} letters, digits and ._- beginning with a letter or digit"
            ));
        }
        if OWN.contains(&name) {
            return Err(format!("holds the name '{name}', which is one of the service's own parts"));
        }
        // The address is not repeated: it may hold a secret by mistake.
        let kind = Kind::parse(address).map_err(|why| format!("holds the service '{name}', {why}"))?;
        Ok(Self { name: name.into(), kind })
    }
}

impl Kind {
    fn parse(address: &str) -> Result<Self, String> {
        let (scheme, rest) =
            address.split_once("://").ok_or("whose address has no scheme such as https:// or tcp://")?;
        match scheme.to_ascii_lowercase().as_str() {
            "http" | "https" => {
                let (url, fragment) =
                    address.split_once('#').map_or((address, None), |(url, f)| (url, Some(f)));
                let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
                if host.is_empty() || host.contains(char::is_whitespace) {
                    return Err("whose address names no host".to_owned());
                }
                if host.contains('@') {
                    return Err(
                        "whose address has credentials in it, which would be shown and logged".to_owned()
                    );
                }
                let status = fragment.map(|f| f.parse::<u16>().ok().filter(|s| (100..=599).contains(s)));
                if status == Some(None) {
                    return Err("whose expected status, after #, is no HTTP status".to_owned());
                }
                Ok(Self::Http { url: url.to_owned(), status: status.flatten() })
            }
            "tcp" => {
                let rest = rest.trim_end_matches('/');
                let port = rest.rsplit_once(':').and_then(|(host, port)| {
                    let port = port.parse::<u16>().ok().filter(|p| *p > 0)?;
                    (!host.is_empty() && !host.contains(char::is_whitespace)).then_some(port)
                });
                port.ok_or("whose address is no tcp://host:port")?;
                Ok(Self::Tcp(rest.to_owned()))
            }
            "kurrentdb" | "esdb" | "kurrentdb+discover" | "esdb+discover" => kurrentdb(address, rest),
            other => Err(format!("whose scheme '{other}' is none of http, https, tcp and kurrentdb")),
        }
    }
}

/// What is left of a KurrentDB connection string behind its scheme: one host, and how it is spoken to. As in KurrentDB's
/// own strings, TLS is used unless they say otherwise.
fn kurrentdb(address: &str, rest: &str) -> Result<Kind, String> {
    let (node, options) = rest.split_once('?').unwrap_or((rest, ""));
    let node = node.trim_end_matches('/');
    if node.contains('@') {
        return Err("whose address has credentials in it, which would be shown and logged".to_owned());
    }
    let (host, port) = match node.rsplit_once(':') {
        // The colons of an IPv6 address without a port are its own.
        Some((host, port)) if !port.ends_with(']') => (host, port.parse::<u16>().unwrap_or(0)),
        _ => (node, KURRENTDB_PORT),
    };
    if host.is_empty() || port == 0 || host.contains(|c: char| c.is_whitespace() || "/,#".contains(c)) {
        return Err("whose address is no kurrentdb://host:port".to_owned());
    }
    let (mut tls, mut verify) = (true, true);
    for option in options.split('&').filter(|option| !option.is_empty()) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let wanted = match name.to_ascii_lowercase().as_str() {
            "tls" => &mut tls,
            "tlsverifycert" => &mut verify,
            _ => return Err(format!("whose option '{name}' is none of tls and tlsVerifyCert")),
        };
        *wanted = value
            .to_ascii_lowercase()
            .parse()
            .map_err(|_| format!("whose option '{name}' is neither true nor false"))?;
    }
    let url = format!("{}://{host}:{port}", if tls { "https" } else { "http" });
    Ok(Kind::KurrentDb { address: address.to_owned(), url, verify })
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", self.name)?;
        match &self.kind {
            Kind::OwnHttp | Kind::OwnWebsocket | Kind::Store => f.write_str("own"),
            Kind::Http { url, status: None } => f.write_str(url),
            Kind::Http { url, status: Some(status) } => write!(f, "{url}#{status}"),
            Kind::Tcp(address) => write!(f, "tcp://{address}"),
            Kind::KurrentDb { address, .. } => f.write_str(address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_as_they_were_written() {
        for text in [
            "explorer=https://explorer.example.org/health?a=b#204",
            "a.b-c_1=http://[::1]:8080",
            "node=tcp://10.0.0.5:4001",
            "six=tcp://[::1]:4001",
            "store=kurrentdb://10.0.0.6:2113?tls=false",
        ] {
            assert_eq!(Target::parse(text).unwrap().to_string(), text);
        }
        let kind = Target::parse("e=https://x/y#204").unwrap().kind;
        assert_eq!(kind, Kind::Http { url: "https://x/y".to_owned(), status: Some(204) });
    }

    #[test]
    fn a_kurrentdb_node_is_reached_as_its_connection_string_says() {
        for (address, reached, verified) in [
            ("kurrentdb://db.example.org", "https://db.example.org:2113", true),
            ("esdb://db:1113/?tls=true", "https://db:1113", true),
            ("kurrentdb+discover://db:2114?TLS=False", "http://db:2114", true),
            ("esdb+discover://[::1]?tlsVerifyCert=false", "https://[::1]:2113", false),
            ("kurrentdb://[::1]:9?tls=false&tlsVerifyCert=true", "http://[::1]:9", true),
        ] {
            let Kind::KurrentDb { url, verify, .. } = Target::parse(&format!("a={address}")).unwrap().kind
            else {
                panic!("{address}")
            };
            assert_eq!((url.as_str(), verify), (reached, verified), "{address}");
        }
    }

    #[test]
    fn what_cannot_be_watched_is_refused_with_the_reason() {
        for (text, reason) in [
            ("explorer", "no name=address"),
            ("=http://x", "the name ''"),
            ("-a=http://x", "the name '-a'"),
            ("a b=http://x", "the name 'a b'"),
            ("http=http://x", "own parts"),
            ("a=x.example.org", "no scheme"),
            ("a=ftp://x", "'ftp'"),
            ("a=http://", "no host"),
            ("a=http://user:secret@x", "credentials"),
            ("a=http://x#ok", "no HTTP status"),
            ("a=http://x#99", "no HTTP status"),
            ("a=tcp://x", "tcp://host:port"),
            ("a=tcp://x:0", "tcp://host:port"),
            ("a=tcp://:1", "tcp://host:port"),
            ("a=kurrentdb://", "kurrentdb://host:port"),
            ("a=kurrentdb://x:0", "kurrentdb://host:port"),
            ("a=kurrentdb://x:port", "kurrentdb://host:port"),
            ("a=kurrentdb://x/y", "kurrentdb://host:port"),
            ("a=kurrentdb://admin:changeit@x:2113", "credentials"),
            ("a=kurrentdb://x?tls=maybe", "neither true nor false"),
            ("a=kurrentdb://x?defaultDeadline=5", "'defaultDeadline'"),
        ] {
            let error = Target::parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
