//! New sessions go to nodes with room; existing ones stay where they are.

use mooring_tests::{
    Cluster, Gateway, PlayedCoordinator, PlayedNode, Session, Setup, eventually, process, servers,
    settings,
};
use serde_json::{Value, json};

/// Adds a node with room for this many processes.
fn add_with_slots(cluster: &mut Cluster, id: &str, slots: u32) {
    add(cluster, id, json!({}), json!({"limits": {"childrenPerNode": slots}}));
}

fn add(cluster: &mut Cluster, id: &str, node: Value, system: Value) {
    let servers = json!({"counter": servers::counter_named(id)});
    let node = settings::merged(json!({"id": id, "heartbeatInterval": 60_000}), node);
    let settings = settings::node(cluster.coordinator.port(), node, servers);
    let settings = settings::merged(settings, json!({"systemConfig": system}));
    cluster.nodes.push(Gateway::start_with(&settings));
}

fn empty_cluster(strategy: &str) -> Cluster {
    // Heartbeats are so rare that nodes send one only when their load changes.
    let cluster = json!({
        "coordinator": {"nodeTimeout": 600_000},
        "stickySession": {"strategy": strategy},
    });
    Cluster { coordinator: Gateway::start_with(&settings::coordinator(cluster)), nodes: Vec::new() }
}

fn wait_for_room(cluster: &Cluster, id: &str, room: &str) -> Value {
    eventually(&format!("{id} is {room}"), || cluster.node(id).filter(|node| node["room"] == *room))
}

/// A new session and its node.
fn place(cluster: &Cluster) -> (Session, String) {
    let session = cluster.client("/mcp/counter").initialize();
    let node = session.whoami("whoami").name;
    (session, node)
}

#[test]
fn a_full_node_gets_no_new_session_while_another_has_room() {
    for strategy in ["consistent-hash", "cookie"] {
        let mut cluster = empty_cluster(strategy);
        add_with_slots(&mut cluster, "a", 1);
        cluster.wait_for_active(1);
        let (first, node) = place(&cluster);
        assert_eq!(node, "a");
        let full = wait_for_room(&cluster, "a", "full");
        assert_eq!((&full["load"]["children"], &full["load"]["slots"]), (&json!(1), &json!(1)));
        assert_eq!(full["load"]["instances"], json!({"counter": 1}));
        add_with_slots(&mut cluster, "b", 100);
        cluster.wait_for_active(2);
        let others: Vec<_> = (0..12).map(|_| place(&cluster)).collect();
        assert!(others.iter().all(|(_, node)| node == "b"), "{strategy}: {others:?}");
        // A client that prefers the full node goes to the other one too.
        let named = cluster.client("/mcp/counter").header("Cookie", "MCPHUB_NODE=a").initialize();
        assert_eq!(named.whoami("whoami").name, "b");
        // The existing session stays at the full node.
        assert_eq!(first.whoami("whoami").name, "a");
        first.delete().expect(200);
        wait_for_room(&cluster, "a", "free");
        let _again = eventually("a is given sessions again", || {
            let (session, node) = place(&cluster);
            (node == "a").then_some(session)
        });
    }
}

#[test]
fn without_a_strategy_a_full_node_is_passed_over_too() {
    let cluster = json!({
        "coordinator": {"nodeTimeout": 600_000},
        "stickySession": {"enabled": false},
    });
    let coordinator = Gateway::start_with(&settings::coordinator(cluster));
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    add_with_slots(&mut cluster, "a", 1);
    add_with_slots(&mut cluster, "b", 100);
    cluster.wait_for_active(2);
    let held: Vec<_> = (0..2).map(|_| place(&cluster)).collect();
    wait_for_room(&cluster, "a", "full");
    let more: Vec<_> = (0..4).map(|_| place(&cluster)).collect();
    assert!(more.iter().all(|(_, node)| node == "b"), "{held:?} {more:?}");
}

#[test]
fn a_node_low_on_memory_gets_no_new_session_while_another_has_room() {
    let mut cluster = empty_cluster("consistent-hash");
    // No machine has this much memory.
    add(&mut cluster, "a", json!({"minFreeMemory": 1_u64 << 52}), json!({}));
    cluster.wait_for_active(1);
    let low = wait_for_room(&cluster, "a", "low-memory");
    assert!(low["load"]["freeMemory"].as_u64().unwrap() > 0, "{low}");
    assert!(low["load"]["cpus"].as_u64().unwrap() > 0, "{low}");
    // It still gets sessions while it is the only node.
    let (alone, node) = place(&cluster);
    assert_eq!(node, "a");
    add(&mut cluster, "b", json!({"minFreeMemory": 0}), json!({}));
    cluster.wait_for_active(2);
    for _ in 0..12 {
        assert_eq!(place(&cluster).1, "b");
    }
    assert_eq!(alone.whoami("whoami").name, "a");
}

