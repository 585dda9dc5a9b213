//! A server behind a URL that is replaced by one of the other era, while clients of both are there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mooring_tests::scripted::{Asked, Out, said};
use mooring_tests::{Front, Scripted, Stateless, eventually};
use serde_json::{Value, json};

use super::both;

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";

/// How a server with sessions refuses what has none.
type Refuses = fn(Out);

fn as_python(out: Out) {
    let error = json!({"code": -32600, "message": "Bad Request: Missing session ID"});
    refuse(out, "400 Bad Request", &json!("server-error"), &error);
}

/// HTTP+SSE alone, say: nothing is posted there.
fn as_another(out: Out) {
    out.reply("405 Method Not Allowed", &["Allow: GET"], b"");
}

fn refuse(out: Out, status: &str, id: &Value, error: &Value) {
    let body = json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string();
    out.reply(status, &["Content-Type: application/json"], body.as_bytes());
}

/// Answers as a server without sessions.
fn without_sessions(asked: &Asked, out: Out) {
    let message = asked.json();
    let whole = |mut result: Value| {
        result["resultType"] = "complete".into();
        result["ttlMs"] = 0.into();
        result["cacheScope"] = "public".into();
        result
    };
    let id = &message["id"];
    match asked.rpc().as_str() {
        _ if asked.method != "POST" => out.reply("405 Method Not Allowed", &["Allow: POST"], b""),
        _ if id.is_null() => out.reply("202 Accepted", &[], b""),
        "initialize" => {
            let data = json!({"supported": ["2026-07-28"], "requested": "2025-11-25"});
            let error = json!({"code": -32022, "message": "Unsupported version", "data": data});
            refuse(out, "400 Bad Request", id, &error);
        }
        _ if message["params"]["_meta"][VERSION] != "2026-07-28" => {
            let error = json!({"code": -32602, "message": format!("_meta lacks {VERSION}")});
            refuse(out, "400 Bad Request", id, &error);
        }
        "server/discover" => out.result(
            asked,
            &whole(json!({"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}})),
        ),
        "tools/list" => out.result(
            asked,
            &whole(json!({"tools": [{"name": "ask", "inputSchema": {"type": "object"}}]})),
        ),
        "tools/call" => out.result(asked, &whole(said("without"))),
        other => {
            let error = json!({"code": -32601, "message": format!("Method not found: {other}")});
            refuse(out, "404 Not Found", id, &error);
        }
    }
}

/// A server that has sessions while the flag says so.
fn changing(has_sessions: &Arc<AtomicBool>, refuses: Refuses) -> Scripted {
    let has_sessions = Arc::clone(has_sessions);
    Scripted::start(move |asked, out| {
        if !has_sessions.load(Ordering::Acquire) {
            without_sessions(asked, out);
            return None;
        }
        let is_first = asked.rpc() == "initialize";
        if asked.method == "POST" && !is_first && asked.header("mcp-session-id").is_none() {
            refuses(out);
            return None;
        }
        Some(out)
    })
}

fn text(answer: &Value) -> String {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_default().to_owned()
}

fn check(begins_with_sessions: bool, refuses: Refuses) {
    let has_sessions = Arc::new(AtomicBool::new(begins_with_sessions));
    let server = changing(&has_sessions, refuses);
    let servers = json!({"far": server.entry()});
    Front::each(&servers, &both(&json!(["handle"])), |front| {
        has_sessions.store(begins_with_sessions, Ordering::Release);
        front.wait_until_discovered(&["far"]);
        let clients = [("/mcp/far", "ask"), ("/mcp", "far-ask")].map(|(path, tool)| {
            let session = front.client(path).initialize();
            let client = Stateless::new(front.gateway().address(), path);
            let name = client.answer("server/discover", json!({}));
            // A server without sessions of its own URL is asked itself, and names none.
            let name = name["result"]["_meta"]["mooring/conversation"].as_str().map(str::to_owned);
            let client = match name {
                Some(name) => client.conversation(&name),
                None => client,
            };
            (tool, session, client)
        });
        let say = |expected: &str| {
            for (tool, session, client) in &clients {
                let params = json!({"name": tool, "arguments": {}});
                eventually(&format!("{expected}, in a session"), || {
                    (text(&session.answer("tools/call", params.clone())) == expected).then_some(())
                });
                eventually(&format!("{expected}, without one"), || {
                    (text(&client.answer("tools/call", params.clone())) == expected).then_some(())
                });
            }
        };
        for turn in 0..3 {
            let has = begins_with_sessions == (turn % 2 == 0);
            has_sessions.store(has, Ordering::Release);
            say(if has { "as usual" } else { "without" });
        }
    });
}

#[test]
fn clients_of_both_eras_go_on_when_a_server_gives_up_its_sessions() {
    check(true, as_python);
}

#[test]
fn clients_of_both_eras_go_on_when_a_server_has_sessions_from_now_on() {
    check(false, as_python);
    check(false, as_another);
}
