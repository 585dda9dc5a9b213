//! Errors that clients get, counted by kind, server and who has made them: `/metrics`.

use mooring_tests::{Gateway, Stateless, eventually, servers, settings};
use serde_json::json;

/// The value of one counter; 0 while there is none.
fn errors(gateway: &Gateway, kind: &str, server: &str, emitter: &str) -> u64 {
    let text = gateway.get("/metrics").expect(200).text();
    let labels = [("kind", kind), ("server", server), ("emitter", emitter)];
    let labels = labels.map(|(name, value)| format!("{name}=\"{value}\""));
    let line = text.lines().find(|line| {
        line.starts_with("mooring_errors_total{") && labels.iter().all(|label| line.contains(label))
    });
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn an_error_inside_a_200_counts_for_the_server_that_has_made_it() {
    let behind = Gateway::start_with(&settings::standalone(json!({"counter": servers::counter()})));
    let url = format!("{}/mcp/counter", behind.url());
    let shared = servers::isolated(servers::counter(), "shared");
    let gateway = Gateway::start_with(&settings::standalone(json!({
        "counter": servers::counter(), "shared": shared, "remote": {"url": url},
    })));
    let unknown = json!({"name": "no-such-tool", "arguments": {}});
    for server in ["counter", "shared", "remote"] {
        let session = gateway.client(&format!("/mcp/{server}")).initialize();
        session.whoami("whoami");
        assert_eq!(errors(&gateway, "invalid-params", server, "server"), 0, "{server}");
        for count in 1..3 {
            let answer = session.answer("tools/call", unknown.clone());
            assert_eq!(answer["error"]["code"], -32602, "{answer}");
            assert_eq!(errors(&gateway, "invalid-params", server, "server"), count, "{server}");
        }
    }
    // On /mcp the gateway itself knows that there is no such tool.
    let all = gateway.client("/mcp").initialize();
    assert!(all.answer("tools/call", unknown)["error"].is_object());
    assert_eq!(errors(&gateway, "invalid-params", "", "gateway"), 1);
    let _ = gateway.get("/mcp/nobody");
    assert_eq!(errors(&gateway, "transport", "", "gateway"), 1);
}

#[test]
fn a_server_that_does_not_start_is_the_nodes_error_and_a_late_one_too() {
    let late = json!({"command": "mooring-example-counter", "options": {"timeout": 1000}});
    let gateway = Gateway::start_with(&settings::standalone(json!({
        "broken": {"command": "sh", "args": ["-c", "exit 3"]}, "late": late,
    })));
    let _ = gateway.client("/mcp/broken").try_initialize();
    let unavailable = errors(&gateway, "unavailable", "broken", "node");
    assert!(unavailable >= 1, "{}", gateway.get("/metrics").text());
    let session = gateway.client("/mcp/late").initialize();
    let pid = session.whoami("whoami").pid;
    mooring_tests::process::signal(pid, rustix::process::Signal::STOP);
    let answer = session.answer("tools/call", json!({"name": "whoami", "arguments": {}}));
    mooring_tests::process::signal(pid, rustix::process::Signal::CONT);
    assert_eq!(answer["error"]["code"], -31004, "{answer}");
    eventually("it is counted", || {
        (errors(&gateway, "timed-out", "late", "node") == 1).then_some(())
    });
}

#[test]
fn errors_of_a_server_without_sessions_are_counted_for_clients_of_either_kind() {
    let server = json!({"command": "mooring-stateless-server", "args": ["stdio"], "era": "modern"});
    let base = settings::standalone(json!({"near": server}));
    let eras = json!({"systemConfig": {"eras": ["legacy", "modern"]}});
    let gateway = Gateway::start_with(&settings::merged(base, eras));
    gateway.wait_until_discovered(&["near"]);
    let mut count = 0;
    for (scope, tool) in [("/mcp/near", "incapable"), ("/mcp", "near-incapable")] {
        let client = Stateless::new(gateway.address(), scope);
        for _ in 0..2 {
            let params = json!({"name": tool, "arguments": {}});
            let response = client.send("tools/call", params);
            assert_eq!(response.error_code(), -32021);
            count += 1;
            assert_eq!(errors(&gateway, "other", "near", "server"), count, "{scope}");
        }
    }
    let client = Stateless::new(gateway.address(), "/mcp/near");
    let response = client.send("tools/call", json!({"name": "die", "arguments": {}}));
    assert_eq!(response.error_code(), -31001);
    eventually("the loss is counted", || {
        (errors(&gateway, "server-lost", "near", "node") == 1).then_some(())
    });
}
