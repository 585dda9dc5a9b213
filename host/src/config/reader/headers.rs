//! Which header and cookie names a settings file may use.

use http::HeaderName;

use crate::model::{SUBJECT_TOKEN, is_reserved_header};

use super::item::Item;

/// Headers that a node's id must not replace. A strategy refuses them too, but cannot
/// name the line of the file.
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

/// Bytes of a header or cookie name that every request and response carries.
const MAX_AFFINITY_NAME: usize = 64;

/// Parses a header name into lower case, or returns what is wrong with it.
pub(in crate::config) fn parse(name: &str) -> Result<HeaderName, &'static str> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "is not a header name")?;
    if is_reserved_header(name.as_str()) {
        return Err("is a header that Mooring sets itself");
    }
    Ok(name)
}

/// A list of the names of client headers, each once.
pub(in crate::config) fn list(item: &Item<'_>) -> Vec<HeaderName> {
    listed(item, parse)
}

/// The same for nodes, which may get the client's token to exchange it.
pub(in crate::config) fn list_of_cluster(item: &Item<'_>) -> Vec<HeaderName> {
    listed(item, |name| match name {
        SUBJECT_TOKEN => Ok(HeaderName::from_static(SUBJECT_TOKEN)),
        name => parse(name),
    })
}

fn listed(item: &Item<'_>, parse: fn(&str) -> Result<HeaderName, &'static str>) -> Vec<HeaderName> {
    let mut names = Vec::new();
    for item in item.items() {
        match item.text().map(|name| parse(&name)) {
            Some(Ok(name)) if !names.contains(&name) => names.push(name),
            Some(Err(problem)) => item.refuse(problem, "remove it from the list"),
            Some(Ok(_)) | None => {}
        }
    }
    names
}

/// Checks that requests and responses may carry a node's id in this header.
pub(in crate::config) fn check_affinity(name: &str) -> Result<(), &'static str> {
    let parsed = parse(name)?;
    let parsed = parsed.as_str();
    let taken =
        ["mcp-", "proxy-"].iter().any(|p| parsed.starts_with(p)) || MEANINGFUL.contains(&parsed);
    if taken {
        return Err("is a header that already has a meaning in HTTP or MCP");
    }
    if parsed.len() > MAX_AFFINITY_NAME {
        return Err("is longer than 64 characters, and every request carries it");
    }
    Ok(())
}

/// Whether RFC 6265 allows the name for a cookie (an HTTP token), and it is not too
/// long.
pub(in crate::config) fn is_cookie_name(name: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    (1..=MAX_AFFINITY_NAME).contains(&name.len()) && name.bytes().all(token)
}
