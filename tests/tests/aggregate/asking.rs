//! Requests of servers to the client: they name their server, and the answer reaches that server
//! on whichever connection it arrives.

use std::collections::BTreeSet;
use std::process::Command;

use mooring_tests::http::Incoming;
use mooring_tests::{
    Canned, Client, Front, Gateway, Scripted, Session, binaries, eventually, process, settings,
};
use rustix::process::Signal;
use serde_json::{Value, json};

use mooring_tests::orders::{announce, emit, emit_answer, late, left_open, notification, tools};
use mooring_tests::running::Running;

fn able(client: Client) -> Session {
    let params = json!({
        "protocolVersion": "2025-11-25",
        "capabilities": {
            "sampling": {},
            "elicitation": {"form": {}, "url": {}},
            "roots": {"listChanged": true},
        },
        "clientInfo": {"name": "mooring-tests", "version": "1"},
    });
    client.params(params).initialize()
}

/// A request of a server to the client.
fn question(stream: &mut Incoming, method: &str) -> Value {
    stream.message(|message| message["method"] == method && message.get("id").is_some())
}

fn answer(stream: &mut Incoming, id: &Value) -> Value {
    stream.message(|message| message["id"] == *id && message.get("method").is_none())
}

fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

fn canned() -> Canned {
    Canned::new().with_capabilities(json!({"tools": {}})).answers("tools/list", tools())
}

/// The process that was called last. Others may run at any time, to read the server's lists.
fn caller_of(server: &Canned) -> u32 {
    let told = server.told();
    let mut calls = told.iter().rev().filter(|(_, told)| told["method"] == "tools/call");
    calls.next().expect("a call").0
}

fn two_canned() -> ([Canned; 2], Value) {
    let servers = [canned(), canned()];
    let entries = json!({"one": servers[0].entry(), "two": servers[1].entry()});
    (servers, entries)
}

#[test]
fn two_servers_ask_at_once_and_each_gets_its_own_answer() {
    let mut command = Command::new(binaries::program("mooring-conformance-server"));
    let mut http = Running::start(command.args(["http", "--port", "0"]));
    let url = format!("http://127.0.0.1:{}/mcp", http.port());
    let servers = json!({
        "one": {"command": "mooring-conformance-server", "args": ["stdio"]},
        "two": {"command": "mooring-conformance-server", "args": ["stdio"]},
        "far": {"type": "streamable-http", "url": url},
    });
    Front::each(&servers, &json!({}), |front| {
        let session = able(front.client("/mcp"));
        let mut seen = BTreeSet::new();
        for round in 0..8 {
            let prompt = json!({"prompt": "p", "message": "m"});
            let mut asked: Vec<_> = ["one", "two", "far"]
                .into_iter()
                .flat_map(|server| [(server, "sampling"), (server, "elicitation")])
                .map(|(server, kind)| {
                    let tool = format!("{server}-test_{kind}");
                    let (stream, id) = session.start(&tool, prompt.clone(), json!({}));
                    (server, kind, stream, id)
                })
                .collect();
            let mut questions = Vec::new();
            for (server, kind, stream, _) in &mut asked {
                let method = match *kind {
                    "sampling" => "sampling/createMessage",
                    _ => "elicitation/create",
                };
                let question = stream.message(|message| message.get("method").is_some());
                assert_eq!(question["method"], method, "{server} {kind}");
                assert_eq!(question["params"]["_meta"]["mooring/server"], *server);
                assert!(seen.insert(question["id"].to_string()), "twice: {question}");
                questions.push((*server, *kind, question["id"].clone()));
            }
            // The last one first, each on a new connection.
            for (server, kind, id) in questions.iter().rev() {
                let said = format!("{server} {round}");
                session.reply(
                    id,
                    if *kind == "sampling" {
                        json!({"role": "assistant", "model": "m", "content": {"type": "text", "text": said}})
                    } else {
                        json!({"action": "accept", "content": {"username": said, "email": "a@b"}})
                    },
                );
            }
            for (server, kind, stream, id) in &mut asked {
                let answer = answer(stream, id);
                let said = text(&answer);
                assert!(said.contains(&format!("{server} {round}")), "{server} {kind}: {said}");
            }
        }
    });
}

