//! Servers that refuse `initialize`, for its revision or altogether.

use std::time::{Duration, Instant};

use mooring_tests::odd_server::{answer, as_usual, initialized};
use mooring_tests::{OddServer, Request, Way, eventually};
use serde_json::{Map, Value, json};

use super::{Place, wait_for_tools};

#[test]
fn a_server_that_refuses_our_revision_is_asked_for_an_older_one() {
    let servers = Way::ALL.map(|way| {
        let server = OddServer::good_but(way, |message, say| {
            let asked = message["params"]["protocolVersion"].as_str().unwrap_or("");
            if message["method"] != "initialize" || asked <= "2025-03-26" {
                return false;
            }
            let data = json!({"supported": ["2024-11-05", "2025-03-26"], "requested": asked});
            let error =
                json!({"code": -32602, "message": "Unsupported protocol version", "data": data});
            say(json!({"jsonrpc": "2.0", "id": message["id"], "error": error}).to_string());
            true
        });
        (way, server)
    });
    let entries: Map<String, Value> =
        servers.iter().map(|(way, server)| (way.name().to_owned(), server.entry())).collect();
    for place in Place::each(&entries) {
        for revision in ["2025-11-25", "2025-03-26"] {
            let session = place.client("/mcp").revision(revision).initialize();
            wait_for_tools(&session, &["stdio-ask", "http-ask", "sse-ask"]);
            for way in Way::ALL {
                let called =
                    session.answer("tools/call", json!({"name": format!("{}-ask", way.name())}));
                assert!(called["result"].is_object(), "{revision} {way:?} {called}");
                let alone = place.client(&format!("/mcp/{}", way.name())).revision(revision);
                assert_eq!(alone.initialize().result["protocolVersion"], "2025-03-26");
            }
        }
        let health = place.health("stdio");
        assert!(health["flaws"][0].as_str().unwrap_or("").contains("2025-03-26"), "{health}");
    }
}

#[test]
fn a_server_that_refuses_everybody_has_failed() {
    let servers = Way::ALL.map(|way| {
        let server = OddServer::good_but(way, |message, say| {
            let error = json!({"code": -32000, "message": "no license", "data": {"x": "for you"}});
            say(json!({"jsonrpc": "2.0", "id": message["id"], "error": error}).to_string());
            true
        });
        (way, server)
    });
    let entries: Map<String, Value> =
        servers.iter().map(|(way, server)| (way.name().to_owned(), server.entry())).collect();
    for place in Place::each(&entries) {
        for (way, server) in &servers {
            let path = format!("/mcp/{}", way.name());
            let (before, end) = (server.opened(), Instant::now() + Duration::from_secs(2));
            while Instant::now() < end {
                let refused = place.client(&path).try_initialize().json();
                let text = refused["error"]["message"].as_str().unwrap_or("").to_owned();
                assert!(text.contains("no license"), "{refused}");
            }
            let starts = server.opened() - before;
            assert!(starts <= 8, "{way:?}: {starts} starts in 2 s");
            let state = eventually("it has failed", || {
                let health = place.health(way.name());
                let status = health["status"].as_str()?.to_owned();
                matches!(&*status, "backoff" | "crash-loop").then_some(health)
            });
            assert!(state["failures"].as_u64() > Some(0), "{state}");
            assert!(state["lastError"].as_str().unwrap_or("").contains("no license"), "{state}");
        }
    }
}

/// What one client sends must not cost others their server.
#[test]
fn a_server_that_refuses_one_client_serves_the_others() {
    let server = OddServer::good_but(Way::Stdio, |message, say| {
        let is_refused = message["params"]["clientInfo"]["name"] == "refused";
        if is_refused {
            let error = json!({"code": -32602, "message": "not you"});
            say(json!({"jsonrpc": "2.0", "id": message["id"], "error": error}).to_string());
        }
        is_refused
    });
    for place in Place::each(&Map::from_iter([("s".to_owned(), server.entry())])) {
        place.runner().wait_until_discovered(&["s"]);
        let params = json!({
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": {"name": "refused", "version": "1"},
        });
        for _ in 0..8 {
            let refused = place.client("/mcp/s").params(params.clone()).try_initialize().json();
            assert!(refused["error"].is_object(), "{refused}");
        }
        let session = place.client("/mcp/s").initialize();
        assert!(session.answer("tools/call", json!({"name": "ask"}))["result"].is_object());
    }
}

#[test]
fn the_revision_that_a_server_names_is_served_unless_it_is_later_than_sessions() {
    let server = |named: &'static str| {
        OddServer::start(Way::Stdio, move |_, message, say| {
            if message["method"] == "initialize" {
                let mut result = initialized(message, &json!({"tools": {}}));
                match named {
                    "" => {}
                    "null" => result["protocolVersion"] = Value::Null,
                    named => result["protocolVersion"] = named.into(),
                }
                return say(answer(message, &result));
            }
            as_usual(message, say);
        })
    };
    let servers = [
        ("old", "2024-10-07"),
        ("odd", "1.0"),
        ("future", "2030-01-01"),
        ("none", "null"),
        ("echo", ""),
    ]
    .map(|(name, named)| (name, server(named)));
    let entries: Map<String, Value> =
        servers.iter().map(|(name, server)| ((*name).to_owned(), server.entry())).collect();
    for place in Place::each(&entries) {
        for (name, asked, granted) in [
            ("old", "2025-11-25", "2024-10-07"),
            ("odd", "2025-06-18", "1.0"),
            ("future", "2025-06-18", "2025-06-18"),
            ("future", "2026-07-28", "2025-11-25"),
            ("none", "2025-03-26", "2025-03-26"),
            ("none", "2026-07-28", "2025-11-25"),
            ("echo", "2026-07-28", "2025-11-25"),
            ("echo", "2024-10-07", "2024-10-07"),
        ] {
            let client = place.client(&format!("/mcp/{name}"));
            let params = json!({
                "protocolVersion": asked, "capabilities": {}, "clientInfo": {"name": "c", "version": "1"},
            });
            let session = client.params(params).initialize();
            assert_eq!(session.result["protocolVersion"], granted, "{name} {asked}");
            let ask = |revision: &str| -> Request {
                let (message, _) = session.message("tools/list", json!({}));
                let request = Request::post(&format!("/mcp/{name}"))
                    .header("Content-Type", "application/json")
                    .header("Accept", "application/json, text/event-stream")
                    .header("MCP-Protocol-Version", revision);
                request.header("Mcp-Session-Id", &session.id).json(&message)
            };
            ask(granted).send(place.edge().address()).expect(200);
            ask("1999-01-01").send(place.edge().address()).expect(400);
        }
    }
}
