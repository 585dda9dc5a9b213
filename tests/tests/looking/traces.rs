//! Traces: one from the client through coordinator and node to the server, told to a collector.

use std::path::Path;
use std::sync::{Mutex, mpsc};

use mooring_tests::spans::{Span, collector, received};
use mooring_tests::{Cluster, Gateway, Scripted, Setup, eventually, servers, settings};
use serde_json::{Value, json};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

fn parent(flags: &str) -> String {
    format!("00-{TRACE}-{CALLER}-{flags}")
}

fn traced(base: Value, collector: &Scripted, more: Value) -> Value {
    let traces = settings::merged(json!({"endpoint": collector.url("")}), more);
    settings::merged(base, json!({"systemConfig": {"telemetry": {"traces": traces}}}))
}

/// A counter behind a shell that writes all that it is sent into a file.
fn recorded(path: &Path) -> Value {
    let script = format!("tee -a {} | mooring-example-counter", path.display());
    json!({"command": "sh", "args": ["-c", script]})
}

/// The message of a call, as the server has got it.
#[track_caller]
fn sent_to_server(path: &Path, argument: &str) -> Value {
    eventually("the server has the call", || {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut messages = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        messages.find(|message: &Value| message["params"]["arguments"]["mark"] == argument)
    })
}

#[track_caller]
fn span_of(collector: &Scripted, name: &str, mode: &str) -> Span {
    eventually(&format!("the {mode}'s span of {name}"), || {
        let mut spans = received(collector).into_iter();
        spans.find(|span| span.name == name && span.resource["mooring.mode"] == mode)
    })
}

#[test]
fn one_trace_goes_through_coordinator_and_node_to_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("messages");
    let collector = collector();
    let settings = traced(settings::coordinator(json!({})), &collector, json!({}));
    let coordinator = Gateway::start_with(&settings);
    let servers = json!({"counter": recorded(&path)});
    let node = settings::node(coordinator.port(), json!({"id": "a"}), servers);
    let node = Gateway::start_with(&traced(node, &collector, json!({"ratio": 0})));
    let cluster = Cluster { coordinator, nodes: vec![node] };
    cluster.wait_for_active(1);
    let client = cluster.client("/mcp/counter");
    let client = client.header("traceparent", &parent("01")).header("tracestate", "vendor=1");
    let session = client.initialize();
    let call = json!({"name": "count", "arguments": {"mark": "x"}, "_meta": {"a/b": 1}});
    assert!(session.answer("tools/call", call)["result"].is_object());
    let edge = span_of(&collector, "tools/call count", "coordinator");
    let runner = span_of(&collector, "tools/call count", "node");
    for span in [&edge, &runner] {
        assert_eq!((span.trace.as_str(), span.state.as_str()), (TRACE, "vendor=1"), "{span:?}");
        assert_eq!(span.attributes["mcp.method.name"], "tools/call");
        assert_eq!(span.attributes["gen_ai.tool.name"], "count");
        assert_eq!(span.attributes["mooring.server"], "counter");
        assert_eq!(span.attributes["mooring.outcome"], "ok");
        assert!(span.began > 1_600_000_000_000_000_000 && span.ended > span.began, "{span:?}");
        assert!(!span.is_error);
    }
    assert_eq!((edge.parent.as_str(), edge.kind), (CALLER, 2));
    assert_eq!((runner.parent.as_str(), runner.kind), (edge.id.as_str(), 3));
    assert!(runner.began >= edge.began && runner.ended <= edge.ended, "{edge:?} {runner:?}");
    assert_eq!(edge.attributes["mooring.node"], "a");
    assert_eq!(runner.resource["service.instance.id"], "a");
    let got = sent_to_server(&path, "x");
    let expect = format!("00-{TRACE}-{}-01", runner.id);
    let meta = json!({"traceparent": expect, "tracestate": "vendor=1", "a/b": 1});
    assert_eq!(got["params"]["_meta"], meta);
    // The opening of the session is in the trace, too.
    assert_eq!(span_of(&collector, "initialize", "coordinator").trace, TRACE);
    // A node that makes no spans passes the context on.
    let mut cluster = cluster;
    let path = folder.path().join("others");
    cluster.add("b", json!({"other": recorded(&path)}));
    cluster.wait_for_active(2);
    let client = cluster.client("/mcp/other").header("traceparent", &parent("01"));
    client.initialize().call("count", json!({"mark": "y"}));
    let span = eventually("its span", || {
        let mut spans = received(&collector).into_iter();
        spans.find(|span| {
            span.attributes.get("mooring.node").is_some_and(|node| node == "b")
                && span.name == "tools/call count"
        })
    });
    let got = sent_to_server(&path, "y");
    assert_eq!(got["params"]["_meta"]["traceparent"], format!("00-{TRACE}-{}-01", span.id));
}

