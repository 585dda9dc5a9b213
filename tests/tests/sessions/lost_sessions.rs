//! A session outlives the process that serves it; only DELETE ends it.

use mooring_tests::{Gateway, eventually, process, servers, settings};
use rustix::process::Signal;
use serde_json::json;

fn gateway() -> Gateway {
    Gateway::start_with(&settings::standalone(json!({
        "counter": servers::counter(),
        "notes": servers::notes(),
        "clock": servers::clock(),
    })))
}

#[test]
fn a_deleted_session_is_unknown_from_then_on() {
    let mut gateway = gateway();
    let (ended, other) = (gateway.client("/mcp").initialize(), gateway.client("/mcp").initialize());
    ended.count("counter-count");
    ended.delete().expect(200);
    ended.try_request("tools/list", json!({})).expect(404);
    ended.delete().expect(404);
    assert_eq!(ended.listen().status, 404);
    gateway.restart_after(Signal::TERM);
    ended.try_request("tools/list", json!({})).expect(404);
    gateway.restart_after(Signal::KILL);
    ended.try_request("tools/list", json!({})).expect(404);
    other.try_request("tools/list", json!({})).expect(200);
}

#[test]
fn a_session_survives_a_restart_of_the_gateway() {
    let mut gateway = gateway();
    let aggregate = gateway.client("/mcp").initialize();
    let single = gateway.client("/mcp/counter").initialize();
    for signal in [Signal::TERM, Signal::KILL] {
        aggregate.count("counter-count");
        single.count("count");
        gateway.restart_after(signal);
        assert_eq!(aggregate.count("counter-count"), 1, "its process is a new one");
        assert_eq!(single.count("count"), 1, "its process is a new one");
    }
}

#[test]
fn a_session_survives_a_restart_with_parameters_too_large_for_its_id() {
    let mut gateway = gateway();
    let params = json!({
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "x".repeat(8000), "version": "1"},
    });
    let session = gateway.client("/mcp/counter").params(params).initialize();
    assert!(session.id.len() < 4096, "{}", session.id.len());
    assert_eq!(session.count("count"), 1);
    gateway.restart_after(Signal::KILL);
    assert_eq!(session.count("count"), 1);
}

#[test]
fn a_session_goes_on_after_its_server_was_killed() {
    let gateway = gateway();
    for (path, count, whoami) in
        [("/mcp", "counter-count", "counter-whoami"), ("/mcp/counter", "count", "whoami")]
    {
        let session = gateway.client(path).initialize();
        session.count(count);
        for _ in 0..3 {
            let before = session.whoami(whoami).pid;
            process::signal(before, Signal::KILL);
            eventually("the server is gone", || (!process::runs(before)).then_some(()));
            assert_eq!(session.count(count), 1, "a new process counts anew");
            assert_ne!(session.whoami(whoami).pid, before);
        }
    }
}

#[test]
fn a_call_under_way_when_its_server_dies_is_told_so() {
    let gateway = gateway();
    let session = gateway.client("/mcp/clock").initialize();
    let before = process::descendants(gateway.pid());
    let answer = std::thread::scope(|scope| {
        let call = scope.spawn(|| {
            session.answer("tools/call", json!({"name": "sleep", "arguments": {"ms": 600_000}}))
        });
        eventually("the call is under way", || {
            let now = session.request("tools/call", json!({"name": "now", "arguments": {}}));
            (now["structuredContent"]["waiting"] == 1).then_some(())
        });
        for pid in before {
            process::signal(pid, Signal::KILL);
        }
        call.join().unwrap()
    });
    let says = answer["error"]["message"].as_str().unwrap();
    assert!(says.contains("clock") && says.contains("may have run"), "{says}");
    session.call("now", json!({}));
}

#[test]
fn a_large_body_passes_in_a_session_whose_server_was_lost() {
    let mut gateway = gateway();
    let session = gateway.client("/mcp/notes").initialize();
    session.call("list_notes", json!({}));
    gateway.restart_after(Signal::KILL);
    let text = "x".repeat(300_000);
    session.call("add_note", json!({"text": text}));
    let notes = session.call("list_notes", json!({}));
    assert_eq!(notes["structuredContent"]["notes"], json!([text]));
}