#[test]
fn a_question_of_a_single_server_is_passed_as_it_is() {
    let server = canned();
    Front::each(&json!({"one": server.entry()}), &json!({}), |front| {
        let session = able(front.client("/mcp/one"));
        let asks = json!({"jsonrpc": "2.0", "id": "q", "method": "roots/list"});
        let (mut stream, id) = emit(&session, "emit", std::slice::from_ref(&asks));
        assert_eq!(stream.event().json(), asks);
        session.reply(&json!("q"), json!({"roots": []}));
        answer(&mut stream, &id);
        server.wait_for("the answer", |_, told| {
            *told == json!({"jsonrpc": "2.0", "id": "q", "result": {"roots": []}})
        });
    });
}

/// An answer to a request of a process that is gone must not reach the next process, which counts
/// its ids from the start again.
#[test]
fn an_answer_that_nobody_waits_for_reaches_nobody() {
    let server = canned();
    let called = || caller_of(&server);
    Front::each(&json!({"one": server.entry()}), &json!({}), |front| {
        for (path, tool) in [("/mcp/one", "emit"), ("/mcp", "one-emit")] {
            let session = able(front.client(path));
            let asks = json!({"jsonrpc": "2.0", "id": "old", "method": "roots/list"});
            let (mut stream, id) = emit(&session, tool, std::slice::from_ref(&asks));
            let asked = question(&mut stream, "roots/list")["id"].clone();
            answer(&mut stream, &id);
            let before = called();
            process::signal(before, Signal::KILL);
            eventually("the server is gone", || (!process::runs(before)).then_some(()));
            announce(&session, &tool.replace("emit", "announce"), &[]);
            let after = called();
            assert_ne!(before, after);
            session.reply(&asked, json!({"roots": []}));
            announce(&session, &tool.replace("emit", "announce"), &[]);
            let is_answer = |(pid, told): &(u32, Value)| *pid == after && told["id"] == "old";
            assert!(!server.told().iter().any(is_answer), "{path}");
        }
    });
}

#[test]
fn every_kind_of_question_keeps_what_it_says() {
    let (servers, entries) = two_canned();
    Front::each(&entries, &json!({}), |front| {
        let session = able(front.client("/mcp"));
        let url = json!({
            "mode": "url", "elicitationId": "e-1", "url": "https://example.com/x?y=1", "message": "log in",
        });
        let form = json!({
            "mode": "form", "message": "who?",
            "requestedSchema": {"type": "object", "properties": {"n": {"type": "string"}}},
            "_meta": {"com.example/x": 1},
        });
        for (number, (method, params)) in [
            ("elicitation/create", Some(url)),
            ("elicitation/create", Some(form)),
            ("sampling/createMessage", Some(json!({"messages": [], "maxTokens": 1}))),
            ("roots/list", None),
        ]
        .into_iter()
        .enumerate()
        {
            let own = json!(format!("{method}-{number}"));
            let mut asks = json!({"jsonrpc": "2.0", "id": own, "method": method});
            if let Some(params) = &params {
                asks["params"] = params.clone();
            }
            let (mut stream, id) = emit(&session, "two-emit", std::slice::from_ref(&asks));
            let asked = question(&mut stream, method);
            let mut expected = params.unwrap_or_else(|| json!({}));
            expected["_meta"]["mooring/server"] = "two".into();
            assert_eq!(asked["params"], expected);
            answer(&mut stream, &id);
            // The call is over, and the server still waits for the answer.
            let result = json!({"action": "accept", "n": number});
            session.reply(&asked["id"], result.clone());
            servers[1].wait_for("the answer, under the server's own id", |_, told| {
                told["id"] == own && told["result"] == result
            });
            let (mut stream, id) = emit(&session, "two-emit", &[asks]);
            let asked = question(&mut stream, method);
            answer(&mut stream, &id);
            let refused = json!({"code": -1, "message": "no", "data": {"x": [1]}});
            let message = json!({"jsonrpc": "2.0", "id": asked["id"], "error": refused});
            session.post(&message).send(session.client.address()).expect(202);
            servers[1].wait_for("an error is an answer too", |_, told| {
                told["id"] == own && told["error"] == refused
            });
        }
        assert!(servers[0].told().iter().all(|(_, told)| told.get("method").is_some()));
    });
}

