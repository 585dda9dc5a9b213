//! The address of a client behind proxies: `X-Forwarded-For`, and `Forwarded` (RFC 7239). Below it,
//! the URL that the client has used: [`url`].
//!
//! Each proxy adds the address of its own peer at the right. So the rightmost address that is not
//! one of the operator's proxies is the last one that somebody trusted has seen; whatever stands
//! left of it may be made up by the client, and is not looked at.
//!
//! ```text
//! X-Forwarded-For: made up, the client, a trusted proxy      peer: a trusted proxy
//!                           ^^^^^^^^^^ counts
//! ```
//!
//! Whoever sends what cannot be read is counted as the proxy itself, and so shares the limits of
//! others who do that, never those of a client of the proxy. The same goes for a request with both
//! headers that disagree: most proxies write one of the two and let a client's other one pass.

use std::net::IpAddr;

mod elements;
pub mod url;

use http::HeaderMap;
use http::header::{self, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Most bytes of one such header that are read. Real ones have under a hundred.
const MAX_BYTES: usize = 4096;

/// Whether a proxy, or somebody who acts as one, says whom the request is for.
#[must_use]
pub fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.contains_key(header::FORWARDED) || headers.contains_key(X_FORWARDED_FOR)
}

/// Whether the address is one of the operator's proxies.
#[must_use]
pub fn is_trusted(trusted: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|network| network.contains(&address))
}

/// The client's address: that of the peer, unless the peer is a trusted proxy that names another.
#[must_use]
pub fn client(trusted: &[IpNet], headers: &HeaderMap, peer: IpAddr) -> IpAddr {
    if trusted.is_empty() || !is_trusted(trusted, peer) {
        return peer;
    }
    let named = |name, hops: fn(&str) -> Option<Hops>| match chain(headers, name, hops) {
        Chain::Absent => Ok(None),
        Chain::Unreadable => Err(()),
        Chain::Of(hops) => client_in(trusted, hops).map(Some).ok_or(()),
    };
    match (named(header::FORWARDED, of_forwarded), named(X_FORWARDED_FOR, of_list)) {
        (Ok(Some(one)), Ok(Some(other))) if one == other => one,
        (Ok(Some(one)), Ok(None)) | (Ok(None), Ok(Some(one))) => one,
        _ => peer,
    }
}

/// The hops that a header names, in its order; `None` for a hop without an address.
type Hops = Vec<Option<IpAddr>>;

enum Chain {
    Absent,
    Unreadable,
    Of(Hops),
}

/// Reads all lines of a header as one list (RFC 9110 §5.3).
fn chain(headers: &HeaderMap, name: HeaderName, hops: fn(&str) -> Option<Hops>) -> Chain {
    let mut lines = headers.get_all(name).iter().peekable();
    if lines.peek().is_none() {
        return Chain::Absent;
    }
    let (mut all, mut bytes) = (Hops::new(), 0);
    for line in lines {
        bytes += line.len();
        let read = line.to_str().ok().filter(|_| bytes <= MAX_BYTES).and_then(hops);
        let Some(read) = read else { return Chain::Unreadable };
        all.extend(read);
    }
    Chain::Of(all)
}

/// The rightmost address that is no trusted proxy. If all are, the client is one of them: the
/// leftmost. `None` if a hop on the way there has no address.
fn client_in(trusted: &[IpNet], hops: Hops) -> Option<IpAddr> {
    let mut last = None;
    for hop in hops.into_iter().rev() {
        let address = hop?;
        if !is_trusted(trusted, address) {
            return Some(address);
        }
        last = Some(address);
    }
    last
}

/// The hops of an `X-Forwarded-For`: addresses between commas.
#[allow(clippy::unnecessary_wraps, reason = "the type that `chain` takes")]
fn of_list(line: &str) -> Option<Hops> {
    Some(line.split(',').map(|hop| elements::address(hop.trim_matches([' ', '\t']))).collect())
}

/// The hops of a `Forwarded`: the `for` of each element.
fn of_forwarded(line: &str) -> Option<Hops> {
    Some(elements::read(line)?.into_iter().map(|element| element.address).collect())
}

#[cfg(test)]
mod tests;
