//! What is refused whatever its body says is refused before the body is there, and a client that
//! waits to be asked for its body is not asked.

use std::time::Duration;

use mooring_tests::{Connection, Gateway, OverSse, servers, settings};
use serde_json::json;

const KEY: &str = "a-key-of-this-gateway";
/// More than any message may have.
const HUGE: usize = 64 << 20;

/// A request of which only the head is sent.
struct Begun {
    what: &'static str,
    target: String,
    headers: Vec<String>,
    length: usize,
    status: u16,
}

fn begun(what: &'static str, target: &str, headers: &[&str], length: usize, status: u16) -> Begun {
    let media = "Content-Type: application/json\r\nAccept: application/json, text/event-stream";
    let mut all = vec![format!("Authorization: Bearer {KEY}"), media.to_owned()];
    for header in headers {
        let (name, _) = header.split_once(':').expect("a header");
        all.retain(|line| !line.starts_with(name));
        all.push((*header).to_owned());
    }
    Begun { what, target: target.to_owned(), headers: all, length, status }
}

/// All that can be refused by its head. `session` and `sse` are living ones on `/mcp/counter`.
fn refused(is_coordinator: bool, session: &str, sse: &str) -> Vec<Begun> {
    let registers = if is_coordinator { 413 } else { 403 };
    let living = format!("Mcp-Session-Id: {session}");
    let foreign = "Host: evil.example.com";
    let wrong = "Authorization: Bearer wrong";
    vec![
        begun("a path", "/nowhere", &[], 100, 404),
        begun("a scope", "/mcp/nobody", &[], 100, 404),
        begun("a scope of old", "/sse/nobody", &[], 100, 405),
        begun("a key", "/mcp", &[wrong], 100, 401),
        begun("a key", "/mcp/counter", &[wrong, &living], 100, 401),
        begun("a key", "/messages?sessionId=x", &[wrong], 100, 401),
        begun("a key of the API", "/api/cluster/join", &[wrong], 100, 401),
        begun("a host", "/mcp", &[foreign], 100, 403),
        begun("a host", "/messages?sessionId=x", &[foreign], 100, 403),
        begun("an origin", "/mcp", &["Origin: https://evil.example.com"], 100, 403),
        begun("a session", "/mcp/counter", &["Mcp-Session-Id: gone"], HUGE, 404),
        begun("a stream", "/messages?sessionId=gone", &[], 100, 404),
        begun("a media type", "/mcp/counter", &["Content-Type: text/plain"], 100, 415),
        begun("a length without a session", "/mcp", &[], HUGE, 413),
        begun("a length without a session", "/mcp/counter", &[], HUGE, 413),
        begun("a length on one server", "/mcp/counter", &[&living], HUGE, 413),
        begun("a length over HTTP+SSE", sse, &[], HUGE, 413),
        begun("a length of the API", "/api/cluster/register", &[], HUGE, registers),
    ]
}

fn head(begun: &Begun, expect: &str) -> String {
    let Begun { target, headers, length, .. } = begun;
    let host = headers.iter().any(|line| line.starts_with("Host:"));
    let host = if host { "" } else { "Host: localhost\r\n" };
    let headers = headers.join("\r\n");
    format!("POST {target} HTTP/1.1\r\n{host}{headers}\r\nContent-Length: {length}\r\n{expect}\r\n")
}

/// One gateway, and a coordinator with a node: what clients connect to, and the node.
fn gateways() -> [(Gateway, Option<Gateway>); 2] {
    let servers = || json!({"counter": servers::counter()});
    let system = json!({"systemConfig": {
        "routing": {"enableBearerAuth": true, "bearerAuthKey": KEY},
        // Nothing below is answered because no body has come for too long.
        "limits": {"bodyTimeout": 600_000},
    }});
    let alone = settings::merged(settings::standalone(servers()), system.clone());
    let coordinator = settings::merged(settings::coordinator(json!({})), system);
    let coordinator = Gateway::start_with(&coordinator);
    let node = settings::node(coordinator.port(), json!({"id": "n"}), servers());
    let node = Gateway::start_with(&node);
    coordinator.wait_for_log("Node registered:");
    [(Gateway::start_with(&alone), None), (coordinator, Some(node))]
}

#[test]
fn what_needs_no_body_is_refused_before_it_comes() {
    for (gateway, node) in gateways() {
        let bearer = format!("Bearer {KEY}");
        let client = gateway.client("/mcp/counter").header("Authorization", &bearer);
        let session = client.initialize();
        let headers = [("Authorization", bearer.as_str())];
        let mut sse = OverSse::open_with(gateway.address(), "/sse/counter", &headers);
        sse.begin();
        for begun in refused(node.is_some(), &session.id, &sse.endpoint) {
            for expect in ["", "Expect: 100-continue\r\n"] {
                let patience = Duration::from_secs(15);
                let mut connection = Connection::open(gateway.address()).reads_within(patience);
                connection.send_raw(head(&begun, expect).as_bytes());
                let Begun { what, target, status, .. } = &begun;
                let answer = connection.read_head();
                let answer = answer.unwrap_or_else(|e| panic!("{what} {target} {expect:?}: {e}"));
                assert_eq!(answer.status, *status, "{what} {target} {expect:?}");
            }
        }
        // What is not refused is asked for.
        let (message, _) = session.message("tools/call", json!({"name": "count"}));
        let body = message.to_string();
        let living = format!("Mcp-Session-Id: {}", session.id);
        let asked = begun("a call", "/mcp/counter", &[&living], body.len(), 100);
        let mut connection = Connection::open(gateway.address());
        connection.send_raw(head(&asked, "Expect: 100-continue\r\n").as_bytes());
        assert_eq!(connection.read_head().unwrap().status, 100);
        connection.send_raw(body.as_bytes());
        let answer = connection.read_head().unwrap().whole().expect(200);
        assert_eq!(answer.messages()[0]["result"]["structuredContent"]["value"], 1);
    }
}
