//! The access log and the audit log.

use std::path::Path;
use std::time::Duration;

use mooring_tests::http::Connection;
use mooring_tests::over_sse::OverSse;
use mooring_tests::{
    Cluster, Gateway, Request, Setup, Stateless, eventually, servers, settings, within,
};
use serde_json::{Value, json};

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

#[track_caller]
fn wait_for(path: &Path, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    eventually(&format!("{what} in {}", path.display()), || lines(path).into_iter().find(&is_it))
}

fn with_logs(base: Value, telemetry: Value) -> Value {
    settings::merged(base, json!({"systemConfig": {"telemetry": telemetry}}))
}

#[test]
fn the_access_log_has_a_line_for_each_call() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let servers = json!({"counter": servers::counter()});
    let settings = with_logs(settings::standalone(servers), json!({"accessLog": {"to": path}}));
    let mut gateway = Gateway::start_with(&settings);
    gateway.wait_until_discovered(&["counter"]);
    for scope in ["/mcp/counter", "/mcp"] {
        let session = gateway.client(scope).initialize();
        let tool = session.tools().into_iter().find(|name| name.ends_with("count")).unwrap();
        session.count(&tool);
        let line = wait_for(&path, "the call", |line| {
            line["method"] == "tools/call" && line["scope"] == scope
        });
        assert_eq!(line["tool"], tool.as_str());
        assert_eq!(line["server"], "counter");
        assert_eq!(line["outcome"], "ok");
        assert_eq!(line["principal"], "anonymous");
        assert_eq!(line["session"].as_str().unwrap().len(), 8);
        assert!(line["node"].is_string(), "{line}");
        assert!(line["received"].as_u64().unwrap() > 50 && line["sent"].as_u64().unwrap() > 20);
        assert!(line["seconds"].as_f64().unwrap() > 0.0, "{line}");
        assert!(line["time"].as_str().unwrap().ends_with('Z'), "{line}");
    }
    let session = gateway.client("/mcp/counter").initialize();
    for _ in 0..200 {
        session.count("count");
    }
    // What is waiting at the end is written.
    gateway.terminate();
    let calls = lines(&path).iter().filter(|line| line["method"] == "tools/call").count();
    assert_eq!(calls, 202);
}

#[test]
fn every_transport_scope_and_outcome_has_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let servers = json!({"counter": servers::counter(), "broken": {"command": "false"}});
    let base = settings::merged(
        settings::standalone(servers),
        json!({"groups": [{"name": "team", "servers": ["counter"]}]}),
    );
    let gateway = Gateway::start_with(&with_logs(base, json!({"accessLog": {"to": path}})));
    gateway.wait_until_discovered(&["counter"]);
    // HTTP+SSE, of one server and of a group.
    for (url, scope, tool) in
        [("/sse/counter", "/mcp/counter", "count"), ("/sse/team", "/mcp/team", "counter-count")]
    {
        let mut client = OverSse::initialize(gateway.address(), url);
        client.call(tool, json!({}));
        let line = wait_for(&path, "the call", |line| {
            line["scope"] == scope && line["method"] == "tools/call"
        });
        assert_eq!((&line["tool"], &line["server"]), (&json!(tool), &json!("counter")), "{line}");
        assert_eq!(line["outcome"], "ok", "{line}");
    }
    // What goes wrong, and who has said so.
    let session = gateway.client("/mcp/counter").initialize();
    let _ = session.answer("tools/call", json!({"name": "no-such", "arguments": {}}));
    let line = wait_for(&path, "the error", |line| line["tool"] == "no-such");
    assert_eq!(line["outcome"], "error", "{line}");
    assert_eq!((&line["emitter"], &line["error"]), (&json!("server"), &json!("invalid-params")));
    let _ = gateway.client("/mcp/broken").try_initialize();
    let line = wait_for(&path, "the refusal", |line| line["server"] == "broken");
    assert_eq!((&line["method"], &line["outcome"]), (&json!("initialize"), &json!("refused")));
    assert_eq!((&line["emitter"], &line["error"]), (&json!("node"), &json!("unavailable")));
    // A batch on a scope of several is told message by message.
    let all = gateway.client("/mcp").revision("2025-03-26").initialize();
    let one = |id: u64, method: &str| json!({"jsonrpc": "2.0", "id": id, "method": method});
    let batch = json!([one(901, "prompts/list"), one(902, "ping")]);
    all.with(gateway.client("/mcp").post().json(&batch)).send(gateway.address()).expect(200);
    for method in ["prompts/list", "ping"] {
        let line = wait_for(&path, method, |line| line["method"] == method);
        assert_eq!(line["scope"], "/mcp", "{line}");
    }
}

