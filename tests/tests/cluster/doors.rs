//! A node's own doors: `/mcp`, `/sse`, `/messages` and `/api` without the way through its
//! coordinator.

use mooring_tests::{Gateway, Request, Setup, servers, settings};
use serde_json::{Value, json};

const TOKENS: [&str; 2] = ["", "t0ken-of-the-cluster"];
const KEY: &str = "a-key-of-the-node-itself";

/// A coordinator and a node with these settings, with a token or without.
fn pair(token: &str, node: Value, system: Value) -> (Gateway, Gateway) {
    let start = |settings: Value| {
        let setup = Setup::new(&settings);
        if token.is_empty() { setup } else { setup.env("MOORING_CLUSTER_TOKEN", token) }.start()
    };
    let coordinator = start(settings::coordinator(json!({})));
    let node = settings::merged(json!({"id": "n"}), node);
    let settings = settings::node(coordinator.port(), node, json!({"counter": servers::counter()}));
    let node = start(settings::merged(settings, json!({"systemConfig": system})));
    coordinator.wait_for_log("Node registered:");
    (coordinator, node)
}

/// The paths that a client could use, with the status of each.
fn statuses(node: &Gateway, authorization: &str) -> Vec<(&'static str, u16)> {
    let with = |request: Request| match authorization {
        "" => request,
        _ => request.header("Authorization", authorization),
    };
    let paths = ["/api/logs?server=counter", "/api/cluster/instances"];
    let mut all: Vec<_> = paths
        .map(|path| (path, with(Request::get(path)).send(node.address()).status))
        .into_iter()
        .collect();
    let messages = with(Request::post("/messages?sessionId=x").json(&json!({})));
    all.push(("/messages", messages.send(node.address()).status));
    for path in ["/mcp", "/mcp/counter"] {
        let request = with(node.client(path).initialize_request());
        all.push((path, request.send(node.address()).status));
    }
    all
}

#[test]
fn a_node_serves_no_client_of_its_own() {
    for token in TOKENS {
        let (coordinator, node) = pair(token, json!({}), json!({}));
        // The cluster's token is no key for clients.
        for authorization in ["", "Bearer x", "Bearer t0ken-of-the-cluster"] {
            for (path, status) in statuses(&node, authorization) {
                assert_eq!(status, 403, "{path} with {authorization:?}, token {token:?}");
            }
        }
        node.get("/sse").expect(403);
        node.get("/sse/counter").expect(403);
        let refusal = node.client("/mcp").try_initialize().expect(403).error_message();
        let of_api = node.get("/api/cluster/instances").expect(403).json();
        for text in [refusal.as_str(), of_api["message"].as_str().unwrap()] {
            for advice in ["connect to the coordinator", "bearerAuthKey", "node.public"] {
                assert!(text.contains(advice), "{text}");
            }
        }
        node.post("/api/cluster/join", &json!({})).expect(403);
        for path in ["/health", "/livez", "/readyz", "/metrics", "/api/cluster/status"] {
            node.get(path).expect(200);
        }
        assert!(node.log().contains("clients connect to the coordinator"));
        assert_eq!(coordinator.client("/mcp/counter").initialize().count("count"), 1);
        let all = coordinator.data("/api/cluster/instances");
        assert_eq!(all["instances"][0]["node"], "n", "{all}");
    }
}

#[test]
fn a_node_with_a_key_of_its_own_serves_whoever_shows_it() {
    for token in TOKENS {
        let routing = json!({"enableBearerAuth": true, "bearerAuthKey": KEY});
        let (_coordinator, node) = pair(token, json!({}), json!({"routing": routing}));
        for authorization in ["", "Bearer x", "Bearer t0ken-of-the-cluster"] {
            for (path, status) in statuses(&node, authorization) {
                assert_eq!(status, 401, "{path} with {authorization:?}");
            }
        }
        let all = statuses(&node, &format!("Bearer {KEY}"));
        for (path, status) in all.into_iter().filter(|(path, _)| *path != "/messages") {
            assert_eq!(status, 200, "{path}");
        }
    }
}

#[test]
fn a_public_node_is_open() {
    for token in TOKENS {
        let (_coordinator, node) = pair(token, json!({"public": true}), json!({}));
        let all = statuses(&node, "");
        for (path, status) in all.into_iter().filter(|(path, _)| *path != "/messages") {
            assert_eq!(status, 200, "{path}");
        }
    }
}

/// A closed node answers its status to everyone, but not to a page that a browser has loaded from
/// elsewhere: neither by a name of the page's own, nor by the page's origin.
#[test]
fn what_needs_no_key_is_for_no_foreign_page() {
    let locked = json!({"routing": {"enableBearerAuth": true, "bearerAuthKey": KEY}});
    let allowed = json!({"allowedHosts": ["node.example.com"],
        "allowedOrigins": ["https://app.example.com"]});
    for (token, node, system) in [
        (TOKENS[0], json!({}), json!({})),
        (TOKENS[1], json!({}), allowed.clone()),
        (TOKENS[0], json!({"public": true}), json!({})),
        (TOKENS[1], json!({}), locked),
    ] {
        let (coordinator, node) = pair(token, node, system.clone());
        let ask = |gateway: &Gateway, name: &str, value: &str| {
            let request = Request::get("/api/cluster/status")
                .header(name, value)
                .header("Authorization", &format!("Bearer {KEY}"));
            request.send(gateway.address())
        };
        for (name, value) in [
            ("Host", "evil.example.com"),
            ("Host", "localhost.evil.example.com"),
            ("Origin", "https://evil.example.com"),
            ("Origin", "null"),
            ("Origin", "http://localhost.evil.example.com"),
        ] {
            for gateway in [&node, &coordinator] {
                let answer = ask(gateway, name, value).expect(403).json();
                let text = answer["message"].as_str().unwrap();
                assert!(text.contains("allowed"), "{name}: {value}: {text}");
                assert_eq!(answer["data"], Value::Null);
            }
        }
        ask(&node, "Origin", "http://localhost:5173").expect(200);
        if system == allowed {
            ask(&node, "Host", "node.example.com").expect(200);
            ask(&node, "Origin", "https://app.example.com").expect(200);
        } else {
            ask(&node, "Host", "localhost").expect(200);
            ask(&node, "Host", "node.example.com").expect(403);
        }
    }
}
