//! Groups of servers that share an endpoint: `groups`.

use std::collections::{HashMap, HashSet};

use jsonc_parser::ast::ObjectProp;
use jsonc_parser::common::Ranged;

use crate::config::reader::item::Item;
use crate::config::reader::place::{EntryProblems, Place, quote};
use crate::config::reader::section::Section;
use crate::config::reader::words::nearest::suggestion;
use crate::model::{GroupName, ServerName};

use super::servers::Server;

/// What becomes of a group with a mistake. A part of it might show what its owner hides.
const UNTIL: &str = "until then this group is left out";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSettings {
    /// Unique; `/mcp/{name}` prefers it to a server of the same name.
    pub name: GroupName,
    /// MCPHub's identifier; unique, and also valid in URLs.
    pub id: Option<String>,
    pub description: Option<String>,
    /// In file order, each server once. A server may be on another node.
    pub servers: Vec<GroupServer>,
}

/// A server of a group, and which of its entries the group shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupServer {
    pub name: ServerName,
    /// Stands for the server's name in the names of its tools and prompts in this group.
    pub alias: Option<String>,
    pub tools: GroupEntries,
    pub prompts: GroupEntries,
    pub resources: GroupEntries,
}

/// The entries of a server that a group shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupEntries {
    All,
    /// These names; an empty list shows none.
    Only(Vec<String>),
}

impl GroupEntries {
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.iter().any(|chosen| chosen == name),
        }
    }
}

pub(in crate::config) fn read(
    root: &Section<'_>,
    servers: &[Server],
    is_coordinator: bool,
) -> Vec<GroupSettings> {
    let mut groups = Vec::new();
    let mut taken = Taken::default();
    let known: HashSet<&str> = servers.iter().map(|server| server.name.as_str()).collect();
    if let Some(object) = root.get("groups").filter(|item| item.value.as_object().is_some()) {
        let advice = "write a list of groups; each key is taken as the group's id, and as its name \
                      where it has none";
        object.warn("is an object where MCPHub has a list", advice);
    }
    for item in entries(root) {
        let problems = EntryProblems::new(&item.place, UNTIL);
        let outer = item.clone();
        let item = Item { place: item.place.clone().of_entry(&problems), ..item };
        let section = item.section();
        let key = key_of(root, &item);
        let read = group(&section, key, &mut taken);
        let read = read.filter(|_| problems.reason().is_none());
        let Some(group) = read.filter(|group| !is_taken(&section, group, &groups)) else {
            refuse_in_place_of_server(&outer, key, &known);
            continue;
        };
        warn_of_unknown_servers(&item, &group, &known, is_coordinator);
        warn_of_hidden_server(&item, &group, &known);
        warn_of_equal_names(&item, &group);
        groups.push(group);
    }
    groups
}

/// A group that is left out must not leave its URL to a whole server of its name.
fn refuse_in_place_of_server(item: &Item<'_>, key: Option<&str>, known: &HashSet<&str>) {
    let text = |name: &str| {
        let value = item.value.as_object()?.get(name)?.value.as_string_lit()?;
        Some(value.value.clone().into_owned())
    };
    let names = [text("name"), text("id"), key.map(str::to_owned)];
    let mut names = names.into_iter().flatten();
    if let Some(name) = names.find(|name| known.contains(name.as_str())) {
        let message = format!("cannot be left out, since {} is a server too", quote(&name));
        item.refuse(message, "correct the mistakes in the group");
    }
}

/// Whether an earlier group is called so. Keys of an object are names and ids too: what one key opens
/// must not be another group.
fn is_taken(section: &Section<'_>, group: &GroupSettings, earlier: &[GroupSettings]) -> bool {
    let is_same = |other: &&GroupSettings| {
        other.name == group.name || (group.id.is_some() && other.id == group.id)
    };
    let Some(other) = earlier.iter().find(is_same) else { return false };
    let message = format!("is that of an earlier group, {}", quote(other.name.as_str()));
    section.refuse_key("name", &message, "give each group a name and an id of its own");
    true
}