#[test]
fn a_full_file_is_begun_anew_and_old_ones_go() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let servers = json!({"counter": servers::counter()});
    let log = json!({"accessLog": {"to": path, "maxBytes": 1 << 20, "keep": 1}});
    let gateway = Gateway::start_with(&with_logs(settings::standalone(servers), log));
    let session = gateway.client("/mcp/counter").initialize();
    let mut connection = Connection::open(gateway.address());
    let kept = folder.path().join("access.log.1");
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let mut name = 0;
    let mut calls = |until: &dyn Fn() -> bool| {
        within(Duration::from_secs(60), "the file is full", || {
            for _ in 0..200 {
                name += 1;
                let tool = format!("{name:0>1000}");
                let (call, _) =
                    session.message("tools/call", json!({"name": tool, "arguments": {}}));
                connection.exchange(&session.post(&call)).expect(200);
            }
            until().then_some(())
        });
    };
    calls(&|| kept.exists());
    let first = std::fs::read(&kept).unwrap();
    calls(&|| size(&kept) > 0 && std::fs::read(&kept).unwrap() != first);
    assert!(size(&kept) <= 1 << 20 && size(&path) <= 1 << 20);
    assert!(!folder.path().join("access.log.2").exists());
    // No line is cut.
    assert!(lines(&kept).len() > 500);
}

/// Its stdout is a pipe that is open, and that nobody reads.
#[test]
fn a_log_that_nobody_reads_stops_no_call_and_loses_a_counted_number() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let servers = json!({"counter": servers::counter()});
    let log = json!({"accessLog": {"to": "stdout"}});
    let script = format!("exec 9<>{0}; exec \"$0\" \"$@\" >{0}", pipe.display());
    let mut gateway = Setup::new(&with_logs(settings::standalone(servers), log))
        .within(&["sh", "-c", &script])
        .start();
    let session = gateway.client("/mcp/counter").initialize();
    let mut connection = Connection::open(gateway.address());
    let long = format!("notifications/{}", "x".repeat(20));
    let notice = session.post(&json!({"jsonrpc": "2.0", "method": long}));
    let lost = |gateway: &Gateway| {
        let page = gateway.get("/metrics").text();
        let name = "mooring_log_lines_lost_total{log=\"access\",reason=\"full\"} ";
        page.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse::<u64>().unwrap()
    };
    within(Duration::from_secs(120), "lines are lost", || {
        for _ in 0..1000 {
            connection.exchange(&notice).expect(202);
        }
        (lost(&gateway) > 0).then_some(())
    });
    // What waits is bounded: from now on each line is lost.
    let before = lost(&gateway);
    for _ in 0..10 {
        connection.exchange(&notice).expect(202);
    }
    assert!(lost(&gateway) >= before + 10);
    assert_eq!(session.count("count"), 1);
    assert!(gateway.terminate().success());
}

#[test]
fn a_call_in_a_cluster_names_its_node() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let settings = with_logs(settings::coordinator(json!({})), json!({"accessLog": {"to": path}}));
    let coordinator = Gateway::start_with(&settings);
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    for id in ["a", "b"] {
        cluster.add(id, json!({"counter": servers::counter_named(id)}));
    }
    cluster.wait_for_active(2);
    let session = cluster.session_at("b");
    session.count("count");
    let line = wait_for(&path, "the call", |line| line["tool"] == "count");
    assert_eq!((&line["node"], &line["outcome"]), (&json!("b"), &json!("ok")), "{line}");
}

