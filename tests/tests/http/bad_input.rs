//! Invalid input: each kind has one answer, and does not affect other clients.

use mooring_tests::{Connection, Gateway, Request, Session, servers};
use serde_json::json;

/// A UUID in the form that edge and runner use for sessions.
const UUID: &str = "6f1c7c5e-33b1-4c3f-9d6d-2d6d2f7a9b10";

fn gateway() -> Gateway {
    Gateway::start_with(&json!({
        "mcpServers": {"counter": servers::counter(), "notes": servers::notes()},
        "groups": [{"name": "desk", "servers": ["notes"]}],
    }))
}

#[test]
fn malformed_json_is_400_with_the_parse_error() {
    let gateway = gateway();
    for path in ["/mcp", "/mcp/counter", "/mcp/desk"] {
        let session = gateway.client(path).initialize();
        let attempts = [
            session.client.post().body("{\"jsonrpc\":"),
            session.with(session.client.post()).body("{\"jsonrpc\":\"2.0\",\"id\":1,}"),
            session.with(session.client.post()).body("not json"),
            session.with(session.client.post()).body(""),
        ];
        for request in attempts {
            let response = request.send(gateway.address()).expect(400);
            assert_eq!(response.error_code(), -32700, "{path}: {}", response.text());
        }
    }
}

#[test]
fn json_that_is_no_message_is_400_with_the_invalid_request_error() {
    let gateway = gateway();
    for path in ["/mcp", "/mcp/counter"] {
        let session = gateway.client(path).initialize();
        for body in ["{}", "5", "\"text\"", "{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"ping\"}"] {
            let request = session.with(session.client.post()).body(body);
            let response = request.send(gateway.address()).expect(400);
            assert_eq!(response.error_code(), -32600, "{path} {body}: {}", response.text());
        }
    }
}

#[test]
fn ids_and_progress_tokens_have_bounds_on_every_scope() {
    let gateway = gateway();
    for (path, prefix) in [("/mcp", "counter-"), ("/mcp/counter", ""), ("/mcp/desk", "")] {
        let session = gateway.client(path).initialize();
        let send = |id: usize, token: usize| {
            let (id, token) = ("i".repeat(id - 2), "t".repeat(token - 2));
            let name = format!("{prefix}whoami");
            let params = json!({"name": name, "arguments": {}, "_meta": {"progressToken": token}});
            let message =
                json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
            session.post(&message).send(gateway.address())
        };
        send(1024, 1024).expect(200);
        for (id, token) in [(1025, 10), (10, 1025), (100_000, 100_000)] {
            let response = send(id, token).expect(400);
            assert_eq!(response.error_code(), -32600, "{path}: {}", response.text());
            assert!(response.error_message().contains("1024 bytes"), "{}", response.text());
        }
    }
}

#[test]
fn an_unknown_session_is_404_whatever_is_asked_of_it() {
    let gateway = gateway();
    for path in ["/mcp", "/mcp/counter", "/mcp/desk"] {
        let client = gateway.client(path);
        for id in ["made-up", UUID, "m1AAAA"] {
            let session = Session::resumed(&client, id);
            for method in ["tools/list", "tools/call", "ping", "no/such"] {
                let response = session.try_request(method, json!({})).expect(404);
                assert_eq!(response.error_message(), "Session not found");
            }
            session.notify("notifications/initialized", json!({})).expect(404);
            assert_eq!(session.listen().status, 404);
            session.delete().expect(404);
        }
    }
}

#[test]
fn a_session_id_with_one_character_changed_is_unknown() {
    let gateway = gateway();
    let session = gateway.client("/mcp").initialize();
    let mut forged = session.id.clone().into_bytes();
    let last = forged.last_mut().unwrap();
    *last = if *last == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).unwrap();
    Session::resumed(&session.client, &forged).try_request("ping", json!({})).expect(404);
    session.try_request("ping", json!({})).expect(200);
}

#[test]
fn a_session_of_one_scope_is_unknown_in_another() {
    let gateway = gateway();
    let session = gateway.client("/mcp/counter").initialize();
    for path in ["/mcp", "/mcp/notes", "/mcp/desk"] {
        let elsewhere = Session::resumed(&gateway.client(path), &session.id);
        elsewhere.try_request("tools/list", json!({})).expect(404);
    }
}

#[test]
fn an_unknown_scope_is_404_for_every_http_method_and_every_message() {
    let gateway = gateway();
    let known = gateway.client("/mcp").initialize();
    for path in ["/mcp/nobody", "/mcp/counter/more", "/mcp/%ff", "/mcp/..%2fcounter"] {
        let client = gateway.client(path);
        let says = client.try_initialize().expect(404).error_message();
        assert!(says.contains("no server or group"), "{says}");
        let session = Session::resumed(&client, &known.id);
        for method in ["initialize", "tools/list", "tools/call", "ping", "no/such"] {
            let response = session.try_request(method, json!({"name": "count"})).expect(404);
            assert!(response.error_message().contains("no server or group"));
        }
        session.notify("notifications/initialized", json!({})).expect(404);
        assert_eq!(session.listen().status, 404);
        session.delete().expect(404);
        client.post().body("not json").send(gateway.address()).expect(404);
    }
}

#[test]
fn an_unknown_path_is_404_and_says_where_mcp_is() {
    let gateway = gateway();
    let response = gateway.get("/elsewhere").expect(404);
    assert!(response.error_message().contains("/mcp/{server}"));
    let response = gateway.get("/api/cluster/elsewhere").expect(404);
    assert_eq!(response.json()["success"], false);
}

