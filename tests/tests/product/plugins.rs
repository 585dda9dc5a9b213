//! Strategies that misbehave are refused by name, or lose a decision but never a request; an
//! operator's own strategy decides.

use mooring_tests::{Cluster, Setup, settings};
use serde_json::{Value, json};

fn strategy(file: &str) -> Value {
    json!({"stickySession": {"strategy": settings::prebuilt(file)}})
}

#[test]
fn a_plugin_that_cannot_be_admitted_stops_the_start_and_says_why() {
    for (file, why) in [
        ("faults/wrong-world.wasm", "does not export `mooring:routing/strategy"),
        ("faults/wants-import.wasm", "imports faults:network/sockets"),
        ("faults/traps-always.wasm", "fails its trial"),
        ("faults/loops-in-configure.wasm", "CPU time"),
        ("faults/huge-error.wasm", "fails in configure"),
        ("BUILDINFO", ""),
        ("no-such.wasm", "No such file"),
    ] {
        let settings = settings::coordinator(strategy(file));
        let start = Setup::new(&settings).refused();
        let says = String::from_utf8_lossy(&start.stderr).into_owned();
        assert!(!start.status.success(), "{file}");
        assert!(says.contains("stickySession.strategy") && says.contains(why), "{file}: {says}");
        let check = Setup::new(&settings).run(&["check"]);
        assert_eq!(check.status.code(), Some(2), "{file}");
        let says = String::from_utf8_lossy(&check.stderr).into_owned();
        assert!(says.contains(why), "{file}: {says}");
    }
}

#[test]
fn a_fault_of_a_plugin_costs_a_decision_and_no_request() {
    for fault in ["traps", "loops", "eats-memory", "out-of-range", "overflows-stack", "floods-log"]
    {
        let cluster = Cluster::of_two_equal_nodes(strategy(&format!("faults/{fault}.wasm")));
        let decided = |name: &str| -> u64 {
            let text = cluster.coordinator.get("/metrics").expect(200).text();
            let of_name = text.lines().filter_map(|line| line.strip_prefix(name));
            let values = of_name.filter_map(|rest| rest.rsplit_once(' ')?.1.parse::<u64>().ok());
            let values: Vec<u64> = values.collect();
            assert!(!values.is_empty(), "{name} in {text}");
            values.iter().sum()
        };
        // The plugin decides without a fault; with one its decision fails.
        for header in ["none", "fault", "fault", "none"] {
            let client = cluster.client("/mcp/counter").header("X-Fault", header);
            let session = client.initialize();
            let first = session.whoami("whoami");
            assert_eq!(session.whoami("whoami"), first, "{fault}");
        }
        assert!(decided("mooring_strategy_decisions_total") >= 4, "{fault}");
        let fallbacks = decided("mooring_strategy_fallbacks_total");
        assert!(fallbacks >= 2, "{fault}: {fallbacks}");
    }
}

#[test]
fn a_wasi_plugin_is_refused_unless_it_is_given_a_sandbox() {
    let denied = settings::coordinator(strategy("faults/wasi-chatty.wasm"));
    let output = Setup::new(&denied).refused();
    let says = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(says.contains("wasi"), "{says}");
    let sandboxed = settings::merged(
        strategy("faults/wasi-chatty.wasm"),
        json!({"stickySession": {"wasi": "sandbox"}}),
    );
    let cluster = Cluster::of_two_equal_nodes(sandboxed);
    for _ in 0..10 {
        let session = cluster.client("/mcp/counter").initialize();
        let first = session.whoami("whoami");
        assert_eq!(session.whoami("whoami"), first);
    }
}

#[test]
fn a_strategy_of_the_operators_own_decides() {
    let coordinator = settings::coordinator(settings::merged(
        strategy("examples/zone.wasm"),
        json!({"coordinator": {"zone": "east"}, "stickySession": {"loadFactor": 100}}),
    ));
    let coordinator = mooring_tests::Gateway::start_with(&coordinator);
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    for (id, zone) in [("a", "west"), ("b", "east")] {
        let servers = json!({"counter": mooring_tests::servers::counter_named(id)});
        let node = json!({"id": id, "zone": zone});
        let settings = settings::node(cluster.coordinator.port(), node, servers);
        cluster.nodes.push(mooring_tests::Gateway::start_with(&settings));
    }
    cluster.wait_for_active(2);
    let of_new = || cluster.client("/mcp/counter").initialize().whoami("whoami").name;
    // It is told of a node a moment after the node counts as active.
    mooring_tests::eventually("the strategy knows both nodes", || (of_new() == "b").then_some(()));
    for _ in 0..12 {
        assert_eq!(of_new(), "b");
    }
    cluster.nodes[1].kill9();
    let session = cluster.client("/mcp/counter").initialize();
    assert_eq!(session.whoami("whoami").name, "a", "far is better than nowhere");
}

#[test]
fn a_strategys_path_is_relative_to_the_settings_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(settings::prebuilt("examples/zone.wasm"), folder.path().join("own.wasm"))
        .unwrap();
    let text = settings::coordinator(json!({"stickySession": {"strategy": "./own.wasm"}}));
    let file = folder.path().join("mcp_settings.json");
    std::fs::write(&file, text.to_string()).unwrap();
    let gateway = Setup::new(&json!({})).arg("--config").arg(file.to_str().unwrap()).start();
    gateway.wait_for_log("zone");
}