#[test]
fn a_context_in_meta_reaches_a_server_behind_a_url_in_header_and_meta() {
    let collector = collector();
    let upstream = Scripted::start(|_, out| Some(out));
    let base = settings::standalone(json!({"far": upstream.entry()}));
    let gateway = Gateway::start_with(&traced(base, &collector, json!({"ratio": 0})));
    gateway.wait_until_discovered(&["far"]);
    for (scope, tool) in [("/mcp/far", "ask"), ("/mcp", "far-ask")] {
        let session = gateway.client(scope).initialize();
        let meta = json!({"traceparent": parent("01"), "tracestate": "k=v", "progressToken": 7});
        let call = json!({"name": tool, "arguments": {"scope": scope}, "_meta": meta});
        assert!(session.answer("tools/call", call)["result"].is_object());
        let asked = upstream
            .wait_for("the call", |asked| asked.json()["params"]["arguments"]["scope"] == scope);
        let header = asked.header("traceparent").expect("a header").to_owned();
        assert!(header.starts_with(&format!("00-{TRACE}-")) && !header.contains(CALLER));
        assert_eq!(asked.header("tracestate"), Some("k=v"));
        let meta = &asked.json()["params"]["_meta"];
        assert_eq!(meta["traceparent"], header);
        assert_eq!(
            (&meta["tracestate"], meta.get("progressToken").is_some()),
            (&json!("k=v"), true)
        );
        let edge = eventually("the edge's span", || {
            let mut spans = received(&collector).into_iter();
            spans.find(|span| span.parent == CALLER && span.name == format!("tools/call {tool}"))
        });
        let runner = eventually("the runner's span", || {
            received(&collector).into_iter().find(|span| span.parent == edge.id)
        });
        assert_eq!(header, format!("00-{TRACE}-{}-01", runner.id));
        // What no client has put into a trace is in none.
        let call = json!({"name": tool, "arguments": {"scope": format!("{scope} alone")}});
        assert!(session.answer("tools/call", call)["result"].is_object());
        let asked = upstream.wait_for("the call", |asked| {
            asked.json()["params"]["arguments"]["scope"] == format!("{scope} alone")
        });
        assert_eq!(asked.header("traceparent"), None);
        assert_eq!(asked.json()["params"].get("_meta"), None);
    }
}

/// What a client says beside its requests is in its trace as well, on the URL of one server and on others.
#[test]
fn the_answer_to_a_servers_question_stays_in_the_clients_trace() {
    let collector = collector();
    let (answered, answers) = mpsc::channel::<()>();
    let (answered, answers) = (Mutex::new(answered), Mutex::new(answers));
    let upstream = Scripted::start(move |asked, out| {
        let message = asked.json();
        if asked.method == "POST" && message.get("method").is_none() {
            let _ = answered.lock().map(|answered| answered.send(()));
            out.reply("202 Accepted", &[], b"");
            return None;
        }
        if asked.rpc() != "tools/call" {
            return Some(out);
        }
        let mut out = out.events();
        let params = json!({"messages": [], "maxTokens": 1});
        out.event(&json!({
            "jsonrpc": "2.0", "id": "q", "method": "sampling/createMessage", "params": params,
        }));
        let _ = answers.lock().map(|answers| answers.recv());
        out.event(&json!({"jsonrpc": "2.0", "id": message["id"], "result": {"content": []}}));
        None
    });
    let base = settings::standalone(json!({"far": upstream.entry()}));
    let gateway = Gateway::start_with(&traced(base, &collector, json!({"ratio": 0})));
    gateway.wait_until_discovered(&["far"]);
    for (scope, tool) in [("/mcp/far", "ask"), ("/mcp", "far-ask")] {
        let able = json!({
            "protocolVersion": "2025-11-25", "capabilities": {"sampling": {}},
            "clientInfo": {"name": "able", "version": "1"},
        });
        let client = gateway.client(scope).header("traceparent", &parent("01")).params(able);
        let session = client.initialize();
        let (mut stream, id) = session.start(tool, json!({}), json!({}));
        let question = stream.message(|message| message["method"] == "sampling/createMessage");
        let content = json!({"type": "text", "text": scope});
        let result = json!({"role": "assistant", "content": content, "model": "m"});
        let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": result});
        session.post(&answer).send(gateway.address()).expect(202);
        stream.message(|message| message["id"] == id && message.get("result").is_some());
        let got = upstream
            .wait_for("the answer", |asked| asked.json()["result"]["content"]["text"] == scope);
        let header = got.header("traceparent").unwrap_or_else(|| panic!("{scope}: no header"));
        let runner = eventually("the runner's span of the answer", || {
            let mut spans = received(&collector).into_iter();
            spans.find(|span| header == format!("00-{TRACE}-{}-01", span.id))
        });
        let edge = eventually("the edge's span of the answer", || {
            received(&collector).into_iter().find(|span| span.id == runner.parent)
        });
        assert_eq!((edge.name.as_str(), edge.parent.as_str()), ("response", CALLER), "{edge:?}");
        assert_eq!(edge.attributes["mooring.server"], "far", "{scope}: {edge:?}");
    }
}

