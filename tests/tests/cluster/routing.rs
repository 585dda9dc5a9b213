//! Nodes with different servers act as one system, and a session stays at its node.

use std::collections::BTreeSet;

use mooring_tests::{Cluster, Gateway, Session, servers, settings};
use serde_json::json;

#[test]
fn parallel_first_requests_of_one_session_reach_one_process() {
    let standalone =
        Gateway::start_with(&settings::standalone(json!({"counter": servers::counter()})));
    let cluster = Cluster::of_two_equal_nodes(json!({}));
    for gateway in [&standalone, &cluster.coordinator] {
        for _ in 0..10 {
            let session = gateway.client("/mcp").initialize();
            let pids = in_parallel(&session, 8);
            assert_eq!(pids.len(), 1, "{pids:?}");
        }
    }
}

/// The processes reached by parallel first requests, each on a new connection.
fn in_parallel(session: &Session, requests: usize) -> BTreeSet<u32> {
    let ready = std::sync::Barrier::new(requests);
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..requests)
            .map(|_| {
                scope.spawn(|| {
                    ready.wait();
                    session.whoami("counter-whoami").pid
                })
            })
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    })
}

#[test]
fn a_scope_reaches_only_nodes_that_host_its_server() {
    let mut cluster = Cluster::of_two_equal_nodes(json!({}));
    cluster.add("c", json!({"only": servers::counter_named("c")}));
    cluster.wait_for_active(3);
    for _ in 0..10 {
        let session = cluster.client("/mcp/only").initialize();
        assert_eq!(session.whoami("whoami").name, "c");
        let session = cluster.client("/mcp/counter").initialize();
        assert_ne!(session.whoami("whoami").name, "c");
    }
}

#[test]
fn a_server_of_a_node_that_is_gone_is_said_to_be_unavailable() {
    let mut cluster = Cluster::of_two_equal_nodes(json!({}));
    cluster.add("c", json!({"only": servers::counter_named("c")}));
    cluster.wait_for_active(3);
    let session = cluster.client("/mcp").initialize();
    session.count("only-count");
    cluster.nodes[2].kill9();
    let params = json!({"name": "only-count", "arguments": {}});
    let says = session.answer("tools/call", params)["error"]["message"].to_string();
    assert!(says.contains("only"), "{says}");
    session.count("counter-count");
    cluster.nodes[2].start();
    let answer = mooring_tests::eventually("the node has registered again", || {
        let answer = session.answer("tools/call", json!({"name": "only-count", "arguments": {}}));
        answer["result"].is_object().then_some(answer)
    });
    assert_eq!(answer["result"]["content"][0]["text"], "1", "{answer}");
}

#[test]
fn bound_sessions_stay_when_a_node_comes() {
    let mut cluster = Cluster::of_two_equal_nodes(json!({}));
    let sessions: Vec<_> = (0..40).map(|_| cluster.client("/mcp/counter").initialize()).collect();
    let before: Vec<_> = sessions.iter().map(|session| session.whoami("whoami")).collect();
    cluster.add("c", json!({"counter": servers::counter_named("c")}));
    cluster.wait_for_active(3);
    let after: Vec<_> = sessions.iter().map(|session| session.whoami("whoami")).collect();
    assert_eq!(before, after);
    let new: BTreeSet<_> = (0..40)
        .map(|_| cluster.client("/mcp/counter").initialize().whoami("whoami").name)
        .collect();
    assert!(new.contains("c"), "{new:?}");
}

#[test]
fn a_group_of_the_coordinators_file_names_servers_of_any_node() {
    let settings = settings::merged(
        settings::coordinator(json!({})),
        json!({"groups": [{"name": "desk", "servers": ["notes", "clock"]}]}),
    );
    let mut cluster = Cluster { coordinator: Gateway::start_with(&settings), nodes: Vec::new() };
    cluster.add("a", json!({"counter": servers::counter(), "notes": servers::notes()}));
    cluster.add("b", json!({"counter": servers::counter(), "clock": servers::clock()}));
    cluster.wait_for_active(2);
    let session = cluster.client("/mcp/desk").initialize();
    let tools = session.tools();
    assert_eq!(tools.len(), 5, "{tools:?}");
    assert!(tools.iter().all(|tool| !tool.starts_with("counter")), "{tools:?}");
    session.call("notes-add_note", json!({"text": "x"}));
    session.call("clock-now", json!({}));
    let answer = session.answer("tools/call", json!({"name": "counter-count"}));
    assert_eq!(answer["error"]["code"], -32602);
}

#[test]
fn streams_and_large_bodies_pass_through_two_gateways() {
    let mut cluster = Cluster::of_two_equal_nodes(json!({}));
    cluster.add("c", json!({"notes": servers::notes(), "clock": servers::clock()}));
    cluster.wait_for_active(3);
    let session = cluster.client("/mcp/clock").initialize();
    let (message, id) = session.message(
        "tools/call",
        json!({
            "name": "wait_with_progress",
            "arguments": {"steps": 2, "ms": 1},
            "_meta": {"progressToken": "t"},
        }),
    );
    let mut stream = session.post(&message).open(cluster.coordinator.address());
    assert_eq!(stream.event().json()["params"]["progress"], 1);
    assert_eq!(stream.event().json()["params"]["progress"], 2);
    assert_eq!(stream.event().json()["id"], id);
    let text = "0123456789".repeat(50_000);
    for (path, add, list) in
        [("/mcp/notes", "add_note", "list_notes"), ("/mcp", "notes-add_note", "notes-list_notes")]
    {
        let session = cluster.client(path).initialize();
        session.call(add, json!({"text": text}));
        let notes = session.call(list, json!({}));
        assert_eq!(notes["structuredContent"]["notes"], json!([text]), "{path}");
    }
}

#[test]
fn delete_at_the_coordinator_ends_the_process_at_the_node() {
    let cluster = Cluster::of_two_equal_nodes(json!({}));
    let session = cluster.client("/mcp").initialize();
    let pid = session.whoami("counter-whoami").pid;
    session.delete().expect(200);
    mooring_tests::eventually("the process is gone", || {
        (!mooring_tests::process::runs(pid)).then_some(())
    });
    session.try_request("ping", json!({})).expect(404);
}

/// Uses a connection that has requested the same path before.
#[test]
fn a_server_that_has_gone_with_its_nodes_is_unknown() {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};

    let mut cluster = Cluster::of_two_equal_nodes(
        json!({"coordinator": {"nodeTimeout": 1000, "cleanupInterval": 100}}),
    );
    let client = cluster.client("/mcp/counter");
    let mut stream = BufReader::new(std::net::TcpStream::connect(client.address()).unwrap());
    let mut initialize = || {
        let body = json!({
            "jsonrpc": "2.0", "id": 1, "method": "initialize",
            "params": {"protocolVersion": "2025-11-25", "capabilities": {},
                "clientInfo": {"name": "x", "version": "1"}},
        })
        .to_string();
        let head = format!(
            "POST /mcp/counter HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.get_mut().write_all((head + &body).as_bytes()).unwrap();
        let (mut status, mut length) = (String::new(), 0);
        stream.read_line(&mut status).unwrap();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
        }
        stream.read_exact(&mut vec![0; length]).unwrap();
        status.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(initialize(), "200");
    for node in &mut cluster.nodes {
        assert!(node.terminate().success());
    }
    mooring_tests::eventually("the server is unknown", || {
        (cluster.client("/mcp/counter").try_initialize().status == 404).then_some(())
    });
    assert_eq!(initialize(), "404");
}
