//! Servers of clients' files, and how they get into a settings file.
//!
//! Most entries need no change, since the readers of settings know the spellings of clients. What
//! differs is where the servers stand, how their file is written, and forms that no other reader has.

mod form;
mod homes;
mod merge;
mod named;

use serde_json::{Map, Value};

use crate::config::reader::document::without_bom;
use crate::config::reader::known_keys::is_note;
use crate::config::sections::server_lists::ServerLists;

pub use form::FileForm;
pub use merge::{Merged, with_servers};

/// Servers of one file.
const MAX_SERVERS: usize = 10_000;
/// Members of Zed's entries that say nothing to a gateway.
const OF_ZED: [&str; 2] = ["source", "settings"];

/// The servers of a file, in its order.
#[derive(Debug, Default, PartialEq)]
pub struct ForeignServers {
    pub servers: Vec<(String, Value)>,
    /// Variables that have to be set: the client has them of its user, or of its own environment.
    pub variables: Vec<String>,
    /// Names that several projects of the client have of different servers, of which the first is here.
    pub doubled: Vec<String>,
    /// Names of what is no server: the client has it built in.
    pub left_out: Vec<String>,
}

/// The servers of a client's file.
///
/// # Errors
/// Why there are none.
pub fn servers_of(text: &str, form: FileForm) -> Result<ForeignServers, String> {
    let file = form.read(without_bom(text))?;
    let found = homes::of_file(&file).ok_or_else(|| {
        "has no servers: neither mcpServers, servers, mcp.servers, context_servers, mcp_servers nor \
         extensions"
            .to_owned()
    })?;
    let lists = ServerLists::of_file(&file);
    if found.servers.len() > MAX_SERVERS {
        return Err(format!("has more than {MAX_SERVERS} servers"));
    }
    let mut servers = ForeignServers {
        doubled: found.doubled,
        left_out: found.left_out,
        ..ForeignServers::default()
    };
    for (name, entry) in found.servers.iter().filter(|(name, _)| !is_note(name)) {
        let Some(entry) = entry.as_object() else {
            return Err(format!("the server {name:?} is not an object"));
        };
        let mut entry = flat(entry);
        named::write_out(&mut entry, &mut servers.variables);
        let mut entry = Value::Object(entry);
        name_inputs(&mut entry, &mut servers.variables);
        restrict(&mut entry, name, &lists);
        servers.servers.push((name.clone(), entry));
    }
    servers.variables.sort();
    servers.variables.dedup();
    Ok(servers)
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn servers_of(text: &str) -> Result<ForeignServers, String> {
        super::servers_of(text, FileForm::Json)
    }

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
}
