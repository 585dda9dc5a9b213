//! Each strategy spreads sessions evenly over equal nodes, and moves none.

use std::collections::{BTreeMap, BTreeSet};

use mooring_tests::{Cluster, Gateway, servers, settings};
use serde_json::json;

const SESSIONS: usize = 1000;
/// Clients that open sessions in parallel.
const CLIENTS: usize = 8;

/// Opens sessions, checks twice at which node each is, and ends it. Returns the sessions of each
/// node.
fn spread(cluster: &Cluster) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    let batches = std::thread::scope(|scope| {
        let one_client = || {
            let run = || {
                let session = cluster.client("/mcp/counter").initialize();
                let first = session.whoami("whoami");
                assert_eq!(session.whoami("whoami"), first, "it has moved");
                session.delete().expect(200);
                first.name
            };
            (0..SESSIONS / CLIENTS).map(|_| run()).collect::<Vec<_>>()
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(one_client)).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    for node in batches.into_iter().flatten() {
        *counts.entry(node).or_insert(0) += 1;
    }
    counts
}

fn assert_even_spread(strategy: &str) {
    let cluster = Cluster::of_two_equal_nodes(json!({"stickySession": {"strategy": strategy}}));
    let fair = SESSIONS * 45 / 100..=SESSIONS * 55 / 100;
    let is_even = |counts: &BTreeMap<String, usize>| {
        counts.len() == 2 && counts.values().all(|count| fair.contains(count))
    };
    // A fair coin fails once in 700 runs; failing twice in a row is not an accident.
    let first = spread(&cluster);
    if !is_even(&first) {
        let second = spread(&cluster);
        assert!(is_even(&second), "{first:?}, then {second:?}");
    }
}

#[test]
fn consistent_hash_has_an_even_spread_and_moves_nothing() {
    assert_even_spread("consistent-hash");
}

#[test]
fn cookie_without_a_jar_has_an_even_spread_and_moves_nothing() {
    assert_even_spread("cookie");
}

#[test]
fn header_without_one_has_an_even_spread_and_moves_nothing() {
    assert_even_spread("header");
}

#[test]
fn sessions_that_live_together_stay_apart_and_in_place() {
    let cluster = Cluster::of_two_equal_nodes(json!({}));
    let sessions: Vec<_> = (0..60).map(|_| cluster.client("/mcp/counter").initialize()).collect();
    let before: Vec<_> = sessions.iter().map(|session| session.whoami("whoami")).collect();
    let processes: BTreeSet<_> = before.iter().map(|who| who.pid).collect();
    assert_eq!(processes.len(), sessions.len(), "a process each");
    for _ in 0..3 {
        let now: Vec<_> = sessions.iter().map(|session| session.whoami("whoami")).collect();
        assert_eq!(now, before);
    }
}

#[test]
fn weights_shift_the_spread() {
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    for (id, weight) in [("a", 3), ("b", 1)] {
        let servers = json!({"counter": servers::counter_named(id)});
        let node = json!({"id": id, "weight": weight});
        let settings = settings::node(cluster.coordinator.port(), node, servers);
        cluster.nodes.push(Gateway::start_with(&settings));
    }
    cluster.wait_for_active(2);
    let on_a = (0..80)
        .filter(|_| {
            let session = cluster.client("/mcp/counter").initialize();
            let name = session.whoami("whoami").name;
            session.delete().expect(200);
            name == "a"
        })
        .count();
    // 60 are expected; 46 or fewer occur once in 10,000 runs.
    assert!((46..=74).contains(&on_a), "{on_a} of 80");
}
