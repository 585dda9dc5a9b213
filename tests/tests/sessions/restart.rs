//! The coordinator restarts: no session moves, and no node restarts.

use std::time::{Duration, Instant};

use mooring_tests::{Cluster, Gateway, servers, settings};
use rustix::process::Signal;
use serde_json::json;

#[test]
fn a_restart_of_the_coordinator_moves_no_session() {
    for signal in [Signal::KILL, Signal::TERM] {
        let mut cluster = Cluster::of_two_equal_nodes(json!({}));
        let single: Vec<_> = (0..12).map(|_| cluster.client("/mcp/counter").initialize()).collect();
        let whole: Vec<_> = (0..6).map(|_| cluster.client("/mcp").initialize()).collect();
        let where_are_they = || -> Vec<_> {
            let single = single.iter().map(|session| session.whoami("whoami"));
            single.chain(whole.iter().map(|session| session.whoami("counter-whoami"))).collect()
        };
        let before = where_are_they();
        single.iter().for_each(|session| assert_eq!(session.count("count"), 1));
        whole.iter().for_each(|session| assert_eq!(session.count("counter-count"), 1));
        let nodes: Vec<_> = cluster.nodes.iter().map(|node| node.pid()).collect();
        cluster.coordinator.restart_after(signal);
        let start = Instant::now();
        assert_eq!(where_are_they(), before);
        // A heartbeat interval of 300 ms, a second, and slack for a busy machine.
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        single.iter().for_each(|session| assert_eq!(session.count("count"), 2));
        whole.iter().for_each(|session| assert_eq!(session.count("counter-count"), 2));
        assert_eq!(nodes, cluster.nodes.iter().map(|node| node.pid()).collect::<Vec<_>>());
    }
}

#[test]
fn a_session_stays_although_the_coordinator_has_forgotten_its_nodes() {
    let mut cluster =
        Cluster::of_two_equal_nodes(json!({"secret": "0123456789abcdef0123456789abcdef"}));
    let sessions: Vec<_> = (0..8).map(|_| cluster.client("/mcp/counter").initialize()).collect();
    let before: Vec<_> = sessions.iter().map(|session| session.whoami("whoami")).collect();
    cluster.coordinator.kill9();
    std::fs::remove_dir_all(cluster.coordinator.data_folder()).unwrap();
    cluster.coordinator.start();
    let after: Vec<_> = sessions.iter().map(|session| session.whoami("whoami")).collect();
    assert_eq!(after, before);
}

#[test]
fn a_deleted_session_stays_deleted_over_a_restart_of_the_coordinator() {
    let mut cluster = Cluster::of_two_equal_nodes(json!({}));
    let session = cluster.client("/mcp/counter").initialize();
    session.count("count");
    session.delete().expect(200);
    cluster.coordinator.restart_after(Signal::KILL);
    cluster.wait_for_active(2);
    session.try_request("ping", json!({})).expect(404);
}

#[test]
fn a_session_goes_on_after_a_restart_of_its_node() {
    let mut cluster = Cluster::of_two_equal_nodes(json!({}));
    let sessions: Vec<_> = (0..8).map(|_| cluster.client("/mcp/counter").initialize()).collect();
    for session in &sessions {
        session.count("count");
    }
    for index in [0, 1] {
        for signal in [Signal::KILL, Signal::TERM] {
            cluster.nodes[index].restart_after(signal);
            cluster.wait_for_active(2);
            for session in &sessions {
                session.count("count");
            }
        }
    }
}

#[test]
fn the_affinity_of_a_session_is_known_again_after_a_restart() {
    let mut cluster = Cluster::of_two_equal_nodes(json!({}));
    let session = cluster.client("/mcp/counter").initialize();
    let node = session.whoami("whoami").name;
    cluster.coordinator.restart_after(Signal::KILL);
    cluster.wait_for_active(2);
    let affinity = cluster.coordinator.data(&format!("/api/cluster/sessions/{}", session.id));
    assert_eq!(affinity["nodeId"], *node);
}

#[test]
fn a_dead_node_holds_up_no_session_of_another_after_a_restart_of_the_coordinator() {
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    for id in ["a", "b"] {
        // An older session waits for its node for this interval and a second.
        let node = json!({"id": id, "heartbeatInterval": 60_000});
        let servers = json!({"counter": servers::counter_named(id)});
        let settings = settings::node(cluster.coordinator.port(), node, servers);
        cluster.nodes.push(Gateway::start_with(&settings));
    }
    cluster.wait_for_active(2);
    let of_a = [cluster.session_at("a"), cluster.session_at("a")];
    for session in &of_a {
        assert_eq!(session.count("count"), 1);
    }
    cluster.coordinator.kill9();
    cluster.nodes[1].kill9();
    cluster.coordinator.start();
    let begun = Instant::now();
    for session in of_a {
        assert_eq!(session.count("count"), 2);
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}
