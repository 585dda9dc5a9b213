//! Whom limits count, beside the principal that sessions belong to.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use super::session::Principal;

/// The one that a limit is for: the holder of a credential, or the address of a client without one.
///
/// A session does not belong to its quota key: a client that changes its network keeps its session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum QuotaKey {
    /// All clients that use one credential.
    Credential(Principal),
    /// All clients without a credential at one address, as [`counted_address`] gives it.
    Address(IpAddr),
}

impl QuotaKey {
    /// The key of a client without a credential.
    #[must_use]
    pub fn of_address(address: IpAddr) -> Self {
        Self::Address(counted_address(address))
    }
}

/// What logs and refusals call the one that is meant.
impl fmt::Display for QuotaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Names come from outside: nothing of them may change a terminal or a log.
            Self::Credential(principal) => {
                write!(f, "the credential {}", principal.as_str().escape_debug())
            }
            Self::Address(IpAddr::V6(v6)) => write!(f, "the address {v6}/64"),
            Self::Address(v4) => write!(f, "the address {v4}"),
        }
    }
}

/// The address that stands for a client: a customer of IPv6 usually has all addresses of a /64,
/// so that one of them is no limit.
#[must_use]
pub fn counted_address(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_client_is_its_network_and_a_mapped_one_its_ipv4_address() {
        let key = |text: &str| QuotaKey::of_address(text.parse().unwrap());
        assert_eq!(key("2001:db8:1:2:3::4"), key("2001:db8:1:2::9"));
        assert_ne!(key("2001:db8:1:2::9"), key("2001:db8:1:3::9"));
        assert_eq!(key("::ffff:10.0.0.1"), key("10.0.0.1"));
        assert_ne!(key("10.0.0.1"), key("10.0.0.2"));
    }

    #[test]
    fn a_refusal_says_whether_a_credential_or_an_address_is_counted() {
        let said = |key: QuotaKey| key.to_string();
        assert_eq!(said(QuotaKey::of_address([10, 0, 0, 1].into())), "the address 10.0.0.1");
        let v6 = QuotaKey::of_address("2001:db8:1:2:3::4".parse().unwrap());
        assert_eq!(said(v6), "the address 2001:db8:1:2::/64");
        let named = QuotaKey::Credential(Principal::named("a\u{1b}[2J"));
        assert_eq!(said(named), "the credential a\\u{1b}[2J");
    }
}
