//! The management API: exact shapes, statuses and texts.

use mooring_tests::{Cluster, Gateway, PlayedNode, Request, eventually, servers, settings};
use serde_json::{Value, json};

const ONLY_COORDINATOR: &str = "This endpoint is only available on coordinator nodes";
const SOMEBODY: &str = "6f1c7c5e-33b1-4c3f-9d6d-2d6d2f7a9b10";

#[track_caller]
fn has(value: &Value, field: &str, is: impl Fn(&Value) -> bool) {
    assert!(value.get(field).is_some_and(is), "{field}: {value}");
}

/// Whether this is a time in Unix ms close to now.
fn is_recent(value: &Value) -> bool {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    value.as_u64().is_some_and(|ms| ms.abs_diff(now.as_millis() as u64) < 60_000)
}

#[test]
fn standalone_has_the_guides_status_and_nothing_else_of_a_cluster() {
    for settings in [
        json!({}),
        json!({"systemConfig": {"cluster": {"enabled": false, "mode": "coordinator"}}}),
        json!({"systemConfig": {"cluster": {"enabled": false, "mode": "node"}}}),
    ] {
        let gateway = Gateway::start_with(&settings);
        let status = gateway.get("/api/cluster/status").expect(200).json();
        assert_eq!(
            status,
            json!({"success": true, "data": {
                "enabled": false,
                "mode": "standalone",
                "nodeId": null,
                "stats": {"nodes": 0, "activeNodes": 0, "servers": 0, "sessions": 0},
            }})
        );
        refuses_what_is_a_coordinators(&gateway);
    }
}

#[test]
fn a_node_refuses_what_is_a_coordinators() {
    let cluster = Cluster::of_two_equal_nodes(json!({}));
    refuses_what_is_a_coordinators(&cluster.nodes[0]);
    let status = cluster.nodes[0].data("/api/cluster/status");
    assert_eq!((&status["mode"], &status["nodeId"]), (&json!("node"), &json!("a")));
}

fn refuses_what_is_a_coordinators(gateway: &Gateway) {
    let refusal = json!({"success": false, "message": ONLY_COORDINATOR});
    for path in ["nodes", "nodes?active=true", "servers/x/replicas", "sessions/x"] {
        let response = gateway.get(&format!("/api/cluster/{path}")).expect(403);
        assert_eq!(response.json(), refusal, "{path}");
    }
    for path in ["register", "heartbeat"] {
        let response = gateway.post(&format!("/api/cluster/{path}"), &json!({})).expect(403);
        assert_eq!(response.json(), refusal, "{path}");
    }
}

#[test]
fn the_coordinators_status_counts_nodes_servers_and_sessions() {
    let mut cluster = Cluster::of_two_equal_nodes(json!({}));
    cluster.add("c", json!({"counter": servers::counter(), "notes": servers::notes()}));
    cluster.wait_for_active(3);
    let session = cluster.client("/mcp/counter").initialize();
    let status = cluster.coordinator.data("/api/cluster/status");
    assert_eq!(
        status,
        json!({
            "enabled": true,
            "mode": "coordinator",
            "nodeId": "coordinator",
            "stats": {"nodes": 3, "activeNodes": 3, "servers": 2, "sessions": 1},
        })
    );
    session.delete().expect(200);
    let stats = &cluster.coordinator.data("/api/cluster/status")["stats"];
    assert_eq!(stats["sessions"], 0);
}

#[test]
fn nodes_have_the_guides_fields() {
    let cluster = Cluster::of_two_equal_nodes(json!({}));
    let nodes = cluster.coordinator.data("/api/cluster/nodes");
    let nodes = nodes.as_array().unwrap();
    assert_eq!(nodes.len(), 2);
    for (node, (id, gateway)) in nodes.iter().zip(["a", "b"].iter().zip(&cluster.nodes)) {
        assert_eq!(node["id"], *id);
        has(node, "name", |name| name.as_str().is_some_and(|name| !name.is_empty()));
        assert_eq!(node["host"], "127.0.0.1");
        assert_eq!(node["port"], gateway.port());
        assert_eq!(node["url"], gateway.url());
        assert_eq!(node["status"], "active");
        has(node, "lastHeartbeat", is_recent);
        assert_eq!(node["servers"], json!(["counter"]));
    }
}

