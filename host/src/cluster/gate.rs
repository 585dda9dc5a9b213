//! The addresses from which the cluster's endpoints may be called.
//!
//! With a token, any: callers prove themselves. Without one, a coordinator serves loopback and
//! private addresses, and a node only its coordinators' addresses; neither serves a request that
//! came through a proxy or from a browser. A proof is wanted in either case.

use std::net::IpAddr;

use http::HeaderMap;

use crate::model::is_near;
use crate::protocol::headers;

use super::addresses::Addresses;

/// Why a request is not served. `Display` is the text for the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// A token is configured, and the request does not prove that its sender knows it.
    Token,
    /// No token is configured, and the request does not prove that it comes from a process that
    /// has registered, or from the coordinator.
    Unproved,
    /// No token is configured, and the peer's address is not trusted.
    Address(IpAddr),
}

impl std::fmt::Display for Denied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Token => f.write_str(
                "Unauthorized: nothing proves that the caller knows the cluster token. Set the \
                 same systemConfig.cluster.token or MOORING_CLUSTER_TOKEN on both sides, and run \
                 one version of mooring on all: earlier ones send the token itself, which is not \
                 accepted any more",
            ),
            Self::Unproved => f.write_str(
                "Forbidden: nothing proves that the caller is the node, or its coordinator. Nodes \
                 register by themselves and are called by their coordinator; run one version of \
                 mooring on all, since earlier ones prove nothing",
            ),
            Self::Address(peer) => write!(
                f,
                "Forbidden for {peer}: without a cluster token, a coordinator serves only direct \
                 requests from private addresses, and a node only its coordinator; set \
                 systemConfig.cluster.token or MOORING_CLUSTER_TOKEN on both sides"
            ),
        }
    }
}

/// Which peers are trusted where no token is configured.
#[derive(Debug, Clone)]
enum TrustedPeers {
    /// Those on loopback and in private ranges.
    Private,
    /// Those at an address of the host in a coordinator's URL.
    Coordinators(Vec<Addresses>),
}

/// Decides from where an endpoint of the cluster may be called.
#[derive(Debug, Clone)]
pub struct Gate {
    has_token: bool,
    /// Ignored if there is a token.
    near: TrustedPeers,
}

impl Gate {
    /// The gate of a coordinator.
    #[must_use]
    pub fn for_nodes(has_token: bool) -> Self {
        Self { has_token, near: TrustedPeers::Private }
    }

    /// The gate of a node. The hosts are those of its coordinators' URLs, with or without
    /// brackets.
    #[must_use]
    pub fn for_coordinators<'a>(
        has_token: bool,
        hosts: impl IntoIterator<Item = (&'a str, u16)>,
    ) -> Self {
        let addresses = hosts.into_iter().map(|(host, port)| {
            Addresses::of(host.trim_start_matches('[').trim_end_matches(']'), port)
        });
        Self { has_token, near: TrustedPeers::Coordinators(addresses.collect()) }
    }

    /// Checks one request, by its headers and the address of its connection.
    ///
    /// # Errors
    /// If the endpoint may not be used from there.
    pub async fn check(&self, request: &HeaderMap, peer: IpAddr) -> Result<(), Denied> {
        if self.has_token {
            return Ok(());
        }
        let peer = peer.to_canonical();
        if headers::is_on_behalf(request) {
            return Err(Denied::Address(peer));
        }
        let near = match &self.near {
            TrustedPeers::Private => is_near(peer),
            TrustedPeers::Coordinators(all) => {
                let looks = all.iter().map(|addresses| addresses.has(peer));
                futures_util::future::join_all(looks).await.contains(&true)
            }
        };
        if near { Ok(()) } else { Err(Denied::Address(peer)) }
    }

    /// The refusal of what proves nothing.
    #[must_use]
    pub fn unproved(&self) -> Denied {
        if self.has_token { Denied::Token } else { Denied::Unproved }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, value: &'static str) -> HeaderMap {
        let name = http::HeaderName::from_static(name);
        HeaderMap::from_iter([(name, http::HeaderValue::from_static(value))])
    }

    #[tokio::test]
    async fn with_a_token_the_address_does_not_count() {
        let gate = Gate::for_nodes(true);
        let far: IpAddr = "8.8.8.8".parse().unwrap();
        assert!(gate.check(&with("x-forwarded-for", "1.2.3.4"), far).await.is_ok());
        assert_eq!(gate.unproved(), Denied::Token);
    }

    #[tokio::test]
    async fn without_a_token_near_peers_are_served_and_proxied_ones_are_not() {
        let gate = Gate::for_nodes(false);
        let none = HeaderMap::new();
        for near in ["127.0.0.1", "10.1.2.3", "::1", "::ffff:192.168.0.1", "fd00::1"] {
            assert!(gate.check(&none, near.parse().unwrap()).await.is_ok(), "{near}");
        }
        assert!(gate.check(&none, "8.8.8.8".parse().unwrap()).await.is_err());
        for name in ["x-forwarded-for", "origin", "sec-fetch-site"] {
            let foreign = with(name, "http://evil.example");
            assert!(gate.check(&foreign, "10.0.0.1".parse().unwrap()).await.is_err());
        }
        assert_eq!(gate.unproved(), Denied::Unproved);
    }

    #[tokio::test]
    async fn a_node_without_a_token_serves_its_coordinators_addresses_only() {
        let gate = Gate::for_coordinators(false, [("127.0.0.1", 3000), ("[::1]", 3000)]);
        let none = HeaderMap::new();
        assert!(gate.check(&none, "127.0.0.1".parse().unwrap()).await.is_ok());
        assert!(gate.check(&none, "::1".parse().unwrap()).await.is_ok());
        assert!(gate.check(&none, "10.0.0.1".parse().unwrap()).await.is_err());
    }
}
