//! Sessions that share a server process without seeing each other.

use std::sync::Barrier;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mooring_tests::http::Incoming;
use mooring_tests::{
    Client, Gateway, PlayedCoordinator, Request, Session, Setup, eventually, process, servers,
    settings,
};
use rustix::process::Signal;
use serde_json::{Value, json};

use mooring_tests::borrowed;

const TOKEN: &str = "t0ken-of-the-cluster";
/// Idle time of a shared process: long enough to see that it stays, short enough to see it end.
const IDLE_MS: u64 = 1000;

fn gateway() -> Gateway {
    let mut counter = servers::isolated(servers::counter(), "shared");
    counter["idleTimeoutMs"] = IDLE_MS.into();
    Gateway::start_with(&settings::standalone(json!({
        "counter": counter,
        "clock": servers::isolated(servers::clock(), "shared"),
        "verbatim": servers::isolated(verbatim(), "shared"),
        "own": servers::isolated(servers::counter(), "session"),
    })))
}

fn verbatim() -> Value {
    json!({"command": "mooring-verbatim-server", "args": ["stdio"]})
}

fn two(gateway: &Gateway, path: &str) -> [Session; 2] {
    [gateway.client(path).initialize(), gateway.client(path).initialize()]
}

fn call(id: impl Into<Value>, tool: &str, arguments: Value, token: Option<Value>) -> Value {
    let mut params = json!({"name": tool, "arguments": arguments});
    if let Some(token) = token {
        params["_meta"] = json!({"progressToken": token});
    }
    json!({"jsonrpc": "2.0", "id": id.into(), "method": "tools/call", "params": params})
}

fn waiting(session: &Session) -> i64 {
    session.call("now", json!({}))["structuredContent"]["waiting"].as_i64().unwrap()
}

#[test]
fn sessions_share_one_process_on_every_scope_and_others_have_their_own() {
    let gateway = gateway();
    let [one, two] = two(&gateway, "/mcp/counter");
    let all = gateway.client("/mcp").initialize();
    let pid = one.whoami("whoami").pid;
    assert_eq!([two.whoami("whoami").pid, all.whoami("counter-whoami").pid], [pid; 2]);
    assert_eq!([one.count("count"), two.count("count"), all.count("counter-count")], [1, 2, 3]);
    let [own, other] = self::two(&gateway, "/mcp/own");
    assert_ne!(own.whoami("whoami").pid, other.whoami("whoami").pid);
}

#[test]
fn each_client_gets_the_revision_it_asks_for_and_the_rest_as_the_server_said_it() {
    let gateway = gateway();
    let result = |revision: &str| {
        let session = gateway.client("/mcp/counter").revision(revision).initialize();
        assert_eq!(session.result["protocolVersion"], revision);
        session.count("count");
        let text = session.response.text();
        text.replace(&format!("{revision:?}"), "?")
    };
    let latest = result("2025-11-25");
    for revision in ["2025-06-18", "2025-03-26", "2024-11-05"] {
        assert_eq!(result(revision), latest);
    }
    let session = gateway.client("/mcp/counter").revision("1999-01-01").initialize();
    assert_eq!(session.result["protocolVersion"], "2025-11-25");
    let written = include_str!("../../fixtures/verbatim-server/src/initialize.json").trim_end();
    let answer = gateway.client("/mcp/verbatim").initialize().response.text();
    assert!(answer.contains(written), "{answer}");
}

/// Every session uses the same ids and tokens at the same time.
#[test]
fn parallel_calls_with_equal_ids_and_tokens_get_their_own_answers_and_progress() {
    const SESSIONS: u64 = 3;
    const CALLS: u64 = 16;
    let gateway = gateway();
    let sessions: Vec<Session> =
        (0..SESSIONS).map(|_| gateway.client("/mcp/clock").initialize()).collect();
    let start = Barrier::new((SESSIONS * CALLS) as usize);
    std::thread::scope(|scope| {
        for (number, session) in (0..).zip(&sessions) {
            for id in 0..CALLS {
                let (start, address) = (&start, gateway.address());
                scope.spawn(move || {
                    let token = if id % 2 == 0 { json!(id) } else { json!(format!("{id}")) };
                    // All calls differ, and they end in a different order than they begin.
                    let (steps, ms) = (1 + (id * 7 + number * 5) % CALLS, 1 + number * CALLS + id);
                    let arguments = json!({"steps": steps, "ms": ms});
                    let message = call(id, "wait_with_progress", arguments, Some(token.clone()));
                    start.wait();
                    let messages = session.post(&message).send(address).expect(200).messages();
                    let (answer, progress) = messages.split_last().unwrap();
                    assert_eq!(answer["id"], id);
                    let told = &answer["result"]["structuredContent"];
                    assert_eq!(*told, json!({"steps": steps, "ms": ms}));
                    assert_eq!(progress.len() as u64, steps, "{progress:?}");
                    for (step, progress) in (1..).zip(progress) {
                        let params = &progress["params"];
                        assert_eq!(params["progressToken"], token);
                        assert_eq!(
                            (&params["progress"], &params["total"]),
                            (&json!(step), &json!(steps))
                        );
                    }
                });
            }
        }
    });
}

