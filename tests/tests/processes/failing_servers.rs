//! Servers that fail: pauses between starts, crash loops, repair.

use std::path::Path;
use std::time::Duration;

use mooring_tests::{Client, Gateway, Response, eventually, process, servers, settings};
use rustix::process::Signal;
use serde_json::json;

use crate::processes::lifecycle::{is_refused, metric, scripted, wait_until_gone};

const BROKEN: &str = "echo started >>\"$0.count\"; echo 'no licence' >&2; exit 3";
const GOOD: &str = "echo started >>\"$0.count\"; exec mooring-example-counter";

fn starts_of(script: &Path) -> usize {
    let counted = script.with_extension("sh.count");
    std::fs::read_to_string(counted).unwrap_or_default().lines().count()
}

#[track_caller]
fn until_crash_loop(client: &Client) -> Response {
    eventually("a crash loop", || {
        let response = client.try_initialize();
        std::thread::sleep(Duration::from_millis(50));
        response.error_message().contains("crash loop").then_some(response)
    })
}

#[test]
fn a_server_that_ends_at_once_is_left_alone_and_recovers_when_it_is_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("server.sh");
    std::fs::write(&script, BROKEN).unwrap();
    let servers = json!({"odd": scripted(&script), "counter": servers::counter()});
    let gateway = Gateway::start_with(&settings::standalone(servers));
    let client = gateway.client("/mcp/odd");
    let refused = until_crash_loop(&client);
    is_refused(&refused, &["odd", "exit status: 3", "no licence", "next attempt in"]);
    let before = starts_of(&script);
    for _ in 0..3 {
        is_refused(&client.try_initialize(), &["crash loop"]);
    }
    assert_eq!(starts_of(&script), before, "nobody tries before the next attempt is due");
    assert_eq!(metric(&gateway, "server_crash_loop", "odd"), 1);
    assert!(metric(&gateway, "server_failures", "odd") >= 5);
    let line = gateway.wait_for_log("crash loop");
    assert!(line.contains("odd") && line.contains("no licence"), "{line}");
    assert_eq!(gateway.client("/mcp/counter").initialize().count("count"), 1);
    std::fs::write(&script, GOOD).unwrap();
    eventually("it runs again", || {
        (client.try_initialize().header("mcp-session-id").is_some()).then_some(())
    });
    assert_eq!(metric(&gateway, "server_crash_loop", "odd"), 0);
    assert!(metric(&gateway, "server_restarts_total", "odd") >= 5);
    eventually("its catalogue is there", || {
        let tools = gateway.client("/mcp").initialize().tools();
        tools.contains(&"odd-count".to_owned()).then_some(())
    });
}

#[test]
fn a_server_that_dies_once_is_restarted_at_once() {
    let gateway = Gateway::start_with(&settings::standalone(json!({"odd": servers::counter()})));
    let session = gateway.client("/mcp/odd").initialize();
    let pid = session.whoami("whoami").pid;
    process::signal(pid, Signal::KILL);
    wait_until_gone(pid);
    assert_eq!(session.count("count"), 1);
    eventually("its death is counted", || {
        (metric(&gateway, "server_restarts_total", "odd") == 1).then_some(())
    });
    assert_eq!(metric(&gateway, "server_failures", "odd"), 0);
}

#[test]
fn the_tools_of_a_server_in_a_crash_loop_stay_listed() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("server.sh");
    std::fs::write(&script, GOOD).unwrap();
    let gateway = Gateway::start_with(&settings::standalone(json!({"odd": scripted(&script)})));
    let session = gateway.client("/mcp").initialize();
    assert!(session.tools().contains(&"odd-count".to_owned()));
    let pid = session.whoami("odd-whoami").pid;
    std::fs::write(&script, BROKEN).unwrap();
    process::signal(pid, Signal::KILL);
    wait_until_gone(pid);
    until_crash_loop(&gateway.client("/mcp/odd"));
    assert!(session.tools().contains(&"odd-count".to_owned()));
    let call = json!({"name": "odd-count", "arguments": {}});
    is_refused(&session.try_request("tools/call", call).expect(200), &["crash loop", "no licence"]);
    assert!(gateway.client("/mcp").initialize().tools().contains(&"odd-count".to_owned()));
}

#[test]
fn a_server_that_is_too_slow_is_given_up_by_its_own_patience() {
    let slow = settings::merged(servers::silent(), json!({"startTimeoutMs": 300}));
    let gateway = Gateway::start_with(&settings::standalone(json!({"odd": slow})));
    let says = gateway.client("/mcp/odd").try_initialize().error_message();
    assert!(says.contains("300 ms") && says.contains("startTimeoutMs"), "{says}");
}
