//! Servers of clients' files, and how they get into a settings file without anything of it being lost.
//!
//! Most entries need no change, since the readers of settings know the spellings of clients. What
//! differs is where the servers stand, and two forms that no other reader has.

use jsonc_parser::ast::{Object, Value as Tree};
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, parse_to_ast, parse_to_serde_value};
use serde_json::{Map, Value};

use super::reader::document::{DIALECT, without_bom};
use super::reader::known_keys::is_note;
use super::sections::server_lists::ServerLists;

/// Where clients have their servers, as keys from the top of the file on.
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
/// Servers of one file.
const MAX_SERVERS: usize = 10_000;
/// Members of Zed's entries that say nothing to a gateway.
const OF_ZED: [&str; 2] = ["source", "settings"];

/// The servers of a file, in its order.
#[derive(Debug, Default, PartialEq)]
pub struct ForeignServers {
    pub servers: Vec<(String, Value)>,
    /// Variables that have to be set, which the client asks its user for.
    pub variables: Vec<String>,
}

/// A settings file with more servers in it.
#[derive(Debug, PartialEq, Eq)]
pub struct Merged {
    pub text: String,
    pub added: Vec<String>,
    /// Servers of these names were there already, and stay as they are.
    pub kept: Vec<String>,
}

/// The servers of a client's file.
///
/// # Errors
/// Why there are none.
pub fn servers_of(text: &str) -> Result<ForeignServers, String> {
    let file: Value = parse_to_serde_value(without_bom(text), &DIALECT)
        .map_err(|error| format!("is not JSON: {error}"))?;
    let at = |home: &&[&str]| home.iter().try_fold(&file, |value, key| value.get(*key));
    let loose = LOOSE_HOMES.iter().filter_map(|home| file.get(*home)).filter(|it| has_server(it));
    let found = HOMES.iter().filter_map(at).chain(loose).find_map(named);
    let found = found.ok_or_else(|| {
        "has no servers: neither mcpServers, servers, mcp.servers nor context_servers".to_owned()
    })?;
    let lists = ServerLists::of_file(&file);
    if found.len() > MAX_SERVERS {
        return Err(format!("has more than {MAX_SERVERS} servers"));
    }
    let mut servers = ForeignServers::default();
    for (name, entry) in found.iter().filter(|(name, _)| !is_note(name)) {
        let Some(entry) = entry.as_object() else {
            return Err(format!("the server {name:?} is not an object"));
        };
        let mut entry = Value::Object(flat(entry));
        name_inputs(&mut entry, &mut servers.variables);
        restrict(&mut entry, name, &lists);
        servers.servers.push((name.clone(), entry));
    }
    servers.variables.sort();
    servers.variables.dedup();
    Ok(servers)
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
    let tells =
        |entry: &Value| ["command", "url", "cmd", "uri"].iter().any(|key| entry.get(key).is_some());
    home.as_object().is_some_and(|entries| entries.values().any(tells))
}

/// What the file says of the server elsewhere: without that, one that is off would run.
fn restrict(entry: &mut Value, name: &str, lists: &ServerLists) {
    let Some(members) = entry.as_object_mut() else { return };
    if !lists.allow(name) {
        members.insert("enabled".to_owned(), Value::Bool(false));
    }
    let mut denied: Vec<Value> = lists.denied(name).map(Value::from).collect();
    if !denied.is_empty() {
        let before = members.get("excludeTools").and_then(Value::as_array);
        denied.extend(before.cloned().unwrap_or_default());
        members.insert("excludeTools".to_owned(), Value::Array(denied));
    }
}

/// Zed has program, arguments and variables in one object: `"command": {"path", "args", "env"}`.
fn flat(entry: &Map<String, Value>) -> Map<String, Value> {
    let mut flat = Map::new();
    for (key, value) in entry {
        match value.as_object().filter(|_| key == "command") {
            Some(command) => {
                for (key, value) in command {
                    let key = if key == "path" { "command" } else { key };
                    flat.insert(key.to_owned(), value.clone());
                }
            }
            None if OF_ZED.contains(&key.as_str()) => {}
            None => {
                flat.insert(key.clone(), value.clone());
            }
        }
    }
    flat
}

