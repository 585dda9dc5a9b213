//! A coordinator's restart hides nothing: while nodes of before it have not come back, what they
//! offer is waited for, not left out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mooring_tests::fake_node::Says;
use mooring_tests::{Client, Cluster, FakeNode, Gateway, Session, servers, settings};
use rustix::process::Signal;
use serde_json::{Value, json};

const LISTS: [(&str, &str); 4] = [
    ("tools/list", "tools"),
    ("prompts/list", "prompts"),
    ("resources/list", "resources"),
    ("resources/templates/list", "resourceTemplates"),
];
/// Shorter than the coordinator's wait for a node's list of sessions.
const SLOW: Duration = Duration::from_millis(1200);

/// A node that says late which sessions it holds, once that is set.
fn node(is_slow: &Arc<AtomicBool>) -> FakeNode {
    let is_slow = Arc::clone(is_slow);
    let catalog = json!({
        "initialize": {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}, "prompts": {}, "resources": {}, "completions": {}},
            "serverInfo": {"name": "far", "version": "1"},
            "instructions": "Far away.",
        },
        "tools": [{"name": "go", "inputSchema": {"type": "object"}}],
        "prompts": [{"name": "ask"}],
        "resources": [{"uri": "far://one", "name": "one"}],
        "templates": [{"uriTemplate": "far://{which}", "name": "any"}],
    });
    let says = Says::default().catalog(catalog.to_string().into_bytes());
    let says = says.held(move |_| {
        if is_slow.load(Ordering::Acquire) {
            std::thread::sleep(SLOW);
        }
        json!({"bindings": []})
    });
    says.start("far")
}

/// What a session is offered, and the `initialize` result of a new one.
fn offered(client: &Client, old: Option<&Session>) -> Value {
    let new = client.initialize();
    let lists = LISTS.map(|(method, member)| {
        let session = old.unwrap_or(&new);
        let result = session.request(method, json!({}));
        assert!(!result[member].as_array().unwrap().is_empty(), "{method}: {result}");
        result[member].clone()
    });
    json!({"lists": lists, "capabilities": new.result["capabilities"],
           "instructions": new.result["instructions"]})
}

#[test]
fn lists_names_and_initialize_wait_for_the_nodes_of_before_a_restart() {
    let is_slow = Arc::new(AtomicBool::new(false));
    let node = node(&is_slow);
    let groups = json!({"groups": [{"name": "desk", "servers": ["far"]}]});
    let coordinator = settings::merged(settings::coordinator(json!({})), groups);
    let mut coordinator = Gateway::start_with(&coordinator);
    let servers = json!([{"name": "far", "digest": "one"}]);
    node.register(&coordinator, servers, json!({})).expect(200);
    for path in ["/mcp", "/mcp/desk"] {
        let client = coordinator.client(path);
        let old = client.initialize();
        // An `initialize` before the first discovery waits for nobody.
        drop(offered(&client, Some(&old)));
        let before = offered(&client, Some(&old));
        assert_eq!(before["instructions"].as_str().map(|text| text.contains("Far")), Some(true));
        for old in [None, Some(&old)] {
            is_slow.store(true, Ordering::Release);
            coordinator.restart_after(Signal::KILL);
            assert_eq!(offered(&client, old), before, "{path}");
            is_slow.store(false, Ordering::Release);
        }
        for (method, params) in [
            ("tools/call", json!({"name": "far-go", "arguments": {}})),
            ("prompts/get", json!({"name": "far-ask"})),
            ("resources/read", json!({"uri": "far://one"})),
            ("resources/read", json!({"uri": "far://two"})),
            (
                "completion/complete",
                json!({"ref": {"type": "ref/prompt", "name": "far-ask"},
                       "argument": {"name": "a", "value": "b"}}),
            ),
        ] {
            is_slow.store(true, Ordering::Release);
            coordinator.restart_after(Signal::KILL);
            let answer = old.answer(method, params.clone());
            is_slow.store(false, Ordering::Release);
            let code = answer["error"]["code"].as_i64();
            assert!(!matches!(code, Some(-32602 | -32002 | -31002)), "{path} {params}: {answer}");
            let asked = |asked: &mooring_tests::scripted::Asked| asked.rpc() == method;
            node.wait_for("the node is asked", asked);
        }
    }
}

#[test]
fn a_server_of_one_node_waits_for_it_after_a_restart() {
    let is_slow = Arc::new(AtomicBool::new(false));
    let node = node(&is_slow);
    let mut coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    node.register(&coordinator, json!([{"name": "far"}]), json!({})).expect(200);
    let client = coordinator.client("/mcp/far");
    let old = client.initialize();
    is_slow.store(true, Ordering::Release);
    coordinator.restart_after(Signal::KILL);
    let new = client.try_initialize().expect(200).json();
    assert!(new["result"].is_object(), "{new}");
    coordinator.restart_after(Signal::KILL);
    let answer = old.answer("tools/list", json!({}));
    assert_ne!(answer["error"]["code"], -31002, "{answer}");
}

#[test]
fn a_node_whose_address_refuses_is_not_waited_for() {
    /// What a session would wait for a node that may live.
    const HEARTBEAT: u64 = 30_000;
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    cluster.add("a", json!({"counter": servers::counter()}));
    let late = json!({"id": "b", "heartbeatInterval": HEARTBEAT});
    let late = settings::node(cluster.coordinator.port(), late, json!({"notes": servers::notes()}));
    cluster.nodes.push(Gateway::start_with(&late));
    cluster.wait_for_active(2);
    let session = cluster.client("/mcp").initialize();
    let tools = session.tools();
    let notes = tools.iter().find(|tool| tool.starts_with("notes-")).expect("a tool").clone();
    cluster.nodes[1].kill9();
    cluster.coordinator.restart_after(Signal::KILL);
    let begun = Instant::now();
    let listed = session.tools();
    let answer = session.answer("tools/call", json!({"name": notes, "arguments": {}}));
    assert!(begun.elapsed() < Duration::from_millis(HEARTBEAT / 2), "{:?}", begun.elapsed());
    assert!(listed.iter().any(|tool| tool.starts_with("counter-")), "{listed:?}");
    assert_eq!(answer["error"]["code"], -31002, "{answer}");
    let absent = &answer["error"]["data"]["nodes"][0];
    assert_eq!((&absent["node"], &absent["absence"]), (&json!("b"), &json!("not-back")));
    // A URL of its own is no unknown path.
    let refused = cluster.client("/mcp/notes").try_initialize().expect(200);
    assert!(refused.header("retry-after").is_some());
    assert_eq!(refused.json()["error"]["data"]["nodes"][0]["absence"], "not-back");
    cluster.nodes[1].start();
    cluster.wait_for_active(2);
    assert_eq!(session.tools(), tools);
}
