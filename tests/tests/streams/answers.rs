//! Messages that arrive during a call, and outside of calls.

use mooring_tests::{Gateway, eventually, servers, settings};
use serde_json::json;

fn gateway() -> Gateway {
    Gateway::start_with(&settings::standalone(json!({
        "counter": servers::counter(),
        "notes": servers::notes(),
        "clock": servers::clock(),
    })))
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
    // The notification may arrive on either stream; a listening client must not miss it.
    let on_post = session.post(&message).send(gateway.address()).messages();
    let is_change =
        |message: &serde_json::Value| message["method"] == "notifications/resources/list_changed";
    assert!(on_post.iter().any(is_change) || is_change(&stream.event().json()));
}

#[test]
fn an_open_get_stream_does_not_hold_up_the_end_of_the_gateway() {
    for path in ["/mcp", "/mcp/notes"] {
        let mut gateway = gateway();
        let session = gateway.client(path).initialize();
        let mut stream = session.listen();
        let began = std::time::Instant::now();
        assert!(gateway.terminate().success());
        // Waiting for streams would take the whole drain time of ten seconds.
        assert!(began.elapsed().as_secs() < 8, "{path}: {:?}", began.elapsed());
        while stream.next_event().is_some() {}
    }
}
