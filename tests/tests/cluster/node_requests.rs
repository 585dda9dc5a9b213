//! Requests of nodes to their coordinator carry a proof: of who sends them, of all that they say,
//! and that they are new.

use mooring_tests::{Cluster, Gateway, PlayedNode, Request, Setup, proofs, settings};
use serde_json::{Value, json};

const TOKEN: &str = "t0ken-of-the-cluster";
const TOKENS: [Option<&str>; 2] = [None, Some(TOKEN)];

fn coordinator(token: Option<&str>) -> Gateway {
    let setup = Setup::new(&settings::coordinator(json!({})));
    token.into_iter().fold(setup, |setup, token| setup.env("MOORING_CLUSTER_TOKEN", token)).start()
}

fn registered(coordinator: &Gateway, id: &str, token: Option<&str>) -> PlayedNode {
    let node = PlayedNode::start(id, token);
    node.send(coordinator, "register", &node.registration(json!({}))).expect(200);
    node
}

fn status(coordinator: &Gateway, id: &str) -> Value {
    let nodes = coordinator.data("/api/cluster/nodes");
    let node = nodes.as_array().unwrap().iter().find(|node| node["id"] == id).cloned();
    node.map_or(Value::Null, |node| node["status"].clone())
}

#[test]
fn nobody_else_speaks_for_a_node_that_lives() {
    for token in TOKENS {
        let coordinator = coordinator(token);
        let node = registered(&coordinator, "n", token);
        let refused = if token.is_some() { 401 } else { 403 };
        let (own, other) = (node.own.incarnation.clone(), proofs::random());
        for what in ["heartbeat", "deregister"] {
            for incarnation in [json!(null), json!(""), json!(own), json!(other)] {
                let mut message = json!({"id": "n", "draining": true, "servers": []});
                if !incarnation.is_null() {
                    message["incarnation"] = incarnation;
                }
                // Without a proof, with one of a guess, and with the token itself.
                let bare = Request::post(&format!("/api/cluster/{what}")).json(&message);
                bare.send(coordinator.address()).expect(refused);
                let bearer = bare.header("Authorization", &format!("Bearer {TOKEN}"));
                bearer.send(coordinator.address()).expect(refused);
                let stranger = PlayedNode::start("n", Some("another-token-of-a-cluster"));
                stranger.send(&coordinator, what, &message).expect(refused);
            }
            // The right key, and not the node's incarnation: a compromised node has the token.
            for incarnation in ["", &other] {
                let message = json!({"id": "n", "incarnation": incarnation, "draining": true});
                node.send(&coordinator, what, &message).expect(404);
            }
        }
        assert_eq!(status(&coordinator, "n"), "active");
        node.send(&coordinator, "deregister", &node.heartbeat(json!({}))).expect(200);
        assert_eq!(status(&coordinator, "n"), "inactive");
    }
}

#[test]
fn a_node_speaks_for_itself_alone() {
    for token in TOKENS {
        let coordinator = coordinator(token);
        let [one, two] = ["one", "two"].map(|id| registered(&coordinator, id, token));
        // One's proof, two's message; and a message for two that one has proved.
        let message = two.heartbeat(json!({"draining": true}));
        let mut forged = two.heartbeat(json!({}));
        forged["id"] = "one".into();
        for (what, message) in [("heartbeat", &message), ("deregister", &message)] {
            let answer = one.send(&coordinator, what, message);
            // With a token two's incarnation is what one does not know; here it does.
            match token {
                Some(_) => assert_eq!(answer.status, 200),
                None => assert_eq!(answer.status, 403, "{}", answer.text()),
            }
        }
        assert_eq!(one.send(&coordinator, "heartbeat", &forged).status, 404);
    }
}