#[test]
fn the_audit_log_says_who_did_what_and_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let servers = json!({"counter": servers::counter()});
    let audit = json!({"auditLog": {"to": path, "arguments": true, "redact": ["/secret"]}});
    let locked = settings::merged(
        settings::standalone(servers),
        json!({"systemConfig": {"routing": {"enableBearerAuth": true, "bearerAuthKey": "the-key-of-the-test"}}}),
    );
    let gateway = Gateway::start_with(&with_logs(locked, audit));
    let refused = gateway.client("/mcp/counter").try_initialize();
    refused.expect(401);
    let line = wait_for(&path, "the refusal", |line| line["action"] == "request");
    assert_eq!(line["decision"], "refused");
    assert_eq!(line["address"], "127.0.0.1");
    assert!(line["why"].as_str().unwrap().contains("Unauthorized"), "{line}");
    let client =
        gateway.client("/mcp/counter").header("Authorization", "Bearer the-key-of-the-test");
    let session = client.initialize();
    let line = wait_for(&path, "the session", |line| line["action"] == "session");
    assert_eq!((&line["decision"], &line["server"]), (&json!("allowed"), &json!("counter")));
    let _ = session
        .answer("tools/call", json!({"name": "count", "arguments": {"secret": "s3cret", "n": 1}}));
    let line = wait_for(&path, "the call", |line| line["action"] == "call");
    assert_eq!(line["target"], "count");
    assert_eq!(line["arguments"], json!({"secret": "[redacted]", "n": 1}));
    assert!(!std::fs::read_to_string(&path).unwrap().contains("s3cret"));
    // The management API.
    gateway.get("/api/cluster/instances").expect(401);
    let line = wait_for(&path, "the refusal", |line| line["action"] == "management");
    assert_eq!(line["method"], "/api/cluster/instances");
    let put = Request::new("PUT", "/api/log-level")
        .header("Authorization", "Bearer the-key-of-the-test")
        .json(&json!({"filter": "debug"}));
    put.send(gateway.address()).expect(200);
    let line = wait_for(&path, "the change", |line| line["action"] == "log-level");
    assert_eq!((&line["decision"], &line["target"]), (&json!("allowed"), &json!("debug")));
    let reload = Request::post("/api/reload")
        .header("Authorization", "Bearer the-key-of-the-test")
        .json(&json!({}));
    reload.send(gateway.address()).expect(200);
    let line = wait_for(&path, "the reload", |line| line["action"] == "reload");
    assert_eq!((&line["decision"], &line["why"]), (&json!("allowed"), &json!("unchanged")));
}

/// A client without a session: what is refused before it is a call of any session is told as well.
#[test]
fn a_message_of_no_session_that_is_refused_is_in_both_logs() {
    let folder = tempfile::tempdir().unwrap();
    let [access, audit] = ["access.log", "audit.log"].map(|name| folder.path().join(name));
    let servers = json!({"counter": servers::counter(), "clock": servers::clock()});
    let eras = json!({"systemConfig": {"eras": ["legacy", "modern"]}});
    let base = settings::merged(settings::standalone(servers), eras);
    let logs = json!({"accessLog": {"to": access}, "auditLog": {"to": audit}});
    let gateway = Gateway::start_with(&with_logs(base, logs));
    gateway.wait_until_discovered(&["counter", "clock"]);
    for scope in ["/mcp", "/mcp/counter"] {
        let client = Stateless::new(gateway.address(), scope);
        let unknown = client.send("acme/none", json!({})).expect(404);
        let other = Stateless::new(gateway.address(), scope)
            .meta("io.modelcontextprotocol/protocolVersion", json!("2027-01-01"));
        let mismatch = other.send("tools/list", json!({})).expect(400);
        let capable = client.send("tasks/get", json!({"taskId": "x"}));
        for (method, response) in
            [("acme/none", unknown), ("tools/list", mismatch), ("tasks/get", capable)]
        {
            let error = response.json()["error"].clone();
            let why = error["message"].as_str().unwrap_or_else(|| panic!("{method}: {error}"));
            let line = wait_for(&audit, "the refusal", |line| {
                line["why"] == why && (line["method"] == scope || line["scope"] == scope)
            });
            assert_eq!(
                (&line["decision"], &line["principal"]),
                (&json!("refused"), &json!("anonymous"))
            );
            assert_eq!(line["address"], "127.0.0.1", "{line}");
        }
        let refused = |line: &Value| line["scope"] == scope && line["outcome"] == "refused";
        eventually("the lines of the access log", || {
            (lines(&access).iter().filter(|line| refused(line)).count() == 3).then_some(())
        });
        // What is answered is told once, as a call.
        let _ = client.answer("tools/call", json!({"name": "nothing", "arguments": {}}));
        let is_it = |line: &Value| line["target"] == "nothing" && line["scope"] == scope;
        wait_for(&audit, "the call", is_it);
        assert_eq!(lines(&audit).iter().filter(|line| is_it(line)).count(), 1);
    }
    let page = gateway.get("/metrics").text();
    let counted = page.lines().find(|line| line.contains("refusals_total{reason=\"method\"}"));
    assert!(counted.is_some_and(|line| !line.ends_with(" 0")), "{counted:?}");
}

