//! Headers that say where a request comes from, and those that are the
//! gateway's own.

use mooring_tests::{Gateway, Request, servers, settings};
use serde_json::{Value, json};

/// A uuid such as the seam uses for sessions.
const UUID: &str = "6f1c7c5e-33b1-4c3f-9d6d-2d6d2f7a9b10";

fn gateway() -> Gateway {
    with_system(json!({}))
}

fn with_system(system: Value) -> Gateway {
    Gateway::start_with(&settings::merged(
        settings::standalone(json!({"counter": servers::counter()})),
        json!({"systemConfig": system}),
    ))
}

#[test]
fn a_foreign_host_is_403_on_a_loopback_address() {
    let gateway = gateway();
    for host in ["evil.example.com", "localhost.evil.example.com", "127.0.0.1.evil.example.com"] {
        gateway.client("/mcp").header("Host", host).try_initialize().expect(403);
        let api = Request::get("/api/cluster/status").header("Host", host);
        api.send(gateway.address()).expect(403);
    }
    let port = gateway.port();
    for host in ["localhost", &format!("localhost:{port}"), &format!("[::1]:{port}")] {
        gateway.client("/mcp").header("Host", host).try_initialize().expect(200);
    }
}

#[test]
fn a_foreign_origin_is_403_and_a_listed_one_is_not() {
    let gateway = with_system(json!({"allowedOrigins": ["https://app.example.com"]}));
    for origin in ["https://evil.example.com", "null", "http://localhost.evil.example.com"] {
        gateway.client("/mcp").header("Origin", origin).try_initialize().expect(403);
        let api = Request::get("/api/cluster/status").header("Origin", origin);
        api.send(gateway.address()).expect(403);
    }
    for origin in ["https://app.example.com", "http://localhost:5173", "http://127.0.0.1"] {
        gateway.client("/mcp").header("Origin", origin).try_initialize().expect(200);
    }
}

#[test]
fn a_listed_host_is_let_in_and_no_other() {
    let gateway = with_system(json!({"allowedHosts": ["gw.example.com"]}));
    gateway.client("/mcp").header("Host", "gw.example.com").try_initialize().expect(200);
    gateway.client("/mcp").header("Host", "other.example.com").try_initialize().expect(403);
}

#[test]
fn internal_headers_of_a_client_are_dropped() {
    let gateway = gateway();
    for path in ["/mcp", "/mcp/counter"] {
        let tool = if path == "/mcp" { "counter-count" } else { "count" };
        let client = gateway
            .client(path)
            .header("mooring-session", UUID)
            .header("mooring-principal", "somebody")
            .header("mooring-open", "client")
            .header("mooring-outcome", "unknown-session")
            .header("mooring-opened-at", "1");
        let (one, two) = (client.initialize(), client.initialize());
        assert_eq!([one.count(tool), one.count(tool), two.count(tool)], [1, 2, 1]);
    }
}

#[test]
fn internal_headers_never_reach_a_client() {
    let gateway = gateway();
    let session = gateway.client("/mcp/counter").initialize();
    let params = json!({"name": "count", "arguments": {}});
    let answers = [session.response.clone(), session.try_request("tools/call", params)];
    for response in answers {
        for name in ["mooring-session", "mooring-outcome", "mooring-opened-at", "mooring-open"] {
            assert_eq!(response.header(name), None);
        }
    }
}
