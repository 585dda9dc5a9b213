//! The arguments of tools that save and restore state: placeholders in their strings are replaced.
//!
//! | placeholder | value |
//! |---|---|
//! | `{{session}}` | the session's uuid |
//! | `{{state}}` | what was saved: JSON if it is, else text |
//! | `{{state/a/0}}` | a part of it, by a JSON pointer |
//! | `{{state:text}}` | the text that was saved |
//! | `{{state:json}}` | the value as JSON text, such as for a script |
//!
//! A string that is one placeholder becomes its value. Within a longer one, strings stand as they
//! are and other values as JSON.

use serde_json::{Map, Value};

use crate::protocol::splice;

/// Objects within objects that are followed.
const DEEPEST: usize = 64;

/// What was saved, as arguments see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedValue {
    text: String,
    value: Value,
}

impl SavedValue {
    /// The state in a tool's result.
    #[must_use]
    pub fn of_result(result: &[u8]) -> Option<Self> {
        let result: Value = serde_json::from_slice(result).ok()?;
        let texts = result.get("content").and_then(Value::as_array).into_iter().flatten();
        let texts = texts.filter_map(|part| part.get("text").and_then(Value::as_str));
        let text = texts.collect::<Vec<_>>().join("\n");
        match result.get("structuredContent") {
            Some(value) => {
                let text = if text.is_empty() { value.to_string() } else { text };
                Some(Self { text, value: value.clone() })
            }
            None => Some(Self::of_text(text)),
        }
    }

    /// The state that a program has written.
    #[must_use]
    pub fn of_text(text: String) -> Self {
        let value = serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text.clone()));
        Self { text, value }
    }

    /// As a program reads it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// The parameters of a call of a tool with these arguments.
///
/// # Errors
/// As [`filled`].
pub fn call_of(
    tool: &str,
    arguments: &str,
    session: &str,
    saved: Option<&SavedValue>,
) -> Result<String, String> {
    let arguments = filled(arguments, session, saved)?;
    Ok(format!("{{\"name\":{},\"arguments\":{arguments}}}", splice::quoted(tool)))
}

/// The arguments, which are JSON of an object, with their placeholders replaced.
///
/// # Errors
/// What a placeholder names and the state does not have.
fn filled(arguments: &str, session: &str, saved: Option<&SavedValue>) -> Result<String, String> {
    let mut value: Value = serde_json::from_str(arguments)
        .ok()
        .filter(Value::is_object)
        .unwrap_or_else(|| Value::Object(Map::new()));
    fill(&mut value, session, saved, 0)?;
    Ok(value.to_string())
}

fn fill(
    value: &mut Value,
    session: &str,
    saved: Option<&SavedValue>,
    depth: usize,
) -> Result<(), String> {
    if depth > DEEPEST {
        return Ok(());
    }
    match value {
        Value::String(text) => {
            if let Some(filled) = text_filled(text, session, saved)? {
                *value = filled;
            }
        }
        Value::Array(values) => {
            for value in values {
                fill(value, session, saved, depth + 1)?;
            }
        }
        Value::Object(members) => {
            for (_, value) in members.iter_mut() {
                fill(value, session, saved, depth + 1)?;
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    Ok(())
}

/// `None` if the text has no placeholder.
fn text_filled(
    text: &str,
    session: &str,
    saved: Option<&SavedValue>,
) -> Result<Option<Value>, String> {
    let mut out = String::new();
    let (mut rest, mut found) = (text, false);
    while let Some(begin) = rest.find("{{") {
        let (before, from) = rest.split_at(begin);
        out.push_str(before);
        let end = from.find("}}");
        let name = end.and_then(|end| from.get(2..end));
        let value = match name {
            Some(name) => meant(name, session, saved)?,
            None => None,
        };
        let (Some(value), Some(end)) = (value, end) else {
            // It is no placeholder: braces stand in scripts, too.
            out.push_str("{{");
            rest = from.get(2..).unwrap_or_default();
            continue;
        };
        found = true;
        rest = from.get(end + 2..).unwrap_or_default();
        if before.is_empty() && out.is_empty() && rest.is_empty() {
            return Ok(Some(value));
        }
        match value {
            Value::String(text) => out.push_str(&text),
            other => out.push_str(&other.to_string()),
        }
    }
    out.push_str(rest);
    Ok(found.then_some(Value::String(out)))
}

/// The value of a placeholder; `None` if it is none.
fn meant(name: &str, session: &str, saved: Option<&SavedValue>) -> Result<Option<Value>, String> {
    if name == "session" {
        return Ok(Some(Value::String(session.to_owned())));
    }
    let Some(rest) = name.strip_prefix("state") else { return Ok(None) };
    let Some(saved) = saved else { return Ok(None) };
    Ok(match rest {
        "" => Some(saved.value.clone()),
        ":text" => Some(Value::String(saved.text.clone())),
        ":json" => Some(Value::String(saved.value.to_string())),
        pointer if pointer.starts_with('/') => match saved.value.pointer(pointer) {
            Some(value) => Some(value.clone()),
            None => return Err(format!("what was saved has no {pointer}")),
        },
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_become_values_or_parts_of_texts() {
        let result = br#"{"content":[{"type":"text","text":"t"}],
            "structuredContent":{"a":[1,{"b":"c"}],"s":"x\"y"}}"#;
        let saved = SavedValue::of_result(result).unwrap();
        for (arguments, expect) in [
            (r#"{"v":"{{state}}"}"#, r#"{"v":{"a":[1,{"b":"c"}],"s":"x\"y"}}"#),
            (r#"{"v":["{{state/a/1/b}}","{{state/a}}"]}"#, r#"{"v":["c",[1,{"b":"c"}]]}"#),
            (r#"{"v":"f({{state/a}}, {{state/s}})"}"#, r#"{"v":"f([1,{\"b\":\"c\"}], x\"y)"}"#),
            (r#"{"v":"{{state:text}}!"}"#, r#"{"v":"t!"}"#),
            (r#"{"v":"{{session}}.json","n":1}"#, r#"{"n":1,"v":"id.json"}"#),
            (r#"{"v":"{{ other }} {{ {{state:text}}"}"#, r#"{"v":"{{ other }} {{ t"}"#),
            (r#"{"v":"{{"}"#, r#"{"v":"{{"}"#),
        ] {
            let filled = filled(arguments, "id", Some(&saved)).unwrap();
            let (filled, expect): (Value, Value) =
                (serde_json::from_str(&filled).unwrap(), serde_json::from_str(expect).unwrap());
            assert_eq!(filled, expect, "{arguments}");
        }
        assert!(filled(r#"{"v":"{{state/no}}"}"#, "id", Some(&saved)).is_err());
    }

    #[test]
    fn a_text_that_is_json_is_read_and_another_one_stands() {
        assert_eq!(SavedValue::of_text("[1]".into()).value, serde_json::json!([1]));
        assert_eq!(SavedValue::of_text("a b".into()).value, serde_json::json!("a b"));
        let of_text = SavedValue::of_result(br#"{"content":[{"type":"text","text":"{\"a\":1}"}]}"#);
        assert_eq!(of_text.unwrap().value, serde_json::json!({"a": 1}));
    }
}
