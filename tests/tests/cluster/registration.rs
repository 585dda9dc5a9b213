//! Nodes register, keep their ids, and leave.

use std::net::TcpListener;

use mooring_tests::{
    Cluster, Connection, Gateway, PlayedNode, Setup, eventually, proofs, servers, settings,
};
use rustix::process::Signal;
use serde_json::{Value, json};

fn node_settings(coordinator: u16, node: Value) -> Value {
    settings::node(coordinator, node, json!({"counter": servers::counter()}))
}

fn ids(coordinator: &Gateway) -> Vec<String> {
    let nodes = coordinator.data("/api/cluster/nodes");
    let ids = nodes.as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap().to_owned());
    ids.collect()
}

fn wait_for_ids(coordinator: &Gateway, count: usize) -> Vec<String> {
    eventually(&format!("{count} nodes are known"), || {
        let ids = ids(coordinator);
        (ids.len() == count).then_some(ids)
    })
}

#[test]
fn a_registration_is_logged_in_the_guides_words() {
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let servers = json!({"counter": servers::counter(), "notes": servers::notes()});
    let node = json!({"id": "node-1", "name": "Worker Node 1"});
    let _node = Gateway::start_with(&settings::node(coordinator.port(), node, servers));
    coordinator.wait_for_log("Node registered: Worker Node 1 (node-1) with 2 servers");
}

#[test]
fn a_node_has_the_hostname_as_its_name_where_none_is_given() {
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let _node = Gateway::start_with(&node_settings(coordinator.port(), json!({})));
    wait_for_ids(&coordinator, 1);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(coordinator.data("/api/cluster/nodes")[0]["name"], kernel.trim());
}

#[test]
fn a_node_that_starts_first_is_in_soon_after_its_coordinator() {
    let mut coordinator = Setup::new(&settings::coordinator(json!({}))).prepare();
    let node = Gateway::start_with(&node_settings(coordinator.port(), json!({"id": "early"})));
    node.wait_for_log("not registered with");
    node.get("/readyz").expect(503);
    node.get("/health").expect(200);
    coordinator.start();
    assert_eq!(wait_for_ids(&coordinator, 1), ["early"]);
    eventually("the node is ready", || (node.get("/readyz").status == 200).then_some(()));
}

#[test]
fn three_nodes_from_one_file_without_ids_are_three_nodes() {
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let settings = node_settings(coordinator.port(), json!({}));
    // They also share a data folder, as when all run in one directory.
    let data = tempfile::tempdir().unwrap();
    let start = || Setup::new(&settings).data(data.path()).start();
    let nodes = [start(), start(), start()];
    let ids = wait_for_ids(&coordinator, 3);
    assert!(ids.iter().all(|id| id.starts_with("node-")), "{ids:?}");
    let urls: Vec<_> = coordinator
        .data("/api/cluster/nodes")
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["url"].as_str().unwrap().to_owned())
        .collect();
    assert!(nodes.iter().all(|node| urls.contains(&node.url())), "{urls:?}");
}

#[test]
fn a_generated_id_is_kept_over_a_restart() {
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let mut node = Gateway::start_with(&node_settings(coordinator.port(), json!({})));
    let before = wait_for_ids(&coordinator, 1);
    for signal in [Signal::TERM, Signal::KILL] {
        let registrations = coordinator.log().matches("Node registered:").count();
        node.restart_after(signal);
        eventually("it registers again", || {
            (coordinator.log().matches("Node registered:").count() > registrations).then_some(())
        });
        assert_eq!(ids(&coordinator), before);
    }
}

#[test]
fn a_second_process_with_the_same_id_is_refused_while_the_first_answers() {
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let same = node_settings(coordinator.port(), json!({"id": "same"}));
    let mut first = Gateway::start_with(&same);
    wait_for_ids(&coordinator, 1);
    let second = Gateway::start_with(&same);
    let line = second.wait_for_log("409");
    assert!(line.contains("same") && line.contains("in use"), "{line}");
    assert_eq!(coordinator.data("/api/cluster/nodes")[0]["url"], first.url());
    first.kill9();
    eventually("the second takes over", || {
        (coordinator.data("/api/cluster/nodes")[0]["url"] == second.url()).then_some(())
    });
}

#[test]
fn a_node_that_ends_by_sigterm_is_inactive_at_once() {
    let mut cluster = Cluster::of_two_equal_nodes(json!({}));
    cluster.nodes[0].terminate();
    assert_eq!(cluster.node("a").unwrap()["status"], "inactive");
    cluster.nodes[0].start();
    cluster.wait_for_active(2);
}

#[test]
fn a_node_that_is_not_to_register_waits_to_be_told() {
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let waiting = json!({"id": "waiting", "registerOnStartup": false, "public": true});
    let node = Gateway::start_with(&node_settings(coordinator.port(), waiting));
    node.wait_for_log("not registering until");
    assert_eq!(ids(&coordinator), [""; 0]);
    assert_eq!(node.get("/health").json()["registered"], false);
    node.post("/api/cluster/join", &json!({})).expect(200);
    assert_eq!(wait_for_ids(&coordinator, 1), ["waiting"]);
}

