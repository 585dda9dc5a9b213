//! Connections from a coordinator to a node begin with a handshake; what comes without one is
//! refused, and the token never travels.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use mooring_tests::proofs::{self, Handshake, Party};
use mooring_tests::{
    Behind, Gateway, PlayedCoordinator, PlayedNode, Port, Request, Setup, Stranger, eventually,
    servers, settings,
};
use rustix::process::Signal;
use serde_json::{Value, json};

const TOKEN: &str = "t0ken-of-the-cluster";

/// The two kinds of cluster.
const TOKENS: [Option<&str>; 2] = [None, Some(TOKEN)];

fn setup(settings: &Value, token: Option<&str>) -> Setup {
    let setup = Setup::new(settings);
    token.into_iter().fold(setup, |setup, token| setup.env("MOORING_CLUSTER_TOKEN", token))
}

fn node_settings(coordinator: u16) -> Value {
    settings::node(coordinator, json!({"id": "n"}), json!({"counter": servers::counter_named("n")}))
}

/// A node, and all that its coordinator knows of it.
fn node(token: Option<&str>) -> (Gateway, PlayedCoordinator, Behind) {
    let hears = PlayedCoordinator::start();
    let node = setup(&node_settings(hears.port()), token).start();
    let behind = hears.registered(&node, token);
    (node, hears, behind)
}

/// A handshake that would succeed.
fn about(behind: &Behind) -> Handshake {
    Handshake {
        caller: Party::new("coordinator"),
        called: behind.party.clone(),
        address: format!("http://{}", behind.node),
        nonces: [proofs::random(), String::new()],
    }
}

/// Waits until the coordinator will know the node after a restart.
fn wait_until_kept(coordinator: &Gateway) {
    let file = coordinator.data_folder().join("nodes.json");
    eventually("the node is kept", || {
        std::fs::read_to_string(&file).is_ok_and(|text| text.contains("\"n\"")).then_some(())
    });
}

/// Whether requests are answered on a connection.
fn is_served(mut stream: TcpStream) -> bool {
    let request = "GET /cluster/bindings HTTP/1.1\r\nHost: n\r\n\r\n";
    let _ = stream.write_all(request.as_bytes());
    let head = proofs::read_until(&mut stream, "\r\n\r\n").unwrap_or_default();
    head.starts_with("HTTP/1.1 200")
}

fn until_end(mut stream: TcpStream) -> String {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    String::from_utf8_lossy(&rest).into_owned()
}

#[test]
fn a_coordinator_that_proves_itself_is_answered_on_that_connection_alone() {
    for token in TOKENS {
        let (node, _hears, behind) = node(token);
        let stream = proofs::call(behind.node, &behind.key, about(&behind)).unwrap();
        assert!(is_served(stream));
        let status = if token.is_some() { 401 } else { 403 };
        for path in [
            "/cluster/bindings",
            "/cluster/instances",
            "/cluster/logs?server=counter",
            "/cluster/servers/counter/catalog",
            "/cluster/servers/counter/mcp",
            "/cluster/proof?nonce=0",
            "/cluster/link/",
            "/cluster/",
        ] {
            let refusal = node.get(path).expect(status);
            assert!(!refusal.text().contains(&behind.party.incarnation), "{path}");
            Request::post(path).json(&json!({})).send(node.address()).expect(status);
        }
    }
}

#[test]
fn a_node_proves_nothing_to_a_caller_that_has_not_proved_itself() {
    for token in TOKENS {
        let (node, _hears, behind) = node(token);
        node.wait_for_log("registered with");
        let other_start = Party { incarnation: proofs::random(), ..behind.party.clone() };
        // A stranger; and a node that knows the token, and not what this one was registered with.
        for (key, called) in [("guess", &behind.party), (behind.key.as_str(), &other_start)] {
            let about = Handshake { called: called.clone(), ..about(&behind) };
            let answer = proofs::call(behind.node, key, about).unwrap_err();
            assert_eq!(answer, "refused proof\n");
        }
        let (stream, head) = proofs::greet(behind.node, &about(&behind).hello()).unwrap();
        assert!(!head.contains(&behind.party.incarnation) && !head.contains("proof"), "{head}");
        drop(stream);
        node.wait_for_log("has not proved that it is this node's coordinator");
    }
}

