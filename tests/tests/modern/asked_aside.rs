//! Servers whose questions name no request: on the GET stream of Streamable HTTP, and on pipes.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use mooring_tests::odd_server::{self, OddServer, Way};
use mooring_tests::scripted::{Asked, Out, Scripted, said};
use mooring_tests::{Front, Stateless, eventually};
use serde_json::{Value, json};

use super::both;

/// What is written to the GET streams, and who waits for which answer.
#[derive(Default)]
struct Talk {
    listening: HashMap<String, Sender<Value>>,
    waiting: HashMap<String, Sender<Value>>,
    asked: usize,
}

type Shared = Arc<Mutex<Talk>>;

fn with<T>(talk: &Shared, work: impl FnOnce(&mut Talk) -> T) -> T {
    work(&mut talk.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Asks on the GET stream of the session, if there is one: what nobody reads is dropped.
fn ask(talk: &Shared, session: &str, message: &str) -> Receiver<Value> {
    let (sender, receiver) = channel();
    with(talk, |talk| {
        talk.asked += 1;
        let id = format!("aside-{}", talk.asked);
        talk.waiting.insert(id.clone(), sender);
        let params =
            json!({"message": message, "requestedSchema": {"type": "object", "properties": {}}});
        let asks =
            json!({"jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": params});
        if let Some(stream) = talk.listening.get(session) {
            let _ = stream.send(asks);
        }
    });
    receiver
}

/// A server that asks and logs on its GET stream alone. `as_events`: whether a call's response begins
/// before its answer is there.
fn asks_aside(as_events: bool) -> Scripted {
    let talk = Shared::default();
    Scripted::start(move |asked: &Asked, mut out: Out| {
        let session = asked.session().to_owned();
        let message = asked.json();
        match (asked.method.as_str(), asked.rpc().as_str()) {
            ("GET", _) => {
                let (sender, messages) = channel();
                let mut out = out.events();
                with(&talk, |talk| talk.listening.insert(session, sender));
                for message in messages {
                    if !out.event(&message) {
                        break;
                    }
                }
                None
            }
            ("POST", "") if message.get("id").is_some() => {
                let id = message["id"].as_str().unwrap_or_default();
                if let Some(waiting) = with(&talk, |talk| talk.waiting.remove(id)) {
                    let _ = waiting.send(message["result"].clone());
                }
                Some(out)
            }
            ("POST", "tools/call") => {
                let times = message["params"]["arguments"]["times"].as_u64().unwrap_or(1);
                if as_events {
                    out = out.events();
                }
                let log = json!({"jsonrpc": "2.0", "method": "notifications/message",
                    "params": {"level": "warning", "data": "aside"}});
                with(&talk, |talk| talk.listening.get(&session).map(|stream| stream.send(log)));
                let mut heard = Vec::new();
                for number in 0..times {
                    let Ok(answer) = ask(&talk, &session, &format!("what {number}?")).recv() else {
                        return None;
                    };
                    heard.push(answer["action"].as_str().unwrap_or("none").to_owned());
                }
                let result = said(&heard.join(" "));
                let answer = json!({"jsonrpc": "2.0", "id": message["id"], "result": result});
                match as_events {
                    true => drop(out.event(&answer)),
                    false => out.json(&answer),
                }
                None
            }
            _ => Some(out),
        }
    })
}

fn client(front: &Front, path: &str) -> Stateless {
    Stateless::new(front.gateway().address(), path).able(json!({"elicitation": {}}))
}

fn accepted(asks: &Value) -> Value {
    let asked = asks["inputRequests"].as_object().unwrap_or_else(|| panic!("no input: {asks}"));
    asked.keys().map(|key| (key.clone(), json!({"action": "accept", "content": {}}))).collect()
}

/// The call again, with an answer to all that was asked.
fn again(client: &Stateless, tool: &str, arguments: &Value, asks: &Value) -> Value {
    let params = json!({"name": tool, "arguments": arguments,
        "inputResponses": accepted(asks), "requestState": asks["requestState"]});
    client.result("tools/call", params)
}

#[test]
fn a_question_on_the_get_stream_reaches_the_call_of_a_client_without_a_session() {
    for as_events in [true, false] {
        let server = asks_aside(as_events);
        Front::each(&json!({"one": server.entry()}), &both(&json!(["handle"])), |front| {
            front.wait_until_discovered(&["one"]);
            for (path, tool) in [("/mcp/one", "ask"), ("/mcp", "one-ask")] {
                let alone = client(front, path);
                let named = client(front, path).conversation(&alone.new_conversation());
                for client in [alone, named] {
                    let arguments = json!({"times": 2});
                    let first = client.call(tool, arguments.clone());
                    assert_eq!(first["inputRequests"]["input-1"]["params"]["message"], "what 0?");
                    let second = again(&client, tool, &arguments, &first);
                    let done = again(&client, tool, &arguments, &second);
                    let text = &done["content"][0]["text"];
                    assert_eq!(text, "accept accept", "{path}, events: {as_events}");
                }
            }
        });
    }
}

/// One that listens reads the GET stream of the same conversation.
#[test]
fn a_listener_takes_no_question_from_a_call() {
    let server = asks_aside(true);
    Front::each(&json!({"one": server.entry()}), &both(&json!(["handle"])), |front| {
        front.wait_until_discovered(&["one"]);
        let client = client(front, "/mcp/one").conversation_of_its_own();
        let wanted = json!({"notifications": {"toolsListChanged": true}});
        let (mut stream, _) = client.open("subscriptions/listen", wanted);
        let first = stream.event().json();
        assert_eq!(first["method"], "notifications/subscriptions/acknowledged", "{first}");
        for _ in 0..3 {
            let asks = client.call("ask", json!({}));
            let done = again(&client, "ask", &json!({}), &asks);
            assert_eq!(done["content"][0]["text"], "accept");
        }
    });
}

#[test]
fn log_messages_on_the_get_stream_reach_the_call() {
    let server = asks_aside(true);
    Front::each(&json!({"one": server.entry()}), &both(&json!(["handle"])), |front| {
        front.wait_until_discovered(&["one"]);
        let client =
            client(front, "/mcp/one").meta("io.modelcontextprotocol/logLevel", json!("info"));
        let client = client.conversation_of_its_own();
        let params = json!({"name": "ask", "arguments": {}});
        let (mut stream, id) = client.open("tools/call", params);
        let told = stream.message(|message| message["method"] == "notifications/message");
        assert_eq!(told["params"]["data"], "aside");
        let asks = stream.message(|message| message["id"] == id);
        let done = again(&client, "ask", &json!({}), &asks["result"]);
        assert_eq!(done["content"][0]["text"], "accept");
    });
}

/// Each call asks under its own name; which of them brings a question is not said.
#[test]
fn calls_that_run_at_once_are_all_asked_and_answered() {
    for way in [Way::Stdio, Way::Sse] {
        // By the question, the call that asks.
        let calls = Arc::<Mutex<HashMap<String, Value>>>::default();
        let server = OddServer::good_but(way, move |message, say| {
            let mut calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
            if message["method"] == "tools/call" {
                let name = message["params"]["arguments"]["name"].as_str().unwrap_or_default();
                let id = format!("q-{name}");
                calls.insert(id.clone(), message["id"].clone());
                let params = json!({"message": name, "requestedSchema": {"type": "object", "properties": {}}});
                say(json!({"jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": params}).to_string());
                return true;
            }
            let id = message["id"].as_str().unwrap_or_default();
            if message["method"].is_null()
                && let Some(call) = calls.remove(id)
            {
                let action = message["result"]["content"]["name"].as_str().unwrap_or("none");
                let said = said(&format!("{id} {action}"));
                say(odd_server::answer(&json!({"id": call}), &said));
                return true;
            }
            false
        });
        Front::each(&json!({"one": server.entry()}), &both(&json!(["handle"])), |front| {
            front.wait_until_discovered(&["one"]);
            for path in ["/mcp/one", "/mcp"] {
                let tool = if path == "/mcp" { "one-ask" } else { "ask" };
                let client = client(front, path).conversation_of_its_own();
                std::thread::scope(|scope| {
                    let run = |number: usize| {
                        let client = client.clone_with(json!({"elicitation": {}}));
                        let name = format!("c{number}-{}", tool.len());
                        move || {
                            let arguments = json!({"name": name});
                            let mut result = client.call(tool, arguments.clone());
                            while result["resultType"] == "input_required" {
                                let mut answers = accepted(&result);
                                for (key, asked) in result["inputRequests"].as_object().unwrap() {
                                    answers[key]["content"] =
                                        json!({"name": asked["params"]["message"]});
                                }
                                let params = json!({"name": tool, "arguments": arguments,
                                    "inputResponses": answers, "requestState": result["requestState"]});
                                result = client.result("tools/call", params);
                            }
                            assert_eq!(
                                result["content"][0]["text"],
                                format!("q-{name} {name}"),
                                "{path}"
                            );
                        }
                    };
                    (0..6).for_each(|number| drop(scope.spawn(run(number))));
                });
            }
        });
    }
}

/// A question while no request is under way is asked with the next one that can bring it, also if that
/// is answered at once: somebody waits for it.
#[test]
fn a_question_between_calls_is_asked_with_the_next_one() {
    let heard = Arc::<Mutex<Vec<String>>>::default();
    let told = Arc::clone(&heard);
    let server = OddServer::good_but(Way::Stdio, move |message, say| {
        let params =
            json!({"message": "late?", "requestedSchema": {"type": "object", "properties": {}}});
        let asks = json!({"jsonrpc": "2.0", "id": "late", "method": "elicitation/create", "params": params});
        if message["id"] == "late" {
            let action = message["result"]["action"].as_str().unwrap_or("none").to_owned();
            told.lock().unwrap_or_else(PoisonError::into_inner).push(action);
        }
        if message["params"]["arguments"]["leaves"] != true {
            return false;
        }
        odd_server::as_usual(message, say);
        say(asks.to_string());
        true
    });
    Front::each(&json!({"one": server.entry()}), &both(&json!(["handle"])), |front| {
        front.wait_until_discovered(&["one"]);
        let client = client(front, "/mcp/one").conversation_of_its_own();
        let _ = client.call("ask", json!({"leaves": true}));
        let asks = client.call("ask", json!({}));
        assert_eq!(asks["inputRequests"]["input-1"]["params"]["message"], "late?", "{asks}");
        let done = again(&client, "ask", &json!({}), &asks);
        assert_eq!(done["content"][0]["text"], "as usual", "{done}");
        let answer = eventually("the answer at the server", || {
            heard.lock().unwrap_or_else(PoisonError::into_inner).pop()
        });
        assert_eq!(answer, "accept");
    });
}
