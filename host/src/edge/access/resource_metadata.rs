//! What the gateway says of itself as a protected resource (RFC 9728), and its own URL, which is a part
//! of that.
//!
//! Each URL below `/mcp` and `/sse` is a resource. Which of them exist is not told: whoever asks has no
//! token yet.

use std::net::IpAddr;

use http::header::{self, HeaderValue};
use http::uri::Authority;
use http::{HeaderMap, Method, Request, Response};
use serde_json::json;

use crate::edge::config::EdgeConfig;
use crate::edge::refusal::Refusal;
use crate::net::Body;
use crate::protocol::headers;

use super::forwarded;
use super::issuers::Issuers;

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
/// Where metadata is, as the list of routes shows it.
pub const ROUTES: [&str; 2] =
    ["/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/{resource}"];

/// The path of the resource that the metadata at a path is about. The base path may stand behind the
/// well-known part, as the RFC has it, or was in front of it.
#[must_use]
pub fn resource_of<'p>(path: &'p str, base: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(WELL_KNOWN)?;
    let rest = rest.strip_prefix(base).unwrap_or(rest).trim_end_matches('/');
    let is_below = |root: &str| {
        rest.strip_prefix(root).is_some_and(|more| more.is_empty() || more.starts_with('/'))
    };
    (rest.is_empty() || is_below("/mcp") || is_below("/sse")).then_some(rest)
}

/// Whether metadata may be there.
#[must_use]
pub fn is_at(path: &str) -> bool {
    path.starts_with(WELL_KNOWN)
}

/// How a request has come.
#[derive(Debug, Clone, Copy)]
pub struct Reached {
    pub peer: IpAddr,
    pub is_tls: bool,
}

/// Where the metadata is of the resource at a path. `None` if the gateway does not know its own URL.
#[must_use]
pub fn url_for(
    config: &EdgeConfig,
    headers: &HeaderMap,
    reached: Reached,
    path: &str,
) -> Option<String> {
    let origin = origin(config, headers, reached)?;
    // `/messages` has none of its own: it belongs to a stream.
    let path = if path == "/messages" { "/sse" } else { path.trim_end_matches('/') };
    Some(format!("{origin}{}{WELL_KNOWN}{path}", config.base_path))
}

/// The answer to a request for the metadata of the resource at a path.
pub fn answer(
    config: &EdgeConfig,
    issuers: &Issuers,
    request: &Request<Body>,
    reached: Reached,
    resource: &str,
) -> Result<Response<Body>, Refusal> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Err(Refusal::MethodNotAllowed("GET, HEAD"));
    }
    let origin = origin(config, request.headers(), reached);
    let origin = origin.ok_or_else(|| Refusal::ForeignHost(String::new()))?;
    let mut document = json!({
        "resource": format!("{origin}{}{resource}", config.base_path),
        "authorization_servers": issuers.names().collect::<Vec<_>>(),
        "bearer_methods_supported": ["header"],
        "resource_name": "Mooring",
    });
    let scopes = issuers.scopes();
    if !scopes.is_empty() {
        document["scopes_supported"] = scopes.into();
    }
    let mut response = Response::new(Body::from(bytes::Bytes::from(document.to_string())));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(headers::JSON));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=300"));
    headers.insert(header::VARY, HeaderValue::from_static("Host"));
    Ok(response)
}

/// Scheme and authority by which clients reach the gateway: the operator's word, or what the request
/// came to. Of proxies those count that the operator trusts.
pub fn origin(config: &EdgeConfig, headers: &HeaderMap, reached: Reached) -> Option<String> {
    if let Some(url) = &config.public_url {
        return Some(url.clone());
    }
    let said = forwarded::url::said(&config.trusted_proxies, headers, reached.peer);
    let scheme = match said.scheme.map(|scheme| scheme.to_ascii_lowercase()).as_deref() {
        Some("https" | "wss") => "https",
        Some("http" | "ws") => "http",
        _ if reached.is_tls => "https",
        _ => "http",
    };
    let authority = said.host.as_deref().and_then(plain_authority);
    let authority =
        authority.or_else(|| plain_authority(headers.get(header::HOST)?.to_str().ok()?))?;
    Some(format!("{scheme}://{authority}"))
}

/// A host with or without a port, and nothing that means something else in a URL or in a header.
fn plain_authority(text: &str) -> Option<Authority> {
    let authority: Authority = text.parse().ok()?;
    (!authority.as_str().contains(['@', '"', '\\', '<', '>'])).then_some(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_of_paths_that_may_be_resources() {
        let root = "/.well-known/oauth-protected-resource";
        for (rest, base, expect) in [
            ("", "", Some("")),
            ("/", "", Some("")),
            ("/mcp", "", Some("/mcp")),
            ("/mcp/a", "", Some("/mcp/a")),
            ("/mcp/a/b/", "", Some("/mcp/a/b")),
            ("/sse/a", "", Some("/sse/a")),
            ("/hub/mcp/a", "/hub", Some("/mcp/a")),
            ("/mcp/a", "/hub", Some("/mcp/a")),
            ("/mcpx", "", None),
            ("/api/cluster", "", None),
            ("x", "", None),
        ] {
            assert_eq!(resource_of(&format!("{root}{rest}"), base), expect, "{rest} {base}");
        }
        assert_eq!(resource_of("/mcp", ""), None);
    }
}