#[test]
fn a_body_with_a_content_coding_is_415_and_told_what_is_taken() {
    let gateway = gateway();
    // What gzip makes of a ping: nobody can read an id in it.
    let packed: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xab\x56";
    for path in ["/mcp", "/mcp/counter"] {
        let session = gateway.client(path).initialize();
        let (ping, id) = session.message("ping", json!({}));
        let coded = |coding: &str| session.post(&ping).header("Content-Encoding", coding);
        for coding in ["gzip", "br", "identity, deflate", "x-own"] {
            let refused = coded(coding).body(packed).send(gateway.address()).expect(415);
            assert_eq!(refused.header("accept-encoding"), Some("identity"), "{path} {coding}");
            assert_eq!(refused.error_code(), -32000);
            assert!(refused.error_message().contains("Content-Encoding"), "{}", refused.text());
            assert_eq!(refused.json()["id"], json!(null), "{path} {coding}");
        }
        // Before there is a session, too.
        let first = gateway.client(path).initialize_request().header("Content-Encoding", "gzip");
        first.send(gateway.address()).expect(415);
        for coding in ["identity", "Identity", ""] {
            let answer = coded(coding).send(gateway.address()).expect(200);
            assert_eq!(answer.messages()[0]["id"], id, "{path} {coding:?}");
        }
    }
}

#[test]
fn another_content_type_is_415() {
    let gateway = gateway();
    let session = gateway.client("/mcp/counter").initialize();
    let (ping, _) = session.message("ping", json!({}));
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""] {
        session.post(&ping).header("Content-Type", kind).send(gateway.address()).expect(415);
    }
    session.post(&ping).without("Content-Type").send(gateway.address()).expect(415);
    let with_charset = "application/json; charset=utf-8";
    session.post(&ping).header("Content-Type", with_charset).send(gateway.address()).expect(200);
}

#[test]
fn an_accept_that_leaves_out_what_may_come_is_406() {
    let gateway = gateway();
    for path in ["/mcp", "/mcp/counter"] {
        let session = gateway.client(path).initialize();
        let (ping, _) = session.message("ping", json!({}));
        for accept in [
            "application/json",
            "text/event-stream",
            "text/html",
            "application/json, text/event-stream;q=0",
        ] {
            session.post(&ping).header("Accept", accept).send(gateway.address()).expect(406);
        }
        let (ping, _) = session.message("ping", json!({}));
        session.post(&ping).header("Accept", "*/*").send(gateway.address()).expect(200);
        let listen = session.with(Request::get(path)).header("Accept", "application/json");
        listen.send(gateway.address()).expect(406);
    }
}

#[test]
fn a_request_without_a_session_is_400_and_says_what_is_missing() {
    let gateway = gateway();
    for path in ["/mcp", "/mcp/counter"] {
        let client = gateway.client(path);
        let list = client.post().json(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}));
        let response = list.send(gateway.address()).expect(400);
        assert!(response.error_message().contains("Mcp-Session-Id"));
        assert_eq!(response.json()["id"], 1);
        let listen = Request::get(path).header("Accept", "text/event-stream");
        listen.send(gateway.address()).expect(400);
        Request::delete(path).send(gateway.address()).expect(400);
    }
}

#[test]
fn another_http_method_is_405_with_the_allowed_ones() {
    let gateway = gateway();
    let response = Request::new("PUT", "/mcp").send(gateway.address()).expect(405);
    assert_eq!(response.header("allow"), Some("POST, GET, DELETE"));
}

#[test]
fn a_protocol_version_that_nobody_knows_is_400() {
    let gateway = gateway();
    let session = gateway.client("/mcp").initialize();
    let (ping, _) = session.message("ping", json!({}));
    let request = session.post(&ping).header("MCP-Protocol-Version", "1999-01-01");
    request.send(gateway.address()).expect(400);
    let without = session.post(&ping).without("MCP-Protocol-Version");
    without.send(gateway.address()).expect(200);
}

#[test]
fn initialize_without_parameters_is_an_error_and_no_session() {
    let gateway = gateway();
    for path in ["/mcp", "/mcp/counter"] {
        let response = gateway.client(path).params(json!([])).try_initialize();
        assert_eq!(response.error_code(), -32602, "{}", response.text());
        assert_eq!(response.header("mcp-session-id"), None);
    }
}

#[test]
fn bytes_that_are_no_http_harm_nobody() {
    let gateway = gateway();
    let session = gateway.client("/mcp").initialize();
    for garbage in [&b"\0\x01\x02\x03\r\n\r\n"[..], b"GET\r\n\r\n", b"POST /mcp HTTP/1.1\r\nHost"] {
        let mut connection = Connection::open(gateway.address());
        connection.send_raw(garbage);
        drop(connection);
    }
    let mut connection = Connection::open(gateway.address());
    connection.send_raw(b"\x16\x03\x01\x02\x00\x01\r\n\r\n");
    assert_eq!(connection.read_head().map(|head| head.status).ok(), Some(400));
    assert_eq!(session.count("counter-count"), 1);
}

#[test]
fn a_length_and_chunks_in_one_request_are_not_both_believed() {
    let gateway = gateway();
    let mut connection = Connection::open(gateway.address());
    connection.send_raw(
        format!(
            "POST /mcp HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Accept: */*\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
             GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
            gateway.address()
        )
        .as_bytes(),
    );
    let first = connection.read_head().unwrap();
    assert_eq!(first.status, 400);
}