#[test]
fn who_cancels_or_ends_stops_its_own_call_and_not_the_one_with_the_same_id() {
    let gateway = gateway();
    let [one, two] = two(&gateway, "/mcp/clock");
    let sleep = call(7, "sleep", json!({"ms": 600_000}), None);
    std::thread::scope(|scope| {
        let calls = [&one, &two]
            .map(|session| scope.spawn(|| session.post(&sleep).send(gateway.address()).messages()));
        eventually("both calls wait", || (waiting(&one) == 2).then_some(()));
        one.notify("notifications/cancelled", json!({"requestId": 99})).expect(202);
        one.notify("notifications/cancelled", json!({"requestId": 7})).expect(202);
        eventually("one call waits", || (waiting(&one) == 1).then_some(()));
        let [first, second] = calls;
        assert!(first.join().unwrap()[0]["error"].is_object());
        assert!(!second.is_finished());
        two.delete().expect(200);
        eventually("no call waits", || (waiting(&one) == 0).then_some(()));
        drop(second.join());
    });
}

#[test]
fn who_does_not_read_stops_nobody() {
    let gateway = gateway();
    let [deaf, other] = two(&gateway, "/mcp/clock");
    let mut unread = Vec::new();
    for id in 0..8 {
        let arguments = json!({"steps": 10_000, "ms": 0});
        let message = call(id, "wait_with_progress", arguments, Some("x".repeat(1000).into()));
        unread.push(deaf.post(&message).open(gateway.address()));
    }
    eventually("the calls have ended", || (waiting(&other) == 0).then_some(()));
    for id in 0..20 {
        let message = call(id, "wait_with_progress", json!({"steps": 3, "ms": 1}), Some(json!(1)));
        let response = other.post(&message).send(gateway.address());
        assert_eq!(response.messages().len(), 4);
    }
    // Its stream, read late, ends with the answer.
    let last = |mut stream: Incoming| {
        if stream.header("content-type") != Some("text/event-stream") {
            return stream.whole().json();
        }
        let mut last = Value::Null;
        while let Some(event) = stream.next_event() {
            last = event.json();
        }
        last
    };
    for (id, stream) in (0..).zip(unread) {
        let last = last(stream);
        assert_eq!(last["id"], id, "{last}");
        assert_eq!(last["result"]["structuredContent"]["steps"], 10_000, "{last}");
    }
}

#[test]
fn what_the_process_says_to_nobody_is_for_all_or_for_the_gateway_alone() {
    let gateway = Setup::new(&settings::standalone(
        json!({"verbatim": servers::isolated(verbatim(), "shared")}),
    ))
    .env("MOORING_LOG", "debug")
    .start();
    let [one, two] = two(&gateway, "/mcp/verbatim");
    let mut streams = [one.listen(), two.listen()];
    one.request("logging/setLevel", json!({"level": "debug"}));
    assert_eq!(one.answer("logging/setLevel", json!({"level": "error"}))["result"], json!({}));
    let secret = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"s3cret"}}"#;
    let question =
        r#"{"jsonrpc":"2.0","id":"\u0071","method":"sampling/createMessage","params":{}}"#;
    let changed = r#"{"jsonrpc":"2.0", "method":"notifications/tools/list_changed"}"#;
    let answer = announce(&one, &[secret, question, changed]);
    assert!(!answer.contains("s3cret") && !answer.contains("sampling/"), "{answer}");
    for stream in &mut streams {
        assert_eq!(stream.event().data, changed);
    }
    assert!(gateway.wait_for_log("s3cret").contains("verbatim"));
    let heard = heard(&two);
    let refused: Vec<&Value> = heard.iter().filter(|m| m["id"] == "q").collect();
    assert_eq!((refused.len(), &refused[0]["error"]["code"]), (1, &json!(-32601)), "{heard:?}");
    let initialized = heard.iter().filter(|m| m["method"] == "notifications/initialized");
    assert_eq!(initialized.count(), 1, "{heard:?}");
}

