//! Clients of sessions at a server that has none, over stdio and over HTTP: the gateway plays the
//! session.

use std::process::Command;

use mooring_tests::http::Incoming;
use mooring_tests::running::Running;
use mooring_tests::{Client, Front, Gateway, Session, binaries, eventually, settings};
use serde_json::{Value, json};

use crate::witnesses::sdk::{Sdk, texts};

/// The server over HTTP.
pub struct Far {
    port: u16,
    _process: Running,
}

impl Far {
    #[track_caller]
    pub fn start(more: &[&str]) -> Self {
        let mut command = Command::new(binaries::program("mooring-stateless-server"));
        let command = command.arg("http").args(more).env("MOORING_SCHEME", "far");
        let mut process = Running::start(command);
        Self { port: process.port(), _process: process }
    }

    pub fn entry(&self) -> Value {
        json!({"url": format!("http://127.0.0.1:{}/mcp", self.port)})
    }
}

pub fn near(more: &[&str]) -> Value {
    let args = [&["stdio"], more].concat();
    json!({"command": "mooring-stateless-server", "args": args, "env": {"MOORING_SCHEME": "near"}})
}

/// A server at a scope.
struct Place {
    client: Client,
    /// What stands before the names of its tools and prompts.
    prefix: &'static str,
    /// That of its resources.
    scheme: &'static str,
}

/// Both servers behind both fronts, at both kinds of scopes.
#[track_caller]
fn everywhere(test: impl Fn(&Place)) {
    let far = Far::start(&[]);
    let servers = json!({"near": near(&[]), "far": far.entry()});
    Front::each(&servers, &json!({}), |front| {
        front.wait_until_discovered(&["near", "far"]);
        for (path, prefix, scheme) in [
            ("/mcp/near", "", "near"),
            ("/mcp/far", "", "far"),
            ("/mcp", "near-", "near"),
            ("/mcp", "far-", "far"),
        ] {
            eprintln!("{path} {prefix}");
            test(&Place { client: front.client(path), prefix, scheme });
        }
    });
}

/// A client that can be asked everything.
fn able(client: &Client) -> Client {
    client.clone().params(json!({
        "protocolVersion": "2025-11-25",
        "capabilities": {
            "elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {"listChanged": true},
        },
        "clientInfo": {"name": "mooring-tests", "version": "1"},
    }))
}

/// Answers what a server asks.
fn response_to(asked: &Value) -> Value {
    match asked["method"].as_str() {
        Some("elicitation/create") => {
            let fields = asked["params"]["requestedSchema"]["properties"].as_object();
            let field = fields.and_then(|fields| fields.keys().next()).expect("a field");
            json!({"action": "accept", "content": {field: format!("my {field}")}})
        }
        Some("sampling/createMessage") => {
            json!({"role": "assistant", "model": "m", "content": {"type": "text", "text": "Paris"}})
        }
        Some("roots/list") => json!({"roots": [{"uri": "file:///r", "name": "R"}]}),
        _ => panic!("{asked}"),
    }
}

/// Reads on to the answer, and answers what is asked before it. Returns how much that was.
fn answered(session: &Session, mut stream: Incoming, id: &Value) -> (Value, usize) {
    let mut asked = 0;
    if stream.header("content-type") == Some("application/json") {
        return (stream.whole().json(), asked);
    }
    loop {
        let message = stream.message(|message| message.get("id").is_some());
        if message.get("method").is_none() {
            assert_eq!(message["id"], *id, "{message}");
            return (message, asked);
        }
        asked += 1;
        session.reply(&message["id"], response_to(&message));
    }
}

fn asks(session: &Session, method: &str, params: Value) -> (Value, usize) {
    let (message, id) = session.message(method, params);
    let stream = session.post(&message).open(session.client.address());
    answered(session, stream, &id)
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_default()
}