#[test]
fn an_answer_that_nobody_asked_for_reaches_nobody() {
    let (servers, entries) = two_canned();
    Front::each(&entries, &json!({}), |front| {
        let session = able(front.client("/mcp"));
        let other = able(front.client("/mcp"));
        let asks = json!({"jsonrpc": "2.0", "id": 7, "method": "roots/list"});
        let (mut stream, id) = emit(&session, "one-emit", &[asks]);
        let asked = question(&mut stream, "roots/list")["id"].clone();
        answer(&mut stream, &id);
        // Both servers are open in both sessions.
        emit(&session, "two-emit", &[]).0.whole().expect(200);
        emit(&other, "one-emit", &[]).0.whole().expect(200);
        let last = |server: &Canned| server.told().last().expect("it was called").0;
        let foreign_pid = last(&servers[0]);
        let forged = [
            json!(7),
            json!("7"),
            json!("7@nobody"),
            json!("@one"),
            json!("{}@one"),
            json!("null@one"),
            json!("7 @one "),
            json!(""),
        ];
        for id in &forged {
            session.reply(id, json!({"forged": true}));
        }
        // The right id, in another session.
        other.reply(&asked, json!({"foreign": foreign_pid}));
        session.reply(&asked, json!({"roots": []}));
        servers[0].wait_for("the right answer", |_, told| told["result"] == json!({"roots": []}));
        emit(&session, "two-emit", &[]).0.whole().expect(200);
        for (pid, told) in servers.iter().flat_map(Canned::told) {
            assert_ne!(told["result"]["forged"], true, "{told}");
            if told["result"]["foreign"].is_number() {
                assert_eq!(
                    told["result"]["foreign"], pid,
                    "a session's answer stays in the session"
                );
            }
        }
    });
}

#[test]
fn a_server_takes_its_question_back_under_the_same_id() {
    let (_servers, entries) = two_canned();
    Front::each(&entries, &json!({}), |front| {
        let session = able(front.client("/mcp"));
        for own in [json!(0), json!("q\"@two")] {
            let asks = json!({"jsonrpc": "2.0", "id": own, "method": "roots/list"});
            let back = notification("notifications/cancelled", json!({"requestId": own}));
            let (mut stream, id) = emit(&session, "one-emit", &[asks, back]);
            let asked = question(&mut stream, "roots/list");
            let taken = stream.message(|m| m["method"] == "notifications/cancelled");
            assert_eq!(taken["params"]["requestId"], asked["id"]);
            answer(&mut stream, &id);
        }
    });
}

#[test]
fn progress_of_the_client_arrives_with_the_servers_own_token() {
    let (servers, entries) = two_canned();
    Front::each(&entries, &json!({}), |front| {
        let session = able(front.client("/mcp"));
        for token in [json!(5), json!("5"), json!(0), json!("")] {
            let asks = json!({
                "jsonrpc": "2.0", "id": 1, "method": "sampling/createMessage",
                "params": {"messages": [], "maxTokens": 1, "_meta": {"progressToken": token}},
            });
            let (mut stream, id) = emit(&session, "two-emit", &[asks]);
            let asked = question(&mut stream, "sampling/createMessage");
            answer(&mut stream, &id);
            let shown = &asked["params"]["_meta"]["progressToken"];
            let progress = json!({"progressToken": shown, "progress": 0.5});
            session.notify("notifications/progress", progress).expect(202);
            let expected = json!({"progressToken": token, "progress": 0.5});
            servers[1].wait_for("the progress", |_, told| {
                told["method"] == "notifications/progress" && told["params"] == expected
            });
        }
        let told = servers[0].told();
        assert!(told.iter().all(|(_, told)| told["method"] != "notifications/progress"));
    });
}

#[test]
fn a_ping_of_a_server_is_the_gateways_to_answer() {
    let (servers, entries) = two_canned();
    Front::each(&entries, &json!({}), |front| {
        for (number, path, tool) in [(1, "/mcp", "one-emit"), (2, "/mcp/one", "emit")] {
            let session = able(front.client(path));
            let id = format!("ping-{number}");
            let ping = json!({"jsonrpc": "2.0", "id": id, "method": "ping"});
            let response = emit(&session, tool, &[ping]).0.whole().expect(200);
            assert!(response.messages().iter().all(|message| message["method"] != "ping"));
            servers[0].wait_for("the pong", |_, told| {
                told["id"] == id.as_str() && told["result"] == json!({})
            });
        }
    });
}

