//! Header and cookie names that a settings file may choose.

use http::HeaderName;

/// Framing and connection headers, and those that carry the session: a setting
/// that touched one of them could split a message or cross two sessions.
const OURS: &[&str] = &[
    "connection",
    "content-length",
    "keep-alive",
    "last-event-id",
    "mcp-protocol-version",
    "mcp-session-id",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Headers that a node's id must not displace. A strategy refuses them too, but
/// cannot say in which line they stand.
const MEANINGFUL: &[&str] = &[
    "accept",
    "authorization",
    "content-encoding",
    "content-type",
    "cookie",
    "date",
    "host",
    "location",
    "origin",
    "set-cookie",
    "vary",
    "www-authenticate",
];

/// Every request and response carries the name.
const MAX_AFFINITY_NAME: usize = 64;

/// The valid name in lower case, or what is wrong with it.
pub(in crate::config) fn parse(name: &str) -> Result<HeaderName, &'static str> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "is not a header name")?;
    if OURS.contains(&name.as_str()) || name.as_str().starts_with("mooring-") {
        return Err("is a header that Mooring sets itself");
    }
    Ok(name)
}

/// Whether a node's id may travel in this header, both ways.
pub(in crate::config) fn check_affinity(name: &str) -> Result<(), &'static str> {
    let parsed = parse(name)?;
    let parsed = parsed.as_str();
    let taken =
        ["mcp-", "proxy-"].iter().any(|p| parsed.starts_with(p)) || MEANINGFUL.contains(&parsed);
    if taken {
        return Err("is a header with a meaning of its own");
    }
    if parsed.len() > MAX_AFFINITY_NAME {
        return Err("is too long for a header that every request carries");
    }
    Ok(())
}

/// Whether RFC 6265 allows this as a cookie's name: it is an HTTP token.
pub(in crate::config) fn is_cookie_name(name: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    (1..=MAX_AFFINITY_NAME).contains(&name.len()) && name.bytes().all(token)
}
