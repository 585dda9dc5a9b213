//! The schema of what a key takes, without what stands below it.

use serde_json::{Value, json};

use super::types::Takes;

pub(super) fn of(pattern: &str, takes: Takes) -> Value {
    let one_value = json!({"type": ["string", "number", "boolean", "null"]});
    match takes {
        Takes::Flag => json!({"type": ["boolean", "null"]}),
        Takes::Text => json!({"type": ["string", "null"]}),
        Takes::Whole(least, most) => {
            json!({"type": ["integer", "null"], "minimum": least, "maximum": most})
        }
        Takes::Ratio => json!({"type": ["number", "null"], "minimum": 0, "maximum": 1}),
        Takes::Choice(words) => json!({"enum": and(words, Value::Null)}),
        Takes::Texts => list(pattern, &json!({"type": ["string", "null"]})),
        Takes::Words(words) => list(pattern, &json!({"enum": words})),
        Takes::List => list(pattern, &one_value),
        Takes::Map => map(pattern, &one_value),
        Takes::Is(types) => json!({"type": and(types, json!("null"))}),
        Takes::Parent | Takes::Any => json!({}),
    }
}

/// The words, and what stands for nothing.
fn and(words: &[&str], nothing: Value) -> Vec<Value> {
    words.iter().map(|word| json!(word)).chain([nothing]).collect()
}

/// Dashboards write an empty object for an empty list of a server, and the other way round.
pub(super) fn is_of_server(pattern: &str) -> bool {
    pattern.starts_with("mcpServers.*.")
}

pub(super) fn list(pattern: &str, element: &Value) -> Value {
    match is_of_server(pattern) {
        true => json!({"type": ["array", "object", "null"], "items": element, "maxProperties": 0}),
        false => json!({"type": ["array", "null"], "items": element}),
    }
}

fn map(pattern: &str, member: &Value) -> Value {
    let mut made = json!({"type": ["object", "null"], "additionalProperties": member});
    if is_of_server(pattern) {
        made["type"] = json!(["object", "array", "null"]);
        made["maxItems"] = json!(0);
    }
    made
}