#[test]
fn an_error_that_asks_for_a_url_passes_with_its_data() {
    let (_servers, entries) = two_canned();
    Front::each(&entries, &json!({}), |front| {
        for (path, tool) in [("/mcp", "two-emit"), ("/mcp/two", "emit")] {
            let session = able(front.client(path));
            let error = json!({
                "code": -32042, "message": "log in first",
                "data": {"elicitations": [
                    {"mode": "url", "elicitationId": "e", "url": "https://example.com", "message": "m"},
                ]},
            });
            let refusal = |id: &Value| json!({"jsonrpc": "2.0", "id": id, "error": error});
            let (stream, id) = emit_answer(&session, tool, &[], &refusal);
            let messages = stream.whole().expect(200).messages();
            assert_eq!(messages, [refusal(&id)]);
        }
    });
}

/// The gateway sends the server its own requests while a call of the client is in flight: the
/// server's requests still go to the client.
#[test]
fn a_question_never_goes_to_the_gateways_own_requests() {
    let able_to_list = json!({
        "tools": {"listChanged": true}, "tasks": {"list": {}, "requests": {"tools": {"call": {}}}},
    });
    let server = Canned::new()
        .with_capabilities(able_to_list)
        .answers("tools/list", tools())
        .answers("tasks/list", json!({"tasks": []}));
    Front::each(&json!({"one": server.entry()}), &json!({}), |front| {
        for (path, prefix, method) in [
            ("/mcp", "one-", "tools/list"),
            ("/mcp/one", "", "tools/list"),
            ("/mcp", "one-", "tasks/list"),
        ] {
            let session = able(front.client(path));
            announce(&session, &format!("{prefix}announce"), &[]);
            let pid = caller_of(&server);
            let asks = json!({"jsonrpc": "2.0", "id": "in-between", "method": "roots/list"});
            server.says_first(pid, method, &asks);
            let changed = notification("notifications/tools/list_changed", json!({}));
            let said = if method == "tools/list" { vec![changed] } else { Vec::new() };
            let (mut stream, id) = left_open(&session, &format!("{prefix}emit"), &said);
            if method == "tasks/list" {
                session.request(method, json!({}));
            }
            let asked = question(&mut stream, "roots/list")["id"].clone();
            session.reply(&asked, json!({"roots": []}));
            server.wait_for("the answer", |of, told| {
                of == pid && told["id"] == "in-between" && told.get("result").is_some()
            });
            let answers = json!({"jsonrpc": "2.0", "id": id, "result": {"content": []}});
            late(&session, &format!("{prefix}emit"), &[answers]);
            answer(&mut stream, &id);
        }
    });
}

/// Over HTTP the server's request arrives on the response to the gateway's own request.
#[test]
fn what_an_upstream_asks_beside_the_gateways_lists_reaches_the_client() {
    let asks = json!({"jsonrpc": "2.0", "id": "in-between", "method": "roots/list"});
    let far = Scripted::start(move |asked, out| {
        let id = &asked.json()["id"];
        let (first, result) = if asked.calls("tools/call") {
            let changed = notification("notifications/tools/list_changed", json!({}));
            (changed, json!({"content": []}))
        } else if asked.calls("tools/list") {
            (asks.clone(), tools())
        } else {
            return Some(out);
        };
        let mut out = out.events();
        out.event(&first);
        out.event(&json!({"jsonrpc": "2.0", "id": id, "result": result}));
        None
    });
    let gateway = Gateway::start_with(&settings::standalone(json!({"far": far.entry()})));
    let session = able(gateway.client("/mcp/far"));
    let mut stream = session.listen();
    session.request("tools/call", json!({"name": "ask"}));
    let asked = question(&mut stream, "roots/list")["id"].clone();
    session.reply(&asked, json!({"roots": []}));
    far.wait_for("the answer", |asked| {
        asked.json()["id"] == "in-between" && asked.json().get("result").is_some()
    });
}
