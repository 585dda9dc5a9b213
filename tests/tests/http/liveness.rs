//! Leases: a node's depends on its heartbeats, an affinity's on its use.

use std::time::{Duration, Instant};

use mooring_tests::{Cluster, eventually, process, within};
use rustix::process::Signal;
use serde_json::json;

/// Timers may fire late on a busy machine.
const SLACK: Duration = Duration::from_secs(3);

#[test]
fn a_killed_node_is_unhealthy_a_timeout_after_its_last_heartbeat_and_is_said_so_once() {
    let mut cluster = Cluster::of_two_equal_nodes(json!({"coordinator": {"nodeTimeout": 1500}}));
    cluster.nodes[0].kill9();
    let killed = Instant::now();
    let node = within(Duration::from_millis(2500) + SLACK, "a is unhealthy", || {
        cluster.node("a").filter(|node| node["status"] == "unhealthy")
    });
    // Its last heartbeat was little more than 300 ms old.
    assert!(killed.elapsed() >= Duration::from_millis(1000), "{:?}", killed.elapsed());
    let line = cluster.coordinator.wait_for_log("Marking node a as unhealthy (last heartbeat: ");
    let (_, time) = line.split_once("(last heartbeat: ").unwrap();
    let (time, _) = time.split_once(')').unwrap_or((time, ""));
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z", "{line}");
    assert!(node["lastHeartbeat"].is_u64());
    let active = cluster.active();
    assert_eq!(active.len(), 1);
    assert_eq!(active[0]["id"], "b");
    cluster.nodes[0].start();
    cluster.wait_for_active(2);
    let said = cluster.coordinator.log().matches("Marking node a as unhealthy").count();
    assert_eq!(said, 1);
}

#[test]
fn a_frozen_node_is_unhealthy_and_comes_back_by_itself() {
    let cluster = Cluster::of_two_equal_nodes(json!({"coordinator": {"nodeTimeout": 1500}}));
    let sessions: Vec<_> = (0..8).map(|_| cluster.client("/mcp/counter").initialize()).collect();
    cluster.nodes[0].signal(Signal::STOP);
    eventually("a is unhealthy", || (cluster.node("a")?["status"] == "unhealthy").then_some(()));
    for session in &sessions {
        assert_eq!(session.whoami("whoami").name, "b");
    }
    cluster.nodes[0].signal(Signal::CONT);
    cluster.wait_for_active(2);
    for session in &sessions {
        assert_eq!(session.whoami("whoami").name, "b", "it stays where it is now");
    }
}

#[test]
fn a_session_that_has_moved_never_finds_its_old_process_again() {
    let mut cluster = Cluster::of_two_equal_nodes(json!({"coordinator": {"nodeTimeout": 1500}}));
    let session = cluster.session_at("a");
    assert_eq!((session.count("count"), session.count("count")), (1, 2));
    let old = process::servers(cluster.nodes[0].pid());
    cluster.nodes[0].signal(Signal::STOP);
    eventually("a is unhealthy", || (cluster.node("a")?["status"] == "unhealthy").then_some(()));
    assert_eq!(session.count("count"), 1, "at b");
    cluster.nodes[0].signal(Signal::CONT);
    cluster.wait_for_active(2);
    eventually("the process that was left ends", || {
        process::survivors(&old).is_empty().then_some(())
    });
    assert_eq!(session.count("count"), 2, "still at b");
    cluster.nodes[1].kill9();
    let again = eventually("it is served again", || {
        let call = json!({"name": "count", "arguments": {}});
        session.answer("tools/call", call)["result"]["structuredContent"]["value"].as_i64()
    });
    assert_eq!(again, 1, "at a, in a new process");
}

#[test]
fn a_long_dead_node_is_removed() {
    let coordinator = json!({"nodeTimeout": 400, "cleanupInterval": 200});
    let mut cluster = Cluster::of_two_equal_nodes(json!({"coordinator": coordinator}));
    cluster.nodes[0].kill9();
    let killed = Instant::now();
    eventually("a is forgotten", || cluster.node("a").is_none().then_some(()));
    assert!(killed.elapsed() > Duration::from_millis(3000), "{:?}", killed.elapsed());
    cluster.coordinator.wait_for_log("Removed node a");
    assert!(cluster.node("b").is_some());
    eventually("a start would not wait for it", || {
        let kept = std::fs::read_to_string(cluster.coordinator.data_folder().join("nodes.json"));
        let kept = kept.unwrap();
        (!kept.contains("\"id\": \"a\"") && kept.contains("\"id\": \"b\"")).then_some(())
    });
}

#[test]
fn use_slides_an_affinity_and_idleness_ends_it_but_not_the_session() {
    let coordinator = json!({"stickySessionTimeout": 1500, "cleanupInterval": 100});
    let cluster = Cluster::of_two_equal_nodes(json!({"coordinator": coordinator}));
    let session = cluster.client("/mcp/counter").initialize();
    let path = format!("/api/cluster/sessions/{}", session.id);
    let (start, mut count) = (Instant::now(), 0);
    let created = cluster.coordinator.data(&path)["createdAt"].clone();
    // Used for twice the timeout: each use counts, however fast they follow each other.
    while start.elapsed() < Duration::from_secs(3) {
        count += 1;
        assert_eq!(session.count("count"), count);
        assert_eq!(cluster.coordinator.data(&path)["createdAt"], created);
    }
    let affinity = cluster.coordinator.data(&path);
    let (used, expires) = (affinity["lastAccessed"].as_u64(), affinity["expiresAt"].as_u64());
    assert_eq!(expires.unwrap() - used.unwrap(), 1500);
    eventually("the idle affinity goes", || {
        (cluster.coordinator.get(&path).status == 404).then_some(())
    });
    session.count("count");
    cluster.coordinator.get(&path).expect(200);
}
