//! The keys by which clients come in: `bearerKeys`, and the older `routing.bearerAuthKey`.
//!
//! A key that cannot be read as its owner meant it refuses the start. A member that is not known
//! does too: it may be meant to narrow what the key opens.

use std::collections::HashSet;

use crate::config::reader::item::Item;
use crate::config::reader::place::quote;
use crate::config::reader::reading::{braced, unset_variables};
use crate::config::reader::secret::Secret;
use crate::config::reader::section::Section;
use crate::config::reader::source::Sources;
use crate::config::reader::words::nearest::suggestion;
use crate::model::ServerName;

/// Bytes of a token; a shorter one is a warning, since it can be guessed.
const SHORT_TOKEN: usize = 16;
/// Bytes of the longest name. It goes into logs, and along with every message to a node.
const MAX_NAME: usize = 128;
/// The name of whoever holds `bearerAuthKey`.
const LEGACY: &str = "bearer";
/// What clients are called where no key is required: no key has this name alone.
const ANONYMOUS: &str = "anonymous";
/// What to do about something that is not a key.
const EXAMPLE: &str = "write { \"name\": \"laptop\", \"token\": \"…\", \"enabled\": true, \"accessType\": \"all\" }, \
     or with accessType groups, servers or custom and allowedGroups, allowedServers";

/// Members of a key that change nothing about what it opens.
pub(in crate::config) const HARMLESS: [&str; 4] =
    ["createdAt", "updatedAt", "lastUsedAt", "description"];
/// Members of a key that are read.
pub(in crate::config) const MEMBERS: [&str; 9] = [
    "id",
    "name",
    "token",
    "enabled",
    "kind",
    "owner",
    "accessType",
    "allowedGroups",
    "allowedServers",
];

/// A key of the file, and what it opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BearerKey {
    /// Whom it makes of its holder: the principal. No two keys have the same.
    pub name: String,
    pub token: Secret,
    pub reach: KeyReach,
}

/// Which servers and groups a key opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyReach {
    /// Everything, the management API included.
    All,
    Only {
        /// Names or ids of groups.
        groups: Vec<String>,
        servers: Vec<ServerName>,
    },
}

/// What a file says of keys.
#[derive(Default)]
pub(super) struct Keys<'d> {
    pub in_force: Vec<BearerKey>,
    /// Tokens whose variables are not set: nobody comes in by these keys.
    pub without_value: Vec<Item<'d>>,
}

/// A key's token, as far as it can be read.
enum Token {
    Known(Secret),
    /// It is in a variable that is not set.
    Unset,
    /// There is a finding.
    Refused,
}

/// The keys. The list decides alone if it has entries, as in MCPHub: there
/// `bearerAuthKey` is what an earlier version has left, and may have been withdrawn since.
pub(super) fn read<'d>(
    root: &Section<'d>,
    routing: &Section<'d>,
    sources: &Sources<'_>,
) -> Keys<'d> {
    match root.get("bearerKeys") {
        Some(list) if !is_empty_list(&list) => {
            let keys = listed(&list, sources);
            let old = legacy_item(routing).filter(|old| !is_listed(&keys.in_force, old));
            if let Some(old) = old {
                let advice = "put the key into the list if it is to count";
                old.warn("is not used, since bearerKeys has entries", advice);
            }
            keys
        }
        list => legacy(routing, list.is_some(), sources),
    }
}

pub(super) fn is_empty_list(item: &Item<'_>) -> bool {
    item.value.as_array().is_some_and(|array| array.elements.is_empty())
}

/// The value of `bearerAuthKey`, unless it is empty, as dashboards write it.
fn legacy_item<'d>(routing: &Section<'d>) -> Option<Item<'d>> {
    let is_empty = |item: &Item<'_>| {
        item.value.as_string_lit().is_some_and(|string| string.value.trim().is_empty())
    };
    routing.get("bearerAuthKey").filter(|item| !is_empty(item))
}

