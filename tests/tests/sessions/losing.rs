//! Loss of a server's state for a session: the client is notified, or its session ends; nothing
//! else counts as a loss.

use std::time::Duration;

use mooring_tests::http::{Incoming, Request};
use mooring_tests::{Canned, Front, Gateway, Session, eventually, process, servers, settings};
use rustix::process::Signal;
use serde_json::{Value, json};

use mooring_tests::orders::{announce, late, notification, tools};

/// Scopes, each with the prefix of the counter's tools.
const SCOPES: [(&str, &str); 2] = [("/mcp", "counter-"), ("/mcp/counter", "")];

/// Bytes of a message larger than what the gateway keeps for a repeat.
const LARGE: usize = 300_000;

fn failing(mut server: Value) -> Value {
    server["onLost"] = "fail".into();
    server
}

/// A counter that needs a moment to start.
fn slow_counter() -> Value {
    json!({"command": "sh", "args": ["-c", "sleep 0.3; exec mooring-example-counter"]})
}

fn told_of_loss(stream: &mut Incoming, server: &str) {
    let notice = stream.message(|message| message["params"]["logger"] == "mooring");
    let says = notice["params"]["data"].as_str().unwrap();
    assert!(says.contains(server) && says.contains("lost"), "{says}");
}

fn kill(session: &Session, whoami: &str) {
    let pid = session.whoami(whoami).pid;
    process::signal(pid, Signal::KILL);
    eventually("the server is gone", || (!process::runs(pid)).then_some(()));
}

/// Calls the counter several times at once; every call must succeed.
fn count_at_once(session: &Session, tool: &str) {
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..8).map(|_| scope.spawn(|| session.count(tool))).collect();
        let mut counts: Vec<i64> = calls.into_iter().map(|call| call.join().unwrap()).collect();
        counts.sort_unstable();
        assert_eq!(counts, [1, 2, 3, 4, 5, 6, 7, 8]);
    });
}

#[test]
fn first_calls_at_once_open_the_server_and_lose_nothing() {
    let entries = json!({"counter": failing(slow_counter())});
    Front::each(&entries, &json!({}), |front| {
        let session = front.client("/mcp").initialize();
        session.request("tools/list", json!({}));
        count_at_once(&session, "counter-count");
    });
}

#[test]
fn who_listens_hears_of_no_loss_when_first_calls_come_at_once() {
    let log = Canned::new()
        .with_capabilities(json!({"tools": {}, "logging": {}}))
        .answers("tools/list", tools());
    let entries = json!({"counter": slow_counter(), "log": log.entry()});
    Front::each(&entries, &json!({}), |front| {
        let session = front.client("/mcp").initialize();
        session.request("tools/list", json!({}));
        let mut stream = session.listen();
        count_at_once(&session, "counter-count");
        announce(&session, "log-announce", &[]);
        let end = notification("notifications/message", json!({"level": "info", "data": "end"}));
        late(&session, "log-emit", &[end]);
        loop {
            let message = stream.event().json();
            assert_ne!(message["params"]["logger"], "mooring", "{message}");
            if message["params"]["data"] == "end" {
                break;
            }
        }
    });
}

#[test]
fn a_restart_of_the_gateway_ends_sessions_that_want_to_end() {
    let servers = json!({"counter": failing(servers::counter())});
    let mut gateway = Gateway::start_with(&settings::standalone(servers));
    let [aggregate, single] = SCOPES.map(|(path, prefix)| {
        let session = gateway.client(path).initialize();
        session.count(&format!("{prefix}count"));
        session
    });
    gateway.restart_after(Signal::KILL);
    single.try_request("tools/call", json!({"name": "count"})).expect(404);
    single.try_request("ping", json!({})).expect(404);
    let call = json!({"name": "counter-count", "arguments": {}});
    aggregate.try_request("tools/call", call).expect(404);
    aggregate.try_request("ping", json!({})).expect(404);
}