#[test]
fn only_active_nodes_are_shown_where_that_is_asked_for() {
    let mut cluster = Cluster::of_two_equal_nodes(json!({}));
    cluster.nodes[1].terminate();
    eventually("b is inactive", || (cluster.node("b")?["status"] == "inactive").then_some(()));
    let ids = |path: &str| -> Vec<Value> {
        let nodes = cluster.coordinator.data(path);
        nodes.as_array().unwrap().iter().map(|node| node["id"].clone()).collect()
    };
    assert_eq!(ids("/api/cluster/nodes"), ["a", "b"]);
    assert_eq!(ids("/api/cluster/nodes?active=false"), ["a", "b"]);
    assert_eq!(ids("/api/cluster/nodes?active=true"), ["a"]);
    let stats = &cluster.coordinator.data("/api/cluster/status")["stats"];
    assert_eq!((&stats["nodes"], &stats["activeNodes"]), (&json!(2), &json!(1)));
}

#[test]
fn replicas_have_the_guides_fields_and_an_unknown_server_has_none() {
    let cluster = Cluster::of_two_equal_nodes(json!({}));
    let replicas = cluster.coordinator.data("/api/cluster/servers/counter/replicas");
    let replicas = replicas.as_array().unwrap();
    assert_eq!(replicas.len(), 2);
    for (replica, (id, gateway)) in replicas.iter().zip(["a", "b"].iter().zip(&cluster.nodes)) {
        assert_eq!(replica["serverId"], "counter");
        assert_eq!(replica["nodeId"], *id);
        assert_eq!(replica["nodeUrl"], gateway.url());
        assert_eq!(replica["status"], "active");
        assert_eq!(replica["weight"], 1);
    }
    let none = cluster.coordinator.get("/api/cluster/servers/nobody/replicas").expect(200);
    assert_eq!(none.json(), json!({"success": true, "data": []}));
}

#[test]
fn a_sessions_affinity_is_found_by_sealed_id_and_by_uuid() {
    let cluster = Cluster::of_two_equal_nodes(json!({}));
    let session = cluster.client("/mcp/counter").initialize();
    let node = session.whoami("whoami").name;
    let affinity = cluster.coordinator.data(&format!("/api/cluster/sessions/{}", session.id));
    assert_eq!(affinity["nodeId"], *node);
    assert_eq!(affinity["serverId"], "counter");
    has(&affinity, "createdAt", is_recent);
    has(&affinity, "lastAccessed", is_recent);
    let last_accessed = affinity["lastAccessed"].as_u64().unwrap();
    assert_eq!(affinity["expiresAt"], last_accessed + 3_600_000);
    assert_eq!(affinity["bindings"][0]["serverId"], "counter");
    assert_eq!(affinity["bindings"][0]["nodeId"], *node);
    let uuid = affinity["sessionId"].as_str().unwrap();
    assert_eq!(uuid.len(), 36);
    let by_uuid = cluster.coordinator.data(&format!("/api/cluster/sessions/{uuid}"));
    assert_eq!(by_uuid["sessionId"], affinity["sessionId"]);
}

#[test]
fn an_affinity_has_no_node_before_the_first_binding_and_then_one_entry_a_server() {
    let mut cluster = Cluster::of_two_equal_nodes(json!({}));
    cluster.add("c", json!({"notes": servers::notes()}));
    cluster.wait_for_active(3);
    let session = cluster.client("/mcp").initialize();
    let path = format!("/api/cluster/sessions/{}", session.id);
    let before = cluster.coordinator.data(&path);
    assert_eq!((&before["nodeId"], &before["bindings"]), (&Value::Null, &json!([])));
    assert_eq!(before.get("serverId"), None);
    session.count("counter-count");
    session.call("notes-list_notes", json!({}));
    let after = cluster.coordinator.data(&path);
    assert_eq!((&after["nodeId"], &after["serverId"]), (&json!("c"), &json!("notes")));
    let servers: Vec<_> =
        after["bindings"].as_array().unwrap().iter().map(|b| b["serverId"].clone()).collect();
    assert_eq!(servers, ["counter", "notes"]);
}

