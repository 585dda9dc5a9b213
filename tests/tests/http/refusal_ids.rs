//! Every refusal of a request carries the request's id: some clients wait for ever otherwise.

use mooring_tests::{Client, Cluster, Connection, Gateway, Request, Response, servers, settings};
use serde_json::{Value, json};

const KEY: &str = "0123456789abcdef0123456789abcdef";

fn limits() -> Value {
    json!({"systemConfig": {"limits": {
        "requestBody": 200_000, "sessionsPerPrincipal": 40, "headerBlock": 16_384,
    }}})
}

fn servers() -> Value {
    json!({"counter": servers::counter(), "notes": servers::notes()})
}

fn gateway() -> Gateway {
    let groups = json!({"groups": [{"name": "desk", "servers": ["counter", "notes"]}]});
    let settings = settings::merged(settings::standalone(servers()), groups);
    Gateway::start_with(&settings::merged(settings, limits()))
}

fn cluster() -> Cluster {
    let groups = json!({"groups": [{"name": "desk", "servers": ["counter", "notes"]}]});
    let settings = settings::merged(settings::coordinator(json!({})), groups);
    let coordinator = Gateway::start_with(&settings::merged(settings, limits()));
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    cluster.add("a", servers());
    cluster.wait_for_active(1);
    cluster
}

