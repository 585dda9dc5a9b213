//! The command line and its texts.

use std::process::{Command, Output};

use mooring_tests::{Gateway, Setup, binaries, servers, settings};
use serde_json::json;

fn mooring(args: &[&str]) -> Output {
    Command::new(binaries::mooring()).args(args).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn check_prints_what_would_run_and_starts_nothing() {
    let output = Setup::text(&settings::example("quickstart/mcp_settings.json")).run(&["check"]);
    assert_eq!(output.status.code(), Some(0));
    let page = out(&output);
    for part in ["standalone", "SERVERS (3)", "mooring-example-counter", "GROUPS (1)", "desk"] {
        assert!(page.contains(part), "{part}:\n{page}");
    }
}

#[test]
fn check_shows_no_secret() {
    let settings = json!({
        "mcpServers": {"x": {"command": "x", "env": {"KEY": "s3cret-1"}}},
        "systemConfig": {
            "cluster": {"enabled": true, "mode": "coordinator", "token": "s3cret-2", "secret": "s3cret-3-that-is-long-enough-to-be-one"},
            "routing": {"enableBearerAuth": true, "bearerAuthKey": "s3cret-4"},
        },
    });
    let output = Setup::new(&settings).run(&["check"]);
    assert!(output.status.success(), "{}", err(&output));
    assert!(!out(&output).contains("s3cret") && !err(&output).contains("s3cret"));
}

#[test]
fn check_names_file_line_column_and_key_of_every_mistake_at_once() {
    let settings = "{\n  \"mcpServers\": {\n    \"a\": { \"command\": 5 }\n  },\n  \
                    \"systemConfig\": { \"cluster\": { \"enabled\": true, \"mode\": \"node\" } }\n}\n";
    for output in [Setup::text(settings).run(&["check"]), Setup::text(settings).refused()] {
        assert_eq!(output.status.code(), Some(2));
        let says = err(&output);
        let first = "warning: mcp_settings.json:3:23: mcpServers.a.command: must be a string";
        assert!(says.contains(first), "{says}");
        let second =
            "mcp_settings.json:5:32: systemConfig.cluster.node.coordinatorUrl: is required";
        assert!(says.contains(second), "{says}");
        assert_eq!(says.lines().count(), 2, "{says}");
    }
}

#[test]
fn check_names_the_place_of_a_syntax_error() {
    let output = Setup::text("{\n  \"mcpServers\": {\n    oops\n").run(&["check"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("mcp_settings.json:3:"), "{}", err(&output));
}

#[test]
fn a_settings_file_that_was_named_must_exist() {
    let output = mooring(&["check", "--config", "/nowhere/mcp_settings.json"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("/nowhere/mcp_settings.json"));
}

#[test]
fn inspect_says_what_a_plugin_is_and_how_it_spreads() {
    for strategy in ["consistent-hash", "cookie", "header"] {
        let output = mooring(&["plugin", "inspect", strategy]);
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        let page = out(&output);
        for part in [strategy, "imports", "mooring:routing/types", "inputs", "spread", "node-0"] {
            assert!(page.contains(part), "{strategy}, {part}:\n{page}");
        }
    }
}

#[test]
fn inspect_says_why_a_plugin_would_be_refused() {
    for (fault, why) in [
        ("wrong-world", "does not export"),
        ("wants-import", "imports faults:network/sockets"),
        ("traps-always", "trap"),
        ("loops-in-configure", "CPU time"),
    ] {
        let file = settings::prebuilt(&format!("faults/{fault}.wasm"));
        let output = mooring(&["plugin", "inspect", &file]);
        assert_eq!(output.status.code(), Some(2), "{fault}");
        assert!(err(&output).contains(why), "{fault}: {}", err(&output));
    }
    let output = mooring(&["plugin", "inspect", "./no-such.wasm"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn help_names_every_command_and_every_variable() {
    let output = mooring(&["--help"]);
    assert!(output.status.success());
    let page = out(&output);
    for part in [
        "check",
        "plugin",
        "join",
        "ps",
        "logs",
        "--config",
        "--allow-open",
        "PORT",
        "MOORING_HOST",
        "MOORING_DATA",
        "MOORING_CLUSTER_TOKEN",
        "MOORING_SECRET",
        "MOORING_KEY",
        "MCPHUB_SETTING_PATH",
    ] {
        assert!(page.contains(part), "{part}:\n{page}");
    }
    assert!(mooring(&["--version"]).status.success());
}

#[test]
fn a_mistake_on_the_command_line_is_exit_code_2() {
    assert_eq!(mooring(&["--no-such-option"]).status.code(), Some(2));
    assert_eq!(mooring(&["no-such-command"]).status.code(), Some(2));
}

#[test]
fn health_is_for_container_checks() {
    let gateway = Gateway::start_with(&json!({}));
    assert!(mooring(&["health", "--url", &gateway.url()]).status.success());
    let nobody = mooring_tests::Port::reserve();
    let url = format!("http://127.0.0.1:{}", nobody.number());
    assert_eq!(mooring(&["health", "--url", &url]).status.code(), Some(1));
}

#[test]
fn the_start_prints_one_readable_summary() {
    let gateway =
        Gateway::start_with(&settings::standalone(json!({"counter": servers::counter()})));
    let log = gateway.log();
    let endpoint = format!("{}/mcp", gateway.url());
    for part in
        ["mode       standalone", &endpoint, "servers    counter", "consistent-hash", "memory"]
    {
        assert!(log.contains(part), "{part}:\n{log}");
    }
}

#[test]
fn a_taken_port_is_said_and_stops_the_start() {
    let gateway = Gateway::start_with(&json!({}));
    let port = gateway.port().to_string();
    let second = Setup::new(&json!({})).env("PORT", &port).refused();
    assert_eq!(second.status.code(), Some(1));
    assert!(err(&second).contains(&port), "{}", err(&second));
    gateway.get("/livez").expect(200);
}

#[test]
fn sigterm_and_sigint_end_it_with_success() {
    use rustix::process::Signal;
    for signal in [Signal::TERM, Signal::INT] {
        let mut gateway = Gateway::start_with(&json!({}));
        gateway.signal(signal);
        assert!(gateway.terminate().success());
    }
}
