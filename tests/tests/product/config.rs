//! The settings file: where it is found, and the effects of its keys.

use mooring_tests::{Gateway, Setup, servers, settings};
use serde_json::{Value, json};

/// The output of `mooring check`, and whether it succeeds.
fn check(text: &str) -> (bool, String) {
    let output = Setup::text(text).run(&["check"]);
    let both = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&both).into_owned())
}

#[test]
fn the_guides_coordinator_file_loads_with_its_comment() {
    let guide = r#"{
"mcpServers": {
// Optional: coordinator can also run MCP servers
"example": {
"command": "npx",
"args": ["-y", "example-mcp-server"]
}
},
"systemConfig": {
"cluster": {
"enabled": true,
"mode": "coordinator",
"coordinator": {
"nodeTimeout": 15000,
"cleanupInterval": 30000,
"stickySessionTimeout": 3600000
},
"stickySession": {
"enabled": true,
"strategy": "consistent-hash",
"cookieName": "MCPHUB_NODE",
"headerName": "X-MCPHub-Node"
}
}
}
}
"#;
    let (good, page) = check(guide);
    assert!(good, "{page}");
    assert!(!page.contains("warning"), "{page}");
    let gateway = Setup::text(guide).start();
    assert_eq!(gateway.data("/api/cluster/status")["mode"], "coordinator");
}

#[test]
fn the_guides_smallest_coordinator_has_every_default() {
    let text = r#"{ "systemConfig": { "cluster": { "enabled": true, "mode": "coordinator" } } }"#;
    let (good, page) = check(text);
    assert!(good, "{page}");
    for part in ["consistent-hash", "15 s", "30 s", "1 h"] {
        assert!(page.contains(part), "{part}:\n{page}");
    }
    let gateway = Setup::text(text).start();
    assert_eq!(gateway.data("/api/cluster/nodes"), json!([]));
    assert_eq!(gateway.client("/mcp").initialize().tools(), [""; 0]);
}

#[test]
fn trailing_commas_and_both_kinds_of_comments_are_read() {
    let (good, page) = check("// one\n{ /* two */ \"mcpServers\": {}, }\n");
    assert!(good, "{page}");
}

#[test]
fn no_settings_file_at_all_is_a_gateway_without_servers() {
    let mut gateway = Setup::new(&json!({})).prepare();
    std::fs::remove_file(gateway.folder().join("mcp_settings.json")).unwrap();
    gateway.start();
    assert_eq!(gateway.client("/mcp").initialize().tools(), [""; 0]);
    assert_eq!(gateway.data("/api/cluster/status")["mode"], "standalone");
}

#[test]
fn the_file_is_found_by_option_then_variable_then_folder() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, server: &str| {
        let file = folder.path().join(name);
        let text = settings::standalone(json!({server: servers::counter()})).to_string();
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let (by_option, by_variable) =
        (write("option.json", "option"), write("variable.json", "variable"));
    let base = || Setup::new(&settings::standalone(json!({"folder": servers::counter()})));
    let first_tool = |gateway: &Gateway| gateway.client("/mcp").initialize().tools().remove(0);
    assert_eq!(first_tool(&base().start()), "folder-count");
    let with_variable = || base().env("MCPHUB_SETTING_PATH", &by_variable);
    assert_eq!(first_tool(&with_variable().start()), "variable-count");
    let with_option = with_variable().arg("--config").arg(&by_option).start();
    assert_eq!(first_tool(&with_option), "option-count");
}

#[test]
fn a_node_without_a_usable_coordinator_url_does_not_start() {
    for node in [
        json!({}),
        json!({"coordinatorUrl": ""}),
        json!({"coordinatorUrl": "coordinator"}),
        json!({"coordinatorUrl": "ftp://coordinator:3000"}),
        json!({"coordinatorUrl": 5}),
    ] {
        let cluster = json!({"enabled": true, "mode": "node", "node": node});
        let output = Setup::new(&json!({"systemConfig": {"cluster": cluster}})).refused();
        assert_eq!(output.status.code(), Some(2));
        let says = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(says.contains("systemConfig.cluster.node.coordinatorUrl"), "{says}");
    }
}

