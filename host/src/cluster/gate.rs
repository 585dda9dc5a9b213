//! Access to the cluster's endpoints.
//!
//! With a token, a request must carry it (else 401). Without one, a coordinator serves
//! loopback and private addresses, and a node only its coordinator's address; neither
//! serves a request that came through a proxy or from a browser (else 403).

use std::net::IpAddr;

use http::{HeaderMap, header};

use crate::config::Secret;
use crate::model::is_near;
use crate::protocol::headers;

use super::addresses::Addresses;

/// Why a request is not served. `Display` is the text for the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// A token is configured, and the request does not carry it.
    Token,
    /// No token is configured, and the peer's address is not trusted.
    Address(IpAddr),
}

impl std::fmt::Display for Denied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Token => f.write_str(
                "Unauthorized: send the cluster token as \"Authorization: Bearer …\" \
                 (systemConfig.cluster.token or MOORING_CLUSTER_TOKEN on both sides)",
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
pub enum TrustedPeers {
    /// Those on loopback and in private ranges.
    Private,
    /// Those at an address of the host in the coordinator's URL.
    Coordinator(Addresses),
}

/// Decides which requests an endpoint of the cluster serves.
#[derive(Debug, Clone)]
pub struct Gate {
    pub token: Option<Secret>,
    /// Ignored if there is a token.
    pub near: TrustedPeers,
}

impl Gate {
    /// The gate of a coordinator.
    #[must_use]
    pub fn for_nodes(token: Option<Secret>) -> Self {
        Self { token, near: TrustedPeers::Private }
    }

    /// The gate of a node. The host is that of the coordinator's URL, with or without
    /// brackets.
    #[must_use]
    pub fn for_coordinator(token: Option<Secret>, host: &str, port: u16) -> Self {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Self { token, near: TrustedPeers::Coordinator(Addresses::of(host, port)) }
    }

    /// Checks one request, by its headers and the address of its connection.
    ///
    /// # Errors
    /// If the request may not use the endpoint.
    pub async fn check(&self, request: &HeaderMap, peer: IpAddr) -> Result<(), Denied> {
        if let Some(token) = &self.token {
            let given = request.get(header::AUTHORIZATION).map_or(&b""[..], |v| v.as_bytes());
            let given = given.strip_prefix(b"Bearer ").unwrap_or_default();
            return if token.matches(given) { Ok(()) } else { Err(Denied::Token) };
        }
        let peer = peer.to_canonical();
        if headers::is_on_behalf(request) {
            return Err(Denied::Address(peer));
        }
        let near = match &self.near {
            TrustedPeers::Private => is_near(peer),
            TrustedPeers::Coordinator(addresses) => addresses.has(peer).await,
        };
        if near { Ok(()) } else { Err(Denied::Address(peer)) }
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
    async fn with_a_token_only_the_token_counts() {
        let gate = Gate::for_nodes(Some(Secret::new("t0ken")));
        let far: IpAddr = "8.8.8.8".parse().unwrap();
        let near: IpAddr = "127.0.0.1".parse().unwrap();
        assert!(gate.check(&with("authorization", "Bearer t0ken"), far).await.is_ok());
        for bad in ["Bearer t0ke", "Bearer t0ken ", "t0ken", ""] {
            let denied = gate.check(&with("authorization", bad), near).await;
            assert_eq!(denied, Err(Denied::Token), "{bad}");
        }
    }

    #[tokio::test]
    async fn without_a_token_near_peers_are_served_and_proxied_ones_are_not() {
        let gate = Gate::for_nodes(None);
        let none = HeaderMap::new();
        for near in ["127.0.0.1", "10.1.2.3", "::1", "::ffff:192.168.0.1", "fd00::1"] {
            assert!(gate.check(&none, near.parse().unwrap()).await.is_ok(), "{near}");
        }
        assert!(gate.check(&none, "8.8.8.8".parse().unwrap()).await.is_err());
        for name in ["x-forwarded-for", "origin", "sec-fetch-site"] {
            let foreign = with(name, "http://evil.example");
            assert!(gate.check(&foreign, "10.0.0.1".parse().unwrap()).await.is_err());
        }
    }

    #[tokio::test]
    async fn a_node_without_a_token_serves_its_coordinators_address_only() {
        let gate = Gate::for_coordinator(None, "127.0.0.1", 3000);
        let none = HeaderMap::new();
        assert!(gate.check(&none, "127.0.0.1".parse().unwrap()).await.is_ok());
        assert!(gate.check(&none, "10.0.0.1".parse().unwrap()).await.is_err());
    }
}
