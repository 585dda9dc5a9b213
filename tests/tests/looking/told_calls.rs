//! What the logs say of calls, however a client writes them and whoever answers them.

use std::path::{Path, PathBuf};

use mooring_tests::{
    Cluster, Gateway, OddServer, Request, Scripted, Session, Stateless, Way, eventually, servers,
    settings,
};
use serde_json::{Value, json};

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// The lines of a log that are meant, once there are so many.
#[track_caller]
fn wait_for(path: &Path, count: usize, is_meant: impl Fn(&Value) -> bool) -> Vec<Value> {
    eventually(&format!("{count} lines in {}", path.display()), || {
        let found: Vec<Value> = lines(path).into_iter().filter(&is_meant).collect();
        (found.len() >= count).then_some(found)
    })
}

/// Where both logs go.
struct Logs {
    folder: tempfile::TempDir,
}

impl Logs {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn access(&self) -> PathBuf {
        self.folder.path().join("access.log")
    }

    fn audit(&self) -> PathBuf {
        self.folder.path().join("audit.log")
    }

    fn with(&self, base: Value) -> Value {
        let audit = json!({"to": self.audit(), "arguments": true});
        let telemetry = json!({"accessLog": {"to": self.access()}, "auditLog": audit});
        settings::merged(base, json!({"systemConfig": {"telemetry": telemetry}}))
    }
}

fn send(session: &Session, body: &str) -> Value {
    let request = session.with(session.client.post()).body(body);
    request.send(session.client.address()).expect(200).messages().remove(0)
}

#[test]
fn no_way_of_writing_a_call_hides_it_from_the_logs() {
    let logs = Logs::new();
    let base = settings::standalone(json!({"counter": servers::counter()}));
    let gateway = Gateway::start_with(&logs.with(base));
    gateway.wait_until_discovered(&["counter"]);
    for (scope, tool) in [("/mcp/counter", "whoami"), ("/mcp", "counter-whoami")] {
        let session = gateway.client(scope).initialize();
        let big = "x".repeat(200_000);
        let calls = [
            // As PHP writes it.
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools\/call","params":{{"name":"{tool}","arguments":{{}}}}}}"#
            ),
            format!(
                r#"{{"jsonrpc":"2.0","id":2,"meth\u006fd":"tools/call","params":{{"name":"{tool}","arguments":{{}}}}}}"#
            ),
            format!(
                r#"{{"jsonrpc":"2.0","id":3,"method":"tools/call","par\u0061ms":{{"name":"{tool}","arguments":{{}}}}}}"#
            ),
            format!(
                r#"{{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{{"n\u0061me":"{tool}","arguments":{{}}}}}}"#
            ),
            // What tools are not named by.
            format!(
                r#"{{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{{"uri":"a:b","name":"{tool}","arguments":{{}}}}}}"#
            ),
            format!(
                r#"{{"jsonrpc":"2.0","id":6,"method":"tools/call","params":{{"name":"{tool}","arguments":{{"name":"other"}}}}}}"#
            ),
            // One that is too large to be kept, with the name at its end.
            format!(
                r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"arguments":{{"big":"{big}"}},"name":"{tool}"}}}}"#
            ),
        ];
        for call in &calls {
            let answer = send(&session, call);
            assert!(answer["result"].is_object(), "{answer}");
        }
        let is_ours = |line: &Value| line["scope"] == scope && line["method"] == "tools/call";
        for line in wait_for(&logs.audit(), calls.len(), is_ours) {
            assert_eq!(line["target"], tool, "{line}");
            assert_eq!(
                (&line["server"], &line["decision"]),
                (&json!("counter"), &json!("allowed"))
            );
            assert!(!line["arguments"].is_null(), "{line}");
        }
        for line in wait_for(&logs.access(), calls.len(), is_ours) {
            assert_eq!((&line["tool"], &line["outcome"]), (&json!(tool), &json!("ok")), "{line}");
        }
    }
    let page = gateway.get("/metrics").text();
    let calls = "mooring_calls_total{server=\"counter\",method=\"tools/call\",outcome=\"ok\"} 14";
    assert!(page.contains(calls), "{page}");
}

