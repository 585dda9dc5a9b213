//! Files of logs, where the disk is full and where something else looks after them.

use std::path::Path;

use mooring_tests::http::Connection;
use mooring_tests::{Gateway, Setup, eventually, servers, settings};
use serde_json::{Value, json};

fn settings_with(path: &Path) -> Value {
    let telemetry = json!({"accessLog": {"to": path, "maxBytes": 1 << 20, "keep": 1}});
    let base = settings::standalone(json!({"counter": servers::counter()}));
    settings::merged(base, json!({"systemConfig": {"telemetry": telemetry}}))
}

fn count(gateway: &Gateway, name: &str) -> u64 {
    let page = gateway.get("/metrics").text();
    let value = page.lines().find_map(|line| line.strip_prefix(name));
    value.unwrap_or_else(|| panic!("{name}")).trim().parse().unwrap()
}

fn written(gateway: &Gateway) -> u64 {
    count(gateway, "mooring_log_lines_total{log=\"access\"}")
}

fn failed(gateway: &Gateway) -> u64 {
    count(gateway, "mooring_log_lines_lost_total{log=\"access\",reason=\"failed\"}")
}

/// Calls of a tool that is not there, each with a long line.
fn call(gateway: &Gateway, calls: usize) {
    let session = gateway.client("/mcp").initialize();
    let mut connection = Connection::open(gateway.address());
    for _ in 0..calls {
        let name = "x".repeat(1000);
        let (call, _) = session.message("tools/call", json!({"name": name, "arguments": {}}));
        connection.exchange(&session.post(&call)).expect(200);
    }
}

#[test]
fn a_full_disk_leaves_no_part_of_a_line_and_each_lost_one_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    // A file that may not become larger is as good as a full disk.
    let limit = "ulimit -f 200; exec \"$0\" \"$@\"";
    let gateway = Setup::new(&settings_with(&path)).within(&["bash", "-c", limit]).start();
    eventually("the disk is full", || {
        call(&gateway, 50);
        (failed(&gateway) > 0).then_some(())
    });
    // Whole lines alone, and as many as are counted.
    let is_whole = |line: &str| serde_json::from_str::<Value>(line).is_ok();
    let text = eventually("as many lines as are counted", || {
        let before = (written(&gateway), failed(&gateway));
        let text = std::fs::read_to_string(&path).unwrap();
        let count = text.lines().filter(|line| is_whole(line)).count() as u64;
        let is_quiet = before == (written(&gateway), failed(&gateway));
        (is_quiet && count == before.0).then_some(text)
    });
    assert!(text.ends_with('\n') && text.lines().all(is_whole), "{text}");
    assert!(text.lines().count() > 10 && text.len() <= 200 * 1024, "{}", text.len());
    // With room again the next line is a line of its own.
    std::fs::File::create(&path).unwrap();
    call(&gateway, 1);
    eventually("a line", || {
        let text = std::fs::read_to_string(&path).unwrap();
        (text.contains("tools/call") && text.lines().all(is_whole)).then_some(())
    });
}

#[test]
fn a_file_that_something_else_empties_is_not_full() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let gateway = Gateway::start_with(&settings_with(&path));
    for round in 1..=3 {
        // Together more than a file may have.
        call(&gateway, 400);
        eventually("all lines", || (written(&gateway) >= round * 402).then_some(()));
        // As logrotate does it with copytruncate.
        std::fs::File::options().write(true).truncate(true).open(&path).unwrap();
    }
    assert!(!folder.path().join("access.log.1").exists());
}