#[test]
fn lists_and_answers_are_those_of_a_session() {
    everywhere(|Place { client, prefix, scheme }| {
        let session = client.initialize();
        if prefix.is_empty() {
            assert_eq!(session.result["protocolVersion"], "2025-11-25");
            assert_eq!(session.result["serverInfo"]["name"], "stateless");
            assert_eq!(session.result["instructions"], "Ask.");
        }
        let tools = session.tools();
        assert!(tools.contains(&format!("{prefix}echo")), "{tools:?}");
        assert!(!tools.contains(&format!("{prefix}unusable")), "its annotation names no header");
        let page = session.request("tools/list", json!({}));
        for member in ["resultType", "ttlMs", "cacheScope"] {
            assert!(page.get(member).is_none(), "{page}");
        }
        let echo = session.call(&format!("{prefix}echo"), json!({"n": 1.5, "text": "\u{e4}"}));
        assert!(echo.get("resultType").is_none() && echo["_meta"].is_null(), "{echo}");
        let got = &echo["structuredContent"]["params"];
        assert_eq!(got["arguments"], json!({"n": 1.5, "text": "\u{e4}"}));
        let meta = &got["_meta"];
        assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
        assert_eq!(meta["io.modelcontextprotocol/clientInfo"]["name"], "mooring-tests");
        assert_eq!(meta["io.modelcontextprotocol/clientCapabilities"], json!({}));
        assert!(meta["io.modelcontextprotocol/logLevel"].is_null());
        let read = session.request("resources/read", json!({"uri": format!("{scheme}://a")}));
        assert_eq!(read["contents"][0]["text"], "A");
        assert!(read.get("ttlMs").is_none(), "{read}");
        let missing = session.answer("resources/read", json!({"uri": format!("{scheme}://none")}));
        assert_eq!(missing["error"]["code"], -32002, "{missing}");
        let unknown = session.answer("tools/call", json!({"name": format!("{prefix}none")}));
        assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
        let incapable = session.answer("tools/call", json!({"name": format!("{prefix}incapable")}));
        assert_eq!(incapable["error"]["code"], -32600, "{incapable}");
        let reference = json!({"type": "ref/prompt", "name": format!("{prefix}greet")});
        let argument = json!({"name": "n", "value": "o"});
        let done =
            session.request("completion/complete", json!({"ref": reference, "argument": argument}));
        assert_eq!(done["completion"]["values"], json!(["one", "two"]));
        assert_eq!(session.request("ping", json!({})), json!({}));
    });
}

/// The questions of a result become requests of a session, and their answers reach the server.
#[test]
fn what_the_server_asks_for_is_asked_of_the_client() {
    everywhere(|Place { client, prefix, .. }| {
        let session = able(client).initialize();
        let call = |tool: &str| {
            let params = json!({"name": format!("{prefix}{tool}"), "arguments": {}});
            let (answer, asked) = asks(&session, "tools/call", params);
            (text(&answer["result"]).to_owned(), asked)
        };
        assert_eq!(call("ask"), ("my name, Paris, file:///r".to_owned(), 3));
        assert_eq!(call("rounds"), ("two my first my second".to_owned(), 2));
        assert_eq!(call("busy"), ("after 2".to_owned(), 0));
        let (prompt, asked) =
            asks(&session, "prompts/get", json!({"name": format!("{prefix}greet")}));
        assert_eq!(prompt["result"]["messages"][0]["content"]["text"], "Hello, my name!");
        assert_eq!(asked, 1);
        let (said, asked) = call("endless");
        assert!(said.contains("10 times") && asked == 10, "{said}");
    });
}

/// The clients of the official SDKs answer such a server, too.
#[test]
fn real_clients_answer_what_the_server_asks_for() {
    let far = Far::start(&[]);
    let servers = json!({"near": near(&[]), "far": far.entry()});
    let sdks = Sdk::at_hand("servers without sessions");
    Front::each(&servers, &json!({}), |front| {
        front.wait_until_discovered(&["near", "far"]);
        for sdk in &sdks {
            for (path, tool) in [("/mcp/near", "ask"), ("/mcp", "far-ask")] {
                let url = format!("{}{path}", front.gateway().url());
                let told = sdk.run("state", &url, &json!({"tool": tool, "times": 1}));
                let mut asked = texts(&told["asked"]);
                asked.sort_unstable();
                let all = ["elicitation/create", "roots/list", "sampling/createMessage"];
                assert_eq!(asked, all, "{sdk:?} {path}: {told}");
                let said = told["results"][0].to_string();
                assert!(said.contains("witness, witness heard: Capital?"), "{sdk:?}: {told}");
            }
        }
    });
}

