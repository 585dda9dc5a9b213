//! Entries that a settings file hides cannot be listed or used, on any URL and through any process.

use mooring_tests::{Canned, Cluster, Gateway, Session, settings};
use rustix::process::Signal;
use serde_json::{Value, json};

fn server() -> Canned {
    Canned::new()
        .with_capabilities(json!({"tools": {}, "prompts": {}, "resources": {}}))
        .answers(
            "tools/list",
            json!({"tools": [
                {"name": "open", "description": "As the server says.", "inputSchema": {"type": "object"}},
                {"name": "plain", "inputSchema": {"type": "object"}},
                {"name": "secret", "inputSchema": {"type": "object"}},
            ]}),
        )
        .answers("prompts/list", json!({"prompts": [{"name": "ask"}, {"name": "whisper"}]}))
        .answers(
            "resources/list",
            json!({"resources": [
                {"uri": "res://open", "name": "open"}, {"uri": "res://secret", "name": "secret"},
            ]}),
        )
        .answers(
            "resources/templates/list",
            json!({"resourceTemplates": [
                {"uriTemplate": "res://t/{x}", "name": "t"},
                {"uriTemplate": "res://{x}", "name": "any"},
            ]}),
        )
        .answers("tools/call", json!({"content": [{"type": "text", "text": "called"}]}))
        .answers("prompts/get", json!({"messages": []}))
        .answers("resources/read", json!({"contents": [{"uri": "res://open", "text": "read"}]}))
}

/// The server's entry in a file that hides everything with "secret" in its name.
fn entry(server: &Canned) -> Value {
    let selection = json!({
        "tools": {
            "open": {"enabled": true, "description": "As the operator says."},
            "plain": {"enabled": true, "description": "In a word."},
            "secret": {"enabled": false},
        },
        "prompts": {"whisper": {"enabled": false}},
        "resources": {
            "res://open": {"enabled": true, "description": "For all."},
            "res://secret": {"enabled": false},
            "res://t/{x}": {"enabled": false},
        },
    });
    settings::merged(server.entry(), selection)
}

/// Checks one session, in which names have this prefix.
fn hides(session: &Session, prefix: &str) {
    let name = |name: &str| format!("{prefix}{name}");
    assert_eq!(session.tools(), [name("open"), name("plain")]);
    let tools = session.request("tools/list", json!({}))["tools"].clone();
    assert_eq!(tools[0]["description"], "As the operator says.");
    assert_eq!(tools[1]["description"], "In a word.");
    session.call(&name("open"), json!({}));
    let call = json!({"name": name("secret"), "arguments": {}});
    assert_eq!(session.answer("tools/call", call)["error"]["code"], -32602);

    assert_eq!(session.list("prompts", "name"), [name("ask")]);
    session.request("prompts/get", json!({"name": name("ask")}));
    let get = json!({"name": name("whisper")});
    assert_eq!(session.answer("prompts/get", get)["error"]["code"], -32602);

    let resources = session.request("resources/list", json!({}))["resources"].clone();
    let shown = json!([{"uri": "res://open", "name": "open", "description": "For all."}]);
    assert_eq!(resources, shown);
    let templates = session.request("resources/templates/list", json!({}));
    assert_eq!(templates["resourceTemplates"].as_array().unwrap().len(), 1, "{templates}");
    for uri in ["res://open", "res://other"] {
        session.request("resources/read", json!({"uri": uri}));
    }
    for uri in ["res://secret", "res://t/1"] {
        for method in ["resources/read", "resources/subscribe"] {
            let answer = session.answer(method, json!({"uri": uri}));
            assert_eq!(answer["error"]["code"], -32002, "{method} {uri}: {answer}");
        }
    }
}

const SCOPES: [(&str, &str); 3] = [("/mcp", "srv-"), ("/mcp/desk", "srv-"), ("/mcp/srv", "")];

#[test]
fn what_a_file_hides_is_not_listed_and_not_to_be_had() {
    let server = server();
    let groups = json!({"groups": [{"name": "desk", "servers": ["srv"]}]});
    let settings = settings::standalone(json!({"srv": entry(&server)}));
    let gateway = Gateway::start_with(&settings::merged(settings, groups));
    for (path, prefix) in SCOPES {
        hides(&gateway.client(path).initialize(), prefix);
    }
}

#[test]
fn what_a_nodes_file_hides_is_hidden_at_the_coordinator_too() {
    let server = server();
    let settings = settings::merged(
        settings::coordinator(json!({})),
        json!({"groups": [{"name": "desk", "servers": ["srv"]}]}),
    );
    let mut cluster = Cluster { coordinator: Gateway::start_with(&settings), nodes: Vec::new() };
    cluster.add("a", json!({"srv": entry(&server)}));
    // A node whose file hides nothing does not expose what the other node's file hides.
    cluster.add("b", json!({"srv": server.entry()}));
    cluster.wait_for_active(2);
    for _ in 0..4 {
        for (path, prefix) in SCOPES {
            hides(&cluster.client(path).initialize(), prefix);
        }
    }
}

#[test]
fn what_is_hidden_stays_hidden_while_a_coordinator_comes_back() {
    let server = server();
    let mut cluster = Cluster {
        coordinator: Gateway::start_with(&settings::coordinator(json!({}))),
        nodes: Vec::new(),
    };
    let node = json!({"id": "a", "heartbeatInterval": 60_000});
    let settings = settings::node(cluster.coordinator.port(), node, json!({"srv": entry(&server)}));
    cluster.nodes.push(Gateway::start_with(&settings));
    cluster.wait_for_active(1);
    cluster.coordinator.restart_after(Signal::KILL);
    cluster.wait_for_active(1);
    hides(&cluster.client("/mcp/srv").initialize(), "");
}

#[test]
fn a_group_shows_the_resources_that_it_names() {
    let server = server();
    let gateway = Gateway::start_with(&json!({
        "mcpServers": {"srv": server.entry()},
        "groups": [
            {"name": "desk", "servers": [{"name": "srv", "resources": ["res://open", "res://t/{x}"]}]},
        ],
    }));
    let session = gateway.client("/mcp/desk").initialize();
    assert_eq!(session.list("resources", "uri"), ["res://open"]);
    for uri in ["res://open", "res://t/1"] {
        session.request("resources/read", json!({"uri": uri}));
    }
    for uri in ["res://secret", "res://other"] {
        let answer = session.answer("resources/read", json!({"uri": uri}));
        assert_eq!(answer["error"]["code"], -32002, "{uri}: {answer}");
    }
}