#[test]
fn a_proof_to_an_earlier_start_is_not_told_of_while_the_node_is_not_registered() {
    let nobody = Port::reserve();
    let node = setup(&node_settings(nobody.number()), Some(TOKEN)).start();
    node.wait_for_log("not registered");
    let about = Handshake {
        caller: Party::new("coordinator"),
        called: Party { incarnation: proofs::random(), ..Party::new("n") },
        address: node.url(),
        nonces: [proofs::random(), String::new()],
    };
    for _ in 0..3 {
        let answer = proofs::call(node.address(), TOKEN, about.clone()).unwrap_err();
        assert_eq!(answer, "refused proof\n");
    }
    assert!(!node.log().contains("has not proved"), "{}", node.log());
}

#[test]
fn a_proof_of_one_direction_is_none_in_the_other() {
    let (_node, _hears, behind) = node(Some(TOKEN));
    let mut about = about(&behind);
    let (mut stream, head) = proofs::greet(behind.node, &about.hello()).unwrap();
    let link = proofs::header(&head, "mooring-link").unwrap();
    about.nonces[1] = link.strip_prefix("1 ").unwrap().to_owned();
    stream.write_all(format!("proof {}\n", about.proof(TOKEN, "called")).as_bytes()).unwrap();
    assert_eq!(until_end(stream), "refused proof\n");
}

#[test]
fn whoever_gives_a_coordinator_its_own_proof_back_is_not_believed() {
    for token in TOKENS {
        let mut coordinator = setup(&settings::coordinator(json!({})), token).start();
        let port = Port::reserve();
        let number = port.number();
        let node = setup(&node_settings(coordinator.port()), token).port(port).start();
        wait_until_kept(&coordinator);
        coordinator.kill9();
        drop(node);
        let stranger = Stranger::reflecting(number);
        coordinator.start();
        eventually("it is called", || stranger.seen().contains("proof ").then_some(()));
        coordinator.wait_for_log("not registered again");
        assert!(!stranger.seen().contains("/cluster/bindings"), "{}", stranger.seen());
        assert_eq!(coordinator.data("/api/cluster/nodes?active=true"), json!([]));
    }
}

#[test]
fn a_relay_at_an_address_that_the_node_has_left_learns_nothing() {
    for token in TOKENS {
        let mut coordinator = setup(&settings::coordinator(json!({})), token).start();
        let (old, new) = (Port::reserve(), Port::reserve());
        let number = old.number();
        let settings = node_settings(coordinator.port());
        let mut node = setup(&settings, token).port(old).start();
        wait_until_kept(&coordinator);
        coordinator.kill9();
        node.kill9();
        let node = setup(&settings, token).port(new).start();
        let relay = Stranger::relaying(number, node.address());
        coordinator.start();
        eventually("the old address is called", || {
            relay.seen().contains("GET /cluster/link ").then_some(())
        });
        eventually("the node is in at its new address", || {
            let nodes = coordinator.data("/api/cluster/nodes");
            (nodes[0]["url"] == node.url()).then_some(())
        });
        let session = coordinator.client("/mcp/counter").initialize();
        assert_eq!(session.whoami("whoami").name, "n");
        let seen = relay.seen();
        assert!(seen.contains("refused address"), "{seen}");
        assert!(!seen.contains("proof ") && !seen.contains(TOKEN), "{seen}");
        let said = node.wait_for_log("not an address that it knows as its own");
        assert!(said.contains("advertiseUrl"), "{said}");
    }
}

