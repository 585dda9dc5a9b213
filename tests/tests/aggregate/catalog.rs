//! Lists are complete, however a server divides them into pages.

use std::collections::BTreeSet;

use mooring_tests::{Canned, Cluster, Gateway, eventually, servers, settings};
use serde_json::json;

use mooring_tests::orders::announce;

#[test]
fn an_aggregate_has_every_page_of_every_server() {
    let gateway = Gateway::start_with(&settings::standalone(json!({
        "counter": servers::in_pages(servers::counter(), 1),
        "clock": servers::in_pages(servers::clock(), 2),
        "notes": servers::in_pages(servers::notes(), 1),
    })));
    let session = gateway.client("/mcp").initialize();
    assert_eq!(session.tools().len(), 3 + 3 + 2);
    assert_eq!(session.list("prompts", "name").len(), 1);
    session.count("counter-count");
    session.call("clock-wait_with_progress", json!({"steps": 1, "ms": 1}));
}

#[test]
fn a_single_server_pages_as_it_always_did() {
    let counter = servers::in_pages(servers::counter(), 1);
    let gateway = Gateway::start_with(&settings::standalone(json!({"counter": counter})));
    let session = gateway.client("/mcp/counter").initialize();
    let first = session.request("tools/list", json!({}));
    assert_eq!(first["tools"].as_array().unwrap().len(), 1);
    assert!(first["nextCursor"].is_string());
    assert_eq!(session.tools(), ["count", "whoami", "reset"]);
}

#[test]
fn a_cursor_that_an_aggregate_never_gave_is_refused() {
    let counter = servers::counter();
    let gateway = Gateway::start_with(&settings::standalone(json!({"counter": counter})));
    let session = gateway.client("/mcp").initialize();
    let answer = session.answer("tools/list", json!({"cursor": "made-up"}));
    assert_eq!(answer["error"]["code"], -32602);
}

/// Replicas differ, as during an upgrade node by node.
#[test]
fn where_replicas_differ_a_session_is_offered_what_its_own_has() {
    let of_node = |node: &str| {
        let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
        Canned::new()
            .with_capabilities(json!({"tools": {}}))
            .answers("tools/list", json!({"tools": [tool("announce"), tool(node)]}))
    };
    let (servers, others) = ([of_node("a"), of_node("b")], [of_node("other"), of_node("other")]);
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    for (index, node) in ["a", "b"].iter().enumerate() {
        cluster.add(node, json!({"one": servers[index].entry(), "two": others[index].entry()}));
    }
    cluster.wait_for_active(2);
    for node in &cluster.nodes {
        node.wait_for_log("server=one");
        node.wait_for_log("server=two");
    }
    let calls = |server: &Canned| {
        server.told().iter().filter(|(_, told)| told["method"] == "tools/call").count()
    };
    let mut seen = BTreeSet::new();
    // New sessions are placed at random.
    for _ in 0..64 {
        let before = servers.each_ref().map(calls);
        let session = cluster.client("/mcp").initialize();
        let mut stream = session.listen();
        let usual = session.tools();
        announce(&session, "one-announce", &[]);
        let at = (0..2).find(|at| calls(&servers[*at]) > before[*at]).expect("a node");
        let own = ["one-a", "one-b"][at];
        if !usual.contains(&own.to_owned()) {
            stream.message(|told| told["method"] == "notifications/tools/list_changed");
        }
        eventually("its node's tools", || {
            let tools: BTreeSet<String> = session.tools().into_iter().collect();
            let expected = ["one-announce", own, "two-announce", "two-other"];
            (tools == expected.map(str::to_owned).into()).then_some(())
        });
        let answer = session.answer("tools/call", json!({"name": own}));
        assert!(answer.get("result").is_some(), "{answer}");
        seen.insert(own);
        if seen.len() == 2 {
            return;
        }
    }
    panic!("all sessions are at {seen:?}");
}