#[test]
fn a_trace_that_nobody_records_is_passed_on_and_not_told() {
    let collector = collector();
    let upstream = Scripted::start(|_, out| Some(out));
    let base = settings::standalone(json!({"far": upstream.entry()}));
    let gateway = Gateway::start_with(&traced(base, &collector, json!({})));
    let client = gateway.client("/mcp/far").header("traceparent", &parent("00"));
    let session = client.initialize();
    let _ = session.answer("tools/call", json!({"name": "ask", "arguments": {"n": 1}}));
    let asked =
        upstream.wait_for("the call", |asked| asked.json()["params"]["arguments"]["n"] == 1);
    let header = asked.header("traceparent").expect("a header").to_owned();
    assert!(header.starts_with(&format!("00-{TRACE}-")) && header.ends_with("-00"), "{header}");
    // A trace begins here where the client has none, and where it is no context.
    for (n, header) in [(2, "00-nothing"), (3, "")] {
        let client = gateway.client("/mcp/far").header("traceparent", header);
        let call = json!({"name": "ask", "arguments": {"n": n}});
        let _ = client.initialize().answer("tools/call", call);
    }
    let roots = eventually("two traces", || {
        let spans = received(&collector).into_iter();
        let roots: Vec<Span> =
            spans.filter(|span| span.parent.is_empty() && span.name == "tools/call ask").collect();
        (roots.len() == 2).then_some(roots)
    });
    assert_ne!(roots[0].trace, roots[1].trace);
    assert!(received(&collector).iter().all(|span| span.trace != TRACE));
}

#[test]
fn without_settings_nothing_is_traced_and_nothing_is_changed() {
    let upstream = Scripted::start(|_, out| Some(out));
    let gateway = Gateway::start_with(&settings::standalone(json!({"far": upstream.entry()})));
    let client = gateway.client("/mcp/far").header("traceparent", &parent("01"));
    let session = client.initialize();
    let meta = json!({"traceparent": "as it is"});
    let call = json!({"name": "ask", "arguments": {"n": 1}, "_meta": meta});
    let _ = session.answer("tools/call", call);
    let asked =
        upstream.wait_for("the call", |asked| asked.json()["params"]["arguments"]["n"] == 1);
    assert_eq!(asked.header("traceparent"), None);
    assert_eq!(asked.json()["params"]["_meta"], meta);
}

#[test]
fn spans_that_no_collector_takes_are_counted_and_the_last_ones_are_sent_at_the_end() {
    let refusing = Scripted::start(|_, out| {
        out.reply("400 Bad Request", &[], b"");
        None
    });
    let base = || settings::standalone(json!({"counter": servers::counter()}));
    let headers = json!({"headers": {"X-Key": "k"}});
    let gateway = Gateway::start_with(&traced(base(), &refusing, headers));
    let session = gateway.client("/mcp/counter").initialize();
    session.count("count");
    eventually("the loss is counted", || {
        let page = gateway.get("/metrics").text();
        let name = "mooring_spans_lost_total{reason=\"failed\"} ";
        let lost = page.lines().find_map(|line| line.strip_prefix(name))?.parse::<u64>().ok()?;
        (lost >= 2).then_some(())
    });
    assert_eq!(refusing.all()[0].header("x-key"), Some("k"));
    gateway.wait_for_log("spans are lost: the collector answers 400");
    let collector = collector();
    let mut gateway = Gateway::start_with(&traced(base(), &collector, json!({})));
    let session = gateway.client("/mcp/counter").initialize();
    for _ in 0..50 {
        session.count("count");
    }
    gateway.terminate();
    let calls = received(&collector)
        .into_iter()
        .filter(|span| span.name == "tools/call count" && span.kind == 2);
    assert_eq!(calls.count(), 50);
}

