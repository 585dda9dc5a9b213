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

/// The valid name in lower case, or what is wrong with it.
pub(super) fn parse(name: &str) -> Result<HeaderName, &'static str> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "is not a header name")?;
    if OURS.contains(&name.as_str()) || name.as_str().starts_with("mooring-") {
        return Err("is a header that Mooring sets itself");
    }
    Ok(name)
}

/// Whether RFC 6265 allows this as a cookie's name: it is an HTTP token.
pub(super) fn is_cookie_name(name: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty() && name.bytes().all(token)
}