#[test]
fn a_coordinators_own_servers_give_way_too() {
    let settings = settings::merged(
        settings::coordinator(json!({"coordinator": {"nodeTimeout": 600_000}})),
        json!({
            "mcpServers": {"counter": servers::counter_named("coordinator")},
            "systemConfig": {"limits": {"childrenPerNode": 1}},
        }),
    );
    let mut cluster = Cluster { coordinator: Gateway::start_with(&settings), nodes: Vec::new() };
    let (_first, node) = place(&cluster);
    assert_eq!(node, "coordinator");
    wait_for_room(&cluster, "coordinator", "full");
    add_with_slots(&mut cluster, "a", 100);
    cluster.wait_for_active(2);
    for _ in 0..8 {
        assert_eq!(place(&cluster).1, "a");
    }
}

/// A node `a` with room for this many processes, behind one of the same id that the test plays: so
/// the test says what the coordinator hears of it.
fn played_node(slots: u32) -> (Gateway, PlayedCoordinator, PlayedNode) {
    let hears = PlayedCoordinator::start();
    let servers = json!({"counter": servers::counter_named("a")});
    let settings = settings::node(hears.port(), json!({"id": "a"}), servers);
    let system = json!({"systemConfig": {"limits": {"childrenPerNode": slots}}});
    let node = Gateway::start_with(&settings::merged(settings, system));
    let played = PlayedNode::before("a", None, hears.registered(&node, None));
    (node, hears, played)
}

#[test]
fn a_node_that_does_not_speak_of_load_is_given_sessions() {
    let cluster = empty_cluster("consistent-hash");
    let (_node, _hears, played) = played_node(100);
    let registration = played.registration(json!({}));
    played.send(&cluster.coordinator, "register", &registration).expect(200);
    cluster.wait_for_active(1);
    // Heartbeats of an earlier version, and of a possible later one.
    for said in
        [json!({}), json!({"load": {}}), json!({"load": {"room": "spacious", "moods": [1]}})]
    {
        played.send(&cluster.coordinator, "heartbeat", &played.heartbeat(said)).expect(200);
        assert_eq!(place(&cluster).1, "a");
    }
}

#[test]
fn a_senseless_bound_of_memory_is_refused_with_its_place() {
    let text = r#"{"systemConfig": {"cluster": {"enabled": true, "mode": "node",
        "node": {"coordinatorUrl": "http://c:3000", "minFreeMemory": "much"}}}}"#;
    let output = Setup::text(text).run(&["check"]);
    assert_eq!(output.status.code(), Some(2));
    let says = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(says.contains("systemConfig.cluster.node.minFreeMemory"), "{says}");
}

#[test]
fn what_a_dead_process_has_held_is_free_again() {
    let mut cluster = empty_cluster("consistent-hash");
    add_with_slots(&mut cluster, "a", 1);
    cluster.wait_for_active(1);
    let (session, _) = place(&cluster);
    wait_for_room(&cluster, "a", "full");
    process::signal(session.whoami("whoami").pid, rustix::process::Signal::KILL);
    wait_for_room(&cluster, "a", "free");
    assert_eq!(session.whoami("whoami").name, "a");
}

#[test]
fn who_has_room_and_refuses_leaves_the_session_to_the_next() {
    let mut cluster = empty_cluster("consistent-hash");
    let broken = settings::node(
        cluster.coordinator.port(),
        json!({"id": "a"}),
        json!({"counter": servers::missing()}),
    );
    cluster.nodes.push(Gateway::start_with(&broken));
    add(&mut cluster, "b", json!({"minFreeMemory": 1_u64 << 52}), json!({}));
    cluster.wait_for_active(2);
    wait_for_room(&cluster, "b", "low-memory");
    for _ in 0..6 {
        assert_eq!(place(&cluster).1, "b");
    }
    cluster.coordinator.wait_for_log("cannot open there");
}

#[test]
fn a_session_that_an_old_report_sends_to_a_full_node_goes_on_to_the_next() {
    let mut cluster = empty_cluster("cookie");
    let (_node, _hears, played) = played_node(1);
    let registration = played.registration(json!({"load": {"room": "free"}}));
    played.send(&cluster.coordinator, "register", &registration).expect(200);
    add_with_slots(&mut cluster, "b", 100);
    cluster.wait_for_active(2);
    let to_a = cluster.client("/mcp/counter").header("Cookie", "MCPHUB_NODE=a");
    let first = to_a.initialize();
    assert_eq!(first.whoami("whoami").name, "a");
    // It is full now, and its coordinator does not hear of it.
    assert_eq!(to_a.initialize().whoami("whoami").name, "b");
    cluster.coordinator.wait_for_log("cannot open there");
    assert_eq!(first.whoami("whoami").name, "a");
}
