//! Strategies decide about clients without sessions, too: their cookie or header brings further
//! conversations of a client to the same node.

use std::collections::BTreeSet;

use mooring_tests::{Cluster, Gateway, Stateless, servers, settings};
use serde_json::{Value, json};

use super::both;

fn cluster(sticky: &Value) -> Cluster {
    let mut system = both(&json!(["handle"]));
    system["cluster"] = json!({"stickySession": sticky});
    let coordinator =
        settings::merged(settings::coordinator(json!({})), json!({"systemConfig": system}));
    let mut cluster = Cluster { coordinator: Gateway::start_with(&coordinator), nodes: Vec::new() };
    for id in ["a", "b"] {
        cluster.add(id, json!({"counter": servers::counter_named(id)}));
    }
    cluster.wait_for_active(2);
    cluster
}

#[test]
fn the_clients_cookie_or_header_leads_its_conversations_to_one_node() {
    for (strategy, answers, asks) in
        [("cookie", "set-cookie", "Cookie"), ("header", "x-mcphub-node", "X-MCPHub-Node")]
    {
        let cluster = cluster(&json!({"strategy": strategy}));
        for (path, prefix) in [("/mcp/counter", ""), ("/mcp", "counter-")] {
            let client = || {
                let client = Stateless::new(cluster.coordinator.address(), path);
                let name = client.new_conversation();
                client.conversation(&name)
            };
            let count = json!({"name": format!("{prefix}count"), "arguments": {}});
            let whoami = format!("{prefix}whoami");
            let first = client();
            let response = first.send("tools/call", count).expect(200);
            let token = response.header(answers).expect("a token");
            let token = token.split(';').next().unwrap_or_default().to_owned();
            let node = first.whoami(&whoami).1;
            let others: BTreeSet<String> =
                (0..8).map(|_| client().header(asks, &token).whoami(&whoami).1).collect();
            assert_eq!(others, BTreeSet::from([node]), "{strategy} {path}");
        }
    }
}