/// Messages with the id in front, as Rust and Python write them, and at the end, as TypeScript
/// does; of each kind of id.
fn messages(method: &str, params: &Value) -> Vec<(Value, String)> {
    let mut all = Vec::new();
    for id in [json!(7), json!(-1), json!("seven"), json!("a\"b}")] {
        all.push((
            id.clone(),
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#),
        ));
        all.push((
            id.clone(),
            format!(r#"{{"method":"{method}","params":{params},"jsonrpc":"2.0","id":{id}}}"#),
        ));
    }
    all
}

/// Sends the messages, whose answers must have this status and their ids.
#[track_caller]
fn refused(to: &Client, status: u16, change: impl Fn(Request) -> Request) {
    refused_messages(to, status, &messages("tools/list", &json!({})), change);
}

#[track_caller]
fn refused_messages(
    to: &Client,
    status: u16,
    messages: &[(Value, String)],
    change: impl Fn(Request) -> Request,
) {
    for (id, body) in messages {
        for request in [to.post().body(body.as_str()), to.post().body(body.as_str()).chunked()] {
            let response = change(request).send(to.address()).expect(status);
            has_id(&response, id);
        }
    }
}

#[track_caller]
fn has_id(response: &Response, id: &Value) {
    let answer = response.json();
    assert!(answer["error"]["code"].is_i64(), "{answer}");
    assert_eq!(answer["id"], *id, "{answer}");
}

fn same(request: Request) -> Request {
    request
}

#[track_caller]
fn each_refusal_names_the_request(gateway: &Gateway) {
    for path in ["/mcp", "/mcp/desk", "/mcp/counter"] {
        let client = gateway.client(path);
        // Without a session. Clients of later revisions fall back at once on this answer.
        refused(&client, 400, same);
        for method in ["server/discover", "tools/call", "subscriptions/listen"] {
            let meta = json!({"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}});
            let asked = messages(method, &meta);
            let modern = |request: Request| {
                request.header("MCP-Protocol-Version", "2026-07-28").header("Mcp-Method", method)
            };
            refused_messages(&client, 400, &asked, modern);
            let told = modern(client.post().body(asked[0].1.as_str())).send(gateway.address());
            assert_eq!(told.error_code(), -32000, "{path}");
        }
        refused(&client, 404, |request| request.header("Mcp-Session-Id", "m1AAAA"));
        let session = client.initialize();
        refused(&client, 400, |request| {
            session
                .with(request)
                .without("MCP-Protocol-Version")
                .header("MCP-Protocol-Version", "2026-07-28")
        });
        refused(&client, 415, |request| {
            session.with(request).without("Content-Type").header("Content-Type", "text/plain")
        });
        refused(&client, 406, |request| {
            session.with(request).without("Accept").header("Accept", "application/json")
        });
        refused(&client, 403, |request| request.header("Origin", "https://elsewhere.example"));
        refused(&client, 403, |request| request.header("Host", "elsewhere.example"));
        refused(&client, 431, |request| request.header("X-Long", &"x".repeat(20_000)));
        // No message that is allowed here, but one that has an id.
        let malformed = [
            (json!(7), r#"{"id":7,"method":"tools/list"}"#.to_owned()),
            (json!("x"), r#"{"jsonrpc":"1.0","method":"tools/list","id":"x"}"#.to_owned()),
            (json!(8), r#"{"jsonrpc":"2.0","id":8,"method":"tools/list","params":{]}"#.to_owned()),
            (json!(9), r#"{"jsonrpc":"2.0","id":9,"method":"tools/list""#.to_owned()),
            (json!(null), r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"tools/list"}"#.to_owned()),
            (json!(null), r#"{"jsonrpc":"2.0","id":{},"method":"tools/list"}"#.to_owned()),
            (json!(null), r#"[{"jsonrpc":"2.0","id":1,"method":"tools/list"}]"#.to_owned()),
        ];
        refused_messages(&client, 400, &malformed, |request| session.with(request));
        refused_messages(&client, 400, &malformed, same);
        // Larger than the limit: the id is found where it comes early.
        let large = json!({"text": "x".repeat(300_000)});
        let early: Vec<_> = messages("tools/call", &large).into_iter().step_by(2).collect();
        refused_messages(&client, 413, &early, |request| session.with(request));
        refused_messages(&client, 413, &early, same);
        session.delete().expect(200);
    }
    for path in ["/mcp/nobody", "/mcp/a/b", "/elsewhere"] {
        refused(&gateway.client(path), 404, same);
    }
    refused(&gateway.client("/sse"), 405, same);
    refused(&gateway.client("/messages"), 400, same);
    refused(&gateway.client("/messages?sessionId=m1AAAA"), 404, same);
}

#[test]
fn each_refusal_of_a_gateway_names_the_request() {
    each_refusal_names_the_request(&gateway());
}

#[test]
fn each_refusal_of_a_coordinator_names_the_request() {
    each_refusal_names_the_request(&cluster().coordinator);
}

#[test]
fn a_request_without_a_key_is_refused_under_its_id() {
    let locked =
        json!({"systemConfig": {"routing": {"enableBearerAuth": true, "bearerAuthKey": KEY}}});
    let gateway = Gateway::start_with(&settings::merged(settings::standalone(servers()), locked));
    for path in ["/mcp", "/mcp/counter", "/mcp/nobody", "/messages?sessionId=x"] {
        refused(&gateway.client(path), 401, same);
        refused(&gateway.client(path).header("Authorization", "Bearer no"), 401, same);
    }
}

#[test]
fn a_node_that_serves_its_coordinator_only_refuses_under_the_id() {
    let token = json!({"systemConfig": {"cluster": {"token": KEY}}});
    let coordinator =
        Gateway::start_with(&settings::merged(settings::coordinator(json!({})), token.clone()));
    let node = settings::node(coordinator.port(), json!({}), servers());
    let node = Gateway::start_with(&settings::merged(node, token));
    refused(&node.client("/mcp"), 403, same);
    refused(&node.client("/mcp/counter"), 403, same);
}

#[test]
fn an_initialize_beyond_a_limit_is_refused_under_its_id() {
    let limits = json!({"systemConfig": {"limits": {"sessionsPerPrincipal": 1}}});
    let gateway = Gateway::start_with(&settings::merged(settings::standalone(servers()), limits));
    let kept = gateway.client("/mcp/counter").initialize();
    kept.try_request("ping", json!({})).expect(200);
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}});
    for path in ["/mcp", "/mcp/counter"] {
        refused_messages(&gateway.client(path), 429, &messages("initialize", &params), same);
        let long =
            json!({"protocolVersion": "2025-11-25", "capabilities": {"x": "x".repeat(66_000)}});
        refused_messages(&gateway.client(path), 413, &messages("initialize", &long), same);
    }
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let gateway = gateway();
    let head = |more: &str| {
        format!(
            "POST /mcp/nobody HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: 100\r\n{more}\r\n",
            gateway.address()
        )
    };
    // What was announced and does not come; and what a client asks before it sends.
    for more in ["", "Expect: 100-continue\r\n"] {
        let mut connection = Connection::open(gateway.address());
        connection.send_raw(head(more).as_bytes());
        let began = std::time::Instant::now();
        let response = connection.read_head().unwrap().whole().expect(404);
        assert_eq!(response.json()["id"], Value::Null);
        assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    }
}

#[test]
fn a_message_that_expects_no_answer_is_refused_without_an_id() {
    let gateway = gateway();
    let client = gateway.client("/mcp");
    for body in [
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        r#"{"jsonrpc":"2.0","id":5,"result":{}}"#,
    ] {
        let refused = client.post().body(body).send(gateway.address()).expect(400);
        assert_eq!(refused.json()["id"], Value::Null, "{}", refused.text());
    }
}
