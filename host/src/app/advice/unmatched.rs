//! Warnings about names in the settings file that no server has: what they should hide, or show, is
//! something else than its operator thinks.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::config::{Config, GroupEntries, Selections};
use crate::edge::{self, Edge};
use crate::model::{ALL_OTHERS, Prefixes, ServerName};
use crate::protocol::catalog::Catalog;
use crate::protocol::initialize::ClientSet;
use crate::protocol::methods::List;
use crate::runner::SharedRunner;

/// Names of a server that a warning lists.
const MOST_LISTED: usize = 12;

/// A name in the file that stands for a tool or prompt of a server.
struct WrittenName {
    /// Its place in the file.
    place: String,
    name: String,
    list: List,
    prefixes: Prefixes,
    /// Whether it hides or describes what it names; otherwise it shows it.
    is_choice: bool,
}

/// The names of tools and prompts in a file, until each has been compared with what its server has.
pub struct WrittenNames {
    /// Of servers of this process.
    own: HashMap<ServerName, Vec<WrittenName>>,
    /// Of members of groups, which may be on other nodes.
    of_groups: HashMap<ServerName, Vec<WrittenName>>,
}

impl WrittenNames {
    /// All names of tools and prompts in the file.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let separator = &config.names.separator;
        let mut names = Self { own: HashMap::new(), of_groups: HashMap::new() };
        for server in config.servers.iter().filter(|server| server.enabled) {
            let prefixes = Prefixes::of(server.name.as_str(), separator);
            let lists = [
                (List::Tools, "tools", &server.tools),
                (List::Prompts, "prompts", &server.prompts),
            ];
            let written = lists.into_iter().flat_map(|(list, key, choices)| {
                let place = format!("mcpServers.{}.{key}", server.name);
                choices_of(&place, list, &prefixes, choices)
            });
            let written: Vec<WrittenName> = written.collect();
            if !written.is_empty() {
                names.own.insert(server.name.clone(), written);
            }
        }
        for group in &config.groups {
            for member in &group.servers {
                let mut prefixes = Prefixes::of(member.name.as_str(), separator);
                if let Some(alias) = &member.alias {
                    prefixes = prefixes.and(alias, separator);
                }
                let lists = [
                    (List::Tools, "tools", &member.tools),
                    (List::Prompts, "prompts", &member.prompts),
                ];
                let written = lists.into_iter().flat_map(|(list, key, entries)| {
                    let place = format!("groups.{}.servers.{}.{key}", group.name, member.name);
                    entries_of(&place, list, &prefixes, entries)
                });
                let written: Vec<WrittenName> = written.collect();
                if !written.is_empty() {
                    names.of_groups.entry(member.name.clone()).or_default().extend(written);
                }
            }
        }
        names
    }

    /// Whether all have been compared.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.own.is_empty() && self.of_groups.is_empty()
    }

    /// Compares the names of servers whose lists are known by now, and warns of those that are not
    /// there. Each is compared once.
    pub fn compare(&mut self, runner: &SharedRunner, edge: &Edge) {
        self.own.retain(|server, names| {
            let Some(found) = runner.discovery.found(server, ClientSet::default()) else {
                return true;
            };
            warn_of(server, names, &found.catalog);
            false
        });
        let topology = edge.topology.load();
        self.of_groups.retain(|server, names| {
            let known = edge.catalogs.known(&topology, server, ClientSet::default());
            let Some(catalog) = known else { return true };
            warn_of(server, names, &catalog);
            false
        });
    }
}

fn choices_of(
    place: &str,
    list: List,
    prefixes: &Prefixes,
    choices: &Selections,
) -> Vec<WrittenName> {
    let written = |name: &String| WrittenName {
        place: place.to_owned(),
        name: name.clone(),
        list,
        prefixes: prefixes.clone(),
        is_choice: true,
    };
    // What stands for all others matches by itself.
    choices.keys().filter(|name| *name != ALL_OTHERS).map(written).collect()
}

fn entries_of(
    place: &str,
    list: List,
    prefixes: &Prefixes,
    entries: &GroupEntries,
) -> Vec<WrittenName> {
    let GroupEntries::Only(names) = entries else { return Vec::new() };
    let written = |name: &String| WrittenName {
        place: place.to_owned(),
        name: name.clone(),
        list,
        prefixes: prefixes.clone(),
        is_choice: false,
    };
    names.iter().map(written).collect()
}

fn warn_of(server: &ServerName, names: &[WrittenName], catalog: &Catalog) {
    for written in names {
        let known: HashSet<String> =
            catalog.items(written.list).iter().filter_map(|item| edge::name_of(item)).collect();
        if let Some(problem) = written.problem(&known) {
            tracing::warn!(server = %server, "{}: {problem}", written.place);
        }
    }
}

impl WrittenName {
    /// What is wrong with it, by the names that the server has.
    fn problem(&self, known: &HashSet<String>) -> Option<String> {
        let name = &self.name;
        let Some(own) = self.prefixes.own_name(name, |own| known.contains(own)) else {
            let without =
                if self.is_choice { "hides and describes nothing" } else { "shows nothing" };
            return Some(format!("{name:?} {without}: the server has {}", listed(known)));
        };
        let other = self.prefixes.stripped(name).find(|rest| known.contains(*rest));
        match other {
            Some(other) if self.is_choice && own == name => Some(format!(
                "{name:?} may mean two entries of the server, {own:?} and {other:?} with the \
                 server's name in front: it counts for both"
            )),
            _ => None,
        }
    }
}

/// Some of the names, for a warning.
fn listed(known: &HashSet<String>) -> String {
    let mut names: Vec<&str> = known.iter().map(String::as_str).collect();
    names.sort_unstable();
    let more = names.len().saturating_sub(MOST_LISTED);
    names.truncate(MOST_LISTED);
    match (names.is_empty(), more) {
        (true, _) => "none".to_owned(),
        (false, 0) => names.join(", "),
        (false, more) => format!("{} and {more} more", names.join(", ")),
    }
}

/// Compares the names whenever lists have come, until all have been compared.
pub async fn warn_of_unmatched(
    mut names: WrittenNames,
    runner: Arc<SharedRunner>,
    edge: Arc<Edge>,
) {
    let (mut discovered, mut fetched) = (runner.discovery.changes(), edge.catalogs.changes());
    loop {
        names.compare(&runner, &edge);
        if names.is_empty() {
            return;
        }
        let changed = tokio::select! {
            changed = discovered.changed() => changed,
            changed = fetched.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_nothing_has_or_two_have_is_a_problem() {
        let known: HashSet<String> = ["x", "y", "a-y"].map(str::to_owned).into();
        let problem = |name: &str, is_choice| {
            let (list, prefixes) = (List::Tools, Prefixes::of("a", "::"));
            let name = name.to_owned();
            WrittenName { place: String::new(), name, list, prefixes, is_choice }.problem(&known)
        };
        for name in ["x", "a-x", "a::x", "y", "a-a-y"] {
            assert_eq!(problem(name, true), None, "{name}");
        }
        assert!(problem("a-x-2", true).unwrap().contains("hides and describes nothing"));
        assert!(problem("z", false).unwrap().contains("the server has a-y, x, y"));
        assert!(problem("a-y", true).unwrap().contains("two entries"));
        assert_eq!(problem("a-y", false), None);
    }
}
