//! HTTP+SSE clients whose stream breaks off: they come back by themselves, with the id of the last
//! event, and never initialize again.

use mooring_tests::{Cluster, Gateway, OverSse, Setup, eventually, process, servers, settings};
use rustix::process::Signal;
use serde_json::{Value, json};

fn settings() -> Value {
    json!({
        "mcpServers": {"counter": servers::counter(), "clock": servers::clock()},
        "groups": [{"name": "desk", "servers": ["counter", "clock"]}],
    })
}

fn gateway() -> Gateway {
    Setup::new(&settings()).arg("--workers").arg("2").start()
}

const SCOPES: [(&str, &str); 3] =
    [("/sse", "counter-"), ("/sse/desk", "counter-"), ("/sse/counter", "")];

/// The answers to a first message on a stream without a session.
#[track_caller]
fn is_told_to_start_anew(session: &mut OverSse) {
    let message = json!({"jsonrpc": "2.0", "id": 77, "method": "tools/list"});
    let refused = session.try_send(&message).expect(404).json();
    assert_eq!(refused["error"]["code"], -32001, "{refused}");
    assert_eq!(refused["id"], 77, "{refused}");
    assert_eq!(session.answer_to(&json!(77)), refused);
    assert!(session.begin()["serverInfo"].is_object());
}

#[test]
fn a_client_goes_on_after_the_gateway_has_died() {
    for signal in [Signal::KILL, Signal::TERM] {
        let mut gateway = gateway();
        let mut sessions = SCOPES.map(|(path, prefix)| {
            let mut session = OverSse::initialize(gateway.address(), path);
            assert_eq!(session.call(&format!("{prefix}count"), json!({}))["value"], 1);
            (session, prefix)
        });
        gateway.restart_after(signal);
        for (session, prefix) in &mut sessions {
            let endpoint = session.endpoint.clone();
            session.come_back();
            assert_eq!(session.endpoint, endpoint);
            // The server's state has gone with its process; the session goes on.
            let count = format!("{prefix}count");
            assert!(session.call(&count, json!({}))["value"].is_u64());
            assert!(session.request("tools/list", json!({}))["tools"].is_array());
            session.come_back();
            assert!(session.call(&count, json!({}))["value"].is_u64(), "the id is good again");
        }
    }
}

#[test]
fn a_restarted_coordinator_finds_the_state_of_each_session() {
    let mut cluster = Cluster::of_two_equal_nodes(json!({}));
    let address = cluster.coordinator.address();
    for signal in [Signal::KILL, Signal::TERM] {
        let mut sessions: Vec<_> = [("/sse", "counter-"), ("/sse/counter", "")]
            .into_iter()
            .cycle()
            .take(6)
            .map(|(path, prefix)| (OverSse::initialize(address, path), prefix))
            .collect();
        let pids: Vec<u32> = sessions
            .iter_mut()
            .map(|(session, prefix)| {
                assert_eq!(session.call(&format!("{prefix}count"), json!({}))["value"], 1);
                session.pid(&format!("{prefix}whoami"))
            })
            .collect();
        cluster.coordinator.restart_after(signal);
        for ((session, prefix), pid) in sessions.iter_mut().zip(pids) {
            session.come_back();
            assert_eq!(session.call(&format!("{prefix}count"), json!({}))["value"], 2);
            assert_eq!(session.pid(&format!("{prefix}whoami")), pid);
        }
    }
}

#[test]
fn a_client_that_comes_back_without_an_id_is_told_to_start_anew() {
    let mut gateway = gateway();
    let mut sessions = SCOPES.map(|(path, _)| OverSse::initialize(gateway.address(), path));
    gateway.restart_after(Signal::KILL);
    for session in &mut sessions {
        session.come_back_with(&[]);
        is_told_to_start_anew(session);
    }
}

#[test]
fn an_id_is_good_for_its_scope_and_principal_alone() {
    let locked = json!({"systemConfig": {"routing": {"enableBearerAuth": true, "bearerAuthKey": "0123456789abcdef"}}});
    let gateway = gateway();
    let other = Gateway::start_with(&settings::merged(settings(), locked));
    let session = OverSse::initialize(gateway.address(), "/sse/counter");
    let id = session.last_event_id.clone();
    let http = gateway.client("/mcp/counter").initialize();
    let address = session.endpoint.rsplit_once('=').unwrap().1.to_owned();
    let mut changed = id.clone();
    let last = if changed.pop() == Some('A') { 'B' } else { 'A' };
    changed.push(last);
    for (path, id) in [
        ("/sse", id.as_str()),
        ("/sse/desk", &id),
        ("/sse/clock", &id),
        ("/sse/counter", &changed),
        ("/sse/counter", &address),
        ("/sse/counter", &http.id),
        ("/sse/counter", "1"),
    ] {
        let mut stranger = OverSse::open_with(gateway.address(), path, &[("Last-Event-ID", id)]);
        is_told_to_start_anew(&mut stranger);
    }
    let key = ("Authorization", "Bearer 0123456789abcdef");
    let mut stranger =
        OverSse::open_with(other.address(), "/sse/counter", &[key, ("Last-Event-ID", &id)]);
    is_told_to_start_anew(&mut stranger);
    let as_header = gateway.client("/mcp/counter").post().header("Mcp-Session-Id", &id);
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    as_header.json(&ping).send(gateway.address()).expect(404);
    assert!(!gateway.log().contains(&id), "a log is no place for ids");
}

