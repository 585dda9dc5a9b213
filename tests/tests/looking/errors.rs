//! Errors that clients get, counted by kind, server and who has made them: `/metrics`.

use std::collections::BTreeMap;
use std::sync::Mutex;

use mooring_tests::{Gateway, Scripted, Stateless, eventually, servers, settings};
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

/// All counters of one server, by their other labels.
fn all_of(gateway: &Gateway, server: &str) -> BTreeMap<String, u64> {
    let text = gateway.get("/metrics").expect(200).text();
    let named = format!("server=\"{server}\"");
    let lines = text.lines().filter(|line| line.starts_with("mooring_errors_total{"));
    let of_server = lines.filter(|line| line.contains(&named));
    let read = |line: &str| {
        let (labels, count) = line.rsplit_once(' ')?;
        Some((labels.replace(&named, ""), count.parse().ok()?))
    };
    of_server.filter_map(read).collect()
}

#[test]
fn an_error_counts_once_and_as_what_the_client_was_told() {
    let remote = Scripted::start(|asked, out| {
        let tool = asked.json()["params"]["name"].clone();
        match tool.as_str().filter(|_| asked.rpc() == "tools/call") {
            Some("close") => drop(out),
            Some("busy") => out.reply("429 Too Many Requests", &["Retry-After: 1"], b""),
            _ => out.as_usual(asked),
        }
        None
    });
    let refusal = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"no licence"}}"#;
    let refuses = format!("while read -r line; do echo '{refusal}'; done");
    let gateway = Gateway::start_with(&settings::standalone(json!({
        "remote": remote.entry(),
        "dies": {"command": "sh", "args": ["-c", "read -r line; exit 3"]},
        "refuses": {"command": "sh", "args": ["-c", refuses]},
    })));
    for (tool, kind, code) in [("close", "server-lost", -31001), ("busy", "unavailable", -31002)] {
        let session = gateway.client("/mcp/remote").initialize();
        let before = all_of(&gateway, "remote").values().sum::<u64>();
        let answer = session.answer("tools/call", json!({"name": tool, "arguments": {}}));
        assert_eq!(answer["error"]["code"], code, "{answer}");
        let now = all_of(&gateway, "remote");
        assert_eq!(now.values().sum::<u64>(), before + 1, "{tool}: {now:?}");
        assert_eq!(errors(&gateway, kind, "remote", "node"), 1, "{tool}: {now:?}");
    }
    // A client whose session could not be opened was told one thing.
    for server in ["dies", "refuses"] {
        assert_eq!(all_of(&gateway, server), BTreeMap::new());
        let _ = gateway.client(&format!("/mcp/{server}")).try_initialize();
        assert_eq!(errors(&gateway, "unavailable", server, "node"), 1);
        let now = all_of(&gateway, server);
        assert_eq!(now.values().sum::<u64>(), 1, "{server}: {now:?}");
    }
}

#[test]
fn what_the_gateway_says_in_the_place_of_a_server_without_sessions_is_the_nodes_error() {
    let server = json!({"command": "mooring-stateless-server", "args": ["stdio"], "era": "modern"});
    let gateway = Gateway::start_with(&settings::standalone(json!({"near": server})));
    let session = gateway.client("/mcp/near").initialize();
    for (count, code, kind, method, params) in [
        // Tasks of sessions are none of the revision that the server has.
        (1, -32601, "method-not-found", "tasks/list", json!({})),
        (2, -32601, "method-not-found", "tasks/get", json!({"taskId": "a"})),
        (1, -32602, "invalid-params", "resources/subscribe", json!({"uri": 7})),
    ] {
        let answer = session.answer(method, params);
        assert_eq!(answer["error"]["code"], code, "{method}: {answer}");
        assert_eq!(errors(&gateway, kind, "near", "node"), count, "{method}");
    }
    let own = session.answer("tools/call", json!({"name": "none", "arguments": {}}));
    assert_eq!(own["error"]["code"], -32602, "{own}");
    let now = all_of(&gateway, "near");
    assert_eq!(errors(&gateway, "invalid-params", "near", "server"), 1, "{now:?}");
    assert_eq!(now.values().sum::<u64>(), 4, "{now:?}");
}

#[test]
fn a_remote_server_that_is_late_counts_once_however_soon_it_is_late() {
    for limit in [200, 1500] {
        let held = Mutex::new(Vec::new());
        let remote = Scripted::start(move |asked, out| {
            if asked.rpc() == "tools/call" {
                held.lock().unwrap().push(out);
                return None;
            }
            Some(out)
        });
        let mut entry = remote.entry();
        entry["options"] = json!({"timeout": limit});
        let gateway = Gateway::start_with(&settings::standalone(json!({"remote": entry})));
        let session = gateway.client("/mcp/remote").initialize();
        let answer = session.answer("tools/call", json!({"name": "ask", "arguments": {}}));
        assert_eq!(answer["error"]["code"], -31004, "{limit}: {answer}");
        let now = all_of(&gateway, "remote");
        assert_eq!(errors(&gateway, "timed-out", "remote", "node"), 1, "{limit}: {now:?}");
        assert_eq!(now.values().sum::<u64>(), 1, "{limit}: {now:?}");
    }
}
