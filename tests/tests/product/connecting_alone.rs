//! `mooring connect` with a host of the revision without sessions: each message says for itself what
//! it is, and over HTTP its headers have to repeat that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mooring_tests::running::Running;
use mooring_tests::scripted::{Asked, Out};
use mooring_tests::stateless::STATELESS;
use mooring_tests::{Gateway, Scripted, eventually, servers, settings};
use serde_json::{Value, json};

use super::connecting::command;

fn gateway(servers: Value) -> Gateway {
    let system = json!({"systemConfig": {"eras": ["legacy", "modern"]}});
    Gateway::start_with(&settings::merged(settings::standalone(servers), system))
}

fn request(id: &Value, method: &str, mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": STATELESS,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "host", "version": "0"},
    });
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

#[track_caller]
fn ask(bridge: &mut Running, id: &str, method: &str, params: Value) -> Value {
    let id = json!(id);
    bridge.send(&request(&id, method, params));
    loop {
        let message = bridge.json();
        if message["id"] == id && message["method"].is_null() {
            return message;
        }
    }
}

fn listen(bridge: &mut Running, id: &str) {
    let wanted = json!({"notifications": {"toolsListChanged": true}});
    bridge.send(&request(&json!(id), "subscriptions/listen", wanted));
}

#[track_caller]
fn expect_acknowledged(bridge: &mut Running) {
    let first = bridge.json();
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged", "{first}");
}

#[test]
fn a_host_without_sessions_finds_lists_and_calls() {
    let gateway = gateway(json!({"counter": servers::counter()}));
    let mut bridge = Running::start(&mut command(&[&gateway.url()]));
    let found = ask(&mut bridge, "a", "server/discover", json!({}));
    assert_eq!(found["result"]["supportedVersions"][0], STATELESS, "{found}");
    let tools = ask(&mut bridge, "b", "tools/list", json!({}));
    assert_eq!(tools["result"]["tools"].as_array().unwrap().len(), 3, "{tools}");
    let counted = json!({"name": "counter-count", "arguments": {}});
    let answer = ask(&mut bridge, "c", "tools/call", counted);
    assert_eq!(answer["result"]["structuredContent"]["value"], 1, "{answer}");
    // An error has all that the gateway has said of it.
    let mut later = request(&json!("d"), "tools/list", json!({}));
    later["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2099-01-01");
    bridge.send(&later);
    let refused = bridge.json();
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!("d"), &json!(-32022)));
    assert!(refused["error"]["data"]["supported"].is_array(), "{refused}");
}

/// The host has not asked for the list, and the gateway wants the headers that it marks.
#[test]
fn a_call_repeats_the_marked_arguments_without_a_word_of_the_host() {
    let server = json!({"command": "mooring-conformance-server", "args": ["stdio"]});
    let gateway = gateway(json!({"fixture": server}));
    gateway.wait_until_discovered(&["fixture"]);
    let url = format!("{}/mcp/fixture", gateway.url().trim_end_matches("/mcp"));
    let mut bridge = Running::start(&mut command(&[&url]));
    let call = json!({"name": "test_header_parameter", "arguments": {"region": "ö"}});
    for id in ["first", "second"] {
        let answer = ask(&mut bridge, id, "tools/call", call.clone());
        assert!(answer["result"].is_object(), "{answer}");
    }
}

#[test]
fn a_subscription_is_there_again_after_a_restart() {
    let mut gateway = gateway(json!({"counter": servers::counter()}));
    let mut bridge = Running::start(&mut command(&[&gateway.url()]));
    listen(&mut bridge, "listening");
    expect_acknowledged(&mut bridge);
    gateway.kill9();
    gateway.start();
    expect_acknowledged(&mut bridge);
    assert!(ask(&mut bridge, "after", "tools/list", json!({}))["result"].is_object());
}

/// Over HTTP a request without a session is cancelled by closing its stream.
#[test]
fn what_is_cancelled_closes_its_stream_and_is_not_answered() {
    let closed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&closed);
    let script = move |asked: &Asked, out: Out| {
        if asked.rpc() != "subscriptions/listen" {
            return Some(out);
        }
        let mut out = out.events();
        out.event(&json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged"}));
        out.wait_for_end();
        count.fetch_add(1, Ordering::SeqCst);
        None
    };
    let upstream = Scripted::start(script);
    let mut bridge = Running::start(&mut command(&[&upstream.url("/mcp")]));
    listen(&mut bridge, "listening");
    expect_acknowledged(&mut bridge);
    bridge.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
        "params": {"requestId": "listening", "reason": "enough"}}));
    eventually("its stream is closed", || (closed.load(Ordering::SeqCst) == 1).then_some(()));
    // The next line is the answer to the next request.
    bridge.send(&request(&json!("after"), "tools/list", json!({})));
    assert_eq!(bridge.json()["id"], "after");
    let told =
        upstream.all().iter().filter(|asked| asked.rpc() == "notifications/cancelled").count();
    assert_eq!(told, 0);
}

/// What does no harm is asked again if its stream ends before its answer.
#[test]
fn a_stream_without_event_ids_is_begun_anew_if_that_is_safe() {
    let script = |asked: &Asked, out: Out| match asked.rpc().as_str() {
        "tools/list" | "tools/call" => {
            out.events().write(b": nothing\n\n");
            None
        }
        _ => Some(out),
    };
    let upstream = Scripted::start(script);
    let mut bridge = Running::start(&mut command(&[&upstream.url("/mcp")]));
    let call = json!({"name": "ask", "arguments": {}});
    let lost = ask(&mut bridge, "call", "tools/call", call);
    assert_eq!(lost["error"]["code"], -31001, "{lost}");
    let calls = upstream.all().iter().filter(|asked| asked.rpc() == "tools/call").count();
    assert_eq!(calls, 1, "it may have run");
    bridge.send(&request(&json!("list"), "tools/list", json!({})));
    eventually("the list is asked for again", || {
        let asked = upstream.all();
        (asked.iter().filter(|asked| asked.rpc() == "tools/list").count() > 1).then_some(())
    });
    for asked in upstream.all() {
        assert_eq!(asked.header("mcp-protocol-version"), Some(STATELESS));
        assert_eq!(asked.header("mcp-method"), Some(asked.rpc().as_str()));
        assert_eq!(asked.session(), "");
    }
}