#[test]
fn of_two_streams_with_one_id_the_newest_gets_what_comes() {
    let gateway = gateway();
    for (path, prefix) in SCOPES {
        let mut first = OverSse::initialize(gateway.address(), path);
        let pid = first.pid(&format!("{prefix}whoami"));
        let id = first.last_event_id.clone();
        let mut second = OverSse::open_with(gateway.address(), path, &[("Last-Event-ID", &id)]);
        assert_eq!(second.endpoint, first.endpoint);
        while first.stream.next_event().is_some() {}
        assert_eq!(second.pid(&format!("{prefix}whoami")), pid, "{path}");
        // What was asked over the old one is answered on the new one.
        let asked = json!({"jsonrpc": "2.0", "id": "old", "method": "ping"});
        first.try_send(&asked).expect(202);
        assert_eq!(second.answer_to(&json!("old"))["result"], json!({}), "{path}");
    }
}

#[test]
fn what_comes_while_the_stream_is_broken_is_read_when_it_is_back() {
    let gateway = gateway();
    for (path, sleep) in [("/sse", "clock-sleep"), ("/sse/clock", "sleep")] {
        let mut session = OverSse::initialize(gateway.address(), path);
        let slow = session.ask("tools/call", json!({"name": sleep, "arguments": {"ms": 300}}));
        let endpoint = session.endpoint.clone();
        let last = session.last_event_id.clone();
        // The connection breaks with the value that holds it.
        drop(session);
        let ping = json!({"jsonrpc": "2.0", "id": "p", "method": "ping"});
        gateway.post(&endpoint, &ping).expect(202);
        let mut back = OverSse::open_with(gateway.address(), path, &[("Last-Event-ID", &last)]);
        assert_eq!(back.endpoint, endpoint, "{path}");
        assert_eq!(back.answer_to(&json!("p"))["result"], json!({}), "{path}");
        assert!(back.answer_to(&slow)["result"].is_object(), "{path}");
    }
}

#[test]
fn a_client_that_stays_away_keeps_no_server_and_has_to_start_anew() {
    let gateway = gateway();
    let mut session = OverSse::initialize(gateway.address(), "/sse/counter");
    let (pid, last) = (session.pid("whoami"), session.last_event_id.clone());
    drop(session);
    eventually("its server is gone", || (!process::runs(pid)).then_some(()));
    let headers = [("Last-Event-ID", last.as_str())];
    is_told_to_start_anew(&mut OverSse::open_with(gateway.address(), "/sse/counter", &headers));
}

#[test]
fn a_stream_that_breaks_before_initialize_is_opened_again() {
    let gateway = gateway();
    let mut session = OverSse::open(gateway.address(), "/sse");
    let endpoint = session.endpoint.clone();
    // The one before is still there: its end comes later than the new stream.
    session.come_back();
    assert_eq!(session.endpoint, endpoint);
    assert!(session.begin()["serverInfo"].is_object());
    assert_eq!(session.call("counter-count", json!({}))["value"], 1);
}

#[test]
fn a_message_may_be_faster_than_the_stream_that_comes_back() {
    let mut gateway = gateway();
    let mut session = OverSse::initialize(gateway.address(), "/sse/counter");
    gateway.restart_after(Signal::KILL);
    let (address, endpoint) = (gateway.address(), session.endpoint.clone());
    let early = std::thread::spawn(move || {
        let ping = json!({"jsonrpc": "2.0", "id": "early", "method": "ping"});
        mooring_tests::Request::post(&endpoint).json(&ping).send(address)
    });
    session.come_back();
    early.join().expect("the client").expect(202);
    assert_eq!(session.answer_to(&json!("early"))["result"], json!({}));
}

#[test]
fn parameters_too_large_for_an_id_are_known_after_the_restart() {
    let mut gateway = gateway();
    for path in ["/sse", "/sse/counter"] {
        let mut session = OverSse::open(gateway.address(), path);
        session.begin_with(json!({
            "protocolVersion": "2025-06-18",
            "capabilities": {"experimental": {"long": {"x": "x".repeat(20_000)}}},
            "clientInfo": {"name": "long", "version": "1"},
        }));
        assert!(session.last_event_id.len() < 500, "{}", session.last_event_id.len());
        gateway.restart_after(Signal::KILL);
        session.come_back();
        assert!(session.request("tools/list", json!({}))["tools"].is_array(), "{path}");
    }
}

#[test]
fn what_servers_say_is_heard_again() {
    let mut gateway = gateway();
    let mut session = OverSse::initialize(gateway.address(), "/sse");
    gateway.restart_after(Signal::KILL);
    session.come_back();
    session.wait_for(|message| message["method"] == "notifications/tools/list_changed");
}
