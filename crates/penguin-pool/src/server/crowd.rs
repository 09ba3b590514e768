//! Connections: of those that a listener serves at one time, none from one network takes more than a share.
//!
//! Whose a connection is nobody knows before something was said over it, and who says nothing can hold one for a while. So the
//! only share there can be is that of a network: a stranger at one address does not take all of them.

use crate::{
    config::{AuthMode, Proxies, Settings},
    limits::{Holder, Place, Places, Shares},
};
use std::net::IpAddr;

/// Counts connections by where they come from. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Crowd {
    places: Places,
    proxies: Proxies,
}

impl Crowd {
    /// Of so many connections; nothing where everybody is the service itself. Proxies that are trusted bring everybody's, and
    /// have no share.
    #[must_use]
    pub fn new(settings: &Settings, most: usize) -> Option<Self> {
        (settings.auth_mode == AuthMode::Required)
            .then(|| Self::of(Shares::of_connections(most), settings.trusted_proxies.clone()))
    }

    pub(super) fn of(shares: Shares, proxies: Proxies) -> Self {
        // How many there are in all is for the listener to count: beyond it they wait, and are not refused.
        Self { places: Places::new(usize::MAX, shares), proxies }
    }

    /// A place for a connection from there, for as long as it lasts; nothing if its network has its share.
    pub(crate) fn admit(&self, peer: IpAddr) -> Option<Place> {
        let trusted = self.proxies.0.iter().any(|network| network.contains(peer));
        let holder = if trusted { Holder::Service } else { Holder::stranger(Some(peer)) };
        let place = self.places.take(holder).ok();
        if place.is_none() {
            metrics::counter!("connections_refused_total").increment(1);
            tracing::debug!(%peer, "a connection was hung up on: its network has as many as it may");
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Value as _;

    #[test]
    fn a_network_has_its_share_and_a_trusted_proxy_none() {
        let crowd = Crowd::of(Shares::of_connections(8), Proxies::parse("10.0.0.0/8").unwrap());
        let come = |ip: &str| crowd.admit(ip.parse().unwrap());
        let held = [come("203.0.113.1"), come("203.0.113.1")];
        assert!(held.iter().all(Option::is_some));
        assert!(come("203.0.113.1").is_none());
        assert!(come("203.0.113.2").is_some(), "another one is let in");
        let proxied: Vec<_> = (0..50).map(|_| come("10.1.2.3")).collect();
        assert!(proxied.iter().all(Option::is_some));
        drop(held);
        assert!(come("203.0.113.1").is_some());
    }
}