#[test]
fn arguments_are_audited_only_if_the_settings_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = json!({
        "a": {"key": "s3cret-1", "n": 1}, "list": ["s3cret-2", "s3cret-3"], "plain": "shown",
    });
    for (name, audit, expect) in [
        ("off", json!({}), Value::Null),
        ("all", json!({"arguments": true}), arguments.clone()),
        (
            "some",
            json!({"arguments": true, "redact": ["/*/key", "/list/*"]}),
            json!({
                "a": {"key": "[redacted]", "n": 1}, "list": ["[redacted]", "[redacted]"],
                "plain": "shown",
            }),
        ),
    ] {
        let path = folder.path().join(name);
        let audit = settings::merged(audit, json!({"to": path}));
        let servers = json!({"counter": servers::counter()});
        let settings = with_logs(settings::standalone(servers), json!({"auditLog": audit}));
        let gateway = Gateway::start_with(&settings);
        gateway.wait_until_discovered(&["counter"]);
        for (scope, tool) in [("/mcp/counter", "count"), ("/mcp", "counter-count")] {
            let session = gateway.client(scope).initialize();
            let _ =
                session.answer("tools/call", json!({"name": tool, "arguments": arguments.clone()}));
            let line = wait_for(&path, "the call", |line| {
                line["action"] == "call" && line["scope"] == scope
            });
            assert_eq!(line["arguments"], expect, "{name}: {line}");
            assert_eq!((&line["target"], &line["server"]), (&json!(tool), &json!("counter")));
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.contains("s3cret"), name == "all", "{text}");
    }
}

#[test]
fn a_log_to_stdout_is_json_unless_text_is_wanted() {
    let servers = json!({"counter": servers::counter()});
    let log = json!({"accessLog": {}});
    let gateway = Gateway::start_with(&with_logs(settings::standalone(servers), log));
    gateway.client("/mcp/counter").initialize().count("count");
    let line = gateway.wait_for_log("\"method\":\"tools/call\"");
    let line: Value = serde_json::from_str(&line).expect(&line);
    assert_eq!((&line["tool"], &line["outcome"]), (&json!("count"), &json!("ok")));
}

#[test]
fn a_log_to_stdout_is_text_if_it_is_wanted() {
    let servers = json!({"counter": servers::counter()});
    let log = json!({"accessLog": {"to": "stdout", "format": "text"}});
    let gateway = Gateway::start_with(&with_logs(settings::standalone(servers), log));
    gateway.client("/mcp/counter").initialize().count("count");
    let line = gateway.wait_for_log(" method=tools/call ");
    assert!(line.starts_with("time=") && line.contains(" tool=count "), "{line}");
}

#[test]
fn what_cannot_be_written_is_counted_and_stops_no_call() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let servers = json!({"counter": servers::counter()});
    let settings = with_logs(settings::standalone(servers), json!({"accessLog": {"to": path}}));
    let gateway = Gateway::start_with(&settings);
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let session = gateway.client("/mcp/counter").initialize();
    session.count("count");
    eventually("the loss is counted", || {
        let page = gateway.get("/metrics").text();
        let name = "mooring_log_lines_lost_total{log=\"access\",reason=\"failed\"} ";
        let lost = page.lines().find_map(|line| line.strip_prefix(name))?.parse::<u64>().ok()?;
        (lost >= 1).then_some(())
    });
    session.count("count");
}

#[test]
fn settings_that_cannot_be_obeyed_are_refused() {
    let base = || settings::standalone(json!({"counter": servers::counter()}));
    for (telemetry, says) in [
        (json!({"accessLog": {"format": "xml"}}), "form of a log"),
        (json!({"accessLog": {"to": ""}}), "is empty"),
        (json!({"accessLog": {"maxBytes": 1}}), "too small"),
        (json!({"auditLog": {"arguments": true, "redact": ["password"]}}), "JSON pointer"),
    ] {
        let output = Setup::new(&with_logs(base(), telemetry.clone())).run(&["check"]);
        assert!(!output.status.success(), "{telemetry}");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(says) && text.contains("telemetry"), "{telemetry}: {text}");
    }
    for (path, why) in
        [("/no/such/folder/access.log", "No such file"), ("/dev/null", "no regular file")]
    {
        let output = Setup::new(&with_logs(base(), json!({"accessLog": {"to": path}}))).refused();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("systemConfig.telemetry") && text.contains(path), "{text}");
        assert!(text.contains(why), "{text}");
    }
}
