//! MCP Apps on aggregates: tools for clients with an extension, and their user interfaces.

use mooring_tests::odd_server::{answer, initialized};
use mooring_tests::{OddServer, Way, eventually};
use serde_json::{Map, Value, json};

use super::{Place, wait_for_tools};

const UI: &str = "io.modelcontextprotocol/ui";

/// A server with a tool for everybody, and one whose user interface only some clients can show.
fn app(way: Way, text: &'static str, is_listed: bool) -> OddServer {
    // Each connection has asked with what it has said of itself first.
    let has_ui = std::sync::Mutex::new(std::collections::HashMap::new());
    OddServer::start(way, move |session, message, say| {
        if message["method"] == "initialize" {
            let ui = &message["params"]["capabilities"]["extensions"][UI];
            let is_app = ui["mimeTypes"][0] == "text/html;profile=mcp-app";
            has_ui.lock().unwrap().insert(session, is_app);
            return say(answer(
                message,
                &initialized(message, &json!({"tools": {}, "resources": {}})),
            ));
        }
        if message["id"].is_null() {
            return;
        }
        let result = match message["method"].as_str().unwrap_or("") {
            "tools/list" => {
                let mut tools = vec![json!({"name": "plain", "inputSchema": {"type": "object"}})];
                if has_ui.lock().unwrap().get(&session) == Some(&true) {
                    tools.push(json!({
                        "name": "chart", "inputSchema": {"type": "object"},
                        "_meta": {"ui": {"resourceUri": "ui://app/main.html"}, "ui/resourceUri": "ui://app/main.html"},
                    }));
                }
                json!({"tools": tools})
            }
            "resources/list" if is_listed => {
                json!({"resources": [{"uri": "ui://app/main.html", "name": "main"}]})
            }
            "resources/list" => json!({"resources": []}),
            "resources/templates/list" => json!({"resourceTemplates": []}),
            "resources/read" => {
                json!({"contents": [{"uri": message["params"]["uri"], "text": text}]})
            }
            _ => json!({}),
        };
        say(answer(message, &result));
    })
}

fn with_ui(place: &Place, path: &str) -> mooring_tests::Session {
    let ui = json!({"mimeTypes": ["text/html;profile=mcp-app"]});
    let params = json!({
        "protocolVersion": "2025-11-25", "capabilities": {"extensions": {UI: ui}},
        "clientInfo": {"name": "host", "version": "1"},
    });
    place.client(path).params(params).initialize()
}

#[test]
fn tools_for_clients_with_an_extension_are_offered_to_them() {
    let servers = Way::ALL.map(|way| (way, app(way, way.name(), true)));
    let entries: Map<String, Value> =
        servers.iter().map(|(way, server)| (way.name().to_owned(), server.entry())).collect();
    for place in Place::each(&entries) {
        let plain = place.client("/mcp").initialize();
        wait_for_tools(&plain, &["stdio-plain", "http-plain", "sse-plain"]);
        let host = with_ui(&place, "/mcp");
        let all =
            Way::ALL.map(|way| ["plain", "chart"].map(|tool| format!("{}-{tool}", way.name())));
        let all: Vec<&str> = all.iter().flatten().map(String::as_str).collect();
        wait_for_tools(&host, &all);
        wait_for_tools(&plain, &["stdio-plain", "http-plain", "sse-plain"]);
    }
}

#[test]
fn a_tools_user_interface_is_read_from_its_own_server() {
    for is_listed in [true, false] {
        let servers = Way::ALL.map(|way| (way, app(way, way.name(), is_listed)));
        let entries: Map<String, Value> =
            servers.iter().map(|(way, server)| (way.name().to_owned(), server.entry())).collect();
        for place in Place::each(&entries) {
            let host = with_ui(&place, "/mcp");
            for way in Way::ALL {
                let name = format!("{}-chart", way.name());
                let tool = eventually("the tool", || {
                    let page = host.request("tools/list", json!({}));
                    page["tools"].as_array()?.iter().find(|tool| tool["name"] == name).cloned()
                });
                let uri = &tool["_meta"]["ui"]["resourceUri"];
                assert_eq!(*uri, tool["_meta"]["ui/resourceUri"], "{tool}");
                let read = host.answer("resources/read", json!({"uri": uri}));
                assert_eq!(read["result"]["contents"][0]["text"], way.name(), "{tool} {read}");
                assert_eq!(read["result"]["contents"][0]["uri"], *uri, "{read}");
            }
            if is_listed {
                let mut uris = host.list("resources", "uri");
                uris.sort();
                uris.dedup();
                assert_eq!(uris.len(), 3, "{uris:?}");
            }
        }
    }
}
