//! Where a limit on processes is reached, the client with the most makes room, whatever it sends to
//! look busy, and no call is lost for it.

use mooring_tests::http::Incoming;
use mooring_tests::{Gateway, Response, Session, process, servers, settings};
use serde_json::{Value, json};

use crate::processes::lifecycle::{is_refused, wait_until_gone, with_limits};

const OTHER: &str = "127.0.0.9";

fn limited(server: Value, processes: u32) -> Value {
    settings::merged(server, json!({"maxInstances": processes}))
}

fn sessions(gateway: &Gateway, path: &str, at: &str, count: usize) -> Vec<Session> {
    (0..count).map(|_| gateway.client(path).at(at).initialize()).collect()
}

#[track_caller]
fn begins(gateway: &Gateway, path: &str, at: &str) -> Session {
    let client = gateway.client(path).at(at);
    let response = client.try_initialize().expect(200);
    assert!(response.text().contains("serverInfo"), "{}", response.text());
    Session::resumed(&client, response.header("mcp-session-id").expect("an id"))
}

fn try_at(gateway: &Gateway, path: &str, at: &str) -> Response {
    gateway.client(path).at(at).try_initialize()
}

#[test]
fn the_client_with_the_most_makes_room_at_once_and_the_one_left_longest_goes() {
    let gateway = with_limits(json!({"counter": limited(servers::counter(), 4)}), json!({}));
    let many = sessions(&gateway, "/mcp/counter", "127.0.0.1", 4);
    let pids: Vec<u32> = many.iter().map(|session| session.whoami("whoami").pid).collect();
    for session in &many[1..] {
        session.count("count");
    }
    let other = begins(&gateway, "/mcp/counter", OTHER);
    wait_until_gone(pids[0]);
    assert_eq!(other.count("count"), 1);
    // It has three, the other one has one: it takes none back.
    is_refused(&many[0].try_request("tools/call", json!({"name": "count"})), &["maxInstances"]);
    assert_eq!(other.count("count"), 2);
    let third = begins(&gateway, "/mcp/counter", "127.0.0.10");
    let fourth = begins(&gateway, "/mcp/counter", "127.0.0.11");
    // Now each has one, and none has more than another.
    is_refused(&try_at(&gateway, "/mcp/counter", "127.0.0.12"), &["maxInstances"]);
    assert_eq!([&other, &third, &fourth].map(|one| one.count("count")), [3, 1, 1]);
    mooring_tests::eventually("one of the first client's is left", || {
        (pids.iter().filter(|pid| process::runs(**pid)).count() == 1).then_some(())
    });
}

#[test]
fn what_nobody_listens_to_goes_first() {
    let gateway = with_limits(json!({"counter": limited(servers::counter(), 3)}), json!({}));
    let many = sessions(&gateway, "/mcp/counter", "127.0.0.1", 3);
    let pids: Vec<u32> = many.iter().map(|session| session.whoami("whoami").pid).collect();
    // The first was left longest, and somebody listens to it.
    let _stream = many[0].listen();
    for session in &many[1..] {
        session.count("count");
    }
    let _other = begins(&gateway, "/mcp/counter", OTHER);
    wait_until_gone(pids[1]);
    assert!(process::runs(pids[0]) && process::runs(pids[2]));
}

#[test]
fn pings_streams_and_subscriptions_do_not_keep_others_out() {
    let gateway = with_limits(json!({"notes": limited(servers::notes(), 3)}), json!({}));
    let many = sessions(&gateway, "/mcp/notes", "127.0.0.1", 3);
    let _streams: Vec<Incoming> = many.iter().map(Session::listen).collect();
    for session in &many {
        let _ = session.try_request("resources/subscribe", json!({"uri": "note://1"}));
        session.request("ping", json!({}));
    }
    let other = begins(&gateway, "/mcp/notes", OTHER);
    other.request("ping", json!({}));
}

