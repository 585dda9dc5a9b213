//! Planned work on a node takes no state of servers that save it: what has changed is saved before a
//! session leaves, and its client is told that the move was planned.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mooring_tests::{Cluster, Gateway, OddServer, Session, Way, eventually, servers, settings};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::kept_texts::{Kept, by_tools, keeper, notice, play, wait_until_saved, with_state};

/// Longer than any test waits.
const NEVER: u64 = 3_600_000;

/// Two nodes with these servers and this `drainDeadline`; the header names the node of a session.
fn cluster(servers: &Value, deadline: u64) -> Cluster {
    let by_header = json!({"stickySession": {"enabled": true, "strategy": "header"}});
    let coordinator = Gateway::start_with(&settings::coordinator(by_header));
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    for id in ["a", "b"] {
        let node = settings::node(cluster.coordinator.port(), json!({"id": id}), servers.clone());
        let deadline = json!({"systemConfig": {"cluster": {"drainDeadline": deadline}}});
        let node = settings::roomy(settings::merged(node, deadline));
        cluster.nodes.push(Gateway::start_with(&node));
    }
    cluster.wait_for_active(2);
    cluster
}

fn keepers(server: &OddServer) -> Value {
    json!({"odd": with_state(server.entry(), by_tools(NEVER))})
}

fn at_a(cluster: &Cluster, path: &str) -> Session {
    cluster.client(path).header("X-MCPHub-Node", "a").initialize()
}

fn push(session: &Session, prefix: &str, text: &str) {
    session.call(&format!("{prefix}push"), json!({"text": text}));
}

fn texts(session: &Session, prefix: &str) -> Value {
    session.call(&format!("{prefix}all"), json!({}))["structuredContent"]["texts"].clone()
}

fn drain(cluster: &Cluster, body: &str) {
    let request = mooring_tests::Request::post("/api/cluster/nodes/a/drain");
    let request = request.header("Content-Type", "application/json");
    request.body(body.as_bytes().to_vec()).send(cluster.coordinator.address()).expect(200);
    eventually("it is drained", || {
        let entry = cluster.node("a")?;
        (entry["drain"]["drained"] == true).then_some(())
    });
}

#[test]
fn what_waits_for_its_time_is_saved_before_a_drain_lets_the_session_go() {
    for way in Way::ALL {
        for (path, prefix) in [("/mcp/odd", ""), ("/mcp", "odd-")] {
            let server = keeper(way, Kept::default());
            let cluster = cluster(&keepers(&server), 60_000);
            let session = at_a(&cluster, path);
            push(&session, prefix, "a");
            wait_until_saved(&cluster.coordinator, 1);
            for text in ["b", "c"] {
                push(&session, prefix, text);
            }
            let mut stream = session.listen();
            drain(&cluster, r#"{"deadlineMs": 0}"#);
            let name = way.name();
            assert_eq!(texts(&session, prefix), json!(["a", "b", "c"]), "{name} {path}");
            let (level, text) = notice(&mut stream);
            assert_eq!(level, "info", "{name} {path}: {text}");
            let moved = "server odd has moved from node a, which was drained: what it had saved at";
            assert!(text.starts_with(moved), "{name} {path}: {text}");
        }
    }
}

#[test]
fn a_node_with_sigterm_ends_after_the_last_state_is_saved() {
    let server = keeper(Way::Stdio, Kept::default());
    let mut cluster = cluster(&keepers(&server), 2_000);
    let session = at_a(&cluster, "/mcp/odd");
    push(&session, "", "a");
    wait_until_saved(&cluster.coordinator, 1);
    push(&session, "", "b");
    assert!(cluster.nodes[0].terminate().success());
    // Nobody listened: the notice waits.
    assert_eq!(texts(&session, ""), json!(["a", "b"]));
    let (level, text) = notice(&mut session.listen());
    assert!(level == "info" && text.contains("has moved from node a"), "{level} {text}");
}

#[test]
fn a_gateway_that_hands_its_sockets_over_saves_before() {
    let server = keeper(Way::Stdio, Kept::default());
    let mut gateway = Gateway::start_with(&settings::standalone(keepers(&server)));
    let session = gateway.client("/mcp/odd").initialize();
    push(&session, "", "a");
    wait_until_saved(&gateway, 1);
    push(&session, "", "b");
    let mut before = gateway.hand_over();
    eventually("the process of before ends", || before.try_wait().unwrap());
    assert_eq!(texts(&session, ""), json!(["a", "b"]));
    let (level, text) = notice(&mut session.listen());
    assert_eq!(level, "info", "{text}");
}

/// Whether the process takes connections at the port.
fn takes_connections(pid: u32, port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!(":{port:04X}");
    let listening = table.lines().filter_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        (columns[1].ends_with(&local) && columns[3] == "0A").then(|| columns[9].to_owned())
    });
    let listening: Vec<String> = listening.map(|inode| format!("socket:[{inode}]")).collect();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    open.filter_map(|file| std::fs::read_link(file.path()).ok())
        .any(|link| listening.iter().any(|socket| link.as_os_str() == socket.as_str()))
}