#[test]
fn a_subscription_begins_with_the_first_and_ends_with_the_last() {
    let gateway = gateway();
    let [one, two] = two(&gateway, "/mcp/verbatim");
    let [mut first, mut second] = [one.listen(), two.listen()];
    let (uri, part) = (json!({"uri": "a://b"}), "a://b/c");
    let asked = |session: &Session| -> Vec<String> {
        let heard = heard(session).into_iter().filter(|m| m["params"]["uri"] == "a://b");
        heard.map(|m| m["method"].as_str().unwrap().to_owned()).collect()
    };
    let update = |uri: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{"uri":"{uri}"}}}}"#
        )
    };
    let end = r#"{"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}"#;
    for session in [&one, &two] {
        session.request("resources/subscribe", uri.clone());
    }
    assert_eq!(asked(&two), ["resources/subscribe"]);
    announce(&two, &[&update(part), &update("a://bc"), end]);
    for stream in [&mut first, &mut second] {
        assert_eq!([stream.event().data, stream.event().data], [update(part), end.to_owned()]);
    }
    one.request("resources/unsubscribe", uri);
    assert_eq!(asked(&two), [] as [&str; 0]);
    announce(&one, &[&update("a://b"), end]);
    assert_eq!(first.event().data, end);
    assert_eq!([second.event().data, second.event().data], [update("a://b"), end.to_owned()]);
    two.delete().expect(200);
    eventually("the last one's subscription has ended", || {
        (asked(&one) == ["resources/unsubscribe"]).then_some(())
    });
}

#[test]
fn the_sessions_of_a_process_that_died_go_on_with_one_new_process() {
    let gateway = gateway();
    let [one, two] = two(&gateway, "/mcp/counter");
    for _ in 0..3 {
        let before = one.whoami("whoami").pid;
        assert_eq!(two.whoami("whoami").pid, before);
        process::signal(before, Signal::KILL);
        eventually("the server is gone", || (!process::runs(before)).then_some(()));
        assert_eq!([one.count("count"), two.count("count")], [1, 2]);
        assert_ne!(one.whoami("whoami").pid, before);
    }
}

#[test]
fn calls_of_all_sessions_are_told_when_the_process_dies() {
    let gateway = gateway();
    let [one, two] = two(&gateway, "/mcp/clock");
    let sleep = call(7, "sleep", json!({"ms": 600_000}), None);
    std::thread::scope(|scope| {
        let calls = [&one, &two]
            .map(|session| scope.spawn(|| session.post(&sleep).send(gateway.address()).messages()));
        eventually("both calls wait", || (waiting(&one) == 2).then_some(()));
        for pid in process::descendants(gateway.pid()) {
            if process::command_line(pid).ends_with("clock") {
                process::signal(pid, Signal::KILL);
            }
        }
        for call in calls {
            let answer = &call.join().unwrap()[0];
            let says = answer["error"]["message"].as_str().unwrap();
            assert!(says.contains("clock") && says.contains("may have run"), "{says}");
            assert_eq!(answer["id"], 7);
        }
    });
    assert_eq!([waiting(&one), waiting(&two)], [0, 0]);
}

#[test]
fn the_process_stays_for_the_last_one_and_a_while_longer() {
    let gateway = gateway();
    let [one, two] = two(&gateway, "/mcp/counter");
    let pid = one.whoami("whoami").pid;
    assert_eq!(two.count("count"), 1);
    one.delete().expect(200);
    assert_eq!(two.count("count"), 2);
    two.delete().expect(200);
    let third = gateway.client("/mcp/counter").initialize();
    assert_eq!((third.whoami("whoami").pid, third.count("count")), (pid, 3), "it was kept warm");
    third.delete().expect(200);
    eventually("the process has ended", || (!process::runs(pid)).then_some(()));
    assert_eq!(gateway.client("/mcp/counter").initialize().count("count"), 1);
}

