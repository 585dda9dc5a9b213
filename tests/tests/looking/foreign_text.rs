//! Text of servers, nodes, clients and plugins is made visible before a log, a terminal or a page
//! shows it: it can neither control the terminal nor add a line.

use std::process::{Command, Output};

use mooring_tests::{Canned, Cluster, Connection, Gateway, Request, Setup, binaries, settings};
use serde_json::{Value, json};

/// Moves the cursor, sets a title, reverses what follows, hides, and begins a line of its own.
const HOSTILE: &str =
    "x\u{1b}[2J\u{1b}]0;t\u{7}\u{9b}31m\u{7f}\r\n\t\u{202e}\u{2066}\u{200b}\u{2028}forged line";

/// Like HOSTILE, in what `printf` of a shell writes to stderr.
const STDERR: &str = r"words \033[2J\033]0;t\007\302\233\177\r\t\342\200\256\342\200\213 end\n";

#[track_caller]
fn is_visible(what: &str, text: &str) {
    let hidden = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
    };
    let found = text.lines().find(|line| line.contains(hidden));
    assert!(found.is_none(), "{what}: {found:?}");
    assert!(!text.lines().any(|line| line.starts_with("forged")), "{what}: {text}");
}

#[track_caller]
fn is_all_visible(what: &str, output: &Output) {
    for bytes in [&output.stdout, &output.stderr] {
        is_visible(what, std::str::from_utf8(bytes).unwrap());
    }
}

