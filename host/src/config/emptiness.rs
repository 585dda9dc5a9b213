//! A configuration without a server that runs: what is in the file instead.

use jsonc_parser::ast::{Object, Value};

use super::Config;
use super::reader::document::SERVERS;
use super::reader::finding::Finding;
use super::reader::place::quote;

/// Most keys that are named.
const MAX_KEYS: usize = 12;

/// What to tell of a file without servers that run; `None` if there is one, or if none is needed.
pub(in crate::config) fn of(
    config: &Config,
    root: Option<&Object<'_>>,
    label: &str,
) -> Option<Finding> {
    if !config.runs_no_server() {
        return None;
    }
    let (message, advice) = match config.servers.len() {
        0 => (format!("0 servers: {}", found(root)), "put servers into \"mcpServers\""),
        count => {
            let off = config.servers.iter().filter(|server| !server.enabled).count();
            let broken = count - off;
            let message =
                format!("0 of {count} servers in it run: {off} off, {broken} misconfigured");
            (message, "mooring check shows why")
        }
    };
    Some(Finding {
        file: label.to_owned(),
        line: 0,
        column: 0,
        key: String::new(),
        message,
        advice: advice.to_owned(),
    })
}

/// Whether the file says itself that it has no servers, with a list of servers in which there are none.
/// A file that is empty, as while it is being written, or whose list is called otherwise, does not.
pub(in crate::config) fn is_meant(root: Option<&Object<'_>>) -> bool {
    let properties = root.into_iter().flat_map(|root| &root.properties);
    let mut lists = properties.filter(|property| SERVERS.contains(&property.name.as_str()));
    lists.any(|list| matches!(list.value, Value::Object(_)))
}

fn found(root: Option<&Object<'_>>) -> String {
    let names: Vec<String> = root
        .map(|root| root.properties.iter().map(|property| quote(property.name.as_str())).collect())
        .unwrap_or_default();
    let shown = names.iter().take(MAX_KEYS).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => "it has no keys".to_owned(),
        count if count > MAX_KEYS => format!("its keys are {shown}, and {} more", count - MAX_KEYS),
        1 => format!("its only key is {shown}"),
        _ => format!("its keys are {shown}"),
    }
}