#[test]
fn each_message_of_a_batch_is_audited() {
    let logs = Logs::new();
    let base = settings::standalone(json!({"counter": servers::counter()}));
    let gateway = Gateway::start_with(&logs.with(base));
    gateway.wait_until_discovered(&["counter"]);
    for (scope, prefix) in [("/mcp/counter", ""), ("/mcp", "counter-")] {
        let client = gateway.client(scope).revision("2025-03-26");
        let session = client.initialize();
        let call = |id: u64, tool: &str| {
            let params = json!({"name": format!("{prefix}{tool}"), "arguments": {"n": id}});
            json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
        };
        let ping = json!({"jsonrpc": "2.0", "id": 3, "method": "ping"});
        let batch = json!([call(1, "count"), ping, call(2, "whoami")]);
        session.post(&batch).send(gateway.address()).expect(200);
        let is_ours = |line: &Value| line["scope"] == scope && line["action"] == "call";
        let mut audited = wait_for(&logs.audit(), 2, is_ours);
        audited.sort_by_key(|line| line["arguments"]["n"].as_u64());
        let targets: Vec<&Value> = audited.iter().map(|line| &line["target"]).collect();
        assert_eq!(targets, [&format!("{prefix}count"), &format!("{prefix}whoami")]);
        for line in &audited {
            assert_eq!(
                (&line["method"], &line["server"]),
                (&json!("tools/call"), &json!("counter"))
            );
        }
    }
}

#[test]
fn a_refused_request_has_its_line_and_its_bytes() {
    let logs = Logs::new();
    let locked = settings::merged(
        settings::standalone(json!({"counter": servers::counter()})),
        json!({"systemConfig": {"routing": {"enableBearerAuth": true, "bearerAuthKey": "the-key-of-the-test"}}}),
    );
    let gateway = Gateway::start_with(&logs.with(locked));
    let open =
        |path: &str| gateway.client(path).header("Authorization", "Bearer the-key-of-the-test");
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    let lost = open("/mcp/counter").post().header("Mcp-Session-Id", "none").json(&ping);
    let requests: [(&str, Request, u16, &str); 5] = [
        ("/mcp/locked", gateway.client("/mcp/locked").post().json(&ping), 401, "transport"),
        ("/mcp/nobody%0a", open("/mcp/nobody%0a").post().json(&ping), 404, "transport"),
        ("/mcp", open("/mcp").post().json(&ping), 400, "transport"),
        ("/mcp/counter", open("/mcp/counter").post().body("{"), 400, "parse"),
        ("/mcp/counter", lost, 404, "session-not-found"),
    ];
    for (path, request, status, kind) in requests {
        let response = request.send(gateway.address()).expect(status);
        let is_ours = |line: &Value| line["scope"] == path && line["error"] == kind;
        let line = wait_for(&logs.access(), 1, is_ours).remove(0);
        assert_eq!((&line["outcome"], &line["emitter"]), (&json!("refused"), &json!("gateway")));
        assert_eq!(line["sent"], response.text().len(), "{line}");
        assert_eq!(line["principal"].is_null(), path == "/mcp/locked", "{line}");
        assert!(line["seconds"].is_number() && line.get("session").is_none(), "{line}");
    }
    // A call that is refused within its session has one line, with the bytes of its answer.
    let session = open("/mcp").initialize();
    let params = json!({"name": "no-such-tool", "arguments": {}});
    let answer = session.try_request("tools/call", params);
    let is_ours = |line: &Value| line["tool"] == "no-such-tool";
    let line = wait_for(&logs.access(), 1, is_ours).remove(0);
    assert_eq!((&line["outcome"], &line["sent"]), (&json!("refused"), &json!(answer.text().len())));
    let _ = session.answer("ping", json!({}));
    wait_for(&logs.access(), 1, |line| line["method"] == "ping");
    let refused = lines(&logs.access()).iter().filter(|line| line["outcome"] == "refused").count();
    assert_eq!(refused, 6);
}

/// An upstream whose tool fails as its argument says.
fn failing() -> Scripted {
    Scripted::start(|asked, out| {
        let error = |code: i64| json!({"jsonrpc": "2.0", "id": asked.json()["id"], "error": {"code": code, "message": "no"}});
        match asked.json()["params"]["arguments"]["how"].as_str() {
            Some("status") => out.reply("500 Internal Server Error", &[], b"oops"),
            Some("page") => out.reply("200 OK", &["Content-Type: text/html"], b"<html>"),
            Some("error") => out.json(&error(-32603)),
            Some("gone") => drop(out),
            _ => return Some(out),
        }
        None
    })
}

/// The value of a counter of errors.
fn errors(gateway: &Gateway, kind: &str, emitter: &str) -> u64 {
    let name =
        format!("mooring_errors_total{{kind=\"{kind}\",server=\"far\",emitter=\"{emitter}\"}} ");
    let page = gateway.get("/metrics").text();
    let value = page.lines().find_map(|line| line.strip_prefix(name.as_str()));
    value.map_or(0, |value| value.parse().unwrap())
}

