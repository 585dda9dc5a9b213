//! The JSON Schema of the settings file, made of the table of known keys: what the schema does not
//! know, `mooring check` warns of, and the other way round.

mod forms;
mod inner;
mod types;

use serde_json::{Map, Value, json};

use super::reader::keys::{ACCEPTED, IGNORED};
use super::reader::words::{server_words, spellings, tool_lists};

use inner::INNER;
use types::{TYPES, Takes};

/// Where a gateway serves it.
pub const ADDRESS: &str = "/api/schema";

/// The schema, as a text of several lines.
#[must_use]
pub fn text() -> String {
    serde_json::to_string_pretty(&schema()).unwrap_or_default()
}

fn schema() -> Value {
    let mut schema = of_pattern("", Takes::Parent, "The settings of Mooring.");
    if let Some(members) = schema.as_object_mut() {
        members.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        members.insert("title".to_owned(), json!("mcp_settings.json"));
    }
    schema
}

fn of_pattern(pattern: &str, takes: Takes, description: &str) -> Value {
    let mut schema = forms::of(pattern, takes);
    if let Some(schema) = schema.as_object_mut() {
        if !description.is_empty() {
            schema.insert("description".to_owned(), json!(description));
        }
        let is_strict = matches!(takes, Takes::Parent);
        below(pattern, is_strict, schema);
    }
    schema
}

/// What stands below a pattern: named members, members of any name, elements.
fn below(pattern: &str, is_strict: bool, schema: &mut Map<String, Value>) {
    let mut members = Map::new();
    let mut any_name = None;
    for (name, takes, description) in children(pattern) {
        let known = of_pattern(&full(pattern, name), takes, description);
        match name {
            "*" => any_name = Some(known),
            "[]" => {
                schema.insert("items".to_owned(), known.clone());
                if is_strict {
                    let mut made = forms::list(pattern, &known);
                    schema.append(made.as_object_mut().unwrap_or(&mut Map::new()));
                }
            }
            name => {
                for other in spellings::others(&full(pattern, name)) {
                    let mut other_schema = known.clone();
                    other_schema["description"] =
                        json!(format!("As {name}, in other clients' files."));
                    members.insert((*other).to_owned(), other_schema);
                }
                members.insert(name.to_owned(), known);
            }
        }
    }
    if members.is_empty() && any_name.is_none() {
        return;
    }
    if is_strict {
        schema.insert("type".to_owned(), json!(["object", "null"]));
        if forms::is_of_server(pattern) {
            // An empty list.
            schema.insert("type".to_owned(), json!(["object", "array", "null"]));
            schema.insert("maxItems".to_owned(), json!(0));
        }
    }
    for (name, why) in tolerated(pattern) {
        let tolerated = json!({"deprecated": true, "description": why});
        members.entry(name.to_owned()).or_insert(tolerated);
    }
    if pattern.is_empty() {
        for name in server_words::outermost() {
            let description = "Which servers run, as in other clients' files.";
            members.insert(name.to_owned(), json!({"description": description}));
        }
    }
    match any_name {
        Some(any_name) => {
            schema.insert("additionalProperties".to_owned(), any_name);
        }
        // A plugin's own settings stand in the same object.
        None if pattern == "systemConfig.cluster.stickySession" => {}
        None if is_strict => {
            members.insert("$schema".to_owned(), json!({"type": "string"}));
            schema.insert("additionalProperties".to_owned(), json!(false));
        }
        None => {}
    }
    if !members.is_empty() {
        // Remarks, by the habits of files without comments.
        let mut patterns = json!({"^(_|//)": {}});
        if pattern == "mcpServers.*" {
            let list = "A list of tools, as in other clients' files.";
            let names = json!({"type": ["array", "null"], "description": list});
            patterns[tool_lists::expression()] = names;
            let switch = json!({"type": ["boolean", "null"], "description": "Whether it runs."});
            patterns["^([Ii]s_?)?([EeDd](na|isa)bled?|([Ii]n)?[Aa]ctive|[Dd]eactivated)$"] = switch;
        }
        schema.insert("patternProperties".to_owned(), patterns);
        schema.insert("properties".to_owned(), Value::Object(members));
    }
}

fn full(pattern: &str, name: &str) -> String {
    match (pattern, name) {
        ("", name) => name.to_owned(),
        (pattern, "[]") => format!("{pattern}[]"),
        (pattern, name) => format!("{pattern}.{name}"),
    }
}

/// The patterns directly below one, without what stands in front of them.
fn children(pattern: &str) -> impl Iterator<Item = (&'static str, Takes, &'static str)> {
    TYPES.iter().chain(INNER).filter_map(move |(known, takes, description)| {
        let name = directly_below(pattern, known)?;
        Some((name, *takes, *description))
    })
}