/// VS Code asks its user for `${input:api-key}`. A gateway has variables: `${API_KEY}`.
fn name_inputs(value: &mut Value, variables: &mut Vec<String>) {
    match value {
        Value::String(text) => *text = with_variables(text, variables),
        Value::Array(all) => all.iter_mut().for_each(|one| name_inputs(one, variables)),
        Value::Object(all) => all.values_mut().for_each(|one| name_inputs(one, variables)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn with_variables(text: &str, variables: &mut Vec<String>) -> String {
    const INPUT: &str = "${input:";
    let (mut made, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once(INPUT) {
        let Some((id, behind)) = after.split_once('}') else { break };
        let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        let mut name: String = id.chars().map(letter).collect();
        if name.starts_with(|first: char| first.is_ascii_digit()) || name.is_empty() {
            name.insert(0, '_');
        }
        made.extend([before, "${", &name, "}"]);
        variables.push(name);
        rest = behind;
    }
    made.push_str(rest);
    made
}

/// A settings file with these servers added at the end of its own, everything else as it was: its
/// comments, its order, its spaces. An empty text becomes a file.
///
/// # Errors
/// Why the settings file cannot be added to.
pub fn with_servers(settings: &str, servers: &[(String, Value)]) -> Result<Merged, String> {
    if without_bom(settings).trim().is_empty() {
        let (text, added) = ("{\n}\n".to_owned(), Vec::new());
        let merged = Merged { text, added, kept: Vec::new() };
        return with_servers(&merged.text, servers);
    }
    let parsed = parse_to_ast(settings, &CollectOptions::default(), &DIALECT)
        .map_err(|error| format!("is not JSON: {error}"))?;
    let Some(Tree::Object(root)) = &parsed.value else {
        return Err("is not an object".to_owned());
    };
    let home =
        ["mcpServers", "servers", "context_servers"].into_iter().find_map(|key| root.get(key));
    let own = match home.map(|property| &property.value) {
        None => None,
        Some(Tree::Object(own)) => Some(own),
        Some(_) => return Err("its mcpServers is not an object".to_owned()),
    };
    let has = |name: &str| own.is_some_and(|own| own.get(name).is_some());
    let (kept, new): (Vec<_>, Vec<_>) = servers.iter().partition(|(name, _)| has(name));
    let names = |list: &[&(String, Value)]| list.iter().map(|(name, _)| name.clone()).collect();
    let (added, kept): (Vec<String>, Vec<String>) = (names(&new), names(&kept));
    if new.is_empty() {
        return Ok(Merged { text: settings.to_owned(), added, kept });
    }
    let text = match own {
        Some(own) => inserted(settings, own, &members(&new), 1),
        None => {
            let block = format!("\"mcpServers\": {{\n{}\n  }}", indented(&members(&new), 2));
            inserted(settings, root, &block, 0)
        }
    };
    Ok(Merged { text, added, kept })
}

/// The entries as members of an object, one after the other.
fn members(servers: &[&(String, Value)]) -> String {
    let member = |(name, entry): &&(String, Value)| {
        let entry = serde_json::to_string_pretty(entry).unwrap_or_default();
        format!("{}: {entry}", Value::String(name.clone()))
    };
    servers.iter().map(member).collect::<Vec<_>>().join(",\n")
}

fn indented(text: &str, levels: usize) -> String {
    let space = "  ".repeat(levels);
    text.lines().map(|line| format!("{space}{line}")).collect::<Vec<_>>().join("\n")
}

/// The text with more members at the end of an object, which stands at this depth.
fn inserted(text: &str, object: &Object<'_>, members: &str, depth: usize) -> String {
    let members = indented(members, depth + 1);
    let close = object.range().end - 1;
    let last = object.properties.last().map(Ranged::range);
    let (head, tail) = text.split_at(close);
    match last {
        // Behind the last member, so that a comment after it stays with it.
        Some(last) => {
            let (before, behind) = text.split_at(last.end);
            let behind = &behind[..close - last.end];
            let has_comma = without_comments(behind).trim_start().starts_with(',');
            let comma = if has_comma { "" } else { "," };
            format!("{before}{comma}{}\n{members}\n{}{tail}", behind.trim_end(), "  ".repeat(depth))
        }
        None => format!("{}\n{members}\n{}{tail}", head.trim_end(), "  ".repeat(depth)),
    }
}

/// What stands between a member and the end of its object, without comments.
fn without_comments(text: &str) -> String {
    let (mut plain, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('/') {
        let (before, comment) = rest.split_at(at);
        plain.push_str(before);
        let end = match comment.as_bytes().get(1) {
            Some(b'*') => comment.find("*/").map_or(comment.len(), |end| end + 2),
            _ => comment.find('\n').unwrap_or(comment.len()),
        };
        rest = &comment[end..];
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn servers_are_found_where_each_client_has_them() {
        for (text, expect) in [
            (
                r#"{"mcpServers": {"a": {"command": "x", "args": ["y"]}}}"#,
                json!({"command": "x", "args": ["y"]}),
            ),
            (
                r#"{"servers": {"a": {"type": "http", "url": "http://x"}}, "inputs": []}"#,
                json!({"type": "http", "url": "http://x"}),
            ),
            (
                r#"{"editor.tabSize": 2, "mcp": {"servers": {"a": {"command": "x"}}}}"#,
                json!({"command": "x"}),
            ),
            (
                r#"{"context_servers": {"a": {"source": "custom", "command": {"path": "x", "args": ["y"], "env": {"Z": "1"}}, "settings": {}}}}"#,
                json!({"command": "x", "args": ["y"], "env": {"Z": "1"}}),
            ),
            (
                r#"{"context_servers": {"a": {"command": "x", "args": []}}} // new form"#,
                json!({"command": "x", "args": []}),
            ),
            (
                r#"{"mcp": {"a": {"type": "local", "command": ["x", "y"], "enabled": false}}}"#,
                json!({"type": "local", "command": ["x", "y"], "enabled": false}),
            ),
            (
                r#"{"extensions": {"a": {"type": "stdio", "cmd": "x", "args": []}}}"#,
                json!({"type": "stdio", "cmd": "x", "args": []}),
            ),
            (
                r#"{"mcp_servers": {"a": {"command": "x", "enabled_tools": ["t"]}}}"#,
                json!({"command": "x", "enabled_tools": ["t"]}),
            ),
            (
                r#"{"amp.mcpServers": {"a": {"url": "http://x"}}, "mcp": {"inputs": []}}"#,
                json!({"url": "http://x"}),
            ),
            (
                r#"{"mcpServers": [{"name": "a", "command": "x"}, {"command": "unnamed"}]}"#,
                json!({"name": "a", "command": "x"}),
            ),
        ] {
            let found = servers_of(text).unwrap();
            assert_eq!(found.servers, [("a".to_owned(), expect)], "{text}");
        }
        for (text, word) in [
            ("{", "not JSON"),
            ("{}", "no servers"),
            ("[]", "no servers"),
            (r#"{"servers": {"a": 1}}"#, "not an object"),
            (
                r#"{"extensions": {"a": {"enabled": true}}, "mcp": {"allowed": ["a"]}}"#,
                "no servers",
            ),
        ] {
            assert!(servers_of(text).unwrap_err().contains(word), "{text}");
        }
    }

    #[test]
    fn what_a_file_says_of_its_servers_elsewhere_comes_along() {
        let found = servers_of(
            r#"{"mcpServers": {"a": {"command": "x"}, "b": {"command": "x", "enabled": true},
                "c": {"command": "x", "excludeTools": ["u"]}, "d": {"command": "x"}},
                "mcp": {"excluded": ["b"]}, "permissions": {"deny": ["mcp__c__t", "mcp__d", "Bash"]},
                "tools": {"exclude": ["c__v(x)"]}}"#,
        )
        .unwrap();
        let off = json!({"command": "x", "enabled": false});
        let expect = [
            json!({"command": "x"}),
            off.clone(),
            json!({"command": "x", "excludeTools": ["v", "t", "u"]}),
            off,
        ];
        let entries: Vec<Value> = found.servers.into_iter().map(|(_, entry)| entry).collect();
        assert_eq!(entries, expect);
    }

    #[test]
    fn what_a_client_asks_its_user_for_becomes_a_variable() {
        let found = servers_of(
            r#"{"servers": {"a": {"command": "x", "env": {"KEY": "${input:api-key}", "P": "a${input:1}b${input:api-key}"}, "args": ["${workspaceFolder}", "${input:"]}}}"#,
        )
        .unwrap();
        let (_, entry) = &found.servers[0];
        assert_eq!(entry["env"], json!({"KEY": "${API_KEY}", "P": "a${_1}b${API_KEY}"}));
        assert_eq!(entry["args"], json!(["${workspaceFolder}", "${input:"]));
        assert_eq!(found.variables, ["API_KEY", "_1"]);
    }

    /// The text with one server more, and what a reader makes of it.
    fn merged(text: &str) -> (String, Value) {
        let new = [("new".to_owned(), json!({"command": "n", "args": ["1"]}))];
        let merged = with_servers(text, &new).unwrap();
        let value = parse_to_serde_value(&merged.text, &DIALECT)
            .unwrap_or_else(|error| panic!("{error}: {}", merged.text));
        (merged.text, value)
    }

    #[test]
    fn nothing_of_the_settings_file_is_lost() {
        for text in [
            "",
            "{}",
            "{ }\n",
            "// mine\n{\n  \"systemConfig\": {} // last\n}\n",
            "{\"mcpServers\": {}}",
            "{\n  \"mcpServers\": {\n    \"old\": { \"command\": \"o\" } // kept, and \"quoted\"\n  }\n}\n",
            "{\"mcpServers\": {\"old\": {\"command\": \"o\"}, /* a, b */ }, \"groups\": []}",
            "{\"servers\": {\"old\": {\"command\": \"o\"},\n // end\n}}",
        ] {
            let (made, value) = merged(text);
            let home = value.get("mcpServers").or(value.get("servers")).unwrap();
            assert_eq!(home["new"]["command"], "n", "{made}");
            for part in [
                "// mine",
                "// last",
                "// kept, and \"quoted\"",
                "/* a, b */",
                "// end",
                "\"groups\": []",
                "\"systemConfig\": {}",
            ] {
                assert_eq!(made.contains(part), text.contains(part), "{part}: {made}");
            }
            if text.contains("old") {
                assert_eq!(home["old"]["command"], "o", "{made}");
            }
        }
    }

    #[test]
    fn a_server_that_is_there_stays() {
        let text = "{\"mcpServers\": {\"a\": {\"command\": \"mine\"}}}";
        let merged = with_servers(text, &[("a".to_owned(), json!({"command": "theirs"}))]).unwrap();
        assert_eq!((merged.text.as_str(), merged.kept.as_slice()), (text, &["a".to_owned()][..]));
        assert!(merged.added.is_empty());
        for wrong in ["[]", "{\"mcpServers\": []}", "{"] {
            assert!(with_servers(wrong, &[("a".to_owned(), json!({}))]).is_err(), "{wrong}");
        }
    }
}
