//! Admission of a request, by its Host, its Origin and its credentials.
//!
//! Host is checked if the request came to a loopback or private address, or if the operator lists
//! hosts (see [`super::host`]). Origin is always checked.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use http::header::{self, HeaderValue};

use crate::edge::config::{CallerReach, ClientKey, EdgeConfig, KeyView};
use crate::edge::refusal::Refusal;
use crate::model::{Principal, QuotaKey};

use super::certified;
use super::forwarded;
use super::host::without_port;
use super::identity::CallerIdentity;

const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Who sends a request that is let in.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Whose sessions it may use.
    pub principal: Principal,
    /// Whom the limits count.
    pub quota: QuotaKey,
    pub peer: IpAddr,
    /// What its key opens; `None` if that is everything.
    pub view: Option<Arc<KeyView>>,
    /// What rules decide by; `None` where there are none.
    pub identity: Option<Arc<CallerIdentity>>,
}

impl Caller {
    /// What it may reach.
    #[must_use]
    pub fn reach(&self) -> CallerReach<'_> {
        let rights = self.identity.as_ref().and_then(|identity| identity.rights.as_ref());
        CallerReach { view: self.view.as_ref(), rights }
    }
}

/// Who sends a request whose Host and Origin are let in. A client that has come by a certificate needs
/// no key; if it sends one, or a token, that counts.
pub fn admit(
    config: &EdgeConfig,
    headers: &HeaderMap,
    peer: IpAddr,
    client: Option<&Principal>,
) -> Result<Caller, Refusal> {
    if config.closed {
        return Err(Refusal::ClosedNode);
    }
    let sends_key = !config.keys.is_empty() && headers.contains_key(&config.key_header)
        || config.issuers.is_some() && headers.contains_key(header::AUTHORIZATION);
    if let Some(principal) = client.filter(|_| !sends_key) {
        let identity = certified::identity(config, principal);
        let (principal, quota) = (principal.clone(), QuotaKey::Credential(principal.clone()));
        return Ok(Caller { principal, quota, peer, view: None, identity });
    }
    let Some(key) = check_key(config, headers)? else {
        let address = forwarded::client(&config.trusted_proxies, headers, peer);
        let (principal, quota) = (Principal::anonymous(), QuotaKey::of_address(address));
        return Ok(Caller { principal, quota, peer, view: None, identity: config.anyone.clone() });
    };
    let (principal, view, identity) =
        (key.principal.clone(), key.view.clone(), key.identity.clone());
    Ok(Caller { quota: QuotaKey::Credential(principal.clone()), principal, peer, view, identity })
}

/// Checks Host and Origin alone.
pub fn check_site(config: &EdgeConfig, headers: &HeaderMap, local: IpAddr) -> Result<(), Refusal> {
    check_host(config, headers, local)?;
    check_origin(config, headers)
}

/// The same, and lets the gateway's own page in, whatever the name that it was loaded by: a page of
/// another origin has another host in its Origin, and one that has moved its own name here (DNS
/// rebinding) is refused for its Host.
pub(super) fn check_site_or_own(
    config: &EdgeConfig,
    headers: &HeaderMap,
    local: IpAddr,
) -> Result<(), Refusal> {
    check_host(config, headers, local)?;
    if is_own_page(headers) { Ok(()) } else { check_origin(config, headers) }
}

/// Whether the request comes from a page that was loaded by the name which the request goes to.
fn is_own_page(headers: &HeaderMap) -> bool {
    let (origin, host) = (text(headers.get(header::ORIGIN)), text(headers.get(header::HOST)));
    let authority = ["http://", "https://"].iter().find_map(|scheme| origin.strip_prefix(scheme));
    !host.is_empty() && authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

/// Checks Host alone. Only HTTP/1.0 does without, which no browser speaks.
pub fn check_host(config: &EdgeConfig, headers: &HeaderMap, local: IpAddr) -> Result<(), Refusal> {
    let Some(host) = headers.get(header::HOST) else { return Ok(()) };
    let host = text(Some(host));
    if config.hosts.allow(host, local) {
        return Ok(());
    }
    Err(Refusal::ForeignHost(host.to_owned()))
}

/// Checks Origin alone.
pub fn check_origin(config: &EdgeConfig, headers: &HeaderMap) -> Result<(), Refusal> {
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

/// The key that the request carries; `None` if none is required.
pub(super) fn check_key<'c>(
    config: &'c EdgeConfig,
    headers: &HeaderMap,
) -> Result<Option<&'c ClientKey>, Refusal> {
    if config.keys.is_empty() && !config.wants_token {
        return if config.wants_certificate { Err(Refusal::Uncertified) } else { Ok(None) };
    }
    let key = match text(headers.get(&config.key_header)).split_once(' ') {
        Some((scheme, given)) if scheme.eq_ignore_ascii_case("bearer") => {
            // All are compared: the time that it takes does not tell which one is right.
            let given = given.trim().as_bytes();
            config.keys.iter().fold(None, |found, key| {
                let is_right = key.token.matches(given);
                if is_right { Some(key) } else { found }
            })
        }
        _ => None,
    };
    key.map(Some).ok_or_else(|| Refusal::Unauthorized(config.key_header.clone()))
}

fn text(value: Option<&HeaderValue>) -> &str {
    value.and_then(|value| value.to_str().ok()).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_the_gateways_own_by_its_whole_authority() {
        for (origin, host, expect) in [
            ("http://gw.example", "gw.example", true),
            ("https://GW.example:8443", "gw.example:8443", true),
            ("http://[fd00::1]:3000", "[fd00::1]:3000", true),
            ("http://gw.example:3000", "gw.example", false),
            ("http://evil.example", "gw.example", false),
            ("http://gw.example.evil.example", "gw.example", false),
            ("ftp://gw.example", "gw.example", false),
            ("gw.example", "gw.example", false),
            ("null", "null", false),
            ("http://", "", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ORIGIN, origin.parse().unwrap());
            headers.insert(header::HOST, host.parse().unwrap());
            assert_eq!(is_own_page(&headers), expect, "{origin} {host}");
        }
    }
}