#[test]
fn a_client_that_cannot_be_asked_is_told_so() {
    everywhere(|Place { client, prefix, .. }| {
        let session = client.initialize();
        let params = json!({"name": format!("{prefix}ask"), "arguments": {}});
        let result = session.request("tools/call", params);
        assert_eq!(result["isError"], true, "{result}");
        assert!(text(&result).contains("has not declared"), "{result}");
        let prompt = session.answer("prompts/get", json!({"name": format!("{prefix}greet")}));
        assert_eq!(prompt["error"]["code"], -32600, "{prompt}");
        // A person may decline, which is an answer.
        let session = able(client).initialize();
        let (mut stream, id) = session.start(&format!("{prefix}rounds"), json!({}), json!({}));
        let asked = stream.message(|message| message["method"] == "elicitation/create");
        session.reply(&asked["id"], json!({"action": "decline"}));
        let (answer, _) = answered(&session, stream, &id);
        assert_eq!(text(&answer["result"]), "declined");
    });
}

/// A client that can be asked some of what a server needs is asked nothing in vain.
#[test]
fn nobody_is_asked_a_part_of_what_cannot_be_asked_whole() {
    everywhere(|Place { client, prefix, .. }| {
        for capabilities in [json!({"elicitation": {}}), json!({"elicitation": {}, "roots": {}})] {
            let client = client.clone().params(json!({
                "protocolVersion": "2025-11-25",
                "capabilities": capabilities,
                "clientInfo": {"name": "mooring-tests", "version": "1"},
            }));
            let params = json!({"name": format!("{prefix}ask"), "arguments": {}});
            let (answer, asked) = asks(&client.initialize(), "tools/call", params);
            assert_eq!((&answer["result"]["isError"], asked), (&json!(true), 0), "{answer}");
        }
    });
}

/// If one question is refused, the others are taken back.
#[test]
fn a_question_that_is_refused_ends_the_others() {
    everywhere(|Place { client, prefix, .. }| {
        let session = able(client).initialize();
        let (mut stream, id) = session.start(&format!("{prefix}ask"), json!({}), json!({}));
        let mut asked = Vec::new();
        for _ in 0..3 {
            let question = stream.message(|message| message.get("method").is_some());
            asked.push(question["id"].clone());
        }
        let refuses =
            json!({"jsonrpc": "2.0", "id": asked[1], "error": {"code": -1, "message": "no"}});
        session.post(&refuses).send(session.client.address()).expect(202);
        let mut taken_back = Vec::new();
        let answer = loop {
            let message = stream.message(|_| true);
            if message["method"] == "notifications/cancelled" {
                taken_back.push(message["params"]["requestId"].clone());
            } else if message["id"] == id {
                break message;
            }
        };
        assert_eq!(answer["result"]["isError"], true, "{answer}");
        assert_eq!(taken_back, [asked[0].clone(), asked[2].clone()], "{answer}");
    });
}

#[test]
fn progress_and_log_messages_come_as_in_a_session() {
    everywhere(|Place { client, prefix, .. }| {
        let session = client.initialize();
        let call = |tool: &str, meta: Value| {
            let (stream, id) = session.start(&format!("{prefix}{tool}"), json!({}), meta);
            let messages = stream.whole().messages();
            let answer = messages.iter().find(|message| message["id"] == id).expect("an answer");
            (messages.clone(), text(&answer["result"]).to_owned())
        };
        let (messages, _) = call("progress", json!({"progressToken": "mine"}));
        let progress: Vec<&Value> =
            messages.iter().filter(|m| m["method"] == "notifications/progress").collect();
        assert_eq!(progress.len(), 3, "{messages:?}");
        for (step, message) in progress.iter().enumerate() {
            assert_eq!(message["params"]["progressToken"], "mine");
            assert_eq!(message["params"]["progress"], step + 1);
        }
        let (messages, said) = call("progress", json!({}));
        assert_eq!((messages.len(), &*said), (1, "token null"));
        let logged = || {
            let (messages, _) = call("log", json!({}));
            messages.iter().filter(|m| m["method"] == "notifications/message").count()
        };
        assert_eq!(logged(), 0, "nobody has asked for any");
        session.request("logging/setLevel", json!({"level": "info"}));
        assert_eq!(logged(), 1);
    });
}

