//! Proxies in front of remote servers: those of the environment, and a server's own `proxy`.

use std::net::IpAddr;

use http::Uri;
use ipnet::IpNet;
use jsonc_parser::ast::Value;

use crate::config::reader::finding::Notes;
use crate::config::reader::item::Item;
use crate::config::reader::secret::Secret;
use crate::config::reader::source::Sources;
use crate::config::reader::urls::proxy_url::{self, ProxySettings};

/// Words of `proxy` that mean none.
const NONE: [&str; 2] = ["none", "direct"];
/// Ports of an `http` and an `https` URL without one.
const PORTS: [u16; 2] = [80, 443];

/// A server's own `proxy`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum OwnProxy {
    /// None: the environment decides.
    #[default]
    Usual,
    /// No proxy, whatever the environment says.
    Direct,
    /// This one, whatever the environment says. With its URL for child processes.
    At(ProxySettings, Secret),
}

/// Why a proxy cannot be used, or `Ok`. The message follows the place of the value.
type Parsed = Result<OwnProxy, &'static str>;

/// Reads a server's own `proxy`; `line` replaces the variables in a text. `None` after a finding
/// about a value that is not there. An object may be MCPHub's.
pub(in crate::config) fn own(
    item: &Item<'_>,
    mut line: impl FnMut(&Item<'_>) -> Option<String>,
) -> Option<Parsed> {
    match item.value {
        Value::BooleanLit(flag) if !flag.value => Some(Ok(OwnProxy::Direct)),
        Value::StringLit(_) => Some(of_url(&line(item)?)),
        Value::Object(_) => object(item, line),
        _ => Some(Err("is neither a URL nor false nor an object")),
    }
}

fn of_url(text: &str) -> Parsed {
    let text = text.trim();
    if text.is_empty() {
        return Ok(OwnProxy::Usual);
    }
    if NONE.contains(&text) {
        return Ok(OwnProxy::Direct);
    }
    let proxy = proxy_url::parse(text, "its \"proxy\"")?;
    Ok(OwnProxy::At(proxy, Secret::new(proxy_url::with_scheme(text))))
}

/// `{"url": …}`, or MCPHub's members of a proxy for proxychains.
fn object(item: &Item<'_>, mut line: impl FnMut(&Item<'_>) -> Option<String>) -> Option<Parsed> {
    let section = item.section();
    if let Some(url) = section.get("url") {
        return Some(of_url(&line(&url)?));
    }
    let mut texts = Vec::new();
    for key in ["type", "host", "username", "password"] {
        texts.push(match section.get(key) {
            Some(item) => line(&item)?,
            None => String::new(),
        });
    }
    let port = section.whole("port", 0, 0..=u64::from(u16::MAX));
    if !section.flag("enabled", false) {
        return Some(Ok(OwnProxy::Usual));
    }
    let [kind, host, user, password] = texts.try_into().unwrap_or_default();
    if host.is_empty() || port == 0 {
        return Some(Err("has no \"url\", and no \"host\" with a \"port\""));
    }
    let scheme = if kind.is_empty() { "http" } else { kind.as_str() };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let user = match (user.as_str(), password.as_str()) {
        ("", "") => String::new(),
        (user, password) => {
            format!("{}:{}@", proxy_url::escaped(user), proxy_url::escaped(password))
        }
    };
    Some(of_url(&format!("{scheme}://{user}{host}:{port}")))
}

/// The proxy for a server's URL. The environment's is not used for this machine itself.
pub(in crate::config) fn proxy_of(
    url: &Uri,
    own: &OwnProxy,
    sources: &Sources<'_>,
) -> Option<ProxySettings> {
    match own {
        OwnProxy::Direct => None,
        OwnProxy::At(proxy, _) => Some(proxy.clone()),
        OwnProxy::Usual => {
            let host = url.host()?.trim_start_matches('[').trim_end_matches(']');
            let is_tls = url.scheme_str() == Some("https");
            let port = url.port_u16().unwrap_or(PORTS[usize::from(is_tls)]);
            if is_loopback(host) || is_exempt(host, port, sources) {
                return None;
            }
            let (name, text) = variable_of(is_tls, sources)?;
            proxy_url::parse(&text, name).ok()
        }
    }
}

