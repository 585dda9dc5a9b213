//! All nodes of a server are away: what it offers stays listed for a while, and requests for it are
//! told which node is missing, since when, and when to come back.

use mooring_tests::http::Response;
use mooring_tests::{Cluster, Gateway, Session, eventually, servers, settings};
use rustix::process::Signal;
use serde_json::{Value, json};

/// A coordinator with this grace period, node `a` with a counter and node `b` with notes.
fn cluster(away_timeout: u64) -> Cluster {
    let own = json!({"coordinator": {"nodeTimeout": 1000, "awayTimeout": away_timeout}});
    let groups = json!({"groups": [{"name": "desk", "servers": ["notes", "counter"]}]});
    let coordinator = settings::merged(settings::coordinator(own), groups);
    let mut cluster = Cluster { coordinator: Gateway::start_with(&coordinator), nodes: Vec::new() };
    cluster.add("a", json!({"counter": servers::counter()}));
    cluster.add("b", json!({"notes": servers::notes()}));
    cluster.wait_for_active(2);
    cluster
}

fn wait_until_away(cluster: &Cluster, id: &str) {
    eventually(&format!("{id} is away"), || {
        let node = cluster.node(id);
        node.is_none_or(|node| node["status"] != "active").then_some(())
    });
}

/// A tool of the notes, as sessions of several servers see it.
fn tool_of_notes(session: &Session) -> String {
    let tools = session.tools();
    tools.into_iter().find(|tool| tool.starts_with("notes-")).expect("a tool of the notes")
}

fn call(session: &Session, tool: &str) -> Response {
    session.try_request("tools/call", json!({"name": tool, "arguments": {}}))
}

#[track_caller]
fn says_who_is_away(response: &Response, node: &str, absence: &str) {
    let answer = response.messages().pop().expect("an answer");
    let error = &answer["error"];
    assert_eq!((response.status, &error["code"]), (200, &json!(-31002)), "{answer}");
    let after = response.header("retry-after").expect("when to come back");
    assert_eq!(error["data"]["retryAfter"].to_string(), after);
    assert_eq!(error["data"]["server"], "notes", "{answer}");
    let nodes = error["data"]["nodes"].as_array().expect("nodes");
    let is_named = |named: &Value| {
        let since = named["since"].as_str().expect("a time");
        assert!(error["message"].as_str().unwrap().contains(since), "{answer}");
        named["node"] == node && named["absence"] == absence
    };
    assert!(nodes.iter().any(is_named), "{answer}");
}

#[test]
fn tools_of_a_server_whose_node_is_away_stay_listed_and_a_call_says_so() {
    for (signal, absence) in [(Signal::KILL, "silent"), (Signal::TERM, "signed-off")] {
        let mut cluster = cluster(600_000);
        let single = cluster.client("/mcp/notes").initialize();
        let own = single.tools().pop().expect("a tool");
        let sessions = ["/mcp", "/mcp/desk"].map(|path| cluster.client(path).initialize());
        let tools = sessions.each_ref().map(Session::tools);
        let tool = tool_of_notes(&sessions[0]);
        cluster.nodes[1].end_by(signal);
        wait_until_away(&cluster, "b");
        for (session, tools) in sessions.iter().zip(&tools) {
            assert_eq!(session.tools(), *tools);
            assert_eq!(session.client.initialize().tools(), *tools);
            says_who_is_away(&call(session, &tool), "b", absence);
        }
        says_who_is_away(&call(&single, &own), "b", absence);
        says_who_is_away(&cluster.client("/mcp/notes").try_initialize(), "b", absence);
        cluster.nodes[1].start();
        cluster.wait_for_active(2);
        for session in &sessions {
            let answer = session.answer("tools/call", json!({"name": tool, "arguments": {}}));
            assert_ne!(answer["error"]["code"], -31002, "{answer}");
        }
        drop(single.tools());
    }
}

#[test]
fn with_all_nodes_away_everything_stays_listed() {
    let mut cluster = cluster(600_000);
    let session = cluster.client("/mcp").initialize();
    let tools = session.tools();
    let tool = tool_of_notes(&session);
    for node in &mut cluster.nodes {
        node.kill9();
    }
    wait_until_away(&cluster, "a");
    wait_until_away(&cluster, "b");
    assert_eq!(session.tools(), tools);
    assert_eq!(cluster.client("/mcp").initialize().tools(), tools);
    says_who_is_away(&call(&session, &tool), "b", "silent");
}

#[test]
fn after_the_grace_period_the_tools_are_gone_and_the_client_is_told() {
    let mut cluster = cluster(1500);
    let session = cluster.client("/mcp").initialize();
    let tools = session.tools();
    let mut stream = session.listen();
    cluster.nodes[1].kill9();
    wait_until_away(&cluster, "b");
    stream.message(|message| message["method"] == "notifications/tools/list_changed");
    eventually("only the counter is left", || {
        let left = session.tools();
        (left.len() < tools.len() && left.iter().all(|tool| tool.starts_with("counter-")))
            .then_some(())
    });
}

#[test]
fn without_a_grace_period_and_any_node_a_list_is_refused_instead_of_empty() {
    let mut cluster = cluster(0);
    let session = cluster.client("/mcp").initialize();
    drop(session.tools());
    for node in &mut cluster.nodes {
        node.kill9();
    }
    eventually("the list is refused", || {
        let response = session.try_request("tools/list", json!({}));
        let answer = response.messages().pop().expect("an answer");
        let listed = answer["result"]["tools"].as_array();
        assert!(listed.is_none_or(|tools| !tools.is_empty()), "{answer}");
        (answer["error"]["code"] == -31002).then_some(())
    });
}