#[test]
fn a_ping_is_no_use_that_keeps_a_process_from_making_room() {
    let gateway = with_limits(
        json!({"counter": limited(servers::counter(), 2)}),
        json!({"unusedAfterMs": 400}),
    );
    let [pings, calls] = [(); 2].map(|()| gateway.client("/mcp/counter").initialize());
    let pids = [&pings, &calls].map(|session| session.whoami("whoami").pid);
    let third = mooring_tests::eventually("one makes room", || {
        pings.request("ping", json!({}));
        calls.count("count");
        let client = gateway.client("/mcp/counter");
        client.try_initialize().header("mcp-session-id").map(str::to_owned)
    });
    assert!(!third.is_empty());
    wait_until_gone(pids[0]);
    assert_eq!(calls.whoami("whoami").pid, pids[1]);
}

#[test]
fn neither_a_call_in_progress_nor_a_session_that_would_end_makes_room() {
    let gateway = with_limits(
        json!({
            "clock": limited(servers::clock(), 3),
            "fails": settings::merged(
                limited(servers::counter(), 3), json!({"onLost": "fail"})),
        }),
        json!({}),
    );
    let busy = sessions(&gateway, "/mcp/clock", "127.0.0.1", 3);
    let calls: Vec<(Incoming, Value)> = busy
        .iter()
        .map(|session| session.start("sleep", json!({"ms": 20_000}), json!({})))
        .collect();
    is_refused(&try_at(&gateway, "/mcp/clock", OTHER), &["clock", "maxInstances"]);
    let kept = sessions(&gateway, "/mcp/fails", "127.0.0.1", 3);
    is_refused(&try_at(&gateway, "/mcp/fails", OTHER), &["fails", "maxInstances"]);
    for session in &kept {
        assert_eq!(session.count("count"), 1);
    }
    drop(calls);
}

#[test]
fn an_address_has_a_part_of_each_servers_processes_and_of_the_nodes() {
    let gateway = with_limits(
        json!({
            "a": servers::counter(), "b": servers::counter(), "c": limited(servers::counter(), 4),
        }),
        json!({"childrenPerServer": 10, "childrenPerNode": 24}),
    );
    let at = "127.0.0.1";
    let _a = sessions(&gateway, "/mcp/a", at, 5);
    let refused = try_at(&gateway, "/mcp/a", at);
    is_refused(&refused, &["you have 5 of its processes", "limits.childrenPerPrincipal", at]);
    let _b = sessions(&gateway, "/mcp/b", at, 1);
    let refused = try_at(&gateway, "/mcp/c", at);
    is_refused(&refused, &["you have 6 processes", "limits.childrenPerPrincipal", at]);
    for path in ["/mcp/a", "/mcp/b", "/mcp/c"] {
        begins(&gateway, path, OTHER);
    }
}

#[test]
fn an_operator_can_let_one_address_have_all() {
    let gateway = with_limits(
        json!({"a": servers::counter()}),
        json!({"childrenPerServer": 8, "childrenPerNode": 8, "childrenPerPrincipal": 8}),
    );
    let _all = sessions(&gateway, "/mcp/a", "127.0.0.1", 8);
    begins(&gateway, "/mcp/a", OTHER);
}

#[test]
fn starts_of_one_client_do_not_take_all_turns() {
    let slow = json!({"command": "sh", "args": ["-c", "sleep 2; exec mooring-example-counter"]});
    let gateway = with_limits(
        json!({"slow": slow, "counter": servers::counter()}),
        json!({"simultaneousStarts": 1}),
    );
    gateway.wait_until_discovered(&["slow", "counter"]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| gateway.client("/mcp/slow").try_initialize());
        }
        mooring_tests::eventually("they have begun", || {
            let text = gateway.get("/metrics").expect(200).text();
            text.contains("mooring_server_processes{server=\"slow\"} 4\n").then_some(())
        });
        let began = std::time::Instant::now();
        begins(&gateway, "/mcp/counter", OTHER);
        let waited = began.elapsed();
        assert!(waited < std::time::Duration::from_secs(5), "one turn at most: {waited:?}");
    });
}
