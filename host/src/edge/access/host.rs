//! Which values of `Host` are let in.
//!
//! A page in a browser can make its own DNS name point to an address of this machine or of the
//! local network, and would then be of the same origin as the gateway (DNS rebinding). What such a
//! page cannot do is send another `Host` than the name that it was loaded from. So requests to
//! loopback and private addresses must come by an address, or by a name that is not on the public
//! DNS or that the operator has named.

use std::net::IpAddr;

use crate::model::{is_near, is_shared};

/// Ends of names that are never public: a cluster's services (Kubernetes), private networks (reserved
/// by ICANN in 2024), this machine (RFC 6761), multicast DNS (RFC 6762) and homes (RFC 8375).
const PRIVATE_ENDS: [&str; 6] =
    [".svc", ".cluster.local", ".internal", ".localhost", ".local", ".home.arpa"];

/// The names that the operator has given, in lower case.
#[derive(Debug, Clone, Default)]
pub struct HostRules {
    /// `allowedHosts`, with or without a port.
    pub listed: Vec<String>,
    /// The machine's own name, and the hosts by which coordinator and nodes call each other,
    /// without ports.
    pub own: Vec<String>,
}

impl HostRules {
    /// Whether a request that came to `local` may carry this `Host`.
    #[must_use]
    pub fn allow(&self, host: &str, local: IpAddr) -> bool {
        let is_checked = is_near(local) || is_shared(local) || !self.listed.is_empty();
        !is_checked || self.knows(host)
    }

    fn knows(&self, host: &str) -> bool {
        let name = without_port(host);
        if is_address(name) || is_private(name) {
            return true;
        }
        let same = |listed: &String| listed.eq_ignore_ascii_case(name);
        self.own.iter().any(same)
            || self.listed.iter().any(|listed| same(listed) || listed.eq_ignore_ascii_case(host))
    }
}

/// No page is loaded from a bare address without that address having served it.
fn is_address(name: &str) -> bool {
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match bare {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name.parse::<std::net::Ipv4Addr>().is_ok(),
    }
}

/// Names of one label, like `localhost` and `coordinator`, and names below [`PRIVATE_ENDS`]. With a
/// dot at its end a single label would be a top-level domain.
fn is_private(name: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let name = name.to_ascii_lowercase();
    is_label(&name)
        || PRIVATE_ENDS
            .iter()
            .any(|end| name.strip_suffix(end).is_some_and(|rest| rest.split('.').all(is_label)))
}

/// The authority without its port.
pub(super) fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|b| b.is_ascii_digit())
                && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_not_part_of_the_name() {
        for (authority, name) in [
            ("localhost:3000", "localhost"),
            ("[::1]:3000", "[::1]"),
            ("[::1]", "[::1]"),
            ("::1", "::1"),
            ("example.com", "example.com"),
            ("example.com:evil", "example.com:evil"),
        ] {
            assert_eq!(without_port(authority), name);
        }
    }

    fn rules() -> HostRules {
        HostRules {
            listed: vec!["gw.example.com".to_owned(), "other.example.com:8080".to_owned()],
            own: vec!["gateway.corp.example".to_owned()],
        }
    }

    #[test]
    fn names_that_a_page_can_have_are_refused_on_addresses_near_us() {
        for host in [
            "evil.example.com",
            "localhost.evil.com",
            "127.0.0.1.evil.com",
            "127.1",
            "2130706433.evil.com",
            "other.example.com:8081",
            "gw.example.com.evil.com",
            "gw.example.com.",
            "ai.",
            "svc.evil.com",
            "a..svc",
            ".internal",
            "evil.com.svc.evil.com",
            "user@localhost",
            "localhost/..",
            "lo calhost",
            "[::1].evil.com",
            "[::1",
            "",
            ":3000",
        ] {
            for local in ["127.0.0.1", "::1", "10.1.2.3", "192.168.1.1", "fd00::1", "100.64.9.9"] {
                assert!(!rules().allow(host, local.parse().unwrap()), "{host:?} at {local}");
            }
        }
    }

    #[test]
    fn addresses_private_names_and_named_hosts_are_let_in() {
        for host in [
            "localhost:1",
            "LOCALHOST",
            "127.0.0.1",
            "10.0.0.7:3000",
            "[::1]:3000",
            "[fd00::1]",
            "coordinator:3000",
            "node-1",
            "mooring.tools.svc:3000",
            "mooring.tools.svc.cluster.local",
            "vm.project.internal",
            "gateway.local:3000",
            "mcp.localhost",
            "box.home.arpa",
            "GW.example.com:3000",
            "other.example.com:8080",
            "gateway.corp.example:3000",
        ] {
            assert!(rules().allow(host, "10.1.2.3".parse().unwrap()), "{host}");
        }
    }

    #[test]
    fn a_public_address_takes_any_name_unless_hosts_are_listed() {
        let public = "203.0.113.7".parse().unwrap();
        assert!(HostRules::default().allow("any.example.com", public));
        assert!(!rules().allow("any.example.com", public));
        assert!(
            !HostRules::default().allow("any.example.com", "::ffff:127.0.0.1".parse().unwrap())
        );
    }
}
