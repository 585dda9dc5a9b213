//! Which nodes may register, and which callers a node serves.

use mooring_tests::{Gateway, PlayedNode, Request, Setup, eventually, servers, settings};
use serde_json::{Value, json};

const TOKEN: &str = "t0ken-of-the-cluster";

fn registration() -> Value {
    json!({"id": "x", "name": "X", "url": "http://127.0.0.1:1", "servers": []})
}

fn node_of(coordinator: &Gateway) -> Setup {
    let servers = json!({"counter": servers::counter()});
    Setup::new(&settings::node(coordinator.port(), json!({"id": "n"}), servers))
}

fn with_token() -> Gateway {
    Setup::new(&settings::coordinator(json!({}))).env("MOORING_CLUSTER_TOKEN", TOKEN).start()
}

#[test]
fn a_registration_without_the_token_or_with_another_is_401() {
    let coordinator = with_token();
    for path in ["register", "heartbeat", "deregister"] {
        let request = Request::post(&format!("/api/cluster/{path}")).json(&registration());
        let response = request.send(coordinator.address()).expect(401).json();
        assert_eq!(response["success"], false);
        assert!(response["message"].as_str().unwrap().contains("MOORING_CLUSTER_TOKEN"));
        for wrong in ["Bearer wrong", "Bearer ", TOKEN, "Bearer t0ken-of-the-cluste"] {
            request.clone().header("Authorization", wrong).send(coordinator.address()).expect(401);
        }
    }
    let stranger = PlayedNode::start("x", Some("another-token-of-a-cluster"));
    stranger.send(&coordinator, "register", &stranger.registration(json!({}))).expect(401);
    // Earlier versions have sent the token itself.
    let heartbeat = Request::post("/api/cluster/heartbeat").json(&json!({"id": "x"}));
    let bearer = heartbeat.header("Authorization", &format!("Bearer {TOKEN}"));
    bearer.send(coordinator.address()).expect(401);
    let node = PlayedNode::start("x", Some(TOKEN));
    node.send(&coordinator, "heartbeat", &node.heartbeat(json!({}))).expect(404);
}

#[test]
fn nodes_with_the_token_come_in_and_serve() {
    let coordinator = with_token();
    let _node = node_of(&coordinator).env("MOORING_CLUSTER_TOKEN", TOKEN).start();
    coordinator.wait_for_log("Node registered:");
    assert_eq!(coordinator.client("/mcp/counter").initialize().count("count"), 1);
    assert_eq!(coordinator.client("/mcp").initialize().count("counter-count"), 1);
}

#[test]
fn the_token_may_stand_in_the_settings_too() {
    let coordinator = Gateway::start_with(&settings::coordinator(json!({"token": TOKEN})));
    let settings = settings::merged(
        settings::node(
            coordinator.port(),
            json!({"id": "n"}),
            json!({"counter": servers::counter()}),
        ),
        json!({"systemConfig": {"cluster": {"token": TOKEN}}}),
    );
    let _node = Gateway::start_with(&settings);
    coordinator.wait_for_log("Node registered:");
}

#[test]
fn a_node_without_the_token_or_with_another_stays_out_and_says_why() {
    let coordinator = with_token();
    let without = node_of(&coordinator).start();
    assert!(without.wait_for_log("not registered with").contains("401"));
    let wrong = node_of(&coordinator).env("MOORING_CLUSTER_TOKEN", "wrong").start();
    assert!(wrong.wait_for_log("not registered with").contains("401"));
    assert_eq!(coordinator.data("/api/cluster/nodes"), json!([]));
}

#[test]
fn a_node_with_a_token_stays_out_of_a_cluster_without_one() {
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let node = node_of(&coordinator).env("MOORING_CLUSTER_TOKEN", TOKEN).start();
    node.wait_for_log("not registered with");
    assert_eq!(coordinator.data("/api/cluster/nodes"), json!([]));
}

#[test]
fn a_registration_through_a_proxy_is_403_where_there_is_no_token() {
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    for (name, value) in [
        ("Forwarded", "for=203.0.113.9"),
        ("X-Forwarded-For", "203.0.113.9"),
        ("X-Real-IP", "203.0.113.9"),
    ] {
        for path in ["register", "heartbeat", "deregister"] {
            let request = Request::post(&format!("/api/cluster/{path}"))
                .json(&registration())
                .header(name, value);
            let response = request.send(coordinator.address()).expect(403).json();
            assert_eq!(response["success"], false, "{name}");
        }
    }
}

#[test]
fn without_a_token_a_registration_may_not_send_us_elsewhere() {
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let mut elsewhere = registration();
    elsewhere["url"] = "http://192.0.2.7:3001".into();
    let response = coordinator.post("/api/cluster/register", &elsewhere).expect(400).json();
    assert!(response["message"].as_str().unwrap().contains("127.0.0.1"), "{response}");
}

#[test]
fn a_node_with_a_token_serves_its_cluster_paths_to_nobody_else() {
    let coordinator = with_token();
    let node = node_of(&coordinator).env("MOORING_CLUSTER_TOKEN", TOKEN).start();
    coordinator.wait_for_log("Node registered:");
    for path in
        ["/cluster/bindings", "/cluster/servers/counter/catalog", "/cluster/servers/counter/mcp"]
    {
        node.get(path).expect(401);
        let wrong = Request::get(path).header("Authorization", "Bearer wrong");
        wrong.send(node.address()).expect(401);
    }
    let response = node.client("/mcp").try_initialize().expect(403);
    assert!(response.error_message().contains("coordinator"));
}

#[test]
fn a_public_node_with_a_token_serves_its_own_servers() {
    let coordinator = with_token();
    let node = json!({"id": "n", "public": true});
    let servers = json!({"counter": servers::counter()});
    let node = Setup::new(&settings::node(coordinator.port(), node, servers))
        .env("MOORING_CLUSTER_TOKEN", TOKEN)
        .start();
    assert_eq!(node.client("/mcp").initialize().count("counter-count"), 1);
}

#[test]
fn a_nodes_own_mcp_serves_its_own_servers() {
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let servers = json!({"counter": servers::counter()});
    let public = json!({"id": "n", "public": true});
    let node = Gateway::start_with(&settings::node(coordinator.port(), public, servers));
    let session = node.client("/mcp").initialize();
    assert_eq!([session.count("counter-count"), session.count("counter-count")], [1, 2]);
    node.client("/mcp/notes").try_initialize().expect(404);
}

#[test]
fn a_coordinator_without_a_token_warns() {
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let line = eventually("a warning about the missing token", || {
        let log = coordinator.log();
        log.lines().find(|l| l.contains("WARN") && l.contains("token")).map(str::to_owned)
    });
    assert!(line.contains("MOORING_CLUSTER_TOKEN") || line.contains("cluster.token"), "{line}");
}

#[test]
fn the_token_is_never_logged() {
    let coordinator = with_token();
    let node = node_of(&coordinator)
        .env("MOORING_CLUSTER_TOKEN", TOKEN)
        .env("MOORING_LOG", "mooring=trace,hyper=trace");
    let node = node.start();
    coordinator.wait_for_log("Node registered:");
    coordinator.client("/mcp").initialize().count("counter-count");
    assert!(!node.log().contains(TOKEN) && !coordinator.log().contains(TOKEN));
}
