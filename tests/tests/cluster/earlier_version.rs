//! Coordinators and nodes of mooring's first version, whose messages prove nothing or send the
//! token itself: they are refused, with a sentence that says what to do on both sides' logs.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};

use mooring_tests::{Gateway, PlayedCoordinator, Request, Setup, servers, settings};
use serde_json::json;

const TOKEN: &str = "t0ken-of-the-cluster";
const TOKENS: [Option<&str>; 2] = [None, Some(TOKEN)];

fn setup(settings: &serde_json::Value, token: Option<&str>) -> Setup {
    let setup = Setup::new(settings);
    token.into_iter().fold(setup, |setup, token| setup.env("MOORING_CLUSTER_TOKEN", token))
}

/// A request as the first version's nodes send it.
fn of_earlier_node(path: &str, token: Option<&str>) -> Request {
    let incarnation = "0b7d9f3e-6f0a-4a53-9c53-3b1b7c1f3f10";
    let message = match path {
        "register" => json!({
            "id": "old", "name": "old", "url": "http://127.0.0.1:1", "port": 1,
            "servers": [{"name": "counter", "weight": 1, "digest": null, "endsWhenLost": false}],
            "incarnation": incarnation, "version": "0.1.0",
            "protocol": {"seam": 1, "mcp": "2025-11-25"}, "advertised": false, "zone": "",
            "labels": {}, "heartbeatInterval": 5000,
        }),
        _ => json!({"id": "old", "incarnation": incarnation, "servers": null, "draining": false}),
    };
    let request = Request::post(&format!("/api/cluster/{path}")).json(&message);
    token
        .into_iter()
        .fold(request, |request, token| request.header("Authorization", &format!("Bearer {token}")))
}

#[test]
fn a_node_of_the_first_version_is_refused_with_a_sentence() {
    for token in TOKENS {
        let coordinator = setup(&settings::coordinator(json!({})), token).start();
        let answer = of_earlier_node("register", token).send(coordinator.address());
        let status = if token.is_some() { 401 } else { 400 };
        let text = answer.expect(status).json()["message"].as_str().unwrap().to_owned();
        assert!(text.contains("one version"), "{text}");
        // This is what makes such a node register again, instead of going on without an answer.
        let status = if token.is_some() { 401 } else { 404 };
        of_earlier_node("heartbeat", token).send(coordinator.address()).expect(status);
        if token.is_some() {
            let line = coordinator.wait_for_log("earlier versions of mooring");
            assert!(line.contains("upgrade it") && !line.contains(TOKEN), "{line}");
        } else {
            let line = coordinator.wait_for_log("a node's request from 127.0.0.1 was refused");
            assert!(line.contains("earlier version") && line.contains("upgraded"), "{line}");
        }
        assert_eq!(coordinator.data("/api/cluster/nodes"), json!([]));
    }
}

#[test]
fn a_coordinator_of_the_first_version_is_refused_with_a_sentence() {
    for token in TOKENS {
        let hears = PlayedCoordinator::start();
        let settings = settings::node(
            hears.port(),
            json!({"id": "n"}),
            json!({"counter": servers::counter()}),
        );
        let node = setup(&settings, token).start();
        for path in ["/cluster/proof?nonce=1", "/cluster/bindings?after="] {
            let request = Request::get(path);
            let request = token.into_iter().fold(request, |request, token| {
                request.header("Authorization", &format!("Bearer {token}"))
            });
            let status = if token.is_some() { 401 } else { 403 };
            let text = request.send(node.address()).expect(status).text();
            assert!(text.contains("one version of mooring on all"), "{text}");
        }
        let line = node.wait_for_log("a coordinator of an earlier version has to be upgraded");
        assert!(!line.contains(TOKEN), "{line}");
    }
}

/// Answers every request as the first version's coordinators do.
fn earlier_coordinator(answer: &'static str) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 8192];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    port
}

#[test]
fn a_node_says_what_to_do_about_a_coordinator_of_the_first_version() {
    let refused = "HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\n\
                   WWW-Authenticate: Bearer\r\nConnection: close\r\nContent-Length: 52\r\n\r\n\
                   {\"success\":false,\"message\":\"Unauthorized: send the\"}";
    let not_called_back = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n\
                           Connection: close\r\nContent-Length: 57\r\n\r\n\
                           {\"success\":false,\"message\":\"the node does not answer at\"}";
    for (token, answer) in [(Some(TOKEN), refused), (None, not_called_back)] {
        let port = earlier_coordinator(answer);
        let settings =
            settings::node(port, json!({"id": "n"}), json!({"counter": servers::counter()}));
        let node: Gateway = setup(&settings, token).start();
        let line = node.wait_for_log("not registered with");
        assert!(line.contains("has to be upgraded"), "{line}");
    }
}