/// Answers every request with an error, and mentions something on stderr first.
fn refusing() -> String {
    let error = r#"{"code":-32000,"message":"no \\u001b[2J \\u009b \\n\\u202e"}"#;
    format!(
        "printf '{STDERR}' >&2
        while IFS= read -r line; do
            id=$(printf '%s' \"$line\" | grep -o '\"id\":[^,}}]*' | head -n 1)
            printf '{{\"jsonrpc\":\"2.0\",%s,\"error\":{error}}}\\n' \"$id\"
        done"
    )
}

/// Starts servers that say what they should not, under settings of their own.
fn hostile_servers(env: &[(&str, &str)]) -> (Gateway, [Canned; 2]) {
    let tools = json!({"tools": [{"name": HOSTILE, "inputSchema": {"type": "object"}}]});
    let canned = [(); 2].map(|()| {
        Canned::new().with_capabilities(json!({"tools": {}})).answers("tools/list", tools.clone())
    });
    let script = |file: &str| json!({"command": "sh", "args": [file]});
    let servers = json!({
        "chatty": script("chatty.sh"), "refusing": script("refusing.sh"),
        "dying": script("dying.sh"), "one": canned[0].entry(), "two": canned[1].entry(),
    });
    let settings = settings::merged(
        settings::standalone(servers),
        json!({"systemConfig": {"namePrefix": "never"}}),
    );
    let mut setup = Setup::new(&settings).env("MOORING_LOG", "mooring=trace");
    for (name, value) in env {
        setup = setup.env(name, value);
    }
    let mut gateway = setup.prepare();
    let scripts = [
        ("chatty.sh", format!("printf '{STDERR}' >&2; exec mooring-example-counter")),
        ("refusing.sh", refusing()),
        ("dying.sh", format!("printf '{STDERR}' >&2; exit 3")),
    ];
    for (name, script) in scripts {
        std::fs::write(gateway.folder().join(name), script).unwrap();
    }
    gateway.start();
    (gateway, canned)
}

/// Requests whose every part says what it should not.
fn hostile_client(gateway: &Gateway) {
    let hello = json!({
        "protocolVersion": "2025-06-18", "capabilities": {HOSTILE: {}},
        "clientInfo": {"name": HOSTILE, "version": HOSTILE},
    });
    for path in ["/mcp", "/mcp/chatty"] {
        let session = gateway.client(path).params(hello.clone()).initialize();
        for (method, params) in [
            ("tools/list", json!({})),
            ("tools/call", json!({"name": HOSTILE, "arguments": {}})),
            ("prompts/get", json!({"name": HOSTILE})),
            ("resources/read", json!({"uri": HOSTILE})),
            ("logging/setLevel", json!({"level": HOSTILE})),
            (HOSTILE, json!({})),
        ] {
            let _ = session.try_request(method, params);
        }
        let _ = session.notify(HOSTILE, json!({"reason": HOSTILE}));
    }
    for path in ["/mcp/refusing", "/mcp/dying"] {
        let _ = gateway.client(path).params(hello.clone()).try_initialize();
    }
    for path in ["/%1b%5b2J%0aforged", "/mcp/%1b%5b2J%e2%80%ae", "/api/logs?server=%1b%5b2J"] {
        is_visible(path, &gateway.get(path).text());
    }
    for head in [
        "GET /mcp HTTP/1.1\r\nHost: \u{9b}2J.example\r\n\r\n",
        "GET /mcp HTTP/1.1\r\nHost: localhost\r\nOrigin: http://\u{202e}\u{9b}\r\n\r\n",
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nMcp-Session-Id: \u{9b}\r\nContent-Length: 0\r\n\r\n",
        "\u{1b}[2J /mcp HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        let mut connection = Connection::open(gateway.address());
        connection.send_raw(head.as_bytes());
        let _ = connection.read_head();
    }
}

#[test]
fn neither_servers_nor_clients_control_the_log_the_pages_or_the_commands() {
    let (gateway, _canned) = hostile_servers(&[]);
    hostile_client(&gateway);
    gateway.wait_for_log("name collision");
    gateway.wait_for_log(r"words \u{1b}[2J");
    gateway.wait_for_log("crash loop");
    for page in
        ["/health", "/metrics", "/readyz", "/api/cluster/instances", "/api/logs?server=dying"]
    {
        is_visible(page, &gateway.get(page).expect(200).text());
    }
    let url = gateway.url();
    for args in [
        &["ps"][..],
        &["ps", "--json"],
        &["logs", "chatty"],
        &["logs", "dying", "--json"],
        &["logs", HOSTILE],
        &["health"],
    ] {
        let run = Command::new(binaries::mooring()).args(args).args(["--url", &url]).output();
        is_all_visible(&format!("{args:?}"), &run.unwrap());
    }
    is_visible("the log", &gateway.log());
}

#[test]
fn a_json_log_is_json_and_visible() {
    let (gateway, _canned) = hostile_servers(&[("MOORING_LOG_FORMAT", "json")]);
    hostile_client(&gateway);
    gateway.wait_for_log("name collision");
    let log = gateway.log();
    is_visible("the log", &log);
    let events: Vec<Value> =
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    // The summary of the start is for people.
    let others = log.lines().filter(|line| !line.starts_with('{')).count();
    assert!(others < 10, "{log}");
    assert_eq!(events.len() + others, log.lines().count(), "{log}");
    let words = events.iter().find(|event| {
        let text = event["fields"]["message"].as_str().unwrap_or("");
        event["target"] == "mooring::server" && text.starts_with(r"words \u{1b}[2J")
    });
    let words = words.unwrap_or_else(|| panic!("{log}"));
    assert_eq!(words["level"], "INFO");
    assert!(words["fields"]["pid"].is_u64(), "{words}");
    let at = words["timestamp"].as_str().unwrap();
    assert!(at.ends_with('Z') && at.contains('T'), "{at}");
}

#[test]
fn a_node_and_a_plugin_do_not_control_the_coordinators_log() {
    let plugin =
        json!({"stickySession": {"strategy": settings::prebuilt("faults/floods-log.wasm")}});
    let cluster = Cluster::of_two_equal_nodes(plugin);
    for header in ["fault", "none"] {
        let _ = cluster.client("/mcp/counter").header("X-Fault", header).initialize();
    }
    let registration = json!({
        "id": "hostile", "name": HOSTILE, "url": "http://127.0.0.1:1", "host": HOSTILE, "port": 1,
        "servers": [{"name": HOSTILE}], "version": HOSTILE, "zone": HOSTILE,
        "labels": [[HOSTILE, HOSTILE]], "heartbeatInterval": 1000,
    });
    let mut other = registration.clone();
    other["name"] = "r\u{202e}eversed".into();
    for (path, message) in [
        ("/api/cluster/register", registration.clone()),
        ("/api/cluster/register", other),
        ("/api/cluster/heartbeat", json!({"id": HOSTILE})),
        ("/api/cluster/deregister", json!({"id": HOSTILE})),
    ] {
        let answer = Request::post(path).json(&message).send(cluster.coordinator.address());
        is_visible(path, &answer.text());
    }
    let log = cluster.coordinator.log();
    is_visible("the coordinator's log", &log);
    assert!(!log.lines().any(|line| line.starts_with("second line")), "{log}");
    assert!(log.contains("… plugin="), "{log}");
    // A node may have any name that its operator gives it.
    let node = json!({"id": "c", "name": "r\u{202e}eversed\u{200b}"});
    let node = settings::node(cluster.coordinator.port(), node, json!({}));
    let node = Gateway::start_with(&node);
    let line = cluster.coordinator.wait_for_log("(c) with 0 servers");
    assert!(line.contains(r"Node registered: r\u{202e}eversed\u{200b} (c)"), "{line}");
    is_visible("the node's log", &node.log());
}

#[test]
fn a_settings_file_does_not_control_what_check_prints() {
    let settings = json!({
        "mcpServers": {
            "a": {"command": HOSTILE, "args": [HOSTILE], HOSTILE: 1},
            HOSTILE: {"command": "x"},
            "b": {"url": HOSTILE},
        },
        "systemConfig": {HOSTILE: 1, "limits": {"line": HOSTILE}, "allowedOrigins": [HOSTILE]},
        HOSTILE: {},
    });
    is_all_visible("check", &Setup::new(&settings).run(&["check"]));
    is_all_visible("a start", &Setup::new(&settings).refused());
    let inspect = Command::new(binaries::mooring()).args(["plugin", "inspect", HOSTILE]).output();
    is_all_visible("plugin inspect", &inspect.unwrap());
}

#[test]
fn what_a_refusal_quotes_is_bounded() {
    let gateway = Gateway::start_with(&settings::standalone(json!({})));
    let long = "n".repeat(1 << 20);
    let session = gateway.client("/mcp").initialize();
    for (method, params) in [
        ("tools/call", json!({"name": long, "arguments": {}})),
        ("prompts/get", json!({"name": long})),
        ("resources/read", json!({"uri": format!("file:///{long}")})),
        (&*long, json!({})),
    ] {
        let answer = session.try_request(method, params).text();
        assert!(answer.len() < 5000, "{} bytes", answer.len());
    }
    assert!(gateway.log().lines().all(|line| line.len() < 20_000));
}
