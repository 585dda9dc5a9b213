//! How many processes run, and when they end.

use std::path::Path;

use mooring_tests::{
    Cluster, Connection, Gateway, OverSse, Request, Response, eventually, process, servers,
    settings,
};
use rustix::process::Signal;
use serde_json::{Value, json};

pub fn with_limits(servers: Value, limits: Value) -> Gateway {
    let limits = json!({"systemConfig": {"limits": limits}});
    Gateway::start_with(&settings::merged(settings::standalone(servers), limits))
}

pub fn with(mut server: Value, more: Value) -> Value {
    server = settings::merged(server, more);
    json!({"odd": server})
}

/// A server whose program is a script that the test can change.
pub fn scripted(script: &Path) -> Value {
    json!({"command": "sh", "args": [script]})
}

/// A value of `/metrics` for one server.
pub fn metric(gateway: &Gateway, name: &str, server: &str) -> u64 {
    let text = gateway.get("/metrics").expect(200).text();
    let start = format!("mooring_{name}{{server=\"{server}\"}} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&start)?.parse().ok());
    value.unwrap_or_else(|| panic!("no {start}in {text}"))
}

#[track_caller]
fn wait_for_metric(gateway: &Gateway, name: &str, server: &str, value: u64) {
    eventually(&format!("{name} of {server} is {value}"), || {
        (metric(gateway, name, server) == value).then_some(())
    });
}

#[track_caller]
pub fn is_refused(response: &Response, parts: &[&str]) {
    let says = response.error_message();
    for part in parts {
        assert!(says.contains(part), "{part:?} is not in {says:?}");
    }
    let after: u64 = response.header("retry-after").expect("Retry-After").parse().unwrap();
    assert!((1..=60).contains(&after), "{after}");
}

#[track_caller]
pub fn wait_until_gone(pid: u32) {
    eventually(&format!("{pid} is gone"), || (!process::runs(pid)).then_some(()));
}

/// The ids of the gateway's processes that run a program.
fn running(gateway: &Gateway, program: &str) -> Vec<u32> {
    let all = process::descendants(gateway.pid());
    all.into_iter().filter(|pid| process::command_line(*pid).contains(program)).collect()
}

/// The only process of a program, once there is only one.
#[track_caller]
fn the_only(gateway: &Gateway, program: &str) -> u32 {
    eventually("there is one process", || match running(gateway, program)[..] {
        [only] => Some(only),
        _ => None,
    })
}

/// Waits until every server has been discovered and the processes for that are gone.
fn wait_until_quiet(gateway: &Gateway) {
    eventually("discovery is over", || {
        let health = gateway.get("/health").json();
        let servers = health["servers"].as_array()?;
        servers.iter().all(|server| server["discovered"] == true).then_some(())
    });
    eventually("its processes are gone", || {
        running(gateway, "mooring-example").is_empty().then_some(())
    });
}

// Caps

#[test]
fn a_full_server_refuses_by_the_limits_name_until_a_session_ends() {
    let gateway = with_limits(
        json!({
            "counter": servers::counter(),
            "few": settings::merged(servers::counter(), json!({"maxInstances": 1})),
        }),
        json!({"childrenPerServer": 2}),
    );
    for (path, most, limit) in
        [("/mcp/counter", 2, "limits.childrenPerServer"), ("/mcp/few", 1, "maxInstances")]
    {
        let sessions: Vec<_> = (0..most).map(|_| gateway.client(path).initialize()).collect();
        let refused = gateway.client(path).try_initialize();
        is_refused(&refused, &[limit, &format!("all {most} of its processes")]);
        assert_eq!(refused.header("mcp-session-id"), None);
        sessions[0].delete().expect(200);
        let next = gateway.client(path).initialize();
        assert_eq!(next.count("count"), 1);
    }
}

#[test]
fn a_full_node_refuses_calls_of_other_servers_and_keeps_the_session() {
    let gateway = with_limits(
        json!({"counter": servers::counter(), "notes": servers::notes()}),
        json!({"childrenPerNode": 1}),
    );
    let single = gateway.client("/mcp/notes").initialize();
    let session = gateway.client("/mcp").initialize();
    assert!(session.tools().contains(&"counter-count".to_owned()), "discovery is not counted");
    let call = json!({"name": "counter-count", "arguments": {}});
    let refused = session.try_request("tools/call", call).expect(200);
    is_refused(&refused, &["counter", "limits.childrenPerNode"]);
    single.delete().expect(200);
    assert_eq!(session.count("counter-count"), 1);
}

#[test]
fn a_full_node_is_passed_over_and_only_a_full_cluster_refuses() {
    let mut cluster = Cluster {
        coordinator: Gateway::start_with(&settings::coordinator(json!({}))),
        nodes: Vec::new(),
    };
    for id in ["a", "b"] {
        let one = settings::merged(servers::counter_named(id), json!({"maxInstances": 1}));
        cluster.add(id, json!({"counter": one}));
    }
    cluster.wait_for_active(2);
    let sessions = [(); 2].map(|()| cluster.client("/mcp/counter").initialize());
    let mut names = sessions.each_ref().map(|session| session.whoami("whoami").name);
    names.sort();
    assert_eq!(names, ["a", "b"]);
    is_refused(&cluster.client("/mcp/counter").try_initialize(), &["counter", "maxInstances"]);
    sessions[0].delete().expect(200);
    assert_eq!(cluster.client("/mcp/counter").initialize().count("count"), 1);
}

#[test]
fn a_principal_has_so_many_sessions_and_then_429() {
    let gateway =
        with_limits(json!({"counter": servers::counter()}), json!({"sessionsPerPrincipal": 2}));
    let single = gateway.client("/mcp/counter").initialize();
    let over_sse = OverSse::initialize(gateway.address(), "/sse");
    for path in ["/mcp", "/mcp/counter"] {
        let refused = gateway.client(path).try_initialize().expect(429);
        is_refused(&refused, &["2 sessions", "limits.sessionsPerPrincipal"]);
    }
    let stream = Request::get("/sse").header("Accept", "text/event-stream");
    is_refused(&stream.send(gateway.address()).expect(429), &["limits.sessionsPerPrincipal"]);
    assert_eq!(single.count("count"), 1);
    single.delete().expect(200);
    let again = gateway.client("/mcp").initialize();
    drop(over_sse);
    eventually("the closed stream's session is gone", || {
        (gateway.client("/mcp").try_initialize().status == 200).then_some(())
    });
    assert_eq!(again.count("counter-count"), 1);
}

#[test]
fn a_session_that_could_not_begin_does_not_count() {
    let gateway = with_limits(
        json!({"odd": servers::missing(), "counter": servers::counter()}),
        json!({"sessionsPerPrincipal": 1}),
    );
    for _ in 0..3 {
        let refused = gateway.client("/mcp/odd").try_initialize();
        assert!(refused.error_message().contains("mooring-no-such-program"));
    }
    gateway.client("/mcp/counter").initialize().count("count");
}

#[test]
fn many_sessions_at_the_same_time_all_open_two_by_two() {
    const SESSIONS: usize = 12;
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("server.sh");
    let slow = "say() { echo \"$1 $(date +%s%N)\" >>\"$0.turns\"; }
        say 1; sleep 0.1; say -1; exec mooring-example-counter";
    std::fs::write(&script, slow).unwrap();
    let gateway = with_limits(json!({"odd": scripted(&script)}), json!({"simultaneousStarts": 2}));
    let sessions: Vec<_> = std::thread::scope(|scope| {
        let opening = (0..SESSIONS).map(|_| {
            scope.spawn(|| {
                let session = gateway.client("/mcp/odd").initialize();
                assert_eq!(session.count("count"), 1);
                session
            })
        });
        let opening: Vec<_> = opening.collect();
        opening.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(metric(&gateway, "server_processes", "odd"), SESSIONS as u64);
    drop(sessions);
    // Each line has the time at which a start began or ended.
    let turns = std::fs::read_to_string(script.with_extension("sh.turns")).unwrap();
    let mut turns: Vec<(u64, i32)> = turns
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(change, at)| (at.parse().unwrap(), change.parse().unwrap()))
        .collect();
    turns.sort_unstable();
    assert!(turns.len() >= 2 * SESSIONS, "{turns:?}");
    let at_once = turns.iter().scan(0, |now, (_, change)| {
        *now += change;
        Some(*now)
    });
    assert_eq!(at_once.max(), Some(2), "{turns:?}");
}

#[test]
fn a_client_that_leaves_while_its_server_starts_leaves_nothing_behind() {
    let slow = json!({"command": "sh", "args": ["-c", "sleep 1; exec mooring-example-counter"]});
    let gateway = with_limits(
        json!({"odd": settings::merged(slow, json!({"maxInstances": 1}))}),
        json!({"sessionsPerPrincipal": 1}),
    );
    wait_until_quiet(&gateway);
    let mut connection = Connection::open(gateway.address());
    let body = json!({
        "jsonrpc": "2.0", "id": 0, "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {},
                   "clientInfo": {"name": "mooring-tests", "version": "1"}},
    })
    .to_string();
    connection.send_raw(
        format!(
            "POST /mcp/odd HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .as_bytes(),
    );
    wait_for_metric(&gateway, "server_processes", "odd", 1);
    drop(connection);
    wait_for_metric(&gateway, "server_processes", "odd", 0);
    gateway.client("/mcp/odd").initialize().count("count");
}

// Ends

#[test]
fn an_idle_server_is_stopped_although_its_client_listens_and_goes_on_with_the_next_call() {
    let server = with(servers::counter(), json!({"idleTimeoutMs": 400}));
    let gateway = Gateway::start_with(&settings::standalone(server));
    for (path, count, whoami) in
        [("/mcp/odd", "count", "whoami"), ("/mcp", "odd-count", "odd-whoami")]
    {
        let session = gateway.client(path).initialize();
        let mut stream = session.listen();
        assert_eq!(session.count(count), 1);
        wait_until_gone(session.whoami(whoami).pid);
        assert_eq!(session.count(count), 1, "a new process counts anew");
        let lost = std::iter::from_fn(|| stream.next_event())
            .map(|event| event.json())
            .find(|message| message["method"] == "notifications/message");
        let lost = lost.expect("a notice on the same stream");
        assert!(lost["params"]["data"].to_string().contains("server odd"), "{lost}");
        session.delete().expect(200);
    }
    assert_eq!(metric(&gateway, "server_failures", "odd"), 0);
}

#[test]
fn an_old_server_is_replaced_between_calls_and_never_during_one() {
    let server = with(servers::clock(), json!({"maxLifetimeMs": 600}));
    let gateway = Gateway::start_with(&settings::standalone(server));
    wait_until_quiet(&gateway);
    let session = gateway.client("/mcp/odd").initialize();
    let old = the_only(&gateway, "mooring-example-clock");
    let slept = session.call("sleep", json!({"ms": 1500}));
    assert_eq!(slept["structuredContent"]["ms"], 1500);
    wait_until_gone(old);
    session.call("now", json!({}));
    assert!(metric(&gateway, "server_recycled_total", "odd") >= 1);
    assert_eq!(metric(&gateway, "server_failures", "odd"), 0);
    gateway.wait_for_log("maxLifetimeMs");
}

#[test]
fn a_server_that_has_grown_is_replaced_between_calls() {
    let server = with(servers::notes(), json!({"maxMemory": 30_000_000}));
    let gateway = Gateway::start_with(&settings::standalone(server));
    wait_until_quiet(&gateway);
    let session = gateway.client("/mcp/odd").initialize();
    let old = the_only(&gateway, "mooring-example-notes");
    // Not up to twice the limit, where a process is ended even during a call.
    while process::memory(old).is_some_and(|bytes| bytes < 34_000_000) {
        session.call("add_note", json!({"text": "x".repeat(500_000)}));
    }
    wait_until_gone(old);
    session.call("add_note", json!({"text": "kept"}));
    assert!(metric(&gateway, "server_recycled_total", "odd") >= 1);
    gateway.wait_for_log("maxMemory");
}

#[test]
fn what_a_server_has_started_counts_and_far_too_much_ends_it_during_a_call() {
    let greedy = json!({
        "command": "sh",
        "args": ["-c", "(head -c 90000000 /dev/zero; sleep 1000) | tail >/dev/null & exec mooring-example-clock"],
        "maxMemory": 40_000_000,
    });
    let gateway = Gateway::start_with(&settings::standalone(json!({"greedy": greedy})));
    let session = gateway.client("/mcp/greedy").initialize();
    let params = json!({"name": "sleep", "arguments": {"ms": 600_000}});
    let says = session.answer("tools/call", params)["error"]["message"].to_string();
    assert!(says.contains("greedy") && says.contains("may have run"), "{says}");
    gateway.wait_for_log("maxMemory");
}

// Spares

#[test]
fn spares_are_there_before_the_first_session_are_used_and_filled_up_again() {
    let server = with(servers::counter(), json!({"warm": 2}));
    let mut gateway = Gateway::start_with(&settings::standalone(server));
    let spares = eventually("two spares, and discovery is over", || {
        let there = running(&gateway, "mooring-example-counter");
        (there.len() == 2 && metric(&gateway, "server_spares", "odd") == 2).then_some(there)
    });
    let sessions = [(); 2].map(|()| gateway.client("/mcp/odd").initialize());
    let mut used = sessions.each_ref().map(|session| session.whoami("whoami").pid);
    used.sort_unstable();
    assert!(used.iter().any(|pid| spares.contains(pid)), "{used:?} {spares:?}");
    wait_for_metric(&gateway, "server_spares", "odd", 2);
    assert_eq!(metric(&gateway, "server_processes", "odd"), 2);
    let killed = running(&gateway, "mooring-example-counter");
    let killed = killed.into_iter().find(|pid| !used.contains(pid)).unwrap();
    process::signal(killed, Signal::KILL);
    wait_until_gone(killed);
    eventually("another takes its place", || {
        let there = running(&gateway, "mooring-example-counter");
        (there.len() == 4 && metric(&gateway, "server_spares", "odd") == 2).then_some(())
    });
    let all = process::descendants(gateway.pid());
    assert!(gateway.terminate().success());
    eventually("all are gone", || process::survivors(&all).is_empty().then_some(()));
}

#[test]
fn spares_leave_their_room_to_sessions() {
    let server = json!({"odd": settings::merged(servers::counter(), json!({"warm": 2}))});
    let gateway = with_limits(server, json!({"childrenPerNode": 2}));
    wait_for_metric(&gateway, "server_spares", "odd", 2);
    let sessions = [(); 2].map(|()| gateway.client("/mcp/odd").initialize());
    wait_for_metric(&gateway, "server_spares", "odd", 0);
    is_refused(&gateway.client("/mcp/odd").try_initialize(), &["limits.childrenPerNode"]);
    for session in sessions {
        session.delete().expect(200);
    }
    wait_for_metric(&gateway, "server_spares", "odd", 2);
}

// Failures
