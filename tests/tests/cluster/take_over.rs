//! A known id belongs to the process that has registered it, for as long as that one answers.

use mooring_tests::{Gateway, PlayedNode, Setup, eventually, settings};
use serde_json::{Value, json};

const TOKEN: &str = "t0ken-of-the-cluster";
const TOKENS: [Option<&str>; 2] = [None, Some(TOKEN)];

fn coordinator(token: Option<&str>, node_timeout: u64) -> Gateway {
    let cluster = json!({"coordinator": {"nodeTimeout": node_timeout, "cleanupInterval": 600_000}});
    let setup = Setup::new(&settings::coordinator(cluster));
    token.into_iter().fold(setup, |setup, token| setup.env("MOORING_CLUSTER_TOKEN", token)).start()
}

fn register(coordinator: &Gateway, node: &PlayedNode) -> u16 {
    node.send(coordinator, "register", &node.registration(json!({}))).status
}

fn entry(coordinator: &Gateway) -> Value {
    coordinator.data("/api/cluster/nodes")[0].clone()
}

#[test]
fn an_active_node_is_not_taken_over() {
    for token in TOKENS {
        let coordinator = coordinator(token, 600_000);
        let first = PlayedNode::start("n", token);
        assert_eq!(register(&coordinator, &first), 200);
        let second = PlayedNode::start("n", token);
        assert_eq!(register(&coordinator, &second), 409);
        assert_eq!(entry(&coordinator)["url"], first.url());
        // The first one registers again whenever it wants.
        assert_eq!(register(&coordinator, &first), 200);
    }
}

#[test]
fn a_node_that_is_only_late_is_not_taken_over() {
    for token in TOKENS {
        let coordinator = coordinator(token, 300);
        let first = PlayedNode::start("n", token);
        assert_eq!(register(&coordinator, &first), 200);
        eventually("it is late", || (entry(&coordinator)["status"] == "unhealthy").then_some(()));
        let second = PlayedNode::start("n", token);
        assert_eq!(register(&coordinator, &second), 409);
        first.send(&coordinator, "heartbeat", &first.heartbeat(json!({}))).expect(200);
        assert_eq!(entry(&coordinator)["url"], first.url());
    }
}

#[test]
fn a_node_that_is_gone_leaves_its_id() {
    for token in TOKENS {
        let coordinator = coordinator(token, 600_000);
        let first = PlayedNode::start("n", token);
        assert_eq!(register(&coordinator, &first), 200);
        drop(first);
        let second = PlayedNode::start("n", token);
        assert_eq!(register(&coordinator, &second), 200);
        assert_eq!(entry(&coordinator)["url"], second.url());
        // It has signed off itself, so it need not be silent.
        second.send(&coordinator, "deregister", &second.heartbeat(json!({}))).expect(200);
        let third = PlayedNode::start("n", token);
        assert_eq!(register(&coordinator, &third), 200);
        assert_eq!(entry(&coordinator)["url"], third.url());
        // What the second one knows is worth nothing now.
        for what in ["heartbeat", "deregister"] {
            let answer = second.send(&coordinator, what, &second.heartbeat(json!({})));
            assert!([403, 404].contains(&answer.status), "{what}: {}", answer.text());
        }
        assert_eq!(entry(&coordinator)["status"], "active");
    }
}

#[test]
fn a_registration_names_a_process_that_is_there() {
    for token in TOKENS {
        let coordinator = coordinator(token, 600_000);
        let [one, two] = ["one", "two"].map(|id| PlayedNode::start(id, token));
        assert_eq!(register(&coordinator, &one), 200);
        // Its own id at the other's address, as another start of the other, and without secrets.
        for more in [
            json!({"url": one.url()}),
            json!({"id": "one", "url": one.url()}),
            json!({"incarnation": ""}),
            json!({"incarnation": "short"}),
            json!({"url": "http://127.0.0.1:1"}),
        ] {
            let message = two.registration(more.clone());
            let answer = two.send(&coordinator, "register", &message);
            assert_eq!(answer.status, 400, "{more}: {}", answer.text());
        }
        let nodes = coordinator.data("/api/cluster/nodes");
        assert_eq!(nodes.as_array().unwrap().len(), 1);
        assert_eq!(register(&coordinator, &two), 200);
    }
}

#[test]
fn the_coordinators_own_id_is_nobody_elses() {
    for token in TOKENS {
        let coordinator = coordinator(token, 600_000);
        let node = PlayedNode::start("coordinator", token);
        assert_eq!(register(&coordinator, &node), 400);
    }
}
