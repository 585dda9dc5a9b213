//! Access rules. A rule in the file that Mooring cannot enforce is an error, or a key takes its
//! place: a gateway must not ignore a protection that its operator relies on.

use std::net::IpAddr;

use http::HeaderName;
use ipnet::IpNet;

use crate::config::reader::reading::expand_item;
use crate::config::reader::section::Section;
use crate::config::reader::source::Sources;
use crate::config::reader::urls::url::{self, UrlPurpose};

use super::lock::{self, Lock};
use super::policy::{self, PolicyRule};
use super::rates::{self, RateSettings};
use super::token_issuers::{self, TokenIssuer};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// What clients have to show.
    pub lock: Lock,
    /// Issuers whose tokens let clients in, beside the keys.
    pub issuers: Vec<TokenIssuer>,
    /// Who may use what; `None`: everybody everything.
    pub policy: Option<Vec<PolicyRule>>,
    /// How often clients may ask.
    pub rates: Vec<RateSettings>,
    /// Scheme and authority by which clients reach the gateway.
    pub public_url: Option<String>,
    /// The header in which they send `Bearer` and their key.
    pub key_header: HeaderName,
    /// `--allow-open`: rules that are not enforced are ignored.
    pub allow_open: bool,
    /// Values of `Host` that are allowed beside loopback names, in lower case, with or
    /// without a port. If empty, `Host` is checked on loopback addresses only.
    pub allowed_hosts: Vec<String>,
    /// Values of `Origin` that are allowed beside loopback, in lower case.
    pub allowed_origins: Vec<String>,
    /// Proxies whose word on the client's address counts.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether `/mcp` and `/sse` without a name work.
    pub enable_global_route: bool,
    /// Whether URLs reach a group by its name, and not only by its id.
    pub enable_group_name_route: bool,
}

pub(in crate::config) fn read(
    root: &Section<'_>,
    sources: &Sources<'_>,
    serves_clients: bool,
) -> Access {
    let system = root.section("systemConfig");
    let routing = system.section("routing");
    let issuers = token_issuers::read(&system, sources);
    Access {
        lock: lock::read(root, sources, serves_clients, &issuers),
        issuers,
        policy: policy::read(&system, sources),
        rates: rates::read(&system, sources),
        public_url: public_url(&system, sources),
        key_header: lock::header(root, sources),
        allow_open: sources.allow_open,
        allowed_hosts: checked(&system, "allowedHosts", is_host, "write it like example.com"),
        allowed_origins: checked(
            &system,
            "allowedOrigins",
            is_origin,
            "write it like https://example.com, without a path",
        ),
        trusted_proxies: trusted_proxies(&system),
        enable_global_route: routing.flag("enableGlobalRoute", true),
        enable_group_name_route: routing.flag("enableGroupNameRoute", true),
    }
}

/// The URL under which clients reach the gateway. Paths are appended to it.
fn public_url(system: &Section<'_>, sources: &Sources<'_>) -> Option<String> {
    let item = system.get("publicUrl")?;
    let text = expand_item(&item, &item.text()?, sources)?;
    let advice = "write scheme and host, like https://mcp.example.com";
    match url::parse(&text, UrlPurpose::Base) {
        Ok(uri) if uri.path().trim_matches('/').is_empty() => {
            return Some(text.trim_end_matches('/').to_owned());
        }
        Ok(_) => item.refuse("has a path; BASE_PATH is appended to it", advice),
        Err(problem) => item.refuse(problem, advice),
    }
    None
}

/// A list of texts in lower case; one that fails the test is an error.
fn checked(section: &Section<'_>, key: &str, test: fn(&str) -> bool, advice: &str) -> Vec<String> {
    let mut texts = Vec::new();
    for item in section.items(key) {
        match item.text().map(|text| text.to_lowercase()) {
            Some(text) if test(&text) => texts.push(text),
            Some(_) => item.refuse("can never match", advice),
            None => {}
        }
    }
    texts
}

/// The proxies: networks, and single addresses.
fn trusted_proxies(system: &Section<'_>) -> Vec<IpNet> {
    let mut networks = Vec::new();
    for item in system.items("trustedProxies") {
        let Some(text) = item.text() else { continue };
        match network(text.trim()) {
            Some(network) if network.prefix_len() == 0 => {
                let advice = "name the networks that your proxies are in";
                item.refuse("would believe every client whatever it says", advice);
            }
            Some(network) => networks.push(network),
            None => item.refuse(
                "is not an address or a network",
                "write it like 10.0.0.7, 10.0.0.0/8 or fd00::/8",
            ),
        }
    }
    networks
}

/// A network without bits of an address below its prefix. One of IPv4 that is written as IPv6 is
/// the network of IPv4, as the addresses of clients are.
pub(super) fn network(text: &str) -> Option<IpNet> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical().into());
    }
    let network: IpNet = text.parse().ok()?;
    let IpAddr::V4(v4) = network.addr().to_canonical() else { return Some(network.trunc()) };
    let bits = match network {
        IpNet::V4(_) => network.prefix_len(),
        IpNet::V6(_) => network.prefix_len().checked_sub(96)?,
    };
    IpNet::new(v4.into(), bits).ok().map(|network| network.trunc())
}

fn is_host(text: &str) -> bool {
    let authority: Result<http::uri::Authority, _> = text.parse();
    authority.is_ok_and(|authority| !authority.host().is_empty() && !text.contains(['@', '*']))
}

fn is_origin(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, host)| !scheme.is_empty() && is_host(host))
}
