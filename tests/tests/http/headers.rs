//! Headers that name the origin of a request, and headers that only the gateway may set.

use mooring_tests::{Gateway, Request, servers, settings};
use serde_json::{Value, json};

/// A UUID in the form that edge and runner use for sessions.
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
        // Probes and scrapers come by any name, and get names, states and counts alone.
        for path in ["/health", "/livez", "/readyz", "/metrics"] {
            Request::get(path).header("Host", host).send(gateway.address()).expect(200);
        }
    }
    let port = gateway.port();
    for host in ["localhost", &format!("localhost:{port}"), &format!("[::1]:{port}")] {
        gateway.client("/mcp").header("Host", host).try_initialize().expect(200);
    }
}

#[test]
fn names_of_a_private_network_are_let_in_and_public_ones_are_not() {
    let gateway = gateway();
    for (host, expect) in [
        ("coordinator:3000", 200),
        ("10.1.2.3", 200),
        ("[fd00::1]:3000", 200),
        ("mooring.tools.svc", 200),
        ("mooring.tools.svc.cluster.local:3000", 200),
        ("vm.project.internal", 200),
        ("rebound.example.com", 403),
        ("coordinator.", 403),
        ("svc.example.com", 403),
        ("127.0.0.1.nip.io", 403),
    ] {
        gateway.client("/mcp").header("Host", host).try_initialize().expect(expect);
        gateway.client("/mcp/counter").header("Host", host).try_initialize().expect(expect);
        Request::get("/api/cluster/status")
            .header("Host", host)
            .send(gateway.address())
            .expect(expect);
        let stream =
            Request::get("/sse").header("Host", host).header("Accept", "text/event-stream");
        assert_eq!(stream.open(gateway.address()).status, expect, "{host}");
    }
    let refused = gateway.client("/mcp").header("Host", "gw.example.com").try_initialize();
    assert!(refused.text().contains("systemConfig.allowedHosts"), "{}", refused.text());
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

#[test]
fn a_page_of_a_listed_origin_may_use_what_it_is_answered() {
    const PAGE: &str = "https://app.example.com";
    let gateway = Gateway::start_with(&json!({
        "mcpServers": {"counter": servers::counter()},
        "systemConfig": {
            "allowedOrigins": [PAGE],
            "routing": {"enableBearerAuth": true, "bearerAuthKey": "k3y"},
            "cluster": {"stickySession": {"strategy": "header"}},
        },
    }));
    let ask = |path: &str, origin: &str| {
        Request::new("OPTIONS", path)
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "POST")
    };
    for path in ["/mcp", "/mcp/counter", "/sse", "/messages"] {
        // A browser sends no key with a preflight request.
        let asked = ask(path, PAGE)
            .header("Access-Control-Request-Headers", "mcp-session-id,x-own")
            .send(gateway.address())
            .expect(204);
        assert_eq!(asked.header("access-control-allow-origin"), Some(PAGE));
        assert_eq!(asked.header("access-control-allow-headers"), Some("mcp-session-id,x-own"));
        assert!(asked.header("access-control-allow-methods").unwrap().contains("DELETE"));
        assert!(asked.header("access-control-max-age").is_some());
        assert_eq!(asked.header("vary"), Some("Origin"));
        let plain = ask(path, PAGE).send(gateway.address()).expect(204);
        let allowed = plain.header("access-control-allow-headers").unwrap();
        assert!(allowed.contains("mcp-protocol-version"), "{allowed}");
        let foreign = ask(path, "https://evil.example.com").send(gateway.address()).expect(403);
        assert_eq!(foreign.header("access-control-allow-origin"), None);
    }
    let client = gateway.client("/mcp/counter").header("Origin", PAGE);
    let refused = client.try_initialize().expect(401);
    assert_eq!(refused.header("access-control-allow-origin"), Some(PAGE));
    let client = client.header("Authorization", "Bearer k3y");
    let begun = client.try_initialize().expect(200);
    assert_eq!(begun.header("access-control-allow-origin"), Some(PAGE));
    assert_eq!(begun.header("vary"), Some("Origin"));
    let shown = begun.header("access-control-expose-headers").unwrap();
    assert!(shown.contains("mcp-session-id") && shown.contains("x-mcphub-node"), "{shown}");
    let counted = client.initialize().try_request("tools/list", json!({}));
    assert_eq!(counted.header("access-control-allow-origin"), Some(PAGE));

    let other = gateway.client("/mcp/counter").header("Authorization", "Bearer k3y");
    let begun = other.try_initialize().expect(200);
    for name in ["access-control-allow-origin", "access-control-expose-headers", "vary"] {
        assert_eq!(begun.header(name), None, "{name}");
    }
    Request::new("OPTIONS", "/mcp")
        .header("Authorization", "Bearer k3y")
        .send(gateway.address())
        .expect(405);
}
