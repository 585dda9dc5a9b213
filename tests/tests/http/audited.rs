//! The audit log of who was let in and to what, with the rule or limit that decided.

use std::path::Path;

use mooring_tests::{
    Client, Cluster, Gateway, Issuer, OverSse, Request, eventually, servers, settings,
};
use serde_json::{Value, json};

fn token(name: &str) -> String {
    format!("token-of-{name}-0123456789")
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

#[track_caller]
fn wait_for(path: &Path, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    eventually(&format!("{what} in the audit log"), || lines(path).into_iter().find(&is_it))
}

fn access(audit: &Path, issuer: &Issuer) -> Value {
    let key = |name: &str| json!({"name": name, "token": token(name), "accessType": "all"});
    let access = json!({
        "bearerKeys": [key("boss"), key("reader"), key("nobody")],
        "systemConfig": {
            "telemetry": {"auditLog": {"to": audit}},
            "policy": [
                {"name": "everything", "effect": "allow", "who": {"keys": ["boss"]}},
                {"name": "the api", "effect": "allow", "who": {"keys": ["boss"]}, "management": true},
                {"name": "counters", "effect": "allow", "who": {"keys": ["reader"]},
                 "servers": ["counter"]},
                {"name": "no names", "effect": "deny", "who": {"keys": ["reader"]},
                 "tools": ["whoami"]},
                {"name": "no api", "effect": "deny", "who": {"keys": ["reader"]}, "management": true},
                {"name": "staff", "effect": "allow", "who": {"groups": ["staff"]}},
            ],
            "limits": {"rates": [
                {"name": "few", "who": {"keys": ["corp"]}, "servers": ["counter"],
                 "tools": ["count"], "requests": 1, "within": 1_000_000},
            ]},
        },
    });
    settings::merged(access, issuer.settings(json!({})))
}

fn client(gateway: &Gateway, name: &str, path: &str) -> Client {
    gateway.client(path).header("Authorization", &format!("Bearer {}", token(name)))
}

fn each(test: impl Fn(&Gateway, &Path, &Issuer)) {
    let all = json!({"counter": servers::counter(), "notes": servers::notes()});
    for is_cluster in [false, true] {
        eprintln!("cluster: {is_cluster}");
        let (folder, issuer) = (tempfile::tempdir().unwrap(), Issuer::start());
        let path = folder.path().join("audit.log");
        let access = access(&path, &issuer);
        if !is_cluster {
            let settings = settings::merged(settings::standalone(all.clone()), access);
            test(&Gateway::start_with(&settings), &path, &issuer);
            continue;
        }
        let coordinator = settings::merged(settings::coordinator(json!({})), access);
        let coordinator = Gateway::start_with(&coordinator);
        let mut cluster = Cluster { coordinator, nodes: Vec::new() };
        cluster.add("n1", all.clone());
        let boss = client(&cluster.coordinator, "boss", "/mcp/notes");
        eventually("the node's servers are there", || {
            (boss.try_initialize().status == 200).then_some(())
        });
        test(&cluster.coordinator, &path, &issuer);
    }
}

/// Who, what, and by which rule.
fn decided(line: &Value) -> [&str; 4] {
    ["principal", "decision", "policy", "rule"].map(|name| line[name].as_str().unwrap_or("-"))
}

#[test]
fn a_call_is_audited_with_the_rule_that_has_decided_about_it() {
    each(|gateway, audit, _| {
        for (path, prefix) in [("/mcp", "counter-"), ("/mcp/counter", "")] {
            let tool = |name: &str| format!("{prefix}{name}");
            let call = |line: &Value, who: &str, target: &str| {
                line["action"] == "call"
                    && line["principal"] == who
                    && line["scope"] == path
                    && line["target"] == target
            };
            let boss = client(gateway, "boss", path).initialize();
            boss.count(&tool("count"));
            let line = wait_for(audit, "the call", |line| call(line, "boss", &tool("count")));
            assert_eq!(decided(&line), ["boss", "allowed", "allowed", "everything"], "{line}");
            let reader = client(gateway, "reader", path).initialize();
            reader.count(&tool("count"));
            let line = wait_for(audit, "the call", |line| call(line, "reader", &tool("count")));
            assert_eq!(decided(&line), ["reader", "allowed", "allowed", "counters"], "{line}");
            let hidden = tool("whoami");
            let refused = json!({"name": hidden, "arguments": {}});
            assert!(reader.answer("tools/call", refused).get("error").is_some());
            let line = wait_for(audit, "the refusal", |line| call(line, "reader", &hidden));
            assert_eq!(decided(&line), ["reader", "refused", "denied", "no names"], "{line}");
            // What nobody has was not refused by a rule.
            let unknown = tool("nothing");
            let answer = reader.answer("tools/call", json!({"name": unknown, "arguments": {}}));
            assert!(answer.get("error").is_some());
            let line = wait_for(audit, "the refusal", |line| call(line, "reader", &unknown));
            assert_eq!(decided(&line), ["reader", "refused", "-", "-"], "{line}");
        }
        // With the server's name in front it is the same tool.
        let reader = client(gateway, "reader", "/mcp/counter").initialize();
        let prefixed = json!({"name": "counter-whoami", "arguments": {}});
        assert!(reader.answer("tools/call", prefixed).get("error").is_some());
        let line = wait_for(audit, "the refusal", |line| {
            line["scope"] == "/mcp/counter" && line["target"] == "counter-whoami"
        });
        assert_eq!(decided(&line), ["reader", "refused", "denied", "no names"], "{line}");
        // A completion is refused too, and nothing else is told of those that are let through.
        let reader = client(gateway, "reader", "/mcp").initialize();
        let completed = json!({
            "ref": {"type": "ref/prompt", "name": "notes-summary"},
            "argument": {"name": "x", "value": ""},
        });
        let _ = reader.answer("completion/complete", completed);
        let line =
            wait_for(audit, "the completion", |line| line["method"] == "completion/complete");
        assert_eq!(decided(&line)[..2], ["reader", "refused"], "{line}");
        // HTTP+SSE.
        let bearer = format!("Bearer {}", token("reader"));
        let mut sse = OverSse::open_with(gateway.address(), "/sse", &[("Authorization", &bearer)]);
        sse.begin();
        let before = lines(audit).len();
        let answer = sse.answer("tools/call", json!({"name": "counter-whoami", "arguments": {}}));
        assert!(answer.get("error").is_some(), "{answer}");
        eventually("the refusal over HTTP+SSE", || {
            let new = lines(audit).split_off(before);
            let is_it = |line: &Value| decided(line) == ["reader", "refused", "denied", "no names"];
            new.iter().any(is_it).then_some(())
        });
    });
}

#[test]
fn a_refused_request_is_audited_with_its_sender_and_the_rule_that_hides_what_it_asks_for() {
    each(|gateway, audit, issuer| {
        let request = |line: &Value, path: &str, who: Value| {
            line["action"] == "request" && line["method"] == path && line["principal"] == who
        };
        for (who, path, expect) in [
            ("reader", "/mcp/notes", ["reader", "refused", "no-rule", "-"]),
            ("nobody", "/mcp/counter", ["nobody", "refused", "no-rule", "-"]),
            ("nobody", "/mcp/unknown", ["nobody", "refused", "-", "-"]),
        ] {
            client(gateway, who, path).try_initialize().expect(404);
            let line = wait_for(audit, "the refusal", |line| request(line, path, who.into()));
            assert_eq!(decided(&line), expect, "{line}");
            assert!(line["address"].is_string() && line["time"].is_string(), "{line}");
        }
        // Nobody is known who is not let in at all.
        let outdated = issuer.token_with("ann", json!({"exp": 1_000_000}));
        for (path, credential, says) in [
            ("/mcp/a", "Bearer a-key-that-nobody-has", "neither a key"),
            ("/mcp/b", &format!("Bearer {outdated}"), "expired"),
        ] {
            let client = gateway.client(path).header("Authorization", credential);
            client.try_initialize().expect(401);
            let line = wait_for(audit, "the refusal", |line| request(line, path, Value::Null));
            assert!(line["why"].as_str().unwrap().contains(says), "{line}");
        }
        let page = gateway.client("/mcp/c").header("Origin", "https://evil.example");
        page.try_initialize().expect(403);
        wait_for(audit, "the foreign page", |line| request(line, "/mcp/c", Value::Null));
        // A session that is not there.
        let session = client(gateway, "boss", "/mcp/counter").initialize();
        let stolen = mooring_tests::Session::resumed(
            &client(gateway, "reader", "/mcp/counter"),
            &session.id,
        );
        stolen.try_request("tools/list", json!({})).expect(404);
        wait_for(audit, "the stolen session", |line| {
            request(line, "/mcp/counter", "reader".into()) && line["why"] == "Session not found"
        });
        // A limit.
        let ann = issuer.token_with("ann", json!({"groups": ["staff"]}));
        let ann = gateway.client("/mcp/counter").header("Authorization", &format!("Bearer {ann}"));
        let ann = eventually("it is let in", || {
            (ann.try_initialize().status == 200).then(|| ann.initialize())
        });
        ann.count("count");
        assert!(ann.answer("tools/call", json!({"name": "count"})).get("error").is_some());
        let line = wait_for(audit, "the limit", |line| line["limit"] == "few");
        assert_eq!(
            (&line["action"], &line["principal"], &line["decision"]),
            (&json!("call"), &json!("corp:ann"), &json!("refused")),
            "{line}"
        );
        // One line for one refusal.
        let count = lines(audit).iter().filter(|line| line["limit"] == "few").count();
        assert_eq!(count, 1);
    });
}

#[test]
fn the_management_api_is_audited_with_who_uses_it_and_by_which_rule() {
    each(|gateway, audit, _| {
        let ask = |method: &str, path: &str, who: Option<&str>| {
            let request = Request::new(method, path).json(&json!({"filter": "mooring=info"}));
            let request = match who {
                Some(who) => request.header("Authorization", &format!("Bearer {}", token(who))),
                None => request,
            };
            request.send(gateway.address()).status
        };
        for (who, expect) in [
            (Some("reader"), ["reader", "refused", "denied", "no api"]),
            (Some("nobody"), ["nobody", "refused", "no-rule", "-"]),
        ] {
            assert_eq!(ask("GET", "/api/cluster/instances", who), 403);
            let line = wait_for(audit, "the refusal", |line| {
                line["action"] == "management" && line["principal"] == json!(who)
            });
            assert_eq!(decided(&line), expect, "{line}");
            assert_eq!(line["method"], "/api/cluster/instances");
        }
        assert_eq!(ask("GET", "/api/cluster/instances", None), 401);
        wait_for(audit, "the stranger", |line| {
            line["action"] == "management" && line["principal"] == Value::Null
        });
        assert_eq!(ask("PUT", "/api/log-level", Some("boss")), 200);
        let line = wait_for(audit, "the change", |line| line["action"] == "log-level");
        assert_eq!(decided(&line), ["boss", "allowed", "allowed", "the api"], "{line}");
        // A probe without a key is answered, and refused nothing.
        let before = lines(audit).len();
        assert_eq!(ask("GET", "/health", None), 200);
        assert_eq!(ask("GET", "/api/logs?server=counter", None), 401);
        let after = eventually("the next refusal", || {
            let new = lines(audit).split_off(before);
            new.iter().any(|line| line["method"] == "/api/logs").then_some(new)
        });
        assert!(after.iter().all(|line| line["method"] != "/health"), "{after:?}");
    });
}
