//! Scheme and host by which a client has reached the first of the operator's proxies:
//! `X-Forwarded-Proto` and `X-Forwarded-Host`, or the `proto` and `host` of `Forwarded`.
//!
//! Proxies in a row each add their own to a list, as they do with addresses. So what counts is what
//! the proxy says that has seen the client, whose address [`super::client`] finds in the same way.
//!
//! ```text
//! X-Forwarded-For:   the client, a trusted proxy             peer: a trusted proxy
//! X-Forwarded-Proto: https,      http
//!                    ^^^^^ counts
//! ```

use std::net::IpAddr;

use http::HeaderMap;
use http::header::{self, HeaderName};
use ipnet::IpNet;

use super::{Chain, Hops, MAX_BYTES, X_FORWARDED_FOR, chain, elements, is_trusted, of_list};

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What the proxies say of the URL that the client has used.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ForwardedUrl {
    pub scheme: Option<String>,
    pub host: Option<String>,
}

/// What a trusted peer says of it. What cannot be read, or is said in two ways that disagree, is not
/// said.
#[must_use]
pub fn said(trusted: &[IpNet], headers: &HeaderMap, peer: IpAddr) -> ForwardedUrl {
    if !is_trusted(trusted, peer) {
        return ForwardedUrl::default();
    }
    let addresses = match chain(headers, X_FORWARDED_FOR, of_list) {
        Chain::Of(hops) => hops,
        Chain::Absent | Chain::Unreadable => Hops::new(),
    };
    let between = proxies_between(trusted, &addresses);
    let (proto, host) = by_forwarded(trusted, headers);
    ForwardedUrl {
        scheme: agreed(listed(headers, &X_FORWARDED_PROTO, between), proto),
        host: agreed(listed(headers, &X_FORWARDED_HOST, between), host),
    }
}

/// How many proxies stand between the one that has seen the client and this process's peer.
fn proxies_between(trusted: &[IpNet], hops: &[Option<IpAddr>]) -> usize {
    let is_proxy = |hop: &&Option<IpAddr>| hop.is_some_and(|hop| is_trusted(trusted, hop));
    let proxies = hops.iter().rev().take_while(is_proxy).count();
    proxies.min(hops.len().saturating_sub(1))
}

/// The entry of a list that so many proxies have added to afterwards. Where the list is shorter, not
/// each of them has: the first entry is the oldest.
fn listed(headers: &HeaderMap, name: &HeaderName, between: usize) -> Option<String> {
    let (mut all, mut bytes) = (Vec::new(), 0);
    for line in headers.get_all(name) {
        bytes += line.len();
        let line = line.to_str().ok().filter(|_| bytes <= MAX_BYTES)?;
        all.extend(line.split(',').map(|entry| entry.trim_matches([' ', '\t'])));
    }
    let entry = all.len().checked_sub(1)?.saturating_sub(between);
    all.get(entry).filter(|entry| !entry.is_empty()).map(|entry| (*entry).to_owned())
}

/// Scheme and host of the element about the client.
fn by_forwarded(trusted: &[IpNet], headers: &HeaderMap) -> (Option<String>, Option<String>) {
    let (mut all, mut bytes) = (Vec::new(), 0);
    for line in headers.get_all(header::FORWARDED) {
        bytes += line.len();
        let read = line.to_str().ok().filter(|_| bytes <= MAX_BYTES).and_then(elements::read);
        let Some(read) = read else { return (None, None) };
        all.extend(read);
    }
    let addresses: Hops = all.iter().map(|element| element.address).collect();
    let between = proxies_between(trusted, &addresses);
    let about = all.into_iter().rev().nth(between).unwrap_or_default();
    (about.proto, about.host)
}

fn agreed(one: Option<String>, other: Option<String>) -> Option<String> {
    match (one, other) {
        (Some(one), Some(other)) => one.eq_ignore_ascii_case(&other).then_some(one),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said_by(peer: &str, given: &[(&str, &str)]) -> (String, String) {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().unwrap());
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        let said = said(&trusted, &headers, peer.parse().unwrap());
        (said.scheme.unwrap_or_default(), said.host.unwrap_or_default())
    }

    #[test]
    fn the_proxy_that_has_seen_the_client_says_what_it_has_used() {
        let (proto, host, address) = ("x-forwarded-proto", "x-forwarded-host", "x-forwarded-for");
        let https = |host: &str| ("https".to_owned(), host.to_owned());
        let none = (String::new(), String::new());
        for (given, expect) in [
            (&[(proto, "https"), (host, "m.example")][..], https("m.example")),
            // Two proxies, which both add, overwrite, or of which one passes it on.
            (
                &[(address, "1.1.1.1, 10.0.0.2"), (proto, "https, http"), (host, "m.example, in")],
                https("m.example"),
            ),
            (
                &[(address, "1.1.1.1, fd00::2"), (proto, "https,http"), (host, "m.example")],
                https("m.example"),
            ),
            (
                &[(address, "1.1.1.1"), (address, "10.0.0.2"), (proto, "https"), (proto, "http")],
                https(""),
            ),
            // What stands in front is the client's own word.
            (
                &[(address, "1.1.1.1"), (proto, "http, https"), (host, "x, m.example")],
                https("m.example"),
            ),
            (&[(proto, "http, https")], https("")),
            (
                &[("forwarded", "for=1.1.1.1;proto=https;host=\"m.example:8443\"")],
                https("m.example:8443"),
            ),
            (
                &[(
                    "forwarded",
                    "for=9.9.9.9;proto=http;host=x, For=\"1.1.1.1:5\";Proto=https;Host=m.example, \
                     for=\"[fd00::1]\";proto=http;host=in",
                )],
                https("m.example"),
            ),
            (&[("forwarded", "for=_hidden;proto=https")], https("")),
            (&[("forwarded", "proto=https;proto=http")], none.clone()),
            (
                &[("forwarded", "proto=https;host=a"), (proto, "http"), (host, "A")],
                (String::new(), "A".into()),
            ),
            (&[(proto, ""), (host, "")], none.clone()),
            (&[], none.clone()),
        ] {
            assert_eq!(said_by("10.0.0.1", given), expect, "{given:?}");
            assert_eq!(said_by("1.2.3.4", given), none, "{given:?}");
        }
    }
}
