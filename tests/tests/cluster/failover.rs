//! A node is killed: new sessions never fail, and existing ones continue on another node.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mooring_tests::{Cluster, eventually, servers};
use serde_json::json;

/// Far below the default nodeTimeout of 15 s, for which no client may have to wait.
const AT_ONCE: Duration = Duration::from_secs(5);

#[test]
fn existing_sessions_go_on_at_once_when_their_node_is_killed() {
    for path in ["/mcp/counter", "/mcp"] {
        let prefix = if path == "/mcp" { "counter-" } else { "" };
        let mut cluster = Cluster::of_two_equal_nodes(json!({}));
        let sessions: Vec<_> = (0..16).map(|_| cluster.client(path).initialize()).collect();
        let (count, whoami) = (format!("{prefix}count"), format!("{prefix}whoami"));
        let before: Vec<_> = sessions
            .iter()
            .map(|session| {
                session.count(&count);
                session.whoami(&whoami)
            })
            .collect();
        assert!(before.iter().any(|who| who.name == "a"));
        cluster.nodes[0].kill9();
        for (session, who) in sessions.iter().zip(&before) {
            let start = Instant::now();
            let expected = if who.name == "a" { 1 } else { 2 };
            assert_eq!(session.count(&count), expected);
            assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
            assert_eq!(session.whoami(&whoami).name, "b");
        }
    }
}

#[test]
fn new_sessions_never_fail_while_a_node_is_killed() {
    let mut cluster = Cluster::of_two_equal_nodes(json!({}));
    let (stop, begun) = (AtomicBool::new(false), AtomicUsize::new(0));
    let client = cluster.client("/mcp/counter");
    let victim = cluster.nodes.remove(0);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let start = Instant::now();
                        let response = client.try_initialize();
                        assert_eq!(response.status, 200, "{}", response.text());
                        assert!(response.json()["result"].is_object(), "{}", response.text());
                        assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
                        begun.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let wait_for_more = |more: usize| {
            let target = begun.load(Ordering::Relaxed) + more;
            eventually("more sessions begin", || {
                let failed = threads.iter().any(std::thread::ScopedJoinHandle::is_finished);
                (failed || begun.load(Ordering::Relaxed) >= target).then_some(())
            });
        };
        wait_for_more(24);
        let mut victim = victim;
        victim.kill9();
        // The other node has room for a hundred.
        wait_for_more(40);
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_call_that_may_have_run_is_not_repeated_and_its_session_lives_on() {
    let mut cluster = Cluster::of_two_equal_nodes(json!({}));
    for id in ["c", "d"] {
        cluster.add(id, json!({"clock": servers::clock()}));
    }
    cluster.wait_for_active(4);
    let session = cluster.client("/mcp/clock").initialize();
    let affinity = cluster.coordinator.data(&format!("/api/cluster/sessions/{}", session.id));
    let index = if affinity["nodeId"] == "c" { 2 } else { 3 };
    let node = cluster.nodes.remove(index);
    let answer = std::thread::scope(|scope| {
        let call = scope.spawn(|| {
            session.answer("tools/call", json!({"name": "sleep", "arguments": {"ms": 600_000}}))
        });
        eventually("the call is under way", || {
            let now = session.call("now", json!({}));
            (now["structuredContent"]["waiting"] == 1).then_some(())
        });
        let mut node = node;
        node.kill9();
        call.join().unwrap()
    });
    let says = answer["error"]["message"].as_str().unwrap();
    assert!(says.contains("clock") && says.contains("may have run"), "{says}");
    session.call("now", json!({}));
}

#[test]
fn a_failover_is_logged_with_session_node_and_reason() {
    let mut cluster = Cluster::of_two_equal_nodes(json!({}));
    let session = cluster.session_at("a");
    cluster.nodes[0].kill9();
    session.count("count");
    let line = cluster.coordinator.wait_for_log("session affinity");
    assert!(line.contains("node=a") && line.contains("session="), "{line}");
    assert!(!cluster.coordinator.log().contains(&session.id));
}

#[test]
fn a_node_that_ends_by_sigterm_finishes_what_is_under_way() {
    let mut cluster = Cluster::of_two_equal_nodes(json!({}));
    cluster.add("c", json!({"clock": servers::clock()}));
    cluster.wait_for_active(3);
    let session = cluster.client("/mcp/clock").initialize();
    let mut node = cluster.nodes.remove(2);
    std::thread::scope(|scope| {
        let call = scope.spawn(|| session.call("sleep", json!({"ms": 1500})));
        eventually("the call is under way", || {
            let now = session.call("now", json!({}));
            (now["structuredContent"]["waiting"] == 1).then_some(())
        });
        assert!(node.terminate().success());
        assert_eq!(call.join().unwrap()["structuredContent"]["ms"], 1500);
    });
}

#[test]
fn a_node_that_comes_back_gets_new_sessions_again() {
    let mut cluster = Cluster::of_two_equal_nodes(json!({}));
    cluster.nodes[0].kill9();
    for _ in 0..8 {
        assert_eq!(cluster.client("/mcp/counter").initialize().whoami("whoami").name, "b");
    }
    cluster.nodes[0].start();
    eventually("new sessions reach it", || {
        let session = cluster.client("/mcp/counter").initialize();
        (session.whoami("whoami").name == "a").then_some(())
    });
}
