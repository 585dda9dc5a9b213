//! Access rules. A rule in the file that Mooring cannot enforce is an error: a gateway
//! must not ignore a protection that its operator relies on.

use std::net::IpAddr;

use ipnet::IpNet;
use jsonc_parser::ast::Value;

use crate::config::reader::item::Item;
use crate::config::reader::reading::credential;
use crate::config::reader::secret::Secret;
use crate::config::reader::section::Section;
use crate::config::reader::source::Sources;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The key that clients must send as `Authorization: Bearer …`, if one is required.
    pub bearer: Option<Secret>,
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

pub(in crate::config) fn read(root: &Section<'_>, sources: &Sources<'_>) -> Access {
    let system = root.section("systemConfig");
    let routing = system.section("routing");
    refuse_unbuilt_rules(root, sources.allow_open);
    Access {
        bearer: bearer(&routing, sources),
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

fn bearer(routing: &Section<'_>, sources: &Sources<'_>) -> Option<Secret> {
    if !routing.flag("enableBearerAuth", false) {
        warn_of_idle_key(routing);
        return None;
    }
    if routing.get("bearerAuthKey").is_none() {
        let advice = "set the key, or \"enableBearerAuth\": false";
        routing.refuse_key("bearerAuthKey", "is required by enableBearerAuth", advice);
    }
    credential(routing, "bearerAuthKey", None, sources)
}

/// Warns of a key without `enableBearerAuth`, which was probably meant to count.
/// MCPHub itself writes a key beside `"enableBearerAuth": false`.
fn warn_of_idle_key(routing: &Section<'_>) {
    let Some(key) = routing.get("bearerAuthKey") else {
        return;
    };
    if routing.get("enableBearerAuth").is_none() {
        key.warn("is not required of clients", "add \"enableBearerAuth\": true");
    }
}

fn refuse_unbuilt_rules(root: &Section<'_>, allow_open: bool) {
    let system = root.section("systemConfig");
    let refuse = |item: &Item<'_>, what: &str| {
        let message = format!("{what}, which Mooring does not enforce");
        if allow_open {
            item.warn(message, "it is ignored because of --allow-open and keeps no client out");
        } else {
            let advice = "remove it, or start with --allow-open to ignore it";
            item.refuse(message, advice);
        }
    };
    if let Some(users) = root.get("users").filter(|item| holds_something(item.value)) {
        refuse(&users, "user accounts");
    }
    for (i, key) in root.items("bearerKeys").iter().enumerate() {
        if !is_off(key.value) {
            refuse(key, &format!("bearer key {}", i + 1));
        }
    }
    let auth = system.section("auth");
    let oauth = [
        (system.get("oauth"), "OAuth"),
        (system.get("oauthServer"), "OAuth"),
        (auth.get("betterAuth"), "sign-in with Better Auth"),
    ];
    for (item, what) in oauth {
        if let Some(item) = item.filter(|item| is_on(item.value)) {
            refuse(&item, what);
        }
    }
    let servers = super::servers::entries(root).into_iter().map(|(_, item)| item);
    let servers = servers.filter(|item| !is_off(item.value));
    for item in servers.chain(root.items("groups")) {
        if let Some(rule) = restriction(&item) {
            refuse(&rule, "a restriction to certain users");
        }
    }
}

/// The `visibility`, `owner` or `sharedWithUsers` of an entry, if it excludes any
/// user. MCPHub writes the owner `admin` into every entry.
fn restriction<'d>(item: &Item<'d>) -> Option<Item<'d>> {
    item.value.as_object()?;
    let section = item.section();
    let unless = |key, open: &[&str]| section.get(key).filter(|item| !says(item.value, open));
    let shared = section.get("sharedWithUsers");
    unless("visibility", &["public"])
        .or_else(|| unless("owner", &["", "admin"]))
        .or_else(|| shared.filter(|item| holds_something(item.value)))
}

fn says(value: &Value<'_>, any_of: &[&str]) -> bool {
    let string = value.as_string_lit();
    string.is_some_and(|string| any_of.contains(&&*string.value))
}

fn holds_something(value: &Value<'_>) -> bool {
    match value {
        Value::Array(array) => !array.elements.is_empty(),
        Value::Object(object) => !object.properties.is_empty(),
        _ => true,
    }
}

fn is_false(value: &Value<'_>) -> bool {
    value.as_boolean_lit().is_some_and(|boolean| !boolean.value)
}

/// Whether the value is an object with `"enabled": false`.
fn is_off(value: &Value<'_>) -> bool {
    let object = value.as_object();
    object
        .and_then(|object| object.get("enabled"))
        .is_some_and(|property| is_false(&property.value))
}

/// Whether the value is an object with any `"enabled"` but false. Anything that is
/// not an object counts too, except `false`; no version of MCPHub writes that.
fn is_on(value: &Value<'_>) -> bool {
    match value.as_object() {
        Some(object) => object.get("enabled").is_some() && !is_off(value),
        None => !is_false(value),
    }
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
fn network(text: &str) -> Option<IpNet> {
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
