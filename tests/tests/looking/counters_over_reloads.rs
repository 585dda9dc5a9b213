//! Counters of `/metrics` after new settings: they only ever grow, and belong to what they have counted.

use mooring_tests::{Gateway, eventually, process, servers, settings};
use rustix::process::Signal;
use serde_json::{Value, json};

fn count(gateway: &Gateway, sample: &str) -> Option<u64> {
    let page = gateway.get("/metrics").text();
    let value = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '))?;
    Some(value.parse().unwrap())
}

#[test]
fn a_changed_server_keeps_its_restarts() {
    let with = |round: &str| {
        let changed = settings::merged(servers::counter(), json!({"env": {"ROUND": round}}));
        settings::standalone(json!({"counter": changed}))
    };
    let gateway = Gateway::start_with(&with("first"));
    let session = gateway.client("/mcp/counter").initialize();
    process::signal(session.whoami("whoami").pid, Signal::KILL);
    eventually("it runs again", || {
        let _ = session.answer("tools/call", json!({"name": "count", "arguments": {}}));
        let sample = "mooring_server_restarts_total{server=\"counter\"}";
        (count(&gateway, sample) == Some(1)).then_some(())
    });
    gateway.reload(&with("second"));
    assert!(session.answer("ping", json!({}))["result"].is_object());
    let restarts = count(&gateway, "mooring_server_restarts_total{server=\"counter\"}");
    assert_eq!(restarts, Some(1));
}

#[test]
fn each_strategy_has_the_decisions_that_it_made() {
    let with = |strategy: &str| -> Value {
        let base = settings::standalone(json!({"counter": servers::counter()}));
        let sticky = json!({"stickySession": {"strategy": strategy}});
        settings::merged(base, json!({"systemConfig": {"cluster": sticky}}))
    };
    let gateway = Gateway::start_with(&with("consistent-hash"));
    let decisions = |strategy: &str| {
        let sample = format!(
            "mooring_strategy_decisions_total{{strategy=\"{strategy}\",outcome=\"strategy\"}}"
        );
        count(&gateway, &sample)
    };
    let timed = |strategy: &str| {
        let name = "mooring_strategy_decision_duration_seconds_count";
        count(&gateway, &format!("{name}{{strategy=\"{strategy}\"}}"))
    };
    let begin =
        |times: usize| (0..times).for_each(|_| drop(gateway.client("/mcp/counter").initialize()));
    begin(2);
    let first = decisions("consistent-hash").unwrap();
    assert!(first >= 2 && decisions("cookie").is_none());
    gateway.reload(&with("cookie"));
    begin(3);
    assert_eq!(decisions("consistent-hash"), Some(first));
    let second = decisions("cookie").unwrap();
    assert!((3..=4).contains(&second), "{second}");
    assert_eq!((timed("consistent-hash"), timed("cookie")), (Some(first), Some(second)));
    // It goes on with its own counts.
    gateway.reload(&with("consistent-hash"));
    begin(1);
    assert!(decisions("consistent-hash").unwrap() > first);
    assert_eq!(decisions("cookie"), Some(second));
}
