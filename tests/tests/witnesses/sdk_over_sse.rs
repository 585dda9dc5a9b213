//! The official SDKs' HTTP+SSE clients with a standalone gateway and with a cluster.

use mooring_tests::{Cluster, Gateway, eventually, process, servers, settings};
use serde_json::{Value, json};

use crate::witnesses::sdk::{Sdk, texts};
use mooring_tests::borrowed;

/// The 2.x client for TypeScript no longer has this transport.
fn at_hand(what: &str) -> Vec<Sdk> {
    let all = [Sdk::TypeScript1, Sdk::Python];
    all.into_iter().filter(|sdk| sdk.is_at_hand(&format!("{what} over HTTP+SSE"))).collect()
}

fn over_sse(options: Value) -> Value {
    settings::merged(json!({"transport": "sse"}), options)
}

/// A standalone gateway and a cluster, between which clients see no difference.
struct Both {
    standalone: Gateway,
    cluster: Cluster,
}

impl Both {
    fn of(servers: Value) -> Self {
        let standalone = Gateway::start_with(&settings::standalone(servers.clone()));
        let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
        let mut cluster = Cluster { coordinator, nodes: Vec::new() };
        cluster.add("a", servers.clone());
        cluster.add("b", servers);
        cluster.wait_for_active(2);
        Self { standalone, cluster }
    }

    fn urls(&self, path: &str) -> [String; 2] {
        [&self.standalone, &self.cluster.coordinator]
            .map(|gateway| format!("{}{path}", gateway.url()))
    }
}

#[test]
fn an_sdk_with_this_transport_lists_and_counts() {
    list_and_count(at_hand("counting").into_iter().take(1));
}

#[test]
#[ignore = "long: one SDK does at every run"]
fn every_sdk_with_this_transport_lists_and_counts() {
    list_and_count(at_hand("counting"));
}

#[track_caller]
fn list_and_count(sdks: impl IntoIterator<Item = Sdk>) {
    let both = Both::of(json!({"counter": servers::counter()}));
    for sdk in sdks {
        for (path, tool) in [("/sse/counter", "count"), ("/sse", "counter-count")] {
            for url in both.urls(path) {
                eventually(&format!("{sdk:?} {url}: {tool} is listed"), || {
                    let listed = sdk.run("list", &url, &over_sse(json!({})));
                    texts(&listed["tools"]).contains(&tool).then_some(())
                });
                let told = sdk.run("state", &url, &over_sse(json!({"tool": tool})));
                let results = told["results"].as_array().expect("results");
                let counts: Vec<&Value> =
                    results.iter().map(|result| &result["structured"]["value"]).collect();
                assert_eq!(counts, [1, 2, 3], "{sdk:?} {url}: {told}");
            }
        }
    }
}

#[test]
fn sessions_of_every_sdk_with_this_transport_keep_apart_and_leave_no_process() {
    let both = Both::of(json!({"counter": servers::counter()}));
    let standing = |gateway: &Gateway| process::servers(gateway.pid()).len();
    for sdk in at_hand("parallel sessions") {
        for url in both.urls("/sse/counter") {
            let options = over_sse(json!({"sessions": 20, "calls": 3, "batch": 5}));
            let told = sdk.run("parallel", &url, &options);
            let sessions = told["sessions"].as_array().expect("sessions");
            let mut pids: Vec<&Value> = sessions.iter().map(|session| &session["pid"]).collect();
            pids.sort_by_key(|pid| pid.as_u64());
            pids.dedup();
            assert_eq!(pids.len(), 20, "{sdk:?} {url}: sessions share a process");
            for session in sessions {
                assert_eq!(session["values"], json!([1, 2, 3]), "{sdk:?} {url}: {session}");
            }
        }
        eventually(&format!("{sdk:?}: the sessions' processes are gone"), || {
            let gateways = [&both.standalone, &both.cluster.nodes[0], &both.cluster.nodes[1]];
            gateways.into_iter().all(|gateway| standing(gateway) == 0).then_some(())
        });
    }
}

#[test]
fn a_real_server_asks_an_sdk_with_this_transport() {
    is_asked(at_hand("questions of a real server").into_iter().take(1));
}

#[test]
#[ignore = "long: one SDK is asked at every run"]
fn a_real_server_asks_every_sdk_with_this_transport() {
    is_asked(at_hand("questions of a real server"));
}

#[track_caller]
fn is_asked(sdks: impl IntoIterator<Item = Sdk>) {
    if !borrowed::at_hand("questions of a real server over HTTP+SSE", &["everything"]) {
        return;
    }
    let everything = json!({"command": borrowed::starter("server-everything")});
    let both = Both::of(json!({"everything": everything}));
    for sdk in sdks {
        for url in both.urls("/sse/everything") {
            for (tool, arguments, expected) in [
                ("trigger-sampling-request", json!({"prompt": "anything"}), "witness heard"),
                ("trigger-elicitation-request", json!({}), "witness@example.com"),
            ] {
                let options = over_sse(json!({"tool": tool, "arguments": arguments, "times": 1}));
                let told = sdk.run("state", &url, &options);
                let said = told["results"][0]["text"].as_str().unwrap_or("");
                assert!(said.contains(expected), "{sdk:?} {url}: {told}");
            }
        }
    }
}
