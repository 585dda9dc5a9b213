//! The official conformance suite as a client of the gateway, in front of our fixture server: see
//! ../conformance/README.md.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use mooring_tests::{Cluster, Gateway, binaries, settings};
use serde_json::{Value, json};

use mooring_tests::borrowed;
use mooring_tests::running::Running;

const REVISION: &str = "2025-11-25";
/// The revision without sessions, which the gateway serves in front of servers that have them.
const STATELESS: &str = "2026-07-28";
/// Numbers of scenarios that the revisions require.
const REQUIRED: usize = 30;
const STATELESS_REQUIRED: usize = 37;
/// Further scenarios, which the suite runs but does not count.
const UNSCORED: [&str; 3] =
    ["server-session-lifecycle", "server-sse-polling", "json-schema-2020-12"];

#[test]
fn standalone_conforms_with_a_stdio_server() {
    let gateway = Gateway::start_with(&settings::standalone(json!({"fixture": stdio_fixture()})));
    conforms(&format!("{}/mcp/fixture", gateway.url()));
}

#[test]
fn standalone_conforms_with_an_http_server() {
    let fixture = HttpFixture::start();
    let servers = json!({"fixture": {"url": fixture.url()}});
    let gateway = Gateway::start_with(&settings::standalone(servers));
    conforms(&format!("{}/mcp/fixture", gateway.url()));
}

#[test]
fn an_aggregate_without_prefix_conforms() {
    let gateway =
        Gateway::start_with(&plain(settings::standalone(json!({"fixture": stdio_fixture()}))));
    conforms(&format!("{}/mcp", gateway.url()));
}

#[test]
fn an_aggregate_without_prefix_conforms_with_an_http_server() {
    let fixture = HttpFixture::start();
    let servers = json!({"fixture": {"url": fixture.url()}});
    let gateway = Gateway::start_with(&plain(settings::standalone(servers)));
    conforms(&format!("{}/mcp", gateway.url()));
}

#[test]
fn an_aggregate_of_a_cluster_conforms() {
    let cluster = cluster_of(&stdio_fixture());
    conforms(&format!("{}/mcp", cluster.coordinator.url()));
}

#[test]
fn an_aggregate_of_a_cluster_conforms_with_an_http_server() {
    let fixture = HttpFixture::start();
    let cluster = cluster_of(&json!({"url": fixture.url()}));
    conforms(&format!("{}/mcp", cluster.coordinator.url()));
}

#[test]
fn a_cluster_conforms_with_stdio_servers() {
    let cluster = cluster_of(&stdio_fixture());
    conforms(&format!("{}/mcp/fixture", cluster.coordinator.url()));
}

#[test]
fn a_cluster_conforms_with_an_http_server() {
    let fixture = HttpFixture::start();
    let cluster = cluster_of(&json!({"url": fixture.url()}));
    conforms(&format!("{}/mcp/fixture", cluster.coordinator.url()));
}

#[test]
fn a_server_with_sessions_conforms_without_them() {
    let gateway =
        Gateway::start_with(&stateless(settings::standalone(json!({"fixture": stdio_fixture()}))));
    conforms_without_sessions(&format!("{}/mcp/fixture", gateway.url()));
}

#[test]
fn an_http_server_with_sessions_conforms_without_them() {
    let fixture = HttpFixture::start();
    let servers = json!({"fixture": {"url": fixture.url()}});
    let gateway = Gateway::start_with(&stateless(settings::standalone(servers)));
    conforms_without_sessions(&format!("{}/mcp/fixture", gateway.url()));
}

#[test]
fn an_aggregate_of_servers_with_sessions_conforms_without_them() {
    let gateway = Gateway::start_with(&stateless(plain(settings::standalone(
        json!({"fixture": stdio_fixture()}),
    ))));
    conforms_without_sessions(&format!("{}/mcp", gateway.url()));
}

#[test]
fn a_cluster_of_servers_with_sessions_conforms_without_them() {
    let coordinator = stateless(plain(settings::coordinator(json!({}))));
    let coordinator = Gateway::start_with(&coordinator);
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    for id in ["a", "b"] {
        cluster.add(id, json!({"fixture": stdio_fixture()}));
    }
    cluster.wait_for_active(2);
    for path in ["/mcp/fixture", "/mcp"] {
        conforms_without_sessions(&format!("{}{path}", cluster.coordinator.url()));
    }
}