#[test]
fn a_restart_of_the_gateway_is_told_on_several_servers_of_what_was_open() {
    let log = Canned::new()
        .with_capabilities(json!({"tools": {}, "logging": {}}))
        .answers("tools/list", tools());
    let entries = json!({"counter": servers::counter(), "log": log.entry()});
    let groups = json!({"groups": [{"name": "desk", "servers": ["counter", "log"]}]});
    let settings = settings::merged(settings::standalone(entries), groups);
    for signal in [Signal::KILL, Signal::TERM] {
        let mut gateway = Gateway::start_with(&settings);
        let sessions = ["/mcp", "/mcp/desk"].map(|path| gateway.client(path).initialize());
        for session in &sessions {
            assert_eq!(session.count("counter-count"), 1);
        }
        for restarts in 1..3 {
            gateway.restart_after(signal);
            for session in &sessions {
                let mut stream = session.listen();
                announce(session, "log-announce", &[]);
                assert_eq!(session.count("counter-count"), 1);
                let end = json!({"level": "info", "data": "end"});
                let end = notification("notifications/message", end);
                late(session, "log-emit", &[end]);
                let mut told = Vec::new();
                loop {
                    let message = stream.event().json();
                    let data = message["params"]["data"].as_str().unwrap_or("").to_owned();
                    if message["params"]["logger"] == "mooring" {
                        told.push(data);
                    } else if data == "end" {
                        break;
                    }
                }
                let times = |server: &str| told.iter().filter(|t| t.contains(server)).count();
                // Of a server that was never open nothing is lost.
                assert_eq!((times("server counter"), times("server log")), (1, restarts - 1));
            }
        }
    }
}

#[test]
fn a_restart_of_the_gateway_is_told_to_who_listens_then_or_later() {
    let servers = json!({"counter": servers::counter()});
    let mut gateway = Gateway::start_with(&settings::standalone(servers));
    let session = gateway.client("/mcp/counter").initialize();
    session.count("count");
    gateway.restart_after(Signal::KILL);
    told_of_loss(&mut session.listen(), "counter");
    gateway.restart_after(Signal::KILL);
    assert_eq!(session.count("count"), 1);
    let mut stream = session.listen();
    told_of_loss(&mut stream, "counter");
    // The notice comes once for each loss.
    kill(&session, "whoami");
    assert_eq!(session.count("count"), 1);
    told_of_loss(&mut stream, "counter");
}

#[test]
fn however_often_servers_are_lost_the_log_says_it_once_in_a_while() {
    let entries = json!({"counter": servers::counter(), "failing": failing(servers::counter())});
    let gateway = Gateway::start_with(&json!({"mcpServers": entries}));
    for _ in 0..3 {
        let session = gateway.client("/mcp/counter").initialize();
        kill(&session, "whoami");
        assert_eq!(session.count("count"), 1);
        let session = gateway.client("/mcp/failing").initialize();
        kill(&session, "whoami");
        session.try_request("tools/list", json!({})).expect(404);
    }
    for says in ["what it held for the session is lost", "the session ends: its server's state"] {
        assert_eq!(gateway.log().matches(says).count(), 1, "{says}");
    }
}

#[test]
fn on_several_servers_a_loss_is_told_to_who_listens_later() {
    let entries = json!({"counter": servers::counter(), "notes": servers::notes()});
    Front::each(&entries, &json!({}), |front| {
        let session = front.client("/mcp").initialize();
        kill(&session, "counter-whoami");
        assert_eq!(session.count("counter-count"), 1);
        told_of_loss(&mut session.listen(), "counter");
    });
}

fn large(session: &Session, tool: &str) -> mooring_tests::http::Response {
    let arguments = json!({"text": "x".repeat(LARGE)});
    session.try_request("tools/call", json!({"name": tool, "arguments": arguments}))
}

#[test]
fn a_large_message_finds_out_about_a_loss_like_any_other() {
    let entries = json!({"counter": servers::counter(), "failing": failing(servers::counter())});
    Front::each(&entries, &json!({}), |front| {
        let session = front.client("/mcp/failing").initialize();
        kill(&session, "whoami");
        large(&session, "count").expect(404);
        session.try_request("ping", json!({})).expect(404);
        let session = front.client("/mcp/counter").initialize();
        let mut stream = session.listen();
        kill(&session, "whoami");
        large(&session, "count").expect(200);
        told_of_loss(&mut stream, "counter");
    });
}