#[test]
fn an_unknown_or_ended_session_has_no_affinity() {
    let cluster = Cluster::of_two_equal_nodes(json!({}));
    let ended = cluster.client("/mcp/counter").initialize();
    ended.delete().expect(200);
    for id in ["x", SOMEBODY, &ended.id] {
        let response = cluster.coordinator.get(&format!("/api/cluster/sessions/{id}")).expect(404);
        let refusal = json!({"success": false, "message": "Session affinity not found"});
        assert_eq!(response.json(), refusal);
    }
}

#[test]
fn a_registration_without_its_fields_is_400() {
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    for body in [
        json!({}),
        json!({"id": "x"}),
        json!({"id": "x", "name": "X"}),
        json!({"id": "", "name": "X", "url": "http://127.0.0.1:1"}),
    ] {
        let response = coordinator.post("/api/cluster/register", &body).expect(400);
        let refusal =
            json!({"success": false, "message": "Missing required fields: id, name, url"});
        assert_eq!(response.json(), refusal);
    }
    for (id, name, url) in [
        ("bad id", "X", "http://127.0.0.1:1"),
        ("x", "X\u{7}", "http://127.0.0.1:1"),
        ("x", "X", "ftp://127.0.0.1"),
        ("x", "X", "nonsense"),
    ] {
        let body = json!({"id": id, "name": name, "url": url});
        let response = coordinator.post("/api/cluster/register", &body).expect(400);
        assert_eq!(response.json()["success"], false);
    }
    let malformed =
        Request::post("/api/cluster/register").header("Content-Type", "application/json").body("{");
    malformed.send(coordinator.address()).expect(400);
    assert_eq!(coordinator.data("/api/cluster/nodes"), json!([]));
}

#[test]
fn a_registration_whose_address_is_no_node_is_refused() {
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let nobody = mooring_tests::Port::reserve();
    for url in [format!("http://127.0.0.1:{}", nobody.number()), coordinator.url()] {
        let played = PlayedNode::start("x", None);
        let registration = played.registration(json!({"url": url}));
        let response = played.send(&coordinator, "register", &registration).expect(400);
        let message = response.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("does not answer at"), "{message}");
    }
    assert_eq!(coordinator.data("/api/cluster/nodes"), json!([]));
}

#[test]
fn a_heartbeat_of_an_unknown_node_is_404() {
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    for id in ["nobody", "", "bad id"] {
        let response = coordinator.post("/api/cluster/heartbeat", &json!({"id": id})).expect(404);
        assert_eq!(response.json()["success"], false);
    }
}

#[test]
fn health_is_200_in_every_mode_and_knows_the_cluster() {
    let cluster = Cluster::of_two_equal_nodes(json!({}));
    let standalone = Gateway::start_with(&json!({}));
    for (gateway, mode) in [
        (&cluster.coordinator, "coordinator"),
        (&cluster.nodes[0], "node"),
        (&standalone, "standalone"),
    ] {
        let health = gateway.get("/health").expect(200).json();
        assert_eq!((&health["status"], &health["mode"]), (&json!("ok"), &json!(mode)));
        gateway.get("/livez").expect(200);
        gateway.get("/readyz").expect(200);
    }
    let health = cluster.coordinator.get("/health").json();
    assert_eq!(health["cluster"], json!({"nodes": 2, "activeNodes": 2}));
}

#[test]
fn metrics_show_nodes_servers_sessions_and_children() {
    let cluster = Cluster::of_two_equal_nodes(json!({}));
    let session = cluster.client("/mcp/counter").initialize();
    session.count("count");
    let text = cluster.coordinator.get("/metrics").expect(200).text();
    for line in [
        "mooring_node_up{node=\"a\",status=\"active\"} 1",
        "mooring_node_servers{node=\"b\"} 1",
        "mooring_sessions 1",
    ] {
        assert!(text.contains(line), "{line}:\n{text}");
    }
    // The process that discovery started may still be ending.
    eventually("the session's child is the only one", || {
        let children: i64 = cluster.nodes.iter().map(children_of).sum();
        (children == 1).then_some(())
    });
}

fn children_of(node: &Gateway) -> i64 {
    let text = node.get("/metrics").text();
    let line = text.lines().find(|line| line.starts_with("mooring_children ")).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}
