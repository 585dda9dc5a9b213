//! Servers in places where they are not looked for, as in files of other clients.

use jsonc_parser::ast::{Object, ObjectProp, Value};

use crate::config::reader::place::{Place, quote};

/// Strings by which an entry shows that it is a server.
const TELLING: [&str; 7] = ["command", "url", "serverUrl", "httpUrl", "baseUrl", "cmd", "uri"];

/// How deep servers are looked for.
const DEEPEST: usize = 4;

/// What to do with an unknown key of the file that holds a server, or several.
pub(in crate::config) fn advice(place: &Place, property: &ObjectProp<'_>) -> Option<String> {
    if !place.pattern.is_empty() {
        return None;
    }
    let object = property.value.as_object()?;
    let name = quote(property.name.as_str());
    if is_server(object) {
        return Some(format!(
            "it looks like a server: put it into \"mcpServers\": {{ {name}: … }}"
        ));
    }
    if holds_servers(object) {
        return Some("its entries look like servers: put them into \"mcpServers\"".to_owned());
    }
    let inner = quote(&path_to_servers(object, DEEPEST)?);
    Some(format!("the entries of its {inner} look like servers: put them into \"mcpServers\""))
}

/// The names that lead to an object within this one whose entries look like servers.
fn path_to_servers(object: &Object<'_>, depth: usize) -> Option<String> {
    let within = || {
        object
            .properties
            .iter()
            .filter_map(|inner| Some((inner.name.as_str(), inner.value.as_object()?)))
    };
    if let Some((name, _)) = within().find(|(_, inner)| holds_servers(inner)) {
        return Some(name.to_owned());
    }
    let depth = depth.checked_sub(1)?;
    within().find_map(|(name, inner)| Some(format!("{name}.{}", path_to_servers(inner, depth)?)))
}

/// Whether an entry of the object looks like a server.
pub(in crate::config) fn holds_servers(object: &Object<'_>) -> bool {
    object.properties.iter().any(|entry| entry.value.as_object().is_some_and(is_server))
}

fn is_server(object: &Object<'_>) -> bool {
    TELLING.iter().any(|key| {
        let value = object.get(key).map(|property| &property.value);
        matches!(value, Some(Value::StringLit(_) | Value::Array(_)))
    })
}
