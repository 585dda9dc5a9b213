//! A session from `initialize` to DELETE, on a gateway without a cluster.

use mooring_tests::{Gateway, Session, eventually, process, servers, settings};
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
fn a_session_keeps_the_state_of_its_server() {
    let gateway = gateway();
    for (path, tool) in [("/mcp", "counter-count"), ("/mcp/counter", "count")] {
        let session = gateway.client(path).initialize();
        assert_eq!([session.count(tool), session.count(tool), session.count(tool)], [1, 2, 3]);
    }
}

#[test]
fn two_sessions_see_nothing_of_each_other() {
    let gateway = gateway();
    for (path, tool) in [("/mcp", "counter-count"), ("/mcp/counter", "count")] {
        let (one, two) = (gateway.client(path).initialize(), gateway.client(path).initialize());
        assert_ne!(one.id, two.id);
        assert_eq!([one.count(tool), one.count(tool), two.count(tool)], [1, 2, 1]);
    }
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
fn a_body_larger_than_what_is_kept_passes() {
    let gateway = gateway();
    let text = "0123456789abcdef".repeat(20_000);
    for (path, add, list) in
        [("/mcp", "notes-add_note", "notes-list_notes"), ("/mcp/notes", "add_note", "list_notes")]
    {
        let session = gateway.client(path).initialize();
        let params = json!({"name": add, "arguments": {"text": text}});
        for chunked in [false, true] {
            let (message, _) = session.message("tools/call", params.clone());
            let request = session.post(&message);
            let request = if chunked { request.chunked() } else { request };
            request.send(gateway.address()).expect(200);
        }
        let notes = session.call(list, json!({}));
        assert_eq!(notes["structuredContent"]["notes"], json!([text, text]), "{path}");
    }
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

#[test]
fn progress_comes_as_events_before_the_result() {
    let gateway = gateway();
    for (path, tool) in [("/mcp", "clock-wait_with_progress"), ("/mcp/clock", "wait_with_progress")]
    {
        let session = gateway.client(path).initialize();
        let (message, id) = session.message(
            "tools/call",
            json!({"name": tool, "arguments": {"steps": 3, "ms": 1}, "_meta": {"progressToken": "t"}}),
        );
        let mut stream = session.post(&message).open(gateway.address());
        assert_eq!(stream.header("content-type"), Some("text/event-stream"));
        for step in 1..=3 {
            let event = stream.event().json();
            assert_eq!(event["method"], "notifications/progress");
            assert_eq!(event["params"]["progressToken"], "t");
            assert_eq!(event["params"]["progress"], step);
        }
        let result = stream.event().json();
        assert_eq!(result["id"], id);
        assert_eq!(result["result"]["structuredContent"]["steps"], 3);
        assert_eq!(stream.next_event(), None, "the stream ends with the result");
    }
}

#[test]
fn progress_comes_while_the_call_still_runs() {
    let gateway = gateway();
    let session = gateway.client("/mcp/clock").initialize();
    let (message, _) = session.message(
        "tools/call",
        json!({
            "name": "wait_with_progress",
            "arguments": {"steps": 1000, "ms": 100},
            "_meta": {"progressToken": 7},
        }),
    );
    let mut stream = session.post(&message).open(gateway.address());
    assert_eq!(stream.event().json()["params"]["progressToken"], 7);
    drop(stream);
    session.delete().expect(200);
}

#[test]
fn a_slow_call_does_not_hold_up_another_of_its_session() {
    let gateway = gateway();
    let session = gateway.client("/mcp/clock").initialize();
    let (message, id) =
        session.message("tools/call", json!({"name": "sleep", "arguments": {"ms": 600_000}}));
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| session.post(&message).send(gateway.address()));
        eventually("the slow call waits while this one is answered", || {
            let now = session.call("now", json!({}));
            (now["structuredContent"]["waiting"] == 1).then_some(())
        });
        session.notify("notifications/cancelled", json!({"requestId": id})).expect(202);
        eventually("the cancelled call waits no more", || {
            let now = session.call("now", json!({}));
            (now["structuredContent"]["waiting"] == 0).then_some(())
        });
        session.delete().expect(200);
        drop(slow.join());
    });
}

#[test]
fn the_get_stream_brings_what_the_server_says_by_itself() {
    let gateway = gateway();
    let session = gateway.client("/mcp/notes").initialize();
    let mut stream = session.listen();
    assert_eq!((stream.status, stream.header("content-type")), (200, Some("text/event-stream")));
    let (message, _) =
        session.message("tools/call", json!({"name": "add_note", "arguments": {"text": "x"}}));
    // Either stream may carry it; a client that listens must not miss it.
    let on_post = session.post(&message).send(gateway.address()).messages();
    let is_change =
        |message: &serde_json::Value| message["method"] == "notifications/resources/list_changed";
    assert!(on_post.iter().any(is_change) || is_change(&stream.event().json()));
}

#[test]
fn each_revision_with_sessions_is_negotiated() {
    let gateway = gateway();
    for path in ["/mcp", "/mcp/counter"] {
        for revision in ["2025-03-26", "2025-06-18", "2025-11-25"] {
            let session = gateway.client(path).revision(revision).initialize();
            assert_eq!(session.result["protocolVersion"], revision, "{path}");
            session.try_request("tools/list", json!({})).expect(200);
        }
    }
    let unknown = gateway.client("/mcp").revision("2001-01-01").initialize();
    assert_eq!(unknown.result["protocolVersion"], "2025-11-25");
}

#[test]
fn a_client_may_begin_anew_with_its_old_id_still_attached() {
    let gateway = gateway();
    let client = gateway.client("/mcp").header("Mcp-Session-Id", "gone");
    let response = client.try_initialize().expect(200);
    let id = response.header("mcp-session-id").unwrap();
    Session::resumed(&gateway.client("/mcp"), id).try_request("ping", json!({})).expect(200);
}

#[test]
fn session_ids_are_never_logged_in_full() {
    let mut gateway = gateway();
    let session = gateway.client("/mcp").initialize();
    session.count("counter-count");
    session.delete().expect(200);
    gateway.terminate();
    assert!(!gateway.log().contains(&session.id));
}

#[test]
fn an_error_of_the_server_reaches_the_client_untouched() {
    let gateway = gateway();
    for path in ["/mcp", "/mcp/notes"] {
        let session = gateway.client(path).initialize();
        let prompt = if path == "/mcp" { "notes-summarize" } else { "summarize" };
        session.request("prompts/get", json!({"name": prompt}));
        let answer = session.answer("resources/read", json!({"uri": "note://99"}));
        assert_eq!(answer["error"]["code"], -32002, "{answer}");
    }
}
