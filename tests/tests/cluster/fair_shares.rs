//! Whom limits count travels with a session to the node that runs its server.

use std::io::{Read as _, Write as _};

use mooring_tests::proofs::{self, Handshake, Party};
use mooring_tests::{Behind, Cluster, Gateway, PlayedCoordinator, Session, servers, settings};
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

/// Sends a node an open, as its coordinator would: the status and the body of the answer.
fn direct(behind: &Behind, session: u8, quota: Option<&str>) -> (u16, String) {
    let about = Handshake {
        caller: Party::new("coordinator"),
        called: behind.party.clone(),
        address: format!("http://{}", behind.node),
        nonces: [proofs::random(), String::new()],
    };
    let mut stream = proofs::call(behind.node, &behind.key, about).unwrap();
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}});
    let body = params.to_string();
    let quota = quota.map_or_else(String::new, |quota| format!("Mooring-Quota: {quota}\r\n"));
    let head = format!(
        "POST /cluster/servers/counter/mcp HTTP/1.1\r\nHost: node\r\n\
         Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n\
         Mooring-Session: 00000000-0000-4000-8000-0000000000{session:02}\r\n\
         Mooring-Principal: anonymous\r\nMooring-Open: host\r\n{quota}\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
    (status, answer)
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
        let (status, answer) = direct(&behind, session, quota);
        assert_eq!(status, 200, "{answer}");
    }
    for (session, quota, whom) in [
        (5, Some("address=192.0.2.1"), "the address 192.0.2.1"),
        (6, Some("address=2001:db8::2"), "the address 2001:db8::/64"),
        (7, Some("credential=a%20b"), "the credential a b"),
        (8, None, "the credential anonymous"),
    ] {
        let (status, answer) = direct(&behind, session, quota);
        assert_eq!(status, 503, "{answer}");
        assert!(answer.contains("you have 1 ") && answer.contains(whom), "{answer}");
    }
    for odd in ["", "address=", "address=nowhere", "192.0.2.1", "credential=%zz"] {
        assert_eq!(direct(&behind, 9, Some(odd)).0, 400, "{odd}");
    }
}
