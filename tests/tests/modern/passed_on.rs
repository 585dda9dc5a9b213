//! Clients without sessions at servers without: what a URL of one server gets passes as it came, and what
//! one of several gets does too, but for names.

use mooring_tests::{Front, Request, Scripted, Stateless, eventually};
use serde_json::{Value, json};

use super::upstreams::{Far, near};
use super::{both, gateway};

/// Both servers behind both fronts, each at a URL of its own.
#[track_caller]
fn alone(test: impl Fn(&Stateless, &str)) {
    let far = Far::start(&[]);
    let servers = json!({"near": near(&[]), "far": far.entry()});
    Front::each(&servers, &both(&json!(["handle"])), |front| {
        front.wait_until_discovered(&["near", "far"]);
        for server in ["near", "far"] {
            eprintln!("{server}");
            let client = Stateless::new(front.gateway().address(), &format!("/mcp/{server}"));
            // A coordinator knows what its nodes have discovered a moment later.
            eventually("the server's own answer", || {
                let result = client.result("server/discover", json!({}));
                (result["cacheScope"] == "public").then_some(())
            });
            test(&client, server);
        }
    });
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_default()
}

fn events(client: &Stateless) -> Vec<Value> {
    let said = client.call("journal", json!({}));
    said["structuredContent"]["events"].as_array().cloned().unwrap_or_default()
}