fn is_listed(keys: &[BearerKey], old: &Item<'_>) -> bool {
    let Some(text) = old.value.as_string_lit() else { return false };
    keys.iter().any(|key| key.token.expose() == text.value)
}

fn legacy<'d>(routing: &Section<'d>, beside_list: bool, sources: &Sources<'_>) -> Keys<'d> {
    let mut keys = Keys::default();
    let Some(item) = legacy_item(routing) else { return keys };
    match token(&item, sources) {
        Token::Known(token) => {
            if beside_list {
                let advice = "MCPHub would not, beside bearerKeys; remove it if it was withdrawn";
                item.warn("lets clients in", advice);
            }
            let name = LEGACY.to_owned();
            keys.in_force.push(BearerKey { name, token, reach: KeyReach::All });
        }
        Token::Unset => keys.without_value.push(item),
        Token::Refused => {}
    }
    keys
}

fn listed<'d>(list: &Item<'d>, sources: &Sources<'_>) -> Keys<'d> {
    let mut keys = Keys::default();
    let items = list.items();
    let entries = items.iter().filter_map(|item| entry(item, sources, &mut keys.without_value));
    let found: Vec<ListedKey<'_>> = entries.collect();
    let in_force = &mut keys.in_force;
    for key in &found {
        let Some(name) = unique_name(key, &found) else { continue };
        if in_force.iter().any(|earlier| earlier.token == key.token) {
            let advice = "give each key a token of its own, or remove one of the two";
            key.item.refuse("has the token of an earlier key", advice);
            continue;
        }
        if in_force.iter().any(|earlier| earlier.name == name) {
            let message = format!("is called {}, as an earlier key", quote(&name));
            key.item.refuse(message, "give it a name of its own");
            continue;
        }
        in_force.push(BearerKey { name, token: key.token.clone(), reach: key.reach.clone() });
    }
    keys
}

/// A key as it stands in the list.
struct ListedKey<'d> {
    item: Item<'d>,
    name: Option<String>,
    id: Option<String>,
    token: Secret,
    reach: KeyReach,
}

/// One entry of the list; `None` if it is switched off, refused, or has no value.
fn entry<'d>(
    item: &Item<'d>,
    sources: &Sources<'_>,
    without_value: &mut Vec<Item<'d>>,
) -> Option<ListedKey<'d>> {
    if item.value.as_object().is_none() {
        item.refuse("is not a bearer key", EXAMPLE);
        return None;
    }
    let section = item.section();
    if !section.flag("enabled", true) {
        return None;
    }
    refuse_unknown_members(item, &section);
    refuse_key_of_a_user(&section)?;
    let reach = reach(&section);
    let token = match section.get("token") {
        Some(item) => match token(&item, sources) {
            Token::Known(token) => Some(token),
            Token::Unset => {
                without_value.push(item);
                None
            }
            Token::Refused => None,
        },
        None => {
            section.refuse_key("token", "is missing", EXAMPLE);
            None
        }
    };
    let text = |key| section.text(key).filter(|text: &String| !text.trim().is_empty());
    let (name, id) = (text("name"), text("id"));
    Some(ListedKey { item: item.clone(), name, id, token: token?, reach: reach? })
}

fn refuse_unknown_members(item: &Item<'_>, section: &Section<'_>) {
    let Some(object) = section.object else { return };
    for property in &object.properties {
        let name = property.name.as_str();
        let is_known = MEMBERS.contains(&name) || HARMLESS.contains(&name);
        if !is_known && !name.starts_with(['_', '$']) {
            let message = format!("has the member {}, which is not known", quote(name));
            let hint = suggestion(name, &MEMBERS);
            let advice = format!("remove it, since it might be meant as a restriction{hint}");
            item.refuse(message, advice);
        }
    }
}

