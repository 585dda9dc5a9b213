//! The elements of `Forwarded` (RFC 7239 §4): what each proxy says of the request that it had. And addresses
//! as proxies write them.

use std::net::{IpAddr, SocketAddr};

/// What one proxy says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    /// Who its peer was: `for`. `None` if it says nothing, or hides that.
    pub address: Option<IpAddr>,
    /// The scheme and the host that its peer has used.
    pub proto: Option<String>,
    pub host: Option<String>,
}

/// All elements of a line. `None` if it breaks the grammar, so that it is unclear where an element
/// begins.
pub(super) fn read(line: &str) -> Option<Vec<Element>> {
    let (mut all, mut rest) = (Vec::new(), line);
    loop {
        let (first, after) = element(rest)?;
        all.push(first);
        match after {
            Some(after) => rest = after,
            None => return Some(all),
        }
    }
}

/// The first element, and what follows its comma.
fn element(mut rest: &str) -> Option<(Element, Option<&str>)> {
    // A second one of these in the same element: nobody can say which counts.
    let [mut peer, mut proto, mut host] = [None, None, None];
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        let end = rest.find([',', ';', '=']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let name = name.trim_end_matches([' ', '\t']);
        if let Some(pair) = after.strip_prefix('=') {
            let (value, after) = value(pair.trim_start_matches([' ', '\t']))?;
            let known = [("for", &mut peer), ("proto", &mut proto), ("host", &mut host)];
            let meant = known.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known));
            if let Some((_, place)) = meant
                && place.replace(value).is_some()
            {
                return None;
            }
            rest = after.trim_start_matches([' ', '\t']);
        } else if name.is_empty() {
            rest = after;
        } else {
            return None;
        }
        let after = match rest.split_at_checked(1) {
            None => None,
            Some((",", after)) => Some(after),
            Some((";", after)) => {
                rest = after;
                continue;
            }
            Some(_) => return None,
        };
        return Some((Element { address: address(&peer.unwrap_or_default()), proto, host }, after));
    }
}

/// A value up to the next delimiter, without its quotes, and what follows it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ';']).unwrap_or(text.len());
        let (value, after) = text.split_at(end);
        let value = value.trim_end_matches([' ', '\t']);
        return (!value.contains('"')).then(|| (value.to_owned(), after));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            other => value.push(other),
        }
    }
    None
}

/// An address with or without a port, an IPv6 address with or without brackets. `None` for
/// anything else, as `unknown` or a name that hides one (RFC 7239 §6).
pub(super) fn address(text: &str) -> Option<IpAddr> {
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let with_port = || {
        let socket: SocketAddr = text.parse().ok()?;
        Some(socket.ip())
    };
    let address = match bracketed {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse().ok().or_else(with_port),
    };
    address.map(|address| address.to_canonical())
}
