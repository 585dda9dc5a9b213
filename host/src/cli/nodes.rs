//! `mooring nodes`: the nodes of a coordinator.

use std::process::ExitCode;

use http::Method;
use serde_json::Value;

use crate::model::UnixMillis;
use crate::model::visible;

use super::gateway::{self, Gateway};
use super::table::{age, bytes, known, table};
use super::terminal;

const HEAD: [&str; 9] =
    ["NODE", "STATUS", "ROOM", "SERVERS", "PROCESSES", "FREE", "LOAD", "HEARD", "VERSION"];

pub fn run(gateway: &Gateway, json: bool) -> ExitCode {
    let nodes =
        gateway.call(Method::GET, "/api/cluster/nodes").and_then(|text| gateway::data(&text));
    let nodes = match nodes {
        Ok(nodes) => nodes,
        Err(why) => return super::failed(&why),
    };
    if json {
        terminal::say(visible::json(&nodes.to_string()));
        return ExitCode::SUCCESS;
    }
    let now = UnixMillis::now();
    let rows = nodes.as_array().into_iter().flatten().map(|node| row(node, now));
    terminal::say(table(HEAD, &rows.collect::<Vec<_>>()).trim_end());
    ExitCode::SUCCESS
}

fn row(node: &Value, now: UnixMillis) -> [String; HEAD.len()] {
    let text = |value: &Value| known(value.as_str().map(str::to_owned));
    let load = &node["load"];
    let heard = node["lastHeartbeat"].as_u64().map(|at| age(now.since(UnixMillis(at)).as_secs()));
    [
        text(&node["id"]),
        status(node),
        text(&node["room"]),
        known(node["servers"].as_array().map(|servers| servers.len().to_string())),
        known(
            load["children"]
                .as_u64()
                .zip(load["slots"].as_u64())
                .map(|(n, of)| format!("{n}/{of}")),
        ),
        known(load["freeMemory"].as_u64().map(bytes)),
        known(load["loadAverage"].as_f64().map(|load| format!("{load:.2}"))),
        known(heard),
        text(&node["version"]),
    ]
}

/// The node's status, or what is more: a node that is active may not answer.
fn status(node: &Value) -> String {
    let is = |name: &str| node[name] == true;
    let status = node["status"].as_str().unwrap_or("unknown");
    let more = match status {
        "active" if is("silent") => "silent",
        "active" if node["drain"]["drained"] == true => "drained",
        "active" if is("draining") => "draining",
        "active" if is("suspect") => "suspect",
        other => other,
    };
    more.to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_is_one_row_and_what_is_unknown_is_a_dash() {
        let node = json!({
            "id": "a", "status": "active", "silent": true, "room": "free", "servers": ["x", "y"],
            "lastHeartbeat": 1000, "version": "1",
            "load": {"children": 2, "slots": 500, "freeMemory": 2 << 20, "loadAverage": 0.5},
        });
        let row_of = |node: &Value| row(node, UnixMillis(62_000)).join(" ");
        assert_eq!(row_of(&node), "a silent free 2 2/500 2.0M 0.50 1m1s 1");
        assert_eq!(row_of(&json!({"id": "b", "status": "unhealthy"})), "b unhealthy - - - - - - -");
        for (extra, expect) in [
            (json!({"status": "active", "draining": true}), "draining"),
            (json!({"status": "active", "draining": true, "drain": {"drained": true}}), "drained"),
            (json!({"status": "unhealthy", "silent": true}), "unhealthy"),
            (json!({"status": "active"}), "active"),
        ] {
            assert_eq!(status(&extra), expect);
        }
    }
}
