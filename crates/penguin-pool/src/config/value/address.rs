//! Lists of web origins and of network addresses.

use super::Value;
use std::net::IpAddr;

/// The web origins that browsers may call from, each as browsers send it: `scheme://host[:port]` in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origins(pub Vec<String>);

impl Value for Origins {
    fn form() -> String {
        "origins such as https://app.example.org, with commas between".to_owned()
    }

    fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(origin).collect::<Result<_, _>>().map(Self)
    }

    fn show(&self) -> String {
        self.0.join(",")
    }
}

fn origin(text: &str) -> Result<String, String> {
    if text == "*" {
        return Err("lets every site in, which cannot be with credentials".to_owned());
    }
    let (scheme, rest) =
        text.split_once("://").ok_or_else(|| format!("holds '{text}', which is no origin"))?;
    let host = rest.strip_suffix('/').unwrap_or(rest);
    let plain = host.chars().all(|c| c.is_ascii_alphanumeric() || "-._:[]".contains(c));
    let known = ["http", "https"].contains(&scheme.to_ascii_lowercase().as_str());
    if host.is_empty() || !plain || !known {
        return Err(format!("holds '{text}', which is no origin"));
    }
    Ok(format!("{scheme}://{host}").to_ascii_lowercase())
}

/// An address, or all addresses of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    network: IpAddr,
    bits: u8,
}

impl Address {
    /// Whether an address lies in it.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.network, ip.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                network.to_bits() & mask == ip.to_bits() & mask
            }
            (IpAddr::V6(network), IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                network.to_bits() & mask == ip.to_bits() & mask
            }
            _ => false,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (network, bits) = match text.split_once('/') {
            Some((network, bits)) => (network.parse::<IpAddr>().ok()?, Some(bits.parse::<u8>().ok()?)),
            None => (text.parse::<IpAddr>().ok()?, None),
        };
        let most = if network.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Self { network, bits })
    }
}

/// The reverse proxies whose word about the caller's address is believed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proxies(pub Vec<Address>);

impl Value for Proxies {
    fn form() -> String {
        "addresses or networks such as 10.0.0.0/8, with commas between".to_owned()
    }

    fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts
            .map(|part| Address::parse(part).ok_or_else(|| format!("holds '{part}', which is no address")))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    fn show(&self) -> String {
        self.0.iter().map(|a| format!("{}/{}", a.network, a.bits)).collect::<Vec<_>>().join(",")
    }
}
