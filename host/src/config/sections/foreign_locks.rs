//! Locks of MCPHub that Mooring does not have: those that refuse the start, and traces of those
//! that do not, since a key takes their place.

use jsonc_parser::ast::Value;
use jsonc_parser::common::Ranged;

use crate::config::reader::item::Item;
use crate::config::reader::section::Section;
use crate::config::reader::source::Sources;
use crate::config::reader::words::nearest::nearest;

/// Keys that decide who may come in, with the section that each belongs in.
const HOMES: [(&str, &str); 10] = [
    ("systemConfig", ""),
    ("routing", "systemConfig"),
    ("auth", "systemConfig"),
    ("bearerKeys", ""),
    ("enableBearerAuth", "systemConfig.routing"),
    ("bearerAuthKey", "systemConfig.routing"),
    ("bearerAuthHeaderName", "systemConfig.routing"),
    ("betterAuth", "systemConfig.auth"),
    ("forwardAuth", "systemConfig.auth"),
    ("oauthServer", "systemConfig"),
];
/// How many of [`HOMES`] are sections, whose members count.
const SECTIONS: usize = 3;
/// Variables by which MCPHub switches a lock on.
const VARIABLES: [&str; 2] = ["BETTER_AUTH_ENABLED", "FORWARD_AUTH_ENABLED"];
/// Values of such a variable that switch nothing on.
const OFF: [&str; 4] = ["false", "0", "no", "off"];

/// Refuses every lock that nothing here takes the place of.
pub(super) fn refuse(root: &Section<'_>, sources: &Sources<'_>) {
    let system = root.section("systemConfig");
    let refuse = |item: &Item<'_>, what: &str| {
        let message = format!("{what}, which Mooring does not enforce");
        if sources.allow_open {
            item.warn(message, "it is ignored because of --allow-open and keeps no client out");
        } else {
            item.refuse(message, "remove it, or start with --allow-open to ignore it");
        }
    };
    for (item, what) in of_proxies_and_accounts(&system) {
        refuse(&item, what);
    }
    let admins = admins(root);
    let servers = super::servers::entries(root).into_iter().map(|(_, item)| item);
    let servers = servers.filter(|item| !is_off(item.value));
    for item in servers.chain(super::groups::entries(root)) {
        if let Some(rule) = restriction(&item, &admins) {
            refuse(&rule, "a restriction to certain users");
        }
    }
    refuse_variables(root, sources);
    let routing = system.section("routing");
    for section in [root, &system, &routing] {
        refuse_misplaced(section);
    }
}

/// Members of `systemConfig.auth` but `jwt`. All of them are locks: also those that no version of
/// MCPHub has yet.
fn of_proxies_and_accounts<'d>(system: &Section<'d>) -> Vec<(Item<'d>, &'static str)> {
    let auth = system.section("auth");
    let Some(object) = auth.object else { return Vec::new() };
    let mut locks = Vec::new();
    for property in &object.properties {
        let name = property.name.as_str();
        let place = auth.place.key(name, property.value.start());
        let item = Item { notes: auth.notes, place, value: &property.value };
        let holds = holds_something(item.value) && !is_off(item.value) && !is_false(item.value);
        match name {
            "betterAuth" if is_on(item.value) => locks.push((item, "sign-in with Better Auth")),
            "betterAuth" => {}
            // Ours, which its own reader checks.
            "jwt" => {}
            "forwardAuth" if holds => locks.push((item, "sign-in at a proxy (forward auth)")),
            _ if name.starts_with(['_', '$']) => {}
            _ if holds => locks.push((item, "a way to sign in")),
            _ => {}
        }
    }
    locks
}

fn refuse_variables(root: &Section<'_>, sources: &Sources<'_>) {
    for name in VARIABLES {
        let value = sources.variable(name).map(|value| value.trim().to_lowercase());
        if value.is_none_or(|value| OFF.contains(&value.as_str())) {
            continue;
        }
        let message = "switches on a lock of MCPHub, which Mooring does not enforce";
        if sources.allow_open {
            let advice = "it is ignored because of --allow-open and keeps no client out";
            root.notes.warn_variable(name, message, advice);
        } else {
            let advice = "unset it, or start with --allow-open to ignore it";
            root.notes.refuse_variable(name, message, advice);
        }
    }
}

