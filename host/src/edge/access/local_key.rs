//! The key of the local command line, for the management API.
//!
//! It is kept in the data folder, which only this user reads. Who holds it and calls from this
//! machine may use all of `/api`; from elsewhere it is worth nothing, and nowhere does it make a
//! client of `/mcp`.

use std::net::IpAddr;

use http::{HeaderMap, header};

use crate::config::Secret;
use crate::protocol::headers;

/// The key that lies in the data folder.
#[derive(Debug, Clone)]
pub struct LocalKey(pub Secret);

impl LocalKey {
    /// Whether a request carries the key and comes from this machine. A proxy on this machine
    /// sends requests of others, so one that a proxy or a browser has sent does not count.
    #[must_use]
    pub fn admits(&self, headers: &HeaderMap, peer: IpAddr, local: IpAddr) -> bool {
        let (peer, local) = (peer.to_canonical(), local.to_canonical());
        let is_here = peer.is_loopback() || peer == local;
        let given = headers.get(header::AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
        let given = given.strip_prefix(b"Bearer ").unwrap_or_default();
        is_here && self.0.matches(given) && !headers::is_on_behalf(headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_counts_from_this_machine_alone() {
        let key = LocalKey(Secret::new("k"));
        let with = |more: &'static [(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in more {
                headers.insert(*name, value.parse().unwrap());
            }
            headers
        };
        let ours = with(&[("authorization", "Bearer k")]);
        let [loopback, own, far]: [IpAddr; 3] =
            ["127.0.0.1", "10.0.0.5", "10.0.0.6"].map(|address| address.parse().unwrap());
        assert!(key.admits(&ours, loopback, loopback));
        assert!(key.admits(&ours, own, own), "this machine under its own address");
        assert!(!key.admits(&ours, far, own));
        for headers in [
            with(&[]),
            with(&[("authorization", "Bearer x")]),
            with(&[("authorization", "Bearer ")]),
            with(&[("authorization", "k")]),
            with(&[("authorization", "Bearer k"), ("x-forwarded-for", "8.8.8.8")]),
            with(&[("authorization", "Bearer k"), ("origin", "http://localhost")]),
        ] {
            assert!(!key.admits(&headers, loopback, loopback), "{headers:?}");
        }
    }
}
