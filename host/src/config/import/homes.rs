//! Where clients have their servers in their files.

use serde_json::{Map, Value};

use crate::config::reader::known_keys::is_note;

/// Keys from the top of the file on.
const HOMES: [&[&str]; 7] = [
    &["mcpServers"],
    // VS Code's own file, and its settings.
    &["servers"],
    &["mcp", "servers"],
    &["context_servers"],
    &["mcp", "mcpServers"],
    // Amp's and Codex's words.
    &["amp.mcpServers"],
    &["mcp_servers"],
];
/// Where OpenCode and Goose have theirs, and other clients something else.
const LOOSE_HOMES: [&str; 2] = ["mcp", "extensions"];

#[derive(Debug, Default, PartialEq)]
pub(super) struct Found {
    pub servers: Map<String, Value>,
    /// Names that several projects have of different servers.
    pub doubled: Vec<String>,
    /// Names of what is no server, beside servers: Goose's extensions may be built in.
    pub left_out: Vec<String>,
}

impl Found {
    fn all(servers: Map<String, Value>) -> Self {
        Self { servers, ..Self::default() }
    }

    /// Without what is no server.
    fn servers(home: Map<String, Value>) -> Self {
        let (servers, others): (Map<_, _>, Map<_, _>) =
            home.into_iter().partition(|(_, entry)| is_server(entry));
        let left_out = others.into_iter().map(|(name, _)| name).filter(|name| !is_note(name));
        Self { servers, left_out: left_out.collect(), ..Self::default() }
    }
}

/// The servers of a file. `None` if it has no place for any.
pub(super) fn of_file(file: &Value) -> Option<Found> {
    let at = |home: &&[&str]| home.iter().try_fold(file, |value, key| value.get(*key));
    let loose = LOOSE_HOMES.iter().filter_map(|home| file.get(*home)).filter(|it| has_server(it));
    let strict = HOMES.iter().filter_map(at).filter_map(named).map(Found::all);
    let homes: Vec<Found> = strict.chain(loose.filter_map(named).map(Found::servers)).collect();
    let is_any = !homes.is_empty();
    let mut found = homes.into_iter().find(|home| !home.servers.is_empty()).unwrap_or_default();
    add_those_of_projects(file, &mut found);
    if found.servers.is_empty() && !is_any {
        found.servers = bare(file)?;
    }
    Some(found)
}

/// Claude Code keeps servers for each project, unless told otherwise.
fn add_those_of_projects(file: &Value, found: &mut Found) {
    let projects = file.get("projects").and_then(Value::as_object).into_iter().flatten();
    for servers in projects.filter_map(|(_, project)| project.get("mcpServers")?.as_object()) {
        for (name, entry) in servers {
            match found.servers.get(name) {
                None => drop(found.servers.insert(name.clone(), entry.clone())),
                Some(other) if other == entry => {}
                Some(_) => found.doubled.push(name.clone()),
            }
        }
    }
    found.doubled.sort();
    found.doubled.dedup();
}

/// Some files have nothing but servers.
fn bare(file: &Value) -> Option<Map<String, Value>> {
    let members = file.as_object()?;
    let mut entries = members.iter().filter(|(name, _)| !is_note(name)).peekable();
    entries.peek()?;
    entries.all(|(_, entry)| is_server(entry)).then(|| members.clone())
}

/// Servers by their names, which they say themselves where they stand in a list.
fn named(home: &Value) -> Option<Map<String, Value>> {
    if let Some(list) = home.as_array() {
        let name = |entry: &Value| Some(entry.get("name")?.as_str()?.to_owned());
        let named = list.iter().filter_map(|entry| Some((name(entry)?, entry.clone())));
        let named: Map<String, Value> = named.collect();
        return (!named.is_empty()).then_some(named);
    }
    home.as_object().cloned()
}

/// Whether an entry of an object looks like a server.
fn has_server(home: &Value) -> bool {
    home.as_object().is_some_and(|entries| entries.values().any(is_server))
}

fn is_server(entry: &Value) -> bool {
    ["command", "url", "cmd", "uri"].iter().any(|key| entry.get(key).is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(file: Value) -> Option<Vec<String>> {
        Some(of_file(&file)?.servers.keys().cloned().collect())
    }

    #[test]
    fn an_empty_place_does_not_hide_another() {
        let server = json!({"command": "x"});
        let both = json!({"mcpServers": {}, "servers": {"a": server}});
        assert_eq!(names(both).unwrap(), ["a"]);
        assert_eq!(names(json!({"mcpServers": {}})).unwrap(), [""; 0]);
        assert_eq!(names(json!({"theme": "dark"})), None);
    }

    #[test]
    fn what_is_no_server_beside_servers_is_left_out_and_told() {
        let goose = json!({"extensions": {
            "developer": {"type": "builtin", "enabled": true},
            "docs": {"type": "stdio", "cmd": "x"},
            "_note": "mine",
        }});
        let found = of_file(&goose).unwrap();
        assert_eq!(
            found.servers,
            *json!({"docs": {"type": "stdio", "cmd": "x"}}).as_object().unwrap()
        );
        assert_eq!(found.left_out, ["developer"]);
    }

    #[test]
    fn servers_of_projects_come_too_and_doubled_names_are_told() {
        let (first, second) = (json!({"command": "x"}), json!({"command": "y"}));
        let file = json!({"mcpServers": {"all": first}, "projects": {
            "/a": {"mcpServers": {"one": first, "all": second}},
            "/b": {"mcpServers": {"one": first, "two": second}},
            "/c": {"allowedTools": []},
        }});
        let found = of_file(&file).unwrap();
        assert_eq!(
            found.servers,
            *json!({"all": first, "one": first, "two": second}).as_object().unwrap()
        );
        assert_eq!(found.doubled, ["all"]);
    }

    #[test]
    fn a_file_of_nothing_but_servers_is_taken() {
        let bare = json!({"_note": "mine", "a": {"command": "x"}, "b": {"url": "http://y/"}});
        assert_eq!(names(bare).unwrap(), ["_note", "a", "b"]);
        for other in [json!({"a": {"command": "x"}, "theme": 1}), json!({}), json!([]), json!(5)] {
            assert_eq!(names(other.clone()), None, "{other}");
        }
    }
}
