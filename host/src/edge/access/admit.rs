//! Admission of a request, by its Host, its Origin and its credentials.
//!
//! Host is checked if the request came to a loopback address, or if the operator lists hosts:
//! otherwise a page in a browser could reach a local gateway under the page's own host name (DNS
//! rebinding). Origin is always checked.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::header::{self, HeaderValue};
use http::{HeaderMap, StatusCode};

use crate::edge::config::EdgeConfig;
use crate::edge::refusal::Refusal;
use crate::edge::worker::Edge;
use crate::model::{Principal, QuotaKey};

const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Who sends a request that is let in.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Whose sessions it may use.
    pub principal: Principal,
    /// Whom the limits count.
    pub quota: QuotaKey,
    pub peer: IpAddr,
}

/// Who sends a request that is let in.
pub fn admit(
    config: &EdgeConfig,
    headers: &HeaderMap,
    local: IpAddr,
    peer: IpAddr,
) -> Result<Caller, Refusal> {
    check_site(config, headers, local)?;
    if config.closed {
        return Err(Refusal::ClosedNode);
    }
    let principal = check_bearer(config, headers)?;
    let quota = match config.bearer {
        Some(_) => QuotaKey::Credential(principal.clone()),
        None => QuotaKey::of_address(peer),
    };
    Ok(Caller { principal, quota, peer })
}

/// Checks a request's headers and the address that it came to. The error is the response's
/// status and text.
type Admits = dyn Fn(&HeaderMap, SocketAddr) -> Result<(), (StatusCode, String)> + Send + Sync;

/// The same checks for the management API, whose refusals have another shape.
pub fn for_management(edge: Arc<Edge>) -> Box<Admits> {
    Box::new(move |headers, local| {
        check_site(&edge.config, headers, local.ip())
            .map_err(|refusal| (StatusCode::FORBIDDEN, refusal.to_string()))?;
        match check_bearer(&edge.config, headers) {
            Ok(_) => Ok(()),
            Err(refusal) => Err((StatusCode::UNAUTHORIZED, refusal.to_string())),
        }
    })
}

/// Checks Host and Origin alone, as every route does.
pub fn check_site(config: &EdgeConfig, headers: &HeaderMap, local: IpAddr) -> Result<(), Refusal> {
    let host = text(headers.get(header::HOST));
    let checked = local.to_canonical().is_loopback() || !config.allowed_hosts.is_empty();
    if checked && !is_allowed(host, &config.allowed_hosts) {
        return Err(Refusal::ForeignHost(host.to_owned()));
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = text(Some(origin)).to_ascii_lowercase();
        let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
        let listed = config.allowed_origins.contains(&origin);
        if !listed && !LOOPBACK.contains(&without_port(authority)) {
            return Err(Refusal::ForeignOrigin(origin));
        }
    }
    Ok(())
}

/// Checks for the key of `bearerAuthKey`, if one is configured.
pub fn check_bearer(config: &EdgeConfig, headers: &HeaderMap) -> Result<Principal, Refusal> {
    let Some(key) = &config.bearer else { return Ok(Principal::anonymous()) };
    let given = text(headers.get(header::AUTHORIZATION));
    match given.split_once(' ') {
        Some((scheme, given))
            if scheme.eq_ignore_ascii_case("bearer") && key.matches(given.trim().as_bytes()) =>
        {
            Ok(Principal::named("bearer"))
        }
        _ => Err(Refusal::Unauthorized),
    }
}

fn is_allowed(host: &str, allowed: &[String]) -> bool {
    let name = without_port(host);
    let mut names = LOOPBACK.iter().copied().chain(allowed.iter().map(String::as_str));
    names.any(|listed| listed.eq_ignore_ascii_case(name))
        || allowed.iter().any(|listed| listed.eq_ignore_ascii_case(host))
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|b| b.is_ascii_digit())
                && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        _ => authority,
    }
}

fn text(value: Option<&HeaderValue>) -> &str {
    value.and_then(|value| value.to_str().ok()).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_not_part_of_the_name() {
        for (authority, name) in [
            ("localhost:3000", "localhost"),
            ("[::1]:3000", "[::1]"),
            ("[::1]", "[::1]"),
            ("::1", "::1"),
            ("example.com", "example.com"),
            ("example.com:evil", "example.com:evil"),
        ] {
            assert_eq!(without_port(authority), name);
        }
    }

    #[test]
    fn loopback_names_and_listed_hosts_are_let_in() {
        let listed = ["gw.example.com".to_owned(), "other:8080".to_owned()];
        for (host, expect) in [
            ("localhost:1", true),
            ("127.0.0.1", true),
            ("GW.example.com:3000", true),
            ("other:8080", true),
            ("other:8081", false),
            ("evil.example.com", false),
            ("localhost.evil.com", false),
            ("", false),
        ] {
            assert_eq!(is_allowed(host, &listed), expect, "{host}");
        }
    }
}