#[test]
fn a_call_that_outlives_its_process_takes_nothing_from_the_state_that_the_next_one_keeps() {
    let (kept, is_asked, may_end) =
        (Kept::default(), Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let (asked, end) = (Arc::clone(&is_asked), Arc::clone(&may_end));
    let server = OddServer::start(Way::Stdio, move |session, message, say| {
        if message["params"]["arguments"]["text"] == "late" {
            asked.store(true, Ordering::Release);
            eventually("the call may end", || end.load(Ordering::Acquire).then_some(()));
        }
        play(&kept, session, message, say);
    });
    let servers = json!({"odd": with_state(server.entry(), json!({"replay": ["push"]}))});
    let deadline = json!({"systemConfig": {"cluster": {"drainDeadline": 4_000}}});
    let settings = settings::merged(settings::standalone(servers), deadline);
    let mut gateway = Gateway::start_with(&settings);
    let session = gateway.client("/mcp/odd").initialize();
    push(&session, "", "a");
    std::thread::scope(|scope| {
        let late = scope.spawn(|| push(&session, "", "late"));
        eventually("the call is under way", || is_asked.load(Ordering::Acquire).then_some(()));
        let mut before = gateway.hand_over();
        eventually("the process of before takes no connections", || {
            (!takes_connections(before.id(), gateway.port())).then_some(())
        });
        push(&session, "", "b");
        assert_eq!(texts(&session, ""), json!(["a", "b"]));
        may_end.store(true, Ordering::Release);
        late.join().unwrap();
        eventually("the process of before ends", || before.try_wait().unwrap());
    });
    gateway.restart_after(Signal::KILL);
    assert_eq!(texts(&session, ""), json!(["a", "b", "late"]));
}

#[test]
fn a_session_in_use_leaves_between_two_calls_with_all_that_it_has_set() {
    let server = keeper(Way::Stdio, Kept::default());
    let mut cluster = cluster(&keepers(&server), 6_000);
    let session = at_a(&cluster, "/mcp/odd");
    push(&session, "", "0");
    let is_over = AtomicBool::new(false);
    let pushed = std::thread::scope(|scope| {
        let pushing = scope.spawn(|| {
            let mut count = 1;
            while !is_over.load(Ordering::Acquire) {
                push(&session, "", &count.to_string());
                count += 1;
            }
            count
        });
        let ended = cluster.nodes[0].terminate();
        is_over.store(true, Ordering::Release);
        assert!(ended.success());
        pushing.join().expect("no call fails")
    });
    let expected: Vec<String> = (0..pushed).map(|number| number.to_string()).collect();
    assert_eq!(texts(&session, ""), json!(expected));
    let (level, text) = notice(&mut session.listen());
    assert!(level == "info" && text.contains("has moved from node a"), "{level} {text}");
}

#[test]
fn without_state_a_planned_move_is_told_as_such_and_a_crash_is_not() {
    let servers = json!({"counter": servers::counter()});
    let mut cluster = cluster(&servers, 60_000);
    let session = at_a(&cluster, "/mcp/counter");
    let mut stream = session.listen();
    assert_eq!(session.count("count"), 1);
    drain(&cluster, r#"{"deadlineMs": 0}"#);
    assert_eq!(session.count("count"), 1);
    let (level, text) = notice(&mut stream);
    let lost = "what it held for this session is lost";
    assert_eq!(level, "warning");
    assert_eq!(text, format!("server counter has moved from node a, which was drained: {lost}"));
    cluster.add("c", servers);
    cluster.wait_for_active(3);
    cluster.nodes[1].kill9();
    assert_eq!(session.count("count"), 1);
    let (_, text) = notice(&mut stream);
    assert_eq!(text, format!("server counter was started again: {lost}"));
}

/// The same server with another setting that its process or its session is made with.
fn changed(mut entry: Value) -> Value {
    let kind = if entry.get("command").is_some() { "env" } else { "headers" };
    entry[kind]["X_CHANGED"] = json!("yes");
    entry
}

#[test]
fn what_waits_for_its_time_is_saved_before_a_reload_replaces_the_server() {
    for way in Way::ALL {
        for (path, prefix) in [("/mcp/odd", ""), ("/mcp", "odd-")] {
            let server = keeper(way, Kept::default());
            let with =
                |entry| settings::standalone(json!({"odd": with_state(entry, by_tools(NEVER))}));
            let gateway = Gateway::start_with(&with(server.entry()));
            let session = gateway.client(path).initialize();
            push(&session, prefix, "a");
            wait_until_saved(&gateway, 1);
            for text in ["b", "c"] {
                push(&session, prefix, text);
            }
            let report = gateway.apply(&with(changed(server.entry())));
            assert_eq!(report["changed"], json!(["odd"]));
            wait_until_saved(&gateway, 2);
            let name = way.name();
            assert_eq!(texts(&session, prefix), json!(["a", "b", "c"]), "{name} {path}");
            push(&session, prefix, "d");
            assert_eq!(texts(&session, prefix), json!(["a", "b", "c", "d"]), "{name} {path}");
        }
    }
}
