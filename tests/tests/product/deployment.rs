//! The guide's scenarios with real processes: the same files, environment and order of starts.

use mooring_tests::{Cluster, Gateway, Setup, eventually, servers, settings};
use serde_json::{Value, json};
use yaml_rust2::YamlLoader;

/// Checks that the coordinator lists A, B and C, and that a call reaches a node with the server.
fn serves_as_one(cluster: &Cluster) {
    cluster.wait_for_active(2);
    let session = cluster.client("/mcp").initialize();
    let tools = session.tools();
    for tool in ["counter-count", "notes-add_note", "clock-now"] {
        assert!(tools.iter().any(|name| name == tool), "{tool}: {tools:?}");
    }
    assert_eq!(tools.len(), 3 + 2 + 3, "each once: {tools:?}");
    assert_eq!([session.count("counter-count"), session.count("counter-count")], [1, 2]);
    session.call("notes-add_note", json!({"text": "x"}));
    session.call("clock-now", json!({}));
    let other = cluster.client("/mcp").initialize();
    assert_eq!(other.count("counter-count"), 1);
    let notes = other.call("notes-list_notes", json!({}));
    assert_eq!(notes["structuredContent"]["notes"], json!([]));
    for path in ["/mcp/counter", "/mcp/notes", "/mcp/clock"] {
        assert!(!cluster.client(path).initialize().tools().is_empty());
    }
    let replicas = cluster.coordinator.data("/api/cluster/servers/counter/replicas");
    assert_eq!(replicas.as_array().unwrap().len(), 2);
    let names: Vec<_> = cluster.active().iter().map(|node| node["name"].clone()).collect();
    assert!(names.contains(&json!("Node 1")) && names.contains(&json!("Node 2")), "{names:?}");
}

#[test]
fn the_manual_scenario_serves_with_the_coordinator_first() {
    let mut cluster = Cluster::of_examples();
    cluster.coordinator.start();
    cluster.nodes.iter_mut().for_each(Gateway::start);
    serves_as_one(&cluster);
}

#[test]
fn the_manual_scenario_serves_with_the_nodes_first() {
    let mut cluster = Cluster::of_examples();
    cluster.nodes.iter_mut().for_each(Gateway::start);
    for node in &cluster.nodes {
        node.wait_for_log("not registered with");
    }
    cluster.coordinator.start();
    serves_as_one(&cluster);
}

#[test]
fn the_manual_scenario_serves_with_all_started_at_once() {
    let mut cluster = Cluster::of_examples();
    cluster.coordinator.spawn();
    cluster.nodes.iter_mut().for_each(Gateway::spawn);
    eventually("the coordinator serves", || {
        mooring_tests::Request::get("/livez").try_send(cluster.coordinator.address()).ok()
    });
    serves_as_one(&cluster);
}

#[test]
fn the_manual_scenario_survives_a_restart_of_everything() {
    let mut cluster = Cluster::of_examples();
    cluster.coordinator.start();
    cluster.nodes.iter_mut().for_each(Gateway::start);
    serves_as_one(&cluster);
    let session = cluster.client("/mcp").initialize();
    session.count("counter-count");
    for gateway in cluster.nodes.iter_mut().chain([&mut cluster.coordinator]) {
        gateway.kill9();
    }
    cluster.nodes.iter_mut().for_each(Gateway::start);
    cluster.coordinator.start();
    serves_as_one(&cluster);
    assert_eq!(session.count("counter-count"), 1);
}

/// The settings that containers mount, with servers that need no download, and started as containers
/// are: with the token in the environment, and the gateway's folder below the servers' home.
#[track_caller]
pub fn containers_are_a_cluster(coordinator: &str, nodes: &[String], at: &str) {
    const TOKEN: &str = "a-token-of-all-containers";
    let home = tempfile::tempdir().unwrap();
    let gateway = |settings: &Value, name: &str| {
        let home = home.path().join(name);
        std::fs::create_dir(&home).unwrap();
        Setup::new(settings)
            .env("MOORING_CLUSTER_TOKEN", TOKEN)
            .env("HOME", home.to_str().unwrap())
            .data(&home.join("mooring"))
            .start()
    };
    let mut coordinator = settings::value_of(coordinator);
    coordinator["mcpServers"] = json!({});
    let coordinator = gateway(&coordinator, "coordinator");
    let port = coordinator.port();
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    for (number, node) in nodes.iter().enumerate() {
        assert!(node.contains(at), "{at} is not the coordinator of {node}");
        let mut node = settings::value_of(&node.replace(at, &format!("http://127.0.0.1:{port}")));
        node["mcpServers"] = json!({"counter": servers::counter()});
        cluster.nodes.push(gateway(&node, &format!("node{number}")));
    }
    cluster.wait_for_active(nodes.len());
    let session = cluster.client("/mcp").initialize();
    assert_eq!(session.count("counter-count"), 1);
    assert_eq!(session.count("counter-count"), 2);
}

#[test]
fn the_settings_of_compose_are_a_cluster() {
    let file = |name: &str| settings::example(&format!("docker-compose/{name}-config.json"));
    let nodes = [file("node1"), file("node2")];
    containers_are_a_cluster(&file("coordinator"), &nodes, "http://coordinator:3000");
}

#[test]
fn the_settings_of_kubernetes_are_a_cluster() {
    let map = |file: &str| {
        let text = settings::example(&format!("kubernetes/{file}.yaml"));
        let documents = YamlLoader::load_from_str(&text).unwrap();
        documents[0]["data"]["mcp_settings.json"].as_str().unwrap().to_owned()
    };
    // Equal nodes from one map.
    let nodes = vec![map("nodes"); 3];
    containers_are_a_cluster(&map("coordinator"), &nodes, "http://mooring-coordinator:3000");
}

#[test]
fn the_quickstarts_settings_serve_their_servers_and_group() {
    let gateway = Setup::text(&settings::example("quickstart/mcp_settings.json")).start();
    let session = gateway.client("/mcp").initialize();
    assert_eq!(session.tools().len(), 3 + 2 + 3);
    assert_eq!(session.count("counter-count"), 1);
    assert_eq!(gateway.client("/mcp/desk").initialize().tools().len(), 2 + 3);
}

#[test]
fn a_read_only_settings_file_and_an_unwritable_data_folder_are_enough_to_run() {
    let gateway = Setup::new(&settings::standalone(json!({"counter": servers::counter()})))
        .env("MOORING_DATA", "/proc/nowhere")
        .start();
    let session = gateway.client("/mcp").initialize();
    assert_eq!(session.count("counter-count"), 1);
    let log = gateway.log();
    assert!(log.contains("WARN") && log.contains("/proc/nowhere"), "{log}");
}

#[test]
fn the_users_settings_file_is_never_written() {
    let text = settings::example("quickstart/mcp_settings.json");
    let mut gateway = Setup::text(&text).prepare();
    let file = gateway.folder().join("mcp_settings.json");
    let mut permissions = std::fs::metadata(&file).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&file, permissions).unwrap();
    gateway.start();
    gateway.client("/mcp").initialize().count("counter-count");
    gateway.terminate();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    let mut names: Vec<_> = std::fs::read_dir(gateway.folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["data", "log", "mcp_settings.json", "port"]);
}
