//! What servers ask during a call, as input that the client sends with the same request again.

use std::sync::{Mutex, PoisonError};

use mooring_tests::{Cluster, Front, Gateway, OddServer, Stateless, Way, odd_server, settings};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{asking, both};

fn able() -> Value {
    json!({"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}})
}

/// An answer to each question.
fn responses(asks: &Value) -> Value {
    let mut all = json!({});
    for (key, asked) in asks["inputRequests"].as_object().expect("questions") {
        let content = match asked["params"]["requestedSchema"]["properties"].as_object() {
            Some(fields) if fields.contains_key("ok") => json!({"ok": true}),
            Some(fields) => {
                let name = fields.keys().next().cloned().unwrap_or_default();
                json!({name: "Alice"})
            }
            None => json!({}),
        };
        all[key] = match asked["method"].as_str() {
            Some("elicitation/create") => json!({"action": "accept", "content": content}),
            Some("sampling/createMessage") => {
                json!({"role": "assistant", "model": "m", "content": {"type": "text", "text": "Paris"}})
            }
            Some("roots/list") => json!({"roots": [{"uri": "file:///r", "name": "R"}]}),
            _ => panic!("{asked}"),
        };
    }
    all
}

fn again(tool: &str, asks: &Value, responses: Value) -> Value {
    json!({"name": tool, "arguments": {}, "inputResponses": responses, "requestState": asks["requestState"]})
}

fn text(result: &Value) -> String {
    assert_eq!(result["resultType"], "complete", "{result}");
    result["content"][0]["text"].as_str().unwrap_or_default().to_owned()
}

/// As when a connection breaks and the request is sent once more: one of the two has the answer.
#[test]
fn input_that_comes_twice_at_once_does_not_end_the_call() {
    let gateway = super::gateway(json!({"fixture": asking()}));
    gateway.wait_until_discovered(&["fixture"]);
    let tool = "test_input_required_result_elicitation";
    for path in ["/mcp/fixture", "/mcp"] {
        let tool = if path == "/mcp" { format!("fixture-{tool}") } else { tool.to_owned() };
        let client = Stateless::new(gateway.address(), path).able(able());
        for round in 0..6 {
            let asks = client.call(&tool, json!({}));
            let params = again(&tool, &asks, responses(&asks));
            let answers: Vec<Value> = std::thread::scope(|scope| {
                let sent: Vec<_> = (0..3)
                    .map(|_| scope.spawn(|| client.answer("tools/call", params.clone())))
                    .collect();
                sent.into_iter().map(|sent| sent.join().expect("an answer")).collect()
            });
            let done = answers.iter().filter(|answer| answer["result"].is_object()).count();
            assert!(done >= 1, "{path} {round}: {answers:?}");
        }
    }
}

#[test]
fn a_question_becomes_input_that_is_required_and_its_answer_reaches_the_call() {
    let http = super::crossing::HttpFixture::start();
    let servers = json!({"fixture": asking(), "far": {"url": http.url()}});
    Front::each(&servers, &both(&json!(["handle"])), |front| {
        front.wait_until_discovered(&["fixture", "far"]);
        for (path, prefix) in
            [("/mcp/fixture", ""), ("/mcp/far", ""), ("/mcp", "fixture-"), ("/mcp", "far-")]
        {
            let client = Stateless::new(front.gateway().address(), path).able(able());
            let tool = |name: &str| format!("{prefix}test_input_required_result_{name}");
            let call = |name: &str| {
                let asks = client.call(&tool(name), json!({}));
                assert_eq!(asks["resultType"], "input_required", "{path} {name}: {asks}");
                asks
            };
            let asks = call("elicitation");
            let done =
                client.result("tools/call", again(&tool("elicitation"), &asks, responses(&asks)));
            assert_eq!(text(&done), "Hello, Alice!", "{path}");
            let asks = call("sampling");
            let done =
                client.result("tools/call", again(&tool("sampling"), &asks, responses(&asks)));
            assert!(text(&done).contains("Paris"), "{path}: {done}");
            let asks = call("list_roots");
            let done =
                client.result("tools/call", again(&tool("list_roots"), &asks, responses(&asks)));
            assert!(text(&done).contains("file:///r"), "{path}: {done}");
            let asks = call("multiple_inputs");
            assert_eq!(asks["inputRequests"].as_object().unwrap().len(), 3, "{path}: {asks}");
            let done = client
                .result("tools/call", again(&tool("multiple_inputs"), &asks, responses(&asks)));
            for answer in ["Alice", "Paris", "file:///r"] {
                assert!(text(&done).contains(answer), "{path}: {done}");
            }
            let first = call("multi_round");
            let second =
                client.result("tools/call", again(&tool("multi_round"), &first, responses(&first)));
            assert_eq!(second["resultType"], "input_required", "{path}: {second}");
            assert_ne!(first["requestState"], second["requestState"]);
            let done = client
                .result("tools/call", again(&tool("multi_round"), &second, responses(&second)));
            assert!(text(&done).contains("likes"), "{path}: {done}");
        }
    });
}

#[test]
fn what_is_not_answered_is_asked_again() {
    let servers = json!({"fixture": asking()});
    Front::each(&servers, &both(&json!(["handle"])), |front| {
        let client = Stateless::new(front.gateway().address(), "/mcp/fixture").able(able());
        let tool = "test_input_required_result_multiple_inputs";
        let asks = client.call(tool, json!({}));
        let all = responses(&asks);
        let keys: Vec<&String> = all.as_object().unwrap().keys().collect();
        let some = json!({keys[0]: all[keys[0]], keys[1]: 12345, "unknown": {"action": "accept"}});
        let rest = client.result("tools/call", again(tool, &asks, some));
        let asked: Vec<&String> = rest["inputRequests"].as_object().unwrap().keys().collect();
        assert_eq!(asked, keys[1..], "{rest}");
        let none = client.result("tools/call", again(tool, &rest, Value::Null));
        assert_eq!(none["inputRequests"], rest["inputRequests"]);
        let done = client.result("tools/call", again(tool, &none, responses(&none)));
        assert!(text(&done).contains("Paris"), "{done}");
    });
}

#[test]
fn prompts_ask_too_and_clients_are_asked_what_they_can_be() {
    let gateway = super::gateway(json!({"fixture": asking()}));
    let client = super::stateless(&gateway, "/mcp/fixture").able(able());
    let name = "test_input_required_result_prompt";
    let asks = client.result("prompts/get", json!({"name": name}));
    assert_eq!(asks["resultType"], "input_required", "{asks}");
    let params = json!({"name": name, "inputResponses": responses(&asks), "requestState": asks["requestState"]});
    let done = client.result("prompts/get", params);
    assert_eq!(done["messages"][0]["content"]["text"], "Alice", "{done}");
    let unable = super::stateless(&gateway, "/mcp/fixture");
    let refused = unable.call("test_input_required_result_elicitation", json!({}));
    assert_eq!((&refused["resultType"], &refused["isError"]), (&json!("complete"), &json!(true)));
}

#[test]
fn input_reaches_a_call_across_a_restart_of_the_coordinator() {
    let system = json!({"systemConfig": both(&json!(["handle"]))});
    let settings = settings::merged(settings::coordinator(json!({})), system);
    let coordinator = Gateway::start_with(&settings);
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    for id in ["a", "b"] {
        cluster.add(id, json!({"fixture": asking()}));
    }
    cluster.wait_for_active(2);
    let client = Stateless::new(cluster.coordinator.address(), "/mcp/fixture").able(able());
    let tool = "test_input_required_result_elicitation";
    // Once with a conversation, once as a call that is alone.
    let named = Stateless::new(cluster.coordinator.address(), "/mcp/fixture")
        .able(able())
        .conversation(&client.new_conversation());
    let asks = [client.call(tool, json!({})), named.call(tool, json!({}))];
    cluster.coordinator.restart_after(Signal::KILL);
    let address = cluster.coordinator.address();
    for (client, asks) in [client.at(address), named.at(address)].iter().zip(&asks) {
        let done = client.result("tools/call", again(tool, asks, responses(asks)));
        assert_eq!(text(&done), "Hello, Alice!");
    }
}

#[test]
fn if_the_node_of_a_waiting_call_dies_its_client_gets_an_error_and_not_silence() {
    let system = json!({"systemConfig": both(&json!(["handle"]))});
    let settings = settings::merged(settings::coordinator(json!({})), system);
    let coordinator = Gateway::start_with(&settings);
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    cluster.add("a", json!({"fixture": asking()}));
    cluster.wait_for_active(1);
    let client = Stateless::new(cluster.coordinator.address(), "/mcp/fixture").able(able());
    let tool = "test_input_required_result_elicitation";
    let asks = client.call(tool, json!({}));
    cluster.nodes[0].kill9();
    cluster.add("b", json!({"fixture": asking()}));
    let answer = client.answer("tools/call", again(tool, &asks, responses(&asks)));
    let error = &answer["error"];
    assert_eq!(error["code"], -31001, "{answer}");
    assert!(error["message"].as_str().unwrap().contains("may have run"), "{answer}");
}

/// A server that wants a URL opened: before it serves a call at all, or, if the call says so, by a
/// question within it. It says which code its question was refused with.
fn wanting_urls() -> OddServer {
    let called = Mutex::<Value>::default();
    OddServer::good_but(Way::Stdio, move |message, say| {
        let url = json!({"mode": "url", "message": "log in", "url": "https://example.com/x", "elicitationId": "e"});
        let mut called = called.lock().unwrap_or_else(PoisonError::into_inner);
        match message["method"].as_str() {
            Some("tools/call") if message["params"]["arguments"]["asks"] == true => {
                *called = message["id"].clone();
                let asks = json!({"jsonrpc": "2.0", "id": "u", "method": "elicitation/create", "params": url});
                say(asks.to_string());
            }
            Some("tools/call") => {
                let error =
                    json!({"code": -32042, "message": "log in", "data": {"elicitations": [url]}});
                say(json!({"jsonrpc": "2.0", "id": message["id"], "error": error}).to_string());
            }
            None if message["id"] == "u" => {
                let code = message["error"]["code"].to_string();
                let result = json!({"content": [{"type": "text", "text": code}]});
                say(odd_server::answer(&json!({"id": *called}), &result));
            }
            _ => return false,
        }
        true
    })
}

#[test]
fn a_url_that_the_user_does_not_open_is_not_asked_for_again() {
    let server = wanting_urls();
    Front::each(&json!({"one": server.entry()}), &both(&json!(["handle"])), |front| {
        front.wait_until_discovered(&["one"]);
        for (path, tool) in [("/mcp/one", "ask"), ("/mcp", "one-ask")] {
            let client = Stateless::new(front.gateway().address(), path).able(able());
            let asks = client.call(tool, json!({}));
            assert_eq!(asks["inputRequests"]["url-1"]["params"]["mode"], "url", "{asks}");
            for action in ["decline", "cancel"] {
                let answer = json!({"url-1": {"action": action}});
                let done = client.result("tools/call", again(tool, &asks, answer));
                assert_eq!(done["isError"], true, "{path} {action}: {done}");
                assert_eq!(done["resultType"], "complete", "{path} {action}: {done}");
            }
            let opened = json!({"url-1": {"action": "accept"}});
            let asks = client.result("tools/call", again(tool, &asks, opened));
            assert_eq!(asks["resultType"], "input_required", "the server still wants it: {asks}");
        }
    });
}

#[test]
fn only_clients_that_open_urls_are_asked_to() {
    let server = wanting_urls();
    Front::each(&json!({"one": server.entry()}), &both(&json!(["handle"])), |front| {
        front.wait_until_discovered(&["one"]);
        for (path, tool) in [("/mcp/one", "ask"), ("/mcp", "one-ask")] {
            let at =
                |capabilities| Stateless::new(front.gateway().address(), path).able(capabilities);
            for (capabilities, code) in [
                (json!({"elicitation": {}}), "-32602"),
                (json!({"elicitation": {"form": {}}}), "-32602"),
                (json!({"sampling": {}}), "-32601"),
            ] {
                let client = at(capabilities);
                let params = json!({"name": tool, "arguments": {}});
                let response = client.send("tools/call", params).expect(400);
                let error = &response.json()["error"];
                assert_eq!(error["code"], -32021, "{path}: {error}");
                let required = json!({"requiredCapabilities": {"elicitation": {"url": {}}}});
                assert_eq!(error["data"], required, "{path}");
                let told = client.call(tool, json!({"asks": true}));
                assert_eq!(text(&told), code, "{path}");
            }
        }
    });
}