/// What two has proved counts as two's request, so it is refused where its message is another's.
#[test]
fn the_id_of_a_proof_is_the_one_of_its_message() {
    let coordinator = coordinator(Some(TOKEN));
    let [one, two] = ["one", "two"].map(|id| registered(&coordinator, id, Some(TOKEN)));
    let messages = [
        ("heartbeat", one.heartbeat(json!({"draining": true}))),
        ("deregister", one.heartbeat(json!({}))),
        ("register", one.registration(json!({}))),
    ];
    for (what, message) in messages {
        let (path, body) = (format!("/api/cluster/{what}"), message.to_string());
        let called = coordinator.url();
        for (id, status) in [(two.own.id.as_str(), 400), (one.own.id.as_str(), 200)] {
            let proved = proofs::Request {
                path: &path,
                body: body.as_bytes(),
                id,
                called: &called,
                time: proofs::now(),
                nonce: proofs::random(),
            };
            let request = Request::post(&path).json(&message);
            let request = request.header("Mooring-Proof", &proved.header(TOKEN));
            let answer = request.send(coordinator.address()).expect(status).text();
            assert_eq!(answer.contains("another node"), status == 400, "{what}: {answer}");
        }
    }
}

/// Without a token, what a node has registered with is worth something at its address alone.
#[test]
fn a_secret_that_was_stolen_is_worth_nothing_elsewhere() {
    let coordinator = coordinator(None);
    let node = registered(&coordinator, "n", None);
    let elsewhere = |what: &str, message: &Value| {
        let request = node.proved(&coordinator, what, message);
        request.from("127.0.0.2".parse().ok()).send(coordinator.address())
    };
    for what in ["heartbeat", "deregister"] {
        let message = node.heartbeat(json!({"draining": true}));
        let answer = elsewhere(what, &message);
        assert!([403, 404].contains(&answer.status), "{what}: {}", answer.text());
        assert_eq!(status(&coordinator, "n"), "active");
        node.send(&coordinator, "heartbeat", &node.heartbeat(json!({}))).expect(200);
    }
    node.send(&coordinator, "deregister", &node.heartbeat(json!({}))).expect(200);
}

#[test]
fn a_request_is_taken_once_as_it_was_sent() {
    for token in TOKENS {
        let coordinator = coordinator(token);
        let node = registered(&coordinator, "n", token);
        let message = node.heartbeat(json!({}));
        let heartbeat = node.proved(&coordinator, "heartbeat", &message);
        heartbeat.send(coordinator.address()).expect(200);
        let again = heartbeat.send(coordinator.address()).expect(400).json();
        assert!(again["message"].as_str().unwrap().contains("was here before"), "{again}");
        let refused = if token.is_some() { 401 } else { 403 };
        let fresh = node.proved(&coordinator, "heartbeat", &message);
        let changed = fresh.clone().json(&node.heartbeat(json!({"draining": true})));
        changed.send(coordinator.address()).expect(refused);
        let proof = node.proof(proofs::now(), &coordinator, "heartbeat", &message);
        let elsewhere = Request::post("/api/cluster/deregister").json(&message);
        elsewhere.header("Mooring-Proof", &proof).send(coordinator.address()).expect(refused);
        fresh.send(coordinator.address()).expect(200);
        let register = node.proved(&coordinator, "register", &node.registration(json!({})));
        register.send(coordinator.address()).expect(200);
        register.send(coordinator.address()).expect(400);
        assert_eq!(status(&coordinator, "n"), "active");
    }
}

