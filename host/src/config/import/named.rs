//! Variables that a client's file names without `${…}`: Codex and Goose have keys for them. A gateway
//! has the variables themselves.

use serde_json::{Map, Value};

/// Lists of variables that the client passes on to the server.
const PASSED_ON: [&str; 2] = ["env_vars", "env_keys"];
/// Headers whose values are in variables.
const OF_HEADERS: &str = "env_http_headers";
/// The variable with a bearer token.
const OF_TOKEN: &str = "bearer_token_env_var";

/// Writes what such keys mean; one that says something else stays, and is warned of. `variables` gets
/// the names.
pub(super) fn write_out(entry: &mut Map<String, Value>, variables: &mut Vec<String>) {
    for key in PASSED_ON {
        let Some(names) = entry.get(key).and_then(names) else { continue };
        entry.remove(key);
        for name in names {
            let value = reference(&name, variables);
            insert(entry, &["env", "environment", "envs"], name, value);
        }
    }
    let of_headers = entry.get(OF_HEADERS).and_then(Value::as_object).cloned();
    let is_text = |headers: &Map<String, Value>| headers.values().all(Value::is_string);
    if let Some(headers) = of_headers.filter(is_text) {
        entry.remove(OF_HEADERS);
        for (header, name) in headers {
            let value = reference(name.as_str().unwrap_or_default(), variables);
            insert(entry, HEADERS, header, value);
        }
    }
    if let Some(name) = entry.get(OF_TOKEN).and_then(Value::as_str).map(str::to_owned) {
        entry.remove(OF_TOKEN);
        let value = format!("Bearer {}", reference(&name, variables));
        insert(entry, HEADERS, "Authorization".to_owned(), value);
    }
}

const HEADERS: &[&str] = &["headers", "http_headers", "httpHeaders", "static_headers"];

fn reference(name: &str, variables: &mut Vec<String>) -> String {
    variables.push(name.to_owned());
    format!("${{{name}}}")
}

/// Texts, or objects that have one as their name.
fn names(list: &Value) -> Option<Vec<String>> {
    let name = |one: &Value| one.as_str().or(one["name"].as_str()).map(str::to_owned);
    list.as_array()?.iter().map(name).collect()
}

/// Adds a member to the object that has one of these names, or to a new one of the first. One that is
/// there stays.
fn insert(entry: &mut Map<String, Value>, homes: &[&str], name: String, value: String) {
    let home = homes.iter().find(|home| entry.get(**home).is_some_and(Value::is_object));
    let home = home.or(homes.first()).copied().unwrap_or_default();
    let members = entry.entry(home).or_insert_with(|| Value::Object(Map::new()));
    if let Some(members) = members.as_object_mut()
        && !members.contains_key(&name)
    {
        members.insert(name, Value::String(value));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn written(entry: Value) -> (Value, Vec<String>) {
        let Value::Object(mut entry) = entry else { panic!("{entry}") };
        let mut variables = Vec::new();
        write_out(&mut entry, &mut variables);
        (Value::Object(entry), variables)
    }

    #[test]
    fn variables_are_written_where_they_are_meant() {
        let codex = json!({"url": "https://x/", "http_headers": {"A": "b"}, "bearer_token_env_var": "TOKEN",
            "env_http_headers": {"X-Key": "KEY", "A": "OTHER"}});
        let (entry, variables) = written(codex);
        let headers = json!({"A": "b", "X-Key": "${KEY}", "Authorization": "Bearer ${TOKEN}"});
        assert_eq!(entry, json!({"url": "https://x/", "http_headers": headers}));
        assert_eq!(variables, ["KEY", "OTHER", "TOKEN"]);
        let (entry, _) =
            written(json!({"command": "x", "env": {"A": "1"}, "env_vars": ["A", {"name": "B"}]}));
        assert_eq!(entry, json!({"command": "x", "env": {"A": "1", "B": "${B}"}}));
    }

    #[test]
    fn what_is_no_name_stays() {
        for entry in [
            json!({"command": "x", "env_vars": [5]}),
            json!({"url": "https://x/", "env_http_headers": {"A": 5}}),
            json!({"url": "https://x/", "bearer_token_env_var": null}),
        ] {
            assert_eq!(written(entry.clone()).0, entry);
        }
    }
}
