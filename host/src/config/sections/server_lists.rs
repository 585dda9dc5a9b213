//! Which servers run at all, and which of their tools are denied, by lists of other clients' files:
//! `mcp.allowed`, `mcp.excluded` and `tools.exclude` of Gemini CLI, with their older names, what
//! Claude Code's settings disable, and its `permissions.deny`.

use jsonc_parser::ast::Value;
use jsonc_parser::common::Ranged;
use serde_json::Value as Tree;

use crate::config::reader::item::Item;
use crate::config::reader::section::Section;
use crate::config::reader::words::server_words::{self, ServerList};

use super::servers::shown_tools::{EntrySettings, Selections};

/// The names in these lists.
#[derive(Debug, Default)]
pub(in crate::config) struct ServerLists {
    allowed: Option<Vec<String>>,
    excluded: Vec<String>,
    /// Rules: `mcp__server`, `mcp__server__tool`, `server__tool`, perhaps with arguments behind them.
    denied: Vec<String>,
}

impl ServerLists {
    /// Whether a server may run: it is not excluded or denied as a whole, and allowed where any is
    /// named so.
    pub(in crate::config) fn allow(&self, name: &str) -> bool {
        let has = |names: &[String]| names.iter().any(|listed| listed == name);
        !has(&self.excluded)
            && self.allowed.as_deref().is_none_or(has)
            && !self.denied.iter().any(|rule| matches!(of_server(rule, name), Some("" | "*")))
    }

    /// The lists in a file that was read as a tree.
    pub(in crate::config) fn of_file(file: &Tree) -> Self {
        let mut lists = Self::default();
        for (section, key, list) in server_words::all() {
            let home = if section.is_empty() { Some(file) } else { file.get(section) };
            let names: Vec<String> = match home.and_then(|home| home.get(key)) {
                Some(Tree::String(name)) => vec![name.clone()],
                Some(Tree::Array(names)) => {
                    names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
                }
                _ => continue,
            };
            if !names.is_empty() {
                lists.add(list, names);
            }
        }
        lists
    }

    /// The tools of a server that are denied.
    pub(in crate::config) fn denied<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let denied = self.denied.iter().filter_map(move |rule| of_server(rule, name));
        denied.filter(|tool| !matches!(*tool, "" | "*"))
    }

    /// Hides what is denied of a server's tools.
    pub(in crate::config) fn hide(&self, name: &str, tools: &mut Selections) {
        for tool in self.denied(name) {
            let shown = EntrySettings { enabled: true, description: None };
            tools.entry(tool.to_owned()).or_insert(shown).enabled = false;
        }
    }
}

/// The tool that a rule names of this server; empty for the server itself.
fn of_server<'r>(rule: &'r str, name: &str) -> Option<&'r str> {
    // In rules of Claude Code names have no other characters.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let plain: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let rule = rule.split('(').next().unwrap_or_default().trim();
    let (named, is_claude) = match rule.strip_prefix("mcp__") {
        Some(named) => (named, true),
        None => (rule, false),
    };
    match named.strip_prefix(&*plain)?.strip_prefix("__") {
        Some(tool) => Some(tool),
        None => (is_claude && named.len() == plain.len()).then_some(""),
    }
}

pub(in crate::config) fn read(root: &Section<'_>) -> ServerLists {
    let mut lists = ServerLists::default();
    let Some(object) = root.object else { return lists };
    for property in &object.properties {
        let (name, at) = (property.name.as_str(), property.value.start());
        let place = root.place.key(name, at);
        if let Some(list) = server_words::of("", name) {
            lists.take(list, &Item { notes: root.notes, place, value: &property.value });
        } else if server_words::is_section(name, &property.value)
            && let Value::Object(inner) = &property.value
        {
            let section = name;
            for property in &inner.properties {
                let (name, at) = (property.name.as_str(), property.value.start());
                if let Some(list) = server_words::of(section, name) {
                    let place = place.key(name, at);
                    lists.take(list, &Item { notes: root.notes, place, value: &property.value });
                }
            }
        }
    }
    lists
}

impl ServerLists {
    /// A mistake in a list stops nothing.
    fn take(&mut self, list: ServerList, item: &Item<'_>) {
        let item = Item { place: item.place.clone().lenient(), ..item.clone() };
        let items = match item.value {
            Value::NullKeyword(_) => return,
            Value::StringLit(_) => vec![item],
            _ => item.items(),
        };
        let names: Vec<String> = items.iter().filter_map(Item::text).collect();
        if items.is_empty() {
            return;
        }
        self.add(list, names);
    }

    fn add(&mut self, list: ServerList, names: Vec<String>) {
        match list {
            ServerList::Excluded => self.excluded.extend(names),
            ServerList::Denied => self.denied.extend(names),
            ServerList::Allowed => match &mut self.allowed {
                Some(before) => before.retain(|name| names.contains(name)),
                None => self.allowed = Some(names),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_names_a_server_and_perhaps_a_tool() {
        for (rule, name, tool) in [
            ("mcp__git", "git", Some("")),
            ("mcp__git__*", "git", Some("*")),
            ("mcp__git__push", "git", Some("push")),
            ("mcp__git__push(x)", "git", Some("push")),
            ("mcp__a_b__c__d", "a.b", Some("c__d")),
            ("git__push", "git", Some("push")),
            ("git", "git", None),
            ("mcp__github", "git", None),
            ("Bash(git:*)", "git", None),
            ("mcp__other__push", "git", None),
        ] {
            assert_eq!(of_server(rule, name), tool, "{rule}");
        }
    }
}
