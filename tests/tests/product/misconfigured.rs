//! Entries with mistakes: they do not run, are named everywhere with their reason, and leave the
//! others alone. A name with a slash is no mistake.

use mooring_tests::{Cluster, Gateway, OverSse, Setup, eventually, servers, settings};
use serde_json::{Value, json};

const HEALTH: &str = "/health";

/// Entries, and a part of the reason why each does not run.
fn broken() -> [(&'static str, Value, &'static str); 5] {
    [
        ("nothing", Value::Null, "must be an object, not null"),
        ("blank", json!({"command": " mooring-example-counter"}), "command has spaces around it"),
        (
            "zero",
            json!({"command": "mooring-example-counter", "timeout": 0}),
            "timeout is too small",
        ),
        ("unset", json!({"command": "${MOORING_TEST_NOT_SET}"}), "MOORING_TEST_NOT_SET is not set"),
        ("asks", json!({"url": "http://127.0.0.1:1/${input:x}"}), "${input:x}"),
    ]
}

fn with_broken() -> Value {
    let mut entries = json!({"counter": servers::counter()});
    for (name, entry, _) in broken() {
        entries[name] = entry;
    }
    entries
}

fn state<'v>(list: &'v Value, field: &str, name: &str) -> &'v Value {
    let states = list.as_array().unwrap();
    states.iter().find(|state| state[field] == name).unwrap_or_else(|| panic!("{name}: {list}"))
}

#[test]
fn an_entry_with_a_mistake_is_named_everywhere_and_the_others_run() {
    let gateway = Gateway::start_with(&settings::standalone(with_broken()));
    gateway.wait_for_log("timeout: is too small");
    let log = gateway.log();
    let health = gateway.get(HEALTH).expect(200).json();
    let instances = gateway.data("/api/cluster/instances");
    let ps = std::process::Command::new(mooring_tests::binaries::mooring())
        .args(["ps", "--url", &gateway.url()])
        .current_dir(gateway.folder())
        .output()
        .unwrap();
    let ps =
        format!("{}{}", String::from_utf8_lossy(&ps.stdout), String::from_utf8_lossy(&ps.stderr));
    for (name, _, reason) in broken() {
        assert!(log.contains(&format!("mcpServers.{name}")), "{name}: {log}");
        let of_health = state(&health["servers"], "name", name);
        let of_instances = state(&instances["servers"], "server", name);
        for (what, state) in [("health", of_health), ("instances", of_instances)] {
            assert_eq!(state["status"], "misconfigured", "{what} {state}");
            assert!(state["lastError"].as_str().unwrap().contains(reason), "{what} {state}");
        }
        let line = ps.lines().find(|line| line.contains(&format!(" {name} on ")));
        assert!(line.is_some_and(|line| line.contains(reason)), "{name}: {ps}");
        // A call says why too, over both transports.
        let refused = gateway.client(&format!("/mcp/{name}")).try_initialize();
        assert!(refused.error_message().contains(reason), "{name}: {}", refused.text());
        let mut over_sse = OverSse::open(gateway.address(), &format!("/sse/{name}"));
        let answer = over_sse.answer(
            "initialize",
            json!({"protocolVersion": "2025-06-18", "capabilities": {},
                   "clientInfo": {"name": "t", "version": "1"}}),
        );
        assert!(answer["error"]["message"].as_str().unwrap().contains(reason), "{name} {answer}");
    }
    for path in ["/mcp", "/mcp/counter"] {
        assert_eq!(gateway.client(path).initialize().tools().len(), 3, "{path}");
    }
}