#[test]
fn the_logs_and_the_counters_agree_on_who_has_made_an_error() {
    for is_cluster in [false, true] {
        let (logs, upstream) = (Logs::new(), failing());
        let servers = json!({"far": upstream.entry()});
        let cluster = match is_cluster {
            false => {
                let coordinator = Gateway::start_with(&logs.with(settings::standalone(servers)));
                Cluster { coordinator, nodes: Vec::new() }
            }
            true => {
                let settings = logs.with(settings::coordinator(json!({})));
                let coordinator = Gateway::start_with(&settings);
                let mut cluster = Cluster { coordinator, nodes: Vec::new() };
                cluster.add("a", servers);
                cluster.wait_for_active(1);
                cluster
            }
        };
        let runner = cluster.nodes.first().unwrap_or(&cluster.coordinator);
        eventually("the tool is listed", || {
            let tools = cluster.client("/mcp").initialize().tools();
            tools.contains(&"far-ask".to_owned()).then_some(())
        });
        for (scope, tool) in [("/mcp/far", "ask"), ("/mcp", "far-ask")] {
            for (number, (how, kind, emitter)) in [
                ("status", "internal", "node"),
                ("page", "internal", "node"),
                ("error", "internal", "server"),
                ("gone", "server-lost", "node"),
            ]
            .into_iter()
            .enumerate()
            {
                let session = cluster.client(scope).initialize();
                let before = errors(runner, kind, emitter);
                let call = json!({"name": tool, "arguments": {"how": how}});
                let answer = session.answer("tools/call", call);
                assert!(answer["error"].is_object(), "{answer}");
                eventually(&format!("{how} is counted"), || {
                    (errors(runner, kind, emitter) == before + 1).then_some(())
                });
                let calls = |line: &Value| line["method"] == "tools/call" && line["scope"] == scope;
                let line = wait_for(&logs.access(), number + 1, calls).remove(number);
                assert_eq!(line["error"], kind, "{how}: {line}");
                assert_eq!(line["emitter"], emitter, "{how}: {line}");
                assert_eq!(line["tool"], tool, "{how}: {line}");
            }
        }
        // What is no message is refused by the node, before the server has it.
        let session = cluster.client("/mcp/far").initialize();
        let request = session.with(cluster.client("/mcp/far").post()).body("{bad");
        request.send(cluster.coordinator.address()).expect(400);
        let is_ours = |line: &Value| line["error"] == "parse";
        let line = wait_for(&logs.access(), 1, is_ours).remove(0);
        assert_eq!((&line["emitter"], &line["scope"]), (&json!("node"), &json!("/mcp/far")));
        assert_eq!(errors(runner, "parse", "node"), 1);
    }
}

#[test]
fn what_the_gateway_answers_clients_without_sessions_has_its_line_and_counts() {
    let logs = Logs::new();
    let base = settings::standalone(json!({"counter": servers::counter()}));
    let eras = json!({"systemConfig": {"eras": ["legacy", "modern"]}});
    let gateway = Gateway::start_with(&logs.with(settings::merged(base, eras)));
    gateway.wait_until_discovered(&["counter"]);
    for scope in ["/mcp", "/mcp/counter"] {
        let client = Stateless::new(gateway.address(), scope);
        for method in ["server/discover", "tools/list"] {
            let answer = client.send(method, json!({})).expect(200);
            let is_ours = |line: &Value| line["scope"] == scope && line["method"] == method;
            let line = wait_for(&logs.access(), 1, is_ours).remove(0);
            assert_eq!(
                (&line["outcome"], &line["sent"]),
                (&json!("ok"), &json!(answer.body.len()))
            );
        }
        let (stream, _) = client
            .open("subscriptions/listen", json!({"notifications": {"toolsListChanged": true}}));
        drop(stream);
        let is_ours =
            |line: &Value| line["scope"] == scope && line["method"] == "subscriptions/listen";
        let line = wait_for(&logs.access(), 1, is_ours).remove(0);
        assert_eq!(line["outcome"], "left", "{line}");
    }
    let page = gateway.get("/metrics").text();
    for method in ["server/discover", "tools/list", "subscriptions/listen"] {
        let name = format!("mooring_calls_total{{server=\"\",method=\"{method}\",outcome=");
        assert!(page.contains(&name), "{method}: {page}");
    }
}

