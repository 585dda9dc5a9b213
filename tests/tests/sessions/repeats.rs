//! Messages whose server or node dies before it has answered.

use std::time::{Duration, Instant};

use mooring_tests::{Cluster, Gateway, eventually, process, servers, settings};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Stops the session's process, so that messages to it stay in flight; returns its id.
fn stopped(session: &mooring_tests::Session) -> u32 {
    let pid = session.whoami("whoami").pid;
    process::signal(pid, Signal::STOP);
    eventually("it is stopped", || process::is_stopped(pid).then_some(()));
    pid
}

/// Calls a tool of a stopped server and kills the server.
fn call_while_it_dies(session: &mooring_tests::Session, pid: u32, tool: &str) -> Value {
    std::thread::scope(|scope| {
        let call =
            scope.spawn(|| session.answer("tools/call", json!({"name": tool, "arguments": {}})));
        eventually("the call has reached its pipe", || {
            (process::unread_input(pid) > 0).then_some(())
        });
        process::signal(pid, Signal::KILL);
        call.join().unwrap()
    })
}

#[test]
fn a_tool_that_only_reads_is_called_again_when_its_server_dies() {
    let gateway =
        Gateway::start_with(&settings::standalone(json!({"counter": servers::counter()})));
    let session = gateway.client("/mcp/counter").initialize();
    let pid = stopped(&session);
    let answer = call_while_it_dies(&session, pid, "whoami");
    let again = answer["result"]["structuredContent"]["pid"].as_u64();
    assert!(again.is_some_and(|again| again != u64::from(pid)), "{answer}");
}

#[test]
fn a_tool_that_may_change_something_is_not_called_again() {
    let gateway =
        Gateway::start_with(&settings::standalone(json!({"counter": servers::counter()})));
    let session = gateway.client("/mcp/counter").initialize();
    let pid = stopped(&session);
    let answer = call_while_it_dies(&session, pid, "count");
    let says = answer["error"]["message"].as_str().unwrap_or("");
    assert!(says.contains("may have run"), "{answer}");
    assert_eq!(session.count("count"), 1, "the session goes on");
}

#[test]
fn a_node_that_hangs_is_given_up_with_its_heartbeats() {
    let timeouts = json!({"coordinator": {"nodeTimeout": 1500, "cleanupInterval": 300}});
    let cluster = Cluster::of_two_equal_nodes(timeouts);
    let sessions: Vec<_> = (0..16).map(|_| cluster.client("/mcp/counter").initialize()).collect();
    let on_a: Vec<_> =
        sessions.iter().filter(|session| session.whoami("whoami").name == "a").collect();
    assert!(!on_a.is_empty());
    cluster.nodes[0].signal(Signal::STOP);
    let began = Instant::now();
    let answer = on_a[0].answer("tools/call", json!({"name": "count", "arguments": {}}));
    // The node was asked first, so the call was not written to it.
    assert_eq!(answer["result"]["content"][0]["text"], "1", "{answer}");
    // TCP alone would keep the connection for minutes.
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(on_a[on_a.len() - 1].whoami("whoami").name, "b");
    assert_eq!(on_a[0].count("count"), 2);
    cluster.nodes[0].signal(Signal::CONT);
}

#[test]
fn a_session_may_end_with_what_its_server_held() {
    let mut counter = servers::counter();
    counter["onLost"] = json!("fail");
    let gateway = Gateway::start_with(&settings::standalone(json!({"counter": counter})));
    for (path, whoami) in [("/mcp/counter", "whoami"), ("/mcp", "counter-whoami")] {
        let session = gateway.client(path).initialize();
        let pid = session.whoami(whoami).pid;
        process::signal(pid, Signal::KILL);
        eventually("it is gone", || (!process::runs(pid)).then_some(()));
        eventually("the session has ended", || {
            let response = session.try_request("tools/call", json!({"name": whoami}));
            (response.status == 404).then_some(())
        });
        session.try_request("ping", json!({})).expect(404);
    }
}
