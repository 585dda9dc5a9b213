//! A server elsewhere that cannot be reached: nobody sees its end, and everything says it all the same.

use std::process::Command;
use std::time::Duration;

use mooring_tests::{
    Cluster, Gateway, Port, Setup, binaries, eventually, servers, settings, within,
};
use serde_json::{Value, json};

/// How soon everything says that it is gone, once a client was told so.
const SOON: Duration = Duration::from_secs(4);

fn state(gateway: &Gateway, server: &str) -> Value {
    let health = gateway.get("/health").json();
    let mut servers = health["servers"].as_array().unwrap().iter();
    servers.find(|known| known["name"] == server).cloned().unwrap_or_default()
}

/// The row of a server in `mooring ps`, and what is said of it.
fn row(gateway: &Gateway, server: &str) -> (String, String) {
    let output =
        Command::new(binaries::mooring()).args(["ps", server, "--url", &gateway.url()]).output();
    let output = output.unwrap();
    let rows = String::from_utf8_lossy(&output.stdout).into_owned();
    (rows, String::from_utf8_lossy(&output.stderr).into_owned())
}

fn metric(gateway: &Gateway, line: &str) -> bool {
    gateway.get("/metrics").expect(200).text().lines().any(|known| known == line)
}

/// The lines of level WARN or above about a server.
fn complaints(gateway: &Gateway, server: &str) -> Vec<String> {
    let log = gateway.log();
    let lines = log.lines().filter(|line| line.contains(" WARN ") || line.contains(" ERROR "));
    let named = format!(" {server}: ");
    lines.filter(|line| line.contains(&named)).map(str::to_owned).collect()
}

#[test]
fn a_server_elsewhere_that_goes_away_is_down_until_it_is_back() {
    let mut behind =
        Gateway::start_with(&settings::standalone(json!({"counter": servers::counter()})));
    let remote = json!({"remote": {"url": format!("{}/mcp/counter", behind.url())}});
    let alone = Gateway::start_with(&settings::standalone(remote.clone()));
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    cluster.add("a", remote);
    cluster.wait_for_active(1);
    let places = [(&alone, &alone), (&cluster.coordinator, &cluster.nodes[0])];
    let open = places.map(|(edge, runner)| {
        runner.wait_until_discovered(&["remote"]);
        edge.client("/mcp/remote").initialize()
    });
    behind.kill9();
    for ((edge, runner), session) in places.iter().zip(&open) {
        let answer = session.answer("tools/call", json!({"name": "whoami", "arguments": {}}));
        assert!(answer["error"]["message"].as_str().unwrap().contains("remote"), "{answer}");
        within(SOON, "it is down", || (state(edge, "remote")["state"] == "down").then_some(()));
        let health = state(edge, "remote");
        assert_eq!(health["status"], "failed", "{health}");
        assert!(health["lastError"].as_str().unwrap().contains("cannot connect"), "{health}");
        let refused = edge.get("/readyz?servers").expect(503).text();
        assert!(refused.starts_with("server remote is down: "), "{refused}");
        assert!(metric(edge, "mooring_server_up{server=\"remote\"} 0"));
        let (rows, said) = row(edge, "remote");
        assert!(rows.contains("failed") && said.contains("cannot connect"), "{rows}{said}");
        // Others try as well, and it is told once.
        for _ in 0..3 {
            let _ = edge.client("/mcp/remote").try_initialize();
        }
        let lines = complaints(runner, "remote");
        assert_eq!(lines.len(), 1, "{lines:#?}");
    }
    behind.start();
    for ((edge, runner), session) in places.iter().zip(&open) {
        eventually("it is back", || (state(edge, "remote")["state"] == "ok").then_some(()));
        runner.wait_for_log("remote: the server can be reached again");
        edge.get("/readyz?servers").expect(200);
        assert!(metric(edge, "mooring_server_up{server=\"remote\"} 1"));
        session.whoami("whoami");
    }
}

#[test]
fn a_server_elsewhere_that_was_never_there_has_failed_and_is_told_once() {
    let nobody = Port::reserve();
    let url = format!("http://127.0.0.1:{}/mcp", nobody.number());
    let gateway = Setup::new(&settings::standalone(json!({"remote": {"url": url}, "wrong": {}})))
        .env("MOORING_LOG", "debug")
        .start();
    eventually("both were tried three times", || {
        let log = gateway.log();
        let tried = |server: &str| {
            let named = format!(" {server}: no catalog: ");
            log.lines().filter(|line| line.contains(&named)).count()
        };
        (tried("remote") >= 3 && tried("wrong") >= 3).then_some(())
    });
    for server in ["remote", "wrong"] {
        let lines = complaints(&gateway, server);
        assert_eq!(lines.len(), 1, "{lines:#?}");
    }
    assert_eq!(state(&gateway, "remote")["status"], "failed");
    assert_eq!(state(&gateway, "wrong")["status"], "misconfigured");
    let (rows, said) = row(&gateway, "remote");
    assert!(rows.contains("failed") && !rows.contains("idle"), "{rows}");
    assert!(said.contains("cannot connect"), "{said}");
}
