//! The official conformance suite as a server behind the gateway: it checks the messages that the
//! gateway, used by an SDK, sends to its servers. See ../conformance/README.md.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use mooring_tests::{binaries, settings};

use mooring_tests::borrowed;

/// The scenarios for a gateway that has no login of its own.
const SCENARIOS: [&str; 5] = [
    "initialize",
    "tools_call",
    "sse-retry",
    "elicitation-sep1034-client-defaults",
    "json-schema-2020-12-preservation",
];
/// Those of the suite's servers of 2026-07-28, which a client of sessions uses.
const STATELESS: [&str; 5] = [
    "request-metadata",
    "sep-2322-client-request-state",
    "http-standard-headers",
    "http-custom-headers",
    "http-invalid-tool-headers",
];
/// The scenario that our Python client does not implement.
const NOT_FOR_PYTHON: &str = "json-schema-2020-12-preservation";

const SINGLE: Scope =
    Scope { path: "/mcp/upstream", failures: "expected-failures-client-2025-11-25.yml" };
const AGGREGATE: Scope =
    Scope { path: "/mcp", failures: "expected-failures-client-aggregate-2025-11-25.yml" };

const STATELESS_FAILURES: &str = "expected-failures-client-2026-07-28.yml";

struct Scope {
    path: &'static str,
    failures: &'static str,
}

#[test]
fn the_gateway_is_a_good_client_for_the_typescript_sdk() {
    is_a_good_client(&SINGLE, "ts/v1.mjs", "ts_v1");
}

#[test]
#[ignore = "long: for another SDK it is one at every run"]
fn the_gateway_is_a_good_client_for_the_typescript_sdk_2() {
    is_a_good_client(&SINGLE, "ts/v2.mjs", "ts_v2");
}

#[test]
#[ignore = "long: for another SDK it is one at every run"]
fn the_gateway_is_a_good_client_for_the_python_sdk() {
    is_a_good_client(&SINGLE, "py/witness.py", "python");
}

#[test]
fn an_aggregate_is_a_good_client() {
    is_a_good_client(&AGGREGATE, "ts/v1.mjs", "ts_v1");
}

/// Its clients need not know that the server has no sessions.
#[test]
fn the_gateway_is_a_good_client_of_servers_without_sessions() {
    if !at_hand("ts_v1") {
        return;
    }
    let failures = settings::repository().join("tests/conformance").join(STATELESS_FAILURES);
    for scope in [&SINGLE, &AGGREGATE] {
        for scenario in STATELESS {
            let output = run(scope, "ts/v1.mjs", (scenario, "modern"), &failures);
            let text = text_of(&output);
            assert!(output.status.success(), "{scenario}, {}:\n{text}", scope.path);
        }
    }
}

#[test]
fn a_listed_failure_of_a_client_that_passes_fails_the_run() {
    if !at_hand("ts_v1") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let stale = folder.path().join("expected-failures.yml");
    std::fs::write(&stale, "client:\n  - tools_call\n").unwrap();
    let output = run(&SINGLE, "ts/v1.mjs", ("tools_call", "auto"), &stale);
    assert!(!output.status.success(), "{}", text_of(&output));
}

#[track_caller]
fn is_a_good_client(scope: &Scope, witness: &str, sdk: &str) {
    if !at_hand(sdk) {
        return;
    }
    let failures = settings::repository().join("tests/conformance").join(scope.failures);
    let fitting = |scenario: &&str| sdk != "python" || *scenario != NOT_FOR_PYTHON;
    for scenario in SCENARIOS.into_iter().filter(fitting) {
        let output = run(scope, witness, (scenario, "auto"), &failures);
        let text = text_of(&output);
        assert!(output.status.success(), "{scenario}, {witness}, {}:\n{text}", scope.path);
    }
}

fn at_hand(sdk: &str) -> bool {
    borrowed::at_hand("conformance suite for clients", &["conformance", "node", sdk])
}

/// `era` is that of the suite's server, as its entry says.
fn run(
    scope: &Scope,
    witness: &str,
    (scenario, era): (&str, &str),
    expected_failures: &Path,
) -> Output {
    Command::new(borrowed::starter("conformance"))
        .args(["client", "--scenario", scenario, "--command"])
        .arg(settings::repository().join("tests/conformance/client.sh"))
        .arg("--expected-failures")
        .arg(expected_failures)
        .env("MOORING_BIN", binaries::mooring())
        .env("MOORING_WITNESS_DIR", borrowed::folder())
        .env("SCOPE", scope.path)
        .env("WITNESS", witness)
        .env("ERA", era)
        .stdin(Stdio::null())
        .output()
        .expect("the conformance suite runs")
}

/// The checks that were made, and the failures.
fn text_of(output: &Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout);
    format!("{out}\n{}", String::from_utf8_lossy(&output.stderr))
}
