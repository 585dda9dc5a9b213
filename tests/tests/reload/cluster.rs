//! Reloads of nodes and of a coordinator: the others see what has changed, without a registration.

use mooring_tests::{Cluster, eventually, process, servers, settings};
use serde_json::{Value, json};

fn node(cluster: &Cluster, id: &str, servers: Value) -> Value {
    settings::roomy(settings::node(cluster.coordinator.port(), json!({"id": id}), servers))
}

#[test]
fn clients_of_the_coordinator_see_what_a_node_adds_and_removes() {
    let cluster = Cluster::of_two_equal_nodes(json!({}));
    let session = cluster.client("/mcp").initialize();
    assert_eq!(session.count("counter-count"), 1);
    let registered = cluster.node("a").unwrap()["registeredAt"].clone();
    let mut stream = session.listen();
    let counter = json!({"counter": servers::counter_named("a")});
    let both = settings::merged(counter.clone(), json!({"clock": servers::clock()}));
    cluster.nodes[0].apply(&node(&cluster, "a", both));
    stream.message(|message| message["method"] == "notifications/tools/list_changed");
    eventually("the tools are listed", || {
        session.tools().contains(&"clock-now".to_owned()).then_some(())
    });
    session.call("clock-now", json!({}));
    let alone = cluster.client("/mcp/clock").initialize();
    alone.call("now", json!({}));
    cluster.nodes[0].apply(&node(&cluster, "a", counter));
    eventually("the server is gone", || {
        (alone.try_request("tools/list", json!({})).status == 404).then_some(())
    });
    eventually("its tools are gone", || {
        (!session.tools().contains(&"clock-now".to_owned())).then_some(())
    });
    assert_eq!(session.count("counter-count"), 2);
    assert_eq!(cluster.node("a").unwrap()["registeredAt"], registered, "it registered again");
}

#[test]
fn a_session_goes_on_when_its_node_changes_the_server() {
    let cluster = Cluster::of_two_equal_nodes(json!({}));
    let session = cluster.session_at("a");
    let pid = session.whoami("whoami").pid;
    assert_eq!(session.count("count"), 1);
    let changed = json!({"counter": servers::counter_named("a2")});
    cluster.nodes[0].apply(&node(&cluster, "a", changed));
    // At the next quiet point.
    eventually("it is at the new server", || (session.whoami("whoami").name == "a2").then_some(()));
    assert_eq!(session.count("count"), 1);
    eventually("the process of before is gone", || (!process::runs(pid)).then_some(()));
}

#[test]
fn sessions_of_a_server_that_one_node_gives_up_go_on_at_the_other() {
    let cluster = Cluster::of_two_equal_nodes(json!({}));
    let session = cluster.session_at("a");
    let clock = json!({"clock": servers::clock()});
    cluster.nodes[0].apply(&node(&cluster, "a", clock));
    assert_eq!(session.whoami("whoami").name, "b");
    assert_eq!(session.count("count"), 1);
}

#[test]
fn a_coordinator_gets_servers_and_groups_of_its_own() {
    let cluster = Cluster::of_two_equal_nodes(json!({}));
    let session = cluster.client("/mcp").initialize();
    assert_eq!(session.count("counter-count"), 1);
    let own = settings::merged(
        settings::coordinator(json!({})),
        json!({
            "mcpServers": {"clock": servers::clock()},
            "groups": [{"name": "g", "servers": ["counter", "clock"]}],
        }),
    );
    let report = cluster.coordinator.apply(&own);
    assert_eq!(report["added"], json!(["clock"]));
    eventually("its tools are listed", || {
        session.tools().contains(&"clock-now".to_owned()).then_some(())
    });
    session.call("clock-now", json!({}));
    let group = cluster.client("/mcp/g").initialize();
    assert_eq!(group.count("counter-count"), 1);
    cluster.coordinator.apply(&settings::coordinator(json!({})));
    eventually("its tools are gone", || {
        (!session.tools().contains(&"clock-now".to_owned())).then_some(())
    });
    assert_eq!(session.count("counter-count"), 2);
}

#[test]
fn names_of_header_and_cookie_change_with_the_strategy() {
    let cluster = Cluster::of_two_equal_nodes(json!({}));
    let session = cluster.client("/mcp/counter").initialize();
    assert_eq!(session.count("count"), 1);
    let given = |name: &str| {
        let response = cluster.client("/mcp/counter").initialize().response;
        response.header(name).map(str::to_owned)
    };
    let apply = |sticky: Value| {
        let settings = settings::coordinator(json!({"stickySession": sticky}));
        let report = cluster.coordinator.apply(&settings);
        assert_eq!(report["also"], json!(["strategy"]), "{report}");
        assert_eq!(report["needsRestart"], json!([]), "{report}");
    };
    apply(json!({"strategy": "header", "headerName": "X-Desk", "cookieName": "DESK"}));
    assert!(given("x-desk").is_some() && given("set-cookie").is_none());
    apply(json!({"strategy": "cookie", "cookieName": "TABLE"}));
    let cookie = given("set-cookie").unwrap();
    assert!(cookie.starts_with("TABLE="), "{cookie}");
    assert!(given("x-desk").is_none());
    assert_eq!(session.count("count"), 2, "it stays where it is");
}
