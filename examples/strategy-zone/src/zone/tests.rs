use super::*;
use crate::bindings::mooring::routing::types::{Replica, Server};

fn node(id: &str, zone: &str) -> Node {
    Node {
        id: id.to_owned(),
        health: Health::Healthy,
        priority: 0,
        zone: zone.to_owned(),
        labels: vec![("rack".to_owned(), format!("{zone}-rack"))],
    }
}

/// Two nodes in the gateway's zone, two in another, one server on all.
fn topology() -> Topology {
    Topology {
        generation: 1,
        local_zone: "eu".to_owned(),
        nodes: vec![
            node("eu-1", "eu"),
            node("eu-2", "eu"),
            node("us-1", "us"),
            node("us-2", "us"),
        ],
        servers: vec![Server {
            name: "playwright".to_owned(),
            replicas: (0..4).map(|node| Replica { node, weight: 1 }).collect(),
        }],
    }
}

fn zone(config: &str, topology: Topology) -> Zone {
    let (mut zone, _) = Zone::configure(config).unwrap();
    zone.update(topology).unwrap();
    zone
}

fn request(session: u32, loads: [u32; 4], attempt: u32) -> Request {
    Request {
        server: 0,
        inputs: vec![Some(format!("session-{session}"))],
        affinity: None,
        attempt,
        seed: 0,
        loads: Some(loads.to_vec()),
    }
}

/// Sessions, of a thousand, that each node gets under these loads.
fn spread(zone: &Zone, loads: [u32; 4]) -> [u32; 4] {
    let mut counts = [0; 4];
    for session in 0..1000 {
        let decision = zone.route(&request(session, loads, 0)).unwrap();
        counts[decision.node as usize] += 1;
    }
    counts
}

#[test]
fn sessions_stay_in_the_zone_and_share_it() {
    let [one, two, far @ ..] = spread(&zone("{}", topology()), [5, 5, 5, 5]);
    assert_eq!(far, [0, 0]);
    assert!(one > 400 && two > 400, "{one} and {two}");
}

#[test]
fn a_crowded_node_is_passed_over() {
    let [one, two, far @ ..] = spread(&zone("{}", topology()), [20, 5, 5, 5]);
    assert_eq!((one, two, far), (0, 1000, [0, 0]));
}

#[test]
fn a_crowded_zone_spills_over() {
    let [one, two, far @ ..] = spread(&zone("{}", topology()), [20, 20, 1, 1]);
    assert_eq!((one, two), (0, 0));
    assert!(far[0] > 400 && far[1] > 400, "{far:?}");
}

#[test]
fn a_larger_factor_keeps_sessions_at_home_for_longer() {
    let patient = zone(r#"{"loadFactor": 4}"#, topology());
    assert_eq!(spread(&patient, [20, 20, 1, 1])[2..], [0, 0]);
}

#[test]
fn a_cluster_filled_from_nothing_stays_within_the_bound() {
    let zone = zone("{}", topology());
    let mut loads = [0; 4];
    for session in 0..1000 {
        let decision = zone.route(&request(session, loads, 0)).unwrap();
        loads[decision.node as usize] += 1;
    }
    assert!(loads.iter().all(|load| *load <= 313), "{loads:?}");
    assert!(loads[..2].iter().all(|load| *load >= 300), "{loads:?}");
}

#[test]
fn attempts_meet_each_node_once() {
    let zone = zone("{}", topology());
    for session in 0..100 {
        let attempt = |n| zone.route(&request(session, [9, 3, 0, 2], n));
        let mut met: Vec<_> = (0..4).map(|n| attempt(n).unwrap().node).collect();
        met.sort_unstable();
        assert_eq!(met, [0, 1, 2, 3]);
        assert!(matches!(attempt(4), Err(RouteError::NoCandidate)));
    }
}

#[test]
fn nodes_that_take_nothing_new_are_no_candidates() {
    let mut topology = topology();
    topology.nodes[0].health = Health::Draining;
    topology.nodes[1].health = Health::Unhealthy;
    topology.nodes[2].health = Health::Degraded;
    assert_eq!(spread(&zone("{}", topology), [0; 4]), [0, 0, 0, 1000]);
}

#[test]
fn a_label_can_stand_for_the_zone() {
    let mut topology = topology();
    topology.local_zone = "us-rack".to_owned();
    let zone = zone(r#"{"zoneLabel": "rack"}"#, topology);
    assert_eq!(spread(&zone, [0; 4])[..2], [0, 0]);
}

#[test]
fn an_unknown_zone_prefers_nobody() {
    let mut topology = topology();
    topology.local_zone = String::new();
    let counts = spread(&zone("{}", topology), [0; 4]);
    assert!(counts.iter().all(|count| *count > 180), "{counts:?}");
}

#[test]
fn the_settings_of_the_gateway_are_no_business_of_ours() {
    let config = r#"{"enabled": true, "strategy": "./zone.wasm", "affinityTimeout": 1500}"#;
    let (_, plan) = Zone::configure(config).unwrap();
    assert_eq!(plan.affinity_ttl_seconds, 2);
    assert!(plan.wants_loads);
}

#[test]
fn a_wrong_setting_is_refused_with_a_reason() {
    let refused = |config| Zone::configure(config).map(|_| ()).unwrap_err();
    assert!(refused(r#"{"loadFactor": 0.5}"#).contains("from 1 to 100"));
    assert!(refused(r#"{"zoneLabel": 7}"#).contains("expected a string"));
}