/// If this fails, failures of the tests above say nothing about the gateway.
#[test]
fn the_fixture_itself_conforms() {
    conforms(&HttpFixture::start().url());
}

#[test]
fn a_listed_failure_that_passes_fails_the_run() {
    if !suite_at_hand() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let stale = folder.path().join("expected-failures.yml");
    std::fs::write(&stale, "server:\n  - ping\n").unwrap();
    let output = run_suite(&HttpFixture::start().url(), REVISION, &stale);
    assert!(!output.status.success(), "{}", text_of(&output));
}

#[track_caller]
fn conforms(url: &str) {
    if !suite_at_hand() {
        return;
    }
    judge(url, REVISION, REQUIRED);
    for scenario in UNSCORED {
        let output = Command::new(borrowed::starter("conformance"))
            .args(["server", "--url", url, "--scenario", scenario])
            .stdin(Stdio::null())
            .output()
            .expect("the conformance suite runs");
        let text = text_of(&output);
        assert!(output.status.success(), "{scenario}:\n{text}");
        assert!(!text.contains("WARNING"), "{scenario}:\n{text}");
    }
}

/// Runs the scenarios of the revision without sessions, and those of its headers, which are not
/// counted.
#[track_caller]
fn conforms_without_sessions(url: &str) {
    if !suite_at_hand() {
        return;
    }
    judge(url, STATELESS, STATELESS_REQUIRED);
    for scenario in ["http-header-validation", "http-custom-header-server-validation"] {
        let output = Command::new(borrowed::starter("conformance"))
            .args(["server", "--url", url, "--scenario", scenario])
            .args(["--spec-version", STATELESS])
            .stdin(Stdio::null())
            .output()
            .expect("the conformance suite runs");
        assert!(output.status.success(), "{scenario}:\n{}", text_of(&output));
    }
}

#[track_caller]
fn judge(url: &str, revision: &str, required: usize) {
    let name = format!("tests/conformance/expected-failures-{revision}.yml");
    let output = run_suite(url, revision, &settings::repository().join(name));
    let text = text_of(&output);
    assert!(output.status.success(), "{}:\n{text}", output.status);
    let judged = text.lines().filter(|line| line.starts_with(['✓', '✗'])).count();
    assert!(judged >= required, "only {judged} scenarios were run:\n{text}");
}

/// The settings of a gateway whose only client is the suite: what it asks is one conversation.
fn stateless(mut settings: Value) -> Value {
    settings["systemConfig"]["eras"] = json!(["legacy", "modern"]);
    settings["systemConfig"]["conversations"] = json!(["address"]);
    settings
}

fn suite_at_hand() -> bool {
    borrowed::at_hand("conformance suite", &["conformance"])
}

fn run_suite(url: &str, revision: &str, expected_failures: &Path) -> Output {
    let results = tempfile::tempdir().unwrap();
    Command::new(borrowed::starter("conformance"))
        .args(["server", "--url", url, "--requirements", revision, "--expected-failures"])
        .arg(expected_failures)
        .arg("-o")
        .arg(results.path())
        .stdin(Stdio::null())
        .output()
        .expect("the conformance suite runs")
}

/// The summary and the failures, without the list of what was run.
fn text_of(output: &Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout);
    let summary = out.find("=== SUMMARY").map_or(&*out, |at| out.get(at..).unwrap_or_default());
    format!("{summary}\n{}", String::from_utf8_lossy(&output.stderr))
}

fn stdio_fixture() -> Value {
    json!({"command": "mooring-conformance-server", "args": ["stdio"]})
}

fn cluster_of(fixture: &Value) -> Cluster {
    let coordinator = Gateway::start_with(&plain(settings::coordinator(json!({}))));
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    for id in ["a", "b"] {
        cluster.add(id, json!({"fixture": fixture}));
    }
    cluster.wait_for_active(2);
    cluster
}

/// The settings with unprefixed tool names, which the suite calls.
fn plain(mut settings: Value) -> Value {
    settings["systemConfig"]["namePrefix"] = json!("never");
    settings
}

struct HttpFixture {
    port: u16,
    _process: Running,
}

impl HttpFixture {
    fn start() -> Self {
        let mut command = Command::new(binaries::program("mooring-conformance-server"));
        let mut process = Running::start(command.args(["http", "--port", "0"]));
        Self { port: process.port(), _process: process }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }
}