/// `None` after a finding about a key that belongs to one user of MCPHub.
fn refuse_key_of_a_user(section: &Section<'_>) -> Option<()> {
    let Some(item) = section.get("kind") else { return Some(()) };
    match item.text()?.as_str() {
        "" | "system" => Some(()),
        "user" => {
            let advice = "write \"kind\": \"system\" with an accessType, or switch the key off";
            item.refuse("makes this the key of one user, which Mooring does not know", advice);
            None
        }
        other => {
            let message = format!("{} is not a kind of key", quote(other));
            item.refuse(message, "leave it out, or write \"system\"");
            None
        }
    }
}

fn reach(section: &Section<'_>) -> Option<KeyReach> {
    let kinds = [
        ("all", (false, false)),
        ("groups", (true, false)),
        ("servers", (false, true)),
        ("custom", (true, true)),
    ];
    let Some(item) = section.get("accessType") else {
        let advice = "write all, groups, servers or custom";
        section.refuse_key("accessType", "is missing", advice);
        return None;
    };
    let (of_groups, of_servers) = section.choice("accessType", "kind of access", &kinds)?;
    if !of_groups && !of_servers {
        return Some(KeyReach::All);
    }
    let groups = if of_groups { texts(section, "allowedGroups")? } else { Vec::new() };
    let servers = if of_servers { texts(section, "allowedServers")? } else { Vec::new() };
    if groups.is_empty() && servers.is_empty() {
        let lists = if of_groups && of_servers { "lists are" } else { "list is" };
        item.warn(format!("opens nothing, since its {lists} empty"), "");
    }
    // A name that no server can have opens nothing.
    let servers = servers.iter().filter_map(|name| ServerName::parse(name).ok()).collect();
    Some(KeyReach::Only { groups, servers })
}

/// The texts of a list; `None` after a finding.
fn texts(section: &Section<'_>, key: &str) -> Option<Vec<String>> {
    let Some(list) = section.get(key) else { return Some(Vec::new()) };
    if list.value.as_array().is_none() {
        return list.wrong_type("a list of names", "write [ \"name\" ]");
    }
    list.items().iter().map(Item::text).collect()
}

/// The token as clients send it.
fn token(item: &Item<'_>, sources: &Sources<'_>) -> Token {
    let Some(text) = item.text() else { return Token::Refused };
    if let Some(unset) = unset_variables(&text, sources) {
        item.warn(format!("{unset}: nobody comes in by this key"), "set it, or remove the key");
        return Token::Unset;
    }
    let Some(text) = braced(item, &text, sources) else { return Token::Refused };
    let text = text.trim();
    if text.is_empty() {
        item.refuse("is empty", "give it a value");
        return Token::Refused;
    }
    if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        item.refuse("cannot be sent in a header", "use visible ASCII characters");
        return Token::Refused;
    }
    if text.len() < SHORT_TOKEN {
        let advice = format!("use at least {SHORT_TOKEN} characters, chosen at random");
        item.warn("is short enough to be guessed", advice);
    }
    Token::Known(Secret::new(text))
}

/// The key's name, or with its id if the name alone does not tell it from the others. Two keys of
/// one name would share their sessions.
fn unique_name(key: &ListedKey<'_>, all: &[ListedKey<'_>]) -> Option<String> {
    let shown = |key: &ListedKey<'_>| key.name.clone().or_else(|| key.id.clone());
    let Some(name) = shown(key) else {
        let advice = "give it a name, by which logs and limits call its holder";
        key.item.refuse("has no name", advice);
        return None;
    };
    let same: Vec<&ListedKey<'_>> =
        all.iter().filter(|other| shown(other).as_ref() == Some(&name)).collect();
    let name = match &key.id {
        _ if same.len() == 1 && name != ANONYMOUS => name,
        Some(id) if same.iter().map(|key| &key.id).collect::<HashSet<_>>().len() == same.len() => {
            format!("{name} ({id})")
        }
        _ => {
            let message = format!("cannot be told from others by the name {}", quote(&name));
            key.item.refuse(message, "give it a name of its own");
            return None;
        }
    };
    if name.len() > MAX_NAME {
        let message = format!("has a name of more than {MAX_NAME} bytes");
        key.item.refuse(message, "choose a shorter one");
        return None;
    }
    Some(name)
}
