//! The key file of the local command line.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use mooring_tests::{Gateway, Request, binaries, servers, settings};
use serde_json::json;

const INSTANCES: &str = "/api/cluster/instances";

/// A gateway that wants a key, and a node that is closed to clients.
fn gateways() -> [Gateway; 2] {
    let servers = json!({"counter": servers::counter()});
    let routing = json!({"enableBearerAuth": true, "bearerAuthKey": "a-key-that-is-not-given"});
    let locked = settings::merged(
        settings::standalone(servers.clone()),
        json!({"systemConfig": {"routing": routing}}),
    );
    let coordinator = mooring_tests::Port::reserve();
    let waiting = json!({"registerOnStartup": false});
    let node = settings::node(coordinator.number(), waiting, servers);
    [Gateway::start_with(&locked), Gateway::start_with(&node)]
}

/// Runs a command in an empty folder, where no settings name a key.
fn run(gateway: &Gateway, args: &[&str], env: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    Command::new(binaries::mooring())
        .args(args)
        .args(["--url", &gateway.url()])
        .current_dir(folder.path())
        .env_remove("MOORING_KEY")
        .env_remove("MOORING_DATA")
        .envs(env.iter().copied())
        .output()
        .unwrap()
}

fn key(gateway: &Gateway) -> String {
    let bytes = std::fs::read(gateway.data_folder().join("local-key")).unwrap();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_local_command_line_needs_no_key() {
    for gateway in gateways() {
        let folder = gateway.data_folder();
        let data = [("MOORING_DATA", folder.to_str().unwrap())];
        for args in [&["ps"][..], &["logs", "counter"]] {
            let output = run(&gateway, args, &data);
            assert!(output.status.success(), "{args:?}: {output:?}");
            let refused = run(&gateway, args, &[]);
            assert!(!refused.status.success(), "{args:?}");
            let says = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert!(says.contains("MOORING_KEY") && says.contains("local-key"), "{says}");
        }
        // A key that is given goes first.
        let given = [data[0], ("MOORING_KEY", "wrong")];
        assert!(!run(&gateway, &["ps"], &given).status.success());
        let mode = std::fs::metadata(folder.join("local-key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn mooring_join_works_on_a_node_that_is_closed() {
    let [_, node] = gateways();
    let folder = node.data_folder();
    let output = run(&node, &["join"], &[("MOORING_DATA", folder.to_str().unwrap())]);
    assert!(output.status.success(), "{output:?}");
    node.wait_for_log("not registered with");
}

#[test]
fn the_local_key_is_for_the_api_alone_and_for_this_machine() {
    for gateway in gateways() {
        let bearer = format!("Bearer {}", key(&gateway));
        let with = |request: Request| request.header("Authorization", &bearer);
        with(Request::get(INSTANCES)).send(gateway.address()).expect(200);
        let mcp = with(gateway.client("/mcp").initialize_request()).send(gateway.address());
        assert!([401, 403].contains(&mcp.status), "{}", mcp.status);
        let sse = with(Request::get("/sse")).send(gateway.address());
        assert!([401, 403].contains(&sse.status), "{}", sse.status);
        for (name, value) in [
            ("X-Forwarded-For", "203.0.113.9"),
            ("Forwarded", "for=203.0.113.9"),
            ("Origin", "http://localhost"),
        ] {
            let far = with(Request::get(INSTANCES)).header(name, value).send(gateway.address());
            assert!([401, 403].contains(&far.status), "{name}: {}", far.status);
        }
    }
}
