//! The strategies `cookie` and `header`: new sessions name a preferred node.

use std::collections::BTreeSet;

use mooring_tests::{Cluster, Response, Session};
use serde_json::{Value, json};

fn with(strategy: &str) -> Value {
    json!({"stickySession": {"strategy": strategy}})
}

/// The cookie's value, after checking its attributes.
fn cookie_of(response: &Response, name: &str) -> String {
    let set = response.header("set-cookie").expect("a cookie");
    let (pair, attributes) = set.split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Lax; Max-Age=3600");
    let (key, value) = pair.split_once('=').unwrap();
    assert_eq!(key, name);
    value.to_owned()
}

#[test]
fn the_cookie_is_set_on_initialize_and_honoured_by_new_sessions() {
    let cluster = Cluster::of_two_equal_nodes(with("cookie"));
    for node in ["a", "b", "a", "b"] {
        let client =
            cluster.client("/mcp/counter").header("Cookie", &format!("x=1; MCPHUB_NODE={node}"));
        for _ in 0..5 {
            assert_eq!(client.initialize().whoami("whoami").name, node);
        }
    }
    let first = cluster.client("/mcp/counter").initialize();
    let node = cookie_of(&first.response, "MCPHUB_NODE");
    assert_eq!(first.whoami("whoami").name, node);
    let client = cluster.client("/mcp/counter").header("Cookie", &format!("MCPHUB_NODE={node}"));
    for _ in 0..10 {
        assert_eq!(client.initialize().whoami("whoami").name, node);
    }
}

#[test]
fn the_header_is_set_on_initialize_and_honoured_by_new_sessions() {
    let cluster = Cluster::of_two_equal_nodes(with("header"));
    let first = cluster.client("/mcp/counter").initialize();
    let node = first.response.header("x-mcphub-node").expect("the header").to_owned();
    assert_eq!(first.whoami("whoami").name, node);
    for node in ["a", "b"] {
        let client = cluster.client("/mcp/counter").header("X-MCPHub-Node", node);
        for _ in 0..8 {
            assert_eq!(client.initialize().whoami("whoami").name, node);
        }
    }
}

#[test]
fn names_of_cookie_and_header_are_the_operators() {
    let cookie = json!({"stickySession": {"strategy": "cookie", "cookieName": "STICKY"}});
    let cluster = Cluster::of_two_equal_nodes(cookie);
    let session = cluster.client("/mcp/counter").initialize();
    assert_eq!(session.whoami("whoami").name, cookie_of(&session.response, "STICKY"));
    let header = json!({"stickySession": {"strategy": "header", "headerName": "X-Sticky"}});
    let cluster = Cluster::of_two_equal_nodes(header);
    let session = cluster.client("/mcp/counter").initialize();
    assert_eq!(Some(&*session.whoami("whoami").name), session.response.header("x-sticky"));
}

#[test]
fn a_cookie_or_header_that_names_no_node_is_ignored() {
    for (strategy, name) in [("cookie", "Cookie"), ("header", "X-MCPHub-Node")] {
        let cluster = Cluster::of_two_equal_nodes(with(strategy));
        let mut seen = BTreeSet::new();
        for value in ["nobody", "", "a b", "coordinator", "../a", &"x".repeat(500)] {
            let value =
                if name == "Cookie" { format!("MCPHUB_NODE={value}") } else { value.to_owned() };
            for _ in 0..4 {
                let session = cluster.client("/mcp/counter").header(name, &value).initialize();
                seen.insert(session.whoami("whoami").name);
            }
        }
        assert_eq!(seen.len(), 2, "{strategy}: {seen:?}");
    }
}