#[test]
fn the_address_that_was_called_counts_and_not_what_a_relay_says() {
    for token in TOKENS {
        let (node, _hears, behind) = node(token);
        for address in [
            "http://127.0.0.1:1".to_owned(),
            format!("http://127.0.0.2:{}", node.port()),
            format!("https://elsewhere.example:{}", node.port()),
            format!("http://{}/prefix", behind.node),
        ] {
            let about = Handshake { address: address.clone(), ..about(&behind) };
            let answer = proofs::call(behind.node, &behind.key, about).unwrap_err();
            assert!(answer.starts_with("HTTP/1.1 421 "), "{address}: {answer}");
            assert_eq!(proofs::header(&answer, "mooring-link"), Some("refused address"));
        }
        // A relay may write the right address into the message, but the proof is about another.
        let mut wrong = about(&behind);
        let (mut stream, head) = proofs::greet(behind.node, &wrong.hello()).unwrap();
        let link = proofs::header(&head, "mooring-link").unwrap();
        wrong.nonces[1] = link.strip_prefix("1 ").unwrap().to_owned();
        wrong.address = "http://127.0.0.1:1".into();
        let line = format!("proof {}\n", wrong.proof(&behind.key, "caller"));
        stream.write_all(line.as_bytes()).unwrap();
        assert_eq!(until_end(stream), "refused proof\n");
    }
}

#[test]
fn an_advertised_address_is_the_one_to_call() {
    let hears = PlayedCoordinator::start();
    let port = Port::reserve();
    let url = format!("http://localhost:{}", port.number());
    let advertised = json!({"systemConfig": {"cluster": {"node": {"advertiseUrl": url}}}});
    let settings = settings::merged(node_settings(hears.port()), advertised);
    let node = setup(&settings, Some(TOKEN)).port(port).start();
    let behind = hears.registered(&node, Some(TOKEN));
    let right = Handshake { address: url.to_uppercase().replace("HTTP", "http"), ..about(&behind) };
    assert!(is_served(proofs::call(behind.node, TOKEN, right).unwrap()));
    let answer = proofs::call(behind.node, TOKEN, about(&behind)).unwrap_err();
    assert_eq!(proofs::header(&answer, "mooring-link"), Some("refused address"));
}

#[test]
fn nothing_that_comes_before_the_proof_is_answered() {
    for token in TOKENS {
        let (_node, _hears, behind) = node(token);
        let request = "GET /cluster/bindings HTTP/1.1\r\nHost: n\r\n\r\n";
        let line = format!("proof {}\n", "0".repeat(64));
        for early in [request.to_owned(), format!("{line}{request}"), format!("\n{line}")] {
            let mut stream = TcpStream::connect(behind.node).unwrap();
            stream.set_read_timeout(Some(mooring_tests::PATIENCE)).unwrap();
            let all = format!("{}{early}", proofs::upgrade(&about(&behind).hello()));
            stream.write_all(all.as_bytes()).unwrap();
            let answer = until_end(stream);
            assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
            assert!(!answer.contains("200 OK") && !answer.contains("bindings"), "{answer}");
            // The same after the node's answer, where a proof is expected.
            let (mut stream, _) = proofs::greet(behind.node, &about(&behind).hello()).unwrap();
            let _ = stream.write_all(format!("{early}{request}").as_bytes());
            let answer = until_end(stream);
            assert!(!answer.contains("200 OK") && !answer.contains("bindings"), "{answer}");
        }
    }
}

/// What comes before it was asked for cannot be an answer: somebody has put it there.
#[test]
fn a_node_that_answers_before_it_was_asked_is_not_believed() {
    let coordinator = setup(&settings::coordinator(json!({})), Some(TOKEN)).start();
    for (with, status) in [("challenge", 400), ("proof", 400), ("nothing", 200)] {
        let played = PlayedNode::start("n", Some(TOKEN));
        let hasty = Stranger::hasty(&played.own, TOKEN, with);
        let registration = played.registration(json!({"url": hasty.url()}));
        let answer = played.send(&coordinator, "register", &registration);
        assert_eq!(answer.status, status, "{with}: {}", answer.text());
        assert_eq!(hasty.seen().contains("GET /cluster/bindings"), status == 200, "{with}");
    }
}

#[test]
fn a_handshake_that_does_not_go_on_is_over_soon() {
    let (_node, _hears, behind) = node(Some(TOKEN));
    let begun = Instant::now();
    let (mut stream, head) = proofs::greet(behind.node, &about(&behind).hello()).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream.write_all(b"proof 00").unwrap();
    assert_eq!(until_end(stream), "");
    let lasted = begun.elapsed();
    assert!(lasted > Duration::from_secs(1) && lasted < Duration::from_secs(10), "{lasted:?}");
}