#[test]
fn what_the_server_says_passes_as_it_came() {
    alone(|client, server| {
        let found = client.result("server/discover", json!({}));
        assert_eq!(found["supportedVersions"], json!(["2026-07-28"]));
        assert_eq!(found["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "stateless");
        assert!(found["_meta"]["mooring/conversation"].is_null(), "{found}");
        let list = client.result("tools/list", json!({"cursor": "rest"}));
        let names: Vec<_> = list["tools"].as_array().unwrap().iter().map(|t| &t["name"]).collect();
        assert!(names.contains(&&json!("unusable")), "{names:?}");
        assert_eq!((&list["ttlMs"], &list["cacheScope"]), (&json!(0), &json!("public")));
        let own = client.result("vendor/echo", json!({"x": 1.5}));
        assert_eq!(own["params"]["x"], 1.5);
        let echo = client.call("echo", json!({"n": 1.5}));
        let said = &echo["structuredContent"];
        assert_eq!(said["params"]["_meta"], client.meta);
        if server == "far" {
            assert_eq!(said["headers"]["mcp-name"], "echo");
            assert!(said["headers"]["mcp-session-id"].is_null());
        }
        for (method, params, status, code) in [
            ("tools/call", json!({"name": "none"}), 200, -32602),
            ("tools/call", json!({"name": "incapable"}), 400, -32021),
            ("no/such", json!({}), 404, -32601),
        ] {
            let (request, id) = client.request(method, params);
            let response = request.send(client.address()).expect(status);
            assert_eq!((response.error_code(), &response.json()["id"]), (code, &id), "{method}");
        }
    });
}

/// Requests as nearly all programs write them are read in another way than all others.
#[test]
fn however_a_request_is_written_it_passes_and_is_judged_alike() {
    alone(|client, server| {
        let meta = &client.meta;
        for text in [
            format!(
                r#"{{"jsonrpc":"2.0","id":41,"method":"tools/call","params":{{"name":"echo","arguments":{{"n":1.5}},"_meta":{meta}}}}}"#
            ),
            format!(
                r#"{{"method":"tools/call","params":{{"_meta":{meta},"arguments":{{}},"name":"echo"}},"jsonrpc":"2.0","id":"a-41"}}"#
            ),
            format!(
                r#" {{"jsonrpc": "2.0", "id": 41, "method": "tools/call", "params": {{"name": "e\u0063ho", "more": [ ], "_meta": {meta}}}}}"#
            ),
        ] {
            let said: Value = serde_json::from_str(&text).unwrap();
            let send = |change: &dyn Fn(Request) -> Request| {
                let (request, _) = client.request("tools/call", json!({"name": "echo"}));
                change(request.body(text.as_str())).send(client.address())
            };
            let answer = send(&|request| request).expect(200).json();
            assert_eq!(answer["id"], said["id"], "{text}");
            let echo = &answer["result"]["structuredContent"];
            assert_eq!(echo["params"], said["params"], "{text}");
            if server == "far" {
                let [version, method, name] = ["mcp-protocol-version", "mcp-method", "mcp-name"]
                    .map(|name| echo["headers"][name].as_str().unwrap_or_default());
                assert_eq!((version, method, name), ("2026-07-28", "tools/call", "echo"));
            }
            for (name, value) in [
                ("MCP-Protocol-Version", "2025-11-25"),
                ("Mcp-Method", "tools/list"),
                ("Mcp-Name", "ECHO"),
                ("Mcp-Name", "=?base64?ZWNoby4=?="),
            ] {
                let wrong = send(&|request| request.header(name, value));
                let missing = send(&|request| request.without(name));
                for refused in [wrong, missing] {
                    let refused = refused.expect(400);
                    assert_eq!(refused.error_code(), -32020, "{name}: {text}");
                    assert_eq!(refused.json()["id"], said["id"], "{name}: {text}");
                }
            }
            for odd in ["1.5", "1e3", "true", "{}", "[1]"] {
                let (from, to) = ("\"_meta\":{", format!("\"_meta\":{{\"progressToken\":{odd},"));
                let odd_text = text.replace("\"_meta\": {", from).replacen(from, &to, 1);
                let refused = send(&|request| request.body(odd_text.as_str())).expect(400);
                assert_eq!(refused.error_code(), -32602, "{odd_text}");
                assert_eq!(refused.json()["id"], said["id"], "{odd_text}");
            }
            let coded = send(&|request| request.header("Mcp-Name", "=?base64?ZWNobw==?="));
            let coded = coded.expect(200).json();
            let echo = &coded["result"]["structuredContent"];
            assert!(server == "near" || echo["headers"]["mcp-name"] == "=?base64?ZWNobw==?=");
        }
    });
}

#[test]
fn errors_of_servers_without_sessions_are_counted() {
    let far = Far::start(&[]);
    let gateway = gateway(json!({"near": near(&[]), "far": far.entry()}));
    gateway.wait_until_discovered(&["near", "far"]);
    for server in ["near", "far"] {
        let client = Stateless::new(gateway.address(), &format!("/mcp/{server}"));
        eventually("the server's own answer", || {
            let result = client.result("server/discover", json!({}));
            (result["cacheScope"] == "public").then_some(())
        });
        let counted = || {
            let labels = format!("kind=\"invalid-params\",server=\"{server}\",emitter=\"server\"");
            let text = gateway.get("/metrics").expect(200).text();
            let line = text.lines().find(|line| line.contains(&labels)).map(str::to_owned);
            line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        assert_eq!(counted(), 0, "{server}");
        let (request, _) = client.request("tools/call", json!({"name": "none"}));
        assert_eq!(request.send(client.address()).expect(200).error_code(), -32602);
        assert_eq!(counted(), 1, "{server}");
    }
}

#[test]
fn questions_are_the_servers_own() {
    alone(|client, _| {
        let asks = client.call("ask", json!({}));
        assert_eq!(asks["resultType"], "input_required");
        assert_eq!(asks["requestState"], "asked \u{e4}");
        assert_eq!(asks["inputRequests"]["roots"]["method"], "roots/list");
        let given = json!({
            "name": {"action": "accept", "content": {"name": "Alice"}},
            "city": {"role": "assistant", "content": {"type": "text", "text": "Paris"}},
            "roots": {"roots": [{"uri": "file:///r"}]},
        });
        let params = json!({"name": "ask", "arguments": {}, "inputResponses": given,
            "requestState": asks["requestState"]});
        assert_eq!(text(&client.result("tools/call", params)), "Alice, Paris, file:///r");
    });
}

#[test]
fn notifications_come_with_the_clients_own_names() {
    alone(|client, server| {
        let params = json!({"name": "progress", "_meta": {"progressToken": "mine"}});
        let told = client.send("tools/call", params).expect(200);
        let messages = told.messages();
        let progress = messages.iter().filter(|m| m["method"] == "notifications/progress");
        let tokens: Vec<_> = progress.map(|m| m["params"]["progressToken"].clone()).collect();
        assert_eq!(tokens, ["mine", "mine", "mine"]);
        let uri = format!("{server}://a");
        let wanted = json!({"toolsListChanged": true, "resourceSubscriptions": [uri, "other://a"]});
        let (mut stream, id) =
            client.open("subscriptions/listen", json!({"notifications": wanted}));
        let named = |message: &Value| {
            assert_eq!(message["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], id);
        };
        let first = stream.message(|message| message.get("method").is_some());
        assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
        assert_eq!(first["params"]["notifications"]["resourceSubscriptions"], json!([uri]));
        named(&first);
        // Each request goes to a node of its own, and only one has the process that is listened to.
        for _ in 0..20 {
            let _ = client.call("touch", json!({"uri": uri}));
        }
        let updated = stream.message(|m| m["method"] == "notifications/resources/updated");
        assert_eq!(updated["params"]["uri"], json!(uri));
        named(&updated);
        let left = || events(client).iter().filter(|event| !event["left"].is_null()).count();
        let before = left();
        drop(stream);
        eventually("the end of the subscription", || (left() > before).then_some(()));
    });
}

#[test]
fn a_response_that_is_closed_cancels_at_the_server() {
    alone(|client, _| {
        let count = || events(client).iter().filter(|e| !e["cancelled"].is_null()).count();
        let before = count();
        let meta = json!({"io.modelcontextprotocol/logLevel": "debug"});
        let params = json!({"name": "slow", "arguments": {}, "_meta": meta});
        let (mut stream, _) = client.open("tools/call", params);
        stream.message(|message| message["method"] == "notifications/message");
        drop(stream);
        eventually("the cancellation", || (count() > before).then_some(()));
    });
}

/// All of them go through one client of the gateway's, which must not make them one client's.
#[test]
fn requests_of_no_session_share_no_cookie_and_count_as_calls() {
    let server = Scripted::start(|asked, out| {
        let result = match &*asked.rpc() {
            "server/discover" => json!({
                "resultType": "complete", "supportedVersions": ["2026-07-28"],
                "capabilities": {"tools": {}}, "ttlMs": 0, "cacheScope": "public",
            }),
            "tools/list" => {
                let tools = json!([{"name": "one", "inputSchema": {"type": "object"}}]);
                json!({"resultType": "complete", "tools": tools, "ttlMs": 0, "cacheScope": "public"})
            }
            "tools/call" => {
                let said = json!([{"type": "text", "text": "1"}]);
                json!({"resultType": "complete", "content": said})
            }
            _ => return Some(out),
        };
        let body = json!({"jsonrpc": "2.0", "id": asked.json()["id"], "result": result});
        let headers = ["Content-Type: application/json", "Set-Cookie: lb=mine; Path=/"];
        out.reply("200 OK", &headers, body.to_string().as_bytes());
        None
    });
    let mut entry = server.entry();
    entry["era"] = json!("modern");
    let gateway = gateway(json!({"far": entry}));
    gateway.wait_until_discovered(&["far"]);
    let client = || Stateless::new(gateway.address(), "/mcp/far").header("Mcp-Param-Region", "eu");
    eventually("the server's own answer", || {
        let result = client().result("server/discover", json!({}));
        (result["cacheScope"] == "public").then_some(())
    });
    for _ in 0..3 {
        assert_eq!(text(&client().call("one", json!({}))), "1");
    }
    let mut calls = server.all();
    calls.retain(|asked| asked.rpc() == "tools/call");
    assert_eq!(calls.len(), 3);
    for asked in &calls {
        assert_eq!(asked.header("cookie"), None);
        assert_eq!(asked.header("mcp-method"), Some("tools/call"));
        assert_eq!(asked.header("mcp-name"), Some("one"));
        assert_eq!(asked.header("mcp-param-region"), Some("eu"));
        assert_eq!(asked.header("mcp-protocol-version"), Some("2026-07-28"));
    }
    eventually("they are counted", || {
        let page = gateway.get("/metrics").expect(200).text();
        let counted = page.lines().any(|line| {
            line.starts_with("mooring_calls_total{")
                && ["server=\"far\"", "method=\"tools/call\"", "outcome=\"ok\""]
                    .iter()
                    .all(|label| line.contains(label))
                && line.ends_with(" 3")
        });
        counted.then_some(())
    });
}

/// Each client reaches it in its own era, and neither loses anything by the other.
#[test]
fn a_server_of_both_eras_serves_clients_of_either_as_they_are() {
    let dual = Far::start(&["dual"]);
    let mut entry = dual.entry();
    entry["era"] = json!("both");
    let gateway = gateway(json!({"far": entry, "plain": dual.entry()}));
    gateway.wait_until_discovered(&["far", "plain"]);
    let client = Stateless::new(gateway.address(), "/mcp/far");
    let found = eventually("the server's own answer", || {
        let result = client.result("server/discover", json!({}));
        (result["cacheScope"] == "public").then_some(result)
    });
    assert!(found["_meta"]["mooring/conversation"].is_null(), "{found}");
    let session = gateway.client("/mcp/far").initialize();
    for _ in 0..2 {
        assert_eq!(text(&client.call("era", json!({}))), "modern");
        assert_eq!(text(&session.call("era", json!({}))), "legacy");
    }
    assert_eq!(session.result["serverInfo"]["version"], "session", "{}", session.result);
    assert!(session.result["_meta"].is_null(), "{}", session.result);
    // Over several servers there is a session in between, as with any server that has some, and so
    // there is where nothing is said.
    for (path, tool) in [("/mcp", "far-era"), ("/mcp/plain", "era")] {
        let client = Stateless::new(gateway.address(), path);
        assert_eq!(text(&client.call(tool, json!({}))), "legacy", "{path}");
    }
}

/// Both servers behind both fronts, at the URL of both, by the prefix of their tools.
#[track_caller]
fn together(test: impl Fn(&Stateless, &str)) {
    let far = Far::start(&[]);
    let servers = json!({"near": near(&[]), "far": far.entry()});
    Front::each(&servers, &both(&json!(["handle"])), |front| {
        front.wait_until_discovered(&["near", "far"]);
        let client = Stateless::new(front.gateway().address(), "/mcp");
        for prefix in ["near-", "far-"] {
            eprintln!("{prefix}");
            eventually("the server's own question", || {
                let asks = client.call(&format!("{prefix}ask"), json!({}));
                (asks["requestState"] == "asked \u{e4}").then_some(())
            });
            test(&client, prefix);
        }
    });
}

#[test]
fn questions_are_the_servers_own_where_there_are_several() {
    together(|client, prefix| {
        let tool = format!("{prefix}ask");
        let asks = client.call(&tool, json!({}));
        assert_eq!(asks["inputRequests"]["roots"]["method"], "roots/list");
        let given = json!({
            "name": {"action": "accept", "content": {"name": "Alice"}},
            "city": {"role": "assistant", "content": {"type": "text", "text": "Paris"}},
            "roots": {"roots": [{"uri": "file:///r"}]},
        });
        let params = json!({"name": tool, "arguments": {}, "inputResponses": given,
            "requestState": asks["requestState"]});
        assert_eq!(text(&client.result("tools/call", params)), "Alice, Paris, file:///r");
    });
}

#[test]
fn each_of_several_servers_gets_its_own_names_and_nothing_of_the_gateway() {
    together(|client, prefix| {
        let name = client.new_conversation();
        let speaking = Stateless::new(client.address(), "/mcp").conversation(&name);
        let said = speaking.call(&format!("{prefix}echo"), json!({"n": 1.5}));
        let said = &said["structuredContent"];
        assert_eq!(
            (&said["params"]["name"], &said["params"]["arguments"]["n"]),
            (&json!("echo"), &json!(1.5))
        );
        assert_eq!(said["params"]["_meta"], client.meta, "the conversation is the gateway's");
        if prefix == "far-" {
            assert_eq!(said["headers"]["mcp-name"], "echo");
            assert!(said["headers"]["mcp-session-id"].is_null());
        }
        let progress =
            json!({"name": format!("{prefix}progress"), "_meta": {"progressToken": "mine"}});
        let told = client.send("tools/call", progress).expect(200).messages();
        let told = told.iter().filter(|told| told["params"]["progressToken"] == "mine");
        assert_eq!(told.count(), 3);
        let (request, id) =
            client.request("tools/call", json!({"name": format!("{prefix}incapable")}));
        let refused = request.send(client.address()).expect(400);
        assert_eq!((refused.error_code(), &refused.json()["id"]), (-32021, &id));
        let unknown = client.answer("tools/call", json!({"name": format!("{prefix}none")}));
        assert_eq!(unknown["error"]["code"], -32602);
    });
}

/// Each request goes to a node of its own, and each node has a process of its own.
#[test]
fn a_change_at_any_node_is_heard() {
    together(|client, prefix| {
        let own = Stateless::new(client.address(), "/mcp/near");
        for (client, touch) in [(client, "near-touch"), (&own, "touch")] {
            if prefix != "near-" {
                continue;
            }
            let wanted = json!({"notifications": {"toolsListChanged": true}});
            let (mut stream, id) = client.open("subscriptions/listen", wanted);
            let first = stream.message(|message| message.get("method").is_some());
            assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
            for _ in 0..8 {
                let _ = client.call(touch, json!({}));
                let told = stream.message(|m| m["method"] == "notifications/tools/list_changed");
                let named = &told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"];
                assert_eq!(*named, id);
            }
        }
    });
}
