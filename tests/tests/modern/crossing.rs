//! Attempts to reach what belongs to another client, conversation, scope or request.

use std::process::Command;

use mooring_tests::running::Running;
use mooring_tests::{Gateway, Stateless, binaries, servers, settings};
use serde_json::{Value, json};

use super::asking;

/// The fixture over HTTP, which asks its client, too.
pub struct HttpFixture {
    port: u16,
    _process: Running,
}

impl HttpFixture {
    #[track_caller]
    pub fn start() -> Self {
        let mut command = Command::new(binaries::program("mooring-conformance-server"));
        let mut process = Running::start(command.args(["http", "--port", "0"]));
        Self { port: process.port(), _process: process }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }
}

const KEYS: [&str; 2] = ["0123456789abcdef-one", "0123456789abcdef-two"];

fn gateway() -> Gateway {
    let servers = json!({"counter": servers::counter(), "fixture": asking(), "twin": asking()});
    let keys = json!({
        "bearerKeys": [
            {"name": "one", "token": KEYS[0], "accessType": "all"},
            {"name": "two", "token": KEYS[1], "accessType": "all"},
        ],
        "systemConfig": {"eras": ["legacy", "modern"]},
    });
    Gateway::start_with(&settings::merged(settings::standalone(servers), keys))
}

fn client(gateway: &Gateway, path: &str, key: &str) -> Stateless {
    Stateless::new(gateway.address(), path)
        .header("Authorization", &format!("Bearer {key}"))
        .able(json!({"elicitation": {}}))
}

#[track_caller]
fn refused(client: &Stateless, params: &Value) {
    let answer = client.answer("tools/call", params.clone());
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
    assert!(answer.get("result").is_none(), "{answer}");
}

#[test]
fn a_conversation_is_its_clients_alone() {
    let gateway = gateway();
    let mine = client(&gateway, "/mcp/counter", KEYS[0]);
    let name = mine.new_conversation();
    let mine = mine.conversation(&name);
    assert_eq!(mine.count("count"), 1);
    let call = json!({"name": "count", "arguments": {}});
    refused(&client(&gateway, "/mcp/counter", KEYS[1]).conversation(&name), &call);
    let elsewhere = json!({"name": "counter-count", "arguments": {}});
    refused(&client(&gateway, "/mcp", KEYS[0]).conversation(&name), &elsewhere);
    let session =
        gateway.client("/mcp/counter").header("Authorization", &format!("Bearer {}", KEYS[0]));
    let session = session.initialize().id;
    let changed =
        format!("{}{}", &name[..name.len() - 1], if name.ends_with('A') { 'B' } else { 'A' });
    for forged in ["", "m1", "x", &session, &changed, &format!("{name}A"), &"m1".repeat(2000)] {
        refused(&client(&gateway, "/mcp/counter", KEYS[0]).conversation(forged), &call);
    }
    assert_eq!(mine.count("count"), 2, "nobody else has counted");
}

#[test]
fn a_request_that_waits_is_its_clients_alone() {
    let gateway = gateway();
    let tool = "test_input_required_result_elicitation";
    let mine = client(&gateway, "/mcp/fixture", KEYS[0]);
    let asks = mine.call(tool, json!({}));
    assert_eq!(asks["resultType"], "input_required", "{asks}");
    let state = asks["requestState"].as_str().unwrap();
    let answers = json!({"input-1": {"action": "accept", "content": {"name": "Mallory"}}});
    let with = |state: &Value, name: &str, arguments: Value| json!({"name": name, "arguments": arguments, "inputResponses": answers, "requestState": state});
    let good = json!(state);
    refused(&client(&gateway, "/mcp/fixture", KEYS[1]), &with(&good, tool, json!({})));
    refused(&client(&gateway, "/mcp/twin", KEYS[0]), &with(&good, tool, json!({})));
    let shown = format!("fixture-{tool}");
    refused(&client(&gateway, "/mcp", KEYS[0]), &with(&good, &shown, json!({})));
    refused(&mine, &with(&good, "test_input_required_result_multi_round", json!({})));
    refused(&mine, &with(&good, tool, json!({"other": 1})));
    let handle = mine.new_conversation();
    let changed =
        format!("{}{}", &state[..state.len() - 1], if state.ends_with('A') { 'B' } else { 'A' });
    for forged in [
        json!(""),
        json!(7),
        json!("m1"),
        json!(handle),
        json!(changed),
        json!(format!("{state}-TAMPERED")),
    ] {
        refused(&mine, &with(&forged, tool, json!({})));
    }
    let mine_answers = json!({"input-1": {"action": "accept", "content": {"name": "Alice"}}});
    let params = json!({"name": tool, "arguments": {}, "inputResponses": mine_answers, "requestState": state});
    let done = mine.result("tools/call", params);
    assert_eq!(done["content"][0]["text"], "Hello, Alice!", "nobody else has answered");
}
