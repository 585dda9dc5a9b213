//! Batches of messages, which only 2025-03-26 allows.

use std::collections::BTreeMap;

use mooring_tests::{Client, Front, Response, Session, servers};
use serde_json::{Value, json};

fn everything() -> Value {
    json!({"clock": servers::clock(), "counter": servers::counter()})
}

fn post(session: &Session, batch: &Value) -> Response {
    session.post(batch).send(session.client.address())
}

/// The answers by their requests' ids, however they are framed.
fn answers(response: Response) -> BTreeMap<String, Value> {
    let messages = response.expect(200).messages().into_iter();
    let each = messages.flat_map(|message| match message {
        Value::Array(messages) => messages,
        message => vec![message],
    });
    let mut answers = BTreeMap::new();
    for message in each.filter(|message| message.get("method").is_none()) {
        let twice = answers.insert(message["id"].to_string(), message);
        assert_eq!(twice, None, "answered twice");
    }
    answers
}

fn call(id: Value, tool: &str, arguments: Value) -> Value {
    let params = json!({"name": tool, "arguments": arguments});
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
}

fn old(client: Client) -> Session {
    client.revision("2025-03-26").initialize()
}

#[test]
fn every_request_of_a_batch_is_answered() {
    Front::each(&everything(), &json!({}), |front| {
        let notification = json!({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"});
        let ping = json!({"jsonrpc": "2.0", "id": "p", "method": "ping"});
        let list = json!({"jsonrpc": "2.0", "id": "1", "method": "tools/list"});

        let session = old(front.client("/mcp"));
        let response = post(
            &session,
            &json!([
                call(json!(1), "clock-sleep", json!({"ms": 200})),
                notification,
                call(json!(2), "no-such-tool", json!({})),
                ping,
                list,
                call(json!(3), "counter-count", json!({"by": 5})),
            ]),
        );
        let found = answers(response);
        let ids: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(ids, ["\"1\"", "\"p\"", "1", "2", "3"]);
        assert_eq!(found["1"]["result"]["structuredContent"]["ms"], 200);
        assert_eq!(found["2"]["error"]["code"], -32602);
        assert_eq!(found["\"p\""]["result"], json!({}));
        assert_eq!(found["\"1\""]["result"]["tools"].as_array().unwrap().len(), 6);
        assert_eq!(found["3"]["result"]["structuredContent"]["value"], 5);

        let session = old(front.client("/mcp/clock"));
        let response = post(
            &session,
            &json!([
                call(json!(1), "sleep", json!({"ms": 200})),
                notification,
                call(json!("1"), "no-such-tool", json!({})),
                ping,
                call(json!(3), "now", json!({})),
            ]),
        );
        let found = answers(response);
        let ids: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(ids, ["\"1\"", "\"p\"", "1", "3"]);
        assert_eq!(found["1"]["result"]["structuredContent"]["ms"], 200);
        assert_eq!(found["\"p\""]["result"], json!({}));
        assert!(found["3"]["result"]["structuredContent"]["unix_ms"].is_u64());
    });
}

#[test]
fn progress_of_a_batch_comes_before_its_answers() {
    Front::each(&everything(), &json!({}), |front| {
        for (path, tool) in
            [("/mcp", "clock-wait_with_progress"), ("/mcp/clock", "wait_with_progress")]
        {
            let session = old(front.client(path));
            let mut batch = Vec::new();
            for id in 1..=2 {
                let mut call = call(json!(id), tool, json!({"steps": 2, "ms": 20}));
                call["params"]["_meta"] = json!({"progressToken": id});
                batch.push(call);
            }
            let messages = post(&session, &batch.into()).expect(200).messages();
            for id in 1..=2 {
                let at = |is: &dyn Fn(&Value) -> bool| messages.iter().position(is).unwrap();
                let progress = at(&|m| m["params"]["progressToken"] == id);
                let answer = at(&|m| m["id"] == id);
                assert!(progress < answer, "{path}: {messages:?}");
            }
            assert_eq!(messages.len(), 6, "{path}: {messages:?}");
        }
    });
}

#[test]
fn a_batch_has_no_more_messages_than_a_session_may_have_under_way() {
    let system = json!({"limits": {"inFlightPerSession": 40}});
    Front::each(&everything(), &system, |front| {
        let session = old(front.client("/mcp"));
        let batch = |length: u32| -> Value {
            (1..=length).map(|id| call(json!(id), "counter-count", json!({}))).collect()
        };
        let response = post(&session, &batch(41)).expect(400);
        assert_eq!(response.error_code(), -32600);
        assert!(response.text().contains("inFlightPerSession"), "{}", response.text());
        // The most that one batch may have.
        assert_eq!(answers(post(&session, &batch(40))).len(), 40);
        assert_eq!(session.count("counter-count"), 41, "nothing of the first has run");
    });
}

#[test]
fn a_batch_without_requests_is_accepted() {
    Front::each(&everything(), &json!({}), |front| {
        for path in ["/mcp", "/mcp/clock"] {
            let session = old(front.client(path));
            let batch = json!([
                {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"},
                {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 99}},
                {"jsonrpc": "2.0", "id": 5, "result": {}},
            ]);
            let response = post(&session, &batch).expect(202);
            assert_eq!(response.text(), "", "{path}");
        }
    });
}

#[test]
fn what_is_no_batch_is_refused() {
    Front::each(&everything(), &json!({}), |front| {
        for path in ["/mcp", "/mcp/clock"] {
            let session = old(front.client(path));
            let client = front.client(path);
            let initialize = json!({
                "jsonrpc": "2.0", "id": 1, "method": "initialize",
                "params": {"protocolVersion": "2025-03-26", "capabilities": {},
                    "clientInfo": {"name": "x", "version": "1"}},
            });
            let ping = json!({"jsonrpc": "2.0", "id": 2, "method": "ping"});
            for batch in [
                json!([]),
                json!([initialize, ping]),
                json!([1]),
                json!([[ping]]),
                json!([ping, null]),
            ] {
                let response = post(&session, &batch).expect(400);
                assert_eq!(response.error_code(), -32600, "{path}: {batch}");
            }
            // A batch is also refused without a session.
            client.post().json(&json!([initialize])).send(client.address()).expect(400);
            session.request("ping", json!({}));
        }
    });
}

#[test]
fn other_revisions_have_no_batches() {
    Front::each(&everything(), &json!({}), |front| {
        for path in ["/mcp", "/mcp/counter"] {
            for revision in ["2025-06-18", "2025-11-25"] {
                let session = front.client(path).revision(revision).initialize();
                let tool = if path == "/mcp" { "counter-count" } else { "count" };
                let batch = json!([call(json!(1), tool, json!({}))]);
                let response = post(&session, &batch).expect(400);
                assert_eq!(response.error_code(), -32600, "{path} {revision}");
                assert_eq!(session.count(tool), 1, "nothing of it has run");
            }
        }
    });
}
