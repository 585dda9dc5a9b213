//! The log's filter, changed while the gateway runs.

use std::process::Command;

use mooring_tests::{Gateway, Request, binaries, servers, settings};
use serde_json::json;

const PATH: &str = "/api/log-level";

#[test]
fn the_filter_changes_while_the_gateway_runs() {
    let servers = json!({"counter": servers::counter()});
    let gateway = Gateway::start_with(&settings::standalone(servers));
    let put =
        |body: serde_json::Value| Request::new("PUT", PATH).json(&body).send(gateway.address());
    assert_eq!(gateway.data(PATH)["filter"], "warn,mooring=info");
    gateway.client("/mcp/counter").initialize().count("count");
    assert!(!gateway.log().contains("session opened"), "{}", gateway.log());
    put(json!({"filter": "mooring=debug"})).expect(200);
    assert_eq!(gateway.data(PATH)["filter"], "warn,mooring=debug");
    gateway.client("/mcp/counter").initialize().count("count");
    gateway.wait_for_log("session opened");
    for wrong in [json!({"filter": "mooring=loud"}), json!({"filter": ""}), json!({}), json!([])] {
        put(wrong.clone()).expect(400);
        assert_eq!(gateway.data(PATH)["filter"], "warn,mooring=debug", "{wrong}");
    }
    let run = |args: &[&str]| {
        let url = gateway.url();
        let mut command = Command::new(binaries::mooring());
        command.arg("log-level").args(args).args(["--url", &url]);
        command.env("MOORING_DATA", gateway.data_folder()).output().unwrap()
    };
    let shown = run(&[]);
    assert_eq!(String::from_utf8_lossy(&shown.stdout).trim(), "warn,mooring=debug", "{shown:?}");
    assert!(run(&["warn"]).status.success());
    assert_eq!(gateway.data(PATH)["filter"], "warn,mooring=warn");
    assert!(!run(&["mooring=loud"]).status.success());
}
