//! The guide's manual scenario with the official SDKs as clients: Node 1 has counter and notes,
//! Node 2 has counter and clock.

use std::collections::{BTreeMap, BTreeSet};

use mooring_tests::{Cluster, eventually};
use serde_json::{Value, json};

use crate::witnesses::sdk::{Sdk, texts};

/// Scopes with a counter behind them, each with its names of the counter's tools.
const SCOPES: [Scope; 2] = [
    Scope { path: "/mcp/counter", count: "count", whoami: "whoami" },
    Scope { path: "/mcp", count: "counter-count", whoami: "counter-whoami" },
];

#[derive(Clone, Copy)]
struct Scope {
    path: &'static str,
    count: &'static str,
    whoami: &'static str,
}

#[test]
fn every_sdk_lists_the_tools_of_all_nodes() {
    let cluster = manual_scenario();
    for sdk in Sdk::at_hand("listing tools") {
        // A list does not wait for slow servers: see slow_servers.rs.
        let tools = eventually("all three servers are listed", || {
            let listed = sdk.run("list", &url(&cluster, "/mcp"), &json!({}));
            let tools: BTreeSet<String> =
                texts(&listed["tools"]).into_iter().map(str::to_owned).collect();
            let servers: BTreeSet<&str> =
                tools.iter().filter_map(|tool| Some(tool.split_once('-')?.0)).collect();
            (servers.len() == 3).then_some(tools)
        });
        for tool in ["counter-count", "notes-add_note", "clock-now"] {
            assert!(tools.contains(tool), "{sdk:?}: {tools:?}");
        }
        let listed = sdk.run("list", &url(&cluster, "/mcp/counter"), &json!({}));
        assert_eq!(texts(&listed["tools"]), ["count", "whoami", "reset"], "{sdk:?}");
    }
}

#[test]
fn every_sdk_has_a_state_of_its_own() {
    let cluster = manual_scenario();
    for sdk in Sdk::at_hand("keeping state") {
        for scope in SCOPES {
            let options = json!({"tool": scope.count});
            let told = sdk.run("state", &url(&cluster, scope.path), &options);
            let counts: Vec<&Value> = array(&told["results"])
                .iter()
                .map(|result| &result["structured"]["value"])
                .collect();
            assert_eq!(counts, [1, 2, 3], "{sdk:?} {}: {told}", scope.path);
        }
    }
}

#[test]
fn every_sdk_finds_a_deleted_session_gone() {
    let cluster = manual_scenario();
    for sdk in Sdk::at_hand("deleting sessions") {
        for scope in SCOPES {
            let options = json!({"tool": scope.count});
            let told = sdk.run("delete", &url(&cluster, scope.path), &options);
            assert_eq!(told["before"]["structured"]["value"], 1, "{sdk:?} {}", scope.path);
            assert_eq!(told["after"]["status"], 404, "{sdk:?} {}: {told}", scope.path);
        }
    }
}

#[test]
fn every_sdk_goes_on_when_its_node_is_killed() {
    let mut cluster = manual_scenario();
    for sdk in Sdk::at_hand("going on without a node") {
        for scope in SCOPES {
            let url = url(&cluster, scope.path);
            let mut session = sdk.hold(&url);
            for expected in [1, 2] {
                assert_eq!(session.call(scope.count)["structured"]["value"], expected);
            }
            let node = node_of(&cluster, &session.id);
            cluster.nodes[node].kill9();
            // The state is lost with the node, but the session continues.
            for expected in [1, 2, 3] {
                let said = session.call(scope.count);
                assert_eq!(said["structured"]["value"], expected, "{sdk:?} {url}: {said}");
            }
            let fresh = sdk.run("state", &url, &json!({"tool": scope.count, "times": 1}));
            assert_eq!(fresh["results"][0]["isError"], false, "{sdk:?} {url}: {fresh}");
            cluster.nodes[node].start();
            cluster.wait_for_active(2);
        }
    }
}