#[test]
fn settings_of_traces_that_cannot_be_obeyed_are_refused() {
    let base = || settings::standalone(json!({"counter": servers::counter()}));
    for (traces, says) in [
        (json!({}), "endpoint"),
        (json!({"endpoint": "collector:4318"}), "http://"),
        (json!({"endpoint": "http://127.0.0.1:4318", "ratio": 2}), "from 0 to 1"),
        (json!({"endpoint": "http://127.0.0.1:4318", "headers": {"a b": "x"}}), "header name"),
    ] {
        let telemetry = json!({"systemConfig": {"telemetry": {"traces": traces}}});
        let output = Setup::new(&settings::merged(base(), telemetry)).run(&["check"]);
        assert!(!output.status.success(), "{traces}");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("telemetry.traces") && text.contains(says), "{traces}: {text}");
    }
}

#[test]
fn a_large_message_is_traced_like_a_small_one() {
    let collector = collector();
    let upstream = Scripted::start(|_, out| Some(out));
    let base = settings::standalone(json!({"far": upstream.entry()}));
    let gateway = Gateway::start_with(&traced(base, &collector, json!({"ratio": 0})));
    gateway.wait_until_discovered(&["far"]);
    for (scope, tool) in [("/mcp/far", "ask"), ("/mcp", "far-ask")] {
        let session = gateway.client(scope).initialize();
        let meta = json!({"traceparent": parent("01")});
        let arguments = json!({"scope": scope, "big": "x".repeat(300_000)});
        let call = json!({"name": tool, "arguments": arguments, "_meta": meta});
        assert!(session.answer("tools/call", call)["result"].is_object());
        let edge = eventually("the edge's span", || {
            let mut spans = received(&collector).into_iter();
            spans.find(|span| span.parent == CALLER && span.name == format!("tools/call {tool}"))
        });
        let runner = eventually("the runner's span", || {
            received(&collector).into_iter().find(|span| span.parent == edge.id)
        });
        assert_eq!((edge.trace.as_str(), runner.trace.as_str()), (TRACE, TRACE));
        let expect = format!("00-{TRACE}-{}-01", runner.id);
        let asked = upstream
            .wait_for("the call", |asked| asked.json()["params"]["arguments"]["scope"] == scope);
        assert_eq!(asked.header("traceparent"), Some(expect.as_str()));
        assert_eq!(asked.json()["params"]["_meta"]["traceparent"], expect);
    }
}

#[test]
fn several_headers_of_a_context_are_one_list_or_no_context() {
    let collector = collector();
    let upstream = Scripted::start(|_, out| Some(out));
    let base = settings::standalone(json!({"far": upstream.entry()}));
    let gateway = Gateway::start_with(&traced(base, &collector, json!({})));
    let session = gateway.client("/mcp/far").initialize();
    let other = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let (sampled, random) = (parent("01"), parent("03"));
    let state = "tracestate";
    for (n, headers) in [
        vec![("traceparent", sampled.as_str()), (state, "a=1"), (state, "b=2")],
        // That the trace's id is random is passed on with it.
        vec![("traceparent", random.as_str())],
        // Whose call this is, nobody can tell.
        vec![("traceparent", sampled.as_str()), ("traceparent", other.as_str())],
    ]
    .into_iter()
    .enumerate()
    {
        let (call, _) =
            session.message("tools/call", json!({"name": "ask", "arguments": {"n": n}}));
        let request = headers
            .iter()
            .fold(session.post(&call), |request, (name, value)| request.also(name, value));
        request.send(gateway.address()).expect(200);
        let asked =
            upstream.wait_for("the call", |asked| asked.json()["params"]["arguments"]["n"] == n);
        let header = asked.header("traceparent").expect("a context");
        assert_eq!(header.starts_with(&format!("00-{TRACE}-")), n < 2, "{header}");
        assert!(header.ends_with(if n == 1 { "-03" } else { "-01" }), "{header}");
        assert_eq!(asked.header(state), (n == 0).then_some("a=1,b=2"));
    }
}
