//! `mooring connect` when something is wrong: with a line, with the gateway, with what stands in front
//! of it, or with the host that leaves.

use std::io::Write as _;
use std::process::{Child, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mooring_tests::running::Running;
use mooring_tests::scripted::{Asked, Out};
use mooring_tests::{Gateway, Port, Scripted, eventually, process, servers, settings, within};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::connecting::{Host, command, initialize};

fn begun(id: u32) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "initialize", "params": initialize()})
}

/// A host whose gateway is away, and that has sent these messages.
fn waiting(url: &str, messages: &[Value]) -> Child {
    let mut command = command(&[url]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    for message in messages {
        writeln!(child.stdin.as_mut().unwrap(), "{message}").unwrap();
    }
    child
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_line_that_is_no_message_is_answered_and_the_next_one_is_taken() {
    let gateway =
        Gateway::start_with(&settings::standalone(json!({"counter": servers::counter()})));
    let mut host = Host::start(&[&gateway.url()]);
    for (line, id, code) in [
        (&b"hello"[..], json!(null), -32700),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,", json!(null), -32700),
        (b"\xff\xfe", json!(null), -32700),
        (b"\"text\"", json!(null), -32600),
        (b"{\"a\":1}", json!(null), -32600),
        (b"{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"ping\"}", json!(null), -32600),
        (b"{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":5}", json!(7), -32600),
        // The gateway's own word on a list of messages.
        (b"[]", json!(null), -32600),
    ] {
        host.bridge.write(&[line, b"\n"].concat());
        let answer = host.message(|message| message["error"].is_object());
        let line = String::from_utf8_lossy(line);
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&id, &json!(code)), "{line}");
    }
    // With a byte order mark, as some shells write it.
    host.bridge.write(b"\xef\xbb\xbf{\"jsonrpc\":\"2.0\",\"id\":\"b\",\"method\":\"ping\"}\r\n");
    host.message(|message| message["id"] == "b" && message["result"].is_object());
    assert_eq!(host.count(), 1, "the session is still there");
}

/// Hosts that are asked to connect again may use the program that they have.
#[test]
fn a_host_that_begins_again_leaves_no_session_behind() {
    let gateway =
        Gateway::start_with(&settings::standalone(json!({"counter": servers::counter()})));
    let url = format!("{}/mcp/counter", gateway.url());
    let mut bridge = Running::start(&mut command(&[&url]));
    for id in 1..=3 {
        bridge.send(&begun(id));
        assert!(bridge.json()["result"].is_object());
    }
    eventually("one session is left", || {
        (gateway.data("/api/cluster/sessions")["total"] == 1).then_some(())
    });
    bridge.send(&json!({"jsonrpc": "2.0", "id": 4, "method": "tools/list"}));
    assert!(bridge.json()["result"]["tools"].is_array(), "the last one goes on");
}

#[test]
fn a_signal_ends_it_while_it_waits_for_a_gateway() {
    let nobody = Port::reserve();
    let url = format!("http://{}", nobody.address());
    for signal in [Signal::TERM, Signal::INT] {
        let mut child = waiting(&url, &[begun(1)]);
        let mut error = child.stderr.take().unwrap();
        // It watches for signals before it reads, and waits once it has read.
        within(Duration::from_secs(10), "it has read its line", || {
            (process::unread_input(child.id()) == 0).then_some(())
        });
        process::signal(child.id(), signal);
        let began = Instant::now();
        let status = child.wait().unwrap();
        assert!(began.elapsed() < Duration::from_secs(20), "it waits for the gateway");
        let mut said = String::new();
        std::io::Read::read_to_string(&mut error, &mut said).unwrap();
        assert!(status.success(), "{signal:?}: {status}: {said}");
    }
}

/// What was asked is answered, though the host has left and no gateway has come.
#[test]
fn a_host_that_leaves_while_it_waits_is_told_what_has_not_run() {
    let nobody = Port::reserve();
    let list = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"});
    let mut child = waiting(&format!("http://{}", nobody.address()), &[begun(1), list]);
    drop(child.stdin.take());
    let began = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    assert!(output.status.success());
    let lines = lines(&output);
    let code = |id: u32| {
        let line = lines.iter().find(|line| line["id"] == id);
        line.unwrap_or_else(|| panic!("{id}: {lines:?}"))["error"]["code"].clone()
    };
    assert_eq!((code(1), code(2)), (json!(-31001), json!(-31002)), "{lines:?}");
}

/// A proxy answers for a gateway that starts again.
#[test]
fn the_sessions_own_stream_is_opened_again_behind_a_proxy() {
    let opened = AtomicUsize::new(0);
    let script = move |asked: &Asked, out: Out| {
        if asked.method != "GET" {
            return Some(out);
        }
        match opened.fetch_add(1, Ordering::SeqCst) {
            0 => out.reply("502 Bad Gateway", &["Content-Type: text/html"], b"<p>Bad Gateway"),
            1 => out.reply("503 Service Unavailable", &[], b""),
            _ => {
                let told = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
                let mut out = out.events();
                out.event(&told);
                out.wait_for_end();
            }
        }
        None
    };
    let upstream = Scripted::start(script);
    let mut host = Host::start(&[&upstream.url("/mcp")]);
    host.message(|message| message["method"] == "notifications/tools/list_changed");
}

#[test]
fn the_error_of_a_refusal_comes_whole_and_under_the_hosts_id() {
    let script = |asked: &Asked, out: Out| {
        if asked.rpc() != "tools/call" {
            return Some(out);
        }
        let error =
            json!({"code": -32042, "message": "log in first", "data": {"elicitations": [1]}});
        let body = json!({"jsonrpc": "2.0", "id": null, "error": error}).to_string();
        out.reply("400 Bad Request", &["Content-Type: application/json"], body.as_bytes());
        None
    };
    let upstream = Scripted::start(script);
    let mut host = Host::start(&[&upstream.url("/mcp")]);
    let answer = host.call("ask", json!({}));
    assert_eq!(answer["error"]["data"], json!({"elicitations": [1]}), "{answer}");
    assert_eq!(
        (&answer["error"]["code"], &answer["error"]["message"]),
        (&json!(-32042), &json!("log in first"))
    );
}

/// More than one read of either side, in both directions.
#[test]
fn large_messages_pass_both_ways() {
    let large = "x".repeat(3 << 20);
    let script = |asked: &Asked, out: Out| {
        if asked.rpc() != "tools/call" {
            return Some(out);
        }
        out.result(asked, &asked.json()["params"]["arguments"].clone());
        None
    };
    let upstream = Scripted::start(script);
    let mut bridge = Running::start(&mut command(&[&upstream.url("/mcp")]));
    bridge.send(&begun(1));
    assert!(bridge.json()["result"].is_object());
    let arguments = json!({"text": large});
    bridge.send(&json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call",
        "params": {"name": "ask", "arguments": arguments}}));
    assert_eq!(bridge.json()["result"], arguments);
}
