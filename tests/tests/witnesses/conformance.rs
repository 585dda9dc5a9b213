//! The official conformance suite as a client of the gateway, in front of our fixture server: see
//! ../conformance/README.md.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use mooring_tests::{Cluster, Gateway, Stateless, binaries, eventually, settings};
use serde_json::{Value, json};

use mooring_tests::borrowed;
use mooring_tests::running::Running;

const REVISION: &str = "2025-11-25";
/// The revision without sessions, which the gateway serves in front of servers that have them.
const STATELESS: &str = "2026-07-28";
/// Numbers of scenarios that the revisions require.
const REQUIRED: usize = 30;
const STATELESS_REQUIRED: usize = 37;
/// Scenarios of headers and of tasks, which the suite does not count either.
const HEADERS: [&str; 2] = ["http-header-validation", "http-custom-header-server-validation"];
const TASKS: [&str; 10] = [
    "tasks-lifecycle",
    "tasks-capability-negotiation",
    "tasks-wire-fields",
    "tasks-request-state-removal",
    "tasks-mrtr-input",
    "tasks-request-headers",
    "tasks-dispatch-and-envelope",
    "tasks-status-notifications",
    "tasks-required-task-error",
    "tasks-mrtr-composition",
];
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

#[test]
fn a_server_without_sessions_conforms() {
    let gateway = Gateway::start_with(&modern_front(&without_sessions(stdio_fixture())));
    wait_for(&gateway);
    for path in ["/mcp/fixture", "/mcp"] {
        conforms_whole(&format!("{}{path}", gateway.url()));
    }
}

#[test]
#[ignore = "long: on stdio it does at every run"]
fn an_http_server_without_sessions_conforms() {
    let fixture = HttpFixture::start();
    let entry = without_sessions(json!({"url": fixture.url()}));
    let gateway = Gateway::start_with(&modern_front(&entry));
    wait_for(&gateway);
    for path in ["/mcp/fixture", "/mcp"] {
        conforms_whole(&format!("{}{path}", gateway.url()));
    }
}

#[test]
fn a_cluster_of_servers_without_sessions_conforms() {
    let cluster = modern_cluster(&without_sessions(stdio_fixture()));
    for path in ["/mcp/fixture", "/mcp"] {
        conforms_whole(&format!("{}{path}", cluster.coordinator.url()));
    }
}

#[test]
#[ignore = "long: on stdio it does at every run"]
fn a_cluster_with_an_http_server_without_sessions_conforms() {
    let fixture = HttpFixture::start();
    let cluster = modern_cluster(&without_sessions(json!({"url": fixture.url()})));
    for path in ["/mcp/fixture", "/mcp"] {
        conforms_whole(&format!("{}{path}", cluster.coordinator.url()));
    }
}

/// The gateway plays the session, and asks in the server's place.
#[test]
fn a_server_without_sessions_conforms_for_clients_with_them() {
    let gateway = Gateway::start_with(&modern_front(&without_sessions(stdio_fixture())));
    wait_for(&gateway);
    conforms_required(&format!("{}/mcp/fixture", gateway.url()));
}

#[test]
#[ignore = "long: on stdio and without a cluster it does at every run"]
fn servers_without_sessions_conform_for_clients_with_them_everywhere() {
    let fixture = HttpFixture::start();
    for entry in [stdio_fixture(), json!({"url": fixture.url()})] {
        let gateway = Gateway::start_with(&modern_front(&without_sessions(entry.clone())));
        wait_for(&gateway);
        conforms_required(&format!("{}/mcp", gateway.url()));
        let cluster = modern_cluster(&without_sessions(entry));
        for path in ["/mcp/fixture", "/mcp"] {
            conforms_required(&format!("{}{path}", cluster.coordinator.url()));
        }
    }
}

/// If this fails, failures of the tests above say nothing about the gateway.
#[test]
fn the_fixture_itself_conforms() {
    conforms(&HttpFixture::start().url());
    conforms_whole(&HttpFixture::start().url());
}