#[test]
fn a_shared_process_ends_at_once_with_the_gateway() {
    let mut gateway = gateway();
    let [one, two] = two(&gateway, "/mcp/clock");
    assert_eq!([waiting(&one), waiting(&two)], [0, 0]);
    one.delete().expect(200);
    two.delete().expect(200);
    let children = process::descendants(gateway.pid());
    assert!(gateway.terminate().success());
    eventually("no child is left", || process::survivors(&children).is_empty().then_some(()));
}

/// An edge has one principal for each way to authenticate. To test several, this asks a node
/// directly, as a coordinator would.
#[test]
fn each_principal_has_a_process_of_its_own() {
    let hears = PlayedCoordinator::start();
    let servers = json!({"counter": servers::isolated(servers::counter(), "principal")});
    let node = Setup::new(&settings::node(hears.port(), json!({"id": "n"}), servers))
        .env("MOORING_CLUSTER_TOKEN", TOKEN)
        .start();
    let behind = hears.registered(&node, Some(TOKEN));
    let pid = |principal: &str, session: u8| {
        let request = Request::post("/cluster/servers/counter/mcp")
            .header("Accept", "application/json, text/event-stream")
            .header("Mooring-Session", &format!("00000000-0000-4000-8000-0000000000{session:02}"))
            .header("Mooring-Principal", principal);
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}});
        let open = request.clone().header("Mooring-Open", "host").json(&params);
        assert_eq!(behind.send(&open).expect(200).json()["protocolVersion"], "2025-11-25");
        let whoami = request.json(&call(1, "whoami", json!({}), None));
        let answer = behind.send(&whoami).expect(200).json();
        answer["result"]["structuredContent"]["pid"].as_u64().unwrap()
    };
    let (alice, bob) = (pid("alice", 1), pid("bob", 2));
    assert_ne!(alice, bob);
    assert_eq!([pid("alice", 3), pid("bob", 4)], [alice, bob]);
}

#[test]
fn check_says_who_shares_what() {
    let settings = settings::standalone(json!({
        "all": servers::isolated(servers::counter(), "shared"),
        "each": servers::isolated(servers::counter(), "principal"),
        "far": {"url": "http://127.0.0.1:1/mcp", "isolation": "shared"},
    }));
    let output = Setup::new(&settings).run(&["check"]);
    let page = [output.stdout, output.stderr].concat();
    let page = String::from_utf8_lossy(&page);
    assert!(page.contains("one process for all sessions"), "{page}");
    assert!(page.contains("one process for each principal, and all clients are one"), "{page}");
    assert!(page.contains("mcpServers.each.isolation: all clients are one principal"), "{page}");
    assert!(page.contains("mcpServers.far.isolation"), "{page}");
    assert!(!page.contains("without effect"), "{page}");
}

#[test]
fn a_real_server_is_shared() {
    if !borrowed::at_hand("server-memory shared", &["memory"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("memory.jsonl");
    let memory = json!({
        "command": borrowed::starter("server-memory"),
        "env": {"MEMORY_FILE_PATH": file},
        "isolation": "shared",
    });
    let gateway = Gateway::start_with(&settings::standalone(json!({"memory": memory})));
    gateway.wait_for_log("catalog discovered");
    let started = || process::with_variable("MEMORY_FILE_PATH", file.to_str().unwrap());
    eventually("the discovery's process is gone", || started().is_empty().then_some(()));
    let client: Client = gateway.client("/mcp/memory");
    let writer = client.initialize();
    let before = started();
    let entity = json!({"name": "buoy", "entityType": "thing", "observations": []});
    writer.call("create_entities", json!({"entities": [entity]}));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let graph = client.initialize().call("read_graph", json!({}));
                assert!(graph.to_string().contains("buoy"), "{graph}");
            });
        }
    });
    assert_eq!(started(), before, "nobody has started another");
}

/// Has the server send messages that belong to no request; returns the client's response to the
/// call.
#[track_caller]
fn announce(session: &Session, messages: &[&str]) -> String {
    let messages: Vec<String> = messages.iter().map(|text| STANDARD.encode(text)).collect();
    let (message, _) = session
        .message("tools/call", json!({"name": "announce", "arguments": {"messages": messages}}));
    session.post(&message).send(session.client.address()).expect(200).text()
}

/// The messages that the server has received since the last call.
fn heard(session: &Session) -> Vec<Value> {
    let result = session.call("heard", json!({}));
    let lines = result["content"][0]["text"].as_str().expect("a text").lines();
    let message = |line| serde_json::from_slice(&STANDARD.decode(line).unwrap()).unwrap();
    lines.map(message).collect()
}
