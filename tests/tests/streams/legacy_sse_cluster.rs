//! HTTP+SSE through a coordinator and at its nodes.

use mooring_tests::{Cluster, Gateway, OverSse, eventually, process, servers, settings};
use serde_json::json;

#[test]
fn a_coordinator_serves_the_servers_of_its_nodes() {
    let mut cluster = Cluster::of_two_equal_nodes(json!({}));
    let address = cluster.coordinator.address();
    let (mut one, mut all) =
        (OverSse::initialize(address, "/sse/counter"), OverSse::initialize(address, "/sse"));
    let (here, there) = (one.pid("whoami"), all.pid("counter-whoami"));
    for expected in 1..=5 {
        assert_eq!(one.call("count", json!({}))["value"], expected);
        assert_eq!(all.call("counter-count", json!({}))["value"], expected);
    }
    let id = one.endpoint.rsplit_once('=').unwrap().1.to_owned();
    let known = cluster.coordinator.data(&format!("/api/cluster/sessions/{id}"));
    assert!(known["nodeId"] == "a" || known["nodeId"] == "b", "{known}");
    cluster.add("c", json!({"notes": servers::notes()}));
    // The edge fetches new catalogs when a client lists.
    let other = cluster.client("/mcp").initialize();
    eventually("the new server is listed", || {
        other.tools().contains(&"notes-add_note".to_owned()).then_some(())
    });
    all.wait_for(|message| message["method"] == "notifications/tools/list_changed");
    drop(one);
    eventually("its process is gone", || (!process::runs(here)).then_some(()));
    // The session waits at its node for the client to come back.
    assert!(cluster.coordinator.terminate().success());
    while all.stream.next_event().is_some() {}
    assert!(process::runs(there));
}

#[test]
fn a_node_that_serves_its_coordinator_only_opens_no_stream() {
    let token = json!({"systemConfig": {"cluster": {"token": "0123456789abcdef0123456789abcdef"}}});
    let coordinator =
        Gateway::start_with(&settings::merged(settings::coordinator(json!({})), token.clone()));
    let node =
        settings::node(coordinator.port(), json!({}), json!({"counter": servers::counter()}));
    let node = Gateway::start_with(&settings::merged(node, token));
    node.get("/sse").expect(403);
    node.post("/messages?sessionId=x", &json!({})).expect(403);
}