#[test]
fn a_node_tells_its_coordinator_of_an_entry_with_a_mistake() {
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    cluster.add("a", with_broken());
    cluster.wait_for_active(1);
    let gateway = &cluster.coordinator;
    for (name, _, reason) in broken() {
        let instances = gateway.data("/api/cluster/instances");
        let seen = state(&instances["servers"], "server", name);
        assert_eq!(
            (&seen["status"], &seen["node"]),
            (&json!("misconfigured"), &json!("a")),
            "{seen}"
        );
        assert!(seen["lastError"].as_str().unwrap().contains(reason), "{seen}");
        let refused = gateway.client(&format!("/mcp/{name}")).try_initialize();
        assert!(refused.error_message().contains(reason), "{name}: {}", refused.text());
    }
    assert_eq!(cluster.client("/mcp/counter").initialize().count("count"), 1);
    let all = cluster.client("/mcp").initialize();
    eventually("the good server is listed", || (all.tools().len() == 3).then_some(()));
}

#[test]
fn a_name_with_a_slash_is_escaped_in_urls_and_safe_in_names() {
    const NAME: &str = "example.com/tools/one";
    let entries = json!({NAME: servers::counter(), "two": servers::counter()});
    let gateway = Gateway::start_with(&settings::standalone(entries.clone()));
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    cluster.add("a", entries);
    cluster.wait_for_active(1);
    for gateway in [&gateway, &cluster.coordinator] {
        for path in ["example.com%2Ftools%2Fone", "example.com/tools/one"] {
            let session = gateway.client(&format!("/mcp/{path}")).initialize();
            assert_eq!([session.count("count"), session.count("count")], [1, 2], "{path}");
            let mut over_sse = OverSse::initialize(gateway.address(), &format!("/sse/{path}"));
            assert_eq!(over_sse.call("count", json!({}))["value"], 1, "{path}");
        }
        let all = gateway.client("/mcp").initialize();
        let tools = eventually("both servers are listed", || {
            Some(all.tools()).filter(|tools| tools.len() == 6)
        });
        let is_safe = |name: &String| {
            name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        assert!(tools.iter().all(is_safe), "{tools:?}");
        assert_eq!(all.count("example_com_tools_one-count"), 1);
        gateway.client("/mcp/example.com").try_initialize().expect(404);
    }
    let replicas = "/api/cluster/servers/example.com%2Ftools%2Fone/replicas";
    assert_eq!(cluster.coordinator.data(replicas)[0]["serverId"], NAME);
}

#[test]
fn tools_that_a_clients_file_leaves_out_are_neither_listed_nor_callable() {
    let only = |lists: Value| settings::merged(servers::counter(), lists);
    let entries = json!({
        "without": only(json!({"disabledTools": ["whoami"]})),
        "excluded": only(json!({"excludeTools": ["whoami"]})),
        "included": only(json!({"includeTools": ["count"]})),
        "enabled": only(json!({"enabledTools": ["count"], "blocked_tools": ["none"]})),
        "allowed": only(json!({"allowed_tools": ["count", "whoami"], "blockedTools": ["whoami"]})),
        "switched": only(json!({"tools": {"whoami": {"disabled": true}, "count": {"disabled": false}}})),
        "unseen": only(json!({"tools": {"unseen-whoami": {"hidden": true, "description": "d"}}})),
    });
    let gateway = Gateway::start_with(&settings::standalone(entries.clone()));
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    cluster.add("a", entries);
    cluster.wait_for_active(1);
    for gateway in [&gateway, &cluster.coordinator] {
        let all = gateway.client("/mcp").initialize();
        eventually("all are listed", || (all.tools().len() == 11).then_some(()));
        for (name, count) in [
            ("without", 2),
            ("excluded", 2),
            ("included", 1),
            ("enabled", 1),
            ("allowed", 1),
            ("switched", 2),
            ("unseen", 2),
        ] {
            let one = gateway.client(&format!("/mcp/{name}")).initialize();
            let tools = one.tools();
            assert!(tools.contains(&"count".to_owned()), "{name} {tools:?}");
            assert!(!tools.contains(&"whoami".to_owned()), "{name} {tools:?}");
            assert_eq!(tools.len(), count, "{name} {tools:?}");
            assert_eq!(one.count("count"), 1, "{name}");
            let refused = one.answer("tools/call", json!({"name": "whoami", "arguments": {}}));
            assert!(refused.get("error").is_some(), "{name} {refused}");
            let hidden = json!({"name": format!("{name}-whoami"), "arguments": {}});
            let refused = all.answer("tools/call", hidden.clone());
            assert!(refused.get("error").is_some(), "{name} {refused}");
            let mut over_sse = OverSse::initialize(gateway.address(), "/sse");
            let refused = over_sse.answer("tools/call", hidden);
            assert!(refused.get("error").is_some(), "{name} {refused}");
        }
    }
}

#[test]
fn servers_that_a_clients_file_leaves_out_do_not_run() {
    let entries =
        json!({"a": servers::counter(), "b": servers::counter(), "c": servers::counter()});
    for (words, runs) in [
        (json!({"mcp": {"excluded": ["b"]}}), ["a", "c"]),
        (json!({"mcp": {"allowed": ["b", "c"]}}), ["b", "c"]),
        (json!({"excludeMCPServers": ["c"]}), ["a", "b"]),
    ] {
        let file = settings::merged(settings::standalone(entries.clone()), words.clone());
        let gateway = Gateway::start_with(&file);
        let all = gateway.client("/mcp").initialize();
        let tools = eventually("what runs is listed", || {
            Some(all.tools()).filter(|tools| tools.len() == 6)
        });
        for name in ["a", "b", "c"] {
            let is_there = runs.contains(&name);
            let prefix = format!("{name}-");
            assert_eq!(tools.iter().any(|tool| tool.starts_with(&prefix)), is_there, "{words}");
            let status = if is_there { 200 } else { 404 };
            gateway.client(&format!("/mcp/{name}")).try_initialize().expect(status);
        }
    }
}

#[test]
fn a_file_without_servers_starts_and_says_so() {
    for text in ["{}", r#"{"mcpServers": {}, "groups": []}"#, r#"{"a": {"command": "sh"}}"#] {
        let gateway = Setup::text(text).start();
        gateway.wait_for_log("0 servers");
        let ready = gateway.get("/readyz").expect(200).text();
        assert!(ready.contains("no servers"), "{ready}");
    }
    let gateway =
        Gateway::start_with(&settings::standalone(json!({"counter": servers::counter()})));
    assert!(!gateway.get("/readyz").expect(200).text().contains("no servers"));
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    assert!(!coordinator.get("/readyz").expect(200).text().contains("no servers"));
}

#[test]
fn a_dot_env_file_is_for_the_settings_and_not_for_children() {
    let named = json!({"command": "mooring-example-counter",
        "env": {"MOORING_EXAMPLE_NAME": "${FROM_FILE}"}});
    let entries = json!({"named": named, "plain": servers::counter()});
    let mut gateway = Setup::new(&settings::standalone(entries)).prepare();
    let file = "# of people\nFROM_FILE='of file'\nMOORING_EXAMPLE_NAME=leaked\nPORT=1\n";
    std::fs::write(gateway.folder().join(".env"), file).unwrap();
    gateway.start();
    let name = |path| gateway.client(path).initialize().whoami("whoami").name;
    assert_eq!(name("/mcp/named"), "of file");
    assert_ne!(name("/mcp/plain"), "leaked");
}

#[test]
fn a_port_in_use_is_told_with_the_variable_that_changes_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let text = format!(r#"{{"systemConfig": {{"listen": {{"port": {port}}}}}}}"#);
    let gateway = Setup::text(&text).prepare();
    let output = std::process::Command::new(mooring_tests::binaries::mooring())
        .current_dir(gateway.folder())
        .env("MOORING_HOST", "127.0.0.1")
        .env_remove("PORT")
        .output()
        .unwrap();
    let says = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{says}");
    assert!(says.contains(&port.to_string()) && says.contains("PORT"), "{says}");
}
