//! Whom limits count travels with a session to the node that runs its server.

use mooring_tests::{
    Behind, Cluster, Gateway, PlayedCoordinator, Request, Response, Session, servers, settings,
};
use serde_json::json;

use crate::processes::lifecycle::is_refused;

const OTHER: &str = "127.0.0.9";

fn cluster(limits: serde_json::Value) -> Cluster {
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let node = settings::node(
        coordinator.port(),
        json!({"id": "n"}),
        json!({"counter": servers::counter()}),
    );
    let node = settings::merged(node, json!({"systemConfig": {"limits": limits}}));
    let cluster = Cluster { nodes: vec![Gateway::start_with(&node)], coordinator };
    cluster.wait_for_active(1);
    cluster
}

#[test]
fn a_client_of_the_coordinator_that_has_all_processes_of_a_node_makes_room() {
    let cluster = cluster(json!({"childrenPerServer": 4}));
    let many: Vec<Session> = (0..4).map(|_| cluster.client("/mcp/counter").initialize()).collect();
    for session in &many {
        assert_eq!(session.count("count"), 1);
    }
    let other = cluster.client("/mcp/counter").at(OTHER).initialize();
    assert_eq!(other.count("count"), 1);
    let over_all = cluster.client("/mcp").at("127.0.0.10").initialize();
    assert_eq!(over_all.count("counter-count"), 1, "an aggregate, whose first call starts it");
    let _ = cluster.client("/mcp/counter").at("127.0.0.11").initialize();
    let refused = cluster.client("/mcp/counter").at("127.0.0.12").try_initialize();
    is_refused(&refused, &["counter", "limits.childrenPerServer"]);
}

#[test]
fn an_address_has_its_part_at_a_node_too() {
    let cluster = cluster(json!({"childrenPerNode": 20}));
    let many: Vec<Session> = (0..5).map(|_| cluster.client("/mcp/counter").initialize()).collect();
    let refused = cluster.client("/mcp/counter").try_initialize();
    is_refused(&refused, &["you have 5 ", "limits.childrenPerPrincipal", "address 127.0.0.1"]);
    assert_eq!(cluster.client("/mcp/counter").at(OTHER).initialize().count("count"), 1);
    assert_eq!(many[0].count("count"), 1);
}

/// Sends a node an open, as its coordinator would.
fn direct(behind: &Behind, session: u8, quota: Option<&str>) -> Response {
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}});
    let request = Request::post("/cluster/servers/counter/mcp")
        .header("Accept", "application/json, text/event-stream")
        .header("Mooring-Session", &format!("00000000-0000-4000-8000-0000000000{session:02}"))
        .header("Mooring-Principal", "anonymous")
        .header("Mooring-Open", "host")
        .json(&params);
    behind.send(&match quota {
        Some(quota) => request.header("Mooring-Quota", quota),
        None => request,
    })
}

#[test]
fn a_node_counts_whom_it_is_told_and_without_a_word_the_principal() {
    let hears = PlayedCoordinator::start();
    let limits = json!({"childrenPerNode": 9, "childrenPerPrincipal": 1});
    let servers = json!({"counter": servers::counter()});
    let node = settings::node(hears.port(), json!({"id": "n"}), servers);
    let node = settings::merged(node, json!({"systemConfig": {"limits": limits}}));
    let node = Gateway::start_with(&node);
    let behind = hears.registered(&node, None);
    for (session, quota) in [
        (1, Some("address=192.0.2.1")),
        (2, Some("address=2001:db8::1")),
        (3, Some("credential=a%20b")),
        (4, None),
    ] {
        direct(&behind, session, quota).expect(200);
    }
    for (session, quota, whom) in [
        (5, Some("address=192.0.2.1"), "the address 192.0.2.1"),
        (6, Some("address=2001:db8::2"), "the address 2001:db8::/64"),
        (7, Some("credential=a%20b"), "the credential a b"),
        (8, None, "the credential anonymous"),
    ] {
        is_refused(&direct(&behind, session, quota).expect(503), &["you have 1 ", whom]);
    }
    for odd in ["", "address=", "address=nowhere", "192.0.2.1", "credential=%zz"] {
        direct(&behind, 9, Some(odd)).expect(400);
    }
}
