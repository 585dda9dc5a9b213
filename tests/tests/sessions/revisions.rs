//! Revisions that a session cannot have: `initialize` is negotiated down, and the session works.

use std::io::Write;

use mooring_tests::{Cluster, Gateway, OverSse, Scripted, settings};
use serde_json::{Value, json};

/// Servers that grant whatever they are asked for, and say what that was in their name.
struct Echoing(tempfile::NamedTempFile);

impl Echoing {
    fn new() -> Self {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(SCRIPT.as_bytes()).unwrap();
        Self(file)
    }

    /// An entry of `mcpServers` for one.
    fn entry(&self) -> Value {
        json!({"command": "sh", "args": [self.0.path()]})
    }
}

const SCRIPT: &str = r#"while read -r line; do
        id=$(printf '%s' "$line" | sed -n 's/.*"id":\([^,}]*\).*/\1/p')
        asked=$(printf '%s' "$line" | sed -n 's/.*"protocolVersion":"\([^"]*\)".*/\1/p')
        case $line in
            *'"initialize"'*) result="{\"protocolVersion\":\"$asked\",\"capabilities\":{\"tools\":{}},\"serverInfo\":{\"name\":\"asked for $asked\",\"version\":\"1\"}}" ;;
            *tools/list*) result='{"tools":[{"name":"a","inputSchema":{"type":"object"}}]}' ;;
            *) result='{}' ;;
        esac
        [ -z "$id" ] || printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$result"
    done"#;

const LATER: [&str; 4] = ["2026-07-28", "2030-01-01", "draft", "2025-11-26"];

#[track_caller]
fn a_session_begins(gateway: &Gateway) {
    for path in ["/mcp", "/mcp/desk", "/mcp/x"] {
        for asked in LATER {
            let session = gateway.client(path).revision(asked).initialize();
            assert_eq!(session.result["protocolVersion"], "2025-11-25", "{path} {asked}");
            // With the header that names what was granted.
            assert_eq!(session.tools().len(), 1, "{path} {asked}");
            let sse = path.replace("/mcp", "/sse");
            let mut session = OverSse::open(gateway.address(), &sse);
            let begun = session.begin_with(json!({"protocolVersion": asked, "capabilities": {}}));
            assert_eq!(begun["protocolVersion"], "2025-11-25", "{sse} {asked}");
            assert_eq!(
                session.request("tools/list", json!({}))["tools"].as_array().unwrap().len(),
                1
            );
        }
    }
    let session = gateway.client("/mcp/x").revision("2026-07-28").initialize();
    assert_eq!(session.result["serverInfo"]["name"], "asked for 2025-11-25");
}

fn groups() -> Value {
    json!({"groups": [{"name": "desk", "servers": ["x"]}]})
}

#[test]
fn a_later_revision_is_negotiated_down_on_every_scope() {
    let server = Echoing::new();
    let settings = settings::merged(settings::standalone(json!({"x": server.entry()})), groups());
    a_session_begins(&Gateway::start_with(&settings));
}

#[test]
fn a_later_revision_is_negotiated_down_by_a_coordinator() {
    let settings = settings::merged(settings::coordinator(json!({})), groups());
    let mut cluster = Cluster { coordinator: Gateway::start_with(&settings), nodes: Vec::new() };
    let server = Echoing::new();
    cluster.add("a", json!({"x": server.entry()}));
    cluster.wait_for_active(1);
    a_session_begins(&cluster.coordinator);
}

#[test]
fn a_server_behind_a_url_is_asked_for_a_revision_with_sessions() {
    let upstream = Scripted::start(|asked, out| {
        if asked.rpc() != "initialize" {
            return Some(out);
        }
        let who = if asked.is_of_client() { "client-1" } else { "gateway-1" };
        let result = json!({
            "protocolVersion": asked.json()["params"]["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "echoes", "version": "1"},
        });
        let answer = json!({"jsonrpc": "2.0", "id": asked.json()["id"], "result": result});
        let headers = ["Content-Type: application/json", &format!("Mcp-Session-Id: {who}")];
        out.reply("200 OK", &headers, answer.to_string().as_bytes());
        None
    });
    let gateway = Gateway::start_with(&settings::standalone(json!({"x": upstream.entry()})));
    for path in ["/mcp/x", "/mcp"] {
        let session = gateway.client(path).revision("2026-07-28").initialize();
        assert_eq!(session.result["protocolVersion"], "2025-11-25");
        assert_eq!(session.tools().len(), 1);
    }
    let asked = upstream.all();
    let mut asked = asked.iter().filter(|asked| asked.rpc() == "initialize");
    assert!(asked.all(|asked| asked.json()["params"]["protocolVersion"] == "2025-11-25"));
}
