//! Groups: a name for some servers, or for some of their tools.

use mooring_tests::{Gateway, servers};
use serde_json::{Value, json};

fn gateway(groups: Value) -> Gateway {
    Gateway::start_with(&json!({
        "mcpServers": {
            "counter": servers::counter_named("counter"),
            "notes": servers::notes(),
            "clock": servers::clock(),
        },
        "groups": groups,
    }))
}

#[test]
fn a_group_reaches_its_servers_and_no_others() {
    let gateway = gateway(json!([{"id": "g-1", "name": "desk", "servers": ["notes", "clock"]}]));
    for path in ["/mcp/desk", "/mcp/g-1"] {
        let session = gateway.client(path).initialize();
        let tools = session.tools();
        assert_eq!(tools.len(), 2 + 3);
        assert!(tools.iter().all(|tool| !tool.starts_with("counter")), "{tools:?}");
        session.call("notes-list_notes", json!({}));
        let answer = session.answer("tools/call", json!({"name": "counter-count"}));
        assert_eq!(answer["error"]["code"], -32602);
    }
}

#[test]
fn a_group_may_show_only_some_tools_of_a_server() {
    let gateway = gateway(json!([
        {"name": "desk", "servers": [{"name": "clock", "tools": ["now"]}, {"name": "notes"}]},
    ]));
    let session = gateway.client("/mcp/desk").initialize();
    assert_eq!(session.tools(), ["clock-now", "notes-add_note", "notes-list_notes"]);
    session.call("clock-now", json!({}));
    let call = json!({"name": "clock-sleep", "arguments": {"ms": 1}});
    assert_eq!(session.answer("tools/call", call)["error"]["code"], -32602);
}

#[test]
fn a_group_wins_over_a_server_of_the_same_name() {
    let gateway = gateway(json!([{"name": "counter", "servers": ["notes"]}]));
    let session = gateway.client("/mcp/counter").initialize();
    assert_eq!(session.tools(), ["notes-add_note", "notes-list_notes"]);
}

#[test]
fn a_group_with_one_server_is_still_a_group() {
    let gateway = gateway(json!([{"name": "solo", "servers": ["counter"]}]));
    let session = gateway.client("/mcp/solo").initialize();
    assert_eq!(session.tools(), ["counter-count", "counter-whoami", "counter-reset"]);
    assert_eq!([session.count("counter-count"), session.count("counter-count")], [1, 2]);
}

/// An event id names the server of its stream; a client may make one up.
#[test]
fn no_event_id_opens_a_server_that_the_group_does_not_have() {
    let gateway = gateway(json!([{"name": "desk", "servers": ["notes"]}]));
    gateway.wait_until_discovered(&["counter", "notes", "clock"]);
    let session = gateway.client("/mcp/desk").initialize();
    for id in ["0-0-0@counter", "0-0-0@notes", "0-1-0@counter", "0-1-0-MQ@counter", "x@counter"] {
        let mut stream = session.resume(id);
        assert_eq!(stream.status, 200, "{id}");
        let told = stream.event().json();
        assert_eq!(told["method"], "notifications/tools/list_changed", "{id}: a stream anew");
    }
    assert_eq!(gateway.data("/api/cluster/instances")["instances"], json!([]));
}
