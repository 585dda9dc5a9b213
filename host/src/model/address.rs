//! What an address says about who can reach it.

use std::net::IpAddr;

/// Whether the address is loopback or of a private range (RFC 1918, RFC 4193, link-local).
#[must_use]
pub fn is_near(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// Whether the address is not of the public internet, but perhaps shared with strangers: providers
/// and overlay networks use these (RFC 6598).
#[must_use]
pub fn is_shared(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64,
        IpAddr::V6(_) => false,
    }
}

/// Whether a URL's host is this machine, whatever DNS says: an address of it, or `localhost`.
#[must_use]
pub fn is_loopback_host(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address: Result<IpAddr, _> = bare.parse();
    address.map_or(host.eq_ignore_ascii_case("localhost"), |a| a.to_canonical().is_loopback())
}
