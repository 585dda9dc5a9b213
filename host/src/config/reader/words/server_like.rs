//! Servers in places where they are not looked for, as in files of other clients.

use jsonc_parser::ast::{Object, ObjectProp, Value};

use crate::config::reader::place::{Place, quote};

/// Strings by which an entry shows that it is a server.
const TELLING: [&str; 5] = ["command", "url", "serverUrl", "httpUrl", "baseUrl"];

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
    let inner = object
        .properties
        .iter()
        .find(|inner| inner.value.as_object().is_some_and(holds_servers))?;
    let inner = quote(inner.name.as_str());
    Some(format!("the entries of its {inner} look like servers: put them into \"mcpServers\""))
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