#[test]
fn values_out_of_place_are_named_with_advice() {
    let refused = |cluster: Value, part: &str| {
        let text = json!({"systemConfig": {"cluster": cluster}}).to_string();
        let (good, page) = check(&text);
        assert!(!good && page.contains(part), "{part}:\n{page}");
    };
    refused(json!({"enabled": true, "mode": "leader"}), "systemConfig.cluster.mode");
    refused(json!({"enabled": "yes"}), "systemConfig.cluster.enabled");
    let coordinator =
        |own: Value| json!({"enabled": true, "mode": "coordinator", "coordinator": own});
    let default_counts = |cluster: Value, part: &str| {
        let text = json!({"systemConfig": {"cluster": cluster}}).to_string();
        let (good, page) = check(&text);
        let line = page.lines().find(|line| line.contains(part));
        let is_told = line.is_some_and(|line| line.contains("until then its default counts"));
        assert!(good && is_told, "{part}:\n{page}");
    };
    default_counts(coordinator(json!({"nodeTimeout": -1})), "coordinator.nodeTimeout");
    default_counts(coordinator(json!({"cleanupInterval": "fast"})), "coordinator.cleanupInterval");
    let sticky = |own: Value| json!({"enabled": true, "mode": "coordinator", "stickySession": own});
    refused(sticky(json!({"strategy": "round-robin"})), "stickySession.strategy");
    default_counts(sticky(json!({"headerName": "a b"})), "stickySession.headerName");
    let node = |own: Value| {
        let node = settings::merged(json!({"coordinatorUrl": "http://c:1"}), own);
        json!({"enabled": true, "mode": "node", "node": node})
    };
    default_counts(node(json!({"heartbeatInterval": 10})), "node.heartbeatInterval");
    refused(node(json!({"id": "two words"})), "node.id");
}

#[test]
fn a_slip_in_a_keys_name_is_warned_about_with_the_right_one() {
    let text = r#"{"systemConfig": {"cluster": {"enabled": true, "mode": "coordinator",
                   "coordinator": {"nodeTimeOut": 1000}}}}"#;
    let (good, page) = check(text);
    assert!(good && page.contains("nodeTimeOut") && page.contains("nodeTimeout"), "{page}");
}

#[test]
fn a_key_that_only_mcphub_uses_is_accepted_with_one_warning() {
    let text = r#"{"mcpServers": {"a": {"command": "x", "enableKeepAlive": true},
                                  "b": {"command": "y", "enableKeepAlive": true}}}"#;
    let (good, page) = check(text);
    assert!(good, "{page}");
    assert_eq!(page.matches("enableKeepAlive").count(), 1, "{page}");
}

#[test]
fn a_variable_with_a_default_expands_and_one_of_the_environment_wins() {
    let settings = settings::standalone(json!({"counter": {
        "command": "${MOORING_TEST_COMMAND:-mooring-example-counter}",
        "env": {"MOORING_EXAMPLE_NAME": "$MOORING_TEST_NAME"},
    }}));
    let gateway = Setup::new(&settings).env("MOORING_TEST_NAME", "expanded").start();
    let session = gateway.client("/mcp/counter").initialize();
    assert_eq!(session.whoami("whoami").name, "expanded");
}

#[test]
fn a_command_without_args_starts() {
    let gateway = Gateway::start_with(&settings::standalone(
        json!({"counter": {"command": "mooring-example-counter"}}),
    ));
    assert_eq!(gateway.client("/mcp/counter").initialize().count("count"), 1);
}

#[test]
fn another_gateway_is_a_remote_server() {
    let upstream =
        Gateway::start_with(&settings::standalone(json!({"counter": servers::counter()})));
    let url = format!("{}/mcp/counter", upstream.url());
    for server in [json!({"url": url}), json!({"type": "streamable-http", "url": url})] {
        let gateway = Gateway::start_with(&settings::standalone(json!({"remote": server})));
        let (one, two) =
            (gateway.client("/mcp").initialize(), gateway.client("/mcp/remote").initialize());
        assert_eq!([one.count("remote-count"), one.count("remote-count")], [1, 2]);
        assert_eq!([two.count("count"), two.count("count")], [1, 2]);
        one.delete().expect(200);
        two.delete().expect(200);
    }
}

#[test]
fn port_0_lets_the_system_choose_and_says_what_it_chose() {
    let gateway = Setup::new(&json!({})).env("PORT", "0").prepare();
    let file = gateway.folder().join("chosen");
    let mut child = std::process::Command::new(mooring_tests::binaries::mooring())
        .current_dir(gateway.folder())
        .env("PORT", "0")
        .env("MOORING_HOST", "127.0.0.1")
        .arg("--port-file")
        .arg(&file)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let port: u16 = mooring_tests::eventually("it says its port", || {
        std::fs::read_to_string(&file).ok()?.trim().parse().ok()
    });
    let health = mooring_tests::Request::get("/health").send(([127, 0, 0, 1], port).into());
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(health.status, 200);
}