#[test]
fn mooring_join_makes_a_waiting_node_register() {
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let waiting = json!({"id": "waiting", "registerOnStartup": false});
    let node = Gateway::start_with(&node_settings(coordinator.port(), waiting));
    let output = std::process::Command::new(mooring_tests::binaries::mooring())
        .args(["join", "--url", &node.url()])
        .env("MOORING_DATA", node.data_folder())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(wait_for_ids(&coordinator, 1), ["waiting"]);
}

#[test]
fn join_is_for_nodes() {
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    coordinator.post("/api/cluster/join", &json!({})).expect(403);
}

#[test]
fn an_unknown_heartbeat_makes_the_node_register_again() {
    let mut cluster = Cluster::of_two_equal_nodes(json!({}));
    cluster.coordinator.kill9();
    // Its data folder is lost too.
    std::fs::remove_dir_all(cluster.coordinator.data_folder()).unwrap();
    cluster.coordinator.start();
    cluster.wait_for_active(2);
}

#[test]
fn an_advertised_address_is_the_nodes() {
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let port = mooring_tests::Port::reserve();
    let url = format!("http://localhost:{}", port.number());
    let node = json!({"id": "named", "advertiseUrl": url});
    let _node = Setup::new(&node_settings(coordinator.port(), node)).port(port).start();
    wait_for_ids(&coordinator, 1);
    assert_eq!(coordinator.data("/api/cluster/nodes")[0]["url"], url);
}

#[test]
fn a_coordinator_with_servers_of_its_own_is_a_node_too() {
    let settings = settings::merged(
        settings::coordinator(json!({})),
        json!({"mcpServers": {"counter": servers::counter_named("coordinator")}}),
    );
    let coordinator = Gateway::start_with(&settings);
    let nodes = coordinator.data("/api/cluster/nodes");
    assert_eq!(nodes[0]["id"], "coordinator");
    assert_eq!(nodes[0]["status"], "active");
    assert_eq!(nodes[0]["servers"], json!(["counter"]));
    assert_eq!(nodes[0]["url"], coordinator.url());
    let session = coordinator.client("/mcp/counter").initialize();
    assert_eq!(session.whoami("whoami").name, "coordinator");
    let replicas = coordinator.data("/api/cluster/servers/counter/replicas");
    assert_eq!(replicas[0]["nodeId"], "coordinator");
}

#[test]
fn replicas_with_another_configuration_are_warned_about() {
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let node = |id: &str, server: Value| {
        let servers = json!({"tools": server});
        Gateway::start_with(&settings::node(coordinator.port(), json!({"id": id}), servers))
    };
    let _nodes = [node("a", servers::counter()), node("b", servers::clock())];
    wait_for_ids(&coordinator, 2);
    let line = coordinator.wait_for_log("differ");
    assert!(line.contains("tools") && line.contains("WARN"), "{line}");
}

#[test]
fn a_node_that_speaks_another_revision_is_shown_and_warned_of() {
    let cluster = Cluster::of_two_equal_nodes(json!({}));
    let own = cluster.node("a").unwrap()["protocol"].clone();
    assert_eq!(own["mcp"], "2025-11-25", "{own}");
    assert!(!cluster.coordinator.log().contains("of the seam"));
    let other = json!({"seam": own["seam"].as_u64().unwrap() + 1, "mcp": "2099-01-01"});
    let played = PlayedNode::start("c", None);
    let registration = played.registration(json!({"protocol": other}));
    played.send(&cluster.coordinator, "register", &registration).expect(200);
    assert_eq!(cluster.node("c").unwrap()["protocol"], other);
    let line = cluster.coordinator.wait_for_log("of the seam");
    assert!(line.contains("2099-01-01"), "{line}");
}

#[test]
fn of_a_crowd_that_registers_some_are_told_to_come_back_and_a_node_comes_in_afterwards() {
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    // It takes connections, and says nothing: each callback lasts until its deadline.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let played = PlayedNode::start("crowd", None);
    let mut crowd: Vec<Connection> = (0..120)
        .map(|number| {
            let id = format!("crowd-{number}");
            let message = played.registration(json!({"id": id, "name": id, "url": url}));
            let mut connection = Connection::open(coordinator.address());
            let (now, what) = (proofs::now(), "register");
            connection.send_request(&played.proved_at(now, &coordinator, what, &message));
            connection
        })
        .collect();
    eventually("those that find no room are answered", || {
        (crowd.iter().filter(|one| one.is_readable()).count() >= 24).then_some(())
    });
    let mut refused = 0;
    for mut connection in crowd.extract_if(.., |one| one.is_readable()) {
        let answer = connection.read_head().unwrap().whole();
        if answer.status == 400 {
            continue;
        }
        let answer = answer.expect(503);
        assert!(answer.header("retry-after").is_some());
        let text = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(text.contains("too many nodes register at once"), "{text}");
        refused += 1;
    }
    assert!(refused >= 24, "{refused}");
    assert!(crowd.len() > 8, "{}: the others wait", crowd.len());
    // A node that is served already is none of the crowd, and calls go on.
    coordinator.get("/api/cluster/status").expect(200);
    let _node = Gateway::start_with(&node_settings(coordinator.port(), json!({"id": "honest"})));
    drop(silent);
    assert_eq!(wait_for_ids(&coordinator, 1), ["honest"]);
    for mut connection in crowd {
        let status = connection.read_head().unwrap().status;
        assert!([400, 503].contains(&status), "{status}");
    }
}