#[test]
fn a_cookie_or_header_of_a_dead_node_is_ignored_and_set_anew() {
    for (strategy, name, value) in
        [("cookie", "Cookie", "MCPHUB_NODE=a"), ("header", "X-MCPHub-Node", "a")]
    {
        let mut cluster = Cluster::of_two_equal_nodes(with(strategy));
        cluster.nodes[0].kill9();
        let session = cluster.client("/mcp/counter").header(name, value).initialize();
        assert_eq!(session.whoami("whoami").name, "b");
        let set = match strategy {
            "cookie" => cookie_of(&session.response, "MCPHUB_NODE"),
            _ => session.response.header("x-mcphub-node").unwrap().to_owned(),
        };
        assert_eq!(set, "b");
    }
}

#[test]
fn a_bound_session_stays_whatever_a_later_cookie_or_header_says() {
    for (strategy, name, prefix) in
        [("cookie", "Cookie", "MCPHUB_NODE="), ("header", "X-MCPHub-Node", "")]
    {
        let cluster = Cluster::of_two_equal_nodes(with(strategy));
        let session = cluster.client("/mcp/counter").initialize();
        let bound = session.whoami("whoami");
        let other = if bound.name == "a" { "b" } else { "a" };
        let client = cluster.client("/mcp/counter").header(name, &format!("{prefix}{other}"));
        assert_eq!(Session::resumed(&client, &session.id).whoami("whoami"), bound);
    }
}

#[test]
fn on_an_aggregate_the_first_routed_response_sets_the_cookie() {
    let cluster = Cluster::of_two_equal_nodes(with("cookie"));
    let session = cluster.client("/mcp").initialize();
    assert_eq!(session.response.header("set-cookie"), None);
    let params = json!({"name": "counter-whoami", "arguments": {}});
    let first = session.try_request("tools/call", params.clone()).expect(200);
    let node = cookie_of(&first, "MCPHUB_NODE");
    assert_eq!(first.messages()[0]["result"]["structuredContent"]["name"], *node);
    let second = session.try_request("tools/call", params).expect(200);
    assert_eq!(second.header("set-cookie"), None);
}

#[test]
fn a_signed_cookie_cannot_be_made_up() {
    let signed = json!({"stickySession": {"strategy": "cookie", "signed": true}});
    let cluster = Cluster::of_two_equal_nodes(signed);
    let session = cluster.client("/mcp/counter").initialize();
    let value = cookie_of(&session.response, "MCPHUB_NODE");
    let node = session.whoami("whoami").name;
    assert!(value.starts_with(&node) && value.len() > node.len() + 8, "{value}");
    let honoured = cluster.client("/mcp/counter").header("Cookie", &format!("MCPHUB_NODE={value}"));
    let forged = cluster.client("/mcp/counter").header("Cookie", &format!("MCPHUB_NODE={node}"));
    let mut seen = BTreeSet::new();
    for _ in 0..12 {
        assert_eq!(honoured.initialize().whoami("whoami").name, node);
        seen.insert(forged.initialize().whoami("whoami").name);
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
}

#[test]
fn consistent_hash_sets_neither_cookie_nor_header() {
    let cluster = Cluster::of_two_equal_nodes(json!({}));
    let session = cluster.client("/mcp/counter").initialize();
    assert_eq!(session.response.header("set-cookie"), None);
    assert_eq!(session.response.header("x-mcphub-node"), None);
}

#[test]
fn without_sticky_sessions_the_least_loaded_node_is_taken_and_sessions_still_stay() {
    let off = json!({"stickySession": {"enabled": false, "strategy": "cookie"}});
    let cluster = Cluster::of_two_equal_nodes(off);
    let sessions: Vec<_> = (0..20)
        .map(|_| cluster.client("/mcp/counter").header("Cookie", "MCPHUB_NODE=a").initialize())
        .collect();
    let before: Vec<_> = sessions.iter().map(|session| session.whoami("whoami")).collect();
    let on_a = before.iter().filter(|who| who.name == "a").count();
    assert_eq!(on_a, 10, "{before:?}");
    for (session, who) in sessions.iter().zip(&before) {
        assert_eq!(session.response.header("set-cookie"), None);
        assert_eq!(session.whoami("whoami"), *who);
    }
}
