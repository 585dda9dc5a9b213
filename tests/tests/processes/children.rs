//! Child processes end with the session, server or gateway that they were started for.

use mooring_tests::{Gateway, eventually, process, servers, settings};
use rustix::process::Signal;
use serde_json::json;

fn gateway() -> Gateway {
    Gateway::start_with(&settings::standalone(json!({
        "counter": servers::counter(),
        "clock": servers::clock(),
        "silent": servers::silent(),
    })))
}

/// The ids of the processes that serve a session, one for each server.
fn served(gateway: &Gateway) -> Vec<u32> {
    let session = gateway.client("/mcp").initialize();
    session.count("counter-count");
    session.call("clock-now", json!({}));
    let children = process::descendants(gateway.pid());
    assert!(children.len() >= 2, "{children:?}");
    children
}

fn wait_until_gone(children: &[u32]) {
    eventually(&format!("{:?} are gone", process::survivors(children)), || {
        process::survivors(children).is_empty().then_some(())
    });
}

#[test]
fn delete_ends_the_processes_of_its_session_and_no_others() {
    let gateway = gateway();
    let (ended, other) =
        (gateway.client("/mcp/counter").initialize(), gateway.client("/mcp/counter").initialize());
    let (gone, stays) = (ended.whoami("whoami").pid, other.whoami("whoami").pid);
    ended.delete().expect(200);
    wait_until_gone(&[gone]);
    assert!(process::runs(stays));
    assert_eq!(other.count("count"), 1);
}

#[test]
fn delete_on_an_aggregate_ends_every_process_of_the_session() {
    let gateway = gateway();
    let session = gateway.client("/mcp").initialize();
    let pid = session.whoami("counter-whoami").pid;
    session.call("clock-now", json!({}));
    session.delete().expect(200);
    wait_until_gone(&[pid]);
}

#[test]
fn sigterm_and_sigint_leave_no_child() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut gateway = gateway();
        let children = served(&gateway);
        assert!(gateway.end_by(signal).success());
        wait_until_gone(&children);
    }
}

#[test]
fn kill_9_of_the_gateway_leaves_no_child() {
    let mut gateway = gateway();
    let children = served(&gateway);
    gateway.kill9();
    wait_until_gone(&children);
}

#[test]
fn a_child_that_ignores_the_end_of_its_input_and_sigterm_is_killed() {
    let stubborn = json!({
        "command": "sh",
        "args": ["-c", "trap '' TERM; mooring-example-counter; while :; do sleep 1; done"],
    });
    let mut gateway = Gateway::start_with(&settings::standalone(json!({"odd": stubborn})));
    gateway.client("/mcp/odd").initialize().count("count");
    let children = process::descendants(gateway.pid());
    gateway.signal(Signal::TERM);
    assert!(gateway.terminate().success());
    wait_until_gone(&children);
}

#[test]
fn a_child_sees_its_own_environment_and_nothing_of_the_gateways() {
    let telling = json!({
        "command": "sh",
        "args": ["-c", "env >\"$DUMP\"; exec mooring-example-counter"],
        "env": {"DUMP": "${DUMP}", "OWN": "${MOORING_TEST_GIVEN:-fallback}"},
    });
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("env");
    let gateway = mooring_tests::Setup::new(&settings::standalone(json!({"telling": telling})))
        .env("DUMP", dump.to_str().unwrap())
        .env("MOORING_CLUSTER_TOKEN", "s3cret-t0ken")
        .env("AWS_SECRET_ACCESS_KEY", "s3cret-key")
        .start();
    gateway.client("/mcp/telling").initialize().count("count");
    let seen = std::fs::read_to_string(dump).unwrap();
    assert!(seen.contains("OWN=fallback\n") && seen.contains("PATH="), "{seen}");
    assert!(!seen.contains("s3cret"), "{seen}");
}
