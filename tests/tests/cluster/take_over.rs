//! A known id belongs to the process that has registered it, for as long as that one answers.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use mooring_tests::scripted::{Asked, Out};
use mooring_tests::{Gateway, PlayedNode, Scripted, Setup, Stranger, eventually, settings};
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
        // Its sessions may have moved: it registers, and is asked what it holds.
        first.send(&coordinator, "heartbeat", &first.heartbeat(json!({}))).expect(404);
        assert_eq!(register(&coordinator, &first), 200);
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

/// What is at its address says nothing, or nothing that shows that the node is gone: that may be
/// the network.
#[test]
fn a_node_whose_address_does_not_answer_keeps_its_id_for_a_while() {
    for token in TOKENS {
        let coordinator = coordinator(token, 600_000);
        let first = PlayedNode::start("n", token);
        let target = Arc::new(Mutex::new(first.address()));
        let door = Stranger::moving(&target);
        let at_door = |interval: u64| {
            let more = json!({"url": door.url(), "heartbeatInterval": interval});
            first.send(&coordinator, "register", &first.registration(more)).expect(200);
        };
        at_door(60_000);
        let broken = Scripted::start(|_: &Asked, out: Out| {
            out.reply("500 Internal Server Error", &[], b"");
            None
        });
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let second = PlayedNode::start("n", token);
        for there in [broken.address(), silent.local_addr().unwrap()] {
            *target.lock().unwrap() = there;
            assert_eq!(register(&coordinator, &second), 409, "{there}");
            assert_eq!(entry(&coordinator)["url"], door.url());
            first.send(&coordinator, "heartbeat", &first.heartbeat(json!({}))).expect(200);
        }
        // Two of its intervals without a word of it are long enough, but only for silence.
        *target.lock().unwrap() = first.address();
        at_door(1);
        *target.lock().unwrap() = broken.address();
        assert_eq!(register(&coordinator, &second), 409);
        *target.lock().unwrap() = silent.local_addr().unwrap();
        assert_eq!(register(&coordinator, &second), 200);
        assert_eq!(entry(&coordinator)["url"], second.url());
    }
}

/// What a node was sent of clients' messages.
fn calls(node: &PlayedNode) -> usize {
    node.seen().iter().filter(|text| text.starts_with("POST /cluster/servers/counter/mcp")).count()
}

/// Connections that the coordinator has proved lead to a process, not to an address.
#[test]
fn no_request_goes_over_a_connection_to_a_node_that_another_one_follows() {
    for token in TOKENS {
        for id in ["n", "other"] {
            let setup = Setup::new(&settings::coordinator(json!({}))).arg("--workers").arg("1");
            let env = |setup: Setup, token| setup.env("MOORING_CLUSTER_TOKEN", token);
            let coordinator = token.into_iter().fold(setup, env).start();
            let former = PlayedNode::start("n", token);
            let target = Arc::new(Mutex::new(former.address()));
            let door = Stranger::moving(&target);
            let register = |node: &PlayedNode| {
                let message = node.registration(json!({"url": door.url()}));
                node.send(&coordinator, "register", &message).expect(200);
            };
            let call = || coordinator.client("/mcp/counter").try_initialize();
            register(&former);
            let _ = call();
            assert!(calls(&former) > 0, "the former node is called");
            let handshakes = || door.seen().matches("GET /cluster/link ").count();
            let before = handshakes();
            let _ = call();
            assert_eq!(handshakes(), before, "its connections are used again");
            // It lives on, and so do its connections.
            let next = PlayedNode::start(id, token);
            *target.lock().unwrap() = next.address();
            if id != "n" {
                former.send(&coordinator, "deregister", &former.heartbeat(json!({}))).expect(200);
            }
            let before = former.seen().len();
            register(&next);
            for _ in 0..3 {
                let _ = call();
            }
            assert!(calls(&next) > 0, "the next node is called");
            assert_eq!(former.seen().len(), before, "{:?}", &former.seen()[before..]);
        }
    }
}