fn directly_below<'k>(pattern: &str, known: &'k str) -> Option<&'k str> {
    let rest = match pattern {
        "" => known,
        _ => {
            let rest = known.strip_prefix(pattern)?;
            if rest == "[]" {
                return Some(rest);
            }
            rest.strip_prefix('.')?
        }
    };
    (!rest.contains(['.', '['])).then_some(rest)
}

/// Keys that are there in others' files and do nothing here.
fn tolerated(pattern: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let accepted = ACCEPTED.iter().map(|known| (*known, "MCPHub's; accepted, and not used here."));
    accepted.chain(IGNORED.iter().copied()).filter_map(move |(known, why)| {
        let name = directly_below(pattern, known)?;
        Some((name, why))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::reader::keys::USED;
    use super::super::tests::file;
    use super::*;

    #[test]
    fn every_known_key_is_in_the_schema_and_no_other() {
        let used: BTreeSet<&str> = USED.iter().copied().collect();
        let known: BTreeSet<&str> = TYPES.iter().map(|(pattern, ..)| *pattern).collect();
        assert_eq!(known.len(), TYPES.len(), "a pattern is there twice");
        let missing: Vec<_> = used.difference(&known).collect();
        let more: Vec<_> = known.difference(&used).collect();
        assert!(missing.is_empty() && more.is_empty(), "missing {missing:?}, unknown {more:?}");
    }

    /// The settings with this value at a pattern, and whatever the reader needs around it.
    fn settings(pattern: &str, value: &Value) -> Value {
        let mut made = value.clone();
        for part in pattern.rsplit('.') {
            made = json!({part.replace('*', "one"): made});
        }
        let of_remote = ["headers", "headersFromClaims", "oauth", "proxy", "passthroughHeaders"];
        let is_remote = of_remote.iter().any(|key| pattern == format!("mcpServers.*.{key}"));
        let server =
            if is_remote { json!({"url": "http://h/"}) } else { json!({"command": "true"}) };
        let is_of_coordinator = ["coordinator", "store"]
            .iter()
            .any(|key| pattern.starts_with(&format!("systemConfig.cluster.{key}")));
        let mut base = json!({
            "mcpServers": {"one": server},
            "systemConfig": {"cluster": {
                "enabled": true,
                "token": "a-token-of-16-bytes",
                "mode": if is_of_coordinator { "coordinator" } else { "node" },
                "node": {"coordinatorUrl": "http://c:3000"},
            }},
        });
        merge(&mut base, made);
        base
    }

    fn merge(base: &mut Value, over: Value) {
        match (base, over) {
            (Value::Object(base), Value::Object(over)) => {
                for (key, value) in over {
                    merge(base.entry(key).or_insert(Value::Null), value);
                }
            }
            (base, over) => *base = over,
        }
    }

    /// Everything that the readers say of the settings with this value at the pattern.
    fn said(pattern: &str, value: &Value) -> String {
        let key = format!("{}:", pattern.replace('*', "one"));
        let all = match file(&settings(pattern, value).to_string()).load() {
            Ok(loaded) => {
                let misconfigured =
                    loaded.config.servers.iter().filter_map(|server| server.misconfigured.clone());
                let warnings = loaded.warnings.iter().map(ToString::to_string);
                misconfigured.chain(warnings).collect::<Vec<_>>().join("\n")
            }
            Err(errors) => errors.to_string(),
        };
        all.lines().filter(|line| line.contains(key.trim_end_matches(':'))).collect()
    }

    /// The readers take what the schema takes, to the number, and nothing else.
    #[test]
    fn the_readers_take_what_the_schema_says() {
        // Their own readers have more to say of these than their type.
        let others = [
            "systemConfig.cluster.mode",
            "mcpServers.*.disabled",
            "mcpServers.*.isActive",
            "mcpServers.*.allowPrivileges",
            "mcpServers.*.perSessionClient",
            "mcpServers.*.startOnDemand",
            // Only where there is a program, or tokens are fetched.
            "mcpServers.*.command.args",
            "mcpServers.*.oauth.scopes",
            // VS Code's form counts beside its other members.
            "mcpServers.*.sandbox.network",
            // Of other clients, and refused without Mooring's own words.
            "mcpServers.*.sandboxEnabled",
            // Of remote servers alone.
            "mcpServers.*.oauth.grant",
            "mcpServers.*.oauth.authMethod",
            "mcpServers.*.proxy.enabled",
            "mcpServers.*.proxy.port",
            "mcpServers.*.timeout",
            // One of its words is for remote servers alone.
            "mcpServers.*.era",
            "systemConfig.listen.tls.minVersion",
            "systemConfig.listen.tls.clientCertificates",
            "systemConfig.routing.enableBearerAuth",
        ];
        // Their least value alone is warned of: another limit has to be as low.
        let related = ["requestBody", "bodiesInMemory", "keptAnswers"];
        let mut judged = 0;
        for (pattern, takes, _) in TYPES {
            if pattern.contains("[]") || others.contains(pattern) {
                continue;
            }
            let takes_it = |value: Value| said(pattern, &value).is_empty();
            match takes {
                Takes::Flag => {
                    assert!(takes_it(json!(true)), "{pattern}: {}", said(pattern, &json!(true)));
                    assert!(!takes_it(json!("yes")) && !takes_it(json!(1)), "{pattern}");
                }
                Takes::Whole(least, most) => {
                    let is_related = related.iter().any(|key| pattern.ends_with(key));
                    for good in [least, most].into_iter().skip(usize::from(is_related)) {
                        assert!(
                            takes_it(json!(good)),
                            "{pattern}: {}",
                            said(pattern, &json!(good))
                        );
                    }
                    assert!(!takes_it(json!(most + 1)) && !takes_it(json!("1")), "{pattern}");
                    assert!(*least == 0 || !takes_it(json!(least - 1)), "{pattern}: {least}");
                }
                Takes::Choice(words) => {
                    for word in *words {
                        assert!(
                            takes_it(json!(word)),
                            "{pattern}: {}",
                            said(pattern, &json!(word))
                        );
                    }
                    assert!(!takes_it(json!("no-such-word")), "{pattern}");
                }
                Takes::Ratio => {
                    assert!(takes_it(json!(0)) && takes_it(json!(1)) && takes_it(json!(0.5)));
                    assert!(!takes_it(json!(1.5)) && !takes_it(json!("0.5")), "{pattern}");
                }
                Takes::Texts | Takes::Words(_) | Takes::List => {
                    for wrong in [json!(5), json!(true), json!("text"), json!({"a": 1})] {
                        assert!(!takes_it(wrong.clone()), "{pattern}: {wrong}");
                    }
                }
                Takes::Map => {
                    for wrong in [json!(5), json!(true), json!("text"), json!([1])] {
                        assert!(!takes_it(wrong.clone()), "{pattern}: {wrong}");
                    }
                }
                Takes::Is(types) => {
                    for (kind, other) in [
                        ("integer", json!(5)),
                        ("boolean", json!(true)),
                        ("string", json!("text")),
                        ("array", json!([5])),
                        ("object", json!({"a": 1})),
                    ] {
                        assert!(types.contains(&kind) || !takes_it(other), "{pattern}: {kind}");
                    }
                }
                Takes::Text | Takes::Parent | Takes::Any => continue,
            }
            judged += 1;
        }
        assert!(judged > 50, "{judged}");
    }

    /// What counts as absent, or as empty, is no mistake.
    #[test]
    fn null_is_nothing_everywhere_and_empty_lists_are_empty_objects_in_servers() {
        for (pattern, takes, _) in TYPES {
            let made = of_pattern(pattern, *takes, "");
            let types = made["type"].as_array().or(made["enum"].as_array());
            let is_open = types.is_none() && matches!(takes, Takes::Any | Takes::Parent);
            let takes_null =
                types.is_some_and(|all| all.iter().any(|one| one.is_null() || one == "null"));
            assert!(is_open || takes_null, "{pattern}: {made}");
        }
        let server = &schema()["properties"]["mcpServers"]["additionalProperties"]["properties"];
        let types = |key: &str| server[key]["type"].clone();
        assert_eq!(types("args"), json!(["array", "object", "null"]));
        assert_eq!(server["args"]["maxProperties"], 0);
        assert_eq!(types("env"), json!(["object", "array", "null"]));
        assert_eq!(server["env"]["maxItems"], 0);
    }

    #[test]
    fn the_schema_has_its_members_where_the_file_has_them() {
        let schema = schema();
        let server = &schema["properties"]["mcpServers"]["additionalProperties"];
        assert_eq!(server["properties"]["warm"]["maximum"], 64);
        assert_eq!(server["properties"]["tools"]["additionalProperties"]["type"][0], "object");
        assert_eq!(server["additionalProperties"], false);
        assert_eq!(server["properties"]["httpUrl"]["type"], server["properties"]["url"]["type"]);
        assert_eq!(server["properties"]["autoApprove"]["deprecated"], true);
        let tls =
            &schema["properties"]["systemConfig"]["properties"]["listen"]["properties"]["tls"];
        assert_eq!(
            tls["properties"]["certificates"]["items"]["properties"]["cert"]["type"][0],
            "string"
        );
        let sticky = &schema["properties"]["systemConfig"]["properties"]["cluster"]["properties"]["stickySession"];
        assert!(sticky["additionalProperties"].is_null(), "a plugin has settings of its own");
        let policy = &schema["properties"]["systemConfig"]["properties"]["policy"];
        assert_eq!(policy["items"]["properties"]["who"]["additionalProperties"], false);
    }
}