#[test]
fn only_whole_first_messages_are_answered() {
    let (node, _hears, behind) = node(Some(TOKEN));
    let hello = about(&behind).hello();
    for (text, status) in [
        (hello.replacen('1', "2", 1), 426),
        (format!("{hello} more"), 426),
        ("x".repeat(5000), 426),
        (String::new(), 426),
        (hello.replacen(" n ", " m ", 1), 421),
    ] {
        let request = Request::get("/cluster/link")
            .header("Connection", "Upgrade")
            .header("Upgrade", "mooring-cluster")
            .header("Mooring-Link", &text);
        let mut connection = mooring_tests::Connection::open(node.address());
        let answer = connection.exchange(&request).expect(status);
        assert_eq!(answer.text(), "");
        let word = answer.header("mooring-link").unwrap();
        assert!(["refused message", "refused node"].contains(&word), "{word}");
    }
    let plain = Request::get("/cluster/link").header("Mooring-Link", &hello);
    plain.send(node.address()).expect(426);
    let other = plain.header("Connection", "Upgrade").header("Upgrade", "websocket");
    mooring_tests::Connection::open(node.address()).exchange(&other).expect(426);
}

#[test]
fn the_token_travels_neither_to_nodes_nor_to_the_coordinator() {
    let coordinator = setup(&settings::coordinator(json!({})), Some(TOKEN)).start();
    let (_node, hears, behind) = node(Some(TOKEN));
    let incarnation = behind.party.incarnation.clone();
    let played = PlayedNode::before("n", Some(TOKEN), behind);
    let registration = played.registration(json!({}));
    played.send(&coordinator, "register", &registration).expect(200);
    let session = coordinator.client("/mcp/counter").initialize();
    assert_eq!(session.count("count"), 1);
    let _ = coordinator.data("/api/cluster/instances");
    eventually("there was a heartbeat", || {
        hears.seen().iter().any(|text| text.contains("/heartbeat")).then_some(())
    });
    let all = [hears.seen(), played.seen()].concat().join("\n").to_lowercase();
    assert!(all.contains("get /cluster/link ") && all.contains("mooring-proof: "), "{all}");
    assert!(!all.contains(TOKEN) && !all.contains("authorization"), "{all}");
    assert!(!played.seen().join("\n").contains(&incarnation));
}

#[test]
fn a_server_with_the_url_of_a_node_gets_no_connection_that_the_coordinator_has_proved() {
    let coordinator = |node: &Gateway| {
        let url = format!("{}/cluster/servers/counter/mcp", node.url());
        json!({"mcpServers": {"through": {"type": "streamable-http", "url": url}}})
    };
    let port = Port::reserve();
    let node = setup(&node_settings(port.number()), Some(TOKEN)).start();
    let settings = settings::merged(settings::coordinator(json!({})), coordinator(&node));
    let coordinator = setup(&settings, Some(TOKEN)).port(port).start();
    coordinator.wait_for_log("Node registered:");
    // There are proved connections at rest now.
    assert_eq!(coordinator.client("/mcp/counter").initialize().count("count"), 1);
    let answer = coordinator.client("/mcp/through").try_initialize();
    assert!(answer.error_message().contains("401"), "{}", answer.text());
    node.wait_for_log("its connection has not begun with a handshake");
}

#[test]
fn sessions_go_on_after_either_side_has_restarted() {
    for token in TOKENS {
        let mut coordinator = setup(&settings::coordinator(json!({})), token).start();
        let settings = settings::merged(
            node_settings(coordinator.port()),
            json!({"systemConfig": {"cluster": {"node": {"heartbeatInterval": 60_000}}}}),
        );
        let mut node = setup(&settings, token).start();
        wait_until_kept(&coordinator);
        let session = coordinator.client("/mcp/counter").initialize();
        assert_eq!(session.count("count"), 1);
        let pid = session.whoami("whoami").pid;
        coordinator.restart_after(Signal::KILL);
        assert_eq!((session.count("count"), session.whoami("whoami").pid), (2, pid));
        // A new start of the node, at the same address: it is in as soon as it calls.
        let registrations = || coordinator.log().matches("Node registered:").count();
        let before = registrations();
        node.restart_after(Signal::KILL);
        eventually("it registers again", || (registrations() > before).then_some(()));
        assert_eq!(session.count("count"), 1);
    }
}