/// Warns of variables that name no proxy that can be used. Only where a server is remote.
pub(in crate::config) fn check_variables(sources: &Sources<'_>, notes: &Notes<'_>) {
    let mut told = None;
    for is_tls in [false, true] {
        if let Some((name, text)) = variable_of(is_tls, sources)
            && told != Some(name)
            && let Err(problem) = proxy_url::parse(&text, name)
        {
            let advice = "until it is right, remote servers are reached without it; write it like \
                          http://proxy.example:3128";
            notes.warn_variable(name, problem, advice);
            told = Some(name);
        }
    }
}

/// The variable that names the proxy of `http` or `https` URLs, with its value. Small letters go
/// first, as with curl.
fn variable_of(is_tls: bool, sources: &Sources<'_>) -> Option<(&'static str, String)> {
    let names = match is_tls {
        true => ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"],
        false => ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"],
    };
    names.into_iter().find_map(|name| Some((name, sources.variable(name)?)))
}

/// Whether `NO_PROXY` names the host.
fn is_exempt(host: &str, port: u16, sources: &Sources<'_>) -> bool {
    let list = ["no_proxy", "NO_PROXY"].into_iter().find_map(|name| sources.variable(name));
    let list = list.unwrap_or_default();
    let mut entries = list.split([',', ' ', '\t', '\n']).filter(|entry| !entry.is_empty());
    entries.any(|entry| names(entry, host, port))
}

/// Whether an entry of `NO_PROXY` names the host: `*`, a host with all below it, an address, a
/// network, and each of them with a port.
fn names(entry: &str, host: &str, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    let address = address_of(host);
    if let Ok(network) = entry.parse::<IpNet>() {
        return address.is_some_and(|address| network.contains(&address));
    }
    let (named, of_port) = split_port(entry);
    if of_port.is_some_and(|of_port| of_port != port) {
        return false;
    }
    if let Some(named) = address_of(named) {
        return address == Some(named);
    }
    let lower = |name: &str| name.trim_end_matches('.').to_ascii_lowercase();
    let named = lower(named.trim_start_matches("*.").trim_start_matches('.'));
    let host = lower(host);
    let is_below = |host: &str| host.strip_suffix(&named).is_some_and(|rest| rest.ends_with('.'));
    !named.is_empty() && address.is_none() && (host == named || is_below(&host))
}

/// `host:port`, `[address]:port`, or a name or an address alone.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    if entry.parse::<IpAddr>().is_ok() {
        return (entry, None);
    }
    let split = entry.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = split.map_or((entry, None), |(host, port)| (host, Some(port)));
    (host.trim_start_matches('[').trim_end_matches(']'), port)
}

/// The host as an address, one of IPv4 within IPv6 as the former.
fn address_of(host: &str) -> Option<IpAddr> {
    host.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// Whether the host is this machine.
pub(in crate::config) fn is_loopback(host: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    match address_of(host) {
        Some(address) => address.is_loopback() || address.is_unspecified(),
        None => name == "localhost" || name.ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_names_hosts_suffixes_addresses_networks_and_ports() {
        for (entry, host, port, expect) in [
            ("*", "example.com", 443, true),
            ("example.com", "example.com", 443, true),
            ("EXAMPLE.com", "a.Example.COM", 443, true),
            (".example.com", "a.example.com", 443, true),
            ("*.example.com", "a.b.example.com", 443, true),
            ("example.com", "badexample.com", 443, false),
            ("example.com", "example.com.evil.org", 443, false),
            ("example.com:8443", "example.com", 443, false),
            ("example.com:8443", "a.example.com", 8443, true),
            ("10.0.0.0/8", "10.1.2.3", 80, true),
            ("10.0.0.0/8", "11.1.2.3", 80, false),
            ("10.0.0.0/8", "example.com", 80, false),
            ("10.1.2.3", "10.1.2.3", 80, true),
            ("10.1.2.3:81", "10.1.2.3", 80, false),
            ("0.1.2.3", "10.0.1.2.3", 80, false),
            ("2.3", "10.1.2.3", 80, false),
            ("fd00::/8", "fd12::1", 80, true),
            ("fd12::1", "fd12:0::1", 80, true),
            ("[fd12::1]:443", "fd12::1", 443, true),
            (".", "example.com", 80, false),
        ] {
            assert_eq!(names(entry, host, port), expect, "{entry} {host}:{port}");
        }
    }

    #[test]
    fn this_machine_is_loopback_by_name_and_address() {
        for host in ["localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.9.9.9", "::1"] {
            assert!(is_loopback(host), "{host}");
        }
        assert!(is_loopback("::ffff:127.0.0.1"));
        for host in ["localhost.example", "128.0.0.1", "fd00::1", "example.com"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