fn events(session: &Session, prefix: &str) -> Vec<Value> {
    let said = session.call(&format!("{prefix}journal"), json!({}));
    said["structuredContent"]["events"].as_array().cloned().unwrap_or_default()
}

#[test]
fn a_call_that_is_cancelled_is_cancelled_at_the_server() {
    everywhere(|Place { client, prefix, .. }| {
        let session = client.initialize();
        let count = || {
            let events = events(&session, prefix);
            events.iter().filter(|event| !event["cancelled"].is_null()).count()
        };
        let before = count();
        let (message, id) = session
            .message("tools/call", json!({"name": format!("{prefix}slow"), "arguments": {}}));
        let stream = session.post(&message).open(session.client.address());
        session.notify("notifications/cancelled", json!({"requestId": id})).expect(202);
        eventually("the cancellation", || (count() > before).then_some(()));
        drop(stream);
    });
}

#[test]
fn changes_come_on_the_stream_of_the_session() {
    everywhere(|Place { client, prefix, scheme }| {
        let session = client.initialize();
        let mut stream = session.listen();
        let touch = |arguments: Value| {
            let _ = session.call(&format!("{prefix}touch"), arguments);
        };
        // What the gateway reads itself may hide a change that comes at the same time.
        eventually("a changed list", || {
            let events = events(&session, prefix);
            events.iter().any(|event| event["listens"]["toolsListChanged"] == true).then_some(())
        });
        session.request("resources/subscribe", json!({"uri": format!("{scheme}://a")}));
        touch(json!({"uri": format!("{scheme}://b")}));
        touch(json!({"uri": format!("{scheme}://a")}));
        let updated = stream.message(|m| m["method"] == "notifications/resources/updated");
        assert_eq!(updated["params"], json!({"uri": format!("{scheme}://a")}));
        let refused = session.answer("resources/subscribe", json!({"uri": "other://a"}));
        assert!(refused["error"].is_object(), "{refused}");
        session.request("resources/subscribe", json!({"uri": format!("{scheme}://b")}));
        touch(json!({"uri": format!("{scheme}://b")}));
        let updated = stream.message(|m| m["method"] == "notifications/resources/updated");
        assert_eq!(updated["params"], json!({"uri": format!("{scheme}://b")}));
        if !prefix.is_empty() {
            return;
        }
        // Nothing is being subscribed to any more. After a break the client reads again what it may
        // have missed.
        let _ = session.call(&format!("{prefix}hang_up"), json!({}));
        stream.message(|m| m["method"] == "notifications/tools/list_changed");
        let updated = stream.message(|m| m["method"] == "notifications/resources/updated");
        assert!(updated["params"]["uri"].as_str().unwrap().starts_with(scheme), "{updated}");
        session.request("resources/unsubscribe", json!({"uri": format!("{scheme}://b")}));
    });
}

/// Over HTTP headers repeat arguments that the tool's schema names, whatever they are.
#[test]
fn annotated_arguments_stand_in_headers() {
    let far = Far::start(&[]);
    let servers = json!({"far": far.entry()});
    Front::each(&servers, &json!({}), |front| {
        front.wait_until_discovered(&["far"]);
        for (path, tool) in [("/mcp/far", "region"), ("/mcp", "far-region")] {
            let session = front.client(path).initialize();
            for region in ["eu", " \u{e4} ", "=?base64?x?=", ""] {
                let said = session.call(tool, json!({"region": region, "size": 42}));
                assert!(said["content"].is_array(), "{said}");
            }
            assert_eq!(text(&session.call(tool, json!({}))), "none");
        }
    });
}

/// One process serves all sessions; an entry may ask for more.
#[test]
fn sessions_share_the_process_of_such_a_server() {
    let servers = json!({
        "all": near(&[]),
        "each": mooring_tests::servers::isolated(near(&[]), "session"),
    });
    let gateway = Gateway::start_with(&settings::standalone(servers));
    gateway.wait_until_discovered(&["all", "each"]);
    let count = |path: &str| {
        let session = gateway.client(path).initialize();
        let said = session.call("count", json!({}));
        let said = &said["structuredContent"];
        (said["value"].as_u64().unwrap(), said["pid"].as_u64().unwrap(), session)
    };
    let (first, second) = (count("/mcp/all"), count("/mcp/all"));
    assert_eq!((first.0, second.0), (1, 2));
    assert_eq!(first.1, second.1);
    let (first, second) = (count("/mcp/each"), count("/mcp/each"));
    assert_eq!((first.0, second.0), (1, 1));
    assert_ne!(first.1, second.1);
}