#[test]
fn a_listed_failure_that_passes_fails_the_run() {
    if !suite_at_hand() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let stale = folder.path().join("expected-failures.yml");
    std::fs::write(&stale, "server:\n  - ping\n").unwrap();
    let output = run_suite(&HttpFixture::start().url(), REVISION, Some(&stale));
    assert!(!output.status.success(), "{}", text_of(&output));
}

#[track_caller]
fn conforms(url: &str) {
    if !suite_at_hand() {
        return;
    }
    let _ = judge(url, REVISION, REQUIRED, Some(&failures_of(REVISION)));
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
    let _ = judge(url, STATELESS, STATELESS_REQUIRED, Some(&failures_of(STATELESS)));
    for scenario in HEADERS {
        let output = Command::new(borrowed::starter("conformance"))
            .args(["server", "--url", url, "--scenario", scenario])
            .args(["--spec-version", STATELESS])
            .stdin(Stdio::null())
            .output()
            .expect("the conformance suite runs");
        assert!(output.status.success(), "{scenario}, {url}:\n{}", text_of(&output));
    }
}

/// The same of a server that has no sessions, where nothing is expected to fail, and the tasks too.
#[track_caller]
fn conforms_whole(url: &str) {
    if !suite_at_hand() {
        return;
    }
    let text = judge(url, STATELESS, STATELESS_REQUIRED, None);
    let failed: Vec<&str> = text.lines().filter(|line| line.starts_with('✗')).collect();
    assert!(failed.is_empty(), "{url}: {failed:?}\n{text}");
    for scenario in HEADERS.iter().chain(&TASKS) {
        let passed = format!("✓ {scenario}:");
        assert!(text.lines().any(|line| line.starts_with(&passed)), "{url}, {scenario}:\n{text}");
    }
}

/// Runs the scenarios that the revision with sessions requires.
#[track_caller]
fn conforms_required(url: &str) {
    if suite_at_hand() {
        let _ = judge(url, REVISION, REQUIRED, Some(&failures_of(REVISION)));
    }
}

fn failures_of(revision: &str) -> PathBuf {
    let name = format!("tests/conformance/expected-failures-{revision}.yml");
    settings::repository().join(name)
}

/// Returns the suite's summary.
#[track_caller]
fn judge(url: &str, revision: &str, required: usize, failures: Option<&Path>) -> String {
    let output = run_suite(url, revision, failures);
    let text = text_of(&output);
    assert!(output.status.success(), "{url}: {}:\n{text}", output.status);
    let judged = text.lines().filter(|line| line.starts_with(['✓', '✗'])).count();
    assert!(judged >= required, "only {judged} scenarios were run:\n{text}");
    text
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

fn run_suite(url: &str, revision: &str, expected_failures: Option<&Path>) -> Output {
    let results = tempfile::tempdir().unwrap();
    let mut command = Command::new(borrowed::starter("conformance"));
    command.args(["server", "--url", url, "--requirements", revision, "-o"]).arg(results.path());
    if let Some(failures) = expected_failures {
        command.arg("--expected-failures").arg(failures);
    }
    command.stdin(Stdio::null()).output().expect("the conformance suite runs")
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

/// The entry of a server that is used without sessions. It has both, and would be used with them.
fn without_sessions(mut entry: Value) -> Value {
    entry["era"] = json!("modern");
    entry
}

fn modern_front(fixture: &Value) -> Value {
    stateless(plain(settings::standalone(json!({"fixture": fixture}))))
}

fn modern_cluster(fixture: &Value) -> Cluster {
    let coordinator = Gateway::start_with(&stateless(plain(settings::coordinator(json!({})))));
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    for id in ["a", "b"] {
        cluster.add(id, json!({"fixture": fixture}));
    }
    cluster.wait_for_active(2);
    wait_for(&cluster.coordinator);
    cluster
}

/// Waits until the gateway knows that the server has no sessions: then it answers for itself, and names
/// all revisions that it has.
#[track_caller]
fn wait_for(gateway: &Gateway) {
    let client = Stateless::new(gateway.address(), "/mcp/fixture");
    eventually("the server's own answer", || {
        let answer = client.answer("server/discover", json!({}));
        let versions = answer["result"]["supportedVersions"].as_array();
        versions.is_some_and(|versions| versions.len() > 1).then_some(())
    });
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