#[test]
fn a_thousand_sessions_spread_by_consistent_hash() {
    a_thousand_sessions_spread_by("consistent-hash");
}

#[test]
#[ignore = "long: by consistent hash they spread at every run"]
fn a_thousand_sessions_spread_by_cookie() {
    a_thousand_sessions_spread_by("cookie");
}

#[test]
#[ignore = "long: by consistent hash they spread at every run"]
fn a_thousand_sessions_spread_by_header() {
    a_thousand_sessions_spread_by("header");
}

#[test]
#[ignore = "long: a thousand of one SDK keep apart at every run"]
fn a_hundred_sessions_of_every_sdk_keep_apart() {
    let cluster = Cluster::of_two_equal_nodes(json!({}));
    for sdk in Sdk::at_hand("a hundred sessions") {
        for scope in SCOPES {
            let by_node = sessions_by_node(&cluster, sdk, scope, 100);
            assert_eq!(by_node.len(), 2, "{sdk:?} {}: {by_node:?}", scope.path);
        }
    }
}

/// A thousand sessions placed by a fair coin miss 45–55 % once in 640 runs; then a second thousand
/// decides.
#[track_caller]
fn a_thousand_sessions_spread_by(strategy: &str) {
    let sdk = Sdk::TypeScript1;
    if !sdk.is_at_hand(&format!("a thousand sessions by {strategy}")) {
        return;
    }
    let cluster = Cluster::of_two_equal_nodes(json!({"stickySession": {"strategy": strategy}}));
    let is_even = |by_node: &BTreeMap<String, usize>| {
        by_node.len() == 2 && by_node.values().all(|count| (450..=550).contains(count))
    };
    let first = sessions_by_node(&cluster, sdk, SCOPES[0], 1000);
    if !is_even(&first) {
        let second = sessions_by_node(&cluster, sdk, SCOPES[0], 1000);
        assert!(is_even(&second), "{strategy}: {first:?}, then {second:?}");
    }
}

/// Opens sessions and calls the counter in each; checks that none moves or shares its process, and
/// returns the number of sessions of each node.
#[track_caller]
fn sessions_by_node(
    cluster: &Cluster,
    sdk: Sdk,
    scope: Scope,
    sessions: usize,
) -> BTreeMap<String, usize> {
    let options = json!({
        "sessions": sessions,
        "calls": 5,
        "tool": scope.count,
        "whoami": scope.whoami,
    });
    let told = sdk.run("parallel", &url(cluster, scope.path), &options);
    let mut pids = BTreeSet::new();
    let mut by_node = BTreeMap::new();
    for session in array(&told["sessions"]) {
        // The count of a session that moves starts again at 1.
        assert_eq!(session["values"], json!([1, 2, 3, 4, 5]), "{session}");
        pids.insert(session["pid"].as_u64().expect("a pid"));
        *by_node.entry(session["who"]["name"].as_str().expect("a name").to_owned()).or_default() +=
            1;
    }
    assert_eq!(pids.len(), sessions, "sessions share a process");
    by_node
}

/// `examples/manual`, started in the order of its README.
fn manual_scenario() -> Cluster {
    let mut cluster = Cluster::of_examples();
    cluster.coordinator.start();
    for node in &mut cluster.nodes {
        node.start();
    }
    cluster.wait_for_active(2);
    cluster
}

/// The index of the node that a session is bound to.
#[track_caller]
fn node_of(cluster: &Cluster, session: &str) -> usize {
    let id =
        cluster.coordinator.data(&format!("/api/cluster/sessions/{session}"))["nodeId"].clone();
    let nodes = cluster.active();
    let node = nodes.iter().find(|node| node["id"] == id).expect("the node of the session");
    cluster.nodes.iter().position(|gateway| node["port"] == gateway.port()).expect("our node")
}

fn url(cluster: &Cluster, path: &str) -> String {
    format!("{}{path}", cluster.coordinator.url())
}

#[track_caller]
fn array(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}