/// A gateway with logs for clients of both eras, at a server of the name `one`.
fn both_eras(logs: &Logs, server: Value) -> Gateway {
    let base = settings::standalone(json!({"one": server}));
    let eras = json!({"systemConfig": {"eras": ["legacy", "modern"]}});
    let gateway = Gateway::start_with(&logs.with(settings::merged(base, eras)));
    gateway.wait_until_discovered(&["one"]);
    gateway
}

/// The client of a call that asks something has an answer each time, and leaves none.
#[test]
fn a_call_that_waits_for_input_has_a_line_for_each_of_its_requests() {
    let logs = Logs::new();
    let server = json!({"command": "mooring-conformance-server", "args": ["stdio"]});
    let gateway = both_eras(&logs, server);
    let own = "test_input_required_result_elicitation";
    for (scope, tool) in [("/mcp/one", own.to_owned()), ("/mcp", format!("one-{own}"))] {
        let client = Stateless::new(gateway.address(), scope);
        let client = client.able(json!({"elicitation": {}}));
        let asks = client.call(&tool, json!({}));
        assert_eq!(asks["resultType"], "input_required", "{asks}");
        let key = asks["inputRequests"].as_object().unwrap().keys().next().unwrap().clone();
        let answer = json!({key: {"action": "accept", "content": {"name": "Alice"}}});
        let again = json!({"name": tool, "arguments": {}, "inputResponses": answer, "requestState": asks["requestState"]});
        let done = client.result("tools/call", again);
        assert_eq!(done["resultType"], "complete", "{done}");
        let is_call = |line: &Value| line["scope"] == scope && line["method"] == "tools/call";
        let told = wait_for(&logs.access(), 2, is_call);
        for line in &told {
            let said = (&line["outcome"], &line["tool"], &line["server"]);
            assert_eq!(said, (&json!("ok"), &json!(tool), &json!("one")), "{line}");
        }
        let audited = wait_for(&logs.audit(), 2, is_call);
        assert_eq!((told.len(), audited.len()), (2, 2));
    }
}

#[test]
fn a_call_whose_user_opens_no_url_has_its_line() {
    let logs = Logs::new();
    let server = OddServer::good_but(Way::Stdio, |message, say| {
        if message["method"] != "tools/call" {
            return false;
        }
        let url = json!({"mode": "url", "message": "log in", "url": "https://example.com/x", "elicitationId": "e"});
        let error = json!({"code": -32042, "message": "log in", "data": {"elicitations": [url]}});
        say(json!({"jsonrpc": "2.0", "id": message["id"], "error": error}).to_string());
        true
    });
    let gateway = both_eras(&logs, server.entry());
    let client = Stateless::new(gateway.address(), "/mcp/one");
    let client = client.able(json!({"elicitation": {"url": {}}}));
    let asks = client.call("ask", json!({}));
    let declined = json!({"url-1": {"action": "decline"}});
    let again = json!({"name": "ask", "arguments": {}, "inputResponses": declined, "requestState": asks["requestState"]});
    assert_eq!(client.result("tools/call", again)["isError"], true);
    let is_call = |line: &Value| line["method"] == "tools/call";
    let told = wait_for(&logs.access(), 2, is_call);
    assert_eq!(told[1]["outcome"], "tool_error", "{told:?}");
}
#[test]
fn a_call_of_a_client_without_a_session_has_one_line_whoever_refuses_it() {
    let logs = Logs::new();
    let near = json!({"command": "mooring-stateless-server", "args": ["stdio"], "era": "modern"});
    let base = settings::standalone(json!({"counter": servers::counter(), "near": near}));
    let eras = json!({"systemConfig": {"eras": ["legacy", "modern"]}});
    let gateway = Gateway::start_with(&logs.with(settings::merged(base, eras)));
    gateway.wait_until_discovered(&["counter", "near"]);
    let mut count = 0;
    for path in ["/mcp", "/mcp/counter"] {
        let client = Stateless::new(gateway.address(), path);
        for (method, params) in [
            ("tools/call", json!({"name": "none", "arguments": {}})),
            ("prompts/get", json!({"name": "none"})),
            ("tools/list", json!({"cursor": "none"})),
            ("no/such", json!({})),
        ] {
            let _ = client.answer(method, params);
            count += 1;
            // A second line would come before that of this call.
            let _ = client.result("server/discover", json!({}));
            let is_discover = |line: &Value| line["method"] == "server/discover";
            wait_for(&logs.access(), count, is_discover);
            let others = wait_for(&logs.access(), count, |line| !is_discover(line));
            assert_eq!(others.len(), count, "{path} {method}: {others:?}");
        }
    }
}
