//! What requests without a session get: results, and the statuses and codes of refusals.

use mooring_tests::stateless::STATELESS;
use mooring_tests::{Canned, Gateway, Request, Stateless, servers, settings};
use serde_json::{Value, json};

use super::{asking, gateway, stateless};

#[test]
fn discover_says_what_each_scope_offers_and_which_revision() {
    let gateway = gateway(json!({"counter": servers::counter(), "fixture": asking()}));
    gateway.wait_until_discovered(&["counter", "fixture"]);
    for (path, name) in [
        ("/mcp/counter", "mooring-example-counter"),
        ("/mcp/fixture", "mooring-conformance-server"),
        ("/mcp", "mooring"),
    ] {
        let result = stateless(&gateway, path).result("server/discover", json!({}));
        assert_eq!(result["supportedVersions"], json!([STATELESS]), "{path}");
        assert_eq!(result["resultType"], "complete", "{path}");
        assert!(result["ttlMs"].is_u64() && result["cacheScope"] == "private", "{result}");
        let info = &result["_meta"]["io.modelcontextprotocol/serverInfo"];
        assert_eq!(info["name"], name, "{path}: {result}");
        assert!(result["capabilities"]["tools"].is_object(), "{path}: {result}");
        assert!(result["capabilities"]["tasks"].is_null(), "{path}: {result}");
    }
}

#[test]
fn lists_and_answers_say_that_they_are_complete_and_are_not_to_be_shared() {
    let gateway = gateway(json!({"fixture": asking()}));
    for path in ["/mcp/fixture", "/mcp"] {
        let client = stateless(&gateway, path);
        for (method, member) in [
            ("tools/list", "tools"),
            ("prompts/list", "prompts"),
            ("resources/list", "resources"),
            ("resources/templates/list", "resourceTemplates"),
        ] {
            let result = client.result(method, json!({}));
            assert!(!result[member].as_array().unwrap().is_empty(), "{path} {method}");
            assert_eq!(result["resultType"], "complete");
            assert_eq!((&result["ttlMs"], &result["cacheScope"]), (&json!(0), &json!("private")));
        }
        let read = client.result("resources/read", json!({"uri": "test://static-text"}));
        assert_eq!((&read["resultType"], &read["ttlMs"]), (&json!("complete"), &json!(0)));
        let missing = client.send("resources/read", json!({"uri": "test://nothing"})).expect(200);
        assert_eq!(missing.error_code(), -32602, "{}", missing.text());
        let tool = if path == "/mcp" { "fixture-test_simple_text" } else { "test_simple_text" };
        let called = client.call(tool, json!({}));
        assert_eq!(called["resultType"], "complete");
        assert!(called["ttlMs"].is_null(), "a call is not kept: {called}");
        let unknown = client.send("tools/call", json!({"name": "nothing"})).expect(200);
        assert_eq!(unknown.error_code(), -32602, "{}", unknown.text());
    }
}

#[test]
fn refusals_have_the_status_and_code_of_the_revision_and_the_requests_id() {
    let gateway = gateway(json!({"counter": servers::counter()}));
    let client = stateless(&gateway, "/mcp/counter");
    let refused = |request: Request, id: &Value, status: u16, code: i64| {
        let response = request.send(gateway.address()).expect(status);
        assert_eq!(response.error_code(), code, "{}", response.text());
        assert_eq!(response.json()["id"], *id, "{}", response.text());
        response.json()
    };
    for gone in ["initialize", "ping", "logging/setLevel", "resources/subscribe", "a/b"] {
        let (request, id) = client.request(gone, json!({}));
        refused(request, &id, 404, -32601);
    }
    let (request, id) = client.request("tools/list", json!({}));
    refused(request.without("Mcp-Method"), &id, 400, -32020);
    let (request, id) = client.request("tools/list", json!({}));
    refused(request.without("MCP-Protocol-Version"), &id, 400, -32020);
    let (request, id) = client.request("tools/call", json!({"name": "count"}));
    refused(request.without("Mcp-Name").header("Mcp-Name", "other"), &id, 400, -32020);
    let other = Stateless::new(gateway.address(), "/mcp/counter")
        .meta("io.modelcontextprotocol/protocolVersion", json!("2031-01-01"));
    let (request, id) = other.request("tools/list", json!({}));
    let request = request.without("MCP-Protocol-Version");
    let answer = refused(request.header("MCP-Protocol-Version", "2031-01-01"), &id, 400, -32022);
    assert_eq!(answer["error"]["data"]["supported"], json!([STATELESS]));
    assert_eq!(answer["error"]["data"]["requested"], "2031-01-01");
    let silent = stateless(&gateway, "/mcp/counter")
        .meta("io.modelcontextprotocol/clientCapabilities", Value::Null);
    let (request, id) = silent.request("server/discover", json!({}));
    refused(request, &id, 400, -32602);
    let batch = client.request("tools/list", json!({})).0.body("[]").send(gateway.address());
    assert_eq!(batch.expect(400).error_code(), -32600);
    for method in ["GET", "DELETE"] {
        let request = Request::new(method, "/mcp/counter").header("Accept", "text/event-stream");
        let request = request.header("MCP-Protocol-Version", STATELESS);
        let response = request.send(gateway.address()).expect(405);
        assert_eq!(response.header("allow"), Some("POST"));
    }
}

