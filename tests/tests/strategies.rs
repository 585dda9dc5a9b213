//! The three strategies: how sessions spread, stick, and carry a preference.

use std::collections::{BTreeMap, BTreeSet};

use mooring_tests::{Cluster, Response, Session, settings};
use serde_json::{Value, json};

const SESSIONS: usize = 1000;
/// Clients that begin sessions beside each other.
const CLIENTS: usize = 8;

fn with(strategy: &str) -> Value {
    json!({"stickySession": {"strategy": strategy}})
}

/// Begins sessions, looks twice where each is served, and ends it. Gives the
/// share of each node.
fn spread(cluster: &Cluster) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    let batches = std::thread::scope(|scope| {
        let one_client = || {
            let run = || {
                let session = cluster.client("/mcp/counter").initialize();
                let first = session.whoami("whoami");
                assert_eq!(session.whoami("whoami"), first, "it has moved");
                session.delete().expect(200);
                first.name
            };
            (0..SESSIONS / CLIENTS).map(|_| run()).collect::<Vec<_>>()
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(one_client)).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    for node in batches.into_iter().flatten() {
        *counts.entry(node).or_insert(0) += 1;
    }
    counts
}

fn assert_even_spread(strategy: &str) {
    let cluster = Cluster::of_two_equal_nodes(with(strategy));
    let counts = spread(&cluster);
    let fair = SESSIONS * 45 / 100..=SESSIONS * 55 / 100;
    assert!(counts.len() == 2 && counts.values().all(|n| fair.contains(n)), "{counts:?}");
}

#[test]
fn consistent_hash_has_an_even_spread_and_moves_nothing() {
    assert_even_spread("consistent-hash");
}

#[test]
fn cookie_without_a_jar_has_an_even_spread_and_moves_nothing() {
    assert_even_spread("cookie");
}

#[test]
fn header_without_one_has_an_even_spread_and_moves_nothing() {
    assert_even_spread("header");
}

#[test]
fn sessions_that_live_together_stay_apart_and_in_place() {
    let cluster = Cluster::of_two_equal_nodes(json!({}));
    let sessions: Vec<_> = (0..60).map(|_| cluster.client("/mcp/counter").initialize()).collect();
    let before: Vec<_> = sessions.iter().map(|session| session.whoami("whoami")).collect();
    let processes: BTreeSet<_> = before.iter().map(|who| who.pid).collect();
    assert_eq!(processes.len(), sessions.len(), "a process each");
    for _ in 0..3 {
        let now: Vec<_> = sessions.iter().map(|session| session.whoami("whoami")).collect();
        assert_eq!(now, before);
    }
}

/// The cookie's value, with attributes checked.
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

#[test]
fn weights_shift_the_spread() {
    let coordinator = mooring_tests::Gateway::start_with(&settings::coordinator(json!({})));
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    for (id, weight) in [("a", 3), ("b", 1)] {
        let servers = json!({"counter": mooring_tests::servers::counter_named(id)});
        let node = json!({"id": id, "weight": weight});
        let settings = settings::node(cluster.coordinator.port(), node, servers);
        cluster.nodes.push(mooring_tests::Gateway::start_with(&settings));
    }
    cluster.wait_for_active(2);
    let on_a = (0..80)
        .filter(|_| {
            let session = cluster.client("/mcp/counter").initialize();
            let name = session.whoami("whoami").name;
            session.delete().expect(200);
            name == "a"
        })
        .count();
    // 60 expected; 46 or fewer come once in ten thousand runs.
    assert!((46..=74).contains(&on_a), "{on_a} of 80");
}
