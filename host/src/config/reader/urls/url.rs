//! Checks URLs of other machines: `http` or `https`, with a host, without credentials.

use http::Uri;

/// The purpose of a URL, which decides whether it may have a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum UrlPurpose {
    /// The base URL of another Mooring: no query.
    Base,
    /// One endpoint: a query is allowed.
    Endpoint,
}

/// The checked URL, or what is wrong with it. The message never repeats the text,
/// since URLs often contain keys.
pub(in crate::config) fn parse(text: &str, purpose: UrlPurpose) -> Result<Uri, &'static str> {
    if text.trim() != text {
        return Err("has spaces around it");
    }
    if !text.contains("://") {
        return Err("lacks http:// or https:// in front");
    }
    let uri: Uri = text.parse().map_err(|_| "is not a URL")?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("must begin with http:// or https://");
    }
    let authority = uri.authority().ok_or("has no host")?;
    if authority.as_str().contains('@') {
        return Err("must not carry a user name or password");
    }
    if authority.host().is_empty() {
        return Err("has no host");
    }
    let port = authority.as_str().strip_prefix(authority.host());
    if port.is_none_or(|port| !port.is_empty() && authority.port_u16().is_none_or(|p| p == 0)) {
        return Err("has a port that is not a number from 1 to 65535");
    }
    if purpose == UrlPurpose::Base && uri.query().is_some() {
        return Err("must not carry a query");
    }
    Ok(uri)
}

/// The URL of an endpoint, as settings may name one.
///
/// # Errors
/// What is wrong with it, without its text.
pub fn endpoint_url(text: &str) -> Result<Uri, &'static str> {
    parse(text, UrlPurpose::Endpoint)
}