/// Refuses keys of access control in the wrong section or spelling, which would do nothing there.
fn refuse_misplaced(section: &Section<'_>) {
    let Some(object) = section.object else { return };
    let here = section.place.path.as_str();
    for property in &object.properties {
        let name = property.name.as_str();
        if is_known(section, name) || says_nothing(&property.value) {
            continue;
        }
        let meant = HOMES.iter().position(|(key, _)| squeezed(key) == squeezed(name));
        let alike = || {
            let here = HOMES.iter().filter(|(_, home)| *home == here).map(|(key, _)| *key);
            let found = nearest(name, &here.collect::<Vec<_>>())?;
            HOMES.iter().position(|(key, _)| *key == found)
        };
        let Some(index) = meant.or_else(alike) else { continue };
        if index < SECTIONS && !mentions_access(&property.value, SECTIONS) {
            continue;
        }
        let Some((key, home)) = HOMES.get(index) else { continue };
        let place = section.place.key(name, property.value.start());
        let advice = match *home {
            "" => format!("write {key} at the top of the file"),
            home => format!("write {key} in {home}"),
        };
        section.notes.refuse(&place, "is access control that has no effect here", advice);
    }
}

/// The name as all of its spellings have it.
fn squeezed(name: &str) -> String {
    name.replace(['_', '-'], "").to_lowercase()
}

/// Whether a key of access control stands in the value, at most so many objects deep.
fn mentions_access(value: &Value<'_>, depth: usize) -> bool {
    let Some(object) = value.as_object().filter(|_| depth > 0) else { return false };
    object.properties.iter().any(|property| {
        let is_meant = |(key, _): &(&str, &str)| squeezed(key) == squeezed(property.name.as_str());
        HOMES.iter().skip(SECTIONS).any(is_meant) || mentions_access(&property.value, depth - 1)
    })
}

fn is_known(section: &Section<'_>, name: &str) -> bool {
    crate::config::reader::known_keys::is_used(&section.place.key(name, 0).pattern)
}

/// What a file says of locks that Mooring does not have, and that a key takes the place of.
pub(super) fn traces<'d>(root: &Section<'d>) -> Vec<Item<'d>> {
    let system = root.section("systemConfig");
    let filled = |key| root.get(key).filter(|item| holds_something(item.value));
    let on = |key| system.get(key).filter(|item| is_on(item.value));
    let found = [
        root.get("users").filter(|item| !is_false(item.value)),
        on("oauthServer"),
        on("oauth"),
        filled("oauthClients"),
        filled("oauthTokens"),
        filled("userConfigs"),
    ];
    found.into_iter().flatten().collect()
}

/// The traces, and the list of keys, in a file that names no key.
pub(super) fn traces_without_key<'d>(root: &Section<'d>) -> Vec<Item<'d>> {
    let mut found = traces(root);
    // If none of its keys is in force, nobody is meant to come in.
    found.extend(root.get("bearerKeys"));
    let routing = root.section("systemConfig").section("routing");
    let asks = routing.get("enableBearerAuth");
    found.extend(asks.filter(|item| item.value.as_boolean_lit().is_some_and(|flag| flag.value)));
    found
}

/// Names of users who may do everything in MCPHub, so that what they own is restricted to nobody.
fn admins(root: &Section<'_>) -> Vec<String> {
    let Some(users) = root.get("users").and_then(|item| item.value.as_array()) else {
        return Vec::new();
    };
    let admin = |user: &Value<'_>| {
        let user = user.as_object()?;
        let is_admin = user.get_boolean("isAdmin")?.value;
        let name = user.get_string("username")?.value.clone().into_owned();
        is_admin.then_some(name)
    };
    users.elements.iter().filter_map(admin).collect()
}

/// The `visibility`, `owner` or `sharedWithUsers` of an entry, if it excludes any user. MCPHub
/// writes the owner `admin` into every entry, and lets everybody use what says that it is public.
fn restriction<'d>(item: &Item<'d>, admins: &[String]) -> Option<Item<'d>> {
    item.value.as_object()?;
    let section = item.section();
    if section.get("visibility").is_some_and(|item| says(item.value, &["public"])) {
        // It is for all users, whoever its owner is.
        return None;
    }
    let unless = |key, open: &[&str]| section.get(key).filter(|item| !says(item.value, open));
    let shared = section.get("sharedWithUsers");
    let owners: Vec<&str> =
        ["", "admin"].into_iter().chain(admins.iter().map(String::as_str)).collect();
    unless("visibility", &["public"])
        .or_else(|| unless("owner", &owners))
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
        Value::NullKeyword(_) => false,
        _ => true,
    }
}

/// Whether the value is one that dashboards write for nothing.
fn says_nothing(value: &Value<'_>) -> bool {
    let is_blank = value.as_string_lit().is_some_and(|string| string.value.trim().is_empty());
    is_blank || !holds_something(value)
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

/// Whether the value is an object with any `"enabled"` but false. Anything that is not an object
/// counts too, except `false`; no version of MCPHub writes that.
fn is_on(value: &Value<'_>) -> bool {
    match value.as_object() {
        Some(object) => object.get("enabled").is_some() && !is_off(value),
        None => !is_false(value),
    }
}
