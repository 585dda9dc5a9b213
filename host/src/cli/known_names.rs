//! Whether a gateway knows the names that somebody has typed: what is filtered by a wrong one looks as
//! if there were nothing.

use http::Method;
use serde_json::Value;

use crate::net::percent_encoded;

use super::gateway::{self, Gateway};

/// The text about a server that nobody has.
pub fn no_server(name: &str, node: Option<&str>) -> String {
    let at = node.map(|node| format!(" on node {node}")).unwrap_or_default();
    format!("no server has the name {name:?}{at}; `mooring ps` lists all")
}

/// Fails if the gateway knows no such server, or no such node.
///
/// # Errors
/// Which name is unknown, or why the gateway did not say.
pub fn check(gateway: &Gateway, server: Option<&str>, node: Option<&str>) -> Result<(), String> {
    if server.is_none() && node.is_none() {
        return Ok(());
    }
    let mut path = "/api/cluster/instances?limit=1&lines=0".to_owned();
    for (name, value) in [("server", server), ("node", node)] {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", percent_encoded(value)));
        }
    }
    let data = gateway.call(Method::GET, &path).and_then(|text| gateway::data(&text))?;
    let is_empty = |part: &str| data[part].as_array().is_none_or(Vec::is_empty);
    match server {
        // A page of one instance may end before the node that has the server.
        Some(name)
            if is_empty("servers") && is_empty("instances") && data["next"] == Value::Null =>
        {
            Err(no_server(name, node))
        }
        _ => Ok(()),
    }
}