#[test]
fn what_one_node_sends_costs_no_other_its_heartbeats() {
    for token in TOKENS {
        let coordinator = coordinator(token);
        let [loud, other] = ["loud", "other"].map(|id| registered(&coordinator, id, token));
        let soon = proofs::now() + 50_000;
        for number in 0..300 {
            let message = loud.heartbeat(json!({}));
            let ahead = loud.proved_at(soon + number, &coordinator, "heartbeat", &message);
            ahead.send(coordinator.address()).expect(200);
        }
        // Its own requests of now are too old for what is remembered of it.
        loud.send(&coordinator, "heartbeat", &loud.heartbeat(json!({}))).expect(400);
        other.send(&coordinator, "heartbeat", &other.heartbeat(json!({}))).expect(200);
        // Another process that takes the id for its own has its registrations not counted.
        let second = PlayedNode::start("other", token);
        for number in 0..300 {
            let message = second.registration(json!({}));
            let ahead = second.proved_at(soon + number, &coordinator, "register", &message);
            ahead.send(coordinator.address()).expect(409);
        }
        other.send(&coordinator, "heartbeat", &other.heartbeat(json!({}))).expect(200);
    }
}

#[test]
fn a_clock_that_is_wrong_is_named_with_the_other_one() {
    for token in TOKENS {
        let coordinator = coordinator(token);
        let node = registered(&coordinator, "n", token);
        let now = proofs::now();
        for (what, message) in [
            ("heartbeat", node.heartbeat(json!({}))),
            ("deregister", node.heartbeat(json!({}))),
            ("register", node.registration(json!({}))),
        ] {
            for time in [0, now - 120_000, now + 120_000] {
                let late = node.proved_at(time, &coordinator, what, &message);
                let answer = late.send(coordinator.address()).expect(400).json();
                let text = answer["message"].as_str().unwrap();
                assert!(text.matches("Z").count() >= 2 && text.contains("clock"), "{text}");
            }
        }
        for time in [now - 20_000, now + 20_000] {
            let near = node.proved_at(time, &coordinator, "heartbeat", &node.heartbeat(json!({})));
            near.send(coordinator.address()).expect(200);
        }
    }
}

#[test]
fn what_nodes_prove_themselves_by_is_nowhere_to_be_read() {
    use std::os::unix::fs::PermissionsExt as _;
    for token in TOKENS {
        let setup = Setup::new(&settings::coordinator(json!({})))
            .env("MOORING_LOG", "mooring=trace,hyper=trace,axum=trace,tower=trace");
        let coordinator = token
            .into_iter()
            .fold(setup, |setup, token| setup.env("MOORING_CLUSTER_TOKEN", token))
            .start();
        let node = registered(&coordinator, "n", token);
        node.send(&coordinator, "heartbeat", &node.heartbeat(json!({}))).expect(200);
        let secret = node.registration(json!({}))["secret"].as_str().map(str::to_owned);
        let secrets = [Some(node.own.incarnation.clone()), secret, token.map(str::to_owned)];
        for path in [
            "/api/cluster/nodes",
            "/api/cluster/status",
            "/api/cluster/servers/counter/replicas",
            "/api/cluster/instances",
            "/health",
            "/readyz",
            "/metrics",
        ] {
            let text = coordinator.get(path).text();
            for secret in secrets.iter().flatten() {
                assert!(!text.contains(secret), "{path}: {text}");
            }
        }
        for secret in secrets.iter().flatten() {
            assert!(!coordinator.log().contains(secret));
        }
        let kept = coordinator.data_folder().join("nodes.json");
        let mode = std::fs::metadata(kept).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_session_outlives_all_that_strangers_say_of_its_node() {
    let cluster = Cluster::of_two_equal_nodes(json!({}));
    let session = cluster.session_at("a");
    assert_eq!(session.count("count"), 1);
    let pid = session.whoami("whoami").pid;
    for what in ["heartbeat", "deregister", "register"] {
        let stranger = PlayedNode::start("a", None);
        let message = match what {
            "register" => stranger.registration(json!({})),
            _ => json!({"id": "a", "draining": true, "servers": []}),
        };
        let answer = stranger.send(&cluster.coordinator, what, &message);
        assert!([403, 409].contains(&answer.status), "{what}: {}", answer.text());
    }
    assert_eq!((session.count("count"), session.whoami("whoami").pid), (2, pid));
    assert_eq!(cluster.node("a").unwrap()["status"], "active");
}
