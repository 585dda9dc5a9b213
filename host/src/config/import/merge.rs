//! Puts servers into a settings file without anything of it being lost.

use jsonc_parser::ast::{Object, Value as Tree};
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, parse_to_ast};
use serde_json::Value;

use crate::config::reader::document::{DIALECT, without_bom};

/// A settings file with more servers in it.
#[derive(Debug, PartialEq, Eq)]
pub struct Merged {
    pub text: String,
    pub added: Vec<String>,
    /// Servers of these names were there already, and stay as they are.
    pub kept: Vec<String>,
}

/// A settings file with these servers added at the end of its own, everything else as it was: its
/// comments, its order, its spaces. An empty text becomes a file.
///
/// # Errors
/// Why the settings file cannot be added to.
pub fn with_servers(settings: &str, servers: &[(String, Value)]) -> Result<Merged, String> {
    let text = without_bom(settings);
    let mark = &settings[..settings.len() - text.len()];
    let mut merged = merged(text, servers)?;
    if text.contains("\r\n") {
        merged.text = merged.text.replace("\r\n", "\n").replace('\n', "\r\n");
    }
    merged.text.insert_str(0, mark);
    Ok(merged)
}

fn merged(settings: &str, servers: &[(String, Value)]) -> Result<Merged, String> {
    if settings.trim().is_empty() {
        let (text, added) = ("{\n}\n".to_owned(), Vec::new());
        let merged = Merged { text, added, kept: Vec::new() };
        return self::merged(&merged.text, servers);
    }
    let parsed = parse_to_ast(settings, &CollectOptions::default(), &DIALECT)
        .map_err(|error| format!("is not JSON: {error}"))?;
    let Some(Tree::Object(root)) = &parsed.value else {
        return Err("is not an object".to_owned());
    };
    let home =
        ["mcpServers", "servers", "context_servers"].into_iter().find_map(|key| root.get(key));
    let twice = |name: &str| {
        root.properties.iter().filter(|property| property.name.as_str() == name).count() > 1
    };
    if let Some(name) = home.map(|property| property.name.as_str()).filter(|name| twice(name)) {
        return Err(format!("{name} is there twice; make one of them"));
    }
    let own = match home.map(|property| &property.value) {
        None => None,
        Some(Tree::NullKeyword(null)) => {
            // Nothing, which becomes an object.
            let range = null.range();
            let text = [&settings[..range.start], "{}", &settings[range.end..]].concat();
            return self::merged(&text, servers);
        }
        Some(Tree::Object(own)) => Some(own),
        Some(_) => {
            let name = home.map_or("mcpServers", |property| property.name.as_str());
            return Err(format!(
                "its {name} is not an object; write it as {{ \"name\": {{ … }} }}, or choose another \
                 file (--output)"
            ));
        }
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
            let block = format!("\"mcpServers\": {{\n{}\n}}", indented(&members(&new), 1));
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
    use jsonc_parser::parse_to_serde_value;
    use serde_json::json;

    use super::*;

    /// The text with one server more, and what a reader makes of it.
    fn merged(text: &str) -> (String, Value) {
        let new = [("new".to_owned(), json!({"command": "n", "args": ["1"]}))];
        let merged = with_servers(text, &new).unwrap();
        let value = parse_to_serde_value(&merged.text, &DIALECT)
            .unwrap_or_else(|error| panic!("{error}: {}", merged.text));
        (merged.text, value)
    }

    #[test]
    fn a_byte_order_mark_line_ends_and_null_are_kept_or_filled() {
        let new = [("new".to_owned(), json!({"command": "x", "args": ["y"]}))];
        let before = "\u{feff}{\r\n  \"mcpServers\": {\r\n    \"a\": { \"command\": \"mine\" } // keep\r\n  }\r\n}\r\n";
        let merged = with_servers(before, &new).unwrap();
        assert!(merged.text.starts_with("\u{feff}{\r\n") && merged.text.contains("// keep\r\n"));
        assert!(!merged.text.replace("\r\n", "").contains('\n'), "{:?}", merged.text);
        let read: Value = parse_to_serde_value(without_bom(&merged.text), &DIALECT).unwrap();
        assert_eq!(read["mcpServers"]["new"], new[0].1);
        let merged = with_servers("{ \"mcpServers\": null, \"groups\": [] }", &new).unwrap();
        let read: Value = serde_json::from_str(&merged.text).unwrap();
        assert_eq!((&read["mcpServers"]["new"], &read["groups"]), (&new[0].1, &json!([])));
        let why = with_servers("{\"mcpServers\": {}, \"mcpServers\": {}}", &new).unwrap_err();
        assert!(why.contains("twice"), "{why}");
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
    fn each_level_is_two_spaces_deeper() {
        let new = [("a".to_owned(), json!({"command": "x"}))];
        let members =
            "{\n  \"mcpServers\": {\n    \"a\": {\n      \"command\": \"x\"\n    }\n  }\n}\n";
        for text in ["", "{}\n", "{\n  \"mcpServers\": {}\n}\n"] {
            assert_eq!(with_servers(text, &new).unwrap().text, members, "{text:?}");
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