/// The groups, in file order. MCPHub's documentation also shows them as an object.
pub(super) fn entries<'d>(root: &Section<'d>) -> Vec<Item<'d>> {
    let Some(item) = root.get("groups") else { return Vec::new() };
    let Some(object) = item.value.as_object() else {
        if item.value.as_array().is_none() {
            let item = Item { place: item.place.clone().lenient(), ..item };
            return item
                .wrong_type("a list", "write [ … ]; no group exists until then")
                .unwrap_or_default();
        }
        return item.items();
    };
    let entry = |property: &'d ObjectProp<'d>| {
        let place = item.place.named_index(property.name.as_str(), property.value.start());
        Item { notes: item.notes, place, value: &property.value }
    };
    object.properties.iter().map(entry).collect()
}

/// The key of a group in an object of groups.
fn key_of<'d>(root: &Section<'d>, group: &Item<'d>) -> Option<&'d str> {
    let groups = root.get("groups")?.value.as_object()?;
    let found = groups.properties.iter().find(|property| property.value.start() == group.place.at);
    found.map(|property| property.name.as_str())
}

/// One group. In an object of groups its key is its id, and its name too if it has none.
fn group(section: &Section<'_>, key: Option<&str>, taken: &mut Taken) -> Option<GroupSettings> {
    section.object?;
    let id = section.get("id");
    if let Some(item) = &id {
        check_id(item);
        taken.claim("id", item);
    }
    let servers = group_servers(section);
    let description = section.get("description").and_then(|item| item.prose());
    let given = section.get("name");
    let text = match (&given, key) {
        (Some(item), _) => item.text()?,
        (None, Some(key)) => key.to_owned(),
        (None, None) => {
            section.refuse_key("name", "is missing", "give the group a name");
            return None;
        }
    };
    let refuse = |error: String| match &given {
        Some(item) => item.refuse(error, "choose a name that fits in a URL"),
        None => section.refuse_key("name", &error, "give the group a name that fits in a URL"),
    };
    let name = GroupName::parse(&text).map_err(|error| refuse(error.to_string())).ok()?;
    if let Some(item) = &given {
        taken.claim("name", item);
    }
    let key = key.filter(|key| GroupName::parse(key).is_ok()).map(str::to_owned);
    let id = id.and_then(|item| item.text()).or(key);
    Some(GroupSettings { name, id, description, servers })
}

/// Checks an id by the rules for names, since both are part of URLs.
fn check_id(item: &Item<'_>) {
    if let Some(text) = item.text()
        && let Err(error) = GroupName::parse(&text)
    {
        item.refuse(error.to_string(), "leave it out, or use letters and digits");
    }
}

fn group_servers(section: &Section<'_>) -> Vec<GroupServer> {
    let mut servers: Vec<GroupServer> = Vec::new();
    let mut places: HashMap<ServerName, usize> = HashMap::new();
    for item in section.items("servers") {
        let Some(server) = group_server(&item) else {
            continue;
        };
        let earlier = places.get(&server.name).and_then(|place| servers.get(*place));
        let message = || format!("{} is listed twice", quote(server.name.as_str()));
        match earlier {
            Some(earlier) if *earlier == server => item.warn(message(), "remove one of them"),
            // They may differ in what they show.
            Some(_) => item.refuse(message(), "keep one of them"),
            None => {
                places.insert(server.name.clone(), servers.len());
                servers.push(server);
            }
        }
    }
    servers
}

/// A name, or an object with a selection.
fn group_server(item: &Item<'_>) -> Option<GroupServer> {
    if item.value.as_string_lit().is_some() {
        return Some(GroupServer {
            name: server_name(item)?,
            alias: None,
            tools: GroupEntries::All,
            prompts: GroupEntries::All,
            resources: GroupEntries::All,
        });
    }
    if item.value.as_object().is_none() {
        return item.wrong_type("a server's name or an object", "write \"name\"");
    }
    let section = item.section();
    let chosen = |key| section.get(key).and_then(|item| chosen(&item));
    let alias = section.get("alias").and_then(|item| alias(&item));
    let (tools, prompts, resources) = (chosen("tools"), chosen("prompts"), chosen("resources"));
    let Some(name) = section.get("name") else {
        section.refuse_key("name", "is missing", "name the server");
        return None;
    };
    Some(GroupServer {
        name: server_name(&name)?,
        alias,
        tools: tools.unwrap_or(GroupEntries::All),
        prompts: prompts.unwrap_or(GroupEntries::All),
        resources: resources.unwrap_or(GroupEntries::All),
    })
}