#[test]
fn sessions_are_served_beside_as_ever() {
    let gateway = gateway(json!({"counter": servers::counter()}));
    for path in ["/mcp/counter", "/mcp"] {
        let tool = if path == "/mcp" { "counter-count" } else { "count" };
        let session = gateway.client(path).initialize();
        assert_eq!((session.count(tool), session.count(tool)), (1, 2));
        let asking = gateway.client(path).revision(STATELESS).try_initialize().expect(200);
        let granted = asking.messages()[0]["result"]["protocolVersion"].clone();
        assert_eq!(granted, "2025-11-25", "no session has a revision without sessions");
        let lost = gateway
            .client(path)
            .post()
            .json(&json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list"}));
        let lost = lost.send(gateway.address()).expect(400);
        assert_eq!((lost.error_code(), &lost.json()["id"]), (-32000, &json!(7)));
    }
}

/// Until the operator says otherwise, clients that ask first fall back on sessions at once.
#[test]
fn by_default_sessions_alone_are_served() {
    let gateway =
        Gateway::start_with(&settings::standalone(json!({"counter": servers::counter()})));
    let client = stateless(&gateway, "/mcp/counter");
    let (request, id) = client.request("server/discover", json!({}));
    let refused = request.send(gateway.address()).expect(400);
    assert_eq!((refused.error_code(), &refused.json()["id"]), (-32000, &id));
}

#[test]
fn annotated_arguments_have_to_stand_in_headers() {
    let gateway = gateway(json!({"fixture": asking()}));
    gateway.wait_until_discovered(&["fixture"]);
    let client = stateless(&gateway, "/mcp/fixture");
    let _ = client.result("tools/list", json!({}));
    let params = json!({"name": "test_header_parameter", "arguments": {"region": "ö"}});
    let send = |value: Option<&str>| {
        let request = client.request("tools/call", params.clone()).0;
        match value {
            Some(value) => request.header("Mcp-Param-Region", value),
            None => request,
        }
        .send(gateway.address())
    };
    assert!(send(Some("=?base64?w7Y=?=")).expect(200).json()["result"].is_object());
    for wrong in [None, Some("o"), Some("=?base64?w7Y?=")] {
        assert_eq!(send(wrong).expect(400).error_code(), -32020, "{wrong:?}");
    }
}

/// Two numbers that are one to a reader who takes them for floating-point ones are two.
#[test]
fn a_number_in_a_header_is_compared_to_its_last_digit() {
    let gateway = gateway(json!({"near": super::upstreams::near(&[])}));
    gateway.wait_until_discovered(&["near"]);
    let client = stateless(&gateway, "/mcp/near");
    let _ = client.result("tools/list", json!({}));
    let send = |size: &Value, header: &str| {
        let params = json!({"name": "region", "arguments": {"size": size}});
        let request = client.request("tools/call", params).0;
        let response = request.header("Mcp-Param-Size", header).send(gateway.address());
        (response.status == 400).then(|| response.error_code())
    };
    let size = json!(9_007_199_254_740_993_u64);
    for same in ["9007199254740993", "9007199254740993.0"] {
        assert_eq!(send(&size, same), None, "{same}");
    }
    for other in ["9007199254740992", "9007199254740994", "9.007199254740992e15"] {
        assert_eq!(send(&size, other), Some(-32020), "{other}");
    }
}

#[test]
fn what_no_reader_can_take_for_two_things_is_asked_of_every_scope() {
    let servers = json!({"counter": servers::counter(), "near": super::upstreams::near(&[])});
    let gateway = gateway(servers);
    gateway.wait_until_discovered(&["counter", "near"]);
    for path in ["/mcp", "/mcp/counter", "/mcp/near"] {
        let client = stateless(&gateway, path);
        let request = || client.request("tools/list", json!({})).0;
        for second in [STATELESS, "2025-11-25"] {
            let twice = request().also("MCP-Protocol-Version", second);
            let refused = twice.send(gateway.address()).expect(400);
            assert_eq!(refused.error_code(), -32020, "{path}: {}", refused.text());
        }
        let message = |id: &str, token: &str| {
            let mut meta = client.meta.clone();
            meta["progressToken"] = serde_json::from_str(token).unwrap();
            let params = json!({"_meta": meta});
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/list","params":{params}}}"#)
        };
        for (id, token, code) in [
            ("1.5", "1", -32600),
            ("1e3", "1", -32600),
            ("2", "1.5", -32602),
            ("2", "[]", -32602),
            ("2", "{}", -32602),
        ] {
            let refused = request().body(message(id, token)).send(gateway.address()).expect(400);
            assert_eq!(refused.error_code(), code, "{path} {id} {token}: {}", refused.text());
        }
        for (id, token) in [("-7", "0"), ("\"\"", "\"\""), ("12345678901234567890", "-1")] {
            let answer = request().body(message(id, token)).send(gateway.address()).expect(200);
            assert!(answer.json()["result"].is_object(), "{path} {id} {token}: {}", answer.text());
        }
    }
}

/// The server is one of sessions: it gets none of what the client says of its own era, and gets
/// the rest as it came.
#[test]
fn the_server_gets_a_request_of_a_session() {
    let tools = json!({"tools": [{"name": "t", "inputSchema": {"type": "object"}}]});
    let server = Canned::new()
        .with_capabilities(json!({"tools": {}}))
        .answers("tools/list", tools)
        .answers("tools/call", json!({"content": [], "structuredContent": {"n": 1.0}}));
    let gateway = gateway(json!({"one": server.entry()}));
    let client = stateless(&gateway, "/mcp/one").able(json!({"sampling": {}}));
    let params = json!({"name": "t", "arguments": {"a": 1}, "_meta": {"traceparent": "00-1", "progressToken": "p"}});
    let result = client.result("tools/call", params);
    assert_eq!(result["structuredContent"], json!({"n": 1.0}));
    let told = server.told();
    let (_, call) = told.iter().find(|(_, told)| told["method"] == "tools/call").unwrap();
    let id = call["id"].clone();
    assert_eq!(
        call["params"],
        json!({"name": "t", "arguments": {"a": 1}, "_meta": {"traceparent": "00-1", "progressToken": id}})
    );
    let opened = told.iter().filter(|(_, told)| told["method"] == "initialize");
    let mut of_client =
        opened.filter(|(_, told)| told["params"]["clientInfo"]["name"] == "mooring-tests");
    let params = &of_client.next().expect("the client's own session").1["params"];
    assert_eq!(params["capabilities"], json!({"sampling": {}}));
    assert_eq!(params["protocolVersion"], "2025-11-25");
}

#[test]
fn progress_and_log_messages_come_to_those_who_ask_for_them() {
    let gateway = gateway(json!({"fixture": asking()}));
    let client = stateless(&gateway, "/mcp/fixture");
    let call = |tool: &str, meta: Value| {
        let params = json!({"name": tool, "arguments": {}, "_meta": meta});
        client.send("tools/call", params).expect(200)
    };
    let quiet = call("test_tool_with_progress", json!({}));
    assert!(!quiet.is_event_stream(), "{}", quiet.text());
    let told = call("test_tool_with_progress", json!({"progressToken": "mine"}));
    assert!(told.is_event_stream());
    assert!(told.events().iter().all(|event| event.id.is_none()), "nobody comes back to it");
    let messages = told.messages();
    let progress = messages.iter().filter(|message| message["method"] == "notifications/progress");
    let tokens: Vec<_> =
        progress.map(|message| message["params"]["progressToken"].clone()).collect();
    assert_eq!(tokens, ["mine", "mine", "mine"]);
    let level = |level: &str| json!({"io.modelcontextprotocol/logLevel": level});
    let logged = |meta: Value| {
        let messages = call("test_tool_with_logging", meta).messages();
        messages.iter().filter(|message| message["method"] == "notifications/message").count()
    };
    assert_eq!(logged(json!({})), 0);
    assert_eq!(logged(level("debug")), 3);
    assert_eq!(logged(level("error")), 0);
}

/// Over HTTP, a client that closes its response cancels the request.
#[test]
fn a_response_that_is_closed_cancels_the_request() {
    let tools = json!({"tools": [{"name": "emit", "inputSchema": {"type": "object"}}]});
    let server = Canned::new().with_capabilities(json!({"tools": {}})).answers("tools/list", tools);
    let system = json!({"systemConfig": super::both(&json!(["address"]))});
    let servers = settings::standalone(json!({"one": server.entry()}));
    let gateway = Gateway::start_with(&settings::merged(servers, system));
    let client = stateless(&gateway, "/mcp/one");
    let notice = json!({"jsonrpc": "2.0", "method": "notifications/message",
        "params": {"level": "error", "data": "working"}});
    let messages = mooring_tests::orders::coded(&[notice]);
    let params = json!({"name": "emit", "arguments": {"messages": messages},
        "_meta": {"io.modelcontextprotocol/logLevel": "error"}});
    let (mut stream, _) = client.open("tools/call", params);
    stream.message(|message| message["method"] == "notifications/message");
    let (_, call) = server.wait_for("the call", |_, told| told["method"] == "tools/call");
    drop(stream);
    server.wait_for("the cancellation", |_, told| {
        told["method"] == "notifications/cancelled" && told["params"]["requestId"] == call["id"]
    });
}