#[test]
fn a_session_goes_on_when_the_process_has_ended_and_nothing_is_lost() {
    Front::each(&json!({"near": near(&[])}), &json!({}), |front| {
        front.wait_until_discovered(&["near"]);
        for (path, prefix) in [("/mcp/near", ""), ("/mcp", "near-")] {
            let session = front.client(path).initialize();
            let mut stream = session.listen();
            let pid =
                |tool: &str| session.call(tool, json!({}))["structuredContent"]["pid"].clone();
            let before = pid(&format!("{prefix}echo"));
            let died = session.answer("tools/call", json!({"name": format!("{prefix}die")}));
            assert!(died["error"]["message"].as_str().unwrap().contains("may have run"), "{died}");
            assert_ne!(pid(&format!("{prefix}echo")), before);
            eventually("the next listening", || {
                let events = events(&session, prefix);
                events.iter().any(|event| event["listens"].is_object()).then_some(())
            });
            let _ = session.call(&format!("{prefix}touch"), json!({}));
            let heard = stream.message(|message| message.get("method").is_some());
            assert_ne!(heard["method"], "notifications/message", "no state was lost: {heard}");
        }
    });
}

/// With clients of sessions a server that has both is used with sessions, and one that only has
/// sessions is asked nothing else.
#[test]
fn a_server_is_used_in_the_era_that_its_entry_says() {
    let (dual, modern) = (Far::start(&["dual"]), Far::start(&[]));
    let with = |mut entry: Value, era: &str| {
        entry["era"] = era.into();
        entry
    };
    let servers = json!({
        "near-auto": near(&["dual"]), "far-auto": dual.entry(),
        "near-modern": with(near(&["dual"]), "modern"), "far-modern": with(dual.entry(), "modern"),
        "near-legacy": with(near(&[]), "legacy"), "far-legacy": with(modern.entry(), "legacy"),
        "exits": with(near(&["exits"]), "modern"),
        "sessions": with(mooring_tests::servers::counter(), "modern"),
    });
    let gateway = Gateway::start_with(&settings::standalone(servers));
    let era = |server: &str| {
        let session = gateway.client(&format!("/mcp/{server}")).initialize();
        text(&session.call("era", json!({}))).to_owned()
    };
    assert_eq!([era("near-auto"), era("far-auto")], ["legacy", "legacy"]);
    assert_eq!([era("near-modern"), era("far-modern"), era("exits")], ["modern"; 3]);
    for refused in ["near-legacy", "far-legacy", "sessions"] {
        let response = gateway.client(&format!("/mcp/{refused}")).try_initialize();
        assert!(response.json()["error"].is_object(), "{refused}: {}", response.text());
    }
}

/// A server of sessions that refuses one is not started again and again for it.
#[test]
fn a_server_that_refuses_sessions_is_asked_once_whether_it_has_none() {
    let server = mooring_tests::Scripted::start(|asked, out| {
        let (method, id) = (asked.rpc(), asked.json()["id"].clone());
        if method != "initialize" && method != "server/discover" {
            return Some(out);
        }
        let error = json!({"code": -32601, "message": "no"});
        let body = json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string();
        out.reply("200 OK", &["Content-Type: application/json"], body.as_bytes());
        None
    });
    let gateway = Gateway::start_with(&settings::standalone(json!({"odd": server.entry()})));
    gateway.wait_for_log("refused initialize");
    for _ in 0..2 {
        let refused = gateway.client("/mcp/odd").try_initialize();
        assert!(refused.text().contains("refused initialize"), "{}", refused.text());
    }
    let all = server.all();
    let probes = all.iter().filter(|asked| asked.rpc() == "server/discover").count();
    assert_eq!(probes, 1);
    let probe = all.iter().find(|asked| asked.rpc() == "server/discover").unwrap();
    assert_eq!(probe.header("mcp-protocol-version"), Some("2026-07-28"));
    assert_eq!(probe.header("mcp-method"), Some("server/discover"));
}