/// Another name for the server, by the rules of servers' names. Blanks around it do not count, and
/// an empty one is none.
fn alias(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    let alias = text.trim();
    if alias.is_empty() {
        return None;
    }
    match ServerName::parse(alias) {
        Ok(_) => Some(alias.to_owned()),
        Err(error) => {
            let advice =
                "the group shows the server's own name; choose a name that fits in tool names";
            item.warn(error.to_string(), advice);
            None
        }
    }
}

/// Warns of two servers of a group that clients cannot tell apart by their names.
fn warn_of_equal_names(item: &Item<'_>, group: &GroupSettings) {
    let shown =
        |server: &GroupServer| server.alias.clone().unwrap_or_else(|| server.name.to_string());
    let mut seen: HashSet<String> = HashSet::new();
    for server in &group.servers {
        let name = shown(server);
        if seen.contains(&name) {
            let message = format!("shows two servers under the name {}", quote(&name));
            item.warn(
                message,
                "tools of the second one get -2 where names are equal; choose another alias",
            );
        }
        seen.insert(name);
    }
}

fn server_name(item: &Item<'_>) -> Option<ServerName> {
    ServerName::parse(&item.text()?)
        .map_err(|error| item.refuse(error.to_string(), "use a name from mcpServers"))
        .ok()
}

fn chosen(item: &Item<'_>) -> Option<GroupEntries> {
    if item.value.as_array().is_some() {
        let names = item.items().into_iter().filter_map(|item| item.text());
        return Some(GroupEntries::Only(names.collect()));
    }
    if item.value.as_string_lit().is_none_or(|s| s.value != "all") {
        return item.wrong_type("\"all\" or a list of names", "use one of the two");
    }
    Some(GroupEntries::All)
}

fn warn_of_unknown_servers(
    item: &Item<'_>,
    group: &GroupSettings,
    known: &HashSet<&str>,
    is_coordinator: bool,
) {
    let unknown = |server: &&GroupServer| !known.contains(&server.name.as_str());
    let unknown: Vec<&str> =
        group.servers.iter().filter(unknown).map(|server| server.name.as_str()).collect();
    let Some(first) = unknown.first() else {
        return;
    };
    let advice = match is_coordinator {
        true => "no action is needed if nodes provide them",
        false => "add them to mcpServers",
    };
    item.warn(
        format!("this file has no server {}", unknown.join(", ")),
        format!("{advice}{}", suggestion(first, &in_order(known))),
    );
}

fn in_order<'n>(known: &HashSet<&'n str>) -> Vec<&'n str> {
    let mut names: Vec<&str> = known.iter().copied().collect();
    names.sort_unstable();
    names
}

fn warn_of_hidden_server(item: &Item<'_>, group: &GroupSettings, known: &HashSet<&str>) {
    let name = group.name.as_str();
    if known.contains(name) {
        let message = format!("{} is also the name of a server", quote(name));
        item.warn(message, "/mcp/{name} reaches the group; rename one of them");
    }
}

/// Names and ids that groups use, with the place of the first use.
#[derive(Default)]
struct Taken(HashMap<(&'static str, String), Place>);

impl Taken {
    fn claim(&mut self, what: &'static str, item: &Item<'_>) {
        let Some(text) = item.value.as_string_lit() else {
            return;
        };
        let key = (what, text.value.clone().into_owned());
        if let Some(earlier) = self.0.get(&key) {
            let message = format!("{} is already used by {}", quote(&key.1), earlier.path);
            item.refuse(message, format!("give each group a unique {what}"));
        } else {
            self.0.insert(key, item.place.clone());
        }
    }
}
