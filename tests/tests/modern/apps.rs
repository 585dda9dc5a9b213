//! MCP Apps on aggregates, for clients without sessions: each request says what its client can show.

use std::collections::HashMap;
use std::sync::Mutex;

use mooring_tests::odd_server::{answer, initialized};
use mooring_tests::{Front, Gateway, OddServer, Stateless, Way, eventually, settings};
use serde_json::{Map, Value, json};

use super::{both, stateless};

const UI: &str = "io.modelcontextprotocol/ui";
const PAGE: &str = "ui://app/main.html";

/// A server that offers a tool with a user interface to those that can show it.
fn app(way: Way) -> OddServer {
    let can_show = Mutex::new(HashMap::new());
    OddServer::start(way, move |session, message, say| {
        if message["method"] == "initialize" {
            let declared = message["params"]["capabilities"]["extensions"][UI].is_object();
            can_show.lock().unwrap().insert(session, declared);
            let capabilities = json!({"tools": {}, "resources": {}});
            return say(answer(message, &initialized(message, &capabilities)));
        }
        if message["id"].is_null() {
            return;
        }
        let shows = can_show.lock().unwrap().get(&session) == Some(&true);
        let result = match message["method"].as_str().unwrap_or("") {
            "tools/list" if shows => json!({"tools": [
                {"name": "plain", "inputSchema": {"type": "object"}},
                {"name": "chart", "inputSchema": {"type": "object"}, "_meta": {"ui": {"resourceUri": PAGE}}},
            ]}),
            "tools/list" => {
                json!({"tools": [{"name": "plain", "inputSchema": {"type": "object"}}]})
            }
            "resources/list" => json!({"resources": [{"uri": PAGE, "name": "main"}]}),
            "resources/templates/list" => json!({"resourceTemplates": []}),
            "resources/read" => {
                json!({"contents": [{"uri": message["params"]["uri"], "text": way.name()}]})
            }
            "tools/call" => json!({"content": [{"type": "text", "text": way.name()}]}),
            _ => json!({}),
        };
        say(answer(message, &result));
    })
}

#[test]
fn tools_with_a_user_interface_are_offered_to_those_who_can_show_it() {
    let servers = Way::ALL.map(|way| (way, app(way)));
    let entries: Map<String, Value> =
        servers.iter().map(|(way, server)| (way.name().to_owned(), server.entry())).collect();
    Front::each(&Value::Object(entries), &both(&json!(["handle"])), |front| {
        let client = || Stateless::new(front.gateway().address(), "/mcp");
        let ui = json!({"extensions": {UI: {"mimeTypes": ["text/html;profile=mcp-app"]}}});
        let named = |client: &Stateless| -> Vec<Value> {
            let page = client.result("tools/list", json!({}));
            page["tools"].as_array().cloned().unwrap_or_default()
        };
        let host = client().able(ui);
        for way in Way::ALL {
            let name = format!("{}-chart", way.name());
            let tool = eventually("the tool", || {
                named(&host).into_iter().find(|tool| tool["name"] == name)
            });
            let uri = &tool["_meta"]["ui"]["resourceUri"];
            let read = host.result("resources/read", json!({"uri": uri}));
            assert_eq!(read["contents"][0]["text"], way.name(), "{tool} {read}");
            assert_eq!(read["contents"][0]["uri"], *uri, "{read}");
            let called = host.call(&name, json!({}));
            assert_eq!(called["content"][0]["text"], way.name(), "{called}");
        }
        let plain = named(&client());
        assert!(!plain.iter().any(|tool| tool["_meta"].is_object()), "{plain:?}");
    });
}

/// What the operator hides of one server is not another one's in its place.
#[test]
fn a_user_interface_that_is_hidden_is_not_that_of_another_server() {
    let servers = Way::ALL.map(|way| (way, app(way)));
    for hidden in Way::ALL {
        let entries = servers.iter().map(|(way, server)| {
            let mut entry = server.entry();
            if *way == hidden {
                entry["resources"] = json!({PAGE: {"enabled": false}});
            }
            (way.name().to_owned(), entry)
        });
        let entries: Map<String, Value> = entries.collect();
        let system = json!({"systemConfig": both(&json!(["handle"]))});
        let own = settings::standalone(Value::Object(entries));
        let gateway = Gateway::start_with(&settings::merged(own, system));
        let ui = json!({"extensions": {UI: {"mimeTypes": ["text/html;profile=mcp-app"]}}});
        let host = stateless(&gateway, "/mcp").able(ui);
        for way in Way::ALL {
            let name = format!("{}-chart", way.name());
            let tool = eventually("the tool", || {
                let page = host.result("tools/list", json!({}));
                let tools = page["tools"].as_array().cloned().unwrap_or_default();
                tools.into_iter().find(|tool| tool["name"] == name)
            });
            let uri = &tool["_meta"]["ui"]["resourceUri"];
            let read = host.answer("resources/read", json!({"uri": uri}));
            if way == hidden {
                assert_eq!(read["error"]["code"], -32602, "{tool} {read}");
            } else {
                assert_eq!(read["result"]["contents"][0]["text"], way.name(), "{tool} {read}");
            }
        }
    }
}