#[test]
fn a_large_request_that_no_server_takes_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let flag = folder.path().join("may-start");
    std::fs::write(&flag, "").unwrap();
    let script = format!("test -e {} || exit 1; exec mooring-example-counter", flag.display());
    let entries = json!({"counter": {"command": "sh", "args": ["-c", script]}});
    Front::each(&entries, &json!({}), |front| {
        std::fs::write(&flag, "").unwrap();
        let session = front.client("/mcp/counter").initialize();
        let pid = session.whoami("whoami").pid;
        std::fs::remove_file(&flag).unwrap();
        process::signal(pid, Signal::KILL);
        eventually("the server is gone", || (!process::runs(pid)).then_some(()));
        // The id is at the end, where several SDKs write it.
        let text = "x".repeat(LARGE);
        let message = format!(
            r#"{{"method":"tools/call","params":{{"name":"count","arguments":{{"text":"{text}"}}}},"jsonrpc":"2.0","id":"last"}}"#
        );
        let request: Request = session.with(session.client.post()).body(message.into_bytes());
        let answer = request.send(session.client.address()).expect(200).json();
        assert_eq!(answer["id"], "last", "{answer}");
        let says = answer["error"]["message"].as_str().unwrap();
        assert!(says.contains("counter is not available"), "{says}");
    });
}

#[test]
fn a_large_message_sets_nothing_again_that_is_set() {
    let server = Canned::new()
        .with_capabilities(json!({"tools": {}, "resources": {"subscribe": true}}))
        .answers("tools/list", tools())
        .answers("resources/list", json!({"resources": []}))
        .answers("resources/templates/list", json!({"resourceTemplates": []}))
        .answers("resources/subscribe", json!({}));
    Front::each(&json!({"one": server.entry()}), &json!({}), |front| {
        let session = front.client("/mcp/one").initialize();
        session.request("resources/subscribe", json!({"uri": "res://a"}));
        let before = server.told().len();
        for _ in 0..2 {
            let params = json!({"uri": "res://a", "x": "x".repeat(LARGE)});
            session.try_request("resources/subscribe", params).expect(200);
        }
        let told = server.told();
        let subscribed =
            told[before..].iter().filter(|(_, told)| told["method"] == "resources/subscribe");
        assert_eq!(subscribed.count(), 2, "as often as the client asked");
    });
}

/// Far longer than the affinity timeout of [`impatient`].
const SILENCE: Duration = Duration::from_millis(2500);

fn impatient(servers: Value) -> Gateway {
    let coordinator = json!({"stickySessionTimeout": 1000, "cleanupInterval": 100});
    let coordinator = settings::coordinator(json!({"coordinator": coordinator}));
    Gateway::start_with(&settings::merged(coordinator, settings::standalone(servers)))
}

#[test]
fn a_question_may_be_answered_late() {
    let gateway =
        impatient(json!({"one": {"command": "mooring-conformance-server", "args": ["stdio"]}}));
    let params = json!({
        "protocolVersion": "2025-11-25",
        "capabilities": {"elicitation": {"form": {}}},
        "clientInfo": {"name": "mooring-tests", "version": "1"},
    });
    let session = gateway.client("/mcp").params(params).initialize();
    let arguments = json!({"message": "m"});
    let (mut stream, id) = session.start("one-test_elicitation", arguments, json!({}));
    let question = stream.message(|message| message["method"] == "elicitation/create");
    std::thread::sleep(SILENCE);
    let content = json!({"username": "u", "email": "a@b"});
    session.reply(&question["id"], json!({"action": "accept", "content": content}));
    let answer = stream.message(|message| message["id"] == id && message.get("method").is_none());
    assert!(answer["result"].is_object(), "{answer}");
}

#[test]
fn who_listens_keeps_the_affinity_and_who_has_left_does_not() {
    let gateway = impatient(json!({"counter": servers::counter()}));
    for (path, prefix) in SCOPES {
        let session = gateway.client(path).initialize();
        session.count(&format!("{prefix}count"));
        let stream = session.listen();
        let affinity = format!("/api/cluster/sessions/{}", session.id);
        std::thread::sleep(SILENCE);
        gateway.get(&affinity).expect(200);
        drop(stream);
        eventually("the idle affinity goes", || {
            (gateway.get(&affinity).status == 404).then_some(())
        });
    }
}
